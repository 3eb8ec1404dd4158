//! Connections opened and closed a second: through rampart, through nft with the same rules, and through nothing, in turns.
//!
//! Rampart is there twice: a veth pair has native XDP, but for it the kernel copies every packet that comes from a socket
//! (`veth_convert_skb_to_xdp_buff`, Linux 6.18), so there tc is the cheaper place.
//!
//! One thread on one CPU is client and server: it connects, takes the connection, closes at the client and then at the
//! server, so nobody waits for a scheduler, no queue of connections fills, and the rate is what the packets cost (ten of them,
//! three of which bring a connection into being and six take it down). Every connection has an address and a port that none
//! had before it: what the last one left behind (`TIME_WAIT`) meets nobody.

use std::{
    io::Read,
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use firewall_tests::{
    referee::Referee,
    topology::{INTERFACE, Neighbours, Pair, SERVER},
};
use firewall_user::config;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket},
    unistd::Pid,
};

use crate::support::Firewall;

/// The same rules for both, at the server.
const RULES: &str = "table inet t { chain c {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    tcp dport 443 accept
}
}";

/// Connections of a turn: short, so that some turns are not interrupted by what else the machine does.
const TURN: u32 = 2000;
const TURNS: u32 = 12;
/// Addresses of the client, and ports of each.
const ADDRESSES: u32 = 4;
const PORTS: u32 = 60_000;
/// Room for all connections that are measured, so that no table is full of what has ended: as many as `nf_conntrack` has.
const ROOM: u32 = 1 << 18;

pub(crate) fn compare() {
    let [xdp, tc] = ["", &format!("[attach]\ntc = [\"{INTERFACE}\"]\n")].map(rampart);
    let (nft, nothing) = (Pair::with(Neighbours::Known), Pair::with(Neighbours::Known));
    let _referee = Referee::load(&nft.server, RULES);
    let pairs = [
        ("nothing", &nothing),
        ("nft", &nft),
        ("rampart, by tc (as the settings say)", &tc.pair),
        ("rampart, by XDP (the kernel copies for it)", &xdp.pair),
    ];
    let mut turns = [const { Vec::new() }; 4];
    for (_, pair) in &pairs {
        prepare(pair);
    }
    for turn in 0..TURNS {
        for ((_, pair), turns) in pairs.iter().zip(&mut turns) {
            turns.push(turn_of(pair, turn * TURN));
        }
    }
    println!("\n{:44} {:>10} {:>14} {:>14}", "opened and closed on one CPU", "a second", "microseconds", "(median)");
    for ((name, _), turns) in pairs.iter().zip(&mut turns) {
        turns.sort();
        let each = |turn: Duration| turn.as_secs_f64() / f64::from(TURN);
        let (least, median) = (each(turns[0]), each(turns[turns.len() / 2]));
        println!("{name:44} {:>10.0} {:>14.2} {:>14.2}", 1.0 / least, least * 1e6, median * 1e6);
    }
}

fn rampart(settings: &str) -> Firewall {
    let config = config::parse("rampart.toml", settings.to_owned()).unwrap_or_else(|errors| panic!("{errors:?}"));
    Firewall::with_settings(Pair::with(Neighbours::Known), RULES, &config, ROOM)
}

/// Gives the client its addresses, each known to the server.
fn prepare(pair: &Pair) {
    for number in 0..ADDRESSES {
        let address = source(number * PORTS).ip().to_owned();
        pair.client.ip(&format!("address add {address}/24 dev {INTERFACE}"));
        pair.server.ip(&format!("neighbour replace {address} lladdr 02:00:00:00:00:01 dev {INTERFACE} nud permanent"));
    }
}

/// Where connection `number` comes from.
fn source(number: u32) -> SocketAddrV4 {
    let host = 10 + (number / PORTS % ADDRESSES) as u8;
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), (2000 + number % PORTS) as u16)
}

/// How long a turn takes whose first connection has this number.
fn turn_of(pair: &Pair, first: u32) -> Duration {
    let listener = pair.server.run(|| TcpListener::bind((SERVER, 443))).expect("a listener");
    let server = SockaddrIn::from(SocketAddrV4::new(SERVER, 443));
    pair.client.run(|| {
        stay_on_one_cpu();
        let started = Instant::now();
        for number in first..first + TURN {
            open_and_close(&listener, &server, &SockaddrIn::from(source(number)));
        }
        started.elapsed()
    })
}

fn stay_on_one_cpu() {
    let mut cpus = CpuSet::new();
    cpus.set(1).expect("a number of a CPU");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("two CPUs");
}

/// One connection, from its SYN to its last acknowledgement.
fn open_and_close(listener: &TcpListener, server: &SockaddrIn, from: &SockaddrIn) {
    let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(client.as_raw_fd(), from).expect("an address");
    connect(client.as_raw_fd(), server).expect("a connection");
    let (mut served, _) = listener.accept().expect("the same connection");
    TcpStream::from(client).shutdown(Shutdown::Write).expect("an end");
    assert_eq!(served.read(&mut [0]).expect("its end"), 0);
}
