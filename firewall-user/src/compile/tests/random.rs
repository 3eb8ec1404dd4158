//! Random rulesets and packets near their boundaries: the image does what the rules say.

use std::fmt::Write;

use firewall_common::{
    classify::build::Tuning,
    eval::HostRun,
    image::{Hook, Image, Target},
    packet::Field,
};
use proptest::{prelude::*, sample::select};

use super::{
    super::{Manifest, StateSet, compile, compile_tuned, listing::image_listing, numbers::Numbers},
    model::{self, Outcome, Probe},
};
use crate::language::{self, Options, Ruleset, print};

const PORTS: &[u16] = &[0, 1, 21, 22, 23, 79, 80, 81, 1023, 1024, 65534, 65535];
const V4: &[u128] = &[0, 1, 0x09ff_ffff, 0x0a00_0000, 0x0a00_0001, 0x0a00_00ff, 0x0a00_0100, 0xc000_0201, 0xffff_ffff];
const V6: &[u128] = &[
    0,
    1,
    0x2001_0db8_0000_0000_0000_0000_0000_0000,
    0x2001_0db8_0000_0000_0000_0000_0000_0001,
    0x2001_0db8_ffff_ffff_ffff_ffff_ffff_ffff,
    0x2001_0db9_0000_0000_0000_0000_0000_0000,
    0xfe80_0000_0000_0000_0000_0000_0000_0001,
    u128::MAX,
];
const INTERFACES: &[(u32, &str)] = &[(0, ""), (1, "lo"), (2, "eth0"), (3, "eth1"), (4, "eth10"), (5, "wg0")];

fn port() -> impl Strategy<Value = String> {
    select(PORTS).prop_map(|port| port.to_string())
}

fn v4() -> impl Strategy<Value = String> {
    select(V4).prop_map(|address| std::net::Ipv4Addr::from_bits(address as u32).to_string())
}

fn v6() -> impl Strategy<Value = String> {
    select(V6).prop_map(|address| std::net::Ipv6Addr::from_bits(address).to_string())
}

/// A value, a range or a prefix.
fn run(value: impl Strategy<Value = String> + Clone + 'static, bits: u8) -> BoxedStrategy<String> {
    prop_oneof![
        4 => value.clone(),
        2 => (value.clone(), value.clone()).prop_map(|(low, high)| format!("{low}-{high}")),
        2 => (value, 0..=bits).prop_map(|(base, length)| format!("{base}/{length}")),
    ]
    .boxed()
}

/// An operator and a right side: one value, or a set.
fn right(
    value: impl Strategy<Value = String> + Clone + 'static,
    ordered: BoxedStrategy<String>,
) -> BoxedStrategy<String> {
    let negate = select(&["", "!= "][..]);
    let set = proptest::collection::vec(value.clone(), 1..8).prop_map(|values| format!("{{ {} }}", values.join(", ")));
    let compare = (select(&["<", "<=", ">", ">="][..]), ordered).prop_map(|(sign, value)| format!("{sign} {value}"));
    prop_oneof![
        3 => (negate.clone(), value).prop_map(|(negate, value)| format!("{negate}{value}")),
        3 => (negate, set).prop_map(|(negate, set)| format!("{negate}{set}")),
        1 => compare,
    ]
    .boxed()
}

fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(words).prop_map(str::to_owned)
}

