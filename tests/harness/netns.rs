//! A network namespace that goes away with its value.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps names, and where `rampart --netns` looks for them.
const DIRECTORY: &str = "/run/netns";

/// What our names begin with: prefix, process, number, role.
const PREFIX: &str = "rpt";

/// A named network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace called `rpt-<process>-<number>-<role>`, with the loopback interface up.
    pub fn new(role: &str) -> Self {
        static LEFTOVERS: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        LEFTOVERS.call_once(remove_leftovers);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}-{role}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// The name, as `ip -n` and `rampart --netns` take it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside, on a thread of its own: the caller's thread stays where it is. Programs started by `work`
    /// are inside as well, and see the same `/sys` as outside (other than with `ip netns exec`).
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        let inside = move || {
            enter(&path);
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts `work` inside and goes on.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let path = self.path();
        thread::spawn(move || {
            enter(&path);
            work()
        })
    }

    /// Runs `ip -n <name> <arguments>`, arguments separated by spaces.
    pub fn ip(&self, arguments: &str) {
        let words: Vec<_> = ["-n", &self.name].into_iter().chain(arguments.split(' ')).collect();
        ip(&words);
    }

    /// Sets a kernel parameter of this namespace: `net/ipv4/ip_forward` to `1`, for example.
    pub fn set_parameter(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name);
        // What `/proc/sys/net` shows depends on the thread that opens it.
        self.run(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
    }

    fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Moves the calling thread, and nothing else of the process, into a namespace.
fn enter(path: &Path) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("entering {}: {error}", path.display()));
}

/// Deletes the namespaces of test processes that were killed before they could.
fn remove_leftovers() {
    for entry in Path::new(DIRECTORY).read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        let (prefix, process) = (parts.next(), parts.next().and_then(|process| process.parse::<u32>().ok()));
        if let (Some(PREFIX), Some(process)) = (prefix, process)
            && !Path::new("/proc").join(process.to_string()).exists()
        {
            delete(&name);
        }
    }
}

/// Deletes a namespace; that another process was quicker is no failure.
fn delete(name: &str) {
    let output = Command::new("ip").args(["netns", "delete", name]).output();
    if let Err(error) = output {
        eprintln!("deleting the network namespace {name}: {error}");
    }
}

/// Runs `ip`, and panics with what it says when it fails.
#[track_caller]
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip (iproute2) is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {errors}", arguments.join(" "));
}
