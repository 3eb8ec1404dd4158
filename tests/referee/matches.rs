//! Random matches and statements beyond addresses and ports: fields of headers, options, raw payload, connections, hashes, bits,
//! concatenations, named sets and maps, marks.

use proptest::{collection::vec, prelude::*, sample::select, sample::subsequence};

/// A word of the language and the largest number that is worth asking for.
type Field = (&'static str, u64);

const IP: &[Field] = &[
    ("ip ttl", 255),
    ("ip id", 65_535),
    ("ip dscp", 63),
    ("ip ecn", 3),
    ("ip length", 300),
    ("ip hdrlength", 15),
    ("ip frag-off", 65_535),
    ("ip version", 6),
];
const IP6: &[Field] =
    &[("ip6 hoplimit", 255), ("ip6 flowlabel", 0xf_ffff), ("ip6 dscp", 63), ("ip6 ecn", 3), ("ip6 length", 300)];
const UPPER: &[Field] = &[
    ("tcp window", 65_535),
    ("tcp sequence", 0xffff_ffff),
    ("tcp ackseq", 0xffff_ffff),
    ("tcp doff", 15),
    ("tcp urgptr", 65_535),
    ("udp length", 300),
    ("icmp code", 8),
    ("icmp id", 12),
    ("icmp sequence", 12),
    ("icmpv6 code", 8),
    ("icmpv6 id", 12),
    ("meta length", 300),
    ("meta mark", 6),
    ("tcp option maxseg size", 3000),
    ("tcp option timestamp tsval", 0xffff_ffff),
    ("frag id", 12),
    ("frag frag-off", 200),
    ("rt type", 12),
    ("sctp vtag", 0xffff_ffff),
    ("esp spi", 0xffff_ffff),
];

/// Whole matches, as they are.
const AS_THEY_ARE: &[&str] = &[
    "fib daddr type local",
    "fib saddr type != local",
    "fib daddr . mark type { local, broadcast, multicast }",
    "meta nfproto ipv4 fib saddr type unicast",
    "tcp option maxseg exists",
    "tcp option sack-perm missing",
    "tcp option timestamp exists",
    "tcp option 254 exists",
    "ip option rr exists",
    "ip option ra missing",
    "exthdr hbh exists",
    "exthdr frag missing",
    "exthdr dst exists",
    "frag more-fragments 1",
    "sctp chunk data exists",
    "sctp chunk init missing",
    "@nh,72,8 6",
    "@nh,0,4 4",
    "@th,0,16 < 1024",
    "@th,32,32 != 0",
    "@th,16,16 { 22, 53, 80-90 }",
    "tcp flags { syn, syn | ack }",
    "tcp flags & (syn | ack) != syn",
    "tcp flags syn / fin,syn,rst,ack",
    "tcp flags != ack",
    "ip6 nexthdr { tcp, udp }",
    "ip protocol != tcp",
    "th dport < 1024",
    "meta l4proto { tcp, udp } th dport 53",
    "meta protocol ip",
];

const OF_CONNECTIONS: &[&str] = &[
    "ct direction original",
    "ct direction reply",
    "ct status & seen-reply == seen-reply",
    "ct original ip saddr 203.0.113.0/25",
    "ct reply ip saddr != 198.51.100.0/28",
    "meta l4proto { tcp, udp } ct original proto-dst < 1024",
    "ct l3proto ipv6",
    "ct protocol tcp",
    "ct mark 1-3",
    "ct state vmap { new : continue, invalid : drop, established : accept }",
];

/// Where rules are that may jump.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Leaf,
    Other,
}

