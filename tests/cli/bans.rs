//! `rampart ban`, `unban`, `bans`, typed by a person and by fail2ban.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use firewall_tests::{
    command::{Background, Rampart, Scratch, rampart_path, run, run_command},
    sockets::{Outcome, PATIENTLY, ping},
    topology::{CLIENT, CLIENT6, Pair, SERVER, SERVER6},
};

const RULES: &str = "table inet filter {
    chain input { type filter hook input priority filter; policy accept; }
}
";

fn protected(pair: &Pair) -> Rampart<'_> {
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    rampart
}

#[test]
fn a_ban_is_made_shown_and_lifted() {
    let pair = Pair::new();
    let rampart = protected(&pair);
    let client = CLIENT.to_string();
    assert_eq!(rampart.run(&["bans"]).success().stdout, "nobody is banned\n");
    let said = rampart.run(&["ban", &client, "2001:db8:bad::/48", "--for", "1h", "--reason", "ssh"]).success().stdout;
    assert_eq!(said, format!("{client}: banned for 1h\n2001:db8:bad::/48: banned for 1h\n"));
    assert_eq!(ping(&pair.client, SERVER, Duration::from_millis(300)), Outcome::TimedOut);
    let shown = rampart.run(&["bans", "--json"]).success().json();
    let first = &shown["bans"][0];
    assert_eq!((&first["source"], &first["reason"], &first["seconds"]), (&client.into(), &"ssh".into(), &3600.into()));
    assert!(first["left"].as_u64().is_some_and(|left| (3500..=3600).contains(&left)), "{shown}");
    assert!(first["packets"].as_u64().is_some_and(|packets| packets >= 1), "{shown}");
    let shown = rampart.run(&["bans"]).success().stdout;
    assert!(shown.starts_with("source"), "{shown}");
    let counted = rampart.run(&["counters"]).success().stdout;
    assert!(counted.contains("banned"), "{counted}");
    rampart.run(&["unban", &CLIENT.to_string()]).check();
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    rampart.run(&["unban", "--all"]).check();
    assert_eq!(rampart.run(&["bans"]).success().stdout, "nobody is banned\n");
}

#[test]
fn nobody_is_locked_out_by_mistake() {
    let pair = Pair::new();
    let rampart = protected(&pair);
    let rows = [
        ("127.0.0.1".to_owned(), "is loopback's"),
        ("::/0".to_owned(), "is loopback's"),
        (SERVER.to_string(), "is an address of this host"),
        (SERVER6.to_string(), "is an address of this host"),
        (format!("{SERVER}/24"), "an address of this host, is in"),
    ];
    for (source, part) in rows {
        let output = rampart.run(&["ban", &source]);
        assert_eq!(output.status, 3, "{}", output.line);
        assert!(output.stderr.contains(part) && output.stderr.contains("--force"), "{}", output.stderr);
    }
    assert_eq!(rampart.run(&["bans"]).success().stdout, "nobody is banned\n");
    rampart.run(&["ban", &format!("{SERVER}/24"), "--force"]).check();
    assert_eq!(ping(&pair.client, SERVER, Duration::from_millis(300)), Outcome::TimedOut);
}

#[test]
fn what_makes_no_sense_is_said() {
    let pair = Pair::new();
    let rampart = protected(&pair);
    let rows: [(&[&str], i32, &str); 7] = [
        (&["ban"], 2, "ADDRESS"),
        (&["ban", "somebody"], 2, "is no address or prefix"),
        (&["ban", "203.0.113.9", "--for", "soon"], 2, "is no duration"),
        (&["ban", "203.0.113.9", "--for", "0s"], 2, "is no time for a ban"),
        (&["ban", "203.0.113.9", "--reason", "a reason of more than thirty-two bytes"], 2, "longer than 32 bytes"),
        (&["unban", "203.0.113.9"], 1, "203.0.113.9 is not banned"),
        (&["unban"], 2, "ADDRESS"),
    ];
    for (words, status, part) in rows {
        let output = rampart.run(words);
        assert_eq!(output.status, status, "{}: {}", output.line, output.stderr);
        assert!(output.stderr.contains(part), "{}: {}", output.line, output.stderr);
    }
    rampart.run(&["unban", "203.0.113.9", "--ignore-missing"]).check();
    rampart.run(&["ban", "203.0.113.0/24"]).check();
    let output = rampart.run(&["unban", "203.0.113.9"]);
    assert!(output.stderr.contains("`rampart unban 203.0.113.0/24` lifts that"), "{}", output.stderr);
}

