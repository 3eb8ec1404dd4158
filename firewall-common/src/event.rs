//! The records that leave through the ring buffer.

mod ended;

pub use self::ended::{End, killed, untold};
use crate::verdict::{REASONS, Reason};

/// [`Event::hook`] of what no packet told.
pub const NO_HOOK: u32 = u32::MAX;

/// Declares the kinds once: number, name and meaning, so that events, filters and documentation cannot disagree.
macro_rules! kinds {
    ($($variant:ident = $number:literal, $name:literal, $meaning:literal;)+) => {
        /// What an event tells. A number and a name are never reused. Below [`FROM_COMMANDS`] programs in the kernel tell of it,
        /// from there on commands do, and the agent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Kind {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Kind {
            /// Every kind, in number order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The kind of a number that came from the kernel.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The word used in output and filters.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One sentence for a person.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }
        }
    };
}

/// The first number of the kinds that commands tell of.
pub const FROM_COMMANDS: u32 = 32;

kinds! {
    Dropped = 1, "dropped", "a packet was dropped";
    Logged = 2, "logged", "a rule with a `log` statement was met";
    New = 3, "new", "a connection was entered into the state table";
    Closed = 4, "closed", "a connection has ended: by a reset, by the last FIN or SHUTDOWN, because its time ran out, for another one, or by a command";
    TableFull = 5, "table_full", "a connection found no room in the state table: once a second at most, with its packet";
    NatExhausted = 6, "nat_exhausted", "a translated connection found no free port: once a second at most, with its packet";
    FloodOn = 7, "flood_on", "a flood has begun";
    FloodOff = 8, "flood_off", "a flood is over";
    Apply = 32, "apply", "a ruleset was put in force, or was not, or the one before came back";
    Ban = 33, "ban", "a source was banned";
    Unban = 34, "unban", "a ban was lifted";
    BackendUp = 35, "backend_up", "a backend answers, and gets connections";
    BackendDown = 36, "backend_down", "a backend does not answer, and gets no connections";
}

/// One event. Addresses and ports are in host byte order, as in [`crate::packet::Packet`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, `CLOCK_MONOTONIC` nanoseconds (coarse: the kernel's tick).
    pub time_ns: u64,
    /// Events of this CPU that were not sent since the last one: over the rate limit, or no room in the ring.
    pub suppressed: u64,
    /// Of those, the ones of the same rule, or of the same reason.
    pub more: u64,
    /// [`Kind`].
    pub kind: u32,
    /// The generation that was in force.
    pub generation: u32,
    /// Drop reason, [`crate::verdict::Reason`].
    pub reason: u32,
    /// The rule or policy, as in [`crate::image::Insn::rule`].
    pub rule: u32,
    /// Number of the log statement; of [`Kind::Closed`] how it ended, [`End`].
    pub log: u32,
    /// The hook, [`crate::image::Hook`], or [`NO_HOOK`].
    pub hook: u32,
    /// The interface the packet came in by, or leaves by at output.
    pub ifindex: u32,
    /// Length of the frame, bytes.
    pub length: u32,
    /// Conntrack state of the packet, one bit.
    pub ct_state: u32,
    /// EtherType.
    pub ether_type: u32,
    /// Source address as in [`crate::packet::Field::SourceAddress`].
    pub source: [u32; 4],
    /// Destination address, stored like the source.
    pub destination: [u32; 4],
    /// [`crate::packet::Field::NfProto`].
    pub nfproto: u32,
    /// Upper-layer protocol.
    pub protocol: u32,
    /// Source port word, with its protocol.
    pub source_port: u32,
    /// Destination port word, with its protocol.
    pub destination_port: u32,
    /// ICMP type word, with its protocol.
    pub icmp: u32,
    /// TCP flags word, with its protocol.
    pub tcp_flags: u32,
    /// Of a new connection whose addresses are translated, both ends as the other side has them; else zero.
    pub translated: [[u32; 4]; 2],
    /// And their ports.
    pub translated_ports: [u32; 2],
    /// Numbers whose meaning is the kind's: of [`Kind::Closed`] packets and bytes by direction (original, reply: packets, bytes, packets,
    /// bytes), of [`Kind::FloodOn`] and [`Kind::FloodOff`] what was counted and the threshold. Zero for others.
    pub numbers: [u64; 4],
    /// Of [`Kind::Closed`]: how long it lived, ticks.
    pub age: u32,
    /// Of [`Kind::Closed`]: its last state, [`crate::conntrack::State`].
    pub state: u32,
}

crate::shared!(Event = 200);

/// Whom programs tell, and what they have told: one value that all CPUs share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Listeners {
    /// Until when somebody reads events, ticks; 0 for nobody.
    pub until: u32,
    /// Must be zero.
    pub reserved: u32,
    /// When [`Kind::TableFull`] was told last, ticks.
    pub table_full: u64,
    /// When [`Kind::NatExhausted`] was told last, ticks.
    pub nat_exhausted: u64,
}

crate::shared!(Listeners = 24);

/// How often [`Kind::TableFull`] and [`Kind::NatExhausted`] are told at most, ticks.
pub const REPEATED_AFTER: u64 = crate::conntrack::ticks_of_seconds(1) as u64;

