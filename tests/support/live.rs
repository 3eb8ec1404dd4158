//! `rampart` as a program of its own, at work in a namespace.

use std::process::Command;

use firewall_tests::{
    command::{Output, Scratch, rampart_path, run_command},
    netns::Namespace,
};
use serde_json::Value;

/// What `rampart` put in force in a namespace; taken down when dropped.
pub struct Live<'a> {
    namespace: &'a Namespace,
    files: Scratch,
}

impl<'a> Live<'a> {
    /// Runs `rampart apply` to its end: from then on no process of ours is there.
    #[track_caller]
    pub fn apply(namespace: &'a Namespace, rules: &str) -> Self {
        Self::apply_with(namespace, rules, &[], &[])
    }

    /// The same, with more arguments and variables.
    #[track_caller]
    pub fn apply_with(namespace: &'a Namespace, rules: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let live = Self { namespace, files: Scratch::new() };
        let file = live.files.write("rules.nft", rules);
        let mut command = live.command(&["apply", &file.to_string_lossy()]);
        command.args(arguments).envs(variables.iter().copied());
        run_command(None, command, "").check();
        live
    }

    /// What `rampart apply` says of a ruleset that it refuses.
    #[track_caller]
    pub fn refused(namespace: &'a Namespace, rules: &str) -> String {
        Self::refused_with(namespace, rules, &[])
    }

    /// The same, with more arguments.
    #[track_caller]
    pub fn refused_with(namespace: &'a Namespace, rules: &str, arguments: &[&str]) -> String {
        let live = Self { namespace, files: Scratch::new() };
        let file = live.files.write("rules.nft", rules);
        let mut command = live.command(&["apply", &file.to_string_lossy()]);
        command.args(arguments);
        let output = run_command(None, command, "");
        assert_ne!(output.status, 0, "it was applied");
        output.stderr
    }

    /// Runs `rampart` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run_command(None, self.command(arguments), "")
    }

    /// How packets of an interface are met, by `rampart status`: the words for ingress and egress.
    #[track_caller]
    pub fn attachment(&self, interface: &str) -> (String, String) {
        let status = self.run(&["status", "--json"]).success().json();
        let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
        let found = interfaces.iter().find(|one| one["name"] == interface);
        let found = found.unwrap_or_else(|| panic!("{interface} is not in {status:#}"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (word(&found["ingress"]), word(&found["egress"]))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(rampart_path());
        command.args(arguments).args(["--netns", self.namespace.name()]);
        command
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.run(&["stop"]);
    }
}
