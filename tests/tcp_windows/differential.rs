//! The same scripts through rampart and through `nf_conntrack`: what each segment is to a rule, and the state behind
//! it.

use std::{
    fs,
    time::{Duration, Instant},
};

use firewall_tests::{
    inject::Wire,
    netns::Namespace,
    packet::{Ethernet, Frame},
    referee::Referee,
    topology::{CLIENT, CLIENT_MAC, FAR_SERVER, INTERFACE, Neighbours, ROUTER_MAC, ROUTER_SECOND_MAC, Routed, SERVER},
};
use firewall_user::kernel::Side;

use super::{
    script::{SERVER_PORT, Segment},
    support::{Firewall, sequence::STATES},
};

/// What a segment is, and the state of its connection behind it.
type Seen = (String, String);

/// A script: its name, its segments. A segment behind which the two differ says so: `| rampart | theirs | why`,
/// each as `established CLOSE`.
type Script<'a> = (&'a str, &'a [&'a str]);

const HANDSHAKE: [&str; 3] = ["> S 0 zero 8000 0 sackok", "< SA 0 1 4000 0 sackok", "> A 1 1 8000 0"];
const SCALED: [&str; 3] = ["> S 0 zero 64000 0 sackok ws7", "< SA 0 1 64000 0 sackok ws2", "> A 1 1 1000 0"];

const ESTABLISHED: &[Script<'static>] = &[
    ("data both ways", &["> PA 1 1 8000 1000", "< A 1 1001 4000 0", "< PA 1 1001 4000 1400", "> A 1001 1401 8000 0"]),
    ("sent again", &["> PA 1 1 8000 1000", "> PA 1 1 8000 1000", "< A 1 1001 4000 0", "> PA 1 1 8000 1000"]),
    ("out of order", &["> PA 1001 1 8000 1000", "< A 1 1 4000 0", "> PA 1 1 8000 1000", "< A 1 2001 4000 0"]),
    ("I, at its edge", &["> PA 4001 1 8000 10"]),
    ("I, beyond its edge", &["> PA 4002 1 8000 10", "< A 1 4012 4000 0"]),
    ("I, beyond it by a window", &["> PA 7900 1 8000 98", "> PA 7900 1 8000 102", "> PA 20000 1 8000 10"]),
    ("II, at its edge", &["> PA 1 1 8000 1000", "> PA -2999 1 8000 1000", "> PA -2999 1 8000 999"]),
    ("II, old", &["> FA -90000 1 8000 0", "> PA -90000 1 8000 10"]),
    ("III, at its edge", &["> PA 1 1 8000 1000", "< A 1 1001 4000 0", "< A 1 1002 4000 0"]),
    ("IV, at its edge", &["< A 1 -65999 4000 0", "< A 1 -66000 4000 0", "< FA 1 -66000 4000 0"]),
    (
        "a window of zero",
        &["> PA 1 1 8000 1000", "< A 1 1001 0 0", "> A 4001 1 8000 1", "< A 1 1001 0 0", "> A 4003 1 8000 1"],
    ),
    ("keep-alive", &["> A 0 1 8000 0", "< A 1 1 4000 0", "> A 0 1 8000 1"]),
    ("a FIN out of the window", &["> FA 90000 1 8000 0", "> FA 1 90000 8000 0", "> FA 1 1 8000 0", "< A 1 2 4000 0"]),
    ("closed", &["> FA 1 1 8000 0", "< A 1 2 4000 0", "< FA 1 2 4000 100", "> A 2 102 8000 0", "> A 2 102 8000 0"]),
    ("closed by both", &["> FA 1 1 8000 0", "< FA 1 1 4000 0", "> A 2 2 8000 0", "< A 2 2 4000 0"]),
    ("RST, exact", &["> R 1 zero 0 0"]),
    ("RST, exact, back", &["< R 1 zero 0 0"]),
    ("RST, exact, with ACK", &["< RA 1 1 0 0"]),
    ("RST, with an ACK of zero", &["< RA 1 zero 0 0"]),
    ("RST, in the window", &["< R 100 zero 0 0", "> A 1 1 8000 0"]),
    ("RST, before the window", &["< R 0 zero 0 0", "< R -90000 zero 0 0"]),
    ("RST, behind the window", &["< R 90000 zero 0 0", "> R 90000 zero 0 0"]),
    ("RST, acknowledges what was not sent", &["< RA 1 900 0 0"]),
    ("RST behind data", &["< PA 1 1 4000 500", "< R 501 zero 0 0"]),
    (
        "RST behind data that was acknowledged around",
        &[
            "< PA 1 1 4000 500",
            "> A 1 1 8000 0",
            "< R 501 zero 0 0 | established CLOSE | established ESTABLISHED | \
             the sender's last number is exact, whoever spoke last",
        ],
    ),
    ("RST, then a SYN of the same side", &["> R 1 zero 0 0", "> S 500000 zero 8000 0"]),
    (
        "RST, then a SYN of the other side",
        &[
            "< R 1 zero 0 0",
            "> S 500000 zero 8000 0 | new SYN_SENT | established CLOSE | whoever begins anew is judged as new",
        ],
    ),
    (
        "closed, then a SYN of either side",
        &[
            "> FA 1 1 8000 0",
            "< FA 1 2 4000 0",
            "> A 2 2 8000 0",
            "> S 500000 zero 8000 0",
            "< SA 700000 500001 4000 0",
            "> A 500001 700001 8000 0",
        ],
    ),
    (
        "closed, then a SYN of the other side",
        &["> FA 1 1 8000 0", "< FA 1 2 4000 0", "> A 2 2 8000 0", "< S 500000 zero 8000 0"],
    ),
    ("closed, then an old SYN", &["> FA 1 1 8000 0", "< FA 1 2 4000 0", "> A 2 2 8000 0", "> S -90000 zero 8000 0"]),
    ("RST while closing", &["> FA 1 1 8000 0", "< R -90000 zero 0 0"]),
    ("SYN within it", &["> S 500000 zero 8000 0", "> A 1 1 8000 0", "< A 1 1 4000 0"]),
    (
        "SYN within it, answered",
        &[
            "> S 500000 zero 8000 0 ws7",
            "< SA 700000 500001 4000 0 ws2",
            "> A 500001 700001 1000 0",
            "< PA 700001 500001 4000 10",
        ],
    ),
    ("SYN within it, refused", &["> S 500000 zero 8000 0"]),
    ("SYN within it, challenged", &["> S 500000 zero 8000 0", "< A 1 1 4000 0", "> R 1 zero 0 0"]),
    (
        "SYN within it, answered wrongly",
        &["> S 500000 zero 8000 0", "< SA 700000 500009 4000 0", "< PA 700001 500001 4000 10"],
    ),
    (
        "challenge in LAST_ACK",
        &["> FA 1 1 8000 0", "< FA 1 2 4000 0", "> S 500000 zero 8000 0", "< A 2 2 4000 0", "> A 2 2 8000 0"],
    ),
    ("SACK", &["> PA 1001 1 8000 1000", "< A 1 1 4000 0 sack:1001-2001", "> PA 1 1 8000 1000", "< A 1 2001 4000 0"]),
    (
        "SACK while a hole is there, to the window's edge",
        &[
            "> PA 1001 1 8000 1000",
            "< A 1 1 4000 0 sack:1001-2001",
            "> PA 2001 1 8000 1000",
            "< A 1 1 4000 0 sack:1001-3001",
            "> PA 3001 1 8000 1000",
            "< A 1 1 4000 0 sack:1001-4001",
            "> PA 1 1 8000 1000",
            "< A 1 4001 4000 0",
            "> PA 4001 1 8000 1000",
        ],
    ),
    (
        "SACK, then beyond the window by another one",
        &[
            "> PA 1001 1 8000 1000",
            "< A 1 1 4000 0 sack:1001-2001",
            "> PA 8500 1 8000 100 | invalid ESTABLISHED | established ESTABLISHED | \
             a block does not move the window (RFC 2018, section 8), and nf_conntrack counts the window from it",
            "> PA 1 1 8000 1000",
            "< A 1 2001 4000 0",
        ],
    ),
    (
        "SACK of what was not sent",
        &["< A 1 1 4000 0 sack:5001-6001 | established ESTABLISHED | invalid ESTABLISHED | blocks are not read"],
    ),
];

