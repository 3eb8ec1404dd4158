//! Rulesets replaced while packets flow: whole or not at all, and nothing is lost.

mod support;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::programs::ProgramInfo;
use firewall_common::verdict::Reason;
use firewall_tests::{
    command::{self, Scratch, rampart_path},
    inject::Wire,
    packet::Udp,
    sockets::{Outcome, PATIENTLY, Talk, TcpEcho},
    topology::{INTERFACE, Neighbours, Pair, SERVER},
};
use firewall_user::kernel::{Applied, ApplyOptions, Instance, KernelError};
use support::{
    Firewall, compiled,
    packets::{syn, v4, word},
};

/// What both let in and both keep out, each for a reason of its own.
const ONE: &str = "table inet t { chain c {
    type filter hook input priority 0; policy drop;
    udp dport 1000 counter accept comment \"open\"
    ct state established accept
    tcp dport 22 accept
}
}";
const OTHER: &str = "table inet t { chain c {
    type filter hook input priority 0; policy accept;
    udp dport 1000 counter accept comment \"open\"
    udp dport 1001 drop
    tcp dport 23 drop
    ct state new tcp dport 22 drop
}
}";

/// Tries to apply, in the server's namespace.
fn apply(firewall: &Firewall, rules: &str, options: &ApplyOptions) -> Result<Applied, KernelError> {
    firewall.open(|instance| {
        let lock = instance.lock()?;
        let previous = instance.manifest()?;
        instance.apply(&lock, &compiled(rules, Some(&previous)), options)
    })
}

fn confirm_within(seconds: u64) -> ApplyOptions {
    ApplyOptions { confirm: Some(Duration::from_secs(seconds)), ..ApplyOptions::default() }
}

fn generation(firewall: &Firewall) -> u32 {
    firewall.open(|instance| instance.generation().expect("a generation"))
}

/// Where the pins of the server's instance are.
fn pins(firewall: &Firewall) -> PathBuf {
    let cookie = firewall.pair.server.run(support::cookie);
    PathBuf::from("/run/rampart/bpf").join(cookie.to_string())
}

/// Names of all pins, sorted.
fn all_pins(firewall: &Firewall) -> Vec<PathBuf> {
    fn walk(directory: &PathBuf, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                walk(&entry, into);
            }
            into.push(entry);
        }
    }
    let mut all = Vec::new();
    walk(&pins(firewall), &mut all);
    all.sort();
    all
}

#[test]
fn no_packet_falls_between_two_rulesets() {
    /// Flips between the last two rulesets applied: those swap by the same store.
    const FLIPS: usize = 1000;
    /// Ports that send, each a connection.
    const PORTS: u64 = 300;
    let applies = std::env::var("RAMPART_SWAPS").map_or(50, |count| count.parse().expect("RAMPART_SWAPS is a number"));
    let pair = Pair::with(Neighbours::Known);
    for namespace in [&pair.client, &pair.server] {
        namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
    }
    let wire = Wire::open(&pair.client, INTERFACE);
    let firewall = Firewall::on(pair, OTHER);
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                for port in [1000, 1001] {
                    // Every hundredth packet is of another connection, the first one of it or not.
                    wire.send(&v4(Udp::new(2000 + (sent / 100 % PORTS) as u16, port)).bytes());
                }
                sent += 1;
            }
            sent
        });
        for rules in [ONE, OTHER].iter().cycle().take(applies) {
            firewall.apply(rules);
        }
        firewall.open(|instance| {
            for _ in 0..FLIPS {
                instance.rollback(&instance.lock().expect("lock")).expect("there are two rulesets");
                thread::sleep(Duration::from_millis(1));
            }
        });
        is_over.store(true, Ordering::Relaxed);
        sender.join().expect("the sender does not panic")
    });
    let deadline = Instant::now() + PATIENTLY;
    while firewall.seen().0 < 2 * sent && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let dropped: Vec<_> = Reason::ALL.iter().map(|reason| (*reason, firewall.dropped(*reason))).collect();
    let for_rules = firewall.dropped(Reason::Rule) + firewall.dropped(Reason::Policy);
    assert!(sent > 1000, "{sent}");
    assert_eq!(firewall.seen().0, 2 * sent, "every packet met a ruleset");
    assert_eq!(for_rules, sent, "every packet to the closed port was dropped by one of the two: {dropped:?}");
    assert_eq!(dropped.iter().map(|(_, packets)| packets).sum::<u64>(), sent, "and no other: {dropped:?}");
    // The rule that both have kept its count throughout.
    assert_eq!(firewall.rule("open").0, sent);
    assert!(firewall.dropped(Reason::Rule) > 0 && firewall.dropped(Reason::Policy) > 0, "{dropped:?}");
    // Each connection that either lets in was entered once and never again: none was lost.
    let connections = PORTS.min(sent.div_ceil(100));
    let stats = firewall.open(|instance| instance.flow_stats().expect("statistics"));
    assert_eq!((stats.entered, stats.refused), (connections, 0), "{stats:?}");
    assert_eq!(firewall.flows().len() as u64, connections);
}

