//! Rulesets that nobody would write: those of the other tests, with pieces cut out, put in, doubled and exchanged. Whatever
//! comes of it, there is no panic and no end to memory, each message points into its text, and what is accepted is read
//! back the same from what is printed. `cargo xtask fuzz` runs it for as long as one likes; what it finds becomes a
//! file in `data/fuzz`.

#[path = "fuzz/measure.rs"]
mod measure;
#[path = "fuzz/mutate.rs"]
mod mutate;
mod ruleset;

use firewall_user::{
    compile::compile,
    import::{self, Family},
    language::{
        Diagnostics, Parsed, json, parse_text,
        print::{self, Shown},
    },
};
use mutate::{Mutation, mutated};
use proptest::{prelude::*, test_runner::Config};
use ruleset::{files_ending, options, read};

/// Bytes that reading a text of the corpus' size may take. The most that one took is a tenth of it.
const MOST_MEMORY: usize = 256 << 20;

/// Rounds, unless `PROPTEST_CASES` says otherwise.
const ROUNDS: u32 = 3000;

fn config() -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: asked.unwrap_or(ROUNDS), failure_persistence: None, max_shrink_iters: 2000, ..Config::default() }
}

/// The texts to start from.
fn seeds() -> Vec<String> {
    let folders = [
        ("data/ruleset", "nft"),
        ("data/reject", "nft"),
        ("data/ruleset", "ok"),
        ("data/json", "json"),
        ("data/json_reject", "json"),
        ("../examples", "nft"),
    ];
    let mut seeds: Vec<String> = folders
        .iter()
        .flat_map(|(folder, ending)| files_ending(folder, ending))
        .map(|file| read(&file.path))
        // A mutation in a long text is a mutation in one of its rules; short ones take less time.
        .filter(|text| text.len() < 20_000)
        .collect();
    let parity = files_ending("data/parity", "txt");
    seeds.extend(parity.iter().flat_map(|file| read(&file.path).split("\n== ").map(str::to_owned).collect::<Vec<_>>()));
    // JSON as we print it, of every ruleset that is accepted.
    let accepted = files_ending("data/ruleset", "nft");
    seeds.extend(
        accepted.iter().filter_map(|file| Some(as_json(&parse_text(&file.name, &read(&file.path), &options()).ok()?))),
    );
    seeds
}

fn as_json(parsed: &Parsed) -> String {
    json::listing(&parsed.ruleset, &Shown::as_written()).to_string()
}

/// Every message points into the text it is about, and can be shown.
fn check_messages(diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.iter() {
        let span = diagnostic.span;
        let source = diagnostics.sources.get(span.source).expect("a source that is there");
        assert!(source.origins.is_none(), "a message about a text that nobody wrote: {diagnostic:?}");
        assert!(span.start <= span.end && span.end as usize <= source.text.len(), "{diagnostic:?}");
        assert!(source.text.is_char_boundary(span.start as usize) && source.text.is_char_boundary(span.end as usize));
    }
    assert!(diagnostics.render(false).len() < 1 << 20);
}

/// Reads a text; what is accepted must survive printing, as text and as JSON, and compile or be refused in words.
fn check(text: &str) {
    let parsed = match parse_text("fuzz", text, &options()) {
        Ok(parsed) => parsed,
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            return check_messages(&diagnostics);
        }
    };
    check_messages(&parsed.warnings);
    let printed = print::text(&parsed.ruleset);
    let again = match parse_text("printed", &printed, &options()) {
        Ok(again) => again,
        Err(diagnostics) => panic!("not read again:\n{printed}\n{}", diagnostics.render(false)),
    };
    assert_eq!(print::text(&again.ruleset), printed);
    check_json(&as_json(&parsed), &printed);
    let _ = compile(&parsed.ruleset, None).map(|compiled| compiled.image);
}

/// Our own JSON is read back, but for what it cannot say (`typeof` of a number, maps to ranges).
fn check_json(json: &str, printed: &str) {
    match parse_text("json", json, &options()) {
        Ok(parsed) => {
            let types = |text: &str| {
                text.lines().filter(|line| !line.trim().starts_with("type")).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(types(&print::text(&parsed.ruleset)), types(printed), "{json}");
        }
        Err(diagnostics) => {
            let told = diagnostics.render(false);
            assert!(
                told.contains("does not say how wide") || printed.contains(": interval"),
                "{printed}\n{json}\n{told}"
            );
        }
    }
}

#[test]
fn any_text_is_read_or_refused_in_words() {
    let seeds = seeds();
    assert!(seeds.len() > 200);
    let one = (0..seeds.len(), prop::collection::vec(any::<Mutation>(), 1..5), 0..seeds.len());
    proptest!(config(), |((seed, mutations, other) in one)| {
        let text = mutated(&seeds[seed], &mutations, &seeds[other]);
        let (took, result) = measure::peak(|| std::panic::catch_unwind(|| check(&text)));
        prop_assert!(result.is_ok(), "this text:\n{text}");
        prop_assert!(took < MOST_MEMORY, "{took} bytes for this text:\n{text}");
    });
}

#[test]
fn bytes_without_sense_are_refused() {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    proptest!(Config { cases: 1000, ..config() }, |(bytes in bytes)| {
        check(&String::from_utf8_lossy(&bytes));
        check(&format!("{{\"nftables\": [{}", String::from_utf8_lossy(&bytes)));
    });
}

/// What is refused before the translator is asked must be refused in words, too.
#[test]
fn any_file_of_iptables_is_refused_or_understood() {
    let saved: Vec<String> = files_ending("data/import", "save").iter().map(|file| read(&file.path)).collect();
    let one = (0..saved.len(), prop::collection::vec(any::<Mutation>(), 1..4));
    proptest!(Config { cases: 60, ..config() }, |((seed, mutations) in one)| {
        let text = mutated(&saved[seed], &mutations, "*nat\n-A X -j Y\nCOMMIT\n");
        let translated = import::translate("saved", &text, Family::Ipv4).expect("the translator is there");
        check_messages(&translated.problems);
        check(&translated.text);
    });
}

/// What was found once: each file says by its name what was wrong.
#[test]
fn what_was_found_stays_right() {
    for ending in ["nft", "json"] {
        for file in files_ending("data/fuzz", ending) {
            check(&read(&file.path));
        }
    }
}

/// A text of twice the length may take twice the work, not four times: these once could have.
#[test]
fn long_texts_end() {
    let many = |piece: &str, times: usize| piece.repeat(times);
    check(&many("add table inet t\ndelete table inet t\n", 2000));
    check(&format!("table inet t {{\nchain c {{\n{}}}\n}}\n", many("accept\n", 20_000)));
    check(&format!("{}{}", many("define a", 1), many(" = $a\nredefine a", 5000)));
    check(&format!("table inet t {{ {} }}\n", many("chain c { ", 3000)));
    check(&format!("{}\n", many("(", 100_000)));
    check(&format!("{{\"nftables\": [{}{{}}]}}", many("{\"table\": {\"family\": \"ip\", \"name\": \"t\"}},", 5000)));
    let chains: Vec<String> = (0..400).map(|n| format!("chain c{n} {{\njump d{n}\n}}\nchain d{n} {{\n}}\n")).collect();
    let gone: Vec<String> = (0..400).map(|n| format!("flush chain inet t c{n}\ndelete chain inet t d{n}\n")).collect();
    check(&format!("table inet t {{\n{}}}\n{}", chains.concat(), gone.concat()));
}
