//! The way past the rules and the stack (`flow add`): which packets take it, what they look like behind it, and that everything else
//! goes on as without it.

mod support;

#[path = "fast/bytes.rs"]
mod bytes;
#[path = "fast/changes.rs"]
mod changes;
#[path = "fast/hosts.rs"]
mod hosts;
#[path = "fast/seen.rs"]
mod seen;

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use firewall_tests::{command::Scratch, netns::Namespace, topology::INTERFACE};
use firewall_user::kernel::{Instance, interface_index};
use serde_json::Value;
use support::live::Live;

/// All that is established takes the fast path.
const FAST: &str = "table inet t {
    flowtable f {
        hook ingress priority filter
        devices = { eth0, eth1 }
    }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established flow add @f counter comment \"added\"
        ct state { established, related } counter accept comment \"slow\"
        ct state new accept
    }
}";

/// The same, and the router's address for all that leave towards the server.
fn masquerading() -> String {
    let translate = "table inet n {
        chain translate {
            type nat hook postrouting priority srcnat
            oifname \"eth1\" masquerade
        }
    }";
    format!("{FAST}\n{translate}")
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Where packets take the fast path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// From XDP, because checksums are whole and the other ends take frames.
    Xdp,
    /// From tc, where checksums and segments are the kernel's to finish.
    Tc,
}

const BOTH: [At; 2] = [At::Xdp, At::Tc];

/// The settings that it takes.
fn settings(at: At) -> &'static str {
    match at {
        At::Xdp => "[forwarding]\nwhole_checksums = [\"eth0\", \"eth1\", \"eth2\"]\n",
        At::Tc => "",
    }
}

/// Puts rules in force on a router, with settings.
fn apply<'a>(router: &'a Namespace, rules: &str, settings: &str) -> Live<'a> {
    let files = Scratch::new();
    let file = files.write("rampart.toml", settings);
    Live::apply_with(router, rules, &["--config", &file.to_string_lossy()], &[])
}

/// Makes ends of wires take frames from XDP, or leave checksums and segments to whoever receives.
fn prepare(at: At, hosts: &[&Namespace]) {
    let features = match at {
        At::Xdp => ["gro", "on"],
        At::Tc => ["tx", "on"],
    };
    for host in hosts {
        set_feature(host, INTERFACE, features);
    }
}

fn set_feature(host: &Namespace, interface: &str, feature: [&str; 2]) {
    let words = [&["-K", interface], &feature[..]].concat();
    let output = host.run(|| Command::new("ethtool").args(words).output().expect("ethtool"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Packets that an interface sent on by the fast path, that it passed to the rules and the stack, and that it received.
fn ways(live: &Live<'_>, interface: &str) -> (u64, u64, u64) {
    let all = live.run(&["counters", "--json"]).success().json();
    let found = find(&all, interface).unwrap_or_else(|| panic!("{interface} is not in {all:#}"));
    let number = |name: &str| found[name].as_u64().unwrap_or_else(|| panic!("no {name} in {found:#}"));
    let dropped: u64 = found["dropped"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
    let (fast, slow, all) = (number("redirected"), number("passed"), number("received"));
    assert_eq!(fast + slow + dropped, all, "{interface}: {found:#}");
    (fast, slow, all)
}

fn find<'a>(all: &'a Value, interface: &str) -> Option<&'a Value> {
    let named = &all["interfaces"];
    named.get(interface).or_else(|| named.as_array()?.iter().find(|one| one["name"] == interface))
}

/// A conversation that lasts.
struct Talk {
    near: TcpStream,
    far: TcpStream,
}

impl Talk {
    fn begin(client: &Namespace, server: &Namespace, to: IpAddr) -> Self {
        let listener = server.run(|| TcpListener::bind(SocketAddr::new(to, 0)).expect("a listener"));
        let address = listener.local_addr().expect("bound");
        let near = client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).expect("connected");
        let (far, _) = listener.accept().expect("somebody came");
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        }
        Self { near, far }
    }

    /// So many bytes there, and back.
    fn exchange(&mut self, length: usize) {
        carry(&mut self.near, &mut self.far, length);
        carry(&mut self.far, &mut self.near, length);
    }
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, length: usize) {
    let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut received = vec![0; length];
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(&sent).expect("written"));
        to.read_exact(&mut received).expect("read");
    });
    assert!(received == sent, "other bytes arrived");
}

/// The program on an interface asked about a frame: was it sent on, and as what?
fn judge(router: &Namespace, side: firewall_user::kernel::Side, interface: &str, frame: &[u8]) -> (bool, Vec<u8>) {
    router.run(|| {
        let instance = Instance::open().unwrap_or_else(|error| panic!("{error}"));
        let index = interface_index(interface).expect("an interface");
        let judgement = instance.judge(side, frame, index, 1).unwrap_or_else(|error| panic!("{error}"));
        assert!(judgement.passed != judgement.redirected, "dropped");
        (judgement.redirected, judgement.bytes)
    })
}

/// Why a ruleset with these settings is refused.
fn refused(router: &Namespace, rules: &str, settings: &str) -> String {
    let files = Scratch::new();
    let (config, file) = (files.write("rampart.toml", settings), files.write("rules.nft", rules));
    let arguments = ["apply", &file.to_string_lossy(), "--config", &config.to_string_lossy()];
    let output = firewall_tests::command::Rampart::on(router).run(&arguments);
    assert_ne!(output.status, 0, "it was applied");
    output.stderr
}
