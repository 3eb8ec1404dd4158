//! The agent and its metrics: served, clean, adding up; read only, and nothing that filtering needs.

#[path = "agent/adds_up.rs"]
mod adds_up;
#[path = "agent/prometheus.rs"]
mod prometheus;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use firewall_tests::{
    command::{Rampart, Scratch},
    netns::Namespace,
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, tcp_connect, tcp_echo},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        tcp dport 22 counter accept comment \"ssh\"
        tcp dport 23 counter drop
        ip protocol icmp accept
    }
}";

/// Where the agents of these tests listen, each in its own namespace.
const PORT: u16 = 9630;

/// Sends a request and returns the whole answer; empty when nobody answers.
fn request(namespace: &Namespace, text: &str) -> String {
    request_at(namespace, PORT, text)
}

/// The same of another server there.
fn request_at(namespace: &Namespace, port: u16, text: &str) -> String {
    namespace.run(|| {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    })
}

fn get(namespace: &Namespace, path: &str) -> String {
    request(namespace, &format!("GET {path} HTTP/1.1\r\nHost: localhost:{PORT}\r\n\r\n"))
}

/// Asks until the answer is the wanted one.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: never");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What `promtool check metrics` complains about.
fn promtool(metrics: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian package prometheus; `cargo xtask setup` installs it)");
    child.stdin.take().expect("its input").write_all(metrics.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("its end");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The sum of the samples of a family whose line has all these parts.
fn sum(metrics: &str, family: &str, parts: &[&str]) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(family) && parts.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn traffic(pair: &Pair) {
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 24), BRIEFLY), Outcome::TimedOut);
}

#[test]
fn metrics_are_clean_and_add_up() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    assert!(rampart.run(&["metrics"]).success().stdout.contains("rampart_up 0\n"));
    rampart.apply(RULES).check();
    traffic(&pair);
    let metrics = rampart.run(&["metrics"]).success().stdout;
    assert_eq!(promtool(&metrics), "");
    assert!(metrics.contains("rampart_last_apply_result{result=\"applied\"} 1\n"), "{metrics}");
    assert!(sum(&metrics, "rampart_last_apply_timestamp_seconds", &[]) > 1_700_000_000, "{metrics}");
    for way in ["direction=\"in\"", "direction=\"out\""] {
        let one = |family| sum(&metrics, family, &["interface=\"eth0\"", way]);
        let (seen, passed) = (one("rampart_seen_packets_total"), one("rampart_passed_packets_total"));
        assert_eq!(seen, passed + one("rampart_dropped_packets_total"), "{way}");
        assert!(seen > 0);
    }
    assert!(sum(&metrics, "rampart_dropped_packets_total", &["reason=\"rule\"", "layer=\"ruleset\""]) >= 1);
    assert!(sum(&metrics, "rampart_rule_packets_total", &["comment=\"ssh\""]) >= 1, "{metrics}");
    let bounded = rampart.run(&["metrics", "--rules", "1"]).success().stdout;
    assert!(bounded.contains("rampart_rules_told 0\n") && !bounded.contains("rampart_rule_packets_total"), "{bounded}");
    assert!(rampart.run(&["metrics", "--open-metrics"]).success().stdout.ends_with("# EOF\n"));
    // One that was refused is the last one, whatever is in force.
    assert_eq!(rampart.apply("table inet t { chain c { nonsense } }").status, 1);
    let metrics = rampart.run(&["metrics"]).success().stdout;
    assert!(metrics.contains("rampart_last_apply_result{result=\"refused\"} 1\n"), "{metrics}");
    assert!(metrics.contains("rampart_last_apply_result{result=\"applied\"} 0\n"), "{metrics}");
    assert!(metrics.contains("rampart_up 1\n"), "{metrics}");
    assert_eq!(promtool(&metrics), "");
}

