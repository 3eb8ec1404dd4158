//! The examples that translate addresses, at work on a router between two hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use firewall_tests::{
    command::Rampart,
    netns::Namespace,
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, ROUTER, ROUTER_SECOND, Routed},
    visit::{Visit, visit},
};

use crate::shell;

/// A second host behind the router, which shares the wire with the first one.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The inner IPv6 host as it is seen outside.
const MAPPED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);

/// One end of a visit.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Inside,
    Outside,
}

/// A visit, and what the one who is visited is to see.
struct Row {
    from: (Side, IpAddr),
    to: (IpAddr, u16),
    /// Who listens.
    at: (Side, u16),
    source: IpAddr,
    reached: IpAddr,
    why: &'static str,
}

/// The examples, and visits that they are about.
fn scenes() -> [(&'static str, Vec<Row>); 5] {
    let (inside, outside) = ((Side::Inside, IpAddr::from(CLIENT)), (Side::Outside, IpAddr::from(FAR_SERVER)));
    let (neighbour, public) = ((Side::Inside, IpAddr::from(NEIGHBOUR)), IpAddr::from(ROUTER_SECOND));
    let (inside6, outside6) = ((Side::Inside, IpAddr::from(CLIENT6)), (Side::Outside, IpAddr::from(FAR_SERVER6)));
    let row = |from: (Side, IpAddr), to, at, (source, reached), why| Row { from, to, at, source, reached, why };
    let balanced = |reached: IpAddr| {
        row(outside, (public, 80), (Side::Inside, 8080), (outside.1, reached), "connections take turns")
    };
    [
        (
            "home_router",
            vec![row(
                inside,
                (outside.1, 80),
                (Side::Outside, 80),
                (public, outside.1),
                "the router's address is seen",
            )],
        ),
        (
            "published_web",
            vec![row(outside, (public, 443), (Side::Inside, 8443), (outside.1, inside.1), "443 leads inside, to 8443")],
        ),
        ("balanced_web", [inside.1, neighbour.1, inside.1, neighbour.1].map(balanced).into()),
        (
            "hairpin",
            vec![
                row(outside, (public, 80), (Side::Inside, 8080), (outside.1, inside.1), "from outside"),
                row(
                    neighbour,
                    (public, 80),
                    (Side::Inside, 8080),
                    (ROUTER.into(), inside.1),
                    "a neighbour, by the same address",
                ),
            ],
        ),
        (
            "prefix_map",
            vec![
                row(
                    inside6,
                    (outside6.1, 80),
                    (Side::Outside, 80),
                    (MAPPED.into(), outside6.1),
                    "the outer prefix is seen",
                ),
                row(outside6, (MAPPED.into(), 80), (Side::Inside, 80), (outside6.1, inside6.1), "and leads inside"),
            ],
        ),
    ]
}

/// Puts one example after the other in force and visits; how many visits ended otherwise than the example says.
pub(super) fn show() -> Result<usize> {
    super::title("A router between two hosts, and the examples that translate");
    println!("   inside 192.0.2.1, 192.0.2.2      eth0 router eth1      outside 198.51.100.1");
    println!("          2001:db8:1::1       192.0.2.254  198.51.100.254          2001:db8:2::1\n");
    let routed = Routed::new();
    routed.client.ip(&format!("address add {NEIGHBOUR}/24 dev {INTERFACE}"));
    let mut unexpected = 0;
    for (name, rows) in scenes() {
        let file = shell::root().join(format!("examples/{name}.nft"));
        let rampart = Rampart::on(&routed.router);
        super::run_shown(&rampart, &["apply", &file.to_string_lossy()])?;
        for row in rows {
            unexpected += usize::from(!row.is_seen(&routed));
        }
        println!();
    }
    Ok(unexpected)
}

impl Row {
    fn is_seen(&self, routed: &Routed) -> bool {
        let host = |side: Side| -> &Namespace { if side == Side::Inside { &routed.client } else { &routed.server } };
        let any: IpAddr = if self.reached.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let at = SocketAddr::new(any, self.at.1);
        let seen = visit((host(self.at.0), at), (host(self.from.0), SocketAddr::new(self.from.1, 0)), self.to.into());
        let (from, (to, port)) = (self.from.1, self.to);
        let asked = format!("{from} asks for {}", SocketAddr::new(to, port));
        match seen {
            Ok(Visit { source, reached }) => {
                let is_so = (source.ip(), reached.ip()) == (self.source, self.reached);
                println!("   {asked:<44} {reached} sees {}   ({})", source.ip(), self.why);
                if !is_so {
                    println!("   ^ the example says: {} sees {}", self.reached, self.source);
                }
                is_so
            }
            Err(error) => {
                println!("   {asked:<44} {error}   ({})", self.why);
                false
            }
        }
    }
}