#[test]
fn connections_live_on() {
    let pair = Pair::with(Neighbours::Known);
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    let firewall = Firewall::on(pair, ONE);
    let mut talk = Talk::open(&firewall.pair.client, server.address(), PATIENTLY).expect("ssh is open");
    let only_answers =
        "table inet t { chain c { type filter hook input priority 0; policy drop; ct state established accept; }; }";
    for rules in [only_answers, OTHER, only_answers, ONE, only_answers] {
        firewall.apply(rules);
        assert_eq!(talk.echo(PATIENTLY), Outcome::Connected, "{rules}");
    }
    assert_eq!(firewall.flows().iter().filter(|flow| flow.slot.state().name() == "ESTABLISHED").count(), 1);
}

#[test]
fn a_rule_that_stays_keeps_its_count() {
    let rules = |more: &str| {
        format!(
            "table inet t {{ chain c {{ type filter hook input priority 0; policy accept;\n{more}
            tcp dport 22 counter comment \"ssh\"\ncounter comment \"all\"\n}}\n}}"
        )
    };
    let firewall = Firewall::new(&rules(""));
    firewall.ingress(&word("tcp:22")).expect("it passes");
    firewall.apply(&rules("udp dport 53 counter comment \"names\""));
    assert_eq!((firewall.rule("ssh"), firewall.rule("names"), firewall.rule("all")), ((1, 40), (0, 0), (1, 40)));
    firewall.ingress(&word("tcp:22")).expect("it passes");
    firewall.ingress(&word("udp:53")).expect("it passes");
    firewall.apply(&rules(""));
    assert_eq!((firewall.rule("ssh"), firewall.rule("all")), ((2, 80), (3, 108)));
    // A rule that was gone starts anew.
    firewall.apply(&rules("udp dport 53 counter comment \"names\""));
    assert_eq!(firewall.rule("names"), (0, 0));
}

/// Lets these ports in.
fn ports(ports: std::ops::Range<u16>) -> String {
    let rules: Vec<_> = ports.map(|port| format!("tcp dport {port} counter accept comment \"{port}\"")).collect();
    format!("table inet t {{ chain c {{ type filter hook input priority 0; policy drop\n{}\n}}\n}}", rules.join("\n"))
}

/// The kernel's number of the program that judges what comes in.
fn program(firewall: &Firewall) -> u32 {
    let path = pins(firewall).join("generation").join(generation(firewall).to_string()).join("rampart_xdp");
    ProgramInfo::from_pin(path).expect("a program").id()
}

/// What a program was verified for does not change from one ruleset to the next that uses the same things: then the one
/// that was replaced two rulesets ago serves again.
#[test]
fn programs_serve_one_ruleset_after_another() {
    let firewall = Firewall::new(&ports(1..13));
    let mut programs = vec![program(&firewall)];
    for range in [1..3, 2..9, 3..4, 1..12, 5..7, 1..13] {
        firewall.apply(&ports(range.clone()));
        for port in 1..13 {
            let wanted = if range.contains(&port) { Ok(()) } else { Err(Reason::Policy) };
            assert_eq!(firewall.ingress(&v4(syn(port))), wanted, "port {port} of {range:?}");
        }
        // What was kept of a longer ruleset is not read as a part of this one.
        let kept: Vec<String> = firewall.rules().into_keys().collect();
        assert_eq!(kept.len(), range.len(), "{kept:?}");
        let image = firewall.open(|instance| {
            let image = instance.image(instance.generation().expect("generation")).expect("image");
            (0..u32::try_from(range.len()).expect("few")).map(|rule| image.of_rule(rule).len()).collect::<Vec<_>>()
        });
        assert!(image.windows(2).all(|two| two[0] == two[1]), "{image:?}");
        programs.push(program(&firewall));
    }
    assert_eq!(programs[3..], [programs[0], programs[1], programs[2], programs[0]]);
    // Another thing that rules use needs other programs; going back is as ever.
    firewall.apply(&format!("{}\ntable inet u {{ chain d {{ type filter hook output priority 0; }}; }}", ports(1..3)));
    assert_eq!(firewall.ingress(&v4(syn(2))), Ok(()));
    firewall.apply(&ports(1..3).replace("counter accept", "log prefix \"in\" counter accept"));
    assert!(!programs.contains(&program(&firewall)));
    assert_eq!(firewall.ingress(&v4(syn(2))), Ok(()));
    firewall.open(|instance| instance.rollback(&instance.lock().expect("lock"))).expect("there is one before");
    assert_eq!(firewall.ingress(&v4(syn(1))), Ok(()));
}

