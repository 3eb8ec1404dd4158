//! Keys: one for both directions, different for everything else, and spread by a hash nobody can aim.

use std::collections::HashSet;

use proptest::prelude::*;
use rstest::rstest;

use super::{Endpoint, FlowKey, Secret, Tuple};
use crate::{
    packet::{NFPROTO_IPV4, NFPROTO_IPV6},
    parse::tests::{
        frames::{
            DESTINATION_PORT, GRE, ICMP, ICMP_ID, ICMPV6, Ipv4, Ipv6, MORE, SCTP, SOURCE_PORT, TCP, UDP, fragment,
            icmp, sctp, tcp, udp,
        },
        parsed,
    },
};

impl Tuple {
    /// That of a packet the other way.
    fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

#[rstest]
#[case::tcp(TCP, tcp(0x02, 5, 0), (SOURCE_PORT, DESTINATION_PORT))]
#[case::udp(UDP, udp(0), (SOURCE_PORT, DESTINATION_PORT))]
#[case::sctp(SCTP, sctp(), (SOURCE_PORT, DESTINATION_PORT))]
#[case::gre(GRE, vec![0x55; 8], (0, 0))]
fn what_makes_a_connection(#[case] protocol: u8, #[case] payload: Vec<u8>, #[case] ports: (u16, u16)) {
    let v4 = Tuple::of(&parsed(&Ipv4::of(protocol).frame(&payload)).expect("well-formed"));
    assert_eq!((v4.protocol, v4.family, (v4.source.port, v4.destination.port)), (protocol, 2, ports));
    assert_eq!((v4.source.address, v4.destination.address), ([0xc000_0201, 0], [0xc633_6402, 0]));
    let v6 = Tuple::of(&parsed(&Ipv6::of(protocol).frame(&payload)).expect("well-formed"));
    assert_eq!((v6.protocol, v6.family, (v6.source.port, v6.destination.port)), (protocol, 10, ports));
    assert_eq!(v6.source.address, [0x2001_0db8_0000_0000, 1]);
    assert_eq!(v6.destination.address, [0x2001_0db8_00ff_0000, 2]);
}

/// A query has its identifier where it is asked from; in the other family its protocol number is one without ports.
#[rstest]
#[case::ping(ICMP, icmp(8, 0, &[]), (ICMP_ID, ICMP_ID.wrapping_add(0x108)), (0, 0))]
#[case::pong(ICMPV6, icmp(129, 0, &[]), (0, 0), (ICMP_ID.wrapping_add(0x180), ICMP_ID))]
fn what_makes_a_query(
    #[case] protocol: u8,
    #[case] payload: Vec<u8>,
    #[case] v4_ports: (u16, u16),
    #[case] v6_ports: (u16, u16),
) {
    let v4 = Tuple::of(&parsed(&Ipv4::of(protocol).frame(&payload)).expect("well-formed"));
    let v6 = Tuple::of(&parsed(&Ipv6::of(protocol).frame(&payload)).expect("well-formed"));
    assert_eq!((v4.source.port, v4.destination.port), v4_ports);
    assert_eq!((v6.source.port, v6.destination.port), v6_ports);
}

#[test]
fn a_later_fragment_has_ports_0() {
    for protocol in [TCP, UDP, ICMP, ICMPV6] {
        let v4 = Ipv4 { fragment: MORE | 4, ..Ipv4::of(protocol) }.frame(&[0x55; 24]);
        let v6 = Ipv6::with(protocol, vec![fragment(32, true)]).frame(&[0x55; 24]);
        for frame in [v4, v6] {
            let tuple = Tuple::of(&parsed(&frame).expect("well-formed"));
            assert_eq!((tuple.protocol, tuple.source.port, tuple.destination.port), (protocol, 0, 0));
        }
    }
}

#[test]
fn a_key_gives_its_parts_back() {
    let source = Endpoint { address: [9, 0], port: 0x1111 };
    let destination = Endpoint { address: [8, 7], port: 0x2222 };
    let (key, source_is_high) = Tuple { source, destination, protocol: 6, family: 10 }.key(0x3333);
    assert!(source_is_high);
    assert_eq!((key.low, key.high), ([8, 7], [9, 0]));
    assert_eq!((key.low_port(), key.high_port()), (0x2222, 0x1111));
    assert_eq!((key.zone(), key.protocol(), key.family()), (0x3333, 6, 10));
}

#[test]
fn a_host_that_talks_to_itself_is_told_apart_by_ports() {
    let end = |port| Endpoint { address: [0x7f00_0001, 0], port };
    let tuple = Tuple { source: end(40_000), destination: end(22), protocol: TCP, family: 2 };
    let ((key, there), (same, back)) = (tuple.key(0), tuple.reversed().key(0));
    assert_eq!(key, same);
    assert_eq!((there, back), (true, false));
}

#[test]
fn the_same_bits_in_both_families_are_two_connections() {
    let tuple = |family: u32| Tuple {
        source: Endpoint { address: [0xc000_0201, 0], port: 1 },
        destination: Endpoint { address: [0xc633_6402, 0], port: 2 },
        protocol: TCP,
        family: family as u8,
    };
    assert_ne!(tuple(NFPROTO_IPV4).key(0), tuple(NFPROTO_IPV6).key(0));
}

/// Random bits that are the same in every run.
const SECRETS: [Secret; 4] = [
    Secret([
        0x9a3f_51c7_e20b_8d46,
        0x47d1_9e83_0cb5_f26a,
        0xe85c_2a70_b9f4_1d33,
        0x1b66_f0d9_5723_ce8f,
        0xc4a9_7e12_68d0_3b5d,
    ]),
    Secret([
        0x0f8e_63b4_d7a1_2c59,
        0xb392_c85d_1e67_40fa,
        0x5d07_a4fe_836b_c912,
        0xf2b1_386c_4d9e_57a0,
        0x689c_0de7_f513_b24e,
    ]),
    Secret([
        0xd4e5_1f92_3a8b_607c,
        0x2c70_b9e6_85d4_f31b,
        0x9b3d_64a8_f01c_e752,
        0x70fa_85c3_be29_146d,
        0x36d8_e19b_4c57_a0f2,
    ]),
    Secret([
        0x8156_cafe_9d34_72eb,
        0xfa29_4d70_63c8_b51e,
        0x0e97_b3d5_2f6a_c841,
        0xa54c_e812_d97b_063f,
        0x5fb3_702d_1e86_94ca,
    ]),
];

fn tcp_key(client: u32, port: u16, server: u32) -> FlowKey {
    let tuple = Tuple {
        source: Endpoint { address: [u64::from(client), 0], port },
        destination: Endpoint { address: [u64::from(server), 0], port: 443 },
        protocol: TCP,
        family: 2,
    };
    tuple.key(0).0
}

const SERVER: u32 = 0xc633_6402;

/// 65,536 keys of one kind, as an attacker or a busy server has them.
fn keys(kind: &str) -> Vec<FlowKey> {
    let all = 0..1_u32 << 16;
    match kind {
        "addresses in order" => all.map(|at| tcp_key(0x0a00_0000 + at, 40_000, SERVER)).collect(),
        "ports in order" => all.map(|at| tcp_key(0x0a00_0001, at as u16, SERVER)).collect(),
        "addresses and ports in order" => {
            all.map(|at| tcp_key(0x0a00_0000 + (at >> 8), 32_768 + (at & 0xff) as u16, SERVER)).collect()
        }
        "networks in order" => all.map(|at| tcp_key(at << 16 | 1, 40_000, SERVER)).collect(),
        "IPv6 hosts in order" => all
            .map(|at| FlowKey {
                low: [0x2001_0db8_0000_0000, u64::from(at)],
                high: [0x2001_0db8_00ff_0000, 2],
                tail: tcp_key(1, 40_000, 2).tail | 8,
            })
            .collect(),
        other => panic!("no such kind: {other}"),
    }
}

/// Over 4,096 buckets, chi-square has 4,095 degrees of freedom: mean 4,095, standard deviation 90. A bound 20 deviations
/// away is not met by chance, and is missed at once by a hash that leaves buckets empty.
#[rstest]
fn a_hash_spreads_over_buckets(
    #[values(
        "addresses in order",
        "ports in order",
        "addresses and ports in order",
        "networks in order",
        "IPv6 hosts in order"
    )]
    kind: &str,
    #[values(0, 1, 2, 3)] secret: usize,
    #[values(0, 17, 40, 52)] shift: u32,
) {
    const BUCKETS: usize = 4096;
    let keys = keys(kind);
    let mut counts = vec![0_u32; BUCKETS];
    for key in &keys {
        counts[(key.hash(&SECRETS[secret]) >> shift) as usize % BUCKETS] += 1;
    }
    let expected = (keys.len() / BUCKETS) as u32;
    let squares: u32 = counts.iter().map(|count| count.abs_diff(expected).pow(2)).sum();
    let chi_square = squares / expected;
    assert!(chi_square < 4095 + 20 * 90, "{chi_square}");
}