fn a_match() -> BoxedStrategy<String> {
    let port_field =
        words(&["tcp dport", "tcp sport", "udp dport", "udp sport", "sctp dport", "udplite sport", "dccp dport"]);
    let th = words(&[
        "meta l4proto { tcp, udp } th dport",
        "meta l4proto tcp th sport",
        "ip protocol { 6, 17, 132 } th dport",
    ]);
    let small = (0u32..300).prop_map(|number| number.to_string());
    let mark = select(&["0", "1", "2", "15", "16", "0xff", "0x100", "0xffffffff"][..]).prop_map(str::to_owned);
    prop_oneof![
        6 => (prop_oneof![3 => port_field, 1 => th], right(run(port().boxed(), 16), port().boxed())).prop_map(join),
        4 => (words(&["ip saddr", "ip daddr"]), right(run(v4().boxed(), 32), v4().boxed())).prop_map(join),
        4 => (words(&["ip6 saddr", "ip6 daddr"]), right(run(v6().boxed(), 128), v6().boxed())).prop_map(join),
        3 => words(&[
            "iifname lo", "iifname != lo", "iifname eth*", "iifname != eth*", "iifname { lo, wg0 }", "iifname { lo, eth1* }",
            "iifname != { eth0, eth1, eth10, lo, wg0 }", "iifname { a, b, c, d, eth0 }", "oifname eth0", "oifname != wg*", "iif lo", "iif != { 1, 2 }", "oif 0-3", "iifname @names", "iifname != @names",
        ]),
        3 => words(&[
            "ct state established,related", "ct state new", "ct state != new", "ct state { new, invalid }",
            "ct state == established,related", "ct state ! new,untracked", "ct state != { established, new }", "ct state 0x42", "ct state > 3",
        ]),
        2 => words(&[
            "tcp flags syn", "tcp flags == syn", "tcp flags != syn,ack", "tcp flags & (fin|syn|rst|ack) == syn", "tcp flags ! rst,fin",
            "tcp flags { syn, syn|ack }", "tcp flags != syn / syn,ack", "tcp flags & syn == syn", "tcp flags & (syn|fin) == { fin, syn }", "tcp flags 0", "tcp flags == 0", "tcp flags > 3",
        ]),
        2 => (words(&["icmp type", "icmp code", "icmpv6 type", "icmpv6 code"]), right(small.clone().boxed(), small.clone().boxed())).prop_map(join),
        2 => words(&[
            "meta l4proto tcp", "meta l4proto != { tcp, udp }", "meta l4proto 1-6", "ip protocol icmp", "ip protocol != tcp",
            "meta nfproto ipv4", "meta nfproto != ipv6", "meta protocol ip6", "meta l4proto icmp", "meta l4proto ipv6-icmp",
        ]),
        2 => (words(&["meta mark", "ct mark", "meta mark & 0xf ==", "ct mark & 0xff !="]), mark.clone()).prop_map(join),
        1 => (words(&["meta mark", "ct mark"]), right(mark.clone(), mark.boxed())).prop_map(join),
        1 => (words(&["meta length"]), right(small.clone().boxed(), small.boxed())).prop_map(join),
        6 => header_match(),
        1 => words(&["ip saddr @v4", "ip daddr != @v4", "ip6 saddr @v6", "tcp dport @ports", "udp sport != @ports", "ip saddr & 255.0.0.255 == 10.0.0.1", "ip6 saddr & ffff::1 == 2001::1", "ip6 daddr & ffff::1 != 2001::1"]),
    ]
    .boxed()
}