/// The shipped action, in the real fail2ban: it reads a log, bans, lifts a ban that it is told to lift, and all when it ends.
#[test]
fn fail2ban_bans() {
    let pair = Pair::new();
    let rampart = protected(&pair);
    let files = Scratch::new();
    let server = Fail2ban::start(&pair, &files);
    for client in [CLIENT.to_string(), CLIENT6.to_string()] {
        server.fail(&client);
        wait_for(|| rampart.run(&["bans"]).stdout.contains(&client));
    }
    assert_eq!(ping(&pair.client, SERVER, Duration::from_millis(300)), Outcome::TimedOut);
    assert_eq!(ping(&pair.client, SERVER6, Duration::from_millis(300)), Outcome::TimedOut);
    let shown = rampart.run(&["bans", "--json"]).success().json();
    assert_eq!(shown["bans"][0]["reason"], "fail2ban test");
    rampart.apply(RULES).check();
    assert_eq!(ping(&pair.client, SERVER, Duration::from_millis(300)), Outcome::TimedOut);
    server.client(&["set", "test", "unbanip", &CLIENT.to_string()]);
    wait_for(|| !rampart.run(&["bans"]).stdout.contains(&CLIENT.to_string()));
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    server.client(&["stop"]);
    wait_for(|| rampart.run(&["bans"]).stdout == "nobody is banned\n");
    let log = std::fs::read_to_string(files.path().join("fail2ban.log")).expect("its log");
    assert!(!log.contains("ERROR"), "{log}");
}

/// The shipped bouncer, called as the custom bouncer of `CrowdSec` calls it.
#[test]
fn crowdsec_bans() {
    let pair = Pair::new();
    let rampart = protected(&pair);
    let bouncer = |words: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/crowdsec/rampart-bouncer");
        let mut command = Command::new(script);
        command.args(words).env("RAMPART", rampart_path());
        run_command(Some(&pair.server), command, "")
    };
    let client = CLIENT.to_string();
    let json = r#"{"duration":"3h59m58.812345678s","origin":"crowdsec","scenario":"crowdsecurity/ssh-slow-bf_user-enum","scope":"Ip","type":"ban"}"#;
    bouncer(&["add", &client, "3h59m58.812345678s", "crowdsecurity/ssh-slow-bf_user-enum", json]).check();
    bouncer(&["add", "2001:db8:bad::/48", "47m", "crowdsecurity/http-probing", json]).check();
    assert_eq!(ping(&pair.client, SERVER, Duration::from_millis(300)), Outcome::TimedOut);
    let shown = rampart.run(&["bans", "--json"]).success().json();
    let of = |source: &str| {
        let all = shown["bans"].as_array().expect("bans");
        all.iter().find(|ban| ban["source"] == source).unwrap_or_else(|| panic!("{source}: {shown}")).clone()
    };
    assert_eq!(
        (&of(&client)["seconds"], &of(&client)["reason"]),
        (&14398.into(), &"crowdsecurity/ssh-slow-bf_user-e".into())
    );
    assert_eq!(of("2001:db8:bad::/48")["seconds"], 2820);
    // One that is over is no ban, and one that ended by itself is lifted without a complaint.
    bouncer(&["add", "203.0.113.9", "-12.5s", "over", json]).check();
    bouncer(&["add", "203.0.113.9", "734.5ms", "over", json]).check();
    bouncer(&["del", "203.0.113.9", "-1s", "over", json]).check();
    bouncer(&["del", &client, "0s", "unban", json]).check();
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    assert_ne!(bouncer(&["flush", &client]).status, 0);
    bouncer(&["del", "2001:db8:bad::/48", "0s", "unban", json]).check();
    assert_eq!(rampart.run(&["bans"]).success().stdout, "nobody is banned\n");
}