#[test]
fn hashes_of_different_keys_differ() {
    for secret in &SECRETS {
        let keys: HashSet<_> =
            ["addresses in order", "ports in order", "networks in order"].into_iter().flat_map(keys).collect();
        let hashes: HashSet<_> = keys.iter().map(|key| key.hash(secret)).collect();
        assert!(keys.len() - hashes.len() < 16, "{} of {} collide", keys.len() - hashes.len(), keys.len());
    }
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    // Often alike, in one half or both: then the rest has to tell which end is which.
    let end = || {
        let alike = (0_u64..3, 0_u64..3).prop_map(|(upper, lower)| [upper, lower]);
        let v4 = any::<u32>().prop_map(|address| [u64::from(address), 0]);
        let address = prop_oneof![2 => alike, 1 => v4, 1 => any::<[u64; 2]>()];
        (address, prop_oneof![any::<u16>(), 0_u16..3]).prop_map(|(address, port)| Endpoint { address, port })
    };
    (end(), end(), any::<u8>(), prop::sample::select(vec![2, 10]))
        .prop_map(|(source, destination, protocol, family)| Tuple { source, destination, protocol, family })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn both_directions_have_one_key(tuple in any_tuple(), zone in any::<u16>()) {
        let ((key, there), (same, back)) = (tuple.key(zone), tuple.reversed().key(zone));
        prop_assert_eq!(key, same);
        // Between an endpoint and itself there is no direction.
        prop_assert_eq!(there != back, tuple.source != tuple.destination);
        let low = Endpoint { address: key.low, port: key.low_port() };
        let high = Endpoint { address: key.high, port: key.high_port() };
        prop_assert!(low <= high);
        prop_assert_eq!(if there { high } else { low }, tuple.source);
        prop_assert_eq!((key.protocol(), key.family(), key.zone()), (tuple.protocol, tuple.family, zone));
    }

    #[test]
    fn different_connections_have_different_keys(a in any_tuple(), b in any_tuple(), zone in any::<u16>()) {
        let same = a == b || a == b.reversed();
        prop_assert_eq!(a.key(zone).0 == b.key(zone).0, same);
        prop_assert_ne!(a.key(zone).0, a.key(zone.wrapping_add(1)).0);
    }

    #[test]
    fn a_hash_depends_on_key_and_secret_only(tuple in any_tuple(), words in any::<[u64; 5]>(), bit in 0_usize..320) {
        let key = tuple.key(0).0;
        let secret = Secret(words);
        prop_assert_eq!(key.hash(&secret), tuple.reversed().key(0).0.hash(&secret));
        let mut other = secret;
        other.0[bit / 64] ^= 1 << (bit % 64);
        // One bit of the secret is lost on a key whose other half comes to zero: once in 2^32.
        prop_assert_ne!(key.hash(&secret), key.hash(&other));
    }
}
