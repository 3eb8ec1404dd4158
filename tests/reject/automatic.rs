//! `[syn_flood]`: cookies that no rule asks for, while there is a flood.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use firewall_common::{event::Kind, verdict::Reason};
use firewall_tests::{
    packet::{Tcp, flag},
    sockets::{Outcome, PATIENTLY, TcpEcho, tcp_echo},
    topology::{INTERFACE, Neighbours, Pair, SERVER, SERVER6},
};
use firewall_user::{
    config,
    kernel::{FloodState, Side},
};

use super::answers::{close_door, open_door};
use crate::support::{
    Firewall,
    live::Live,
    packets::{back_v4, from, syn, v4, v6},
};

const RULES: &str = "table inet t {
    chain c {
        type filter hook input priority 0; policy drop
        ct state established,related accept
        ct state invalid drop
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport 80 tcp flags & (fin | syn | rst | ack) == syn ct state new counter accept comment \"web\"
        tcp dport 22 ct state new accept
    }
}";

/// How many open handshakes begin a flood, and end it.
const BEGIN: u32 = 200;
const SETTINGS: &str = "[syn_flood]\nbegin = 200\nend = 20\nports = [80, \"8000-8099\"]\n";

fn served(settings: &str) -> Firewall {
    let pair = Pair::with(Neighbours::Known);
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
    let firewall = Firewall::on(pair, RULES);
    firewall.apply_set(RULES, settings);
    firewall
}

fn state(firewall: &Firewall) -> FloodState {
    let limits = config::parse("rampart.toml", SETTINGS.to_owned()).expect("settings").syn_flood.limits();
    firewall.open(|instance| instance.floods(&limits).expect("floods"))
}

/// So many first segments to a port, each from another address: how many passed.
fn flood(firewall: &Firewall, port: u16, count: u32) -> u32 {
    firewall.judging(|judge| {
        let one = |nth: u32| judge(Side::Xdp, &from(&format!("198.18.{}.{}", nth / 250, nth % 250 + 1), syn(port)));
        (0..count).map(|nth| u32::from(one(nth))).sum()
    })
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Without a flood every first segment begins a connection; in one it is answered, and only who brings a cookie back is let in, as
/// the rules have it; behind it all is as before.
#[test]
fn cookies_come_and_go_with_a_flood() {
    let firewall = served(SETTINGS);
    open_door(&firewall.pair.client);
    let _server = TcpEcho::start(&firewall.pair.server, (SERVER, 80));
    assert_eq!(flood(&firewall, 80, BEGIN), BEGIN, "each begins a connection");
    assert_eq!((state(&firewall).is_on, state(&firewall).begun), (true, 1));
    assert_eq!(firewall.flows().len(), BEGIN as usize);
    assert_eq!(flood(&firewall, 80, 1000), BEGIN, "those that are known repeat themselves, the others are answered");
    assert_eq!(firewall.dropped(Reason::SynAnswered), u64::from(1000 - BEGIN));
    assert_eq!(firewall.flows().len(), BEGIN as usize, "and leave nothing");
    // Who brings back what nobody sent ends there; other ports are left alone.
    let wrong = Tcp::new(41000, 80, flag::ACK).at(1001, 77);
    assert_eq!(firewall.ingress(&v4(wrong)), Err(Reason::CookieWrong));
    assert_eq!(firewall.ingress(&v4(Tcp::new(41000, 22, flag::SYN))), Ok(()));
    for _ in 0..5 {
        assert_eq!(tcp_echo(&firewall.pair.client, (SERVER, 80), PATIENTLY), Outcome::Connected);
    }
    let during = state(&firewall);
    assert!(during.is_on && during.returned == 5, "{during:?}");
    assert!(firewall.rule("web").0 >= u64::from(BEGIN) + 5, "the rules were asked");
    until("the flood is over", || !state(&firewall).is_on);
    let answered = firewall.dropped(Reason::SynAnswered);
    assert_eq!(tcp_echo(&firewall.pair.client, (SERVER, 80), PATIENTLY), Outcome::Connected);
    let after = state(&firewall);
    assert_eq!((firewall.dropped(Reason::SynAnswered), after.is_on, after.begun), (answered, false, 1), "{after:?}");
    assert_eq!(after.returned, 5, "that one was not asked for a cookie");
    close_door(&firewall.pair.client);
}

/// Many who mean it are no flood.
#[test]
fn completed_handshakes_are_no_flood() {
    let firewall = served(SETTINGS);
    for nth in 0..BEGIN as u16 + 50 {
        let port = 20_000 + nth;
        assert_eq!(firewall.ingress(&v4(Tcp::new(port, 80, flag::SYN).at(100, 0))), Ok(()));
        assert_eq!(firewall.egress(&back_v4(Tcp::new(80, port, flag::SYN | flag::ACK).at(500, 101))), Ok(()));
        assert_eq!(firewall.ingress(&v4(Tcp::new(port, 80, flag::ACK).at(101, 501))), Ok(()));
    }
    assert_eq!(state(&firewall), FloodState::default());
    // Refused by the host itself is done with, too.
    for nth in 0..BEGIN as u16 + 50 {
        let port = 30_000 + nth;
        assert_eq!(firewall.ingress(&v4(Tcp::new(port, 80, flag::SYN).at(100, 0))), Ok(()));
        assert_eq!(firewall.egress(&back_v4(Tcp::new(80, port, flag::RST | flag::ACK).at(0, 101))), Ok(()));
    }
    assert_eq!(state(&firewall), FloodState::default());
}

/// Connections that this host begins are nobody's flood, however many are not answered.
#[test]
fn what_leaves_is_no_flood() {
    let firewall = served("[syn_flood]\nbegin = 50\n");
    for port in 20_000..20_100 {
        assert_eq!(firewall.egress(&back_v4(Tcp::new(port, 80, flag::SYN))), Ok(()));
    }
    assert_eq!(state(&firewall), FloodState::default());
}

/// Both families, and where no segment in mid-stream begins a connection.
#[test]
fn whoever_means_it_gets_in() {
    let firewall = served(&format!("{SETTINGS}[conntrack]\ntcp_loose = false\n"));
    open_door(&firewall.pair.client);
    flood(&firewall, 80, BEGIN);
    for address in [IpAddr::from(SERVER), SERVER6.into()] {
        let server = TcpEcho::start(&firewall.pair.server, (address, 80));
        for nth in 1..=5 {
            assert_eq!(tcp_echo(&firewall.pair.client, (address, 80), PATIENTLY), Outcome::Connected, "{address}");
            assert_eq!(server.accepted(), nth);
        }
    }
    assert!(state(&firewall).is_on);
    assert_eq!(state(&firewall).returned, 10);
    assert_eq!(
        firewall.ingress(&v6(Tcp::new(41000, 80, flag::ACK).at(1001, 77))),
        Err(Reason::Rule),
        "nobody listens any more"
    );
    close_door(&firewall.pair.client);
}

/// Rules that make the handshake themselves go on doing so.
#[test]
fn a_rule_of_its_own_goes_on() {
    let firewall = served(SETTINGS);
    firewall.apply_set(
        "table inet t {
            chain c {
                type filter hook input priority 0; policy accept
                tcp dport 80 ct state != established synproxy mss 1400
                tcp dport 80 counter accept comment \"through\"
            }
        }",
        SETTINGS,
    );
    open_door(&firewall.pair.client);
    let _server = TcpEcho::start(&firewall.pair.server, (SERVER, 80));
    let _other = TcpEcho::start(&firewall.pair.server, (SERVER, 8001));
    assert_eq!(tcp_echo(&firewall.pair.client, (SERVER, 80), PATIENTLY), Outcome::Connected);
    assert_eq!(flood(&firewall, 8001, BEGIN), BEGIN);
    assert!(state(&firewall).is_on);
    assert_eq!(tcp_echo(&firewall.pair.client, (SERVER, 80), PATIENTLY), Outcome::Connected);
    assert_eq!(tcp_echo(&firewall.pair.client, (SERVER, 8001), PATIENTLY), Outcome::Connected);
    assert!(firewall.rule("through").0 >= 2);
    close_door(&firewall.pair.client);
}

