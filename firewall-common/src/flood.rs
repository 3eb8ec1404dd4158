//! Floods of first segments: handshakes that are begun and not completed, and when they are too many.
//!
//! They are counted by when they began, in [`SLOTS`] words of about a second each: a handshake that is completed is taken out of the
//! word it was counted in, so what is left is the number of those of the last [`SLOTS`] seconds that were not. When there are
//! too many, SYN cookies are sent instead, each counted like a handshake, until hardly any are left open: what is counted is the same
//! whether cookies are sent or not, so the end of a flood is seen as its beginning was.

use crate::{
    limit::Word,
    packet::{Field, Packet},
    wire::tcp::{self, ACK, RST, SYN},
};

/// [`crate::image::Settings::uses`]: handshakes are made in servers' places while there is a flood.
pub const USES_FLOODS: u32 = 1 << 27;

/// Words that handshakes are counted in.
pub const SLOTS: usize = 8;
/// Ticks of 268 ms that one of them stands for, as a shift.
const SHIFT: u32 = 2;
/// Ticks after a flood in which cookies are still brought back.
pub const GRACE_TICKS: u32 = 60;
/// Ranges of ports that may be named.
pub const PORTS: usize = 16;

/// When cookies are sent, and for whom: a constant of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flooding {
    /// Open handshakes from which on cookies are sent.
    pub begin: u32,
    /// Open handshakes below which no more are.
    pub end: u32,
    /// The largest segment that clients are told of.
    pub mss: u32,
    /// Ports that are protected: the first one in the upper half, the last one in the lower. Those not used are [`Self::NO_PORTS`].
    pub ports: [u32; PORTS],
}

impl Flooding {
    /// A range without ports.
    pub const NO_PORTS: u32 = 0xffff_0000;
    /// Every port.
    pub const ALL_PORTS: u32 = 0xffff;
    /// Never.
    pub const NEVER: Self = Self { begin: u32::MAX, end: 0, mss: 0, ports: [Self::NO_PORTS; PORTS] };
}

/// What all programs of an instance know of floods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Floods {
    /// Are cookies sent, see [`state`]?
    pub state: u64,
    /// The second in which that was last asked.
    pub judged: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Floods that began.
    pub begun: u64,
    /// Connections that cookies were brought back for that no rule had sent.
    pub returned: u64,
    /// When cookies were last begun or ceased to be sent, `CLOCK_MONOTONIC` ns.
    pub changed_ns: u64,
    /// Must be zero.
    pub reserved2: [u64; 3],
    /// Handshakes that are open, by the second in which they began, see [`begun`]: a line of its own, which only first
    /// segments touch.
    pub open: [u64; SLOTS],
}

/// Is the port within a range?
#[inline(always)]
pub const fn is_within(range: u32, port: u32) -> bool {
    port >= range >> 16 && port <= range & 0xffff
}

/// The second that a tick belongs to.
#[inline(always)]
pub const fn second(tick: u32) -> u32 {
    tick >> SHIFT
}

/// The place of a second's word.
#[inline(always)]
pub const fn place(second: u32) -> usize {
    second as usize & (SLOTS - 1)
}

/// Counts one more that began in this second: how many that makes.
#[inline(always)]
pub fn begun(word: &impl Word, second: u32) -> u32 {
    let old = word.load();
    let count = if (old >> 32) as u32 == second { old as u32 } else { 0 };
    let new = count.saturating_add(1);
    // Where another CPU counts at the same instant, one of two may be lost: what is asked is only whether there are many.
    word.replace(old, (second as u64) << 32 | new as u64);
    new
}

/// Takes one out again that began in this second; `false` when none is counted there.
#[inline(always)]
pub fn completed(word: &impl Word, second: u32) -> bool {
    let old = word.load();
    (old >> 32) as u32 == second && old as u32 != 0 && word.replace(old, old - 1)
}

/// Those of a word that began within the last [`SLOTS`] seconds.
#[inline(always)]
pub const fn recent(word: u64, now: u32) -> u32 {
    let age = now.wrapping_sub((word >> 32) as u32);
    if age < SLOTS as u32 { word as u32 } else { 0 }
}

/// All that are open.
pub fn open(words: &[u64; SLOTS], now: u32) -> u32 {
    words.iter().fold(0, |sum: u32, word| sum.saturating_add(recent(*word, now)))
}