/// A number, a range, a set, compared.
fn compared((word, max): Field) -> impl Strategy<Value = String> {
    let few = max.min(400);
    let near = prop_oneof![3 => 0..=few, 1 => 0..=max];
    let range = (0..=few, 0..=few).prop_map(|(a, b)| (a.min(b), a.max(b)));
    // Elements of a set keep apart: each has a part of the numbers to itself.
    let set = subsequence((0..8_u64).collect::<Vec<_>>(), 2..5).prop_flat_map(move |parts| {
        vec(0..4_u8, parts.len()).prop_map(move |shapes| {
            let size = (few + 1) / 8;
            let one = |(part, shape): (&u64, &u8)| match (size, shape) {
                (0 | 1, _) | (_, 0..3) => (part * size.max(1)).to_string(),
                (_, _) => format!("{}-{}", part * size, part * size + size - 1),
            };
            let mut elements: Vec<_> = parts.iter().zip(&shapes).map(one).collect();
            elements.dedup();
            format!("{{ {} }}", elements.join(", "))
        })
    });
    let not = || prop_oneof![3 => Just(""), 1 => Just("!= ")];
    prop_oneof![
        3 => (not(), near.clone()).prop_map(move |(not, number)| format!("{word} {not}{number}")),
        2 => (not(), range).prop_filter("two ends", |(_, (low, high))| low < high)
            .prop_map(move |(not, (low, high))| format!("{word} {not}{low}-{high}")),
        2 => (not(), set).prop_map(move |(not, set)| format!("{word} {not}{set}")),
        2 => (select(&["<", "<=", ">", ">="][..]), 1..=few.min(max - 1).max(1))
            .prop_map(move |(sign, number)| format!("{word} {sign} {number}")),
    ]
}

fn field(of: &'static [Field]) -> impl Strategy<Value = String> {
    select(of).prop_flat_map(compared)
}

/// Values of which only some bits are looked at.
fn bits() -> impl Strategy<Value = String> {
    let whole = select(&["tcp dport", "udp sport", "ip id", "tcp window", "ip length"][..]);
    let numbers = (1..=0xffff_u32, 0..=0xffff_u32).prop_map(|(mask, value)| (mask, value & mask));
    prop_oneof![
        3 => (whole, select(&["==", "!="][..]), numbers)
            .prop_map(|(word, sign, (mask, value))| format!("{word} & {mask:#x} {sign} {value:#x}")),
        1 => (0..16_u32).prop_map(|value| format!("meta mark & 0x3 | 0x8 == {value:#x}")),
        1 => (0..8_u32).prop_map(|value| format!("meta mark ^ 0x3 == {value:#x}")),
        1 => (0..=255_u32).prop_map(|last| format!("ip daddr & 255.0.0.255 == 198.0.0.{last}")),
        1 => (0..8_u32).prop_map(|value| format!("ip saddr & 0.0.0.7 == 0.0.0.{value}")),
    ]
}

/// Parts of a concatenation's elements: an address of a block of its own, a port or a range.
fn tuples(address: fn(u32) -> String, ranges: bool) -> impl Strategy<Value = Vec<String>> {
    let port =
        prop_oneof![3 => Just((80, 0)), 2 => (0..1100_u32).prop_map(|port| (port, 0)), 2 => (0..1100_u32, 1..3000_u32)];
    let blocks = subsequence((0..16_u32).collect::<Vec<_>>(), 1..6);
    (blocks, vec((0..3_u8, port), 6)).prop_map(move |(blocks, shapes)| {
        let one = |(block, (shape, (port, more))): (u32, (u8, (u32, u32)))| {
            let first = block * 16;
            let address = match shape {
                0 if ranges => format!("{}/28", address(first)),
                1 if ranges => format!("{}-{}", address(first), address(first + 7)),
                _ => address(first + 1),
            };
            let ports = if ranges && more > 0 { format!("{port}-{}", port + more) } else { port.to_string() };
            format!("{address} . {ports}")
        };
        blocks.into_iter().zip(shapes).map(one).collect()
    })
}

fn theirs(place: u32) -> String {
    format!("203.0.113.{place}")
}

fn ours(place: u32) -> String {
    format!("198.51.100.{place}")
}

fn concatenated() -> impl Strategy<Value = String> {
    let not = || prop_oneof![3 => Just(""), 1 => Just("!= ")];
    let verdict = || select(&["accept", "drop", "continue", "return"][..]);
    let mapped = |parts: Vec<String>, verdicts: Vec<&str>| {
        let elements: Vec<_> = parts.iter().zip(&verdicts).map(|(key, verdict)| format!("{key} : {verdict}")).collect();
        elements.join(", ")
    };
    prop_oneof![
        2 => (not(), tuples(theirs, true)).prop_map(|(not, keys)| format!("ip saddr . tcp dport {not}{{ {} }}", keys.join(", "))),
        1 => (not(), tuples(ours, false)).prop_map(|(not, keys)| format!("ip daddr . udp dport {not}{{ {} }}", keys.join(", "))),
        1 => (tuples(ours, true), vec(verdict(), 6))
            .prop_map(move |(keys, verdicts)| format!("ip daddr . tcp dport vmap {{ {} }}", mapped(keys, verdicts))),
        1 => (0..1100_u32, 0..1100_u32).prop_map(|(tcp, udp)| format!("meta l4proto . th dport {{ tcp . {tcp}, udp . {udp} }}")),
        1 => (0..8_u32).prop_map(|kind| format!("icmp type . icmp code {{ 8 . 0, {kind} . 1, 3 . 3 }}")),
        1 => (0..255_u32).prop_map(|last| format!("iifname . ip saddr {{ \"eth0\" . 203.0.113.{last}, \"lo\" . 192.0.2.9 }}")),
    ]
}