fn concatenation() -> BoxedStrategy<String> {
    let named = words(&[
        "ip saddr . tcp dport @pairs",
        "ip daddr . udp sport != @pairs",
        "tcp dport . ip6 saddr @runs",
        "tcp sport . ip6 daddr != @runs",
        "iifname . ct state vmap @pair_map",
        "meta l4proto . th dport { tcp . 22, udp . 80 }",
        "ip protocol . th sport { tcp . 0-1023, sctp . 80 }",
        "ip saddr & 255.255.255.0 . tcp dport { 10.0.0.0 . 22 }",
        "iifname . oifname { \"lo\" . \"eth0\", \"eth0\" . \"eth1\", \"eth*\" . \"wg0\" }",
        "ct mark . meta mark != { 0 . 0, 1 . 15, 255 . 255 }",
        "ether saddr . vlan id { 00:00:5e:00:53:01 . 5, 00:00:00:00:00:00 . 1 }",
        "icmp type . icmp code { echo-request . 0, 3 . 1-10 }",
    ]);
    let pair = (v4(), run(port().boxed(), 16)).prop_map(|(address, port)| format!("{address} . {port}"));
    let set = (select(&["", "!= "][..]), proptest::collection::vec(pair, 1..6))
        .prop_map(|(sign, pairs)| format!("ip saddr . tcp dport {sign}{{ {} }}", pairs.join(", ")));
    let mapped = (v4(), port(), verdict()).prop_map(|(address, port, verdict)| {
        let verdict = if verdict.is_empty() { "continue" } else { &verdict };
        format!("{address} . {port} : {verdict}")
    });
    let map = (proptest::collection::vec(mapped, 1..6), select(&["", ", * : drop"][..]))
        .prop_map(|(pairs, any)| format!("ip daddr . udp dport vmap {{ {}{any} }}", pairs.join(", ")));
    prop_oneof![named, set, map].boxed()
}

fn named_map() -> BoxedStrategy<String> {
    words(&[
        "tcp dport vmap @by_port",
        "udp sport vmap @by_port",
        "tcp dport & 0xff vmap @by_port",
        "ip saddr vmap @by_address",
        "ip daddr & 255.255.255.0 vmap @by_address",
        "ether saddr vmap @by_card",
        "meta mark vmap @nothing",
    ])
    .boxed()
}

/// A field of a header that is a number, compared with numbers at its edges.
fn header_match() -> BoxedStrategy<String> {
    let fields: &[(&str, &[&str])] = &[
        ("ip dscp", &["cs0", "cs1", "af11", "ef", "0x3f"]),
        ("ip ecn", &["ce", "ect0", "0"]),
        ("ip hdrlength", &["5", "15", "0"]),
        ("ip length", &["0", "60", "65535"]),
        ("ip id", &["0", "1", "65535"]),
        ("ip frag-off", &["0", "1", "0x2000", "65535"]),
        ("ip ttl", &["0", "1", "64", "255"]),
        ("ip6 dscp", &["cs0", "cs1", "af11", "ef", "0x3f"]),
        ("ip6 flowlabel", &["0", "1", "0xfffff"]),
        ("ip6 hoplimit", &["0", "1", "64", "255"]),
        ("ip6 nexthdr", &["0", "tcp", "udp", "255"]),
        ("ip6 length", &["0", "1", "65535"]),
        ("tcp sequence", &["0", "1", "0xffffffff"]),
        ("tcp ackseq", &["0", "1", "0xffffffff"]),
        ("tcp doff", &["0", "5", "15"]),
        ("tcp window", &["0", "1", "65535"]),
        ("tcp urgptr", &["0", "1", "65535"]),
        ("udp length", &["0", "1", "65535"]),
        ("udp checksum", &["0", "1", "65535"]),
        ("icmp id", &["0", "1", "65535"]),
        ("icmp sequence", &["0", "1", "65535"]),
        ("icmpv6 id", &["0", "1", "65535"]),
        ("vlan id", &["0", "1", "5", "4095"]),
        ("vlan pcp", &["0", "1", "7"]),
        ("vlan dei", &["0", "1"]),
        ("vlan type", &["ip", "ip6", "0x8100"]),
        ("ether type", &["ip", "ip6", "vlan"]),
        ("ether saddr", &["00:00:00:00:00:00", "00:00:5e:00:53:01", "ff:ff:ff:ff:ff:ff"]),
        ("ether daddr", &["00:00:00:00:00:00", "00:00:5e:00:53:01", "ff:ff:ff:ff:ff:ff"]),
    ];
    let numbers = select(fields).prop_flat_map(|(field, values)| {
        let value = select(values).prop_map(str::to_owned);
        let range = (value.clone(), value.clone()).prop_map(|(low, high)| format!("{low} - {high}"));
        let either = prop_oneof![3 => value.clone(), 1 => range].boxed();
        (Just(field.to_owned()), right(either, value.boxed())).prop_map(join)
    });
    let changed = words(&[
        "ip ttl & 0xc0 == 64",
        "ip ttl 64/2",
        "ip frag-off & 0x1fff != 0",
        "ip id | 1 == 1",
        "tcp window ^ 1 == 0",
        "meta mark | 1 == { 1, 255 }",
        "meta mark & 0xf | 0x100 != 0x100",
        "ct mark ^ 0xff == { 0, 1 }",
        "tcp dport | 1 == 23",
        "ip saddr | 0.0.0.1 == 10.0.0.1",
        "ip6 saddr | ::1 == 2001:db8::1",
        "ip6 daddr ^ ::1 != ::",
        "ether saddr & 00:00:ff:00:00:00 == 00:00:5e:00:00:00",
        "ether saddr 00:00:5e:00:00:00/24",
        "ether daddr | 00:00:00:00:00:01 == 00:00:5e:00:53:01",
        "ether type 8021q vlan id 5",
        "tcp dport & 0xff >= 22",
        "meta mark & 0xff 0-15",
        "icmp type 8 icmp id 1",
    ]);
    prop_oneof![3 => numbers, 1 => changed].boxed()
}

