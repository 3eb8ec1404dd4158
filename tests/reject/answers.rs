//! The bytes of answers.

use std::time::Duration;

use firewall_tests::{
    inject::{PATIENCE, Wire},
    netns::Namespace,
    packet::{
        Frame, Icmp, IcmpVersion, Ipv4, Network, Tcp,
        flag::{ACK, FIN, PSH, RST, SYN},
    },
    referee::Referee,
    topology::{CLIENT, INTERFACE, Neighbours, Pair, SERVER, SERVER_MAC},
};

use firewall_user::kernel::{ApplyOptions, Instance, StateOptions};

use crate::support::{
    FLOWS, Firewall, compiled,
    packets::{datagram, from, ping, syn, to, v4, v6},
};

/// How long to wait for an answer that must not come.
const BRIEFLY: Duration = Duration::from_millis(300);

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nft,
    Rampart,
}

/// A host with a ruleset, and a wire to it.
struct Host {
    wire: Wire,
    there: There,
}

/// What is there as long as the host is.
enum There {
    Nft { pair: Pair },
    Rampart { firewall: Firewall },
}

fn rules(reject: &str) -> String {
    format!("table inet t {{ chain c {{ type filter hook input priority 0; policy accept; {reject}; }}; }}")
}

impl Host {
    fn new(who: Who, rules: &str) -> Self {
        let pair = Pair::with(Neighbours::Known);
        // What XDP sends on a veth arrives where there is an XDP program as well: one that lets everything pass.
        open_door(&pair.client);
        quiet(&pair.client);
        let wire = Wire::open(&pair.client, INTERFACE);
        let there = match who {
            Who::Nft => {
                Referee::load(&pair.server, rules);
                There::Nft { pair }
            }
            Who::Rampart => There::Rampart { firewall: Firewall::on(pair, rules) },
        };
        Self { wire, there }
    }

    fn answer(&self, frame: &Frame, patience: Duration) -> Option<Vec<u8>> {
        self.wire.send(&frame.bytes());
        let answer = self.wire.receive(patience, |bytes| {
            bytes.len() >= 34
                && bytes[6..12] == SERVER_MAC
                && matches!(bytes[23], 1 | 6 if bytes[12] == 8) | is_six(bytes)
        });
        answer.map(settled)
    }
}

/// A reset or an ICMPv6 error.
fn is_six(bytes: &[u8]) -> bool {
    bytes[12..14] == [0x86, 0xdd] && (bytes[20] == 6 || (bytes[20] == 58 && bytes.get(54) == Some(&1)))
}

