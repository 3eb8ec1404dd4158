//! Random rulesets: what a rule can say, put together so that nft takes it.

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::matches::{Place, rare, sets};

/// Something with or without `!=` in front.
fn perhaps_not(values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (prop_oneof![3 => Just(""), 1 => Just("!= ")], values).prop_map(|(not, values)| format!("{not}{values}"))
}

/// An address, prefix, range or set of these; `block` makes the address of one of 256 places.
fn addresses(block: fn(u32) -> String, longest: u32) -> impl Strategy<Value = String> {
    let prefix = move |place, host| format!("{}/{}", block(place), longest - host);
    let one = (0..256_u32).prop_map(block);
    // An element of its own sixteen places each, so that no two of a set overlap.
    let element = move |(sixteen, (first, more, kind)): (u32, (u32, u32, u8))| match kind {
        0 => block(sixteen * 16 + first),
        1 => format!("{}-{}", block(sixteen * 16 + first), block(sixteen * 16 + first + more + 1)),
        _ => prefix(sixteen * 16, more % 4 + 1),
    };
    let sixteens = subsequence((0..16_u32).collect::<Vec<_>>(), 1..6);
    let set = (sixteens, vec((0..8_u32, 0..6_u32, 0..3_u8), 6)).prop_map(move |(sixteens, shapes)| {
        let elements: Vec<_> = sixteens.into_iter().zip(shapes).map(element).collect();
        format!("{{ {} }}", elements.join(", "))
    });
    let range =
        (0..200_u32, 1..50_u32).prop_map(move |(first, more)| format!("{}-{}", block(first), block(first + more)));
    prop_oneof![
        3 => one,
        2 => (0..256_u32, 0..8_u32).prop_map(move |(place, host)| prefix(place, host)),
        2 => range,
        2 => set,
    ]
}

fn theirs(place: u32) -> String {
    format!("203.0.113.{place}")
}

fn ours(place: u32) -> String {
    format!("198.51.100.{place}")
}

fn theirs6(place: u32) -> String {
    format!("2001:db8:ff::{place:x}")
}

fn ours6(place: u32) -> String {
    format!("2001:db8:5::{place:x}")
}

fn ip() -> impl Strategy<Value = String> {
    let of =
        |word: &'static str, block| perhaps_not(addresses(block, 32)).prop_map(move |text| format!("ip {word} {text}"));
    prop_oneof![of("saddr", theirs), of("daddr", ours), of("saddr", ours), of("daddr", theirs)]
}

fn ip6() -> impl Strategy<Value = String> {
    let of = |word: &'static str, block| {
        perhaps_not(addresses(block, 128)).prop_map(move |text| format!("ip6 {word} {text}"))
    };
    prop_oneof![of("saddr", theirs6), of("daddr", ours6), of("saddr", ours6), of("daddr", theirs6)]
}

fn ports() -> impl Strategy<Value = String> {
    let number = || prop_oneof![2 => 0..=65535_u32, 3 => 0..1100_u32];
    let range = (0..60_000_u32, 1..5000_u32).prop_map(|(first, more)| format!("{first}-{}", first + more));
    let set = vec(0..3000_u32, 1..8).prop_map(|numbers| {
        let words: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        format!("{{ {} }}", words.join(", "))
    });
    let compared = (prop_oneof![Just("<"), Just("<="), Just(">"), Just(">=")], 1..65_000_u32);
    prop_oneof![
        3 => perhaps_not(number().prop_map(|number| number.to_string())),
        2 => perhaps_not(range),
        2 => perhaps_not(set),
        1 => compared.prop_map(|(sign, number)| format!("{sign} {number}")),
    ]
}

fn with_ports() -> impl Strategy<Value = String> {
    let words = (prop_oneof![Just("tcp"), Just("udp")], prop_oneof![1 => Just("sport"), 3 => Just("dport")]);
    (words, ports()).prop_map(|((protocol, side), ports)| format!("{protocol} {side} {ports}"))
}

fn icmp() -> impl Strategy<Value = String> {
    perhaps_not(prop_oneof![
        Just("echo-request".to_owned()),
        Just("{ echo-reply, echo-request }".to_owned()),
        (0..20_u8).prop_map(|kind| kind.to_string()),
        (0..10_u8).prop_map(|kind| format!("{kind}-{}", kind + 5)),
    ])
    .prop_map(|types| format!("icmp type {types}"))
}

fn icmpv6() -> impl Strategy<Value = String> {
    perhaps_not(prop_oneof![
        Just("echo-request".to_owned()),
        Just("{ nd-neighbor-solicit, nd-neighbor-advert }".to_owned()),
        (1..145_u8).prop_map(|kind| kind.to_string()),
        (128..140_u8).prop_map(|kind| format!("{kind}-{}", kind + 5)),
    ])
    .prop_map(|types| format!("icmpv6 type {types}"))
}