/// Are cookies sent from now on?
#[inline(always)]
pub const fn goes_on(is_on: bool, open: u32, begin: u32, end: u32) -> bool {
    if is_on { open >= end } else { open >= begin }
}

/// The word that says whether cookies are sent: in its upper half 1 if they are, in its lower one the tick until which they may be
/// brought back when not.
#[inline(always)]
pub const fn state(is_on: bool, tick: u32) -> u64 {
    (is_on as u64) << 32 | tick.wrapping_add(GRACE_TICKS) as u64
}

/// Are cookies sent?
#[inline(always)]
pub const fn is_on(state: u64) -> bool {
    state >> 32 != 0
}

/// May cookies be brought back?
#[inline(always)]
pub const fn is_awaited(state: u64, tick: u32) -> bool {
    is_on(state) || (state != 0 && (state as u32).wrapping_sub(tick) as i32 > 0)
}

/// A segment that asks for a connection.
#[inline(always)]
pub fn is_first(packet: &Packet) -> bool {
    flags(packet) & (SYN | ACK | RST) as u32 == SYN as u32 && is_tcp(packet)
}

/// A segment that may bring a cookie back.
#[inline(always)]
pub fn is_second(packet: &Packet) -> bool {
    flags(packet) & (SYN | ACK | RST) as u32 == ACK as u32 && is_tcp(packet)
}

/// The word of flags of the segment that a cookie was sent for, by that of the one that brings it back.
#[inline(always)]
pub const fn first_flags(flags: u32) -> u32 {
    flags & !0xff | SYN as u32
}

#[inline(always)]
fn flags(packet: &Packet) -> u32 {
    packet.get(Field::TcpFlags)
}

#[inline(always)]
fn is_tcp(packet: &Packet) -> bool {
    flags(packet) >> 16 == u32::from(tcp::PROTOCOL)
}

crate::shared!(Flooding = 12 + 4 * PORTS, Floods = 128);

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    struct Here(Cell<u64>);

    impl Word for Here {
        fn load(&self) -> u64 {
            self.0.get()
        }

        fn replace(&self, old: u64, new: u64) -> bool {
            assert_eq!(self.0.replace(new), old);
            true
        }
    }

    struct Count([Here; SLOTS]);

    impl Count {
        fn new() -> Self {
            Self(core::array::from_fn(|_| Here(Cell::new(0))))
        }

        fn begin(&self, second: u32, times: u32) {
            for _ in 0..times {
                begun(&self.0[place(second)], second);
            }
        }

        fn open(&self, now: u32) -> u32 {
            open(&self.0.each_ref().map(|word| word.0.get()), now)
        }
    }

    #[test]
    fn what_is_completed_is_not_open() {
        let count = Count::new();
        count.begin(100, 5);
        count.begin(103, 2);
        assert_eq!(count.open(103), 7);
        assert!(completed(&count.0[place(100)], 100));
        assert_eq!(count.open(103), 6);
        // That one's second was never counted in, or is over.
        assert!(!completed(&count.0[place(101)], 101));
        assert!(!completed(&count.0[place(92)], 92));
        assert_eq!(count.open(103), 6);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let count = Count::new();
        count.begin(100, 5);
        assert_eq!((count.open(107), count.open(108)), (5, 0));
        count.begin(108, 1);
        assert_eq!(count.open(108), 1);
        // Seconds wrap as ticks do.
        count.begin(u32::MAX, 3);
        assert_eq!(count.open(2), 3);
    }

    #[test]
    fn it_ends_below_where_it_began() {
        assert!(!goes_on(false, 99, 100, 20));
        assert!(goes_on(false, 100, 100, 20));
        assert!(goes_on(true, 20, 100, 20));
        assert!(!goes_on(true, 19, 100, 20));
    }

    #[test]
    fn cookies_come_back_for_a_while() {
        let (on, off) = (state(true, 1000), state(false, 1000));
        assert!(is_on(on) && !is_on(off));
        assert!(is_awaited(on, 5000) && is_awaited(off, 1059) && !is_awaited(off, 1060));
        assert!(!is_awaited(0, 0) && !is_awaited(0, u32::MAX));
    }

    #[test]
    fn ranges_of_ports() {
        let range = (80 << 16) + 90;
        assert_eq!([79, 80, 90, 91].map(|port| is_within(range, port)), [false, true, true, false]);
        assert!((0..=65_535).all(|port| !is_within(Flooding::NO_PORTS, port)));
        assert!((0..=65_535).all(|port| is_within(65_535, port)));
    }
}
