//! Where the fields of each header are, and what makes a header malformed: one protocol a file.
//!
//! Offsets come from the `network-types` structures, so a field is named once, by people who checked it. Nothing here
//! overlays a structure on memory: a header is bytes ([`crate::bytes::HeaderBytes`]) and a field is an offset in it.

pub mod arp;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod sctp;
pub mod tcp;
pub mod udp;
