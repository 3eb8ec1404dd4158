//! Where the agent's events go: a file that is begun anew when it is large, the system's log, journald.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cli::values::EventFilter,
    commands::monitor::Follower,
    config::Chosen,
    kernel,
    observe::{clock::Clock, events::Tale},
};

/// Old files that are kept.
const KEPT: u32 = 4;
/// `daemon.notice` (RFC 3164 section 4.1.1).
const PRIORITY: u32 = 3 * 8 + 5;
const DEV_LOG: &str = "/dev/log";
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where events go.
pub(super) struct Sinks {
    filters: Vec<EventFilter>,
    clock: Clock,
    file: Option<Lines>,
    syslog: Option<Datagrams>,
    journal: Option<Datagrams>,
    /// What was not told since something was.
    lost: u64,
}

impl Sinks {
    /// Those that were asked for; none if none were.
    pub(super) fn open(agent: &Chosen) -> Result<Option<Self>> {
        let file =
            agent.events_file.as_deref().map(|path| Lines::open(path, agent.events_file_size << 20)).transpose()?;
        let syslog = agent.syslog.then(|| Datagrams::to(DEV_LOG)).transpose()?;
        let journal = agent.journald.then(|| Datagrams::to(JOURNAL)).transpose()?;
        let any = file.is_some() || syslog.is_some() || journal.is_some();
        let clock = Clock::new(kernel::monotonic_ns());
        Ok(any.then(|| Self { filters: agent.filters.clone(), clock, file, syslog, journal, lost: 0 }))
    }
}

impl Follower for Sinks {
    fn event(&mut self, tale: &dyn Tale) -> io::Result<()> {
        if !tale.is_wanted(&self.filters) {
            return Ok(());
        }
        let lost = std::mem::take(&mut self.lost);
        if let Some(file) = &mut self.file {
            let mut json = tale.json(self.clock);
            json["lost"] = lost.into();
            file.write(&format!("{json}\n"))?;
        }
        let line = tale.line(self.clock);
        if let Some(syslog) = &mut self.syslog {
            syslog.send(format!("<{PRIORITY}>rampart: {line}").as_bytes());
        }
        if let Some(journal) = &mut self.journal {
            journal.send(fields(&line, tale, self.clock).as_bytes());
        }
        Ok(())
    }

    fn lost(&mut self, more: u64) {
        self.lost += more;
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |lines| lines.file.flush())
    }

    fn now(&mut self, clock: Clock) {
        self.clock = clock;
    }

    fn note(&mut self, _: &str) {}
}

/// An event as journald wants it: a field a line (`systemd.journal-fields(7)`).
fn fields(line: &str, tale: &dyn Tale, clock: Clock) -> String {
    let json = tale.json(clock);
    let mut text = format!("MESSAGE={line}\nPRIORITY=5\nSYSLOG_IDENTIFIER=rampart\n");
    for (name, value) in [
        ("EVENT", &json["event"]),
        ("REASON", &json["reason"]),
        ("LAYER", &json["layer"]),
        ("HOOK", &json["hook"]),
        ("INTERFACE", &json["interface"]),
        ("SOURCE", &json["packet"]["src"]),
        ("DESTINATION", &json["packet"]["dst"]),
        ("DESTINATION_PORT", &json["packet"]["dport"]),
        ("PROTOCOL", &json["packet"]["protocol"]),
        ("RULE_FILE", &json["rule"]["file"]),
        ("RULE_LINE", &json["rule"]["line"]),
        ("GENERATION", &json["generation"]),
        ("RESULT", &json["apply"]["result"]),
        ("ERROR", &json["apply"]["error"]),
        ("BANNED", &json["ban"]["source"]),
        ("BACKEND", &json["backend"]["address"]),
        ("BY", &json["by"]),
        ("MORE", &json["more"]),
    ] {
        let value = value.as_str().map_or_else(|| value.to_string(), crate::observe::words::printable);
        if value != "null" {
            let _ = writeln!(text, "RAMPART_{name}={value}");
        }
    }
    text
}

/// A file of lines.
struct Lines {
    path: PathBuf,
    file: io::BufWriter<File>,
    size: u64,
    most: u64,
}

impl Lines {
    fn open(path: &Path, most: u64) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let size = file.metadata().map_or(0, |data| data.len());
        Ok(Self { path: path.to_owned(), file: io::BufWriter::new(file), size, most })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.most {
            self.turn()?;
        }
        self.size += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }

    /// Begins anew: `events.jsonl` becomes `events.jsonl.1`, and so on.
    fn turn(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let old = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..KEPT).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, old(1))?;
        self.file = io::BufWriter::new(OpenOptions::new().create(true).append(true).open(&self.path)?);
        self.size = 0;
        Ok(())
    }
}

/// A socket that takes a message at a time.
struct Datagrams {
    socket: UnixDatagram,
    path: &'static str,
}

impl Datagrams {
    fn to(path: &'static str) -> Result<Self> {
        let socket = UnixDatagram::unbound().context("a socket")?;
        socket.connect(path).with_context(|| format!("cannot reach {path}"))?;
        socket.set_nonblocking(true).context("a socket")?;
        Ok(Self { socket, path })
    }

    /// Sends, once more over a new connection if the other end was started again. A full queue loses it.
    fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.socket.send(bytes)
            && error.kind() != io::ErrorKind::WouldBlock
            && self.socket.connect(self.path).is_ok()
        {
            let _ = self.socket.send(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_begun_anew_when_it_is_large() {
        let directory = std::env::temp_dir().join(format!("rampart-lines-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("events.jsonl");
        let mut lines = Lines::open(&path, 10).expect("a file");
        for line in ["one...\n", "two...\n", "three.\n", "four..\n", "five..\n", "six...\n", "seven.\n"] {
            lines.write(line).expect("written");
        }
        lines.file.flush().expect("written");
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert_eq!(read("events.jsonl"), "seven.\n");
        assert_eq!(read("events.jsonl.1"), "six...\n");
        assert_eq!(read("events.jsonl.4"), "three.\n");
        assert!(!directory.join("events.jsonl.5").exists());
        fs::remove_dir_all(&directory).expect("removed");
    }
}
