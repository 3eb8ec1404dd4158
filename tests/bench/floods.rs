//! What a SYN flood leaves of a service, and what a packet of it costs.
//!
//! Measured: one CPU sends first segments from 65,536 addresses as live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) into a veth pair, and receives
//! them as well; on the other one a server answers HTTP requests and four clients make them, one connection each. What the server
//! answers to the addresses of the flood ends at the near end of the wire, in a program: whoever they belong to is not on this machine.
//! In turns: no flood, and no firewall; then a flood with no firewall, with the kernel's nft (netdev ingress, synproxy) and with rampart
//! (`[syn_flood]`); each by the same flood of so many packets a second, and by as many as the CPU manages to send beside receiving them, which
//! are the more the less they cost. Then the flood alone, without the service: what each packet costs that CPU, beside a program that
//! does nothing but drop, and what of it sending takes.

#![allow(clippy::cast_precision_loss, reason = "counts of the packets of a few seconds")]

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "sender.rs"]
#[allow(unreachable_pub, reason = "shared with other measurements")]
mod sender;
#[path = "../support/mod.rs"]
mod support;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bare::{XDP, insn};
use firewall_tests::{
    packet::{Frame, Ipv4, Tcp, flag::SYN},
    referee::Referee,
    topology::{INTERFACE, Neighbours, Pair, SERVER},
};
use firewall_user::kernel::interface_index;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use sender::{FRAME, FRAMES, Sender, dropping, received};
use support::Firewall;

const ROUNDS: usize = 3;
/// How long each is measured.
const WHILE: Duration = Duration::from_secs(4);
/// How long a flood lasts before anything is measured.
const BEFORE: Duration = Duration::from_secs(1);
/// How long a client waits for a connection, or for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
const PORT: u16 = 80;
const CLIENTS: usize = 4;
/// Packets a second of the flood that is the same for all; sent in so many at once.
const RATE: u32 = 100_000;
const BURST: u32 = 250;

const OURS: &str = "table inet t { chain c { type filter hook input priority 0; policy drop;
    ct state established,related accept
    tcp dport 80 ct state new accept
}; }";
const OUR_SETTINGS: &str = "[syn_flood]\nbegin = 2000\nports = [80]\n";
const OUR_DROP: &str =
    "table inet t { chain c { type filter hook input priority 0; policy accept; tcp dport 80 drop; }; }";
const OUR_EARLY_DROP: &str = "table netdev t { chain c { type filter hook ingress device eth0 priority 0; policy accept; tcp dport 80 drop; }; }";

/// What nft's own documentation of synproxy has, behind a chain that throws out what no handshake begins with.
const THEIRS: &str = "table netdev early { chain c { type filter hook ingress device eth0 priority -500; policy accept;
        tcp flags & (fin | syn) == fin | syn drop
        tcp flags & (syn | rst) == syn | rst drop
    }; }
    table inet raw { chain c { type filter hook prerouting priority raw; policy accept; tcp dport 80 tcp flags syn notrack; }; }
    table inet filter { chain c { type filter hook input priority filter; policy drop;
        tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
        ct state invalid drop
        ct state established,related accept
        tcp dport 80 ct state new accept
    }; }";
/// The same without synproxy, for kernels that do not have it.
const THEIRS_PLAIN: &str = "table inet filter { chain c { type filter hook input priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        tcp dport 80 ct state new accept
    }; }";
const THEIR_DROP: &str = "table netdev early { chain c { type filter hook ingress device eth0 priority -500; policy accept; tcp dport 80 drop; }; }";

/// Lets this thread, and those it starts, run on one CPU alone.
fn on_cpu(number: usize) {
    let mut set = CpuSet::new();
    set.set(number).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("the CPU is there");
}

fn syn(number: u32) -> [u8; FRAME] {
    let source = Ipv4Addr::from_bits(0xc612_0000 | (number & 0x1_ffff));
    let port = 1024 + (number.wrapping_mul(0x9e37_79b9) >> 17) as u16;
    let bytes = Frame::new(Ipv4::new(source, SERVER), Tcp::new(port, PORT, SYN).at(number, 0)).bytes();
    let mut frame = [0; FRAME];
    let length = bytes.len().min(FRAME);
    frame[..length].copy_from_slice(&bytes[..length]);
    frame
}

