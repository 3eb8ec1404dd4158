//! A corpus of small rulesets (`data/parity`): `nft -c -f` accepts exactly what rampart accepts, but for constructs that
//! `data/parity/differences.list` names, each with its reason. One that makes no difference any more must leave the list.

mod ruleset;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
};

use firewall_user::language::parse_text;
use ruleset::{files_ending, in_own_namespace, options, read};

/// A small ruleset.
struct Entry {
    /// `FILE: NAME`, or `FILE: FAMILY HOOK: RULE`.
    name: String,
    text: String,
}

/// What the kernel's nft says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Accepts,
    /// This kernel was built without something: nft's language has it, and nobody can say more.
    Unknown,
    Refuses,
}

/// The rulesets of a file: `== NAME` and a ruleset, `== rules FAMILY HOOK` and a rule a line, or `== pairs FAMILY HOOK` and a match
/// a line, of which each two are a rule.
fn entries(file: &str, text: &str) -> Vec<Entry> {
    let sections = text.split("\n== ").skip(1);
    let read = |section: &str| {
        let (head, body) = section.split_once('\n').unwrap_or((section, ""));
        let lines: Vec<&str> = body.lines().filter(|line| !line.trim().is_empty()).collect();
        let (place, rules) = if let Some(place) = head.strip_prefix("rules ") {
            (place, lines.iter().map(|line| (*line).to_owned()).collect())
        } else if let Some(place) = head.strip_prefix("pairs ") {
            (place, pairs(&lines))
        } else {
            return vec![Entry { name: format!("{file}: {head}"), text: format!("{body}\n") }];
        };
        let (family, hook) = place.split_once(' ').expect("a family and a hook");
        let around = |rule: &str| {
            format!("table {family} t {{\n\tchain c {{\n\t\ttype filter hook {hook} priority 0\n\t\t{rule}\n\t}}\n}}\n")
        };
        let entry = |rule: &String| Entry { name: format!("{file}: {place}: {rule}"), text: around(rule) };
        rules.iter().map(entry).collect()
    };
    sections.flat_map(read).collect()
}

/// Each match behind each other one.
fn pairs(matches: &[&str]) -> Vec<String> {
    let behind =
        |first: usize| (0..matches.len()).filter(move |second| *second != first).map(move |second| (first, second));
    (0..matches.len())
        .flat_map(behind)
        .map(|(first, second)| format!("{} {} accept", matches[first], matches[second]))
        .collect()
}

fn corpus() -> Vec<Entry> {
    let all: Vec<Entry> =
        files_ending("data/parity", "txt").iter().flat_map(|file| entries(&file.name, &read(&file.path))).collect();
    assert!(all.len() >= 400, "only {} rulesets", all.len());
    let names: BTreeSet<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two rulesets of one name");
    all
}

/// What nft says of each, all in one namespace.
fn answers(corpus: &[Entry]) -> Vec<Answer> {
    let folder = std::env::temp_dir().join(format!("rampart-corpus-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    for (number, entry) in corpus.iter().enumerate() {
        fs::write(folder.join(format!("{number:05}")), &entry.text).expect("a temporary file");
    }
    // The first error decides: those behind it may come of it.
    let each = "nft -f \"$file\" 2>&1 >/dev/null </dev/null | head -n 1; echo; nft flush ruleset";
    let command = format!("ip link set lo up; for file in {}/*; do {each}; done", folder.display());
    let said = in_own_namespace(&command).expect("the loop itself does not fail");
    fs::remove_dir_all(&folder).expect("removable");
    let answer = |error: &str| match error.trim() {
        "" => Answer::Accepts,
        text if text.contains("Operation not supported") => Answer::Unknown,
        _ => Answer::Refuses,
    };
    let mut answers = Vec::new();
    let mut error = "";
    for line in said.lines() {
        if line.is_empty() {
            answers.push(answer(error));
            error = "";
        } else {
            error = line;
        }
    }
    answers
}

/// Our first message, if we refuse it.
fn refusal(entry: &Entry) -> Option<String> {
    let diagnostics = parse_text("corpus.nft", &entry.text, &options()).err()?;
    let first = diagnostics.iter().next().map(|diagnostic| diagnostic.message.clone());
    first.or(diagnostics.unread.clone())
}

/// The list: `refused here | part of our message | reason` and `accepted here | name | reason`.
struct Differences {
    refused: Vec<String>,
    accepted: BTreeSet<String>,
}

fn differences() -> Differences {
    let mut all = Differences { refused: Vec::new(), accepted: BTreeSet::new() };
    for line in read("data/parity/differences.list").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.splitn(3, " | ").collect();
        let [kind, what, reason] = parts[..] else { panic!("three parts, not `{line}`") };
        assert!(reason.len() > 10, "a reason, not `{reason}`");
        match kind {
            "refused here" => all.refused.push(what.to_owned()),
            "accepted here" => assert!(all.accepted.insert(what.to_owned()), "twice: {what}"),
            other => panic!("`{other}` is no kind of difference"),
        }
    }
    all
}

#[test]
fn nft_accepts_the_same_rulesets() {
    let corpus = corpus();
    let answers = answers(&corpus);
    assert_eq!(answers.len(), corpus.len());
    let Differences { refused, mut accepted } = differences();
    let mut used: BTreeMap<&str, usize> = refused.iter().map(|message| (message.as_str(), 0)).collect();
    let mut unlisted = String::new();
    let (mut both, mut neither, mut unknown) = (0, 0, 0);
    for (entry, answer) in corpus.iter().zip(&answers) {
        match (answer, refusal(entry)) {
            (Answer::Unknown, _) => unknown += 1,
            (Answer::Accepts, None) => both += 1,
            (Answer::Refuses, Some(_)) => neither += 1,
            (Answer::Accepts, Some(message)) => match refused.iter().find(|known| message.contains(*known)) {
                Some(known) => *used.entry(known).or_default() += 1,
                None => {
                    let _ = writeln!(unlisted, "refused here | {message} | {}", entry.name);
                }
            },
            (Answer::Refuses, None) => {
                if !accepted.remove(&entry.name) {
                    let _ = writeln!(unlisted, "accepted here | {} |", entry.name);
                }
            }
        }
    }
    println!("{both} accepted by both, {neither} by neither, {unknown} that this kernel cannot judge, {used:?} listed");
    assert_eq!(unlisted, "", "differences that are not listed");
    let unused: Vec<&str> = used.into_iter().filter(|(_, times)| *times == 0).map(|(message, _)| message).collect();
    assert!(unused.is_empty() && accepted.is_empty(), "no differences any more: {unused:?} {accepted:?}");
}
