//! What commands and the agent tell of: a file of lines beside the locks, which every reader of events reads for itself.
//!
//! Not the ring of the kernel: programs alone write there, and what one has read is gone for others. And not a map: a ruleset
//! that was refused before there was an instance is told as well, and texts have any length. The file is begun anew when
//! it is large and one old one is kept, so it is bounded; each line has a number, so a reader that was too slow knows how
//! many it missed.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use firewall_common::event::Kind;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::{Uid, User},
};
use serde::{Deserialize, Serialize};

use super::{Instance, KernelError, pins::Pins};

/// Bytes of a file before it is begun anew.
const MOST: u64 = 256 << 10;
/// Of the end of a file, what is read to find the number of its last line.
const TAIL: u64 = 16 << 10;
/// Only its owner and group may read.
const MODE: u32 = 0o640;

/// Something that a command did, or the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// Its number, one more than that of the one before.
    pub number: u64,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// The generation in force afterwards, 0 for none.
    pub generation: u32,
    /// Who did it: a user's name, that of the one who used `sudo`.
    pub by: String,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A ruleset was put in force, or was not.
    Apply(Applying),
    /// A source was banned.
    Ban {
        /// Whose packets.
        source: String,
        /// For how long; none: until it is lifted.
        seconds: Option<u64>,
        /// Why.
        reason: String,
        /// Was it not banned before?
        is_new: bool,
    },
    /// A ban was lifted.
    Unban {
        /// Whose packets.
        source: String,
    },
    /// A backend answers, or does not.
    Backend {
        /// The map that it is a value of.
        map: String,
        /// Its address.
        backend: String,
        /// Does it answer?
        is_up: bool,
        /// Why not.
        error: Option<String>,
    },
    /// A flood has begun, or is over.
    Flood {
        /// Has it begun?
        is_on: bool,
        /// The drop reason that its packets have.
        reason: String,
        /// What was counted.
        counted: u64,
        /// From how many on it is a flood.
        threshold: u64,
    },
}

/// A change of the ruleset in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applying {
    /// What became of it.
    pub result: Outcome,
    /// The file, where there is one.
    pub file: Option<String>,
    /// How many rules are in force then.
    pub rules: u64,
    /// How long it took.
    pub seconds: f64,
    /// Must it be confirmed, and within how many seconds?
    pub confirm_within: Option<f64>,
    /// What is wrong with it, if it was refused.
    pub error: Option<String>,
}

impl Applying {
    /// A change of which nothing more is to be said.
    pub const fn of(result: Outcome) -> Self {
        Self { result, file: None, rules: 0, seconds: 0.0, confirm_within: None, error: None }
    }
}

/// What became of a change of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The ruleset is in force.
    Applied,
    /// It is not; the one before is.
    Refused,
    /// One that waited for it stays.
    Confirmed,
    /// The one before is in force again.
    RolledBack,
    /// Nothing is in force any more.
    Stopped,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Refused, Self::Confirmed, Self::RolledBack, Self::Stopped];

    /// The word used in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Confirmed => "confirmed",
            Self::RolledBack => "rolled_back",
            Self::Stopped => "stopped",
        }
    }
}

impl What {
    /// The kind of event.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Apply(_) => Kind::Apply,
            Self::Ban { .. } => Kind::Ban,
            Self::Unban { .. } => Kind::Unban,
            Self::Backend { is_up: true, .. } => Kind::BackendUp,
            Self::Backend { is_up: false, .. } => Kind::BackendDown,
            Self::Flood { is_on: true, .. } => Kind::FloodOn,
            Self::Flood { is_on: false, .. } => Kind::FloodOff,
        }
    }
}

/// Files of one network namespace.
#[derive(Clone, Debug)]
pub struct Journal {
    pins: Pins,
}

impl Instance {
    /// Where what was done is told.
    pub fn journal(&self) -> Journal {
        Journal { pins: self.pins.clone() }
    }
}

impl Journal {
    /// That of this network namespace, whether there is an instance or not.
    pub fn here() -> Result<Self, KernelError> {
        Pins::here().map(|pins| Self { pins })
    }

    fn path(&self) -> PathBuf {
        self.pins.lock("journal")
    }

    /// Tells of it. What was done is done: that it cannot be told (a full disk) must not keep anybody from changing a
    /// firewall, and is for the caller to say.
    pub fn tell(&self, what: What) -> io::Result<()> {
        let generation = Instance::open().and_then(|instance| instance.generation()).unwrap_or(0);
        let is_change = matches!(what, What::Apply(_));
        let happening = Happening { number: 0, time_ns: now(), generation, by: user(), what };
        let told = write(&self.path(), happening)?;
        // For itself, so that however many bans there are it is known: of whom what was applied last.
        if is_change { replace(&self.last_path(), &told) } else { Ok(()) }
    }

