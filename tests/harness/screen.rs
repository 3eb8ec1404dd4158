//! A program in a terminal of its own: tmux is the terminal, with a server that nobody else uses.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long a screen may take to be what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The terminal; it goes away with its value.
#[derive(Debug)]
pub struct Screen {
    /// Name of the server's socket.
    server: String,
}

impl Screen {
    /// Runs a program in a terminal of so many columns and lines.
    #[track_caller]
    pub fn start(program: &Command, (columns, lines): (u16, u16)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let screen = Self { server: format!("rampart-test-{}-{number}", std::process::id()) };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let mut words = vec!["-f", "/dev/null", "-u", "new-session", "-d", "-x", &columns, "-y", &lines, "--"];
        let typed: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).collect();
        words.extend(typed.iter().map(|word| word.to_str().expect("text")));
        screen.tmux(&words);
        screen
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.server]).args(arguments).env("LC_ALL", "C.UTF-8");
        let output = command.output().expect("tmux (`cargo xtask setup` installs it)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What can be read on it.
    #[track_caller]
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Presses keys, by tmux's names.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        let mut words = vec!["send-keys"];
        words.extend(keys);
        self.tmux(&words);
    }

    /// Takes the terminal away, and waits until its program has ended as well.
    #[track_caller]
    pub fn hang_up(self) {
        let process = self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().to_owned();
        self.tmux(&["kill-server"]);
        let end = Instant::now() + PATIENCE;
        while std::path::Path::new("/proc").join(&process).exists() {
            assert!(Instant::now() < end, "process {process} goes on without its terminal");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes it another size.
    #[track_caller]
    pub fn resize(&self, (columns, lines): (u16, u16)) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// Waits until it says what is wanted, and returns all it says.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < end, "{what}: not to be seen on\n{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for the end of the program: its terminal goes with it.
    #[track_caller]
    pub fn wait_for_end(&self) {
        let end = Instant::now() + PATIENCE;
        while self.is_there() {
            assert!(Instant::now() < end, "the program does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_there(&self) -> bool {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.server, "has-session"]);
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended already.
        drop(Command::new("tmux").args(["-L", &self.server, "kill-server"]).output());
    }
}
