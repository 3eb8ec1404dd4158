//! What a scanner finds out: the same as with the kernel's `nft`, for the same rules.

use firewall_tests::{
    command::run,
    sockets::TcpEcho,
    topology::{Pair, SERVER},
};

use super::{
    answers::{close_door, open_door},
    clients::in_force,
};

const RULES: &str = "table inet t {
    chain c {
        type filter hook input priority 0; policy drop
        ct state established,related accept
        tcp dport { 20, 21, 22 } accept
        tcp dport 23 reject with tcp reset
        tcp dport 24 reject
        udp dport 25 reject
        udp dport 26 accept
    }
}";

/// Ports and their states, as `nmap` has them.
fn scanned(pair: &Pair, ways: &[&str]) -> String {
    let server = SERVER.to_string();
    let mut words = vec!["-n", "-Pn", "--reason", "--max-retries", "2", "-p", "20-28", "-oG", "-", &server];
    words.splice(0..0, ways.iter().copied());
    let output = run(Some(&pair.client), "nmap", &words, "").success().stdout;
    let line = output.lines().find(|line| line.contains("Ports:")).unwrap_or_else(|| panic!("{output}"));
    line.split("Ports:").nth(1).unwrap_or_default().trim().to_owned()
}

#[test]
fn a_scanner_sees_no_difference() {
    let scans: [&[&str]; 4] = [&["-sS"], &["-sA"], &["-sT"], &["-sU", "--host-timeout", "30s"]];
    let results = [false, true].map(|ours| {
        let pair = Pair::new();
        let _there = [TcpEcho::start(&pair.server, (SERVER, 20)), TcpEcho::start(&pair.server, (SERVER, 22))];
        open_door(&pair.client);
        let _live = in_force(&pair.server, RULES, ours);
        let all = scans.map(|ways| (ways, scanned(&pair, ways)));
        close_door(&pair.client);
        all
    });
    for (theirs, ours) in results[0].iter().zip(&results[1]) {
        assert_eq!(theirs, ours);
        println!("{:?}: {}", theirs.0, theirs.1);
    }
    let syn = &results[0][0].1;
    assert!(syn.contains("20/open") && syn.contains("21/closed") && syn.contains("23/closed"), "{syn}");
    assert!(syn.contains("24/filtered") && syn.contains("27/filtered"), "{syn}");
}
