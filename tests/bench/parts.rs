//! What a packet costs on a machine that does other work as well.

use std::time::Duration;

/// Packets of a run: few, so that some of the runs of a part are not interrupted by what else the machine does.
pub(crate) const PART: u32 = 512;

/// Nanoseconds of one packet of so many, from what runs so many of them (`with`) and what runs as many without what is measured:
/// of each part the least of `runs` runs, and of those the mean.
pub(crate) fn least_of_parts(
    (packets, runs): (usize, usize),
    with: impl Fn(u32) -> Duration,
    without: impl Fn(u32) -> Duration,
    between_runs: impl Fn(),
) -> u64 {
    let parts = packets / PART as usize;
    let mut least = vec![(Duration::MAX, Duration::MAX); parts];
    for _ in 0..runs {
        between_runs();
        for (all, _) in &mut least {
            *all = (*all).min(with(PART));
        }
        for (_, driver) in &mut least {
            *driver = (*driver).min(without(PART));
        }
    }
    let sum: u128 = least.iter().map(|(all, driver)| all.saturating_sub(*driver).as_nanos()).sum();
    (sum / parts as u128) as u64
}
