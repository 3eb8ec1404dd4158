//! What can go wrong between user space and the kernel, in words for the person at the keyboard.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};

/// A refusal by the kernel or the machine.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There are no pins.
    #[error("no ruleset is applied in this network namespace (use `rampart apply`)")]
    NotRunning,
    /// Capabilities are missing.
    #[error("not permitted: this needs {missing}; run it as root, or with `sudo`")]
    NotPermitted {
        /// The missing capabilities, by name.
        missing: String,
    },
    /// No such network namespace.
    #[error("network namespace `{name}`: {source} (`ip netns list` shows those that exist)")]
    NoNamespace {
        /// The name as given.
        name: String,
        /// Why it could not be entered.
        source: io::Error,
    },
    /// The BPF file system cannot be had.
    #[error("no BPF file system for the pins at {}: {reason}", path.display())]
    NoBpffs {
        /// Where it should be mounted.
        path: PathBuf,
        /// Why it is not.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("another rampart process{} is changing this network namespace; try again when it is done", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The holder, when known.
        pid: Option<u32>,
    },
    /// Another process reads the events.
    #[error("another `rampart monitor`{} reads the events of this network namespace", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    EventsTaken {
        /// The reader, when known.
        pid: Option<u32>,
    },
    /// A pin is not what this version makes.
    #[error("the pin {} is not one of this version ({difference}); `rampart stop --yes` detaches it and forgets its connections and counters: packets pass until the next `rampart apply`", path.display())]
    ForeignPin {
        /// The pin.
        path: PathBuf,
        /// What is different.
        difference: String,
    },
    /// An interface does not exist.
    #[error("no interface `{name}` in this network namespace{}", suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default())]
    NoInterface {
        /// The name as given.
        name: String,
        /// A name like it.
        suggestion: Option<String>,
    },
    /// Somebody else's XDP program is on the interface.
    #[error(
        "interface `{interface}` already has the XDP program `{program}` (id {id}), which is not rampart's; detach it first (`ip link set dev {interface} xdp off`) or leave the interface out with `-i`"
    )]
    ForeignXdp {
        /// The interface.
        interface: String,
        /// The program's name.
        program: String,
        /// Its id.
        id: u32,
    },
    /// Nothing to attach to.
    #[error("no interface to attach to: there is none but loopback in this network namespace")]
    NoInterfaces,
    /// A limit of the instance.
    #[error("{0}")]
    Limit(String),
    /// The binary was built without the program.
    #[error("this binary was built without the eBPF program: run `cargo xtask setup`, then build again")]
    NoObject,
    /// The verifier, or another part of loading, refused the program.
    #[error("the kernel refused the program `{program}`: {reason}")]
    Refused {
        /// The program.
        program: String,
        /// The last lines of the verifier's log, or the error.
        reason: String,
    },
    /// The new generation failed its probe packets.
    #[error(
        "the new ruleset was loaded but gave a wrong verdict to the probe packet `{probe}`: {got}; the old one stays in force"
    )]
    Probe {
        /// Which packet.
        probe: &'static str,
        /// What came back.
        got: String,
    },
    /// The generation in force has another program than this binary.
    #[error(
        "the ruleset in force was loaded by another build of rampart, and this one would answer with its own program; ask with that \
         build, or apply the ruleset again with this one"
    )]
    OtherBuild,
    /// There is no generation to go back to.
    #[error("{0}")]
    NothingTo(&'static str),
    /// Attaching failed.
    #[error("cannot attach to `{interface}` ({hook}): {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// Which hook.
        hook: &'static str,
        /// Why.
        reason: String,
    },
    /// Any other system call.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A map operation.
    #[error("map {name}: {source}")]
    Map {
        /// The map.
        name: &'static str,
        /// Why it failed.
        source: MapError,
    },
    /// What is pinned cannot be read as what it should be.
    #[error("the pinned state is damaged: {0}")]
    Damaged(String),
}

impl KernelError {
    /// A failed system call, with what it was for.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// A failed map operation.
    pub(super) fn map(name: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { name, source }
    }

    /// A failed pin.
    pub(super) fn pin(what: impl Into<String>) -> impl FnOnce(PinError) -> Self {
        let what = what.into();
        move |error| Self::System { what, source: io::Error::other(error.to_string()) }
    }

    /// A failed load of the object.
    pub(super) fn object(error: &EbpfError) -> Self {
        Self::Refused { program: "object".to_owned(), reason: chain(error) }
    }

    /// A failed load of a program: the end of the verifier's log says why.
    pub(super) fn program(program: &str, error: &ProgramError) -> Self {
        let reason = match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                let end: Vec<_> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
                format!("{io_error}; {}", end.into_iter().rev().collect::<Vec<_>>().join("; "))
            }
            other => chain(other),
        };
        Self::Refused { program: program.to_owned(), reason }
    }
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
