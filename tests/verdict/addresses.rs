//! `saddr` and `daddr` in every form, at the edges of what they name.

use firewall_user::kernel::Side;

use super::support::{
    packets::{between, from, syn, to},
    table::{Match, check_matches},
};

const SOURCES: &[Match<'static>] = &[
    // One address.
    ("ip saddr 192.0.2.7", "192.0.2.7", "192.0.2.6 192.0.2.8 192.0.3.7 2001:db8::7"),
    ("ip saddr 192.0.2.7/32", "192.0.2.7", "192.0.2.6 192.0.2.8"),
    ("ip saddr 0.0.0.0", "0.0.0.0", "0.0.0.1 255.255.255.255"),
    ("ip saddr 255.255.255.255", "255.255.255.255", "255.255.255.254 0.0.0.0"),
    // Prefixes: network address, broadcast address, one below, one above.
    ("ip saddr 192.0.2.0/24", "192.0.2.0 192.0.2.1 192.0.2.255", "192.0.1.255 192.0.3.0 ::c000:200 2001:db8::1"),
    ("ip saddr 192.0.2.128/25", "192.0.2.128 192.0.2.255", "192.0.2.127 192.0.3.0"),
    ("ip saddr 192.0.2.6/31", "192.0.2.6 192.0.2.7", "192.0.2.5 192.0.2.8"),
    ("ip saddr 128.0.0.0/1", "128.0.0.0 255.255.255.255", "127.255.255.255 0.0.0.0"),
    ("ip saddr 0.0.0.0/0", "0.0.0.0 192.0.2.1 255.255.255.255", "2001:db8::1 ::"),
    ("ip saddr 10.0.0.0/8", "10.0.0.0 10.255.255.255", "9.255.255.255 11.0.0.0"),
    // Ranges: both ends belong.
    ("ip saddr 192.0.2.10-192.0.2.20", "192.0.2.10 192.0.2.15 192.0.2.20", "192.0.2.9 192.0.2.21"),
    ("ip saddr 192.0.2.255-198.51.100.0", "192.0.2.255 193.0.0.0 198.51.100.0", "192.0.2.254 198.51.100.1"),
    ("ip saddr 255.255.255.0-255.255.255.255", "255.255.255.0 255.255.255.255", "255.255.254.255 0.0.0.0"),
    // Not: of this family, and not that.
    ("ip saddr != 192.0.2.7", "192.0.2.6 192.0.2.8 10.0.0.0", "192.0.2.7 2001:db8::7"),
    ("ip saddr != 192.0.2.0/24", "192.0.1.255 192.0.3.0", "192.0.2.0 192.0.2.255 2001:db8::1"),
    ("ip saddr != 192.0.2.10-192.0.2.20", "192.0.2.9 192.0.2.21", "192.0.2.10 192.0.2.20 2001:db8::1"),
    ("ip saddr != { 192.0.2.7, 192.0.2.9 }", "192.0.2.8 10.0.0.0", "192.0.2.7 192.0.2.9 2001:db8::1"),
    ("ip saddr != @offices", "192.0.2.8 203.0.114.0", "192.0.2.7 203.0.113.0 203.0.113.255 2001:db8::1"),
    // Sets: of addresses, of prefixes and ranges, with names.
    (
        "ip saddr { 192.0.2.1, 192.0.2.3, 192.0.2.5 }",
        "192.0.2.1 192.0.2.3 192.0.2.5",
        "192.0.2.0 192.0.2.2 192.0.2.4 192.0.2.6",
    ),
    (
        "ip saddr { 192.0.2.0/30, 192.0.2.8/30 }",
        "192.0.2.0 192.0.2.3 192.0.2.8 192.0.2.11",
        "192.0.2.4 192.0.2.7 192.0.2.12",
    ),
    (
        "ip saddr { 192.0.2.1, 192.0.2.4-192.0.2.6, 198.51.100.0/24 }",
        "192.0.2.1 192.0.2.4 192.0.2.6 198.51.100.255",
        "192.0.2.2 192.0.2.3 192.0.2.7 198.51.101.0",
    ),
    ("ip saddr { 0.0.0.0/1, 128.0.0.0/1 }", "0.0.0.0 127.255.255.255 128.0.0.0 255.255.255.255", "2001:db8::1"),
    ("ip saddr @offices", "192.0.2.7 203.0.113.0 203.0.113.255", "192.0.2.6 203.0.112.255 203.0.114.0 2001:db8::1"),
    ("ip saddr @empty", "", "192.0.2.7 0.0.0.0"),
    ("ip saddr != @empty", "192.0.2.7 0.0.0.0", "2001:db8::1"),
    // Definitions.
    ("ip saddr $lan", "192.0.2.0 192.0.2.255", "192.0.3.0"),
    ("ip saddr $hosts", "192.0.2.7 192.0.2.9", "192.0.2.8"),
];