/// What the table's named sets and maps are asked.
fn named(place: Place) -> impl Strategy<Value = String> {
    let sets: &'static [&'static str] = &[
        "ip saddr @hosts",
        "ip saddr != @hosts",
        "ip daddr . tcp dport @doors",
        "tcp dport @ports",
        "udp sport @ports",
        "ip6 saddr @hosts6",
        "ip6 saddr != @hosts6",
        "tcp dport vmap @verdicts",
        "meta mark set tcp dport map @marks",
        "meta mark set ip saddr & 0.0.0.255 map { 0.0.0.0-0.0.0.99 : 2, 0.0.0.100-0.0.0.255 : 3 }",
    ];
    let with_jumps: &'static [&'static str] = &["udp dport vmap @jumps", "tcp sport vmap @jumps"];
    let some = if place == Place::Leaf { sets.to_vec() } else { [sets, with_jumps].concat() };
    select(some).prop_map(str::to_owned)
}

/// Some of sixteen parts of something, each with two numbers of its own.
fn parts(numbers: u32) -> impl Strategy<Value = Vec<(u32, (u32, u32))>> {
    let parts = subsequence((0..16_u32).collect::<Vec<_>>(), 1..7);
    (parts, vec((0..numbers, 0..numbers), 7)).prop_map(|(parts, shapes)| parts.into_iter().zip(shapes).collect())
}

/// Elements of intervals: of each part a prefix of sixteen, a range, or one value.
fn intervals(value: fn(u32) -> String, prefix: u32) -> impl Strategy<Value = String> {
    let element = move |(part, (first, more)): (u32, (u32, u32))| match more % 3 {
        0 => format!("{}/{prefix}", value(part * 16)),
        1 => format!("{}-{}", value(part * 16 + first), value(part * 16 + first + more)),
        _ => value(part * 16 + first),
    };
    parts(8).prop_map(move |parts| parts.into_iter().map(element).collect::<Vec<_>>().join(", "))
}

/// Keys that are ports, or (`ranges`) ranges of them, with what a map gives each.
fn by_port(given: &'static [&'static str], ranges: bool) -> impl Strategy<Value = String> {
    let widths = prop_oneof![2 => Just(70_u32), 1 => Just(4000)];
    (widths, parts(60), vec(select(given), 7)).prop_map(move |(width, parts, given)| {
        let one = |((part, (first, more)), given): ((u32, (u32, u32)), &str)| {
            let low = part * width + first.min(width / 2);
            let key = if ranges && more > 20 { format!("{low}-{}", low + width / 2 - 1) } else { low.to_string() };
            if given.is_empty() { key } else { format!("{key} : {given}") }
        };
        parts.into_iter().zip(given).map(one).collect::<Vec<_>>().join(", ")
    })
}

/// The sets and maps of the table, with what is in them.
pub(crate) fn sets() -> impl Strategy<Value = String> {
    let theirs6 = |place: u32| format!("2001:db8:ff::{place:x}");
    let verdicts = &["accept", "drop", "return", "continue"];
    let jumps = &["jump leaf", "goto leaf", "continue", "drop"];
    let lists = (
        intervals(theirs, 28),
        intervals(theirs6, 124),
        by_port(&[""], false),
        tuples(ours, true),
        by_port(verdicts, true),
        (by_port(jumps, true), prop_oneof![Just(", * : continue"), Just(", * : drop"), Just("")]),
        by_port(&["1", "2", "3", "5"], false),
    );
    lists.prop_map(|(hosts, hosts6, ports, doors, verdicts, (jumps, others), marks)| {
        let doors = doors.join(", ");
        let of = |head: &str, elements: &str| format!("\t{head}\n\t\telements = {{ {elements} }}\n\t}}\n");
        [
            of("set hosts {\n\t\ttype ipv4_addr\n\t\tflags interval", &hosts),
            of("set hosts6 {\n\t\ttype ipv6_addr\n\t\tflags interval", &hosts6),
            of("set ports {\n\t\ttype inet_service", &ports),
            of("set doors {\n\t\ttype ipv4_addr . inet_service\n\t\tflags interval", &doors),
            of("map verdicts {\n\t\ttype inet_service : verdict\n\t\tflags interval", &verdicts),
            of("map jumps {\n\t\ttype inet_service : verdict\n\t\tflags interval", &(jumps + others)),
            of("map marks {\n\t\ttype inet_service : mark", &marks),
        ]
        .concat()
    })
}

