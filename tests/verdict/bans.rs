//! Bans: dropped before any rule and any connection, for as long as they last.

use std::time::Duration;

use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, flag};
use firewall_user::{
    cli::values::network,
    kernel::{Ban, Banned, Side},
};

use super::{
    EVERYTHING, ONLY_SSH,
    support::{
        Firewall, Outcome,
        packets::{CLIENT_PORT, back_v4, from, syn, v4},
    },
};

fn ban(firewall: &Firewall, source: &str, time: Option<Duration>) -> bool {
    let source = network(source).expect("a prefix");
    firewall.open(|instance| {
        let lock = instance.lock().expect("lock");
        instance.ban(&lock, &Ban { source, time, reason: "test".to_owned() }).expect("banned")
    })
}

fn unban(firewall: &Firewall, source: &str) -> bool {
    let source = network(source).expect("a prefix");
    firewall.open(|instance| instance.unban(&instance.lock().expect("lock"), &source).expect("unbanned"))
}

fn bans(firewall: &Firewall) -> Vec<Banned> {
    firewall.open(|instance| instance.bans().expect("bans"))
}

fn come(firewall: &Firewall, source: &str) -> Outcome {
    firewall.ingress(&from(source, syn(22)))
}

const BANNED: Outcome = Err(Reason::Banned);

#[test]
fn a_ban_comes_before_every_rule_and_ends_with_unban() {
    let firewall = Firewall::new(EVERYTHING);
    for (source, neighbour) in [("203.0.113.9", "203.0.113.10"), ("2001:db8:7::9", "2001:db8:7::a")] {
        assert_eq!(come(&firewall, source), Ok(()));
        assert!(ban(&firewall, source, None));
        assert_eq!(come(&firewall, source), BANNED);
        assert_eq!(come(&firewall, neighbour), Ok(()));
        assert!(!ban(&firewall, source, None), "a second one is not new");
        assert!(unban(&firewall, source));
        assert_eq!(come(&firewall, source), Ok(()));
        assert!(!unban(&firewall, source));
    }
}

#[test]
fn prefixes_of_every_length_are_banned() {
    let rows = [
        ("198.51.100.0/24", "198.51.100.255", "198.51.101.0"),
        ("198.51.100.8/29", "198.51.100.15", "198.51.102.0"),
        ("198.18.0.0/15", "198.19.255.255", "198.20.0.0"),
        ("2001:db8:8::/48", "2001:db8:8:ffff::1", "2001:db8:9::1"),
        ("2001:db8:a::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
    ];
    let firewall = Firewall::new(EVERYTHING);
    for (prefix, inside, outside) in rows {
        ban(&firewall, prefix, Some(Duration::from_hours(1)));
        assert_eq!((come(&firewall, inside), come(&firewall, outside)), (BANNED, Ok(())), "{prefix}");
    }
    assert_eq!(bans(&firewall).len(), rows.len());
    unban(&firewall, "198.51.100.0/24");
    assert_eq!(come(&firewall, "198.51.100.1"), Ok(()));
    assert_eq!(come(&firewall, "198.51.100.9"), BANNED, "the smaller one inside it is still there");
}

/// What is known already is no way around: the connection's packets end too, those of others do not.
#[test]
fn established_connections_end() {
    let firewall = Firewall::new(EVERYTHING);
    let client: Frame = v4(syn(22));
    assert_eq!(firewall.ingress(&client), Ok(()));
    assert_eq!(firewall.egress(&back_v4(Tcp::new(22, CLIENT_PORT, flag::SYN | flag::ACK))), Ok(()));
    let source = "192.0.2.1";
    ban(&firewall, source, None);
    assert_eq!(firewall.ingress(&client), BANNED);
}

#[test]
fn hits_are_counted_and_bans_survive_an_apply() {
    let firewall = Firewall::new(EVERYTHING);
    ban(&firewall, "203.0.113.9", Some(Duration::from_hours(1)));
    let frame = from("203.0.113.9", syn(22));
    let length = frame.bytes().len() as u64 - 14;
    for _ in 0..3 {
        assert_eq!(firewall.ingress(&frame), BANNED);
    }
    assert_eq!(bans(&firewall)[0].hits, (3, 3 * length));
    assert_eq!(bans(&firewall)[0].ban.reason, "test");
    firewall.apply(ONLY_SSH);
    assert_eq!(firewall.ingress(&frame), BANNED);
    assert_eq!(bans(&firewall)[0].hits, (4, 4 * length));
    assert_eq!(firewall.dropped(Reason::Banned), 4);
}

#[test]
fn a_ban_ends_by_itself() {
    let firewall = Firewall::new(EVERYTHING);
    ban(&firewall, "203.0.113.9", Some(Duration::from_secs(1)));
    assert_eq!(come(&firewall, "203.0.113.9"), BANNED);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while come(&firewall, "203.0.113.9") == BANNED {
        assert!(std::time::Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(bans(&firewall), []);
}

/// More than the first memory has room for; each of them is there, and nobody else.
#[test]
fn thousands_of_bans() {
    let firewall = Firewall::new(EVERYTHING);
    let source = |number: u32| format!("198.18.{}.{}", number / 256, number % 256);
    firewall.open(|instance| {
        let lock = instance.lock().expect("lock");
        for number in 0..3000 {
            let source = network(&source(number)).expect("an address");
            assert!(instance.ban(&lock, &Ban { source, time: None, reason: String::new() }).expect("banned"));
        }
    });
    assert_eq!(bans(&firewall).len(), 3000);
    for number in [0, 63, 64, 511, 1777, 2999] {
        assert_eq!(come(&firewall, &source(number)), BANNED, "{number}");
    }
    for number in [3000, 3001, 60_000] {
        assert_eq!(come(&firewall, &source(number)), Ok(()), "{number}");
    }
}

/// What leaves is not what came from there.
#[test]
fn packets_to_a_banned_address_leave() {
    let firewall = Firewall::new(EVERYTHING);
    ban(&firewall, "192.0.2.1", None);
    assert_eq!(firewall.judge(Side::TcEgress, &back_v4(syn(22)).bytes()), Ok(()));
}
