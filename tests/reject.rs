//! Refused packets: what their senders get, beside what the kernel's `nft` sends for the same rule and packet.

mod support;

#[path = "reject/answers.rs"]
mod answers;
#[path = "reject/automatic.rs"]
mod automatic;
#[path = "reject/clients.rs"]
mod clients;
#[path = "reject/cookies.rs"]
mod cookies;
#[path = "reject/floods.rs"]
mod floods;
#[path = "reject/scans.rs"]
mod scans;
#[path = "reject/tools.rs"]
mod tools;