/// What they are, for a rule that is read alone.
pub(crate) const DECLARED: &str = "set hosts { type ipv4_addr; flags interval; }
set hosts6 { type ipv6_addr; flags interval; }
set ports { type inet_service; }
set doors { type ipv4_addr . inet_service; flags interval; }
map verdicts { type inet_service : verdict; flags interval; }
map jumps { type inet_service : verdict; flags interval; }
map marks { type inet_service : mark; }
";

fn marks() -> impl Strategy<Value = String> {
    let set = select(
        &[
            "meta mark set 3",
            "meta mark set meta mark | 0x4",
            "meta mark set meta mark & 0x1",
            "meta mark set (meta mark & 0x1) << 2",
            "meta mark set meta mark ^ 0x5",
            "meta mark set tcp dport map { 0-1000 : 1, 1001-30000 : 2, * : 6 }",
            "meta mark set ip saddr . tcp dport map { 203.0.113.1 . 80 : 1, 203.0.113.2 . 22 : 2 }",
            "meta mark set jhash ip saddr mod 4 seed 0x7",
            "meta mark set jhash ip saddr . udp dport mod 4 seed 0x7 map { 0 : 1, 1 : 2, 2 : 3, 3 : 4 }",
        ][..],
    );
    let then = compared(("meta mark", 6));
    prop_oneof![
        2 => set.clone().prop_map(str::to_owned),
        3 => (set, then).prop_map(|(set, then)| format!("{set} {then}")),
    ]
}

/// What is written into headers, and what later rules then see.
const EDITS: &[(&str, Field)] = &[
    ("ip dscp set 8", ("ip dscp", 63)),
    ("ip ecn set 1", ("ip ecn", 3)),
    ("ip6 dscp set 9", ("ip6 dscp", 63)),
    ("tcp dport set 22", ("tcp dport", 65_535)),
    ("tcp sport set tcp sport map { 1-1023 : 1000, 1024-65535 : 2000 }", ("tcp sport", 65_535)),
    ("tcp window set 100", ("tcp window", 65_535)),
    ("tcp urgptr set 7", ("tcp urgptr", 65_535)),
    ("tcp option maxseg size set 1000", ("tcp option maxseg size", 3000)),
    ("udp dport set 53", ("udp dport", 65_535)),
    ("udp sport set 1023", ("udp sport", 65_535)),
    ("icmp sequence set 5", ("icmp sequence", 12)),
    ("icmpv6 sequence set 6", ("icmpv6 sequence", 12)),
];

fn edits() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(EDITS).prop_map(|(set, _)| set.to_owned()),
        2 => select(EDITS).prop_flat_map(|(set, field)| compared(field).prop_map(move |then| format!("{set} {then}"))),
    ]
}

fn hashes() -> impl Strategy<Value = String> {
    let keys = select(&["ip saddr", "ip saddr . tcp dport", "ip6 daddr", "udp sport . udp dport", "meta mark"][..]);
    (keys, 2..9_u32, 0..0xffff_u32, 0..4_u32)
        .prop_map(|(keys, modulus, seed, one)| format!("jhash {keys} mod {modulus} seed {seed:#x} {}", one % modulus))
}

/// One of them.
pub(crate) fn rare(place: Place) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => field(IP),
        2 => field(IP6),
        4 => field(UPPER),
        3 => select(AS_THEY_ARE).prop_map(str::to_owned),
        2 => select(OF_CONNECTIONS).prop_map(str::to_owned),
        3 => bits(),
        3 => concatenated(),
        3 => named(place),
        2 => marks(),
        2 => edits(),
        2 => hashes(),
    ]
}