#[test]
fn the_agent_answers_who_may_ask_and_refuses_the_rest() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let _agent = rampart.start(&["agent"]);
    until("the agent serves", || get(&pair.server, "/metrics").starts_with("HTTP/1.1 200 OK"));
    let plain = get(&pair.server, "/metrics");
    let (head, body) = plain.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(promtool(body), "");
    let open = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/openmetrics-text\r\n\r\n";
    assert!(request(&pair.server, open).ends_with("# EOF\n"));
    let page = get(&pair.server, "/");
    assert!(page.contains("<title>rampart</title>") && page.contains("Content-Security-Policy"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page asks nobody else");
    assert!(get(&pair.server, "/api/state").contains("\"running\":true"));
    let why = get(&pair.server, "/api/why?packet=tcp+192.0.2.1%3A40000+192.0.2.2:24&direction=in&interface=eth0");
    assert!(why.contains("\"verdict\":\"drop\"") && why.contains("\"reason\":\"policy\""), "{why}");
    for (text, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "403"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", "403"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "405"),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ("GET /api/why HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("GET /api/why?packet=tcp+x HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("GET /api/why?packet=tcp+x HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        ("POST /api/why HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "405"),
        ("GET /etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = request(&pair.server, text);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{text:?}: {answer}");
    }
}

/// What somebody without privileges says to do, in a namespace.
fn as_nobody(namespace: &Namespace, program: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]).args(arguments);
    namespace.run(|| command.output()).expect("setpriv (util-linux) is installed")
}

#[test]
fn who_is_not_root_reads_metrics_and_controls_nothing() {
    let (pair, files) = (Pair::new(), Scratch::new());
    pair.server.ip("link set lo up");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let events = files.path().join("events.jsonl");
    let _agent = rampart.start(&["agent", "--events-file", &events.to_string_lossy()]);
    until("the agent serves", || get(&pair.server, "/metrics").starts_with("HTTP/1.1 200 OK"));
    let ask = |request: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf '{request} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n' >&3; cat <&3"
        );
        let output = as_nobody(&pair.server, "bash", &["-c", &script]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let metrics = ask("GET /metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK") && metrics.contains("rampart_up 1\n"), "{metrics}");
    assert!(ask("GET /api/state").contains("\"running\":true"));
    for request in ["POST /metrics", "PUT /api/why", "DELETE /"] {
        assert!(ask(request).starts_with("HTTP/1.1 405"), "{request}");
    }
    // A copy that everybody may start, wherever the original is.
    let own = files.path().join("rampart");
    std::fs::copy(firewall_tests::command::rampart_path(), &own).expect("copied");
    let own = own.to_string_lossy().into_owned();
    let generation = || rampart.run(&["status", "--json"]).success().json()["generation"].clone();
    let before = generation();
    for arguments in [&["stop"][..], &["ban", "203.0.113.9"], &["monitor"], &["list"], &["rollback"], &["metrics"]] {
        let output = as_nobody(&pair.server, &own, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("not permitted"), "{arguments:?}: {said}");
    }
    assert_eq!(generation(), before);
    assert_eq!(rampart.run(&["bans"]).success().stdout, "nobody is banned\n");
}

/// The socket that events are passed on by lets in its owner and group only.
#[test]
fn the_socket_of_events_is_closed_to_others() {
    use std::os::unix::net::UnixStream;
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let sockets = || -> std::collections::BTreeSet<std::path::PathBuf> {
        let all = std::fs::read_dir("/run/rampart").into_iter().flatten().flatten().map(|entry| entry.path());
        all.filter(|path| path.to_string_lossy().ends_with(".events.socket")).collect()
    };
    let before = sockets();
    let _monitor = rampart.start(&["monitor"]);
    until("the monitor listens", || sockets().difference(&before).next().is_some());
    // Other tests may have begun to listen meanwhile: theirs are closed as well.
    let all: Vec<_> = sockets().difference(&before).cloned().collect();
    let refused = std::thread::spawn(move || {
        // Of this thread alone: files are opened as nobody's.
        nix::unistd::setfsgid(nix::unistd::Gid::from_raw(65534));
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        let connect = |socket| UnixStream::connect(socket).map(drop).map_err(|error| error.kind());
        all.iter().map(connect).collect::<Vec<_>>()
    });
    let refused = refused.join().expect("an answer");
    assert!(refused.contains(&Err(std::io::ErrorKind::PermissionDenied)), "{refused:?}");
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
}

#[test]
fn counters_go_on_when_the_agent_is_killed() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let agent = rampart.start(&["agent"]);
    until("the agent serves", || get(&pair.server, "/metrics").starts_with("HTTP/1.1 200 OK"));
    traffic(&pair);
    agent.kill();
    traffic(&pair);
    let metrics = rampart.run(&["metrics"]).success().stdout;
    let dropped = sum(&metrics, "rampart_dropped_packets_total", &["interface=\"eth0\"", "direction=\"in\""]);
    assert!(dropped >= 4, "two drops before and two behind: {dropped}");
    let one = |family| sum(&metrics, family, &["interface=\"eth0\"", "direction=\"in\""]);
    assert_eq!(one("rampart_seen_packets_total"), one("rampart_passed_packets_total") + dropped);
}