const SOURCES6: &[Match<'static>] = &[
    ("ip6 saddr 2001:db8::7", "2001:db8::7", "2001:db8::6 2001:db8::8 2001:db9::7 192.0.2.7"),
    ("ip6 saddr ::", "::", "::1 8000::"),
    (
        "ip6 saddr 2001:db8::/32",
        "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 192.0.2.1",
    ),
    (
        "ip6 saddr 2001:db8:1::/48",
        "2001:db8:1:: 2001:db8:1:ffff:ffff:ffff:ffff:ffff",
        "2001:db8:0:ffff:ffff:ffff:ffff:ffff 2001:db8:2::",
    ),
    (
        "ip6 saddr 2001:db8::/64",
        "2001:db8:: 2001:db8::ffff:ffff:ffff:ffff",
        "2001:db8:0:1:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
    ("ip6 saddr 2001:db8::10/124", "2001:db8::10 2001:db8::1f", "2001:db8::f 2001:db8::20"),
    ("ip6 saddr 2001:db8::6/127", "2001:db8::6 2001:db8::7", "2001:db8::5 2001:db8::8"),
    ("ip6 saddr 2001:db8::7/128", "2001:db8::7", "2001:db8::6"),
    ("ip6 saddr ::/0", ":: 2001:db8::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.0 192.0.2.1"),
    (
        "ip6 saddr fe80::/10",
        "fe80:: febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff fec0::",
    ),
    ("ip6 saddr 2001:db8::10-2001:db8::20", "2001:db8::10 2001:db8::20", "2001:db8::f 2001:db8::21"),
    // A range across each of the four words.
    (
        "ip6 saddr 2001:db8::ffff:ffff-2001:db8:0:1::",
        "2001:db8::ffff:ffff 2001:db8:0:0:1:: 2001:db8:0:1::",
        "2001:db8::ffff:fffe 2001:db8:0:1::1",
    ),
    ("ip6 saddr != 2001:db8::7", "2001:db8::6 ::", "2001:db8::7 192.0.2.7"),
    ("ip6 saddr != 2001:db8::/32", "2001:db9:: ::", "2001:db8:: 2001:db8::7 192.0.2.7"),
    ("ip6 saddr != 2001:db8::10-2001:db8::20", "2001:db8::f 2001:db8::21", "2001:db8::10 2001:db8::20 192.0.2.7"),
    ("ip6 saddr != { 2001:db8::7, 2001:db8::9 }", "2001:db8::8", "2001:db8::7 2001:db8::9 192.0.2.7"),
    (
        "ip6 saddr { 2001:db8::1, 2001:db8::3, 2001:db8::5 }",
        "2001:db8::1 2001:db8::3 2001:db8::5",
        "2001:db8:: 2001:db8::2 2001:db8::4 2001:db8::6",
    ),
    ("ip6 saddr { 2001:db8::/64, 2001:db8:0:2::/64 }", "2001:db8::1 2001:db8:0:2::", "2001:db8:0:1:: 2001:db8:0:3::"),
    (
        "ip6 saddr @offices6",
        "2001:db8:a:: 2001:db8:a:ffff:ffff:ffff:ffff:ffff 2001:db8::7",
        "2001:db8:9:ffff:ffff:ffff:ffff:ffff 2001:db8:b:: 192.0.2.7",
    ),
];

const SETS: &str = "
    define lan = 192.0.2.0/24
    define hosts = { 192.0.2.7, 192.0.2.9 }
    set offices { type ipv4_addr; flags interval; elements = { 192.0.2.7, 203.0.113.0/24 }; }
    set offices6 { type ipv6_addr; flags interval; elements = { 2001:db8::7, 2001:db8:a::/48 }; }
    set empty { type ipv4_addr; }";

#[test]
fn sources() {
    let rows = [SOURCES, SOURCES6].concat();
    check_matches(Side::Xdp, SETS, |address| from(address, syn(22)), &rows);
}

#[test]
fn sources_of_packets_that_leave() {
    let rows = [SOURCES, SOURCES6].concat();
    check_matches(Side::TcEgress, SETS, |address| from(address, syn(22)), &rows);
}

#[test]
fn destinations() {
    let of_destinations = |rows: &[Match<'_>]| -> Vec<(String, String, String)> {
        let turned = |(rule, hits, misses): &Match<'_>| {
            (rule.replace("saddr", "daddr"), (*hits).to_owned(), (*misses).to_owned())
        };
        rows.iter().map(turned).collect()
    };
    let rows = [of_destinations(SOURCES), of_destinations(SOURCES6)].concat();
    let rows: Vec<Match<'_>> = rows.iter().map(|(rule, hits, misses)| (&**rule, &**hits, &**misses)).collect();
    check_matches(Side::Xdp, SETS, |address| to(address, syn(22)), &rows);
}

