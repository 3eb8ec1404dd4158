//! What is typed: help, usage errors, where options stand.

use firewall_tests::{command::Scratch, netns::Namespace};

use crate::{RULES, assert_one_line, rampart, rampart_with, write};

/// Verbs and aliases, as `rampart --help` lists them.
const VERBS: &[&str] = &[
    "check",
    "apply",
    "confirm",
    "rollback",
    "list",
    "status",
    "conns",
    "counters",
    "monitor",
    "why",
    "doctor",
    "stop",
    "completions",
    "man",
    "help",
];

#[test]
fn help_documents_every_verb() {
    let help = rampart(&["--help"]).success();
    assert!(help.stdout.contains("Exit status:\n  0  done\n  1  the answer is no"), "{}", help.stdout);
    let verbs: Vec<&str> = verbs(&help.stdout).collect();
    let missing: Vec<_> = VERBS.iter().filter(|verb| !verbs.contains(verb)).collect();
    assert!(missing.is_empty(), "{missing:?} of {verbs:?}");
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        let help = rampart(&[verb, "--help"]).success();
        assert!(help.stdout.contains(&format!("Usage: rampart {verb}")), "{}", help.stdout);
        assert!(help.stdout.contains("--netns <NAME>"), "{}", help.stdout);
        assert_eq!(help.stderr, "");
    }
}

/// The verbs that the help lists, each with what it does.
fn verbs(help: &str) -> impl Iterator<Item = &str> {
    let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
    list.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let (verb, meaning) = line.trim().split_once(' ')?;
        assert!(meaning.trim().len() > 10, "{line}");
        Some(verb)
    })
}

#[test]
fn wrong_usage_has_status_2_and_touches_nothing() {
    let rows: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["status", "--frobnicate"],
        &["check"],
        &["check", "one.nft", "two.nft"],
        &["apply", "--confirm", "soon"],
        &["apply", "--confirm", "0s"],
        &["apply", "--flows", "0"],
        &["apply", "--flows", "many"],
        &["conns", "--src", "192.0.2.0/33"],
        &["conns", "--state", "LISTEN"],
        &["conns", "--dport", "65536"],
        &["monitor", "--filter", "colour=red"],
        &["status", "--netns"],
        &["completions", "tcsh"],
    ];
    for arguments in rows {
        let output = rampart(arguments);
        assert_eq!(output.status, 2, "`{}`\n{}{}", output.line, output.stdout, output.stderr);
        assert_eq!(output.stdout, "", "`{}`", output.line);
        assert!(!output.stderr.contains('\u{1b}'), "`{}`: colour, and no terminal", output.line);
    }
}

#[test]
fn netns_stands_before_or_behind_the_verb() {
    let namespace = Namespace::new("place");
    let name = namespace.name();
    for arguments in
        [["--netns", name, "status"].as_slice(), &["status", "--netns", name], &["status", &format!("--netns={name}")]]
    {
        let output = rampart(arguments);
        assert_eq!((output.status, output.stderr.as_str()), (1, ""), "`{}`", output.line);
        assert_eq!(output.stdout, "no ruleset is in force in this network namespace\n");
    }
    let output = rampart(&["--netns", name, "--json", "status"]);
    assert_eq!((output.status, &output.json()["running"]), (1, &false.into()));
}

#[test]
fn an_unknown_namespace_is_named() {
    for arguments in [["status", "--netns", "no-such-place"], ["--netns", "no-such-place", "stop"]] {
        let output = rampart(&arguments);
        assert_eq!(output.status, 3, "`{}`: {}", output.line, output.stderr);
        assert_one_line(&output, &["no-such-place", "No such file"]);
        assert_eq!(output.stderr.matches("No such file").count(), 1, "a cause is told once: {}", output.stderr);
    }
}

#[test]
fn check_needs_nothing_but_the_file() {
    let files = Scratch::new();
    let file = write(&files, "good.nft", RULES);
    let output = rampart_with(&["check", &file], |command| {
        command.env_clear();
    });
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout, format!("{file}: ok, 4 rules in 1 chain\n"));
    let json = rampart(&["check", "--json", &file]).success().json();
    assert_eq!((&json["schema"], &json["ok"], &json["rules"]), (&"rampart/1".into(), &true.into(), &4.into()));
}

#[test]
fn errors_of_a_ruleset_have_a_place_and_a_caret() {
    let files = Scratch::new();
    let file = write(&files, "bad.nft", RULES.replace("tcp dport 22", "tcp dporrt 22"));
    let output = rampart(&["check", &file]);
    assert_eq!((output.status, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.starts_with(&format!("{file}:6:13: error: ")), "{}", output.stderr);
    assert!(output.stderr.contains("tcp dporrt 22") && output.stderr.contains("^^^^^^"), "{}", output.stderr);
    let output = rampart(&["check", &file, "--json"]);
    let (status, json) = (output.status, output.json());
    assert_eq!((status, &json["ok"]), (1, &false.into()));
    let error = &json["errors"][0];
    assert_eq!((&error["file"], &error["line"], &error["column"]), (&file.into(), &6.into(), &13.into()));
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = rampart(&["completions", shell]).success().stdout;
        assert!(script.contains("rollback") && script.contains("netns"), "{shell}");
    }
    assert!(rampart(&["man"]).success().stdout.contains(".TH rampart 8"));
    let files = Scratch::new();
    let directory = files.path().join("man8");
    rampart(&["man", "--dir", &directory.to_string_lossy()]).check();
    for page in ["rampart.8", "rampart-apply.8", "rampart-monitor.8"] {
        assert!(directory.join(page).is_file(), "{page}");
    }
}