const BEGINNINGS: &[Script<'static>] = &[
    ("refused", &["> S 0 zero 8000 0"]),
    ("refused with a reset", &["> S 0 zero 8000 0", "< RA 0 1 0 0"]),
    ("refused with a reset of other numbers", &["> S 0 zero 8000 0", "< RA 0 900 0 0", "< RA 0 1 0 0"]),
    ("given up with a reset", &["> S 0 zero 8000 0", "> R 1 zero 0 0"]),
    ("mid-stream, reset", &["> A 1 1 10 0", "< R 1 zero 0 0"]),
    ("SYN again", &["> S 0 zero 8000 0", "> S 0 zero 8000 0", "< SA 0 1 4000 0", "> A 1 1 8000 0"]),
    (
        "SYN again, later numbers",
        &["> S 0 zero 8000 0", "> S 9000 zero 8000 0", "< SA 0 9001 4000 0", "> A 9001 1 8000 0"],
    ),
    ("SYN and ACK of nothing", &["> S 0 zero 8000 0", "< SA 0 900 4000 0"]),
    (
        "both at once",
        &["> S 0 zero 8000 0", "< S 0 zero 4000 0", "> SA 0 1 8000 0", "< SA 0 1 4000 0", "> A 1 1 8000 0"],
    ),
    (
        "a forged answer first",
        &[
            "> S 0 zero 8000 0",
            "< SA 900000 900 4000 0",
            "< SA 0 1 4000 0 | established SYN_RECV | established SYN_SENT | \
             nf_conntrack has learned the forged one's numbers",
        ],
    ),
    (
        "mid-stream",
        &["> A 1 1 10 0", "< PA 1 1 10 100", "< PA 500000 1 10 100", "> A 1 500100 10 0", "> PA 900000 500100 10 0"],
    ),
    ("an old connection, disowned", &["> S 0 zero 8000 0", "< A 500000 700000 4000 0", "> R 700000 zero 0 0"]),
];