/// The command loads programs ahead, so that no replacement waits for the verifier, and does not keep more than one set of them.
#[test]
fn the_command_loads_the_programs_of_the_next_ruleset_ahead() {
    let firewall = Firewall::new(&ports(1..3));
    let files = Scratch::new();
    let generations = pins(&firewall).join("generation");
    let ahead = || ProgramInfo::from_pin(generations.join("next").join("rampart_xdp")).map(|program| program.id());
    for (number, range) in [(2, 1..13), (3, 2..9), (4, 5..7)] {
        let before = ahead();
        let rules = files.write("rules.nft", ports(range.clone()));
        let mut command = Command::new(rampart_path());
        command.arg("apply").arg(&rules);
        let output = firewall.pair.server.run(|| command.output()).expect("rampart");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(generation(&firewall), number);
        if let Ok(before) = before {
            assert_eq!(program(&firewall), before, "{range:?}");
        }
        // The one that was replaced two rulesets ago serves as well.
        assert_eq!(ahead().is_ok(), number == 2, "{range:?}");
        assert!(fs::read_dir(&generations).expect("pins").count() <= 3);
        for port in 1..13 {
            let wanted = if range.contains(&port) { Ok(()) } else { Err(Reason::Policy) };
            assert_eq!(firewall.ingress(&v4(syn(port))), wanted, "port {port} of {range:?}");
        }
    }
}

