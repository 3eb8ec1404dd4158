//! `rampart top`: looks at what is counted, again and again.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use firewall_common::{counter::Counter, flow::Secret};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::read,
};
use ratatui::DefaultTerminal;

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
/// How long the rest of a key may take, milliseconds.
const REST: u8 = 30;

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

/// The signals that end it and would leave the terminal as it is, and that the terminal has another size. Not the one that
/// says that the terminal is gone.
fn signals() -> Result<SignalFd> {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGWINCH]);
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
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() && !view.paused {
        return Ok(false);
    }
    match wait(signals, if view.paused { None } else { Some(left) })? {
        Woken::Nothing => Ok(false),
        Woken::End => Ok(true),
        Woken::Keys(keys) => {
            let press = |press: Press| view.press(press, &reasons(model, view)) == Action::Quit;
            Ok(keys.into_iter().any(press))
        }
    }
}

/// Why a wait is over.
enum Woken {
    /// It is time, or the terminal has another size.
    Nothing,
    /// A signal says so, or the terminal is gone.
    End,
    /// Keys were pressed.
    Keys(Vec<Press>),
}

/// Waits for keys and signals; without a time, for ever. Keys are read here because crossterm 0.29 reads the end of a
/// terminal that is gone again and again, and forgets a key that comes together with another size.
fn wait(signals: &SignalFd, time: Option<Duration>) -> Result<Woken> {
    let input = io::stdin();
    let mut both = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    // A wait that is a little too short shows nothing new, one that is too long keeps the user waiting.
    let time = time.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from).unwrap_or(PollTimeout::MAX);
    match poll(&mut both, time) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Woken::Nothing),
        Err(errno) => return Err(errno).context("waiting for keys"),
    }
    let [_, keys] = both.map(|one| one.revents().unwrap_or(PollFlags::empty()));
    if let Some(signal) = signals.read_signal().context("waiting for signals")? {
        return Ok(if signal.ssi_signo == Signal::SIGWINCH as u32 { Woken::Nothing } else { Woken::End });
    }
    if keys.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return Ok(Woken::End);
    }
    if keys.is_empty() { Ok(Woken::Nothing) } else { read_keys() }
}

fn read_keys() -> Result<Woken> {
    let input = io::stdin();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 256]);
    loop {
        match read(input.as_fd(), &mut chunk) {
            Ok(0) => return Ok(Woken::End),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("reading keys"),
        }
        let mut more = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        // The rest of a key that sends several bytes is on its way.
        if !Press::is_cut(&bytes) || poll(&mut more, REST).unwrap_or(0) == 0 {
            return Ok(Woken::Keys(Press::read(&bytes)));
        }
    }
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