const WINDOWS: &[Script<'static>] = &[
    ("scaled, at the edge", &["> PA 1 1 1000 10", "< A 1 11 50000 0", "> PA 200011 1 1000 10"]),
    ("scaled, beyond", &["< A 1 1 50000 0", "> PA 500000 1 1000 10"]),
    ("scaled, back", &["< PA 128001 1 50000 10", "< PA 400000 1 50000 10"]),
];

/// `nf_conntrack` on a router, its neighbours silent.
struct NfConntrack {
    routed: Routed,
    client: Wire,
    server: Wire,
}

impl NfConntrack {
    fn new() -> Self {
        let routed = Routed::with(Neighbours::Known);
        for host in [&routed.client, &routed.server] {
            Referee::load(host, "table inet t { chain c { type filter hook output priority 0; policy drop; }; }");
        }
        let (client, server) = (Wire::open(&routed.client, INTERFACE), Wire::open(&routed.server, INTERFACE));
        Self { routed, client, server }
    }

    /// Sends the segment, and sees which rule of the router counted it.
    fn see(&self, referee: &Referee<'_>, segment: &Segment, port: u16) -> Seen {
        let before = counts(referee);
        let ethernet = if segment.forth {
            Ethernet { source: CLIENT_MAC, destination: ROUTER_MAC, ..Ethernet::to_server() }
        } else {
            Ethernet { destination: ROUTER_SECOND_MAC, ..Ethernet::to_client() }
        };
        let frame: Frame = segment.frame(CLIENT, FAR_SERVER).ethernet(ethernet);
        let wire = if segment.forth { &self.client } else { &self.server };
        wire.send(&frame.bytes());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let after = counts(referee);
            let moved: Vec<_> = after.iter().zip(&before).filter(|(after, before)| after.1 > before.1).collect();
            if let [((state, _), _)] = moved[..] {
                return (state.clone(), state_of(&self.routed.router, port));
            }
            assert!(Instant::now() < deadline, "the router counted {moved:?} for {segment:?}");
        }
    }
}

fn counts(referee: &Referee<'_>) -> Vec<(String, u64)> {
    referee.counted().into_iter().map(|rule| (rule.comment, rule.packets)).collect()
}

/// The state of `nf_conntrack`'s entry for the connection from this port.
fn state_of(router: &Namespace, port: u16) -> String {
    let entries =
        router.run(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack")).expect("the kernel lists its entries");
    let wanted = format!("sport={port} dport={SERVER_PORT} ");
    let line = entries.lines().find(|line| line.contains(&wanted));
    line.and_then(|line| line.split_whitespace().nth(5)).unwrap_or("-").to_owned()
}

const COUNTING: &str = "table inet t { chain f {
    type filter hook forward priority 0; policy accept;
    ct state new counter comment \"new\"
    ct state established counter comment \"established\"
    ct state related counter comment \"related\"
    ct state invalid counter comment \"invalid\"
    ct state untracked counter comment \"untracked\"
}
}";

/// What rampart makes of it.
fn see(firewall: &Firewall, segment: &Segment, port: u16) -> Seen {
    let side = if segment.forth { Side::Xdp } else { Side::TcEgress };
    let state = firewall.state_of(side, &segment.frame(CLIENT, SERVER));
    let ports = |tail: u64| [(tail >> 48) as u16, (tail >> 32) as u16];
    let flows = firewall.flows();
    let flow = flows.iter().find(|flow| ports(flow.entry.key.tail).contains(&port));
    (state, flow.map_or("-", |flow| flow.slot.state().name()).to_owned())
}

#[test]
fn segments_are_to_rampart_what_they_are_to_nf_conntrack() {
    let firewall = Firewall::new(STATES);
    let nf_conntrack = NfConntrack::new();
    let referee = Referee::load(&nf_conntrack.routed.router, COUNTING);
    let groups = [(&HANDSHAKE[..], ESTABLISHED), (&[], BEGINNINGS), (&SCALED[..], WINDOWS)];
    let scripts = groups.iter().flat_map(|(begin, scripts)| scripts.iter().map(move |script| (*begin, script)));
    let mut wrong = Vec::new();
    for (number, (begin, (name, rows))) in scripts.enumerate() {
        let port = 40000 + number as u16;
        for row in begin.iter().chain(rows.iter()) {
            let (text, difference) = row.split_once(" | ").map_or((*row, None), |(text, rest)| (text, Some(rest)));
            let segment = Segment::read(text, port);
            let (ours, theirs) = (see(&firewall, &segment, port), nf_conntrack.see(&referee, &segment, port));
            let told = format!("{} {} | {} {}", ours.0, ours.1, theirs.0, theirs.1);
            let expected = difference.and_then(|rest| rest.rsplit_once(" | ")).map(|(both, _)| both);
            let is_right = expected.map_or(ours == theirs, |expected| expected == told);
            if !is_right {
                wrong.push(format!("{name}: {text}\n    rampart | nf_conntrack: {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} segments:\n{}", wrong.len(), wrong.join("\n"));
}
