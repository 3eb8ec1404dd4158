//! Settings as somebody may write them.

use firewall_common::conntrack::{EVICT, LIBERAL, LOOSE, Timeout, ZONES, ticks_of_seconds};
use rstest::rstest;

use super::{Config, WhenFull, parse};

fn read(text: &str) -> Config {
    parse("rampart.toml", text.to_owned()).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

#[test]
fn nothing_is_the_defaults() {
    let config = read("");
    assert_eq!(config, Config::default());
    assert_eq!(config.conntrack.ways(), LOOSE);
    assert_eq!(config.conntrack.timeouts.ticks(), firewall_common::conntrack::Timeouts::DEFAULT);
}

#[test]
fn every_key_is_read() {
    let config = read(
        "[conntrack]
max = 1_000_000
when_full = \"evict-lru\"
tcp_loose = false
tcp_be_liberal = true

[conntrack.timeouts]
tcp_timeout_established = \"1h30m\"
udp_timeout = 5

[conntrack.zones]
eth1 = 7

[attach]
tc = [\"veth*\", \"lan\"]
",
    );
    let by_tc = ["veth0", "veth", "lan", "lan0", "eth0"].map(|name| config.attach.wants_tc(name));
    assert_eq!(by_tc, [true, true, true, false, false]);
    let conntrack = &config.conntrack;
    assert_eq!(conntrack.max.map(|max| max.0), Some(1_000_000));
    assert_eq!(conntrack.when_full, WhenFull::EvictLru);
    assert_eq!(conntrack.ways(), LIBERAL | EVICT | ZONES);
    assert_eq!((conntrack.zone("eth1"), conntrack.zone("eth0")), (7, 0));
    let ticks = |timeout| conntrack.timeouts.ticks().ticks(timeout as u32);
    assert_eq!(ticks(Timeout::Established), ticks_of_seconds(5400));
    assert_eq!(ticks(Timeout::Udp), ticks_of_seconds(5));
    assert_eq!(ticks(Timeout::UdpStream), ticks_of_seconds(120));
    // Kept with the ruleset, and read back.
    let kept = serde_json::to_string(&config).expect("JSON");
    assert_eq!(serde_json::from_str::<Config>(&kept).expect("its own"), config);
}

/// Which ports, and when: the end is not above the beginning, and named ports are all that count.
#[test]
fn floods_have_a_beginning_and_an_end() {
    use firewall_common::flood::{Flooding, is_within};
    assert_eq!(read("").syn_flood.limits(), Flooding::NEVER);
    let limits = read("[syn_flood]\nbegin = 2000\n").syn_flood.limits();
    assert_eq!((limits.begin, limits.end, limits.mss), (2000, 500, 1460));
    assert!(limits.ports.iter().any(|range| is_within(*range, 1)));
    let limits =
        read("[syn_flood]\nbegin = 10\nend = 20\nmss = 1400\nports = [443, \"8000-8099\"]\n").syn_flood.limits();
    assert_eq!((limits.begin, limits.end, limits.mss), (10, 10, 1400));
    let protected = |port| limits.ports.iter().any(|range| is_within(*range, port));
    assert_eq!([442, 443, 444, 7999, 8000, 8099, 8100].map(protected), [false, true, false, false, true, true, false]);
}

/// What shortens the life of an established connection does not lengthen it.
#[test]
fn a_short_life_stays_short() {
    let config = read("[conntrack.timeouts]\ntcp_timeout_established = 60\n");
    for timeout in [Timeout::MaxRetrans, Timeout::Unacknowledged] {
        assert_eq!(config.conntrack.timeouts.ticks().ticks(timeout as u32), ticks_of_seconds(60));
    }
}

#[rstest]
#[case::no_section(
    "[contrack]\n",
    "rampart.toml:1:2: error: unknown field `contrack`, expected one of `conntrack`, `checks`, `attach`, `syn_flood`, `forwarding`, `sets`, `agent`"
)]
#[case::no_port("[syn_flood]\nports = [80, 0]\n", "rampart.toml:2:14: error: 0 is no port")]
#[case::no_range(
    "[syn_flood]\nports = [\"90-80\"]\n",
    "rampart.toml:2:10: error: `90-80` is no port and no FIRST-LAST"
)]
#[case::no_handshake("[syn_flood]\nbegin = 0\n", "rampart.toml:2:9: error: 0 is not from 1 to 1000000000")]
#[case::no_key("[conntrack]\nfull = 1\n", "rampart.toml:2:1: error: unknown field `full`")]
#[case::a_near_lifetime(
    "[conntrack.timeouts]\ntcp_timeout_estblished = 60\n",
    "rampart.toml:2:1: error: no lifetime `tcp_timeout_estblished` (did you mean `tcp_timeout_established`?)"
)]
#[case::no_lifetime(
    "[conntrack.timeouts]\nforever = 60\n",
    "rampart.toml:2:1: error: no lifetime `forever` (`rampart conns --timeouts` lists them)"
)]
#[case::zero("[conntrack.timeouts]\nudp_timeout = 0\n", "rampart.toml:2:15: error: 0 s is no lifetime")]
#[case::negative("[conntrack.timeouts]\nudp_timeout = -3\n", "rampart.toml:2:15: error: -3 s is no lifetime")]
#[case::too_long(
    "[conntrack.timeouts]\nudp_timeout = \"400d\"\n",
    "rampart.toml:2:15: error: 34560000 s is no lifetime"
)]
#[case::no_duration(
    "[conntrack.timeouts]\nudp_timeout = \"soon\"\n",
    "rampart.toml:2:15: error: invalid value: string \"soon\""
)]
#[case::no_policy("[conntrack]\nwhen_full = \"panic\"\n", "rampart.toml:2:13: error: unknown variant `panic`")]
#[case::no_connections("[conntrack]\nmax = 0\n", "rampart.toml:2:7: error: `0` connections cannot be had")]
#[case::no_zone("[conntrack.zones]\neth0 = 70000\n", "rampart.toml:2:8: error: ")]
#[case::no_toml("[conntrack\n", "rampart.toml:1:11: error: ")]
fn what_is_wrong_is_shown_where_it_is(#[case] text: &str, #[case] expected: &str) {
    let errors = parse("rampart.toml", text.to_owned()).expect_err("it is wrong");
    let rendered = errors.render(false);
    assert!(rendered.starts_with(expected), "{rendered}");
    assert!(rendered.contains('^'), "{rendered}");
}

