//! The referee's field: one ruleset given to rampart on one host and to the kernel's `nft` on another, the same packets
//! through both, and what each rule of each counted.
//!
//! Nothing but the test's packets is there to be counted. Both hosts take packets to [`OURS`] and [`OURS6`] for their
//! own. What they send of their own accord (resets, errors) has no route; what the test has them send has a mark, and
//! one. Nobody on the client's side answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use firewall_tests::{
    inject::{Own, Wire},
    netns::Namespace,
    packet::Frame,
    referee::Referee,
    topology::{CLIENT, CLIENT6, INTERFACE, Neighbours, Pair},
};
use firewall_user::{compile::Manifest, kernel::Instance};

use super::Firewall;

/// Addresses that are the server's own, beside that of its interface.
pub const OURS: &str = "198.51.100.0/24";
/// Those of IPv6.
pub const OURS6: &str = "2001:db8:5::/48";

/// Addresses behind the server, when it forwards.
pub const BEYOND: &str = "192.0.2.128/25";

/// The mark of packets that a test has the server send.
const MARK: u32 = 1;

/// Until both have counted what was sent; reached only when they differ.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes what a checksum beyond the IPv4 header's covers: who has it is attached by tc.
pub const WRITES: &str = "table ip t { chain c { type filter hook input priority 0; tcp dport 1 tcp dport set 2; }; }";

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    In,
    /// From the server.
    Out,
}

/// A rule's table, chain and counter.
pub type Counted = (String, String, u64, u64);

/// A host with a wire to it.
struct Host {
    pair: Pair,
    wire: Wire,
    own: Own,
}

/// Both hosts.
pub struct Both {
    ours: Firewall,
    our_wire: Wire,
    our_own: Own,
    theirs: Host,
    /// Packets of each way that were sent since the rules were last replaced.
    sent: (u64, u64),
    /// What our rules and our interface had counted before.
    before: (Vec<Counted>, (u64, u64)),
}

