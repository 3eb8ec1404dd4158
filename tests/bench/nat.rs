//! New translated connections a second: one sender, one router, one host behind it, with no rules, with the kernel's `nft` and with
//! rampart on the router, in turns. What a packet costs without rules is told as well, so that the cost of translation can be seen
//! alone.
//!
//! Each packet is the first one of a connection. Sender, router and receiver share a CPU: a veth pair hands packets on within the
//! system call that sends them. The receiver is no router and drops what is not for it. Of all rounds the fastest counts.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use firewall_tests::{
    command::Rampart,
    inject::{PATIENCE, Wire},
    packet::{Ethernet, Frame, Ipv4, Tcp, Udp, Upper, flag},
    referee::Referee,
    topology::{CLIENT_MAC, FAR_SERVER, INTERFACE, Neighbours, ROUTER_MAC, ROUTER_SECOND, Routed},
};
use nix::sched::{CpuSet, sched_setaffinity};

const RULES: &str =
    "table ip t { chain p { type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade; }; }";

/// Connections of a round.
const ROUND: u32 = 500;
const ROUNDS: u32 = 120;

/// Where they go: beyond the server, which does not forward.
const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Who translates.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Nobody,
    Nft,
    Rampart,
}

struct Field {
    by: By,
    routed: Routed,
    wire: Wire,
    best: Duration,
}

impl Field {
    fn new(by: By) -> Self {
        let routed = Routed::with(Neighbours::Known);
        routed.router.ip(&format!("route add 203.0.113.0/24 via {FAR_SERVER}"));
        match by {
            By::Nobody => {}
            By::Nft => {
                let _ = Referee::load(&routed.router, RULES);
            }
            By::Rampart => {
                let rampart = Rampart::on(&routed.router);
                let _ = rampart.apply(RULES).success();
                // Stopped when all is measured.
                std::mem::forget(rampart);
            }
        }
        let wire = Wire::open(&routed.client, INTERFACE);
        let field = Self { by, routed, wire, best: Duration::MAX };
        field.check();
        field
    }

    /// Does a packet come out, translated if it should be?
    fn check(&self) {
        let there = Wire::open(&self.routed.server, INTERFACE);
        self.wire.send(&first_of(u32::MAX, false));
        let frame = there.receive(PATIENCE, |frame| frame.len() > 34 && frame[30..34] == PEER.octets());
        let frame = frame.unwrap_or_else(|| panic!("{:?}: nothing comes out", self.by));
        let is_translated = frame[26..30] == ROUTER_SECOND.octets();
        assert_eq!(is_translated, self.by != By::Nobody, "{:?}", self.by);
    }

    fn round(&mut self, frames: &[Vec<u8>]) {
        let started = Instant::now();
        for frame in frames {
            self.wire.send(frame);
        }
        self.best = self.best.min(started.elapsed());
    }

    /// Connections that are known at the end.
    fn connections(&self) -> u64 {
        match self.by {
            By::Nobody => 0,
            By::Nft => {
                let read = || fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
                self.routed.router.run(read).expect("a number").trim().parse().expect("a number")
            }
            By::Rampart => {
                let rampart = Rampart::on(&self.routed.router);
                let count = rampart.run(&["conns", "--count"]).success().stdout;
                // Dropping it stops what is in force.
                std::mem::forget(rampart);
                count.trim().parse().expect("a number")
            }
        }
    }
}

/// The first packet of a connection: from 198.18.0.0/15 (RFC 2544), a thousand ports of each address.
fn first_of(number: u32, is_tcp: bool) -> Vec<u8> {
    let source = Ipv4Addr::from_bits(0xc612_0000 + ((number / 1000) & 0x1_ffff));
    let port = 2000 + (number % 1000) as u16;
    let upper: Upper =
        if is_tcp { Tcp::new(port, 80, flag::SYN).at(number, 0).into() } else { Udp::new(port, 53).into() };
    let ethernet = Ethernet { source: CLIENT_MAC, destination: ROUTER_MAC, vlans: Vec::new(), ether_type: None };
    Frame::new(Ipv4::new(source, PEER), upper).payload(b"question").ethernet(ethernet).bytes()
}

fn main() {
    let mut cpus = CpuSet::new();
    cpus.set(0).expect("a processor");
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).expect("one processor");
    println!("new connections, masqueraded, {ROUND} a round, best of {ROUNDS} rounds in turns");
    println!("{:10} {:>10} {:>16} {:>16} {:>16}", "", "by", "ns a packet", "ns of it added", "a second");
    for (name, is_tcp) in [("UDP", false), ("TCP SYN", true)] {
        let mut fields = [By::Nobody, By::Nft, By::Rampart].map(Field::new);
        for round in 0..ROUNDS {
            let frames: Vec<_> = (0..ROUND).map(|number| first_of(round * ROUND + number, is_tcp)).collect();
            for field in &mut fields {
                field.round(&frames);
            }
        }
        let each = |field: &Field| field.best.as_nanos() as u32 / ROUND;
        let plain = each(&fields[0]);
        for field in &fields {
            let cost = each(field);
            let added = cost.saturating_sub(plain);
            println!("{name:10} {:>10} {cost:>16} {added:>16} {:>16}", format!("{:?}", field.by), 1_000_000_000 / cost);
        }
        let [_, nft, rampart] = &fields;
        let known = (nft.connections(), rampart.connections());
        println!("{name:10} nft knows {} connections, rampart {}", known.0, known.1);
        let added = |field: &Field| f64::from(each(field).saturating_sub(plain).max(1));
        println!(
            "{name:10} rampart to nft: {:.2} times as many a second; translation alone {:.2} times",
            f64::from(each(nft)) / f64::from(each(rampart)),
            added(nft) / added(rampart)
        );
        let all = u64::from(ROUND * ROUNDS);
        assert!(known.0.min(known.1) >= all * 99 / 100, "not all were entered: {known:?} of {all}");
        // Stops what was left in force.
        drop(Rampart::on(&rampart.routed.router));
    }
}
