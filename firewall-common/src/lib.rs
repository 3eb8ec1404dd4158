//! What rampart knows about packets, connections and rules, without a kernel.
//!
//! Every decision that needs no map and no packet pointer is made here, in `no_std` code that runs unchanged in the
//! eBPF program and on the host, where it is tested. `firewall-ebpf` fetches bytes and map entries, calls this crate,
//! and writes back.
//!
//! The modules, in the order in which a packet meets them:
//!
//! | module | what it holds |
//! |---|---|
//! | [`bytes`] | how header bytes are read: one trait, implemented for slices here and for packets in the eBPF crate |
//! | [`wire`] | one file a protocol: where its fields are and what makes it malformed |
//! | [`parse`] | bytes to [`packet::Packet`], or a [`verdict::Reason`] that says which layer is wrong |
//! | [`packet`] | the words that rules are tested against |
//! | [`quoted`] | the packet that an ICMP error quotes |
//! | [`flow`] | the key under which both directions of a connection are found |
//! | [`fragment`] | what is kept of a fragmented packet |
//! | [`conntrack`] | connection states and how a packet changes them |
//! | [`table`] | the state table: a set-associative array, its slot words and how a place is chosen |
//! | [`image`] | a compiled ruleset: instructions, constants, interval sets |
//! | [`checks`] | what settings say is wrong with packets |
//! | [`guard`] | bans, and what an instance knows about floods |
//! | [`sets`] | named sets and maps: memory that programs and user space share |
//! | [`fetch`] | what a rule can ask for beside those words |
//! | [`edit`] | what a rule writes into headers |
//! | [`classify`] | which rules a packet can match at all: decision trees |
//! | [`eval`] | one step of running a ruleset image over a packet |
//! | [`fast`] | which packets may go past the rules and the stack (`flow add`) |
//! | [`verdict`] | verdicts and drop reasons, numbered for ever |
//! | [`answer`] | what a refused packet's sender is told |
//! | [`cookie`] | handshakes that are answered in a server's place |
//! | [`flood`] | handshakes that are begun and not completed, and when they are too many |
//! | [`counter`] | per-interface and per-rule counters |
//! | [`event`] | the records that leave through the ring buffer |
//! | [`ledger`] | who was dropped lately, and why |
//! | [`trail`] | what a packet met on its way, noted by programs that were loaded to explain |
//! | [`control`] | which generation is in force, and until when |
//! | [`start`] | what programs of a generation read when they run, instead of having it as constants |
//! | [`interface`] | what the program knows about an interface |
//! | [`limit`] | token buckets: what `limit` does |
//! | [`limits`] | every maximum, with its reason |
//! | [`abi`] | the layout version and the size assertions shared by kernel and user space |
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod abi;
pub mod addresses;
pub mod answer;
pub mod bytes;
pub mod checks;
pub mod classify;
pub mod conntrack;
pub mod control;
pub mod cookie;
pub mod counter;
pub mod edit;
pub mod eval;
pub mod event;
pub mod fast;
pub mod fetch;
pub mod fib;
pub mod flood;
pub mod flow;
pub mod fragment;
pub mod guard;
pub mod image;
pub mod interface;
pub mod ledger;
pub mod limit;
pub mod limits;
pub mod mtu;
pub mod nat;
pub mod option;
pub mod packet;
pub mod parse;
pub mod quoted;
pub mod read;
pub mod sets;
pub mod start;
pub mod table;
pub mod trail;
pub mod verdict;
pub mod wire;
