//! Connections that ended without a packet that says so: their time ran out, another took their place, a command forgot them. Whoever
//! takes the place that one has left tells of it: a program that enters a connection there, or the reader of events, who looks for them.

use super::{Event, Kind, NO_HOOK};
use crate::{
    conntrack::State,
    flow::FlowKey,
    nat::words,
    packet::{NFPROTO_IPV4, NO_L4},
    parse::tagged,
    table::{Entry, Slot},
    wire::{sctp, tcp, udp},
};

/// How a connection ended: [`Event::log`] of [`Kind::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum End {
    /// By one of its packets.
    Packet = 0,
    /// Its time ran out.
    Timeout = 1,
    /// A new connection took its place.
    Evicted = 2,
    /// A command forgot it.
    Killed = 3,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Packet, Self::Timeout, Self::Evicted, Self::Killed];

    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
            Self::Killed => "killed",
        }
    }
}

/// A connection that a command forgets has expired so long ago, ticks: nine years, as none has whose time ran out.
const KILLED_AGO: u32 = 1 << 30;

/// The word of a connection that a command forgets: expired, and to be told of by whoever finds it.
#[inline(always)]
pub const fn killed(word: Slot, now: u32) -> Slot {
    Slot::new(word.tag(), word.state(), now.wrapping_sub(KILLED_AGO))
}

/// How the connection ended that gives up the place with this word, [`End`]. `Packet`: there is nothing to tell, as there was none, or
/// the packet that ended it told.
#[inline(always)]
pub const fn untold(word: Slot, now: u32) -> u32 {
    let state = word.state();
    if state.is_over() || state.phase() == State::CLAIMED.phase() {
        End::Packet as u32
    } else if word.expires().wrapping_sub(now) as i32 > 0 {
        End::Evicted as u32
    } else if now.wrapping_sub(word.expires()) >= KILLED_AGO {
        End::Killed as u32
    } else {
        End::Timeout as u32
    }
}

impl Event {
    /// Fills in what is known of a connection that ended so, as its first packet had it: all but what was not told before.
    #[inline(always)]
    pub fn set_ended(&mut self, entry: &Entry, word: Slot, (time_ns, tick): (u64, u32)) {
        self.time_ns = time_ns;
        self.kind = Kind::Closed as u32;
        self.generation = entry.author();
        self.reason = 0;
        self.rule = entry.rule;
        self.log = untold(word, tick);
        self.hook = NO_HOOK;
        self.ifindex = entry.interface();
        self.length = 0;
        self.ct_state = 0;
        self.tcp_flags = NO_L4;
        self.icmp = NO_L4;
        self.translated = [[0; 4]; 2];
        self.translated_ports = [0; 2];
        self.numbers = [entry.packets[0], entry.bytes[0], entry.packets[1], entry.bytes[1]];
        self.age = tick.wrapping_sub(entry.created);
        self.state = word.state().0 as u32;
        self.set_ends(&entry.key, entry.is_from_high());
    }

    #[inline(always)]
    fn set_ends(&mut self, key: &FlowKey, from_high: bool) {
        let is_v4 = u32::from(key.family()) == NFPROTO_IPV4;
        let protocol = key.protocol();
        self.ether_type = if is_v4 { 0x0800 } else { 0x86dd };
        self.nfproto = u32::from(key.family());
        self.protocol = u32::from(protocol);
        let ends = if from_high { [key.high, key.low] } else { [key.low, key.high] };
        self.source = words(ends[0], is_v4);
        self.destination = words(ends[1], is_v4);
        let ports = [u32::from(key.low_port()), u32::from(key.high_port())];
        let [from, to] = if from_high { [ports[1], ports[0]] } else { ports };
        let has_ports = matches!(
            protocol,
            tcp::PROTOCOL | udp::PROTOCOL | udp::PROTOCOL_LITE | sctp::PROTOCOL | sctp::PROTOCOL_DCCP
        );
        self.source_port = if has_ports { tagged(protocol, from) } else { NO_L4 };
        self.destination_port = if has_ports { tagged(protocol, to) } else { NO_L4 };
    }
}