fn join((left, right): (String, String)) -> String {
    format!("{left} {right}")
}

fn verdict() -> impl Strategy<Value = String> + Clone {
    words(&["accept", "drop", "return", "continue", "jump one", "jump two", "goto one", "goto two", ""])
}

fn map() -> BoxedStrategy<String> {
    let subject = words(&["tcp dport", "udp sport", "ip saddr", "ct state", "iifname", "ip6 daddr"]);
    let element = (any::<prop::sample::Index>(), verdict());
    (subject, proptest::collection::vec(element, 1..7), any::<bool>())
        .prop_map(|(subject, elements, any)| {
            let keys: Vec<String> = match &*subject {
                "ip saddr" => vec!["10.0.0.0".into(), "10.0.0.1".into(), "192.0.2.0/24".into(), "0.0.0.0".into()],
                "ip6 daddr" => vec!["::".into(), "::1".into(), "2001:db8::/32".into()],
                "ct state" => ["new", "established", "related", "invalid"].map(str::to_owned).into(),
                "iifname" => ["lo", "eth*", "wg0"].map(str::to_owned).into(),
                _ => ["0", "22-23", "80", "1024-65535"].map(str::to_owned).into(),
            };
            let mut used = std::collections::BTreeMap::new();
            for (at, verdict) in elements {
                let verdict = if verdict.is_empty() { "continue".to_owned() } else { verdict };
                used.insert(at.index(keys.len()), verdict);
            }
            let mut listed: Vec<String> =
                used.into_iter().map(|(at, verdict)| format!("{} : {verdict}", keys[at])).collect();
            if any {
                listed.push("* : drop".to_owned());
            }
            format!("{subject} vmap {{ {} }}", listed.join(", "))
        })
        .boxed()
}

fn assignment() -> BoxedStrategy<String> {
    let source = words(&["meta mark", "ct mark", "tcp sequence", "meta length"]);
    let source = (
        source,
        select(
            &["", " & 0xff", " | 1", " ^ 0xffff", " & 0xf0 | 0x100", " << 8", " >> 4", " & 0xf ^ 3 << 2", " >> 1 | 3"]
                [..],
        ),
    )
        .prop_map(|(source, change)| format!("{source}{change}"));
    let map = words(&[
        "tcp dport map { 22 : 1, 80 : 15, 81-1023 : 1, * : 255 }",
        "tcp dport map { 22 : 1, 80 : 15 }",
        "ip saddr map { 10.0.0.0/24 : 15, 192.0.2.1 : 16 }",
        "ip saddr . tcp dport map { 10.0.0.0 . 22 : 1, 10.0.0.1 . 80 : 2, 192.0.2.1 . 22 : 1 }",
        "iifname . meta mark map { \"lo\" . 1 : 15, \"eth0\" . 15 : 1, * : 2 }",
        "meta mark & 0xf map { 1 : 15, 15 : 1 }",
        "tcp dport map @to_mark",
        "ip6 saddr . udp dport map @pair_to_mark",
        "ip6 saddr map { 2001:db8::/32 : 1, :: : 2, * : 3 }",
        "ct state map { new : 1, established : 2 }",
    ]);
    let value = prop_oneof![map, words(&["0", "1", "15", "255", "0xffffffff", "1 << 4"]), source];
    (words(&["meta mark set", "ct mark set"]), value).prop_map(join).boxed()
}

