//! `rampart top`: looks at what is counted, again and again.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use firewall_common::{counter::Counter, flow::Secret};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use super::{No, OUTPUT, Session, Status, counters, print_json};
use crate::{
    cli::observing::Top,
    kernel::{self, Instance, KernelError},
    observe::{
        clock::Clock,
        conns::Conn,
        top::{Action, Connection, Look, Model, Press, Sample, View, draw, reasons},
    },
};

/// Of a list, in JSON.
const MOST: usize = 20;
/// The share of the time that may be spent on reading connections, of which there may be a million: a tenth.
const SHARE: u32 = 10;
/// How soon a signal is noticed.
const SOON: Duration = Duration::from_millis(200);

pub(super) fn run(session: &Session<'_>, top: &Top) -> Result<Status> {
    kernel::require_privileges()?;
    let mut eye = Eye::default();
    if session.global.json {
        // What is in force has to be there: a program does not wait for it.
        eye.look()?;
        return lines(&mut eye, top);
    }
    if !session.terminal.stdout {
        return Err(No("standard output is no terminal; `rampart top --json` prints the same".to_owned()).into());
    }
    let signals = signals()?;
    let mut terminal = ratatui::try_init().context(OUTPUT)?;
    let result = watch(&mut terminal, &mut eye, &signals, top, session.terminal.colour);
    ratatui::try_restore().context(OUTPUT)?;
    result.map(|()| Status::Done)
}

/// An object a line.
fn lines(eye: &mut Eye, top: &Top) -> Result<Status> {
    let mut count = 0;
    while top.count.is_none_or(|most| count < most) {
        std::thread::sleep(top.interval);
        eye.look()?;
        print_json(&eye.model.json(MOST))?;
        count += 1;
    }
    Ok(Status::Done)
}

/// The signals that end it, which would leave the terminal as it is.
fn signals() -> Result<SignalFd> {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    set.thread_block().context("cannot wait for signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).context("cannot wait for signals")
}

fn watch(terminal: &mut DefaultTerminal, eye: &mut Eye, signals: &SignalFd, top: &Top, colour: bool) -> Result<()> {
    let mut view = View::default();
    let mut due = Instant::now();
    let mut count = 0;
    loop {
        if Instant::now() >= due && !view.paused {
            if top.count.is_some_and(|most| count >= most) {
                return Ok(());
            }
            match eye.look() {
                // There may be something soon.
                Err(KernelError::NotRunning | KernelError::Locked { .. }) => eye.model = Model::default(),
                result => result?,
            }
            due = Instant::now() + top.interval;
            count += 1;
        }
        let look = Look { colour, clock: Clock::new(kernel::monotonic_ns()) };
        terminal.draw(|frame| draw(frame, &eye.model, &view, look)).context(OUTPUT)?;
        if ends(&mut view, &eye.model, due, signals)? {
            return Ok(());
        }
    }
}

/// Waits for a key, until it is time to look again. Is it the end?
fn ends(view: &mut View, model: &Model, due: Instant, signals: &SignalFd) -> Result<bool> {
    loop {
        if signals.read_signal().context("waiting for signals")?.is_some() {
            return Ok(true);
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() && !view.paused {
            return Ok(false);
        }
        let wait = if view.paused { SOON } else { left.min(SOON) };
        match event::poll(wait).and_then(|ready| if ready { event::read().map(Some) } else { Ok(None) }) {
            Ok(None) => {}
            Ok(Some(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                let Some(press) = press(key) else { continue };
                return Ok(view.press(press, &reasons(model, view)) == Action::Quit);
            }
            // Its size is another one, for instance.
            Ok(Some(_)) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading keys"),
        }
    }
}

fn press(key: KeyEvent) -> Option<Press> {
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Press::Interrupt,
        KeyCode::Char(character) => Press::Character(character),
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Escape,
        KeyCode::Backspace => Press::Backspace,
        KeyCode::Up => Press::Up,
        KeyCode::Down => Press::Down,
        KeyCode::Tab | KeyCode::Right => Press::Next,
        KeyCode::BackTab | KeyCode::Left => Press::Previous,
        _ => return None,
    })
}

/// Who looks.
#[derive(Default)]
pub(super) struct Eye {
    /// What is known.
    pub(super) model: Model,
    /// What tells the instance from another one in its place.
    secret: Option<Secret>,
    /// When connections are read again.
    connections_due: Option<Instant>,
    /// The first counter of each rule: its number, its slot.
    slots: Vec<(u32, u32)>,
}

impl Eye {
    /// Reads all there is.
    pub(super) fn look(&mut self) -> Result<(), KernelError> {
        let instance = Instance::open()?;
        let generation = instance.generation()?;
        let secret = Some(instance.control()?.secret);
        if (generation, secret) != (self.model.generation, self.secret) {
            if secret != self.secret {
                (self.model, self.secret) = (Model::default(), secret);
            }
            let manifest = instance.manifest_of(generation)?;
            let first = manifest.rules.iter().filter_map(|rule| Some((rule.number, rule.counters.first()?.slot)));
            self.slots = first.collect();
            self.model.put_in_force(generation, manifest);
        }
        let counted = instance.rule_counters(self.slots.iter().map(|(_, slot)| *slot))?;
        let rules: HashMap<_, _> =
            self.slots.iter().filter_map(|(rule, slot)| Some((*rule, *counted.get(slot)?))).collect();
        let connections = self.connections(&instance)?;
        self.model.take(Sample {
            at_ns: kernel::monotonic_ns(),
            interfaces: counters::read(&instance, &[])?,
            rules,
            connections,
            capacity: u64::from(instance.flow_capacity()),
            drops: instance.ledger()?,
            lost: instance.lost_events()?,
        });
        Ok(())
    }

    /// The connections, unless there are so many that it is too soon to read them again.
    fn connections(&mut self, instance: &Instance) -> Result<Option<Vec<Connection>>, KernelError> {
        let begun = Instant::now();
        if self.connections_due.is_some_and(|due| begun < due) {
            return Ok(None);
        }
        let now = kernel::tick();
        let mut all = Vec::new();
        for flow in instance.flows()? {
            let flow = flow?;
            let conn = Conn::new(flow.slot, &flow.entry, now);
            let sum = |[one, other]: [u64; 2]| one.saturating_add(other);
            all.push(Connection {
                id: (flow.entry.key, flow.entry.created),
                state: conn.state.name(),
                source: conn.source.address,
                destination: conn.destination.address,
                counted: Counter { packets: sum(conn.packets), bytes: sum(conn.bytes) },
            });
        }
        self.connections_due = Some(begun + begun.elapsed() * SHARE);
        Ok(Some(all))
    }
}