/// A wire, and a sender at its near end. Answers to the flood find their way back, and end there.
fn topology() -> (Pair, Sender) {
    let pair = Pair::with(Neighbours::Known);
    for namespace in [&pair.client, &pair.server] {
        // What is redirected to a veth, or sent back by a program, needs a receiver that polls.
        let gro = namespace.run(|| Command::new("ethtool").args(["-K", INTERFACE, "gro", "on"]).status());
        assert!(gro.expect("ethtool").success());
        namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
        for name in ["all", INTERFACE] {
            namespace.set_parameter(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
        }
    }
    pair.server.ip("route add 198.18.0.0/15 via 192.0.2.1");
    let frames: Vec<_> = (0..FRAMES as u32).map(syn).collect();
    let sender = pair.client.run(|| Sender::new(&frames, interface_index(INTERFACE).expect("an interface")));
    (pair, sender)
}

/// Answers every request of every connection, each on a thread of its own.
fn serve(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else { continue };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let mut request = [0; 256];
        if stream.read(&mut request).is_ok_and(|length| length > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }
}

/// One request by a connection of its own: was it answered?
fn request() -> bool {
    let address = SocketAddr::from((SERVER, PORT));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return false };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    asked.is_ok() && stream.read_to_end(&mut answer).is_ok() && answer.ends_with(b"ok")
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    /// How long requests took that were answered, seconds.
    took: Vec<f64>,
    failed: usize,
    time: f64,
    /// Packets of the flood a second, millions.
    flood: f64,
}

/// Makes requests until the time is over.
fn ask(time: Duration) -> (Vec<f64>, usize) {
    let (mut took, mut failed, until) = (Vec::new(), 0, Instant::now() + time);
    while Instant::now() < until {
        let started = Instant::now();
        if request() { took.push(started.elapsed().as_secs_f64()) } else { failed += 1 }
    }
    (took, failed)
}

/// Sends until it is to stop: so many a second, or as many as it can.
fn flood(sender: &Sender, rate: Option<u32>, stop: &AtomicBool) {
    let (began, mut sent) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let Some(rate) = rate else {
            sender.send(Duration::from_millis(100));
            continue;
        };
        let due = began.elapsed().as_secs_f64() * f64::from(rate);
        if (sent as f64) < due {
            sender.send_some(BURST);
            sent += u64::from(BURST);
        } else {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Requests while there is a flood, or none.
fn service(pair: &Pair, sender: Option<(&Sender, Option<u32>)>) -> Seen {
    let stop = AtomicBool::new(false);
    let listener = pair.server.run(|| TcpListener::bind((SERVER, PORT)).expect("the port is free"));
    listener.set_nonblocking(false).expect("blocking");
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                on_cpu(0);
                serve(&listener, &stop);
            });
        }
        let flood = sender.map(|(sender, rate)| {
            let stop = &stop;
            scope.spawn(move || {
                pair.client.run(|| {
                    on_cpu(1);
                    flood(sender, rate, stop);
                });
            })
        });
        thread::sleep(BEFORE);
        let (before, started) = (received(pair), Instant::now());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    pair.client.run(|| {
                        on_cpu(0);
                        ask(WHILE)
                    })
                })
            })
            .collect();
        let mut seen = Seen::default();
        for client in clients {
            let (took, failed) = client.join().expect("a client");
            seen.took.extend(took);
            seen.failed += failed;
        }
        seen.time = started.elapsed().as_secs_f64();
        seen.flood = if sender.is_some() { (received(pair) - before) as f64 / seen.time / 1e6 } else { 0.0 };
        stop.store(true, Ordering::Relaxed);
        if let Some(flood) = flood {
            flood.join().expect("a flood");
        }
        // Those that wait for a connection are woken.
        for _ in 0..CLIENTS {
            pair.server.run(|| drop(TcpStream::connect_timeout(&SocketAddr::from((SERVER, PORT)), PATIENCE)));
        }
        seen
    })
}

/// nft's best ruleset that this kernel takes.
fn theirs() -> (&'static str, &'static str) {
    let pair = Pair::with(Neighbours::Known);
    match Referee::check(&pair.server, THEIRS) {
        Ok(()) => ("nft with synproxy", THEIRS),
        Err(why) => {
            println!("nft without synproxy, which this kernel refuses: {}", why.lines().next().unwrap_or_default());
            ("nft", THEIRS_PLAIN)
        }
    }
}

/// The parameters that nft's synproxy asks for.
fn prepare_theirs(pair: &Pair) {
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "1");
    pair.server.set_parameter("net/ipv4/tcp_timestamps", "1");
    pair.server.set_parameter("net/netfilter/nf_conntrack_tcp_loose", "0");
}

fn table(kinds: &[(String, Vec<Seen>)]) {
    println!(
        "{:30} {:>12} {:>10} {:>10} {:>10} {:>8} {:>14}",
        "", "requests/s", "p50", "p99", "most", "failed", "flood"
    );
    let rate = |seen: &[Seen]| {
        let rates = seen.iter().map(|one| one.took.len() as f64 / one.time).collect();
        median(rates)
    };
    let unflooded = rate(&kinds[0].1);
    for (name, seen) in kinds {
        let mut took: Vec<_> = seen.iter().flat_map(|one| one.took.iter().copied()).collect();
        took.sort_by(f64::total_cmp);
        let at = |share: usize| took.get(took.len() * share / 100).map_or(f64::NAN, |took| took * 1e3);
        let failed: usize = seen.iter().map(|one| one.failed).sum();
        let flood = median(seen.iter().map(|one| one.flood).collect());
        println!(
            "{name:30} {:>7.0} {:>3.0}% {:>7.2} ms {:>7.2} ms {:>7.2} ms {failed:>8} {flood:>9.2} M/s",
            rate(seen),
            100.0 * rate(seen) / unflooded,
            at(50),
            at(99),
            took.last().map_or(f64::NAN, |took| took * 1e3)
        );
    }
}

