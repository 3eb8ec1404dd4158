//! Rulesets that are accepted: `data/ruleset/NAME.nft` is read, printed (`NAME.ok`), listed as JSON (`NAME.json`) and
//! compiled (`NAME.image`). `UPDATE_EXPECT=1` writes the expected files anew.
//!
//! The kernel's `nft` is the referee: it must accept each file, and print it as we do.

mod ruleset;

use firewall_user::{
    compile::{
        compile,
        listing::{self, Live},
    },
    language::{Ruleset, parse_text, print},
};
use ruleset::{expect, files, in_own_namespace, kernel_lacks, options, read};

const FOLDER: &str = "data/ruleset";

/// Files that `nft` prints otherwise, and why. The meaning is the same.
const PRINTED_OTHERWISE: &[(&str, &str)] = &[
    ("named_sets_with_timeouts_and_counters", "nft shows how much time elements have left"),
    ("several_states_compared_as_one", "nft prints `ct state == a | b` without the `==`, which reads as another thing"),
    ("links_told_twice", "nft hides `ether type ip` before `ip`, where it then stands for `meta nfproto`"),
];

/// `iif "lo"` stands for number 1 in every network namespace.
fn parsed(name: &str, text: &str) -> Ruleset {
    match parse_text(name, text, &options()) {
        Ok(parsed) => parsed.ruleset,
        Err(diagnostics) => panic!("{}", diagnostics.render(false)),
    }
}

#[test]
fn print_as_expected() {
    for file in files(FOLDER) {
        let ruleset = parsed(&file.path, &read(&file.path));
        expect(&file.beside("ok"), &print::text(&ruleset));
    }
}

#[test]
fn read_the_same_when_printed() {
    for file in files(FOLDER) {
        let ruleset = parsed(&file.path, &read(&file.path));
        let printed = print::text(&ruleset);
        let again = parsed("printed", &printed);
        assert_eq!(again, ruleset, "{}", file.path);
        assert_eq!(print::text(&again), printed, "{}", file.path);
    }
}

#[test]
fn compile_as_expected() {
    for file in files(FOLDER) {
        let compiled = compile(&parsed(&file.path, &read(&file.path)), None).expect("small");
        expect(&file.beside("image"), &listing::image_listing(&compiled.image));
    }
}

#[test]
fn list_as_json_as_expected() {
    for file in files(FOLDER) {
        let compiled = compile(&parsed(&file.path, &read(&file.path)), None).expect("small");
        let json = listing::json(&compiled.manifest, Live { counts: &|_| (0, 0), cell: &|cell| cell.first })
            .expect("a manifest of our own");
        let lines: Vec<String> = objects(&json).iter().map(ToString::to_string).collect();
        expect(&file.beside("json"), &(lines.join("\n") + "\n"));
    }
}

/// The objects of a listing without the first one, which tells versions.
fn objects(json: &serde_json::Value) -> Vec<serde_json::Value> {
    json["nftables"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|object| object.get("metainfo").is_none())
        .cloned()
        .collect()
}

#[test]
fn nft_accepts_each_and_prints_the_same() {
    for file in files(FOLDER) {
        let listed = in_own_namespace(&format!("nft -f {} && nft list ruleset", file.path));
        if kernel_lacks(&file, &listed) {
            continue;
        }
        let listed = listed.unwrap_or_else(|message| panic!("nft refuses {}: {message}", file.path));
        let ours = print::text(&parsed(&file.path, &read(&file.path)));
        match PRINTED_OTHERWISE.iter().find(|(name, _)| *name == file.name) {
            Some((_, why)) => assert_ne!(listed, ours, "{} is no exception any more: {why}", file.path),
            None => assert_eq!(listed, ours, "{}", file.path),
        }
    }
}

#[test]
fn nft_accepts_what_we_print() {
    for file in files(FOLDER) {
        let answer = in_own_namespace(&format!("nft -c -f {}", file.beside("ok")));
        if kernel_lacks(&file, &answer) {
            continue;
        }
        answer.unwrap_or_else(|message| panic!("nft refuses our text of {}: {message}", file.path));
    }
}

