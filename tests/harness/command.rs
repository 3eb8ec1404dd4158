//! Programs run with a deadline, `rampart` among them.

mod background;
mod scratch;

use std::{
    ffi::OsStr,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub use background::Background;
pub use scratch::Scratch;

use crate::netns::Namespace;

/// A program that runs for longer hangs.
const DEADLINE: Duration = Duration::from_mins(1);

/// What a program did.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, as one would type it.
    pub line: String,
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Panics with all it said unless it exited with 0.
    #[track_caller]
    #[must_use = "or call `check`, which returns nothing"]
    pub fn success(self) -> Self {
        self.check();
        self
    }

    /// The same, for its effect.
    #[track_caller]
    pub fn check(&self) {
        assert_eq!(self.status, 0, "`{}`\n{}{}", self.line, self.stdout, self.stderr);
    }

    /// What it printed, as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("`{}`: {error}\n{}", self.line, self.stdout))
    }

    /// What it printed, as one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let value =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("`{}`: {error}\n{line}", self.line));
        self.stdout.lines().map(value).collect()
    }
}

/// Runs a program to its end, inside a namespace or (`None`) where the test is.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(namespace: Option<&Namespace>, program: &str, arguments: &[A], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    run_command(namespace, command, input)
}

/// Runs a command to its end, with `input` on its standard input.
#[track_caller]
pub fn run_command(namespace: Option<&Namespace>, mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = typed(&command);
    let started = match namespace {
        Some(namespace) => namespace.run(|| command.spawn()),
        None => command.spawn(),
    };
    let mut child = started.unwrap_or_else(|error| panic!("`{line}`: {error}"));
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    // A program that does not read its input is free to close it.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
    let status = wait(&mut child, DEADLINE);
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader does not panic");
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("`{line}` is still running after {DEADLINE:?}\n{stdout}{stderr}"));
    Output { line, status: status.code().unwrap_or(-1), stdout, stderr }
}

/// The `rampart` binary: cargo puts it beside the directory that this test program is in. `cargo xtask test` builds
/// it first; `cargo build -p firewall-user` does as well.
#[track_caller]
pub fn rampart_path() -> PathBuf {
    let program = std::env::current_exe().expect("a process knows its program");
    let path =
        program.ancestors().skip(1).take(2).map(|directory| directory.join("rampart")).find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("no `rampart` beside {}: run `cargo build -p firewall-user`", program.display()))
}

/// `rampart` at work in one namespace; stopped there when dropped.
#[derive(Debug)]
pub struct Rampart<'a> {
    namespace: &'a Namespace,
    files: Scratch,
}

impl<'a> Rampart<'a> {
    /// Nothing is loaded yet.
    pub fn on(namespace: &'a Namespace) -> Self {
        Self { namespace, files: Scratch::new() }
    }

    /// Runs `rampart <arguments> --netns <namespace>` to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        run_command(None, self.command(arguments), "")
    }

    /// The same with something to read.
    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        run_command(None, self.command(arguments), input)
    }

    /// Writes a ruleset to a file and applies it.
    #[track_caller]
    pub fn apply(&self, ruleset: &str) -> Output {
        let file = self.files.write("ruleset.nft", ruleset);
        self.run(&["apply", &file.to_string_lossy()])
    }

    /// Starts `rampart <arguments> --netns <namespace>` and goes on.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Background {
        Background::start(self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(rampart_path());
        command.args(arguments).args(["--netns", self.namespace.name()]);
        command
    }
}

impl Drop for Rampart<'_> {
    fn drop(&mut self) {
        let output = self.run(&["stop"]);
        if output.status != 0 && !thread::panicking() {
            eprintln!("`{}`: exit status {}\n{}", output.line, output.status, output.stderr);
        }
    }
}

/// A command as one would type it.
fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Reads all that a program prints, on a thread of its own: a full pipe would stop it.
fn reader(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read before an error is worth as much.
            drop(from.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a program to end; after the deadline, ends it and returns `None`.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    drop(child.kill());
    drop(child.wait());
    None
}
