//! Namespaces joined by wires, the ones that tests need again and again.
//!
//! Every end of a wire is called `eth0` (the router's second one `eth1`), has a fixed hardware address and computes
//! its checksums before it sends, as a packet on a real wire has them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::netns::Namespace;

/// The interface at each end of a wire.
pub const INTERFACE: &str = "eth0";
/// The router's interface towards the server.
pub const SECOND_INTERFACE: &str = "eth1";

/// Hardware address of the client's end.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Hardware address of the server's end.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Hardware address of the router's end towards the client.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
/// Hardware address of the router's end towards the server.
pub const ROUTER_SECOND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 4];

/// The client, 192.0.2.1.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The server of a [`Pair`], 192.0.2.2.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The client, `2001:db8:1::1`.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The server of a [`Pair`], `2001:db8:1::2`.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);

/// The router towards the client, 192.0.2.254.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// The router towards the client, `2001:db8:1::fe`.
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe);
/// The router towards the server, 198.51.100.254.
pub const ROUTER_SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);
/// The router towards the server, `2001:db8:2::fe`.
pub const ROUTER_SECOND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0xfe);
/// The server of a [`Routed`] network, 198.51.100.1.
pub const FAR_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The server of a [`Routed`] network, `2001:db8:2::1`.
pub const FAR_SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);

/// Who answers for a neighbour's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// ARP and neighbour discovery, as in life.
    Asked,
    /// Entries made beforehand: nothing but the test's own packets is on the wire, and a ruleset that drops
    /// everything does not stop them from being sent.
    Known,
}

/// Two hosts on one wire: [`CLIENT`] and [`SERVER`], [`CLIENT6`] and [`SERVER6`].
#[derive(Debug)]
pub struct Pair {
    /// The host that asks.
    pub client: Namespace,
    /// The host that answers, and where rampart usually is.
    pub server: Namespace,
}

/// Two hosts and a router between them: [`CLIENT`], [`ROUTER`] and [`ROUTER_SECOND`], [`FAR_SERVER`].
#[derive(Debug)]
pub struct Routed {
    /// The host that asks.
    pub client: Namespace,
    /// The router: [`INTERFACE`] towards the client, [`SECOND_INTERFACE`] towards the server.
    pub router: Namespace,
    /// The host that answers.
    pub server: Namespace,
}

/// One end of a wire.
struct End<'a> {
    namespace: &'a Namespace,
    interface: &'a str,
    mac: [u8; 6],
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

impl Pair {
    /// Two hosts that ask for each other's hardware address.
    pub fn new() -> Self {
        Self::with(Neighbours::Asked)
    }

    /// Two hosts.
    pub fn with(neighbours: Neighbours) -> Self {
        let pair = Self { client: Namespace::new("client"), server: Namespace::new("server") };
        let client = End::new(&pair.client, INTERFACE, CLIENT_MAC, CLIENT, CLIENT6);
        let server = End::new(&pair.server, INTERFACE, SERVER_MAC, SERVER, SERVER6);
        join(&client, &server, neighbours);
        pair
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Routed {
    /// Two hosts and a router, forwarding switched on.
    pub fn new() -> Self {
        Self::with(Neighbours::Asked)
    }

    /// Two hosts and a router.
    pub fn with(neighbours: Neighbours) -> Self {
        let [client, router, server] = ["client", "router", "server"].map(Namespace::new);
        let routed = Self { client, router, server };
        let client = End::new(&routed.client, INTERFACE, CLIENT_MAC, CLIENT, CLIENT6);
        let near = End::new(&routed.router, INTERFACE, ROUTER_MAC, ROUTER, ROUTER6);
        let far = End::new(&routed.router, SECOND_INTERFACE, ROUTER_SECOND_MAC, ROUTER_SECOND, ROUTER_SECOND6);
        let server = End::new(&routed.server, INTERFACE, SERVER_MAC, FAR_SERVER, FAR_SERVER6);
        join(&client, &near, neighbours);
        join(&far, &server, neighbours);
        client.route_through(&near);
        server.route_through(&far);
        for parameter in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            routed.router.set_parameter(parameter, "1");
        }
        routed
    }
}

impl Default for Routed {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> End<'a> {
    fn new(namespace: &'a Namespace, interface: &'a str, mac: [u8; 6], ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Self {
        Self { namespace, interface, mac, ipv4, ipv6 }
    }

    fn mac(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Gives the interface its addresses and takes it up.
    fn configure(&self) {
        let Self { namespace, interface, mac: _, ipv4, ipv6 } = self;
        // Nothing is said that a test did not say, but for multicast groups, which are told of at once or not at all.
        let quiet = [
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
            ("mldv2_unsolicited_report_interval", "1"),
        ];
        for (parameter, value) in quiet {
            namespace.set_parameter(&format!("net/ipv6/conf/{interface}/{parameter}"), value);
        }
        checksums_before_sending(namespace, interface);
        namespace.ip(&format!("address add {ipv4}/24 dev {interface}"));
        namespace.ip(&format!("address add {ipv6}/64 dev {interface} nodad"));
        namespace.ip(&format!("link set {interface} up"));
    }

    /// Tells this end the hardware address of the other one.
    fn know(&self, other: &End) {
        for address in [IpAddr::V4(other.ipv4), IpAddr::V6(other.ipv6)] {
            let entry = format!("neighbour replace {address} lladdr {} dev {}", other.mac(), self.interface);
            self.namespace.ip(&format!("{entry} nud permanent"));
        }
    }

    /// Sends everything that is not on this wire to the other end.
    fn route_through(&self, router: &End) {
        self.namespace.ip(&format!("route add default via {}", router.ipv4));
        self.namespace.ip(&format!("-6 route add default via {}", router.ipv6));
    }

    /// Waits until the kernel says that the interface is up: a packet sent earlier would be lost.
    fn wait_until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_up() {
            assert!(Instant::now() < deadline, "{} in {} does not come up", self.interface, self.namespace.name());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_up(&self) -> bool {
        let link = ["-n", self.namespace.name(), "-o", "link", "show", "dev", self.interface];
        let output = Command::new("ip").args(link).output().expect("ip (iproute2) is installed");
        String::from_utf8_lossy(&output.stdout).contains(" state UP ")
    }
}

/// Makes a wire between two ends.
fn join(one: &End, other: &End, neighbours: Neighbours) {
    one.namespace.ip(&format!(
        "link add {} address {} type veth peer name {} address {} netns {}",
        one.interface,
        one.mac(),
        other.interface,
        other.mac(),
        other.namespace.name(),
    ));
    for end in [one, other] {
        end.configure();
    }
    for end in [one, other] {
        end.wait_until_up();
    }
    if neighbours == Neighbours::Known {
        one.know(other);
        other.know(one);
    }
}

/// A veth leaves checksums to its peer, which never computes them. What stands for a physical wire must not.
fn checksums_before_sending(namespace: &Namespace, interface: &str) {
    let output = namespace.run(|| Command::new("ethtool").args(["-K", interface, "tx", "off"]).output());
    let output = output.expect("ethtool is installed");
    assert!(output.status.success(), "ethtool -K {interface} tx off: {}", String::from_utf8_lossy(&output.stderr));
}
