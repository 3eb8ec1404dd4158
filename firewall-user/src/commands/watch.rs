//! Watching live packets: what `trace` and `capture` share.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use firewall_common::{
    event::{Event, Kind},
    trail::{ASKED, ONLY_DROPPED, SNAP, Trail, TrailFilter},
};
use tokio::time::sleep;

use super::monitor::{Until, interface_name};
use crate::{
    cli::values::EventFilter,
    compile::Manifest,
    kernel::Instance,
    observe::{
        events::{Seen, Tale},
        packet::event_of,
    },
};

/// How often the ring is looked at.
const PULSE: Duration = Duration::from_millis(20);
/// Records that a CPU may send in a tick of 268 ms.
pub(super) const PER_TICK: u32 = 256;

/// What is watched for, and how long.
pub(super) struct Wish<'a> {
    pub(super) filters: &'a [EventFilter],
    pub(super) flags: u32,
    pub(super) snap: u32,
    pub(super) per_tick: u32,
    pub(super) count: u64,
    pub(super) time: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    pub(super) seen: u64,
    pub(super) lost: u64,
    pub(super) replaced: bool,
}

impl End {
    /// What is worth saying of it.
    pub(super) const fn because(self) -> &'static str {
        if self.replaced { "; another ruleset was put in force" } else { "" }
    }
}

/// Hands every trail that is wished for to `each`, with the ruleset and the name of the interface.
pub(super) fn watch(
    instance: &Instance,
    wish: &Wish<'_>,
    each: impl FnMut(&Trail, &Manifest, &str) -> Result<()>,
) -> Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(follow(instance, wish, each))
}

async fn follow(
    instance: &Instance,
    wish: &Wish<'_>,
    mut each: impl FnMut(&Trail, &Manifest, &str) -> Result<()>,
) -> Result<End> {
    let mut until = Until::new()?;
    let mut watch = instance.watch(coarse(wish), wish.time)?;
    let manifest = instance.manifest_of(watch.generation())?;
    let mut names: HashMap<u32, String> = HashMap::new();
    let mut end = End::default();
    let end_at = Instant::now() + wish.time;
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            biased;
            () = until.end() => is_over = true,
            () = sleep(PULSE) => is_over = Instant::now() >= end_at,
        }
        while let Some(trail) = watch.next().filter(|_| end.seen < wish.count) {
            let ifindex = trail.packet.interface(trail.path != 0);
            let name = names.entry(ifindex).or_insert_with(|| interface_name(ifindex));
            if is_wanted(&trail, &manifest, name, wish.filters) {
                end.seen += 1;
                each(&trail, &manifest, name)?;
            }
        }
        end.replaced = !watch.is_in_force();
        is_over |= end.replaced || end.seen >= wish.count;
    }
    end.lost = watch.lost()?;
    Ok(end)
}

/// As much of the wish as the program looks at itself: of each kind of filter, one that stands alone.
fn coarse(wish: &Wish<'_>) -> TrailFilter {
    let mut filter = TrailFilter {
        flags: wish.flags,
        per_tick: wish.per_tick,
        snap: wish.snap.min(SNAP as u32),
        ..TrailFilter::default()
    };
    let only = |same: fn(&EventFilter) -> bool| {
        let mut found = wish.filters.iter().filter(|filter| same(filter));
        found.next().filter(|_| found.next().is_none())
    };
    if let Some(EventFilter::Protocol(protocol)) = only(|filter| matches!(filter, EventFilter::Protocol(_))) {
        filter.protocol = u32::from(*protocol) | ASKED;
    }
    if let Some(EventFilter::SourcePort(port)) = only(|filter| matches!(filter, EventFilter::SourcePort(_))) {
        filter.source_port = u32::from(*port) | ASKED;
    }
    if let Some(EventFilter::DestinationPort(port)) = only(|filter| matches!(filter, EventFilter::DestinationPort(_))) {
        filter.destination_port = u32::from(*port) | ASKED;
    }
    if let Some(EventFilter::Source(prefix)) = only(|filter| matches!(filter, EventFilter::Source(_))) {
        (filter.nfproto, filter.source, filter.source_mask) = prefix.words();
    }
    if let Some(EventFilter::Destination(prefix)) = only(|filter| matches!(filter, EventFilter::Destination(_))) {
        (filter.nfproto, filter.destination, filter.destination_mask) = prefix.words();
    }
    let is_drop = |filter: &EventFilter| {
        matches!(filter, EventFilter::Kind(Kind::Dropped) | EventFilter::Reason(_) | EventFilter::Layer(_))
    };
    if wish.filters.iter().any(is_drop) {
        filter.flags |= ONLY_DROPPED;
    }
    filter
}

/// The rest of the wish, as `monitor` looks at events.
fn is_wanted(trail: &Trail, manifest: &Manifest, name: &str, filters: &[EventFilter]) -> bool {
    let event = Event {
        kind: if trail.verdict == 0 { Kind::New } else { Kind::Dropped } as u32,
        reason: trail.verdict,
        rule: trail.rule,
        hook: trail.hook,
        generation: trail.generation,
        ..event_of(&trail.packet)
    };
    Seen::new(&event, name, Some(manifest)).is_some_and(|seen| seen.is_wanted(filters))
}
