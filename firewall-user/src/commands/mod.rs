//! The verbs, a file each, and what they have in common: what is printed where, and the exit status.

mod agent;
mod apply;
mod bans;
mod capture;
mod check;
mod completions;
mod confirm;
mod conns;
mod counters;
mod doctor;
mod import;
mod list;
mod man;
mod metrics;
mod monitor;
mod progress;
mod ruleset;
mod set;
mod status;
mod stop;
mod test;
mod top;
mod trace;
mod watch;
mod why;

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    cli::{Cli, Verb, args::Global},
    compile::CompileError,
    kernel::{self, Applying, Instance, Journal, KernelError, What},
};

/// What a process says by ending. The numbers are documented and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Done = 0,
    /// The answer is no.
    No = 1,
    /// What was typed makes no sense.
    Usage = 2,
    /// The kernel or the machine refused.
    Refused = 3,
}

/// What the output goes to.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Is standard output one?
    pub stdout: bool,
    /// Is standard error one?
    pub stderr: bool,
    /// Is colour welcome on a terminal?
    pub colour: bool,
}

/// What an error is about that writing data met with.
const OUTPUT: &str = "standard output";

/// A verb at work.
struct Session<'a> {
    global: &'a Global,
    terminal: Terminal,
    verb: &'static str,
}

/// Why the answer is no, where there is no diagnostic to show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct No(String);

/// Does what was typed.
pub fn run(cli: &Cli, terminal: Terminal) -> Result<Status> {
    let session = Session { global: &cli.global, terminal, verb: cli.verb.name() };
    // Before anything else: what the machine says depends on where it is asked.
    if let Some(name) = &cli.global.netns {
        kernel::enter_netns(name)?;
    }
    match &cli.verb {
        Verb::Check(check) => check::run(&session, check),
        Verb::Import(import) => import::run(&session, import),
        Verb::Apply(apply) => apply::run(&session, apply),
        Verb::Confirm => confirm::run(&session, confirm::Way::Keep),
        Verb::Rollback => confirm::run(&session, confirm::Way::Back),
        Verb::List(list) => list::run(&session, list),
        Verb::Status => status::run(&session),
        Verb::Conns(conns) => conns::run(&session, conns),
        Verb::Counters(counters) => counters::run(&session, counters),
        Verb::Set(command) => set::run(&session, command),
        Verb::Ban(arguments) => bans::ban(&session, arguments),
        Verb::Unban(arguments) => bans::unban(&session, arguments),
        Verb::Bans => bans::list(&session),
        Verb::Monitor(monitor) => monitor::run(&session, monitor),
        Verb::Agent(agent) => agent::run(&session, agent),
        Verb::Metrics(metrics) => metrics::run(&session, metrics),
        Verb::Test(test) => test::run(&session, test),
        Verb::Top(top) => top::run(&session, top),
        Verb::Trace(trace) => trace::run(&session, trace),
        Verb::Capture(capture) => capture::run(&session, capture),
        Verb::Why(why) => why::run(&session, why),
        Verb::Doctor => doctor::run(&session),
        Verb::Stop(stop) => stop::run(&session, stop),
        Verb::Completions(completions) => completions::run(completions),
        Verb::Man(man) => man::run(man),
    }
}

/// The exit status of an error.
pub fn status_of(error: &anyhow::Error) -> Status {
    let is_closed_pipe = |io: &io::Error| io.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_closed_pipe)) {
        // `rampart conns | head` got what it wanted.
        Status::Done
    } else if error.is::<CompileError>() || error.is::<No>() {
        Status::No
    } else {
        Status::Refused
    }
}

/// What is in force here, for a verb that needs it.
fn open() -> Result<Instance, KernelError> {
    kernel::require_privileges()?;
    Instance::open()
}

/// What is in force here, if anything is.
fn open_if_running() -> Result<Option<Instance>, KernelError> {
    match open() {
        Ok(instance) => Ok(Some(instance)),
        Err(KernelError::NotRunning) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells whoever listens to events of a change of the rules in force.
fn tell_change(applying: Applying) {
    if let Err(error) = told(applying) {
        complain(&format!("rampart: nobody can be told of it: {error:#}\n"));
    }
}

fn told(applying: Applying) -> Result<()> {
    Ok(Journal::here()?.tell(What::Apply(applying))?)
}

/// Data, as text.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(OUTPUT)
}

/// Data, as JSON on a line of its own.
fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value}\n"))
}

impl Session<'_> {
    /// JSON or text, as was asked for.
    fn answer(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<()> {
        if self.global.json { print_json(&json()) } else { print(&text()) }
    }

    /// Something worth knowing that is no data.
    fn note(&self, text: &str) {
        complain(&format!("rampart: {}: {text}\n", self.verb));
    }
}

/// Text on standard error. Nobody is left to tell when that is closed.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_documented_status() {
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert_eq!(status_of(&pipe), Status::Done);
        assert_eq!(status_of(&No("no".into()).into()), Status::No);
        assert_eq!(status_of(&CompileError::TooManyCounters.into()), Status::No);
        assert_eq!(status_of(&io::Error::from(io::ErrorKind::PermissionDenied).into()), Status::Refused);
        assert_eq!(status_of(&anyhow::anyhow!("anything else")), Status::Refused);
    }
}
