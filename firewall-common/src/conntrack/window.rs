//! Which sequence and acknowledgement numbers a segment of a connection can have.
//!
//! Source: Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (SANE 2000), in the form that
//! `nf_conntrack` gave it (`tcp_in_window` in `net/netfilter/nf_conntrack_proto_tcp.c`, Linux 6.18): a segment has to
//! touch the window, not to lie in it. For the sender `S` of a segment and its receiver `R`, a segment is in the window
//! when
//!
//! ```text
//! I.    seq       <=  S.max_end                         R has said that it has room for its first byte
//! II.   seq + len >=  S.end - R.max_win                 it is not older than R's largest window
//! III.  ack       <=  R.end                             it acknowledges nothing that R has not sent
//! IV.   ack       >=  R.end - max(S.max_win, 66000)     nor what R has long had acknowledged
//! ```
//!
//! All numbers are modulo 2^32: of two numbers less than 2^31 apart, [`before`] knows the earlier one.
//!
//! Selective acknowledgements are not read. `nf_conntrack` puts the highest number they name in the place of `ack` in
//! III and IV and in what the sender allows. That number is never before `ack`: without it III accepts a little more and
//! IV a little less, and what a sender may send ends at `ack + window`, whatever else was received (RFC 2018 section 3).

/// What is known of one direction of a connection: of the sender of that direction.
///
/// Numbers are as on the wire, `max_win` in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Window {
    /// Behind the last byte it sent: the highest `seq + len`.
    pub end: u32,
    /// Behind the last byte that its peer has room for: the highest `ack + window` of the other direction.
    pub max_end: u32,
    /// The highest acknowledgement it sent; meaningful with [`Terms::ACKED`].
    pub max_ack: u32,
    /// The largest window it offered; 0: nothing was seen of it.
    pub max_win: u32,
}

crate::shared!(Window = 16);

/// What one direction of a connection was opened with, and what is known of it beside its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Terms(pub u8);

impl Terms {
    /// Nothing was offered, nothing is known.
    pub const NONE: Self = Self(0);
    /// It offered window scaling (RFC 7323 section 2).
    pub const SCALES: Self = Self(0x10);
    /// Its windows are not known for certain: segments outside them are accepted.
    pub const LIBERAL: Self = Self(0x20);
    /// It has acknowledged something.
    pub const ACKED: Self = Self(0x40);
    /// Something is noted about the connection that the next segment has to be compared with (an aside).
    pub const NOTED: Self = Self(0x80);

    /// Window scaling by `shift` was offered. More than 14 counts as 14 (RFC 7323 section 2.3).
    #[inline(always)]
    pub const fn scaling(shift: u8) -> Self {
        Self(Self::SCALES.0 | if shift > 14 { 14 } else { shift })
    }

    /// How far windows are to be shifted.
    #[inline(always)]
    pub const fn scale(self) -> u32 {
        self.0 as u32 & 15
    }

    /// The same without scaling, for a connection of which not both sides offered it.
    #[inline(always)]
    #[must_use]
    pub const fn unscaled(self) -> Self {
        Self(self.0 & !15)
    }

    /// Are all of `bits` set?
    #[inline(always)]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// With these set as well.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    /// With these not set.
    #[inline(always)]
    #[must_use]
    pub const fn without(self, bits: Self) -> Self {
        Self(self.0 & !bits.0)
    }
}

/// The numbers of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Sequence number behind its last one; SYN and FIN count as one each.
    pub end: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window, scaled.
    pub window: u32,
}

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the window.
    In,
    /// Beyond what the receiver has room for, but by less than a window, and right in all else: some stacks send more
    /// than they may. The segment belongs to the connection and says nothing about it, except that it was sent.
    Over,
    /// Old: the receiver will answer it with where it stands (RFC 9293 section 3.10.7.4). The segment belongs to the
    /// connection and says nothing about it.
    Under,
    /// Not of this connection.
    Out,
}

/// Does `a` come before `b`, modulo 2^32?
#[inline(always)]
pub(super) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The later one of two numbers, modulo 2^32.
#[inline(always)]
const fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// How far back an acknowledgement may reach in equation IV, at least (`nf_conntrack`'s `MAXACKWINCONST`).
const ACK_REACH: u32 = 66_000;

/// The largest window there is: 65,535 shifted by 14 (RFC 7323 section 2.2) is just below it.
const LARGEST: u32 = 1 << 30;

/// Equations I to IV.
#[inline(always)]
pub(super) const fn place(sender: &Window, receiver: &Window, numbers: &Numbers) -> Place {
    let Numbers { seq, end, ack, window: _ } = *numbers;
    let first = !before(sender.max_end, seq);
    let second = receiver.max_win == 0 || !before(end, sender.end.wrapping_sub(receiver.max_win));
    let third = !before(receiver.end, ack);
    let reach = if sender.max_win > ACK_REACH { sender.max_win } else { ACK_REACH };
    let fourth = !before(ack, receiver.end.wrapping_sub(reach));
    if first && third {
        return if second && fourth { Place::In } else { Place::Under };
    }
    let overshot = end.wrapping_sub(sender.max_end).wrapping_add(1);
    if !first && receiver.max_win != 0 && second && third && fourth && overshot <= receiver.max_win {
        Place::Over
    } else {
        Place::Out
    }
}

/// Both windows after a segment that lies in them: the sender's, the receiver's.
#[inline(always)]
pub(super) const fn advance(sender: &Window, receiver: &Window, numbers: &Numbers) -> (Window, Window) {
    let Numbers { seq: _, end, ack, window } = *numbers;
    let mut sender_after = *sender;
    let mut receiver_after = *receiver;
    sender_after.end = later(sender.end, end);
    sender_after.max_ack = later(sender.max_ack, ack);
    if window > sender.max_win {
        sender_after.max_win = window;
    }
    if receiver.max_win != 0 && before(sender.max_end, end) {
        // It reaches beyond the window, so the receiver's is larger than it was thought to be.
        let wider = receiver.max_win.wrapping_add(end.wrapping_sub(sender.max_end));
        receiver_after.max_win = if wider > LARGEST { LARGEST } else { wider };
    }
    // A window of 0 lets one byte pass, to ask whether it still is (RFC 9293 section 3.8.6.1).
    let allowed = ack.wrapping_add(window);
    if !before(allowed, receiver.max_end) {
        receiver_after.max_end = if window == 0 { allowed.wrapping_add(1) } else { allowed };
    }
    (sender_after, receiver_after)
}

#[cfg(test)]
mod tests;
