//! Connection tracking: sequences of packets, in and out, run by the loaded program in the kernel.
//!
//! What is wanted is what `nf_conntrack` does (`tcp_conntracks` in `net/netfilter/nf_conntrack_proto_tcp.c` and its
//! neighbours, Linux 6.18).

mod support;

#[path = "conntrack/commit.rs"]
mod commit;
#[path = "conntrack/crowd.rs"]
mod crowd;
#[path = "conntrack/ended.rs"]
mod ended;
#[path = "conntrack/errors.rs"]
mod errors;
#[path = "conntrack/open.rs"]
mod open;
#[path = "conntrack/pressure.rs"]
mod pressure;
#[path = "conntrack/programs.rs"]
mod programs;
#[path = "conntrack/sctp.rs"]
mod sctp;
#[path = "conntrack/services.rs"]
mod services;
#[path = "conntrack/settings.rs"]
mod settings;
#[path = "conntrack/tcp.rs"]
mod tcp;
