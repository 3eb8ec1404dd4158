//! What people are told of translated connections.

use std::{net::UdpSocket, time::Duration};

use firewall_tests::{
    command::Rampart,
    topology::{CLIENT, FAR_SERVER},
};
use serde_json::json;

use super::{By, Field, MASQUERADE, PATIENCE, at};

#[test]
fn conns_and_why_show_both_sides() {
    let field = Field::new(By::Rampart, &format!("table inet t {{\n{MASQUERADE}\n}}\n"));
    let rampart = Rampart::on(&field.routed.router);
    let port = 40_000;
    // Datagrams, as an answer that is asked about has no sequence numbers that would have to be known.
    let there = field.routed.server.run(|| UdpSocket::bind(at(FAR_SERVER, 80))).expect("a socket");
    let here = field.routed.client.run(|| UdpSocket::bind(at(CLIENT, port))).expect("a socket");
    there.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    here.send_to(b"hello", at(FAR_SERVER, 80)).expect("sent");
    there.recv_from(&mut [0; 5]).expect("it comes");

    let conns = rampart.run(&["conns", "--nat", "--json", "--sport", &port.to_string()]).success().json();
    let conn = &conns["conns"][0];
    assert_eq!(
        conn["original"],
        json!({ "src": "192.0.2.1", "dst": "198.51.100.1", "sport": port, "dport": 80 }),
        "{conn}"
    );
    assert_eq!(
        conn["reply"],
        json!({ "src": "198.51.100.1", "dst": "198.51.100.254", "sport": 80, "dport": port }),
        "{conn}"
    );
    let line = rampart.run(&["conns", "--nat", "--sport", &port.to_string()]).success();
    assert!(line.stdout.contains(&format!(" nat 198.51.100.254:{port} -> 198.51.100.1:80")), "{}", line.stdout);

    let metrics = rampart.run(&["metrics"]).success().stdout;
    for line in [
        "rampart_nat_connections{kind=\"source\",address=\"198.51.100.254\"} 1\n",
        "rampart_nat_ports_most_used{address=\"198.51.100.254\"} 1\n",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }

    // An answer, asked about: where it really goes.
    let public = format!("198.51.100.254:{port}");
    let why = rampart.run(&["why", "--in", "eth1", "udp", "198.51.100.1:80", &public]).success();
    assert!(why.stdout.contains(&format!("192.0.2.1:{port}")) && why.stdout.contains("established"), "{}", why.stdout);
    std::mem::forget(rampart);
}

#[test]
fn events_of_connections_show_both_sides() {
    let field = Field::new(By::Rampart, &format!("table inet t {{\n{MASQUERADE}\n}}\n"));
    let rampart = Rampart::on(&field.routed.router);
    let monitor = rampart.start(&["monitor", "--json", "--filter", "new", "--filter", "dport=80"]);
    let there = field.routed.server.run(|| UdpSocket::bind(at(FAR_SERVER, 80))).expect("a socket");
    there.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // Until the monitor listens.
    let event = (40_000..40_030)
        .find_map(|port| {
            let here = field.routed.client.run(|| UdpSocket::bind(at(CLIENT, port))).expect("a socket");
            here.send_to(b"hello", at(FAR_SERVER, 80)).expect("sent");
            there.recv_from(&mut [0; 5]).expect("it comes");
            let lines = monitor.lines_until(Duration::from_secs(1), |line| line.contains(&port.to_string()));
            let event: serde_json::Value = serde_json::from_str(lines.last()?).expect("JSON");
            (event["packet"]["sport"] == port).then_some(event)
        })
        .expect("an event");
    let port = event["packet"]["sport"].as_u64().expect("a port");
    assert_eq!((&event["packet"]["src"], &event["packet"]["dst"]), (&json!("192.0.2.1"), &json!("198.51.100.1")));
    assert_eq!(
        event["nat"],
        json!({ "src": "198.51.100.254", "dst": "198.51.100.1", "sport": port, "dport": 80 }),
        "{event}"
    );
    // And of those that end.
    let monitor = rampart.start(&["monitor", "--json", "--filter", "closed"]);
    let lines = (0..30).find_map(|_| {
        let here = field.routed.client.run(|| UdpSocket::bind(at(CLIENT, 40_100)).expect("a socket"));
        here.send_to(b"hello", at(FAR_SERVER, 80)).expect("sent");
        rampart.run(&["conns", "kill", "--sport", "40100"]).check();
        let lines = monitor.lines_until(Duration::from_secs(1), |line| line.contains("40100"));
        (!lines.is_empty()).then_some(lines)
    });
    let line = lines.expect("an event").pop().expect("a line");
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&event["event"], &event["closed"]["end"]), (&json!("closed"), &json!("killed")), "{event}");
    assert_eq!(
        event["nat"],
        json!({ "src": "198.51.100.254", "dst": "198.51.100.1", "sport": 40_100, "dport": 80 }),
        "{event}"
    );
    std::mem::forget(rampart);
}
