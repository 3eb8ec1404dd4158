//! Two TCPs and a network between them that loses, delays and repeats: whatever it does to their segments, the firewall
//! in the middle finds all of them in the window.

use proptest::prelude::*;

use super::{Connection, Direction, Segment, Terms};
use crate::{
    conntrack::CtState,
    wire::tcp::{ACK, FIN, SYN},
};

/// One end: a sender that goes back to the first unacknowledged byte when it hears nothing, and a receiver that keeps
/// what comes out of order and whose application reads when it likes.
///
/// Numbers count from its SYN, in 64 bits, so that nothing wraps here.
#[derive(Clone, Debug)]
struct End {
    /// Its first number on the wire.
    origin: u32,
    /// By how much windows that it sends are scaled.
    shift: u32,
    /// Buffer of its receiver, bytes.
    room: u64,
    /// Number of its FIN: behind all that it wants to send.
    last: u64,
    /// Bytes in a segment at most: one frame's, or what segmentation offload has yet to cut.
    largest: u64,
    unacknowledged: u64,
    next: u64,
    /// How far the peer lets it send.
    allowed: u64,
    /// What it received in order, what its application has read of that, what it received beyond.
    received: u64,
    read: u64,
    beyond: Vec<(u64, u64)>,
    /// The right edge that it told its peer, which never goes back (RFC 9293 section 3.8.6).
    told: u64,
}

/// A segment with its numbers as the ends count them.
#[derive(Clone, Debug)]
struct Flight {
    seq: u64,
    end: u64,
    ack: u64,
    allows: u64,
    segment: Segment,
}

impl End {
    fn segment(&mut self, peer: u32, (seq, length): (u64, u64), flags: u8) -> Flight {
        let shift = if flags & SYN == 0 { self.shift } else { 0 };
        let edge = (self.read + self.room).max(self.told);
        // Rounded up: rounding down would take back what was told before.
        let window = (edge - self.received).div_ceil(1 << shift).min(0xffff);
        self.told = self.told.max(self.received + (window << shift));
        let end = seq + length + u64::from(flags & (SYN | FIN) != 0);
        let number = |origin: u32, at: u64| origin.wrapping_add(at as u32);
        let segment = Segment {
            seq: number(self.origin, seq),
            end: number(self.origin, end),
            ack: if flags & ACK == 0 { 0 } else { number(peer, self.received) },
            window: window as u32,
            flags,
            is_cut: false,
        };
        Flight { seq, end, ack: self.received, allows: self.received + (window << shift), segment }
    }

    /// Is the window closed, with everything in it acknowledged?
    fn is_stuck(&self) -> bool {
        self.next == self.unacknowledged && self.next == self.allowed
    }

    /// What it sends next, if it may; a closed window is probed with one byte.
    fn send(&mut self, peer: u32, probes: bool) -> Option<Flight> {
        let allowed = self.allowed + u64::from(probes && self.is_stuck());
        if self.next > self.last || self.next >= allowed {
            return None;
        }
        let seq = self.next;
        let length = (self.last - seq).min(allowed - seq).min(self.largest);
        self.next += length.max(1);
        Some(self.segment(peer, (seq, length), if seq == self.last { FIN | ACK } else { ACK }))
    }