#[test]
fn events_are_written_and_new_interfaces_are_filtered() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let files = Scratch::new();
    let events = files.path().join("events.jsonl");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let path = events.to_string_lossy().into_owned();
    let _agent = rampart.start(&["agent", "--events-file", &path, "--filter", "dropped", "--follow-interfaces"]);
    until("the agent serves", || get(&pair.server, "/metrics").starts_with("HTTP/1.1 200 OK"));
    until("an event is written", || {
        let _ = tcp_connect(&pair.client, (SERVER, 23), BRIEFLY);
        std::fs::read_to_string(&events).is_ok_and(|text| text.contains("\"event\":\"dropped\""))
    });
    let text = std::fs::read_to_string(&events).expect("a file");
    let event: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!((event["reason"].as_str(), event["packet"]["src"].as_str()), (Some("rule"), Some(&*CLIENT.to_string())));
    pair.server.ip("link add late type veth peer name later");
    pair.server.ip("link set late up");
    until("the new interface is filtered", || rampart.run(&["status"]).stdout.contains("late"));
}

/// What the file of settings says holds, until something else is typed.
#[test]
fn settings_are_read_and_overruled() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let (rampart, files) = (Rampart::on(&pair.server), Scratch::new());
    rampart.apply(RULES).check();
    let config = files.write("rampart.toml", "[agent]\nlisten = \"127.0.0.1:9700\"\nrules = 1\n");
    let config = config.to_string_lossy().into_owned();
    let scraped = |port: u16| request_at(&pair.server, port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let agent = rampart.start(&["agent", "--config", &config]);
    until("it listens where the settings say", || scraped(9700).contains("rampart_rules_told 0\n"));
    drop(agent);
    let _agent = rampart.start(&["agent", "--config", &config, "--listen", "127.0.0.1:9701", "--rules", "5"]);
    until("what is typed is stronger", || scraped(9701).contains("rampart_rules_told 1\n"));
    let wrong = files.write("wrong.toml", "[agent]\nport = 1\n");
    let refused = rampart.run(&["agent", "--config", &wrong.to_string_lossy()]);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("wrong.toml:2:1: error: unknown field `port`"), "{}", refused.stderr);
}

/// What is shipped for Prometheus and Grafana asks for metrics that exist, and the alerts do what their tests say.
#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/observing");
    for arguments in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output().expect("promtool");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    traffic(&pair);
    let metrics = rampart.run(&["metrics"]).success().stdout;
    let is_known = |name: &str| metrics.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
    let mut asked = 0;
    for file in ["alerts.yml", "dashboard.json"] {
        let text = std::fs::read_to_string(folder.join(file)).expect(file);
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        for name in text.split(|letter| !is_part(letter)).filter(|word| word.starts_with("rampart_")) {
            assert!(is_known(name), "{file} asks for {name}, which there is not");
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked}");
}

const RULES_ABOUT_ADDRESSES: &str =
    "table inet t { chain c { type filter hook input priority 0; fib daddr type local counter; }; }";

#[test]
fn the_agent_follows_the_addresses_that_rules_ask_about() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let applied = rampart.apply(RULES_ABOUT_ADDRESSES);
    assert!(applied.stderr.contains("`rampart agent`, which does not run"), "{}", applied.stderr);
    let finding = || {
        let json = rampart.run(&["doctor", "--json"]).json();
        let found = json["findings"].as_array().into_iter().flatten().find(|one| one["subject"] == "addresses");
        found.map(|one| one["level"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    assert_eq!(finding(), "note");
    pair.server.ip("addr add 203.0.113.77/32 dev eth0");
    assert_eq!(finding(), "problem");
    let _agent = rampart.start(&["agent"]);
    until("the agent has told the programs", || finding() == "ok");
    pair.server.ip("addr add 203.0.113.78/32 dev eth0");
    until("and of what came later", || finding() == "ok");
    assert!(!rampart.apply(RULES_ABOUT_ADDRESSES).stderr.contains("does not run"));
}
