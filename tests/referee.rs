//! The kernel's own netfilter as referee: the same rulesets, the same packets, the same verdicts, rule by rule.

mod support;

#[path = "referee/grammar.rs"]
mod grammar;
#[path = "referee/matches.rs"]
mod matches;
#[path = "referee/through.rs"]
mod through;
#[path = "referee/types.rs"]
mod types;
#[path = "referee/walks.rs"]
mod walks;
#[path = "referee/way_back.rs"]
mod way_back;

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use firewall_tests::{netns::Namespace, packet::Frame, referee::Referee};
use firewall_user::{
    compile::listing::{self, Live},
    language,
};
use proptest::{
    prelude::any,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::Value;
use support::{
    both::{Both, Counted, Way},
    near::{Random, Values},
};

/// Packets for each ruleset file.
const PACKETS: usize = 400;

/// A packet for every number: its length is like no other's, so a counter's bytes tell which packets it counted.
fn packets(ruleset: &str, seed: u64, count: usize) -> Vec<(Way, Frame)> {
    let (values, mut random) = (Values::of(ruleset), Random::new(seed));
    let has_output = ["hook output", "hook postrouting"].iter().any(|hook| ruleset.contains(hook));
    (0..count)
        .map(|number| {
            let way = if has_output && random.one_in(2) { Way::Out } else { Way::In };
            (way, values.packet(way, &mut random).payload(&vec![0; number]))
        })
        .collect()
}

/// Sends all packets through both; the first one that they count differently, if any.
fn compare(both: &mut Both, ruleset: &str, packets: &[(Way, Frame)]) -> Result<(), String> {
    both.replace(ruleset);
    for (way, frame) in packets {
        both.send(*way, frame);
    }
    let (ours, theirs) = both.counted();
    if ours == theirs {
        return Ok(());
    }
    let suspects = suspects(&ours, &theirs, packets);
    Err(format!("{ruleset}\n{}{}\n{suspects}", differences(&ours, &theirs), first_difference(ruleset, packets)))
}

/// Packets as long as what some rules counted differently.
fn suspects(ours: &[Counted], theirs: &[Counted], packets: &[(Way, Frame)]) -> String {
    let lengths: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours.3.abs_diff(theirs.3)).collect();
    let is_suspect = |frame: &&(Way, Frame)| lengths.contains(&(frame.1.packet().len() as u64));
    let told = |(way, frame): &(Way, Frame)| format!("suspect: {way:?} {:?}", frame.clone().payload(&[]));
    lines(packets.iter().filter(is_suspect).map(told))
}

fn differences(ours: &[Counted], theirs: &[Counted]) -> String {
    let both = ours.iter().zip(theirs).enumerate().filter(|(_, (ours, theirs))| ours != theirs);
    lines(both.map(|(rule, (ours, theirs))| format!("rule {rule}: ours {ours:?}, nft {theirs:?}")))
}

/// Each with the end of a line.
fn lines(texts: impl Iterator<Item = String>) -> String {
    texts.flat_map(|text| [text, "\n".to_owned()]).collect()
}

/// The same again, packet by packet, on new hosts.
fn first_difference(ruleset: &str, packets: &[(Way, Frame)]) -> String {
    let mut both = Both::for_ruleset(ruleset);
    both.replace(ruleset);
    for (number, (way, frame)) in packets.iter().enumerate() {
        both.send(*way, frame);
        let (ours, theirs) = both.counted();
        if ours != theirs {
            return format!("packet {number}, {way:?}: {frame:?}\n{}", differences(&ours, &theirs));
        }
    }
    "no single packet makes the difference on hosts that have seen no others".to_owned()
}

/// Every file of `data/referee`, by its name.
fn rulesets() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/referee");
    let files = directory.read_dir().expect("there are rulesets").map(|entry| entry.expect("an entry").path());
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut rulesets: Vec<_> = files.map(|path| (name(&path), fs::read_to_string(&path).expect("a ruleset"))).collect();
    rulesets.sort();
    assert!(rulesets.len() >= 20, "{}", rulesets.len());
    rulesets
}

#[test]
fn rulesets_mean_what_they_mean_to_nft() {
    let seed = seed();
    println!("seed {seed} (RAMPART_SEED={seed} repeats it)");
    let mut both = Both::new();
    let mut failures = Vec::new();
    for (name, ruleset) in rulesets() {
        if let Err(difference) = compare(&mut both, &ruleset, &packets(&ruleset, seed, PACKETS)) {
            failures.push(format!("{name}\n{difference}"));
        }
    }
    assert!(failures.is_empty(), "seed {seed}\n{}", failures.join("\n"));
}

