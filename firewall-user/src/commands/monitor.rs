//! `rampart monitor`: a line an event, from before a ruleset is applied, across the next one, until interrupted.

mod lapses;
mod source;
mod until;
mod watch;

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval};

pub(super) use self::{
    source::{Source, interface_name},
    until::Until,
};
use super::{Session, Status};
use crate::{
    cli::{args::Monitor, values::EventFilter},
    kernel,
    observe::{clock::Clock, events::Tale, words::counted},
};

/// How often the program is told that somebody listens, and how soon a ruleset is noticed where there was none.
const PULSE: Duration = Duration::from_millis(500);

pub(super) fn run(session: &Session<'_>, monitor: &Monitor) -> Result<Status> {
    kernel::require_privileges()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let mut show = Show::new(session, &monitor.filters);
    runtime.block_on(follow(&mut show))?;
    session.note(&format!("{}, {} lost", counted(show.count, "event"), show.lost));
    Ok(Status::Done)
}

async fn follow(show: &mut Show<'_>) -> Result<()> {
    let mut until = Until::new()?;
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut source = Source::default();
    loop {
        let ends = tokio::select! {
            biased;
            () = until.end() => true,
            _ = pulse.tick() => {
                source.renew(show)?;
                false
            }
            result = source.readable() => {
                result?;
                false
            }
        };
        source.drain(show)?;
        if ends {
            source.count_lost(show)?;
            return Ok(());
        }
    }
}

/// Whoever is told of events.
pub(super) trait Follower {
    /// One happened.
    fn event(&mut self, tale: &dyn Tale) -> io::Result<()>;
    /// So many more were not sent.
    fn lost(&mut self, more: u64);
    /// That was all for now.
    fn flush(&mut self) -> io::Result<()>;
    /// The time of day, for what comes.
    fn now(&mut self, clock: Clock);
    /// Something worth knowing that is no event.
    fn note(&mut self, text: &str);
}

/// Where events go.
struct Show<'a> {
    session: &'a Session<'a>,
    filters: &'a [EventFilter],
    out: BufWriter<io::Stdout>,
    clock: Clock,
    count: u64,
    lost: u64,
}

impl<'a> Show<'a> {
    fn new(session: &'a Session<'a>, filters: &'a [EventFilter]) -> Self {
        let clock = Clock::new(kernel::monotonic_ns());
        Self { session, filters, out: BufWriter::new(io::stdout()), clock, count: 0, lost: 0 }
    }
}

impl Follower for Show<'_> {
    fn event(&mut self, tale: &dyn Tale) -> io::Result<()> {
        if !tale.is_wanted(self.filters) {
            return Ok(());
        }
        self.count += 1;
        if self.session.global.json {
            writeln!(self.out, "{}", tale.json(self.clock))
        } else {
            writeln!(self.out, "{}", tale.line(self.clock))
        }
    }

    fn lost(&mut self, more: u64) {
        if more > 0 {
            self.lost += more;
            self.session.note(&format!("{} lost: more at once than can be told of", counted(more, "event")));
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn now(&mut self, clock: Clock) {
        self.clock = clock;
    }

    fn note(&mut self, text: &str) {
        self.session.note(text);
    }
}
