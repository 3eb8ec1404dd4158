//! What only a terminal is shown.

use std::{fs, process::Command};

use firewall_tests::{
    command::{Scratch, rampart_path},
    screen::Screen,
};
use nix::{sys::stat::Mode, unistd::mkfifo};

use crate::RULES;

#[test]
fn a_terminal_sees_a_bar_while_a_ruleset_is_read() {
    let files = Scratch::new();
    let pipe = files.path().join("rules.nft");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
    let line = format!("{} check {}; echo \"status $?\"; read -r end", rampart_path().display(), pipe.display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let screen = Screen::start(&command, (160, 12));
    // As long as nobody writes into the pipe, it is being read.
    let bar = |text: &str| text.contains("rampart: check: reading ") && text.contains("###") && text.contains("] ");
    screen.until("a bar", bar);
    fs::write(&pipe, RULES).expect("somebody reads");
    let text = screen.until("the end", |text| text.contains("status 0"));
    assert!(!text.contains("###") && !text.contains("reading"), "{text}");
    screen.press(&["Enter"]);
    screen.wait_for_end();
}
