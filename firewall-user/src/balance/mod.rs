//! Which backend gets which new connections, beyond what rules can say: a map of the ruleset (`dnat to jhash ip saddr mod 251 map
//! @web`) has its values written by `rampart agent`, so that a backend that does not answer gets none.
//!
//! Connections that exist stay with their backend: a rule decides about the first packet only.

pub mod check;
pub mod health;
pub mod maglev;
pub mod share;
