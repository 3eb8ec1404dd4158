//! Which interfaces are attached to by default, and what that means for the packets of a bridge.

mod support;

use std::net::{IpAddr, SocketAddr};

use firewall_tests::{
    netns::Namespace,
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, ping, tcp_connect},
};
use firewall_user::kernel::{ApplyOptions, Instance, KernelError, StateOptions};
use support::compiled;

const RULES: &str = "
    table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            icmp type echo-request accept
        }
    }";

/// Applies [`RULES`] in a namespace; the names of the interfaces that were attached to.
fn apply(namespace: &Namespace, options: &ApplyOptions) -> Result<Vec<String>, String> {
    namespace.run(|| {
        let instance = Instance::open_or_create(&StateOptions { flows: Some(support::FLOWS) }).expect("instance");
        let lock = instance.lock().expect("lock");
        let applied = instance.apply(&lock, &compiled(RULES, None), options).map_err(|error| error.to_string())?;
        let mut names: Vec<_> = applied.attached.into_iter().map(|attached| attached.name).collect();
        names.sort();
        Ok(names)
    })
}

fn stop(namespace: &Namespace) {
    namespace.run(|| {
        let instance = Instance::open().expect("instance");
        let lock = instance.lock().expect("lock");
        instance.stop(lock).expect("stop");
    });
}

/// Two hosts on a bridge that is a host itself: 192.0.2.1 and .2, the bridge has .254.
struct Bridged {
    left: Namespace,
    bridge: Namespace,
    right: Namespace,
}

impl Bridged {
    fn new() -> Self {
        let (left, bridge, right) = (Namespace::new("left"), Namespace::new("bridge"), Namespace::new("right"));
        bridge.ip("link add br0 type bridge");
        for (host, name, address) in [(&left, "port0", "192.0.2.1/24"), (&right, "port1", "192.0.2.2/24")] {
            bridge.ip(&format!("link add {name} type veth peer name eth0 netns {}", host.name()));
            bridge.ip(&format!("link set {name} master br0"));
            bridge.ip(&format!("link set {name} up"));
            host.ip(&format!("addr add {address} dev eth0"));
            host.ip("link set eth0 up");
        }
        bridge.ip("addr add 192.0.2.254/24 dev br0");
        bridge.ip("link set br0 up");
        Self { left, bridge, right }
    }
}

#[test]
fn the_bridge_is_filtered_and_what_passes_through_it_is_not() {
    let net = Bridged::new();
    assert_eq!(apply(&net.bridge, &ApplyOptions::default()), Ok(vec!["br0".to_owned()]));
    let far = TcpEcho::start(&net.right, SocketAddr::from(([192, 0, 2, 2], 7)));
    let near = TcpEcho::start(&net.bridge, SocketAddr::from(([192, 0, 2, 254], 7)));
    assert_eq!(tcp_connect(&net.left, far.address(), PATIENTLY), Outcome::Connected, "from port to port");
    assert_eq!(ping(&net.left, IpAddr::from([192, 0, 2, 254]), PATIENTLY), Outcome::Connected, "to the bridge: a rule");
    assert_eq!(tcp_connect(&net.left, near.address(), BRIEFLY), Outcome::TimedOut, "to the bridge: the policy");
    stop(&net.bridge);
}

#[test]
fn a_port_is_filtered_when_it_is_named() {
    let net = Bridged::new();
    let options = ApplyOptions { interfaces: vec!["port0".to_owned()], ..ApplyOptions::default() };
    assert_eq!(apply(&net.bridge, &options), Ok(vec!["port0".to_owned()]));
    stop(&net.bridge);
}

#[test]
fn interfaces_that_are_down_are_taken_when_none_is_up() {
    let namespace = Namespace::new("boot");
    namespace.ip("link add eth0 type veth peer name eth1");
    assert_eq!(apply(&namespace, &ApplyOptions::default()), Ok(vec!["eth0".to_owned(), "eth1".to_owned()]));
    stop(&namespace);
    namespace.ip("link set eth0 up");
    assert_eq!(apply(&namespace, &ApplyOptions::default()), Ok(vec!["eth0".to_owned()]));
    stop(&namespace);
}

#[test]
fn loopback_alone_is_nothing_to_attach_to() {
    let namespace = Namespace::new("lonely");
    assert_eq!(apply(&namespace, &ApplyOptions::default()), Err(KernelError::NoInterfaces.to_string()));
    let left = namespace.run(|| Instance::open().map(drop).map_err(|error| error.to_string()));
    assert_eq!(left, Err(KernelError::NotRunning.to_string()), "nothing is left behind");
}