#[test]
fn source_and_destination_are_not_mixed_up() {
    let packet = |word: &str| {
        let (source, destination) = word.split_once('>').expect("source>destination");
        let address = |text: &str| text.parse::<std::net::IpAddr>().expect("an address");
        between(address(source), address(destination), syn(22))
    };
    check_matches(
        Side::Xdp,
        "",
        packet,
        &[
            ("ip saddr 192.0.2.1 ip daddr 192.0.2.2", "192.0.2.1>192.0.2.2", "192.0.2.2>192.0.2.1 192.0.2.1>192.0.2.1"),
            (
                "ip saddr 192.0.2.1 ip daddr != 192.0.2.2",
                "192.0.2.1>192.0.2.3",
                "192.0.2.1>192.0.2.2 192.0.2.3>192.0.2.3",
            ),
            ("ip6 saddr 2001:db8::1 ip6 daddr 2001:db8::2", "2001:db8::1>2001:db8::2", "2001:db8::2>2001:db8::1"),
        ],
    );
}

/// A set of a hundred addresses, every second one from 198.51.100.0 on, and of a hundred prefixes.
#[test]
fn sets_of_a_hundred() {
    let list = |element: &dyn Fn(u32) -> String| (0..100).map(element).collect::<Vec<_>>().join(", ");
    let addresses = list(&|at| format!("198.51.100.{}", at * 2));
    let prefixes = list(&|at| format!("10.{at}.0.0/17"));
    let addresses6 = list(&|at| format!("2001:db8::{:x}", at * 2));
    let sets = format!(
        "set hundred {{ type ipv4_addr; elements = {{ {addresses} }}; }}
         set prefixes {{ type ipv4_addr; flags interval; elements = {{ {prefixes} }}; }}
         set hundred6 {{ type ipv6_addr; elements = {{ {addresses6} }}; }}"
    );
    let inline = format!("ip saddr {{ {addresses} }}");
    let (even, odd) = (
        "198.51.100.0 198.51.100.2 198.51.100.100 198.51.100.198",
        "198.51.99.255 198.51.100.1 198.51.100.99 198.51.100.197 198.51.100.199 198.51.100.200 2001:db8::2",
    );
    let (even6, odd6) = (
        "2001:db8:: 2001:db8::2 2001:db8::64 2001:db8::c6",
        "2001:db8::1 2001:db8::c5 2001:db8::c7 2001:db8::c8 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    );
    check_matches(
        Side::Xdp,
        &sets,
        |address| from(address, syn(22)),
        &[
            ("ip saddr @hundred", even, odd),
            (&inline, even, odd),
            ("ip saddr != @hundred", "198.51.100.1 198.51.100.199 192.0.2.1", even),
            (
                "ip saddr @prefixes",
                "10.0.0.0 10.0.127.255 10.50.0.1 10.99.127.255",
                "10.0.128.0 10.50.128.0 10.99.128.0 10.100.0.0 9.255.255.255",
            ),
            ("ip6 saddr @hundred6", even6, odd6),
            ("ip6 saddr != @hundred6", "2001:db8::1", even6),
        ],
    );
}