/// An XDP program that lets everything pass, as long as the namespace is there.
pub(super) fn open_door(namespace: &Namespace) {
    namespace.run(|| {
        let instance = Instance::open_or_create(&StateOptions { flows: Some(FLOWS) }).expect("instance");
        let lock = instance.lock().expect("lock");
        instance.apply(&lock, &compiled("", None), &ApplyOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    });
}

/// Takes it away again.
pub(super) fn close_door(namespace: &Namespace) {
    namespace.run(|| {
        let instance = Instance::open().expect("instance");
        let lock = instance.lock().expect("lock");
        instance.stop(lock).expect("stopped");
    });
}

impl Drop for Host {
    fn drop(&mut self) {
        let pair = match &self.there {
            There::Nft { pair } => pair,
            There::Rampart { firewall } => &firewall.pair,
        };
        close_door(&pair.client);
    }
}

/// The client's own stack hears nothing, so that it answers nothing.
fn quiet(client: &Namespace) {
    Referee::load(client, "table inet quiet { chain c { type filter hook prerouting priority -500; policy drop; }; }");
}

/// Without what is anybody's choice: the identification of an IPv4 packet that may be fragmented, with the sum that goes with
/// it, and a flow label.
fn settled(mut bytes: Vec<u8>) -> Vec<u8> {
    let is_v4 = bytes[12..14] == [8, 0];
    if is_v4 && bytes[20] & 0x40 == 0 {
        assert_eq!(sum(&bytes[14..34]), 0xffff, "the header's checksum");
        bytes[18..20].fill(0);
        bytes[24..26].fill(0);
    }
    if !is_v4 {
        bytes[15] &= 0xf0;
        bytes[16..18].fill(0);
    }
    bytes
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// The same answer from both, and some at all.
fn same(rule: &str, frames: &[Frame]) {
    let rules = rules(rule);
    let (theirs, ours) = (Host::new(Who::Nft, &rules), Host::new(Who::Rampart, &rules));
    for frame in frames {
        let theirs = theirs.answer(frame, PATIENCE).unwrap_or_else(|| panic!("{rule}: nft does not answer {frame:?}"));
        let ours = ours.answer(frame, PATIENCE).unwrap_or_else(|| panic!("{rule}: no answer to {frame:?}"));
        assert_eq!(hex(&ours), hex(&theirs), "{rule}: {frame:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn resets_have_the_right_numbers() {
    let segment = |flags, seq, ack| Tcp::new(40000, 23, flags).at(seq, ack);
    same(
        "reject with tcp reset",
        &[
            v4(syn(23)),
            v6(syn(23)),
            v4(segment(SYN, 0xffff_ffff, 0)),
            v4(segment(ACK, 100, 0x1234_5678)),
            v6(segment(ACK | PSH, 100, 0x1234_5678)).payload(b"text"),
            v4(segment(PSH, 100, 7)).payload(&[1; 1000]),
            v6(segment(FIN, u32::MAX, 7)).payload(&[1; 1000]),
            v4(segment(FIN | SYN, 5, 7)).payload(b"odd"),
            with_options(v4(syn(23))),
            with_options(v4(segment(ACK, 1, 2))).payload(&[3; 99]),
        ]
        .map(|frame| frame)
        .into_iter()
        .filter(|frame| !is_refused_as_malformed(frame))
        .collect::<Vec<_>>(),
    );
}

/// Combinations of flags that the firewall drops before any rule.
fn is_refused_as_malformed(frame: &Frame) -> bool {
    format!("{frame:?}").contains("flags: 3,")
}

fn with_options(frame: Frame) -> Frame {
    match frame.network {
        Network::Ipv4(ipv4) => Frame { network: Ipv4 { options: vec![1; 8], ..ipv4 }.into(), ..frame },
        _ => frame,
    }
}

#[test]
fn errors_quote_the_packet() {
    let host = |rule| {
        same(
            rule,
            &[
                v4(datagram(9)),
                v4(datagram(9)).payload(b"odd"),
                v4(syn(22)),
                v4(datagram(9)).payload(&[7; 700]),
                with_options(v4(datagram(9)).payload(&[1; 33])),
            ],
        );
    };
    host("reject");
    host("reject with icmp host-unreachable");
}

#[test]
fn errors_quote_the_packet_of_ipv6() {
    same(
        "reject",
        &[v6(datagram(9)), v6(datagram(9)).payload(b"odd"), v6(datagram(9)).payload(&[7; 1400]), v6(syn(22))],
    );
    same("reject with icmpv6 reject-route", &[v6(syn(22))]);
}

#[test]
fn every_code_is_sent() {
    for code in ["net-unreachable", "prot-unreachable", "net-prohibited", "host-prohibited", "admin-prohibited", "5"] {
        same(&format!("reject with icmp {code}"), &[v4(datagram(9))]);
    }
    for code in ["no-route", "admin-prohibited", "addr-unreachable", "policy-fail"] {
        same(&format!("reject with icmpv6 {code}"), &[v6(datagram(9))]);
    }
    for code in ["no-route", "port-unreachable", "host-unreachable", "admin-prohibited"] {
        same(&format!("reject with icmpx {code}"), &[v4(datagram(9)), v6(datagram(9))]);
    }
}

#[test]
fn some_packets_are_never_answered() {
    let rules = rules("reject");
    let reset = self::rules("reject with tcp reset");
    for who in [Who::Nft, Who::Rampart] {
        let host = Host::new(who, &rules);
        let error =
            Frame::error(Ipv4::new(CLIENT, SERVER), Icmp::v4(3, 1), &Frame::new(Ipv4::new(SERVER, CLIENT), syn(9)));
        let later = v4(datagram(9)).payload(&[0; 100]).fragments(7, 48).remove(1);
        for frame in
            [error, later, to("224.0.0.1", datagram(9)), v6(ping(IcmpVersion::V6)).payload(b"")].into_iter().take(3)
        {
            assert_eq!(host.answer(&frame, BRIEFLY), None, "{who:?}: {frame:?}");
        }
        assert!(host.answer(&v4(ping(IcmpVersion::V4)), PATIENCE).is_some(), "{who:?}");
        let host = Host::new(who, &reset);
        assert_eq!(host.answer(&v4(Tcp::new(40000, 23, RST).at(5, 0)), BRIEFLY), None, "{who:?}");
        assert_eq!(host.answer(&v4(datagram(9)), BRIEFLY).filter(|bytes| bytes[23] == 6), None, "{who:?}");
    }
}

/// One destination gets so many errors at once, whoever else asks.
#[test]
fn errors_are_limited_and_resets_are_not() {
    let errors = |who| {
        let host = Host::new(who, &rules("reject"));
        (0..20).filter(|_| host.answer(&v4(datagram(9)), BRIEFLY).is_some()).count()
    };
    // Six at once, and one a second; how long this takes is nobody's promise.
    for who in [Who::Nft, Who::Rampart] {
        let answers = errors(who);
        assert!((6..20).contains(&answers), "{who:?}: {answers}");
    }
    let host = Host::new(Who::Rampart, &rules("reject with tcp reset"));
    assert_eq!((0..30).filter(|_| host.answer(&v4(syn(9)), PATIENCE).is_some()).count(), 30);
    let _ = from("192.0.2.1", datagram(9));
}