    /// The last change of the ruleset in force, or attempt at one.
    pub fn last_change(&self) -> Option<Happening> {
        let text = fs::read_to_string(self.last_path()).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn last_path(&self) -> PathBuf {
        self.pins.lock("applied")
    }

    /// Reads what is told from now on.
    pub fn reader(&self) -> Tales {
        Tales::open(self.path())
    }
}

/// Names of files of an instance that go when it goes.
pub(super) const FILES: [&str; 3] = ["journal", "journal.old", "applied"];

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Who this process works for.
fn user() -> String {
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    let own = || User::from_uid(Uid::current()).ok().flatten().map(|user| user.name);
    sudo.or_else(own).unwrap_or_else(|| Uid::current().to_string())
}

fn open_to_append(path: &Path) -> io::Result<Flock<File>> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    loop {
        let file = OpenOptions::new().create(true).append(true).read(true).mode(MODE).open(path)?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        // It may have been begun anew while the lock was waited for.
        if fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
            return Ok(file);
        }
    }
}

/// Adds a line, and gives it its number.
fn write(path: &Path, mut happening: Happening) -> io::Result<String> {
    let mut file = open_to_append(path)?;
    let (last, is_torn) = end(&mut file)?;
    happening.number = last + 1;
    let line = serde_json::to_string(&happening)?;
    // One that was killed in the middle of its line has told nothing.
    let text = format!("{}{line}\n", if is_torn { "\n" } else { "" });
    if file.metadata()?.len() > MOST {
        fs::rename(path, path.with_extension("journal.old"))?;
        let mut fresh = open_to_append(path)?;
        fresh.write_all(format!("{line}\n").as_bytes())?;
    } else {
        file.write_all(text.as_bytes())?;
    }
    Ok(line)
}

/// The number of the last line, and whether the file ends within one.
fn end(file: &mut File) -> io::Result<(u64, bool)> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let number = text.lines().rev().find_map(|line| serde_json::from_str::<Happening>(line).ok()).map(|one| one.number);
    Ok((number.unwrap_or(0), !bytes.is_empty() && !bytes.ends_with(b"\n")))
}

/// Puts a file in the place of another, whole or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("applied.new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)
}

/// A reader of a journal, from where it was when this one began.
pub struct Tales {
    path: PathBuf,
    file: Option<File>,
    /// What was read and is no whole line yet.
    rest: Vec<u8>,
    found: VecDeque<Happening>,
    /// The number of the last one that was read.
    last: Option<u64>,
    lost: u64,
    /// Says when the directory changes; none where that cannot be had: then it is looked at now and then.
    watch: Option<Inotify>,
    is_watching: bool,
}

impl Tales {
    fn open(path: PathBuf) -> Self {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        let mut tales = Self {
            path,
            file: None,
            rest: Vec::new(),
            found: VecDeque::new(),
            last: None,
            lost: 0,
            watch,
            is_watching: false,
        };
        tales.look();
        // What is there is old news.
        tales.found.clear();
        tales.lost = 0;
        tales
    }

    /// The next one that happened.
    #[expect(clippy::should_implement_trait, reason = "an iterator ends; this may have more later")]
    pub fn next(&mut self) -> Option<Happening> {
        if self.found.is_empty() {
            self.look();
        }
        self.found.pop_front()
    }

    /// How many were not read because there were too many at once, since it was last asked.
    pub fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Readable when there may be something.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    fn look(&mut self) {
        self.begin_watching();
        loop {
            self.read();
            // All of the old file is read before the one in its place is.
            let there = fs::metadata(&self.path).map(|data| data.ino()).ok();
            let ours = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|data| data.ino());
            if there.is_none() || there == ours {
                return;
            }
            self.read();
            self.rest.clear();
            self.file = File::open(&self.path).ok();
            if self.file.is_none() {
                return;
            }
        }
    }

    fn begin_watching(&mut self) {
        let Some(watch) = &self.watch else { return };
        if !self.is_watching {
            let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            self.is_watching = watch.add_watch(directory, flags).is_ok();
        }
        // Forgotten before the file is looked at: what comes in between wakes us again.
        while watch.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    fn read(&mut self) {
        let Some(file) = &mut self.file else { return };
        if file.read_to_end(&mut self.rest).is_err() {
            return;
        }
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let Ok(happening) = serde_json::from_slice::<Happening>(&line) else { continue };
            // A journal that begins at 1 is that of another instance.
            let missed = self.last.map_or(0, |last| happening.number.saturating_sub(last + 1));
            self.lost += missed;
            self.last = Some(happening.number);
            self.found.push_back(happening);
        }
    }
}

impl std::fmt::Debug for Tales {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tales").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