#[test]
fn an_unconfirmed_ruleset_hands_back_by_itself() {
    let firewall = Firewall::new(ONE);
    let before = generation(&firewall);
    apply(&firewall, OTHER, &confirm_within(2)).expect("it can be applied");
    assert_eq!(firewall.ingress(&word("tcp:24")), Ok(()), "the new one is in force");
    // No process of ours does anything from here on but ask.
    let deadline = Instant::now() + Duration::from_secs(30);
    while firewall.ingress(&word("tcp:24")) == Ok(()) {
        assert!(Instant::now() < deadline, "the old one does not come back");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(firewall.ingress(&word("tcp:24")), Err(Reason::Policy));
    assert_eq!(generation(&firewall), before);
    let late = firewall.open(|instance| instance.confirm(&instance.lock().expect("lock")));
    assert!(matches!(late, Err(KernelError::NothingTo(_))), "{late:?}");
    assert_eq!(firewall.ingress(&word("tcp:24")), Err(Reason::Policy));
    // What comes next is an apply like any other.
    firewall.apply(OTHER);
    assert_eq!(firewall.ingress(&word("tcp:24")), Ok(()));
}

/// The first ruleset has none before it: then everything passes, as it did.
#[test]
fn an_unconfirmed_first_ruleset_hands_back_to_none() {
    let pair = Pair::with(Neighbours::Known);
    let firewall = Firewall { pair };
    firewall.try_apply(ONE, &confirm_within(2));
    assert_eq!(firewall.ingress(&word("tcp:23")), Err(Reason::Policy));
    let deadline = Instant::now() + Duration::from_secs(30);
    while firewall.ingress(&word("tcp:23")) != Ok(()) {
        assert!(Instant::now() < deadline, "it stays in force");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_confirmed_ruleset_stays() {
    let firewall = Firewall::new(ONE);
    let applied = apply(&firewall, OTHER, &confirm_within(2)).expect("it can be applied");
    let confirmed = firewall.open(|instance| instance.confirm(&instance.lock().expect("lock")));
    assert_eq!(confirmed.expect("it is in time"), applied.generation);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(firewall.ingress(&word("tcp:24")), Ok(()));
    assert_eq!(generation(&firewall), applied.generation);
}

#[test]
fn a_rollback_brings_back_the_ruleset_before() {
    let firewall = Firewall::new(ONE);
    let first = generation(&firewall);
    firewall.ingress(&word("udp:1000")).expect("it is open");
    firewall.apply(OTHER);
    assert_eq!(firewall.ingress(&word("tcp:24")), Ok(()));
    let back = firewall.open(|instance| instance.rollback(&instance.lock().expect("lock")));
    assert_eq!(back.expect("there is one"), first);
    assert_eq!(firewall.ingress(&word("tcp:24")), Err(Reason::Policy));
    assert_eq!(firewall.rule("open").0, 1, "counts are kept");
    let nothing = Firewall::new(ONE);
    let refused = nothing.open(|instance| instance.rollback(&instance.lock().expect("lock")));
    assert!(matches!(refused, Err(KernelError::NothingTo(_))), "{refused:?}");
    assert_eq!(nothing.ingress(&word("tcp:24")), Err(Reason::Policy));
}

/// What a failed apply must leave as it was.
fn condition(firewall: &Firewall) -> (u32, Vec<PathBuf>, (u64, u64), usize) {
    let interfaces = firewall.open(|instance| instance.interfaces().expect("interfaces").len());
    (generation(firewall), all_pins(firewall), firewall.rule("open"), interfaces)
}

#[test]
fn a_failed_apply_changes_nothing() {
    let firewall = Firewall::new(ONE);
    firewall.ingress(&word("udp:1000")).expect("it is open");
    firewall.pair.server.ip("link add foreign type veth peer name wire1");
    firewall.pair.server.ip("link set foreign up");
    // Somebody's XDP program on the other interface: an instance's own programs leave when its pins do.
    let program = pins(&firewall).join("generation").join(generation(&firewall).to_string()).join("enter_xdp");
    let attach = format!("link set dev foreign xdp pinned {}", program.display());
    firewall.pair.server.ip(&attach);
    let before = condition(&firewall);
    let on = |interface: &str| ApplyOptions { interfaces: vec![interface.to_owned()], ..ApplyOptions::default() };
    let unknown = apply(&firewall, OTHER, &on("eth7"));
    assert!(matches!(unknown, Err(KernelError::NoInterface { .. })), "{unknown:?}");
    assert_eq!(condition(&firewall), before, "an unknown interface");
    let foreign = apply(&firewall, OTHER, &on("foreign"));
    assert!(matches!(foreign, Err(KernelError::ForeignXdp { .. })), "{foreign:?}");
    assert_eq!(condition(&firewall), before, "a foreign program");
    assert_eq!(firewall.ingress(&word("tcp:24")), Err(Reason::Policy), "the old ruleset is in force");
    let link = ["-n", firewall.pair.server.name(), "link", "show", "dev", "foreign"];
    let link = command::run(None, "ip", &link, "").success().stdout;
    assert!(link.contains("xdp"), "the foreign program is still there: {link}");
    // Without that interface it works.
    apply(&firewall, OTHER, &on(INTERFACE)).expect("nothing is in the way");
}

/// The first apply that fails leaves no trace.
#[test]
fn a_failed_first_apply_leaves_no_pins() {
    let pair = Pair::with(Neighbours::Known);
    let (cookie, result) = pair.server.run(|| {
        let instance = Instance::open_or_create(&firewall_user::kernel::StateOptions { flows: Some(support::FLOWS) });
        let instance = instance.expect("a place for an instance");
        let options = ApplyOptions { interfaces: vec!["eth7".to_owned()], ..ApplyOptions::default() };
        let lock = instance.lock().expect("lock");
        (support::cookie(), instance.apply(&lock, &compiled(ONE, None), &options).map(|applied| applied.generation))
    });
    assert!(matches!(result, Err(KernelError::NoInterface { .. })), "{result:?}");
    let left = PathBuf::from("/run/rampart/bpf").join(cookie.to_string());
    assert!(!left.join("state/CONTROL").exists(), "{}", left.display());
    assert!(matches!(pair.server.run(Instance::open).map(drop), Err(KernelError::NotRunning)));
}

/// Whoever was killed while applying leaves pins that the next apply removes.
#[test]
fn leftovers_are_removed_by_the_next_apply() {
    let firewall = Firewall::new(ONE);
    let generations = pins(&firewall).join("generation");
    let stray = generations.join("4711");
    fs::create_dir(&stray).expect("a directory of pins");
    let map = generations.join(generation(&firewall).to_string()).join("INSNS");
    let map = aya::maps::MapData::from_pin(map).expect("a map");
    map.pin(stray.join("INSNS")).expect("it can be pinned twice");
    let applied = apply(&firewall, OTHER, &ApplyOptions::default()).expect("it can be applied");
    assert!(!stray.exists(), "it is still there");
    assert!(applied.generation > 4711, "a number is never used twice");
    assert_eq!(firewall.ingress(&v4(syn(24))), Ok(()));
}
