//! Backends are looked at, and the maps of the ruleset written by what was seen.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    balance::{
        check::Check,
        health::Health,
        share::{self, Candidate, Choose},
    },
    commands::{complain, set},
    config::{Backend, Balance, Balances, Kind},
    kernel::{self, Instance, Journal, KernelError, What},
    observe::{conns::Conn, metrics::BackendState},
};

/// How often it is asked what is in force and what is due.
const PULSE: Duration = Duration::from_millis(100);
/// How often connections are counted for those that want the least.
const COUNT: Duration = Duration::from_secs(1);

/// What is known of all backends, for who asks for metrics.
pub(super) type Board = Arc<Mutex<Vec<BackendState>>>;

/// Looks after backends for as long as the process lives.
pub(super) fn start(board: Board) -> std::io::Result<()> {
    let work = move || {
        let mut keeper = Keeper::new(board);
        loop {
            keeper.beat();
            thread::sleep(PULSE);
        }
    };
    thread::Builder::new().name("balance".to_owned()).spawn(work).map(drop)
}

/// Somebody that is looked at.
struct Watched {
    backend: Backend,
    health: Health,
    /// When it is looked at again; none while somebody looks.
    due: Option<Instant>,
    connections: u64,
}

/// A map and its backends.
struct Group {
    settings: Balance,
    watched: Vec<Watched>,
    /// What was known when the map was written last, of each backend: is it up, how many connections it has.
    known: Option<Vec<(bool, u64)>>,
    /// What was written then: for each key of the map a backend.
    written: Vec<usize>,
    counted: Option<Instant>,
}

/// What a look at a backend came to: its map, its number, the error if there was one.
type Seen = (String, usize, std::result::Result<(), String>);

struct Keeper {
    generation: Option<u32>,
    groups: BTreeMap<String, Group>,
    board: Board,
    seen: (Sender<Seen>, Receiver<Seen>),
    /// The last thing that went wrong, which is said once.
    problem: Option<String>,
}

impl Keeper {
    fn new(board: Board) -> Self {
        Self { generation: None, groups: BTreeMap::new(), board, seen: channel(), problem: None }
    }

    fn beat(&mut self) {
        let problem = match self.work() {
            Ok(()) => None,
            // Somebody is just changing it: next time.
            Err(error) if matches!(error.downcast_ref(), Some(KernelError::Locked { .. })) => return,
            Err(error) => Some(format!("{error:#}")),
        };
        if problem != self.problem {
            if let Some(problem) = &problem {
                complain(&format!("rampart: agent: backends: {problem}\n"));
            }
            self.problem = problem;
        }
    }

    fn work(&mut self) -> Result<()> {
        let instance = match Instance::open() {
            Ok(instance) => instance,
            Err(KernelError::NotRunning) => {
                (self.generation, self.groups) = (None, BTreeMap::new());
                self.tell();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.follow(&instance)?;
        while let Ok(seen) = self.seen.1.try_recv() {
            self.learn(&seen);
        }
        self.look();
        for (name, group) in &mut self.groups {
            if group.settings.choose == Choose::LeastConnections {
                group.count(&instance)?;
            }
            group.write(name, &instance)?;
        }
        self.tell();
        Ok(())
    }

    /// Takes over the settings of the ruleset in force. What is known of a backend stays.
    fn follow(&mut self, instance: &Instance) -> Result<()> {
        let generation = instance.generation()?;
        if self.generation == Some(generation) {
            return Ok(());
        }
        let settings: Balances = instance.manifest_of(generation)?.config.balance;
        let mut before = std::mem::take(&mut self.groups);
        for (name, settings) in settings {
            let known = before.remove(&name).map(|group| group.watched).unwrap_or_default();
            self.groups.insert(name, Group::new(settings, &known));
        }
        self.generation = Some(generation);
        Ok(())
    }

    fn learn(&mut self, (name, number, result): &Seen) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let (thresholds, interval) = (group.settings.thresholds(), group.settings.interval());
        let Some(watched) = group.watched.get_mut(*number) else { return };
        watched.due = Some(Instant::now() + interval);
        if !watched.health.learn(result.is_ok(), thresholds) {
            return;
        }
        let why = result.as_ref().err().map_or_else(String::new, |error| format!(" ({error})"));
        let is_up = watched.health.is_up;
        let what = if is_up { "up" } else { "down" };
        let told = What::Backend {
            map: name.clone(),
            backend: watched.backend.to_string(),
            is_up,
            error: result.as_ref().err().cloned(),
        };
        if let Ok(journal) = Journal::here() {
            let _ = journal.tell(told);
        }
        complain(&format!("rampart: agent: backend {} of {name} is {what}{why}\n", watched.backend));
    }

    /// Looks at those that are due, each in a thread of its own: a look may take as long as it may.
    fn look(&mut self) {
        let now = Instant::now();
        for (name, group) in &mut self.groups {
            let Some(check) = group.settings.check() else { continue };
            let timeout = Duration::from_millis(group.settings.timeout_ms.0.into());
            for (number, watched) in group.watched.iter_mut().enumerate() {
                let Some(due) = watched.due.filter(|due| *due <= now) else { continue };
                let Some(target) = group.settings.target(&watched.backend) else { continue };
                let (check, name, seen) = (check.clone(), name.clone(), self.seen.0.clone());
                let work = move || {
                    let result = check.look(target, timeout).map_err(|error| error.to_string());
                    // Nobody is there any more: the process ends.
                    let _ = seen.send((name, number, result));
                };
                watched.due = None;
                if thread::Builder::new().name("backend".to_owned()).spawn(work).is_err() {
                    watched.due = Some(due + PULSE);
                }
            }
        }
    }

    fn tell(&self) {
        let states = self.groups.iter().flat_map(|(name, group)| {
            let places = |number| group.written.iter().filter(|place| **place == number).count() as u64;
            group.watched.iter().enumerate().map(move |(number, watched)| BackendState {
                map: name.clone(),
                backend: watched.backend.to_string(),
                is_up: watched.health.is_up,
                places: places(number),
            })
        });
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = states.collect();
    }
}

impl Balance {
    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.0.into())
    }

    fn check(&self) -> Option<Check> {
        match self.check {
            Kind::None => None,
            Kind::Tcp => Some(Check::Tcp),
            Kind::Http => Some(Check::Http { path: self.path.clone(), host: self.host.clone(), status: self.status }),
        }
    }

    fn target(&self, backend: &Backend) -> Option<SocketAddr> {
        let port = self.check_port.or(backend.port)?;
        Some(SocketAddr::new(backend.address, port))
    }
}

