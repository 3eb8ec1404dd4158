//! `rampart top` in a terminal of 80 columns and 24 lines, with real traffic.

use std::process::Command;

use firewall_tests::{
    command::{Rampart, rampart_path},
    netns::Namespace,
    screen::Screen,
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, ping, tcp_connect, tcp_echo},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established accept
        tcp dport 22 counter accept comment \"ssh\"
        tcp dport 23 counter drop comment \"no telnet\"
        ip protocol icmp counter accept
    }
}";

fn top(namespace: &Namespace) -> Command {
    let mut command = Command::new(rampart_path());
    command.args(["top", "--netns", namespace.name()]);
    command
}

#[test]
fn rates_drops_and_connections_are_seen_as_they_happen() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let screen = Screen::start(&top(&pair.server), (80, 24));
    screen.until("nothing is in force yet", |text| text.contains("generation 0, 0 rules"));
    rampart.apply(RULES).check();
    screen.until("the rules are there", |text| text.contains("generation 1, 4 rules"));

    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 24), BRIEFLY), Outcome::TimedOut);
    let text = screen.until("drops", |text| text.contains("ruleset   policy") && text.contains("ruleset   rule "));
    for part in
        ["eth0            in  passed ", "eth0            in  dropped", "eth0            out passed ", "table 1 of "]
    {
        assert!(text.contains(part), "no `{part}` on\n{text}");
    }
    assert!(text.contains(&format!("from {CLIENT}")) && text.contains(&format!("to   {SERVER}")), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80) && text.lines().count() <= 24, "{text}");

    // A rule's rate follows the traffic: some in this second, none in a later one.
    screen.press(&["2"]);
    let busy = |text: &str, is_busy: bool| {
        let line = text.lines().find(|line| line.contains("ip protocol icmp")).unwrap_or_default();
        line.split_whitespace().next().is_some_and(|rate| (rate != "0") == is_busy)
    };
    screen.until("a rate", |text| {
        assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
        busy(text, true)
    });
    screen.until("no rate any more", |text| busy(text, false));

    // From a drop reason to its last packets.
    screen.press(&["4", "/"]);
    screen.press(&["no rule decided", "Enter"]);
    screen.until("the filter", |text| text.contains("only `no rule decided`") && !text.contains("said drop"));
    screen.press(&["Enter"]);
    let last = screen.until("the last packets", |text| text.contains("Last drops by source: policy (ruleset)"));
    assert!(last.contains(&CLIENT.to_string()) && last.contains("tcp port 24"), "{last}");

    // Standing still: traffic does not change the picture.
    screen.press(&["1", "p"]);
    let still = screen.until("it stands still", |text| text.contains("paused"));
    assert_eq!(tcp_connect(&pair.client, (SERVER, 24), BRIEFLY), Outcome::TimedOut);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(screen.text(), still);
    screen.press(&["p", "5"]);
    screen.until("it goes on", |text| !text.contains("paused") && text.contains("Connections by state"));

    screen.resize((100, 30));
    screen.until("another size", |text| {
        text.lines().any(|line| line.starts_with("table ") && line.ends_with(']') && line.len() == 100)
    });
    screen.press(&["q"]);
    screen.wait_for_end();
}

/// An ssh that is cut must not leave anything behind, least of all a loop.
#[test]
fn it_ends_with_its_terminal() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let screen = Screen::start(&top(&pair.server), (80, 24));
    screen.until("the rules are there", |text| text.contains("generation 1, 4 rules"));
    screen.hang_up();
}

#[test]
fn a_program_gets_json_and_no_terminal_is_needed() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    assert_eq!(rampart.run(&["top", "--json", "--count", "1"]).status, 3, "nothing is in force");
    rampart.apply(RULES).check();
    let refused = rampart.run(&["top"]);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("no terminal"), "{}", refused.stderr);
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    let told = rampart.run(&["top", "--json", "--count", "2"]).success().json_lines();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["schema"], "rampart/1");
    assert_eq!((&told[1]["interfaces"][0]["interface"], &told[1]["generation"]), (&"eth0".into(), &1.into()));
    assert!(told[1]["rules"].as_array().is_some_and(|rules| rules.len() == 3), "{}", told[1]);
}