/// docs/SETTINGS.md lists every lifetime, with its default and what it is of.
#[test]
fn the_document_has_every_lifetime() {
    let document = include_str!("../../../docs/SETTINGS.md");
    for timeout in Timeout::ALL {
        let (key, default) = (timeout.key(), crate::observe::words::seconds(timeout.default_seconds().into()));
        let row = format!("| `{key}` | {default} | {} |", timeout.meaning());
        assert!(document.contains(&row), "docs/SETTINGS.md has no row\n{row}");
    }
    let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    read(example);
}

#[test]
fn what_is_typed_for_the_agent_overrules_its_settings() {
    use clap::Parser;

    use crate::cli::{Cli, Verb};

    let typed = |line: &str| match Cli::try_parse_from(line.split(' ')).expect(line).verb {
        Verb::Agent(agent) => agent,
        _ => panic!("{line}"),
    };
    let config = read(
        "[agent]
listen = \"127.0.0.1:9700\"
hosts = [\"fw.example\"]
rules = 10
follow_interfaces = true
events_file = \"/var/log/events.jsonl\"
events_file_size = 5
journald = true
filters = [\"dropped\", \"dport=22\"]
",
    );
    let set = config.agent.with(&typed("rampart agent"));
    assert_eq!((set.listen.port(), set.rules, set.events_file_size, set.filters.len()), (9700, 10, 5, 2));
    assert!(set.follow_interfaces && set.journald && !set.syslog && set.hosts == ["fw.example"]);
    let line = "rampart agent --listen [::1]:1 --rules 3 --host other --events-file-size 7 --syslog --filter new";
    let overruled = config.agent.with(&typed(line));
    assert_eq!((overruled.listen.port(), overruled.rules, overruled.events_file_size), (1, 3, 7));
    assert!(overruled.syslog && overruled.hosts == ["other"] && overruled.filters.len() == 1);
    let defaults = Config::default().agent.with(&typed("rampart agent"));
    assert_eq!((defaults.listen.to_string(), defaults.rules), ("127.0.0.1:9630".to_owned(), 200));
    for (wrong, said) in
        [("filters = [\"colour=red\"]", "colour"), ("listen = \"here\"", "socket"), ("port = 1", "port")]
    {
        let errors = parse("r.toml", format!("[agent]\n{wrong}\n")).expect_err(wrong).render(false);
        assert!(errors.contains("r.toml:2:") && errors.contains(said), "{errors}");
    }
    let kept = serde_json::to_string(&config).expect("serializes");
    assert!(!kept.contains("agent"), "{kept}");
}

#[test]
fn backends_are_read() {
    let config = read(
        "[balance.web]
backends = [\"192.0.2.11:8443\", { to = \"[2001:db8::11]:8443\", weight = 3 }, \"192.0.2.13\"]
choose = \"round-robin\"
places = 3
check = \"http\"
status = 204
",
    );
    let web = &config.balance["web"];
    let backends: Vec<_> = web.backends.iter().map(|one| (one.to_string(), one.value(), one.weight)).collect();
    let row = |name: &str, value: &str, weight| (name.to_owned(), value.to_owned(), weight);
    assert_eq!(
        backends,
        [
            row("192.0.2.11:8443", "192.0.2.11 . 8443", 1),
            row("[2001:db8::11]:8443", "2001:db8::11 . 8443", 3),
            row("192.0.2.13", "192.0.2.13", 1)
        ]
    );
    assert_eq!((web.places.0, web.status, web.interval_ms.0, web.fall.0), (3, 204, 2000, 3));
    // Kept with the ruleset, and read back.
    let kept = serde_json::to_string(&config).expect("JSON");
    assert_eq!(serde_json::from_str::<Config>(&kept).expect("its own"), config);
}

#[rstest]
#[case("", "missing field `backends`")]
#[case("backends = [\"web.example:80\"]", "`web.example:80` is no ADDRESS and no ADDRESS:PORT")]
#[case("backends = [7]", "expected \"ADDRESS\", \"ADDRESS:PORT\"")]
#[case("backends = [{ to = \"192.0.2.1\", weight = 1001 }]", "1001 is not from 0 to 1000")]
#[case("backends = []\nplaces = 0", "0 is not from 1 to 65537")]
#[case("backends = []\nchoose = \"random\"", "unknown variant `random`")]
fn backends_that_make_no_sense(#[case] lines: &str, #[case] message: &str) {
    let errors = parse("rampart.toml", format!("[balance.web]\n{lines}\n")).expect_err("refused");
    let text = errors.render(false);
    assert!(text.contains(message), "{text}");
}
