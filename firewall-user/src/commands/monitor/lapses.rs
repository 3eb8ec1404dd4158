//! What ends because nobody prolonged it: bans, and rulesets that were not confirmed. Programs act by the time alone, so whoever reads events
//! looks, and tells what it finds.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::kernel::{Applying, Banned, Happening, Instance, KernelError, Outcome, What};

/// What there was at the last look.
#[derive(Debug)]
pub(super) struct Lapses {
    /// Bans that end, and until when they last.
    bans: HashMap<String, Instant>,
    /// The generation that was not confirmed, of which is known.
    lapsed: Option<u32>,
    /// Reading many bans takes its time: a tenth of it at most.
    next: Instant,
}

/// A ban ends with a tick of the table's clock: so much earlier than is said of it.
const SLACK: Duration = Duration::from_millis(270);

impl Lapses {
    /// What ends from now on.
    pub(super) fn of(instance: &Instance) -> Result<Self, KernelError> {
        let mut lapses = Self { bans: HashMap::new(), lapsed: instance.lapsed()?, next: Instant::now() };
        lapses.look_at_bans(instance)?;
        Ok(lapses)
    }

    /// What has ended since the last look.
    pub(super) fn look(&mut self, instance: &Instance) -> Result<Vec<Happening>, KernelError> {
        let mut ended = Vec::new();
        let lapsed = instance.lapsed()?;
        if let Some(generation) = lapsed.filter(|_| lapsed != self.lapsed) {
            let rules = instance.manifest().map_or(0, |manifest| manifest.rules.len() as u64);
            let error = Some(format!("generation {generation} was not confirmed in time"));
            ended.push(What::Apply(Applying { rules, error, ..Applying::of(Outcome::RolledBack) }));
        }
        self.lapsed = lapsed;
        if Instant::now() >= self.next {
            ended.extend(self.look_at_bans(instance)?.into_iter().map(|source| What::Unban { source }));
        }
        let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let generation = instance.generation()?;
        Ok(ended
            .into_iter()
            .map(|what| Happening { number: 0, time_ns, generation, by: String::new(), what })
            .collect())
    }

    /// Whose time was over: the others that are gone were lifted.
    fn look_at_bans(&mut self, instance: &Instance) -> Result<Vec<String>, KernelError> {
        let begun = Instant::now();
        let there = instance.bans()?;
        self.next = begun + begun.elapsed() * 10;
        let until = |one: Banned| Some((one.ban.source.to_string(), begun + one.left?));
        let there: HashMap<String, Instant> = there.into_iter().filter_map(until).collect();
        let before = std::mem::replace(&mut self.bans, there);
        let is_over = |(source, until): &(String, Instant)| !self.bans.contains_key(source) && *until <= begun + SLACK;
        Ok(before.into_iter().filter(is_over).map(|(source, _)| source).collect())
    }
}