/// The shipped script that fetches a list, from a server of the test.
#[test]
fn a_list_is_fetched() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart
        .apply(&RULES.replace("chain input", "set blocked { type ipv4_addr; flags interval; }\n chain input"))
        .check();
    let files = Scratch::new();
    let fetch = |list: &str| {
        files.write("list", list);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/feeds/rampart-feed");
        let mut command = Command::new(script);
        let url = format!("file://{}", files.path().join("list").display());
        command.args(["blocked", &url]).env("RAMPART", rampart_path());
        run_command(Some(&pair.server), command, "")
    };
    let held = || rampart.run(&["set", "list", "blocked"]).success().stdout;
    fetch("203.0.113.0/24\n198.51.100.7\n").check();
    assert_eq!(held(), "198.51.100.7\n203.0.113.0/24\n");
    for bad in ["", "# nothing\n\n", "<html>\n", "203.0.113.0/24\n198.51.100.700\n"] {
        assert_ne!(fetch(bad).status, 0, "{bad}");
        assert_eq!(held(), "198.51.100.7\n203.0.113.0/24\n", "{bad}");
    }
    fetch("203.0.113.0/24\n").check();
    assert_eq!(held(), "203.0.113.0/24\n");
}

#[track_caller]
fn wait_for(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !what() {
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(200));
    }
}

/// The server of fail2ban, with nothing of the machine's: settings, socket and log are in a directory of the test.
struct Fail2ban<'a> {
    files: &'a Scratch,
    _process: Background,
}

impl<'a> Fail2ban<'a> {
    fn start(pair: &Pair, files: &'a Scratch) -> Self {
        let path = |name: &str| files.path().join(name).display().to_string();
        for directory in ["action.d", "filter.d"] {
            std::fs::create_dir(files.path().join(directory)).expect("a directory");
        }
        let action = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/fail2ban/rampart.conf");
        std::fs::copy(action, files.path().join("action.d/rampart.conf")).expect("the shipped action");
        files.write("filter.d/test.conf", "[Definition]\nfailregex = ^ login failed from <HOST>$\n");
        files.write("auth.log", "");
        files.write(
            "fail2ban.conf",
            format!(
                "[Definition]\nloglevel = INFO\nlogtarget = {}\nsyslogsocket = auto\nsocket = {}\npidfile = {}\n\
                 dbfile = :memory:\ndbpurgeage = 1d\ndbmaxmatches = 10\n[Thread]\n",
                path("fail2ban.log"),
                path("socket"),
                path("pid")
            ),
        );
        files.write(
            "jail.conf",
            format!(
                "[test]\nenabled = true\nbackend = polling\nfilter = test\nlogpath = {}\nmaxretry = 2\nfindtime = 600\n\
                 bantime = 600\nusedns = no\naction = rampart[rampart=\"{}\"]\n",
                path("auth.log"),
                rampart_path().display()
            ),
        );
        let mut command = Command::new("fail2ban-server");
        command.args(["-f", "-c", &files.path().display().to_string()]);
        command.args(["-s", &path("socket"), "-p", &path("pid"), "start"]);
        let process = pair.server.run(|| Background::start(command));
        let server = Self { files, _process: process };
        wait_for(|| server.try_client(&["status", "test"]) == 0);
        server
    }

    /// Two failures, which are as many as the jail takes.
    fn fail(&self, source: &str) {
        let now = run::<&str>(None, "date", &["+%Y-%m-%d %H:%M:%S"], "").stdout;
        let mut log = OpenOptions::new().append(true).open(self.files.path().join("auth.log")).expect("the log");
        for _ in 0..2 {
            writeln!(log, "{} login failed from {source}", now.trim()).expect("a line");
        }
    }

    fn try_client(&self, words: &[&str]) -> i32 {
        let socket = self.files.path().join("socket").display().to_string();
        let all: Vec<&str> = ["-s", &socket].into_iter().chain(words.iter().copied()).collect();
        run(None, "fail2ban-client", &all, "").status
    }

    #[track_caller]
    fn client(&self, words: &[&str]) {
        assert_eq!(self.try_client(words), 0, "{words:?}");
    }
}