/// Counts all that comes in or leaves before anything else can be done to it; and has connections tracked, which the
/// kernel does only while somebody asks for their states, and rampart always.
const SEEN: &str = "table inet seen {
    chain in { type filter hook prerouting priority -500; counter comment \"seen in\"; }
    chain out { type filter hook output priority -500; counter comment \"seen out\"; }
    chain track { type filter hook input priority 500; ct state new; }
}";

impl Host {
    fn new() -> Self {
        let pair = Pair::with(Neighbours::Known);
        silence(&pair.client);
        let Pair { client, server } = &pair;
        for parameter in ["net/ipv4/conf/all/rp_filter", &format!("net/ipv4/conf/{INTERFACE}/rp_filter")] {
            server.set_parameter(parameter, "0");
        }
        for route in [
            format!("route add local {OURS} dev lo"),
            format!("-6 route add local {OURS6} dev lo"),
            format!("route add default via {CLIENT} dev {INTERFACE} onlink table 100"),
            format!("-6 route add default via {CLIENT6} dev {INTERFACE} onlink table 100"),
            format!("route del 192.0.2.0/24 dev {INTERFACE}"),
            format!("-6 route del 2001:db8:1::/64 dev {INTERFACE}"),
            format!("rule add fwmark {MARK} lookup 100"),
            format!("-6 rule add fwmark {MARK} lookup 100"),
        ] {
            server.ip(&route);
        }
        let (wire, own) = (Wire::open(client, INTERFACE), Own::open(server, MARK));
        Self { pair, wire, own }
    }
}

/// A host that says nothing and hears nothing.
fn silence(client: &Namespace) {
    client.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
    Referee::load(
        client,
        "table inet silence { chain hush { type filter hook prerouting priority -500; policy drop; }; }",
    );
}

impl Both {
    /// Two hosts without rules.
    pub fn new() -> Self {
        Self::begun_with("")
    }

    /// The same, attached by tc, as rules that write what a checksum beyond the IPv4 header's covers want it.
    pub fn by_tc() -> Self {
        Self::begun_with(WRITES)
    }

    /// Who comes to fit a ruleset.
    pub fn for_ruleset(ruleset: &str) -> Self {
        if Self::is_by_tc(ruleset) { Self::by_tc() } else { Self::new() }
    }

    /// Does a ruleset want to be attached by tc?
    pub fn is_by_tc(ruleset: &str) -> bool {
        let words: Vec<&str> = ruleset.split_whitespace().collect();
        let beyond =
            |three: &[&str]| matches!(three, ["tcp" | "udp" | "icmp" | "icmpv6", _, "set"] | ["maxseg", "size", "set"]);
        words.windows(3).any(beyond)
    }

    fn begun_with(rules: &str) -> Self {
        let (ours, theirs) = (Host::new(), Host::new());
        // Packets that the test writes tell no story of sequence numbers, and conntrack is to judge them by the rest.
        Referee::load(
            &theirs.pair.server,
            "table inet t { chain c { type filter hook input priority 0; ct state new; }; }",
        );
        theirs.pair.server.set_parameter("net/netfilter/nf_conntrack_tcp_be_liberal", "1");
        let Host { pair, wire, own } = ours;
        let ours = Firewall::on(pair, rules);
        let mut both = Self { ours, our_wire: wire, our_own: own, theirs, sent: (0, 0), before: (Vec::new(), (0, 0)) };
        both.replace("");
        both
    }

    fn referee(&self) -> Referee<'_> {
        Referee::of(&self.theirs.pair.server)
    }

    /// Runs `ip` with these arguments on both.
    pub fn ip(&self, arguments: &str) {
        self.ours.pair.server.ip(arguments);
        self.theirs.pair.server.ip(arguments);
    }

    /// Makes routers of both: what is for [`BEYOND`] leaves by an interface that nobody listens at.
    pub fn forward(&self) {
        for Pair { client, server } in [&self.ours.pair, &self.theirs.pair] {
            server.ip(&format!("link add beyond type veth peer name hole netns {}", client.name()));
            for (side, interface) in [(server, "beyond"), (client, "hole")] {
                side.set_parameter(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1");
                side.ip(&format!("link set {interface} up"));
            }
            // Nobody is asked for hardware addresses.
            server.ip("link set beyond arp off");
            server.set_parameter("net/ipv4/ip_forward", "1");
            server.ip(&format!("route add {BEYOND} dev beyond"));
        }
    }

    /// Sets a kernel parameter of both.
    pub fn set_parameter(&self, name: &str, value: &str) {
        self.ours.pair.server.set_parameter(name, value);
        self.theirs.pair.server.set_parameter(name, value);
    }

    /// Puts a ruleset in force on both.
    pub fn replace(&mut self, ruleset: &str) {
        self.ours.apply(ruleset);
        self.referee().replace(ruleset);
        self.referee().add(SEEN);
        self.sent = (0, 0);
        self.before = (self.our_rules(), self.ours.seen());
    }

    /// Sends a packet through both.
    pub fn send(&mut self, way: Way, frame: &Frame) {
        match way {
            Way::In => {
                for wire in [&self.our_wire, &self.theirs.wire] {
                    wire.send(&frame.bytes());
                }
                self.sent.0 += 1;
            }
            Way::Out => {
                for own in [&self.our_own, &self.theirs.own] {
                    own.send(&frame.packet());
                }
                self.sent.1 += 1;
            }
        }
    }

    /// Waits until both have counted all that was sent; what each counted, by rule, ours first.
    pub fn counted(&self) -> (Vec<Counted>, Vec<Counted>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (ours, theirs) = (self.our_counts(), self.their_counts());
            let have_all = ours.1 == self.sent && theirs.1 == self.sent;
            if have_all && ours.0 == theirs.0 || Instant::now() >= deadline {
                assert_eq!(ours.1, self.sent, "packets that came in and left, on our side");
                assert_eq!(theirs.1, self.sent, "packets that came in and left, on the referee's side");
                return (ours.0, theirs.0);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Our rules' counters and the packets seen, since the rules were replaced.
    fn our_counts(&self) -> (Vec<Counted>, (u64, u64)) {
        let (before, seen_before) = &self.before;
        let since = |(now, before): (Counted, &Counted)| (now.0, now.1, now.2 - before.2, now.3 - before.3);
        let rules = self.our_rules().into_iter().zip(before).map(since).collect();
        let seen = self.ours.seen();
        (rules, (seen.0 - seen_before.0, seen.1 - seen_before.1))
    }

    /// Does something with our instance.
    pub fn on_ours<T: Send>(&self, work: impl FnOnce(&Instance) -> T + Send) -> T {
        self.ours.open(work)
    }

    fn our_rules(&self) -> Vec<Counted> {
        self.ours.open(|instance| {
            let manifest = instance.manifest().expect("manifest");
            let count = counts(instance, &manifest);
            let counted = manifest.rules.iter().filter_map(|rule| Some((rule, rule.counters.first()?)));
            counted
                .map(|(rule, counter)| {
                    let (packets, bytes) = count(counter.slot);
                    (rule.table.clone(), rule.chain.clone(), packets, bytes)
                })
                .collect()
        })
    }

    fn their_counts(&self) -> (Vec<Counted>, (u64, u64)) {
        let (seen, rules): (Vec<_>, Vec<_>) =
            self.referee().counted().into_iter().partition(|rule| rule.table == "seen");
        let packets = |comment| seen.iter().find(|rule| rule.comment == comment).map_or(0, |rule| rule.packets);
        let rules = rules.into_iter().map(|rule| (rule.table, rule.chain, rule.packets, rule.bytes)).collect();
        (rules, (packets("seen in"), packets("seen out")))
    }
}

fn counts(instance: &Instance, manifest: &Manifest) -> impl Fn(u32) -> (u64, u64) {
    let slots = manifest.rules.iter().flat_map(|rule| rule.counters.iter().map(|counter| counter.slot));
    let counters = instance.rule_counters(slots).expect("counters");
    move |slot| (counters[&slot].packets, counters[&slot].bytes)
}
