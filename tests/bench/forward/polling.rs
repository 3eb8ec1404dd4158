//! The thread of the kernel's that polls an interface (threaded NAPI, Linux 5.12): what it uses up is what its host does with
//! the packets that come in by the interface.

use std::{fs, process::Command, thread, time::Duration};

use firewall_tests::netns::Namespace;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// The threads whose time counts.
pub(crate) struct Polling {
    threads: Vec<i32>,
}

impl Polling {
    /// Has an interface polled on a processor. What the thread leaves to `ksoftirqd` there counts as well.
    pub(crate) fn start(host: &Namespace, interface: &str, processor: usize) -> Self {
        let name = format!("napi/{interface}-");
        let of_interface = || threads_like(|thread| thread.starts_with(&name));
        let before = of_interface();
        // What `/sys/class/net` shows depends on the namespace in which it was mounted.
        let command = format!("echo 1 > /sys/class/net/{interface}/threaded");
        let status = Command::new("ip").args(["netns", "exec", host.name(), "sh", "-c", &command]).status();
        assert!(status.expect("ip").success(), "{interface} cannot be polled by a thread");
        let mut threads: Vec<_> = of_interface().into_iter().filter(|thread| !before.contains(thread)).collect();
        assert!(!threads.is_empty(), "no thread polls {interface}");
        for thread in &threads {
            sched_setaffinity(Pid::from_raw(*thread), &only(processor)).expect("a thread that can be moved");
            before_others(*thread, 2);
        }
        threads.extend(threads_like(|thread| thread == format!("ksoftirqd/{processor}")));
        Self { threads }
    }

    /// Nanoseconds that they have used up, once they rest: the kernel adds up what a thread has used when it stops.
    pub(crate) fn used(&self) -> u64 {
        let mut before = self.sum();
        loop {
            thread::sleep(Duration::from_millis(2));
            let now = self.sum();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    fn sum(&self) -> u64 {
        let used = |thread: &i32| {
            let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).expect("the time that a thread has used")
        };
        self.threads.iter().map(used).sum()
    }
}

/// Lets a thread run whenever it can (`SCHED_FIFO`): other work on the machine waits for it, and who has a lower priority.
pub(crate) fn before_others(thread: i32, priority: i32) {
    let words = ["--fifo", "--pid", &priority.to_string(), &thread.to_string()];
    let status = Command::new("chrt").args(words).status();
    assert!(status.expect("chrt (util-linux)").success(), "thread {thread} cannot run before others");
}

/// A set of one processor.
pub(crate) fn only(processor: usize) -> CpuSet {
    let mut cpus = CpuSet::new();
    cpus.set(processor).expect("a processor");
    cpus
}

fn threads_like(is_it: impl Fn(&str) -> bool) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let is_it =
        |thread: &i32| fs::read_to_string(format!("/proc/{thread}/comm")).is_ok_and(|name| is_it(name.trim_end()));
    processes.filter_map(number).filter(is_it).collect()
}
