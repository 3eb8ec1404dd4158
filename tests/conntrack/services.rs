//! A server's own programs: SSH and DNS, through rules that let in nothing else, and nothing of them is invalid.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use firewall_tests::{
    command::{self, Background, Scratch},
    netns::Namespace,
    topology::{Pair, SERVER, SERVER6},
};

use super::support::Firewall;

const RULES: &str = "table inet t {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state invalid counter drop comment \"invalid in\"
        ct state established counter accept comment \"in\"
        meta l4proto ipv6-icmp accept
        tcp dport 22 ct state new accept
        udp dport 53 counter accept comment \"question\"
        tcp dport 53 ct state new counter accept comment \"long question\"
    }
    chain output {
        type filter hook output priority 0; policy drop;
        ct state invalid counter drop comment \"invalid out\"
        ct state established counter accept comment \"out\"
        meta l4proto ipv6-icmp accept
    }
}";

/// The namespace's own view of files: what a server wants to have at a fixed place is put there for nobody else.
fn start_with_home(namespace: &Namespace, home: &Path, program: &str) -> Background {
    let mut command = Command::new("unshare");
    let script = format!("mount --bind {} /root && exec {program}", home.display());
    command.args(["--mount", "sh", "-c", &script]);
    namespace.run(|| Background::start(command))
}

#[track_caller]
fn wait_for_listener(namespace: &Namespace, port: u16) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while namespace.run(|| TcpStream::connect((SERVER, port))).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn nothing_is_invalid(firewall: &Firewall) {
    let counted = firewall.rules();
    assert!(counted["in"].0 > 0 && counted["out"].0 > 0, "{counted:?}");
    assert_eq!((counted["invalid in"], counted["invalid out"]), ((0, 0), (0, 0)), "{counted:?}");
}

/// A session with a key: a command, megabytes both ways, and a pause in between.
#[test]
fn ssh() {
    let firewall = Firewall::on(Pair::new(), RULES);
    let files = Scratch::new();
    let path = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let key = |name: &str| {
        let made = command::run(None, "dropbearkey", &["-t", "ed25519", "-f", &path(name)], "").success().stdout;
        made.lines().find(|line| line.starts_with("ssh-")).map(str::to_owned).expect("a public key")
    };
    key("host");
    let public = key("client");
    fs::create_dir_all(files.path().join(".ssh")).expect("a directory");
    files.write(".ssh/authorized_keys", public + "\n");
    // Its owner's alone, or the server does not believe it.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(files.path(), private).expect("permissions");
    let server = format!("dropbear -F -E -s -r {} -p 22 -P {}", path("host"), path("pid"));
    let _server = start_with_home(&firewall.pair.server, files.path(), &server);
    wait_for_listener(&firewall.pair.client, 22);
    let client = path("client");
    let ssh = |address: &str, line: &str, input: &str| {
        let arguments = ["-y", "-y", "-i", &client, "-l", "root", address, line];
        command::run(Some(&firewall.pair.client), "dbclient", &arguments, input).success().stdout
    };
    for address in [SERVER.to_string(), SERVER6.to_string()] {
        assert_eq!(ssh(&address, "echo here; sleep 1; echo still", ""), "here\nstill\n");
        let text = "0123456789abcdef\n".repeat(1 << 18);
        assert_eq!(ssh(&address, "cat", &text).len(), text.len());
    }
    nothing_is_invalid(&firewall);
}

/// Questions by UDP, and one whose answer only fits into TCP.
#[test]
fn dns() {
    let firewall = Firewall::on(Pair::new(), RULES);
    let files = Scratch::new();
    let long = "x".repeat(200);
    let texts: Vec<String> = (0..20).map(|number| format!("txt-record=long.example,{number}{long}")).collect();
    let settings = format!(
        "no-resolv\nno-hosts\nno-daemon\nuser=root\npid-file={}\naddress=/host.example/203.0.113.7\n{}\n",
        files.path().join("pid").display(),
        texts.join("\n")
    );
    let settings = files.write("dnsmasq.conf", settings);
    let mut command = Command::new("dnsmasq");
    command.arg(format!("--conf-file={}", settings.display()));
    let _server = firewall.pair.server.run(|| Background::start(command));
    wait_for_listener(&firewall.pair.client, 53);
    let before = firewall.rules();
    for server in [SERVER.to_string(), SERVER6.to_string()] {
        let dig = |words: &[&str]| {
            let at = format!("@{server}");
            let arguments = [&[&at[..], "+short", "+tries=1", "+time=20"][..], words].concat();
            command::run(Some(&firewall.pair.client), "dig", &arguments, "").success().stdout
        };
        for number in 0..20 {
            let answer = dig(&[&format!("{number}.host.example"), "A"]);
            assert_eq!(answer.trim().parse(), Ok(Ipv4Addr::new(203, 0, 113, 7)), "{answer}");
        }
        assert_eq!(dig(&["long.example", "TXT"]).lines().count(), 20);
    }
    let counted = firewall.rules();
    assert!(counted["question"].0 - before["question"].0 >= 42, "{counted:?}");
    assert_eq!(counted["long question"].0 - before["long question"].0, 2, "{counted:?}");
    nothing_is_invalid(&firewall);
}