fn rule() -> impl Strategy<Value = String> {
    let part = prop_oneof![6 => a_match(), 2 => Just("counter".to_owned()), 1 => Just("log".to_owned()), 1 => map(), 1 => named_map(), 2 => concatenation(), 2 => assignment()];
    (proptest::collection::vec(part, 0..5), verdict())
        .prop_map(|(parts, verdict)| format!("{} {verdict}", parts.join(" ")).trim().to_owned())
}

const SETS: &str = "
    set v4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 192.0.2.1, 0.0.0.0-0.0.0.1, 200.0.0.0/8, 202.0.0.0/8, 204.0.0.0/8 }; }
    set v6 { type ipv6_addr; flags interval; elements = { 2001:db8::/32, ::1, fe80::/10, 3000::/16, 3002::/16 }; }
    set ports { type inet_service; elements = { 0, 22, 80, 81, 1023, 65535 }; }
    map by_port { type inet_service : verdict; flags interval; elements = { 0 : drop, 22-80 : jump two, 1024-65535 : continue, 81 : goto two }; }
    map by_address { type ipv4_addr : verdict; elements = { 10.0.0.0 : accept, 10.0.0.1 : return, 192.0.2.1 : continue, * : drop }; }
    map by_card { type ether_addr : verdict; elements = { 00:00:5e:00:53:01 : drop, ff:ff:ff:ff:ff:ff : accept }; }
    set pairs { type ipv4_addr . inet_service; elements = { 10.0.0.0 . 22, 10.0.0.1 . 80, 192.0.2.1 . 22 }; }
    set runs { type inet_service . ipv6_addr; flags interval; elements = { 22-80 . 2001:db8::/32, 1023-65535 . ::-::1 }; }
    map pair_map { type ifname . ct_state : verdict; elements = { \"lo\" . new : accept, \"eth0\" . established : drop, \"wg0\" . new : continue, * : return }; }
    map nothing { type mark : verdict; }
    map to_mark { type inet_service : mark; flags interval; elements = { 0-21 : 1, 22 : 0xff, 80 : 15, 81 : 16 }; }
    map pair_to_mark { type ipv6_addr . inet_service : mark; elements = { ::1 . 22 : 1, 2001:db8:: . 80 : 15 }; }
    set names { type ifname; elements = { \"lo\", \"eth1\" }; }
";

fn parse(text: &str) -> Option<Ruleset> {
    let interface = |name: &str| (name == "lo").then_some(1);
    let options = Options { interface: &interface, include_directories: Vec::new() };
    language::parse_text("random.nft", text, &options).ok().map(|parsed| parsed.ruleset)
}

fn table(family: &str, chains: &[String; 4]) -> String {
    let sets = match family {
        "ip6" | "ip" | "inet" => SETS,
        _ => "",
    };
    let [first, second, one, two] = chains;
    format!(
        "table {family} t {{ {sets}
    chain two {{ {two} }}
    chain one {{ {one} }}
    chain first {{ type filter hook input priority 0; {first} }}
    chain second {{ type filter hook input priority 5; policy drop; {second} }}
}}
"
    )
}

/// Keeps the rules that nftables would accept, each tried alone; chain `one` may jump to `two` and not back.
fn rules(family: &str, rules: &[String], name: &str) -> String {
    let mut kept = String::new();
    for rule in rules {
        let rule = match name {
            // The map leads back there.
            "two" if rule.contains("jump") || rule.contains("goto") || rule.contains("@by_port") => continue,
            "one" => rule.replace(" one", " two"),
            _ => rule.clone(),
        };
        let empty = String::new();
        let alone = table(family, &[format!("{rule};"), empty.clone(), empty.clone(), empty]);
        if !rule.is_empty() && parse(&alone).is_some() {
            let _ = write!(kept, "\n        {rule};");
        }
    }
    kept
}

fn ruleset() -> impl Strategy<Value = String> {
    ruleset_of(6)
}

/// Rulesets whose chains have fewer rules than this.
fn ruleset_of(end: usize) -> impl Strategy<Value = String> {
    let chain = move || proptest::collection::vec(rule(), 0..end);
    (select(&["inet", "ip", "ip6"][..]), chain(), chain(), chain(), chain()).prop_map(
        |(family, first, second, one, two)| {
            table(
                family,
                &[
                    rules(family, &first, "first"),
                    rules(family, &second, "second"),
                    rules(family, &one, "one"),
                    rules(family, &two, "two"),
                ],
            )
        },
    )
}

fn probe() -> impl Strategy<Value = Probe> {
    let addresses = |v6: bool| {
        let pool = if v6 { V6 } else { V4 };
        (select(pool), select(pool))
    };
    let upper = (select(&[1u8, 6, 6, 17, 17, 33, 47, 58, 132, 136][..]), prop::bool::weighted(0.85));
    let ports = (select(PORTS), select(PORTS), select(&[0u8, 1, 2, 3, 4, 16, 18, 255][..]), 0u8..20, 0u8..20);
    let meta = (
        select(&[1u32, 2, 4, 8, 64][..]),
        select(INTERFACES),
        select(INTERFACES),
        0u32..320,
        select(&[0u32, 1, 2, 15, 16, 255, 256, u32::MAX][..]),
        select(&[0u32, 1, 15, 255, 256, u32::MAX][..]),
    );
    let word = || {
        select(
            &[0u32, 1, 0xffff, 0x0001_0000, 0xffff_0000, u32::MAX, 0x4500_003c, 0x6020_0001, 0x4020, 0x5b81_0640][..],
        )
    };
    let address = || select(&[0u64, 0x0000_5e00_5301, 0x0000_5e00_5302, 0xffff_ffff_ffff][..]);
    let tag = (select(&[0u16, 1, 5, 0xfff, 0x1005, 0xe005, 0xffff][..]), select(&[0x0800u16, 0x86dd, 0x8100][..]));
    let headers = (
        prop::option::of((address(), address(), prop::option::of(tag))),
        [word(), word()],
        [word(), word(), word(), word()],
        prop::bool::weighted(0.1),
    );
    any::<bool>()
        .prop_flat_map(move |v6| (Just(v6), addresses(v6), upper.clone(), ports.clone(), meta.clone(), headers.clone()))
        .prop_map(|(v6, (source, destination), (protocol, header), ports, meta, headers)| Probe {
            v6,
            protocol,
            header,
            source,
            destination,
            source_port: ports.0,
            destination_port: ports.1,
            flags: ports.2,
            icmp: (ports.3, ports.4),
            state: meta.0,
            iif: meta.1,
            oif: meta.2,
            length: meta.3,
            mark: meta.4,
            ct_mark: meta.5,
            link: headers.0,
            network: headers.1,
            transport: headers.2,
            later: headers.3,
        })
}

/// What the image does, in the model's words.
fn run_image(ruleset: &Ruleset, (image, sets): (&Image, &[StateSet]), manifest: &Manifest, probe: &Probe) -> Outcome {
    let memory: Vec<_> = sets.iter().map(|set| (set.slot, set.memory())).collect();
    let mut run = HostRun::new(image);
    run.sets = memory.iter().map(|(slot, memory)| (*slot, memory.lines())).collect();
    let mut packet = probe.packet();
    let cursor = run.run_part(Hook::Input.into(), &mut packet).expect("a whole image");
    let numbers = Numbers::of(ruleset);
    let mut by_slot = std::collections::HashMap::new();
    for (table, content) in ruleset.tables().iter().enumerate() {
        for (chain, content) in content.chains.iter().enumerate() {
            for rule in 0..content.rules.len() {
                let record = &manifest.rules[numbers.rule(table, chain, rule) as usize];
                by_slot.extend(
                    record.counters.iter().enumerate().map(|(nth, counter)| (counter.slot, (table, chain, rule, nth))),
                );
            }
        }
    }
    let marks = (packet.get(Field::Mark), packet.get(Field::CtMark));
    Outcome {
        accepted: cursor.at == Target::ACCEPT,
        marks,
        counted: run.counted.iter().map(|slot| by_slot[slot]).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn images_do_what_the_rules_say(text in ruleset(), probes in proptest::collection::vec(probe(), 24)) {
        let ruleset = parse(&text).expect("each rule was accepted alone");
        let compiled = compile(&ruleset, None).expect("small");
        for probe in &probes {
            let expected = model::run(&ruleset, Hook::Input, probe);
            let found = run_image(&ruleset, (&compiled.image, &compiled.sets), &compiled.manifest, probe);
            prop_assert_eq!(found, expected, "{:?}\n{}\n{}", probe, text, image_listing(&compiled.image));
        }
    }

    #[test]
    fn trees_do_what_the_rules_say(
        text in prop_oneof![ruleset(), ruleset_of(40)],
        probes in proptest::collection::vec(probe(), 48),
        (front, short, many) in (0..5_usize, 1..4_usize, 1..12_usize),
    ) {
        let ruleset = parse(&text).expect("each rule was accepted alone");
        let tuning = Tuning { linear: 0, front, short, many, allowance: 8, least_allowance: 64, tries_others: false };
        let compiled = compile_tuned(&ruleset, None, &tuning).expect("small");
        for probe in &probes {
            let expected = model::run(&ruleset, Hook::Input, probe);
            let found = run_image(&ruleset, (&compiled.image, &compiled.sets), &compiled.manifest, probe);
            prop_assert_eq!(found, expected, "{:?}\n{}\n{}", probe, text, image_listing(&compiled.image));
            let memory: Vec<_> = compiled.sets.iter().map(|set| (set.slot, set.memory())).collect();
            let (mut trees, mut linear) = (HostRun::new(&compiled.image), HostRun::new(&compiled.image));
            for run in [&mut trees, &mut linear] {
                run.sets = memory.iter().map(|(slot, memory)| (*slot, memory.lines())).collect();
            }
            let by_trees = trees.run(Hook::Input, &probe.packet()).map(|cursor| (cursor.at, cursor.rule));
            let one_by_one = linear.run_linear(Hook::Input, &probe.packet()).map(|cursor| (cursor.at, cursor.rule));
            prop_assert_eq!(by_trees, one_by_one, "{:?}\n{}", probe, text);
            prop_assert_eq!(trees.logged, linear.logged, "{:?}\n{}", probe, text);
        }
    }

    #[test]
    fn printed_rulesets_read_the_same(text in ruleset()) {
        let ruleset = parse(&text).expect("each rule was accepted alone");
        let printed = print::text(&ruleset);
        let again = parse(&printed);
        prop_assert_eq!(again.as_ref(), Some(&ruleset), "{}\n{}", text, printed);
        prop_assert_eq!(print::text(again.as_ref().expect("just compared")), printed);
    }
}
