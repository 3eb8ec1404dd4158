//! Counters and quotas set back to nothing: what is printed and what is counted afterwards add up.

use firewall_tests::{
    command::Rampart,
    sockets::{Outcome, PATIENTLY, ping},
    topology::{Pair, SERVER},
};

const RULES: &str = "table inet filter {
	counter hits {
		packets 0 bytes 0
	}

	quota most {
		over 1 mbytes
	}

	chain input {
		type filter hook input priority filter; policy drop;
		icmp type echo-request counter name \"hits\" quota name \"most\" drop
		icmp type echo-request counter packets 0 bytes 0 quota 2 mbytes accept
	}
}
";

/// Packets of the rule's counter, of the named one, and the line of the quota with a name.
fn counted(listing: &str) -> (u64, u64) {
    let number = |line: &str| {
        let (_, rest) = line.split_once("packets ").unwrap_or_else(|| panic!("{line}"));
        rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let of = |part: &str| listing.lines().find(|line| line.contains(part)).map_or(0, number);
    (of("echo-request counter packets"), of("\t\tpackets"))
}

fn pings(pair: &Pair, count: usize) {
    for _ in 0..count {
        assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    }
}

#[test]
fn a_listing_can_be_applied_again_and_shows_what_is_live() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    assert_eq!(rampart.run(&["list"]).success().stdout, RULES);
    pings(&pair, 2);
    let listed = rampart.run(&["list", "-a"]).success().stdout;
    assert_eq!(counted(&listed), (2, 2), "{listed}");
    assert!(listed.contains("\t\tover 1 mbytes used 168 bytes\n"), "{listed}");
    assert!(listed.contains("counter packets 2 bytes 168 quota 2 mbytes used 168 bytes accept # handle "), "{listed}");
    assert!(listed.contains("\tcounter hits { # handle "), "{listed}");
    rampart.apply(&listed).check();
}

#[test]
fn what_is_set_back_was_printed() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    pings(&pair, 3);
    let metrics = |rampart: &Rampart<'_>| {
        let metrics = rampart.run(&["metrics"]).success().stdout;
        let line = metrics.lines().find(|line| line.starts_with("rampart_rule_packets_total{")).expect("a rule");
        line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    let printed = rampart.run(&["list", "--reset"]).success().stdout;
    assert_eq!(counted(&printed), (3, 3), "{printed}");
    assert!(printed.contains("used 252 bytes"), "{printed}");
    assert_eq!(rampart.run(&["list"]).success().stdout, RULES, "all is as it was in the beginning");
    pings(&pair, 1);
    assert_eq!(counted(&rampart.run(&["list"]).success().stdout), (1, 1));
    assert_eq!(metrics(&rampart), 4, "metrics never fall");
    // Those with a name alone, as JSON.
    let named = rampart.run(&["counters", "--reset", "--json"]).success().json();
    assert_eq!(named["named"][0]["packets"], 1, "{named}");
    assert_eq!((&named["named"][1]["kind"], &named["named"][1]["used"]), (&"quota".into(), &84.into()), "{named}");
    assert_eq!(counted(&rampart.run(&["list"]).success().stdout), (1, 0));
    let text = rampart.run(&["counters"]).success().stdout;
    assert!(
        text.contains("counter inet filter hits  packets 0 bytes 0\nquota inet filter most  over 1 mbytes\n"),
        "{text}"
    );
    // A rule that comes back begins anew, wherever it counts.
    rampart.apply(&RULES.replace("counter packets 0 bytes 0 quota 2 mbytes ", "")).check();
    rampart.apply(RULES).check();
    assert_eq!(counted(&rampart.run(&["list"]).success().stdout), (0, 0));
}

/// Packets come as fast as they can while counters are set back again and again: the printed numbers add up to what was
/// sent.
#[test]
fn no_packet_is_lost_between_two_resets() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let pings = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sent = 300;
            pings(&pair, sent);
            sent as u64
        });
        let (mut rule, mut named) = (0, 0);
        let mut add = || {
            let (one, other) = counted(&rampart.run(&["list", "--reset"]).success().stdout);
            rule += one;
            named += other;
        };
        while !sender.is_finished() {
            add();
        }
        add();
        assert_eq!(rule, named);
        (sender.join().expect("sent"), rule)
    });
    assert_eq!(pings.0, pings.1);
}