#[cfg(feature = "user")]
impl Event {
    /// An event from the bytes of its record; `None` when there are too few.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
        let long = |at: usize| bytes.get(at..at + 8).and_then(|long| long.try_into().ok()).map(u64::from_ne_bytes);
        let address = |at: usize| Some([word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?]);
        Some(Self {
            time_ns: long(0)?,
            suppressed: long(8)?,
            more: long(16)?,
            kind: word(24)?,
            generation: word(28)?,
            reason: word(32)?,
            rule: word(36)?,
            log: word(40)?,
            hook: word(44)?,
            ifindex: word(48)?,
            length: word(52)?,
            ct_state: word(56)?,
            ether_type: word(60)?,
            source: address(64)?,
            destination: address(80)?,
            nfproto: word(96)?,
            protocol: word(100)?,
            source_port: word(104)?,
            destination_port: word(108)?,
            icmp: word(112)?,
            tcp_flags: word(116)?,
            translated: [address(120)?, address(136)?],
            translated_ports: [word(152)?, word(156)?],
            numbers: [long(160)?, long(168)?, long(176)?, long(184)?],
            age: word(192)?,
            state: word(196)?,
        })
    }

    /// The bytes of its record, which [`Event::from_bytes`] reads.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        let Self { time_ns, suppressed, more, kind, generation, reason, rule, log, hook, ifindex, length, .. } = *self;
        let Self { ct_state, ether_type, source, destination, nfproto, protocol, source_port, .. } = *self;
        let Self { destination_port, icmp, tcp_flags, translated, translated_ports, numbers, age, state, .. } = *self;
        let mut bytes = [0; size_of::<Self>()];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        for long in [time_ns, suppressed, more] {
            put(&long.to_ne_bytes());
        }
        let words = [kind, generation, reason, rule, log, hook, ifindex, length, ct_state, ether_type].into_iter();
        let words = words.chain(source).chain(destination);
        let words = words.chain([nfproto, protocol, source_port, destination_port, icmp, tcp_flags]);
        for word in words.chain(translated.into_iter().flatten()).chain(translated_ports) {
            put(&word.to_ne_bytes());
        }
        for long in numbers {
            put(&long.to_ne_bytes());
        }
        for word in [age, state] {
            put(&word.to_ne_bytes());
        }
        bytes
    }
}

/// How many events a CPU may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// The tick that `spent` counts for.
    pub tick: u32,
    /// Events sent in it.
    pub spent: u32,
    /// Events not sent since one was.
    pub suppressed: u64,
    /// Events not sent, ever.
    pub lost: u64,
}

crate::shared!(Budget = 24);

/// Events a CPU sends in a tick of 268 ms: about 10,000 a second, more than a person or a log can use and little
/// enough not to be felt.
pub const EVENTS_PER_TICK: u32 = 2_684;

/// Events that one rule, or one reason, may send of them: about 1,000 a second and CPU, so that a flood of one kind leaves room
/// for what else happens.
pub const EVENTS_PER_AUTHOR: u32 = 268;

/// Budgets of rules and reasons; rules whose numbers end alike share one.
pub const AUTHORS: u32 = REASONS as u32 + RULES;

/// Budgets of rules; a power of two.
const RULES: u32 = 1024;

/// Is it of a kind that is rare by itself? The budget of a CPU, which a flood may have used up, does not keep it from being told.
#[inline(always)]
pub const fn is_rare(kind: u32) -> bool {
    kind > Kind::Closed as u32
}

/// Whose budget an event is on: that of the rule, or that of the reason, when no rule dropped the packet; what is rare has one of its
/// own, in the place of reasons that will not be.
#[inline(always)]
pub const fn author(kind: u32, reason: u32, rule: u32) -> u32 {
    if is_rare(kind) {
        return REASONS as u32 - 16 + (kind & 15);
    }
    let is_rules =
        reason == Reason::Rule as u32 || reason == Reason::Policy as u32 || reason == Reason::Rejected as u32;
    if kind == Kind::Dropped as u32 && !is_rules {
        return reason & (REASONS as u32 - 1);
    }
    // A rule may log, and drop, and let a connection begin, which ends: each on its own.
    REASONS as u32 + ((rule ^ kind << 8) & (RULES - 1))
}

impl Budget {
    /// Takes one event's worth; `false` when it is used up (and counted as suppressed).
    #[inline(always)]
    pub fn take(&mut self, tick: u32) -> bool {
        self.take_of(tick, EVENTS_PER_TICK)
    }

    /// The same with so many in a tick.
    #[inline(always)]
    pub fn take_of(&mut self, tick: u32, most: u32) -> bool {
        if self.tick != tick {
            self.tick = tick;
            self.spent = 0;
        }
        if self.spent < most {
            self.spent += 1;
            return true;
        }
        self.refuse();
        false
    }

    /// Counts an event that could not be sent.
    #[inline(always)]
    pub fn refuse(&mut self) {
        self.suppressed += 1;
        self.lost += 1;
    }
}

#[cfg(test)]
mod tests;
