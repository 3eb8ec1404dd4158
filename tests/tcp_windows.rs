//! TCP's sequence numbers: segments out of the window, blind resets, the same scripts through `nf_conntrack`, and real
//! transfers of which nothing is invalid.

mod support;

#[path = "tcp_windows/blind.rs"]
mod blind;
#[path = "tcp_windows/differential.rs"]
mod differential;
#[path = "tcp_windows/script.rs"]
mod script;
#[path = "tcp_windows/transfer.rs"]
mod transfer;
