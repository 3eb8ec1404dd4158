//! A line on a terminal that tells what takes its time.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::Session;

/// Nothing is shown before: most rulesets are read by then.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures.
const STEP: Duration = Duration::from_millis(100);
/// Cells of the bar.
const WIDTH: usize = 20;

/// Shown while it lives; nothing is left of it on the terminal.
pub(super) struct Progress(Option<(Arc<Ended>, JoinHandle<()>)>);

#[derive(Default)]
struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    /// Waits for the end, or so long; has it come?
    fn within(&self, time: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(ended, time, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Session<'_> {
    /// Shows what is being done when it takes longer than a second and standard error is a terminal.
    pub(super) fn progress(&self, what: &str) -> Progress {
        if !self.terminal.stderr {
            return Progress(None);
        }
        let ended = Arc::new(Ended::default());
        let (there, line) = (Arc::clone(&ended), format!("rampart: {}: {what}", self.verb));
        Progress(Some((ended, thread::spawn(move || show(&line, &there)))))
    }
}

fn show(line: &str, ended: &Ended) {
    let start = Instant::now();
    if ended.within(PATIENCE) {
        return;
    }
    let mut step = 0;
    while !ended.within(STEP) {
        step += 1;
        say(&picture(line, step, start.elapsed()));
    }
    say("\r\x1b[K");
}

fn say(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The line with a bar that moves: how much is left is not known, that something happens is.
fn picture(line: &str, step: usize, taken: Duration) -> String {
    let way = WIDTH - 3;
    let at = way - (step % (2 * way)).abs_diff(way);
    let bar: String = (0..WIDTH).map(|cell| if (at..at + 3).contains(&cell) { '#' } else { '.' }).collect();
    format!("\r\x1b[K{line} [{bar}] {} s", taken.as_secs())
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some((ended, thread)) = self.0.take() else { return };
        *ended.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        ended.changed.notify_all();
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_goes_there_and_back() {
        let shown = |step| picture("x", step, Duration::from_secs(2));
        assert_eq!(shown(0), "\r\x1b[Kx [###.................] 2 s");
        assert_eq!(shown(17), "\r\x1b[Kx [.................###] 2 s");
        assert_eq!(shown(33), "\r\x1b[Kx [.###................] 2 s");
    }
}