impl Group {
    fn new(settings: Balance, known: &[Watched]) -> Self {
        let watched = settings.backends.iter().map(|backend| {
            let known =
                known.iter().find(|one| (one.backend.address, one.backend.port) == (backend.address, backend.port));
            let health = known.map_or(Health::UNKNOWN, |known| known.health);
            Watched { backend: backend.clone(), health, due: Some(Instant::now()), connections: 0 }
        });
        Self { watched: watched.collect(), settings, known: None, written: Vec::new(), counted: None }
    }

    /// Connections of each backend that are in the table.
    fn count(&mut self, instance: &Instance) -> Result<()> {
        if self.counted.is_some_and(|counted| counted.elapsed() < COUNT) {
            return Ok(());
        }
        let mut counts: BTreeMap<(IpAddr, u16), u64> = BTreeMap::new();
        for flow in instance.flows()? {
            let flow = flow?;
            let seen = Conn::new(flow.slot, &flow.entry, kernel::tick()).behind(flow.answers.as_ref());
            if let Some((_, server)) = seen.translated {
                *counts.entry((server.address, server.port)).or_default() += 1;
            }
        }
        for watched in &mut self.watched {
            let Backend { address, port, .. } = watched.backend;
            let is_it = |end: &(IpAddr, u16)| end.0 == address && port.is_none_or(|port| port == end.1);
            watched.connections = counts.iter().filter(|(end, _)| is_it(end)).map(|(_, count)| count).sum();
        }
        self.counted = Some(Instant::now());
        Ok(())
    }

    /// Writes the map if anything is known now that was not when it was written last.
    fn write(&mut self, name: &str, instance: &Instance) -> Result<()> {
        let known = self.watched.iter().map(|watched| (watched.health.is_up, watched.connections)).collect();
        if self.known.as_ref() == Some(&known) {
            return Ok(());
        }
        let names: Vec<String> = self.watched.iter().map(|watched| watched.backend.to_string()).collect();
        let candidate = |(watched, name)| {
            let Watched { backend, health, connections, .. }: &Watched = watched;
            Candidate { name, weight: backend.weight, is_up: health.is_up, connections: *connections }
        };
        let candidates: Vec<Candidate<'_>> =
            self.watched.iter().zip(names.iter().map(String::as_str)).map(candidate).collect();
        let size = self.settings.places.0 as usize;
        let Some(places) = share::places(self.settings.choose, &candidates, size) else { return Ok(()) };
        let is_new = self.known.is_none() || self.written != places;
        if is_new {
            self.put(name, &places, instance)?;
        }
        (self.known, self.written) = (Some(known), places);
        Ok(())
    }

    /// Gives the map a backend for each key.
    fn put(&self, name: &str, places: &[usize], instance: &Instance) -> Result<()> {
        let values = places.iter().map(|place| self.watched[*place].backend.value());
        let map: Vec<String> =
            self.settings.map.as_deref().unwrap_or(name).split_whitespace().map(str::to_owned).collect();
        let elements: Vec<String> = values.enumerate().map(|(key, value)| format!("{key} : {value}")).collect();
        set::write(instance, &map, &elements)
    }
}