/// Rulesets that nobody wrote, and packets for each: thousands of both together in each run.
const RULESETS: u32 = 40;
const EACH: usize = 150;

/// Without rules whose random tests contradict each other (`tcp doff` and `udp length`), which are refused, here and by nft.
fn taken(ruleset: &str) -> String {
    let is_rule = |line: &str| line.starts_with("\t\t") && line.contains(" counter");
    let alone = |rule: &str| {
        let chains = "chain leaf {}\nchain branch {}";
        let text = format!("table inet dice {{\n{}\n{chains}\nchain c {{\n{rule}\n}}\n}}\n", matches::DECLARED);
        language::parse_text("dice", &text, &language::Options::default()).is_ok()
    };
    lines(ruleset.lines().filter(|line| !is_rule(line) || alone(line)).map(str::to_owned))
}

/// Rulesets that nobody wrote.
#[test]
fn random_rulesets_mean_what_they_mean_to_nft() {
    let seed = seed();
    let cases = std::env::var("RAMPART_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(RULESETS);
    println!("seed {seed} (RAMPART_SEED={seed} repeats it), {cases} rulesets (RAMPART_CASES), {EACH} packets each");
    let (both, both_by_tc) = (Mutex::new(Both::new()), Mutex::new(Both::by_tc()));
    let config = Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    let bytes: [u8; 32] = std::array::from_fn(|at| seed.to_le_bytes()[at % 8]);
    let runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = { runner }.run(&(grammar::ruleset(), any::<u64>()), |(ruleset, seed)| {
        let ruleset = taken(&ruleset);
        // One that failed by a panic is no reason not to try a simpler one.
        let both = if Both::is_by_tc(&ruleset) { &both_by_tc } else { &both };
        let mut both = both.lock().unwrap_or_else(PoisonError::into_inner);
        // Named sets of one name would keep the elements of the ruleset before.
        both.replace("");
        compare(&mut both, &ruleset, &packets(&ruleset, seed, EACH)).map_err(TestCaseError::fail)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// As text and as JSON, but for handles. A test that others make needless is left out by `nft`; there it is enough that
/// `nft` reads from our listing what it read from the file.
#[test]
fn rulesets_are_listed_as_nft_lists_them() {
    let namespace = Namespace::new("referee");
    namespace.ip("link add eth0 type veth peer name eth1");
    let referee = Referee::of(&namespace);
    let mut wrong = Vec::new();
    for (name, ruleset) in rulesets() {
        let compiled = namespace.run(|| support::compiled(&ruleset, None));
        let start = |slot| {
            let counters = compiled.manifest.rules.iter().flat_map(|rule| &rule.counters);
            counters
                .filter(|counter| counter.slot == slot)
                .map(|counter| (counter.packets, counter.bytes))
                .next()
                .unwrap_or((0, 0))
        };
        let text = listing::listing(&compiled.manifest, Live { counts: &start, cell: &|cell| cell.first }, false);
        let json = listing::json(&compiled.manifest, Live { counts: &start, cell: &|cell| cell.first })
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        referee.replace(&ruleset);
        let (their_text, their_json) = (referee.text(), comparable(referee.list()));
        if name != "redundant" {
            if text != their_text {
                wrong.push(format!("{name}, as text:\n{}", changed_lines(&text, &their_text)));
            }
            let (ours, theirs) = (format!("{:#}", comparable(json)), format!("{their_json:#}"));
            if ours != theirs {
                wrong.push(format!("{name}, as JSON:\n{}", changed_lines(&ours, &theirs)));
            }
        }
        referee.replace(&text);
        if referee.text() != their_text {
            wrong.push(format!(
                "{name}, read by nft from our listing:\n{}",
                changed_lines(&referee.text(), &their_text)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A listing without what is the program's own: its version, and handles.
fn comparable(mut listing: Value) -> Value {
    let objects = listing["nftables"].as_array_mut().expect("a list of objects");
    objects.retain(|object| object.get("metainfo").is_none());
    for part in objects.iter_mut().filter_map(Value::as_object_mut).flat_map(serde_json::Map::values_mut) {
        part.as_object_mut().map(|part| part.remove("handle"));
    }
    listing
}

/// The lines in which two texts differ.
fn changed_lines(ours: &str, theirs: &str) -> String {
    let only = |sign: &str, of: &str, other: &str| {
        let is_new = |line: &&str| !other.lines().any(|other| other == *line);
        lines(of.lines().filter(is_new).map(|line| format!("  {sign} {line}")))
    };
    only("ours", ours, theirs) + &only("nft ", theirs, ours)
}

/// Given, or that of this moment.
fn seed() -> u64 {
    let given = std::env::var("RAMPART_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("it is after 1970").as_secs()
    })
}
