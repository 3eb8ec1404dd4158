//! A program that goes on while the test does.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{typed, wait};

/// A running program, whose lines can be waited for; ended when dropped.
#[derive(Debug)]
pub struct Background {
    line: String,
    child: Child,
    lines: Receiver<String>,
}

impl Background {
    /// Starts a command. What it complains about goes where the test's own messages go.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let line = typed(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("`{line}`: {error}"));
        let output = child.stdout.take().expect("the output was asked for");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { line, child, lines }
    }

    /// The lines printed until one is `wanted`, that one included; all of them if none is within `patience`.
    pub fn lines_until(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            let is_wanted = wanted(&line);
            lines.push(line);
            if is_wanted {
                break;
            }
        }
        lines
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as Ctrl-C does, and returns its exit status: -1 when a signal ended it.
    #[track_caller]
    pub fn interrupt(mut self) -> i32 {
        self.signal(Signal::SIGINT);
        let status = wait(&mut self.child, Duration::from_secs(10));
        status.unwrap_or_else(|| panic!("`{}` goes on after SIGINT", self.line)).code().unwrap_or(-1)
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = wait(&mut self.child, Duration::from_secs(10));
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
