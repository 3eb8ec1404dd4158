//! What the text of a rule does not say: elements, what is left of limits, translations; and the nearest rule.

use firewall_tests::{
    command::Rampart,
    sockets::{Outcome, PATIENTLY, ping},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet filter {
    set blocked { type ipv4_addr; flags interval; elements = { 203.0.113.64/26, 198.51.100.99 }; }
    set live { type ipv4_addr; flags dynamic; timeout 1h; }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established accept
        ip saddr @blocked drop
        ip saddr @live drop
        tcp dport { 22, 80, 8000-8080 } accept
        udp dport 53 accept
        icmp type echo-request limit rate 1/hour burst 2 packets counter accept
        udp dport 54 quota over 1 mbytes drop
    }
}
table ip nat {
    chain pre { type nat hook prerouting priority dstnat; tcp dport 8443 dnat to 192.0.2.2:22; }
}";

#[test]
fn what_a_rule_does_not_say_by_itself() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let to = |port: u16| format!("{SERVER}:{port}");
    let why = |words: &[&str]| rampart.run(&[&["why"], words, &["--in", "eth0"]].concat()).success().stdout;
    let holds = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    };
    holds(&why(&["tcp", "203.0.113.70", &to(22)]), &["@blocked drop  [match, element 203.0.113.64/26]"]);
    holds(&why(&["tcp", "198.51.100.7", &to(8001)]), &["[match, element 8000-8080]"]);
    rampart.run(&["set", "add", "inet", "filter", "live", "198.51.100.8"]).check();
    holds(&why(&["tcp", "198.51.100.8", &to(22)]), &["@live drop  [match, element 198.51.100.8 timeout 1h expires "]);

    let echo = ["icmp", "echo", &CLIENT.to_string(), &SERVER.to_string()].map(str::to_owned);
    let echo = echo.each_ref().map(String::as_str);
    holds(&why(&echo), &["[match, 2 packets left of the limit]"]);
    holds(&why(&echo), &["[match, 2 packets left of the limit]"]);
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    holds(&why(&echo), &["[match, 1 packet left of the limit]"]);
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    holds(&why(&echo), &["[no match: limit, nothing left of the limit, the next packet in ", "nearest: ", "1/hour"]);
    holds(&why(&["udp", "198.51.100.7", &to(54)]), &["[no match: quota, 0 bytes of 1.0 MiB used of the quota]"]);

    let translated = why(&["tcp", "198.51.100.7:1000", &to(8443)]);
    holds(
        &translated,
        &["in eth0 tcp 198.51.100.7:1000 -> 192.0.2.2:8443 ", "translated  tcp 198.51.100.7:1000 -> 192.0.2.2:22 "],
    );
    let tcp = why(&["tcp", "198.51.100.7", &to(443)]);
    holds(&tcp, &["nearest: ", "`tcp dport { 22, 80, 8000-8080 } accept` (differs in: destination port)"]);
    holds(&why(&["udp", "198.51.100.7", &to(55)]), &["`udp dport 53 accept` (differs in: destination port)"]);
    let nowhere = why(&["tcp", "198.51.100.7", "198.18.0.1:443"]);
    holds(&nowhere, &["verdict     drop", "198.18.0.1 is no address of this host and there is no route for it"]);
}