/// Nanoseconds of the sending and receiving CPU for a packet of the flood.
fn cost(pair: &Pair, sender: &Sender) -> f64 {
    pair.client.run(|| {
        on_cpu(1);
        sender.send(BEFORE);
    });
    let (before, started) = (received(pair), Instant::now());
    pair.client.run(|| {
        on_cpu(1);
        sender.send(WHILE / 2);
    });
    started.elapsed().as_secs_f64() * 1e9 / (received(pair) - before) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A program for the client's end of the wire, which takes what a program at the other end sends back: lets everything in but what is for
/// the addresses of the flood, 198.18.0.0/15.
fn passing(pair: &Pair) -> impl Sized + use<> {
    let (drop, pass) =
        ([insn(0xb7, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)], [insn(0xb7, 0, 0, 0, 2), insn(0x95, 0, 0, 0, 0)]);
    let look = [
        // The packet, its end, and whether there are 34 bytes.
        insn(0x61, 2, 1, 0, 0),
        insn(0x61, 3, 1, 4, 0),
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, 34),
        insn(0x2d, 4, 3, 9, 0),
        // IPv4?
        insn(0x69, 5, 2, 12, 0),
        insn(0x55, 5, 0, 7, 8),
        // To 198.18 or 198.19?
        insn(0x71, 5, 2, 30, 0),
        insn(0x55, 5, 0, 5, 198),
        insn(0x71, 5, 2, 31, 0),
        insn(0x57, 5, 0, 0, 0xfe),
        insn(0x55, 5, 0, 2, 18),
    ];
    let program = bare::load(XDP, &[&look[..], &drop, &pass].concat());
    let index = pair.client.run(|| interface_index(INTERFACE).expect("an interface"));
    (pair.client.run(|| bare::attach_xdp(&program, index)), program)
}

fn flooded() -> Vec<(String, Vec<Seen>)> {
    let (their_name, their_rules) = theirs();
    let rates = [("the same", Some(RATE)), ("all it can", None)];
    let mut kinds: Vec<(String, Vec<Seen>)> = Vec::new();
    for round in 0..ROUNDS {
        let mut at = 0;
        let mut seen = |name: String, seen: Seen| {
            if round == 0 {
                kinds.push((name, Vec::new()));
            }
            kinds[at].1.push(seen);
            at += 1;
        };
        let (pair, sender) = topology();
        let door = passing(&pair);
        seen("no flood, no firewall".to_owned(), service(&pair, None));
        for (name, rate) in rates {
            seen(format!("{name}, no firewall"), service(&pair, Some((&sender, rate))));
        }
        let referee = Referee::load(&pair.server, their_rules);
        prepare_theirs(&pair);
        seen(format!("no flood, {their_name}"), service(&pair, None));
        for (name, rate) in rates {
            seen(format!("{name}, {their_name}"), service(&pair, Some((&sender, rate))));
        }
        referee.replace("flush ruleset");
        pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
        let firewall = Firewall::on(pair, OURS);
        firewall.apply_set(OURS, OUR_SETTINGS);
        seen("no flood, rampart".to_owned(), service(&firewall.pair, None));
        for (name, rate) in rates {
            seen(format!("{name}, rampart"), service(&firewall.pair, Some((&sender, rate))));
        }
        drop(door);
    }
    kinds
}

fn costs() {
    let names =
        ["XDP program that drops", "rampart, netdev rule drops", "rampart, input rule drops", "nft, netdev rule drops"];
    let mut all: Vec<Vec<f64>> = names.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        let (pair, sender) = topology();
        let program = dropping();
        let index = pair.server.run(|| interface_index(INTERFACE).expect("an interface"));
        let link = pair.server.run(|| bare::attach_xdp(&program, index));
        all[0].push(cost(&pair, &sender));
        drop(link);
        let referee = Referee::load(&pair.server, THEIR_DROP);
        all[3].push(cost(&pair, &sender));
        referee.replace("flush ruleset");
        let firewall = Firewall::on(pair, OUR_EARLY_DROP);
        all[1].push(cost(&firewall.pair, &sender));
        firewall.apply(OUR_DROP);
        all[2].push(cost(&firewall.pair, &sender));
    }
    let nothing = median(all[0].clone());
    println!("\n{:30} {:>16} {:>18}", "sent and received", "ns a packet", "of nothing but drop");
    for (name, values) in names.iter().zip(all) {
        let value = median(values);
        println!("{name:30} {value:>13.0} ns {:>18.2}", value / nothing);
    }
}

fn main() {
    table(&flooded());
    costs();
}
