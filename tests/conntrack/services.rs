//! A server's own programs: SSH and DNS, through rules that let in nothing else, and nothing of them is invalid.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

use firewall_tests::{
    command::{self, Background, Scratch},
    ssh::{Ssh, wait_for_listener},
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

fn nothing_is_invalid(firewall: &Firewall) {
    let counted = firewall.rules();
    assert!(counted["in"].0 > 0 && counted["out"].0 > 0, "{counted:?}");
    assert_eq!((counted["invalid in"], counted["invalid out"]), ((0, 0), (0, 0)), "{counted:?}");
}

/// A session with a key: a command, megabytes both ways, and a pause in between.
#[test]
fn ssh() {
    let firewall = Firewall::on(Pair::new(), RULES);
    let (client, server) = (&firewall.pair.client, Ssh::serve(&firewall.pair.server));
    server.wait(client, SERVER);
    let ssh = |address: IpAddr, line: &str, input: &str| server.run(client, address, line, input);
    for address in [IpAddr::from(SERVER), IpAddr::from(SERVER6)] {
        assert_eq!(ssh(address, "echo here; sleep 1; echo still", ""), "here\nstill\n");
        let text = "0123456789abcdef\n".repeat(1 << 18);
        assert_eq!(ssh(address, "cat", &text).len(), text.len());
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
    wait_for_listener(&firewall.pair.client, SERVER, 53);
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
