//! Connections as programs make them, with settings that make lifetimes short.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use firewall_tests::{referee::Referee, topology::SERVER};
use nix::sys::socket::{setsockopt, sockopt};

use super::support::{Firewall, sequence::STATES};

fn listener(firewall: &Firewall, port: u16) -> TcpListener {
    firewall.pair.server.run(|| TcpListener::bind((SERVER, port))).expect("a listener")
}

fn connect(firewall: &Firewall, port: u16) -> TcpStream {
    firewall.pair.client.run(|| TcpStream::connect((SERVER, port))).expect("a connection")
}

fn is_there(firewall: &Firewall, state: &str) -> bool {
    firewall.flows().iter().any(|flow| flow.slot.state().name() == state)
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Thousands of requests, each on a connection of its own: nothing of them is invalid.
#[test]
fn thousands_of_short_connections() {
    const NUMBER: usize = 3000;
    let firewall = Firewall::new(STATES);
    let listener = listener(&firewall, 80);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..NUMBER {
                let (mut stream, _) = listener.accept().expect("a connection");
                stream.read_exact(&mut [0; 16]).expect("a request");
                stream.write_all(&[0x2a; 3000]).expect("an answer");
            }
        });
        for _ in 0..NUMBER {
            let mut stream = connect(&firewall, 80);
            stream.write_all(b"GET / HTTP/1.0\r\n").expect("a request");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an answer");
            assert_eq!(answer.len(), 3000);
        }
    });
    assert_eq!((firewall.rule("> invalid").0, firewall.rule("< invalid").0), (0, 0));
    assert_eq!(firewall.rule("> new").0, NUMBER as u64);
}

/// An idle connection is forgotten after its time; one whose ends ask each other whether they are there is not.
#[test]
fn keep_alives_keep_a_connection() {
    let firewall = Firewall::new(STATES);
    firewall.apply_set(STATES, "[conntrack.timeouts]\ntcp_timeout_established = 4\n");
    let (kept, idle) = (listener(&firewall, 22), listener(&firewall, 23));
    let kept_stream = connect(&firewall, 22);
    setsockopt(&kept_stream, sockopt::KeepAlive, &true).expect("keep-alive");
    setsockopt(&kept_stream, sockopt::TcpKeepIdle, &1).expect("keep-alive");
    setsockopt(&kept_stream, sockopt::TcpKeepInterval, &1).expect("keep-alive");
    let idle_stream = connect(&firewall, 23);
    let _others = (kept.accept().expect("it"), idle.accept().expect("it"));
    wait_for("the idle one stays", || firewall.flows().len() == 1);
    let left = firewall.flows();
    let ports = left[0].entry.key.tail;
    assert!([(ports >> 48) as u16, (ports >> 32) as u16].contains(&22), "the one that is kept alive: {left:?}");
    assert_eq!((firewall.rule("> invalid").0, firewall.rule("< invalid").0), (0, 0));
    // Idle for longer than its time, it is picked up again in mid-stream.
    let mut idle_stream = idle_stream;
    idle_stream.write_all(b"still here").expect("it is open");
    wait_for("it is not picked up", || firewall.flows().len() == 2);
    drop(kept_stream);
}

/// The peer is gone without a word: what is sent again and again is not acknowledged, and the connection is forgotten
/// soon, not in five days.
#[test]
fn a_peer_that_dies_is_not_remembered_for_days() {
    let firewall = Firewall::new(STATES);
    firewall.apply_set(STATES, "[conntrack.timeouts]\ntcp_timeout_max_retrans = 3\n");
    let listener = listener(&firewall, 22);
    let client = connect(&firewall, 22);
    let (mut server, _) = listener.accept().expect("it");
    // Nothing of it hears or says anything any more.
    let deaf = "table inet t {
        chain i { type filter hook prerouting priority -500; policy drop; }
        chain o { type filter hook output priority -500; policy drop; }
    }";
    let _deaf = Referee::load(&firewall.pair.client, deaf);
    let ms = 2000_u32;
    setsockopt(&server, sockopt::TcpUserTimeout, &ms).expect("a socket gives up soon");
    server.write_all(b"are you there?").expect("it goes out");
    assert!(is_there(&firewall, "ESTABLISHED"));
    wait_for("it is remembered", || !is_there(&firewall, "ESTABLISHED"));
    drop(client);
}