/// Its beginning and its end are told of, once each, whatever else there is to tell.
#[test]
fn both_ends_are_told_of() {
    let firewall = served(SETTINGS);
    let _server = TcpEcho::start(&firewall.pair.server, (SERVER, 80));
    let mut told = Vec::new();
    let mut events = firewall.open(|instance| instance.events(false).expect("events"));
    let mut look = || {
        events.keep_listening().expect("listening");
        let found = std::iter::from_fn(|| events.next())
            .filter(|event| event.kind == Kind::FloodOn as u32 || event.kind == Kind::FloodOff as u32);
        told.extend(found.map(|event| (event.kind, event.reason, event.numbers)));
        told.clone()
    };
    flood(&firewall, 80, 1000);
    let begun = (Kind::FloodOn as u32, Reason::SynAnswered as u32, [u64::from(BEGIN), u64::from(BEGIN), 0, 0]);
    assert_eq!(look(), [begun]);
    // Any packet shows that it is over.
    until("the end is told of", || firewall.ingress(&v4(syn(23))).is_err() && look().len() == 2);
    let (kind, reason, numbers) = look()[1];
    assert_eq!((kind, reason, numbers[1]), (Kind::FloodOff as u32, begun.1, u64::from(BEGIN)));
    assert!(numbers[0] < 20, "{numbers:?}");
}

/// By the command: what the stack would not complete is not begun; status and metrics tell of a flood.
#[test]
fn it_is_told_of() {
    let pair = Pair::with(Neighbours::Known);
    for namespace in [&pair.client, &pair.server] {
        namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
    }
    let files = firewall_tests::command::Scratch::new();
    let settings = files.write("rampart.toml", SETTINGS).to_string_lossy().into_owned();
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "1");
    let refused = Live::refused_with(&pair.server, RULES, &["--config", &settings]);
    assert!(refused.contains("`[syn_flood]`") && refused.contains("sysctl -w net.ipv4.tcp_syncookies=2"), "{refused}");
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
    let live = Live::apply_with(&pair.server, RULES, &["--config", &settings], &[]);
    let status = live.run(&["status"]).stdout;
    assert!(
        status.contains("syn flood   cookies from 200 open handshakes on, until fewer than 20: port 80, 8000-8099"),
        "{status}"
    );
    assert!(live.run(&["doctor"]).stdout.contains("ok       cookies"));
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "1");
    assert!(live.run(&["doctor"]).stdout.contains("problem  cookies"));
    let wire = firewall_tests::inject::Wire::open(&pair.client, INTERFACE);
    for port in 20_000..20_300 {
        // From where nobody is: no answer says that it was not meant.
        wire.send(&from("198.18.0.1", Tcp::new(port, 80, flag::SYN)).bytes());
    }
    until("a flood is told of", || live.run(&["status"]).stdout.contains("cookies are sent; "));
    let metrics = live.run(&["metrics"]).stdout;
    assert!(metrics.contains("rampart_syn_flood 1\n") && metrics.contains("rampart_syn_floods_total 1\n"), "{metrics}");
}
