//! What the tests stand on: network namespaces, crafted packets, sockets, the `rampart` command and the kernel's own
//! `nft` beside it.
//!
//! | module | what it gives |
//! |---|---|
//! | [`netns`] | a network namespace that goes away with its value |
//! | [`topology`] | two of them and a wire, or three with a router in the middle |
//! | [`packet`] | frames byte by byte: right by default, wrong where a test says so |
//! | [`inject`] | those frames sent and received on a wire |
//! | [`sockets`] | real TCP, UDP and ping, and what the peer saw |
//! | [`visit`] | one host visits another: what each sees |
//! | [`ssh`] | an SSH server, and a client that it lets in |
//! | [`command`] | programs run with a deadline, `rampart` among them |
//! | [`browser`] | a browser without a window |
//! | [`screen`] | a program in a terminal of its own |
//! | [`referee`] | a ruleset given to `nft`, and what it counted |
//!
//! Traffic stays inside namespaces that a test made, on documentation addresses, with no route out. Helpers panic
//! where they fail, so that the failure names a line. Waits have generous deadlines and return what arrived: a test
//! states what, never how fast.
//!
//! Nothing of rampart's own code is used here, so that nothing of it can agree with itself; and `xtask` uses this
//! crate before anything else is built.

pub mod browser;
pub mod command;
pub mod inject;
pub mod netns;
pub mod packet;
pub mod referee;
pub mod screen;
pub mod sockets;
pub mod ssh;
pub mod topology;
pub mod visit;
