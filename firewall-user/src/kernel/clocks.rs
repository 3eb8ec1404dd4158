//! How this host's clocks differ, for the program, which can ask for few of them.

use nix::time::{ClockId, clock_gettime};

use crate::language::clock;

/// Seconds that International Atomic Time is ahead of the time of day: 0 until somebody tells the kernel (`adjtimex`).
pub(super) fn atomic_ahead() -> u32 {
    let seconds = |clock| clock_gettime(clock).map(|time| time.tv_sec()).ok();
    // Asked before and behind: within one second both give the same.
    (0..3)
        .find_map(|_| {
            let (before, atomic, after) =
                (seconds(ClockId::CLOCK_REALTIME)?, seconds(ClockId::CLOCK_TAI)?, seconds(ClockId::CLOCK_REALTIME)?);
            if before == after { u32::try_from(atomic - before).ok() } else { None }
        })
        .unwrap_or(0)
}

/// Seconds that the local time is ahead of UTC now, two's complement.
pub(super) fn local_ahead() -> u32 {
    i32::try_from(clock::offset_now()).unwrap_or(0) as u32
}