    /// Takes in what it has room for.
    fn receive(&mut self, Flight { seq, end, ack, allows, segment: _ }: &Flight) {
        self.beyond.push((*seq, (*end).min(self.told)));
        while let Some(at) = self.beyond.iter().position(|(seq, end)| *seq <= self.received && *end > self.received) {
            self.received = self.beyond.swap_remove(at).1;
        }
        let received = self.received;
        self.beyond.retain(|(_, end)| *end > received);
        self.unacknowledged = self.unacknowledged.max(*ack);
        self.next = self.next.max(self.unacknowledged);
        self.allowed = self.allowed.max(*allows);
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Send,
    Probe,
    GoBack,
    Acknowledge,
    Read,
    /// The network delivers; a number says what it does to the segment, how many it lets overtake it.
    Deliver(u8, usize),
}

fn happens() -> impl Strategy<Value = (usize, Happens)> {
    let what = prop_oneof![
        6 => Just(Happens::Send),
        1 => Just(Happens::Probe),
        1 => Just(Happens::GoBack),
        1 => Just(Happens::Acknowledge),
        2 => Just(Happens::Read),
        8 => (0_u8..10, 0_usize..4).prop_map(|(fate, overtaken)| Happens::Deliver(fate, overtaken)),
    ];
    (0_usize..2, what)
}

fn end() -> impl Strategy<Value = (End, Option<u8>)> {
    let origin = prop_oneof![any::<u32>(), Just(u32::MAX), (u32::MAX - 100_000)..u32::MAX, Just(0x7fff_f000)];
    let room = prop_oneof![1_u64..5_000, 5_000_u64..70_000, 70_000_u64..4_000_000];
    let largest = prop::sample::select(vec![536, 1_460, 60_000]);
    (origin, prop::option::of(0_u8..15), room, 0_u64..600_000, largest).prop_map(
        |(origin, offer, room, wants, largest)| {
            let end = End {
                origin,
                shift: 0,
                room,
                last: wants + 1,
                largest,
                unacknowledged: 1,
                next: 1,
                allowed: 1,
                received: 0,
                read: 0,
                beyond: Vec::new(),
                told: 0,
            };
            (end, offer)
        },
    )
}

/// Both ends, the firewall, and what is on the way to it, by sender.
struct Network {
    ends: [End; 2],
    connection: Connection,
    ways: [Vec<Flight>; 2],
}

impl Network {
    /// After a handshake that nothing happens to.
    fn new(ends: [(End, Option<u8>); 2]) -> Self {
        let [(mut client, client_offer), (mut server, server_offer)] = ends;
        if let (Some(ours), Some(theirs)) = (client_offer, server_offer) {
            (client.shift, server.shift) = (ours.into(), theirs.into());
        }
        let mut connection = Connection::NONE;
        let terms = |offer: Option<u8>| offer.map_or(Terms::NONE, Terms::scaling);
        let syn = client.segment(server.origin, (0, 0), SYN);
        assert_eq!(connection.receive(Direction::Original, &syn.segment, terms(client_offer)), CtState::New);
        server.received = 1;
        let answer = server.segment(client.origin, (0, 0), SYN | ACK);
        assert_eq!(connection.receive(Direction::Reply, &answer.segment, terms(server_offer)), CtState::Established);
        client.received = 1;
        client.allowed = answer.allows;
        let done = client.segment(server.origin, (1, 0), ACK);
        assert_eq!(connection.receive(Direction::Original, &done.segment, Terms::NONE), CtState::Established);
        server.receive(&done);
        Self { ends: [client, server], connection, ways: [Vec::new(), Vec::new()] }
    }

    fn happen(&mut self, who: usize, what: Happens) {
        let peer = self.ends[who ^ 1].origin;
        let end = &mut self.ends[who];
        match what {
            Happens::Send => self.ways[who].extend(end.send(peer, false)),
            Happens::Probe => self.ways[who].extend(end.send(peer, true)),
            Happens::GoBack => end.next = end.unacknowledged,
            Happens::Read => end.read = end.received,
            Happens::Acknowledge => {
                let at = end.next;
                self.ways[who].push(end.segment(peer, (at, 0), ACK));
            }
            Happens::Deliver(fate, overtaken) => self.deliver(who, fate, overtaken),
        }
    }

    /// The network loses a segment before the firewall or behind it, delivers it twice, or well; which is answered.
    fn deliver(&mut self, who: usize, fate: u8, overtaken: usize) {
        let reorders = self.ends.iter().all(|end| end.largest < 10_000);
        let way = &mut self.ways[who];
        if way.is_empty() {
            return;
        }
        let flight = way.remove(if reorders { overtaken.min(way.len() - 1) } else { 0 });
        if fate == 0 {
            return;
        }
        let direction = if who == 0 { Direction::Original } else { Direction::Reply };
        for _ in 0..if fate == 1 { 2 } else { 1 } {
            let before = self.connection;
            let ct_state = self.connection.receive(direction, &flight.segment, Terms::NONE);
            assert_eq!(ct_state, CtState::Established, "{direction:?} {flight:#?}\n{before:#x?}");
        }
        if fate == 2 {
            return;
        }
        let peer = self.ends[who].origin;
        let receiver = &mut self.ends[who ^ 1];
        receiver.receive(&flight);
        if flight.end > flight.seq {
            let at = receiver.next;
            self.ways[who ^ 1].push(receiver.segment(peer, (at, 0), ACK));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_real_exchange_is_in_the_window(
        ends in [end(), end()],
        happens in prop::collection::vec(happens(), 0..600),
    ) {
        let mut network = Network::new(ends);
        for (who, what) in happens {
            network.happen(who, what);
        }
    }
}
