//! `rampart test` and `apply --test`.

use firewall_tests::{
    command::{Output, Rampart, Scratch, rampart_path, run},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established accept
        ip saddr 198.51.100.0/24 tcp dport 22 accept comment \"the office\"
        tcp dport 80 accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        oifname \"eth1\" tcp dport 443 accept
    }
}";

const PACKETS: &str = "# what the ruleset is for
interface eth0 203.0.113.10/24
interface eth1 192.0.2.1/24
the office: in eth0 tcp 198.51.100.7 203.0.113.10:22 -> accept comment \"the office\" line 5
others: in eth0 tcp 203.0.113.7 203.0.113.10:22 -> drop reason policy
answers: in eth0 udp 203.0.113.53:53 203.0.113.10:5353 state reply -> accept line 4
the web server behind: in eth0 tcp 203.0.113.7 192.0.2.80:443 -> accept
not its ssh: in eth0 tcp 203.0.113.7 192.0.2.80:22 -> drop reason policy
";

/// Without any namespace named: it makes one of its own.
fn test(arguments: &[&str]) -> Output {
    run(None, &rampart_path().to_string_lossy(), &[&["test"], arguments].concat(), "")
}

#[test]
fn a_candidate_is_tested_in_a_namespace_of_its_own() {
    let files = Scratch::new();
    let path = |name: &str, text: &str| files.write(name, text).to_string_lossy().into_owned();
    let (rules, packets) = (path("rules.nft", RULES), path("packets", PACKETS));
    let output = test(&[&packets, "--ruleset", &rules]).success();
    assert!(output.stdout.ends_with("5 packets, 0 wrong\n"), "{}", output.stdout);
    let wrong = path("wrong", &PACKETS.replace("-> drop reason policy", "-> accept"));
    let junit = files.path().join("report.xml").to_string_lossy().into_owned();
    let output = test(&[&wrong, "--ruleset", &rules, "--junit", &junit]);
    assert_eq!(output.status, 1, "{}", output.stderr);
    assert!(output.stdout.contains("WRONG others: accept was expected, and it is drop"), "{}", output.stdout);
    assert!(output.stdout.contains("no rule in chain input accepts tcp 22"), "{}", output.stdout);
    let xml = std::fs::read_to_string(&junit).expect("a report");
    assert!(xml.contains("tests=\"5\" failures=\"2\"") && xml.contains("name=\"others\""), "{xml}");
    let json = test(&[&packets, "--ruleset", &rules, "--json"]).success().json();
    assert_eq!((json["ok"].as_bool(), json["packets"].as_array().map(Vec::len)), (Some(true), Some(5)));
    let other_line = path("line", "in eth0 tcp 198.51.100.7 203.0.113.10:22 -> accept line 6\n");
    let output = test(&[&other_line, "--ruleset", &rules]);
    assert!(output.stdout.contains("line 6 was expected to decide, and it is rule "), "{}", output.stdout);
    let nothing = path("nothing", "# later\n");
    assert!(test(&[&nothing, "--ruleset", &rules]).stderr.contains("there is no packet in it"));
}

#[test]
fn apply_refuses_what_fails_its_test() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let files = Scratch::new();
    let packets = format!("in eth0 tcp {CLIENT} {SERVER}:80 -> accept\n");
    let packets = files.write("packets", packets).to_string_lossy().into_owned();
    let closed = files.write("closed.nft", RULES.replace("tcp dport 80 accept", "tcp dport 81 accept"));
    let output = rampart.run(&["apply", "--test", &packets, &closed.to_string_lossy()]);
    assert_eq!(output.status, 1, "{}", output.stderr);
    assert!(output.stderr.contains("WRONG line 1: accept was expected, and it is drop"), "{}", output.stderr);
    assert_eq!(rampart.run(&["status", "--json"]).success().json()["generation"], 1);
    rampart.run(&["test", &packets]).check();
    let open = files.write("open.nft", RULES);
    rampart.run(&["apply", "--test", &packets, &open.to_string_lossy()]).check();
    assert_eq!(rampart.run(&["status", "--json"]).success().json()["generation"], 2);
}