fn any_packet() -> impl Strategy<Value = String> {
    let of = |texts: &'static [&'static str]| prop::sample::select(texts).prop_map(str::to_owned);
    let l4 = of(&["tcp", "udp", "icmp", "ipv6-icmp", "sctp", "47", "{ tcp, udp }", "{ icmp, ipv6-icmp }", "6-17"]);
    prop_oneof![
        perhaps_not(l4).prop_map(|protocol| format!("meta l4proto {protocol}")),
        of(&[
            "ct state new",
            "ct state established,related",
            "ct state invalid",
            "ct state != new",
            "ct state { new, untracked }",
            "tcp flags syn",
            "tcp flags == syn",
            "tcp flags & (fin | syn | rst | ack) == syn",
            "tcp flags ! syn,rst",
            "iifname \"eth0\"",
            "iifname != \"eth*\"",
            "oifname \"eth0\"",
            "oifname { \"lo\", \"eth0\" }",
            "meta nfproto ipv4",
            "meta nfproto != ipv4",
            "meta length < 200",
        ]),
    ]
}

/// Tests that do not contradict each other.
fn tests(place: Place) -> impl Strategy<Value = String> {
    let joined = |(one, other): (String, String)| format!("{one} {other}");
    prop_oneof![
        2 => Just(String::new()),
        4 => with_ports(),
        3 => ip(),
        2 => ip6(),
        2 => any_packet(),
        1 => icmp(),
        1 => icmpv6(),
        3 => (ip(), with_ports()).prop_map(joined),
        2 => (ip6(), with_ports()).prop_map(joined),
        1 => (with_ports(), ip()).prop_map(joined),
        1 => (ip(), icmp()).prop_map(joined),
        1 => (ip6(), icmpv6()).prop_map(joined),
        10 => rare(place),
        2 => (rare(place), rare(place)).prop_map(joined),
        2 => (ip(), rare(place)).prop_map(joined),
    ]
}

/// A rule that counts; `chains` are those that it may jump to.
fn rule(chains: &'static [&'static str]) -> impl Strategy<Value = String> {
    let plain = prop_oneof![4 => Just(String::new()), 3 => Just("accept".to_owned()), 3 => Just("drop".to_owned()), 1 => Just("return".to_owned())];
    let place = if chains.is_empty() { Place::Leaf } else { Place::Other };
    let verdict = if chains.is_empty() {
        plain.boxed()
    } else {
        let jump = (prop_oneof![2 => Just("jump"), 1 => Just("goto")], prop::sample::select(chains));
        prop_oneof![4 => plain, 1 => jump.prop_map(|(how, chain)| format!("{how} {chain}"))].boxed()
    };
    (tests(place), verdict).prop_map(|(tests, verdict)| format!("\t\t{tests} counter {verdict}\n"))
}

fn rules(chains: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(rule(chains), 1..8).prop_map(|rules| rules.concat())
}

/// Packets that are for the host, or sent by it.
pub(crate) fn ruleset() -> impl Strategy<Value = String> {
    table(
        prop_oneof![3 => Just("input"), 2 => Just("output"), 2 => Just("prerouting"), 1 => Just("postrouting")].boxed(),
    )
}

/// Packets on their way through.
pub(crate) fn router() -> impl Strategy<Value = String> {
    table(prop_oneof![4 => Just("forward"), 1 => Just("prerouting"), 1 => Just("postrouting")].boxed())
}

/// A table with two chains to jump to and up to three base chains.
fn table(hook: BoxedStrategy<&'static str>) -> impl Strategy<Value = String> {
    let policy = || prop_oneof![Just("accept"), Just("drop")];
    // Before and behind connection tracking; each priority once: nft leaves the order of chains with one priority to the
    // kernel.
    let early = || prop_oneof![2 => Just(0), 1 => Just(-260)];
    let base = (hook, early(), policy(), rules(&["leaf", "branch"]));
    (sets(), rules(&[]), rules(&["leaf"]), vec(base, 1..4)).prop_map(|(sets, leaf, branch, bases)| {
        let mut text =
            format!("table inet dice {{\n{sets}\tchain leaf {{\n{leaf}\t}}\n\tchain branch {{\n{branch}\t}}\n");
        for (number, (hook, early, policy, rules)) in bases.into_iter().enumerate() {
            let priority = [0, -20, 30][number] + early;
            let head = format!("type filter hook {hook} priority {priority}; policy {policy};");
            text.push_str(&["\tchain base", &number.to_string(), " {\n\t\t", &head, "\n", &rules, "\t}\n"].concat());
        }
        text + "}\n"
    })
}
