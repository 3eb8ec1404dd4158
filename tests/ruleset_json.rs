//! Rulesets as JSON: read back as the text they were printed from; `data/json/NAME.json` is read, checked and printed
//! (`NAME.ok`), `data/json_reject/NAME.json` gives exactly the messages in `NAME.err`. `UPDATE_EXPECT=1` writes the
//! expected files anew.

mod ruleset;

use std::path::Path;

use firewall_user::language::{
    Ruleset, json, parse_file, parse_text,
    print::{self, Shown},
};
use ruleset::{expect, files, files_ending, in_own_namespace, kernel_lacks, options, read};

/// Goldens that nft's own JSON does not tell whole, and why.
const TOLD_OTHERWISE: &[(&str, &str)] = &[
    ("named_sets_with_timeouts_and_counters", "nft shows how much time elements have left, in whole seconds"),
    ("links_told_twice", "nft hides `ether type ip` before `ip`, where it then stands for `meta nfproto`"),
    ("hooks_in_all_families", "nft 1.0.6 leaves out the device of a chain"),
    ("arp", "nft 1.0.6 leaves out the device of a chain"),
    ("a_table_that_sleeps", "nft 1.0.6 prints a table's name as its flags"),
];

/// The type of a set whose `typeof` is a number of some width: JSON of version 1 cannot say more, and nft cannot read it.
/// Nor does it say that a map is to ranges.
const CUT_SHORT: &[&str] = &["`integer` does not say how wide it is", "a range or prefix as data"];

fn is_cut_short(message: &str) -> bool {
    CUT_SHORT.iter().any(|cut| message.contains(cut))
}

fn parsed(name: &str, text: &str) -> Ruleset {
    match parse_text(name, text, &options()) {
        Ok(parsed) => parsed.ruleset,
        Err(diagnostics) => panic!("{name}: {}", diagnostics.render(false)),
    }
}

fn our_json(ruleset: &Ruleset) -> String {
    let shown = Shown { handle: &|_| Some(7), ..Shown::as_written() };
    json::listing(ruleset, &shown).to_string()
}

/// The text that a document says, or what is wrong with it.
fn back(name: &str, json: &str) -> String {
    match parse_text(name, json, &options()) {
        Ok(parsed) => print::text(&parsed.ruleset),
        Err(diagnostics) => diagnostics.render(false),
    }
}

#[test]
fn our_json_says_what_the_text_said() {
    let mut different = Vec::new();
    for file in files("data/ruleset") {
        let ruleset = parsed(&file.path, &read(&file.path));
        let json = our_json(&ruleset);
        let back = back(&file.name, &json);
        if without_types(&back) != without_types(&print::text(&ruleset)) && !is_cut_short(&back) {
            different.push(format!("{}\n{json}\n{back}", file.name));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_json_of_nft_says_what_the_text_said() {
    let mut different = Vec::new();
    for file in files("data/ruleset") {
        let ruleset = parsed(&file.path, &read(&file.path));
        let theirs = in_own_namespace(&format!("nft -f {} && nft -j list ruleset", file.path));
        if kernel_lacks(&file, &theirs) {
            continue;
        }
        let theirs = theirs.unwrap_or_else(|message| panic!("nft refuses {}: {message}", file.path));
        let back = back(&file.name, &theirs);
        let same = told(&back) == told(&print::text(&ruleset)) || is_cut_short(&back);
        let listed = TOLD_OTHERWISE.iter().any(|(name, _)| *name == file.name);
        assert!(!(same && listed), "{} is no exception any more", file.name);
        if !same && !listed {
            different.push(format!("{}\n{theirs}\n{back}", file.name));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// JSON has the types of `typeof`, not what they were taken from.
fn without_types(text: &str) -> String {
    let is_set = |line: &str| line.starts_with("typeof ") || (line.starts_with("type ") && !line.contains(" hook "));
    text.lines().map(|line| if is_set(line.trim()) { "type\n".to_owned() } else { format!("{line}\n") }).collect()
}

/// What nft 1.0.6 tells in JSON: no comments of tables and chains, no `auto-merge`.
fn told(text: &str) -> String {
    let untold = |line: &str| line.trim().starts_with("comment ") || line.trim() == "auto-merge";
    without_types(text).lines().filter(|line| !untold(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn documents_say_what_is_expected_and_nft_reads_them_too() {
    for file in files_ending("data/json", "json") {
        let ruleset = parsed(&file.path, &read(&file.path));
        expect(&file.beside("ok"), &print::text(&ruleset));
        let theirs = in_own_namespace(&format!("nft -j -f {} && nft list ruleset", file.path));
        let theirs = theirs.unwrap_or_else(|message| panic!("nft refuses {}: {message}", file.path));
        assert_eq!(told(&theirs), told(&print::text(&ruleset)), "{}", file.path);
    }
}

#[test]
fn messages_point_at_the_document() {
    for file in files_ending("data/json_reject", "json") {
        let refused = parse_file(Path::new(&file.path), &options());
        let diagnostics = refused.err().unwrap_or_else(|| panic!("{} is accepted", file.path));
        expect(&file.beside("err"), &diagnostics.render(false));
    }
}

#[test]
fn rules_are_from_the_lines_of_the_document() {
    let ruleset = parsed("data/json/as_nft_lists_it.json", &read("data/json/as_nft_lists_it.json"));
    let text = read("data/json/as_nft_lists_it.json");
    let rules = ruleset.tables().iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let lines: Vec<u32> = rules.map(|rule| rule.origin.line).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let written = text.lines().nth(line as usize - 1).expect("a line of the document");
        assert!(written.contains("\"match\""), "{line}: {written}");
    }
    let names: Vec<&str> = ruleset.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["data/json/as_nft_lists_it.json"]);
}