#[test]
fn nft_lists_the_same_json() {
    for file in files(FOLDER) {
        if PRINTED_OTHERWISE.iter().any(|(name, _)| *name == file.name) {
            continue;
        }
        let listed = in_own_namespace(&format!("nft -f {} && nft -j list ruleset", file.path));
        if kernel_lacks(&file, &listed) {
            continue;
        }
        let listed = listed.expect("accepted above");
        let theirs = objects(&serde_json::from_str(&listed).expect("JSON"));
        let compiled = compile(&parsed(&file.path, &read(&file.path)), None).expect("small");
        let counts = |slot: u32| {
            compiled
                .manifest
                .counters()
                .find(|counter| counter.slot == slot)
                .map_or((0, 0), |counter| (counter.packets, counter.bytes))
        };
        let ours = objects(
            &listing::json(&compiled.manifest, Live { counts: &counts, cell: &|cell| cell.first })
                .expect("a manifest of our own"),
        );
        assert_eq!(ours.len(), theirs.len(), "{}", file.path);
        for (ours, theirs) in comparable(ours).iter().zip(comparable(theirs)) {
            assert!(*ours == theirs, "{}\nours:   {ours}\ntheirs: {theirs}", file.path);
        }
    }
}

/// Leaves out what nft 1.0.6 does not tell (comments of tables and chains, devices of chains, `auto-merge`), or tells wrongly (it prints a
/// table's name as its flags), and handles: ours are counted as in a file of one table block.
fn comparable(objects: Vec<serde_json::Value>) -> Vec<serde_json::Value> {
    let strip = |mut object: serde_json::Value| {
        for kind in ["table", "chain", "set", "map", "counter", "quota", "limit", "synproxy", "rule"] {
            if let Some(fields) = object.get_mut(kind).and_then(serde_json::Value::as_object_mut) {
                fields.remove("handle");
                fields.remove("auto-merge");
                fields.remove("dev");
                if kind == "table" || kind == "chain" {
                    fields.remove("comment");
                }
                if kind == "table" {
                    fields.remove("flags");
                }
            }
        }
        object
    };
    objects.into_iter().map(strip).collect()
}

/// The code blocks of `docs/LANGUAGE.md` with this word behind their fence.
fn documented(kind: &str) -> Vec<String> {
    let page = read("../docs/LANGUAGE.md");
    let fence = format!("\n```{kind}\n");
    let blocks = page.split(&fence).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

/// Rules alone need a table and a chain around them.
fn with_chain(rules: &str) -> String {
    if rules.contains("table ") {
        return format!("{rules}\n");
    }
    format!("table inet t {{\nchain c {{\ntype filter hook input priority 0;\n{rules}\n}}\n}}\n")
}

#[test]
fn the_page_about_the_language_is_true() {
    let accepted = documented("nft");
    assert!(accepted.len() > 4);
    let file = std::env::temp_dir().join(format!("rampart-language-{}.nft", std::process::id()));
    for text in accepted.iter().map(|text| with_chain(text)) {
        parsed("docs/LANGUAGE.md", &text);
        std::fs::write(&file, &text).expect("a temporary file");
        in_own_namespace(&format!("nft -f {}", file.display())).unwrap_or_else(|message| panic!("{message}\n{text}"));
    }
    std::fs::remove_file(&file).expect("removable");
    let refused = documented("nft-refused");
    for rule in refused.iter().flat_map(|block| block.lines()) {
        assert!(parse_text("docs/LANGUAGE.md", &with_chain(rule), &options()).is_err(), "accepted: {rule}");
    }
}

#[test]
fn the_examples_are_accepted_without_a_warning() {
    for file in files("../examples") {
        let parsed = parse_text(&file.path, &read(&file.path), &options());
        let parsed = parsed.unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false)));
        assert_eq!(parsed.warnings.render(false), "", "{}", file.path);
        in_own_namespace(&format!("nft -f {}", file.path)).unwrap_or_else(|message| panic!("{}: {message}", file.path));
    }
}
