//! Tables: rows that are all tried, and all the wrong ones shown at once.

use std::fmt::{Debug, Write};

use firewall_tests::packet::Frame;
use firewall_user::kernel::Side;

use super::{Firewall, Outcome};

/// The three places that the program judges packets at.
pub const SIDES: [Side; 3] = [Side::Xdp, Side::TcIngress, Side::TcEgress];

/// Compares what each row wanted with what it got.
#[track_caller]
pub fn check_rows<L: Debug, V: PartialEq + Debug>(rows: impl IntoIterator<Item = (L, V, V)>) {
    let mut wrong = String::new();
    let mut count = 0;
    for (label, wanted, got) in rows {
        count += 1;
        if wanted != got {
            writeln!(wrong, "  {label:?}: wanted {wanted:?}, got {got:?}").expect("a string takes everything");
        }
    }
    assert!(count > 0, "a table without rows");
    assert!(wrong.is_empty(), "of {count} rows:\n{wrong}");
}

impl Firewall {
    /// Every packet comes in, in order, and has this outcome.
    #[track_caller]
    pub fn check_ingress<L: Debug>(&self, rows: impl IntoIterator<Item = (L, Frame, Outcome)>) {
        self.check_frames(Side::Xdp, rows.into_iter().map(|(label, frame, wanted)| (label, frame.bytes(), wanted)));
    }

    /// Every packet leaves, in order, and has this outcome.
    #[track_caller]
    pub fn check_egress<L: Debug>(&self, rows: impl IntoIterator<Item = (L, Frame, Outcome)>) {
        self.check_frames(
            Side::TcEgress,
            rows.into_iter().map(|(label, frame, wanted)| (label, frame.bytes(), wanted)),
        );
    }

    /// The same for bytes, on one side.
    #[track_caller]
    pub fn check_frames<L: Debug>(&self, side: Side, rows: impl IntoIterator<Item = (L, Vec<u8>, Outcome)>) {
        let (mut expected, mut frames) = (Vec::new(), Vec::new());
        for (label, frame, wanted) in rows {
            expected.push(((label, side), wanted));
            frames.push(frame);
        }
        let outcomes = self.judge_all(side, &frames);
        check_rows(expected.into_iter().zip(outcomes).map(|((label, wanted), got)| (label, wanted, got)));
    }
}

/// A rule's tests, the packets that pass them, the packets that do not: words for packets, separated by spaces.
pub type Match<'a> = (&'a str, &'a str, &'a str);

/// Every rule counts every packet that it is said to match, and none of the others. All rules are in one chain, without
/// verdicts, so that each sees each packet. `before` is put in front of the chain: sets, definitions.
#[track_caller]
pub fn check_matches(side: Side, before: &str, packet: impl Fn(&str) -> Frame, rows: &[Match<'_>]) {
    let firewall = Firewall::new(&counting(side, before, rows));
    let words: Vec<_> = {
        let all: std::collections::BTreeSet<_> =
            rows.iter().flat_map(|(_, hits, misses)| hits.split(' ').chain(misses.split(' '))).collect();
        all.into_iter().filter(|word| !word.is_empty()).collect()
    };
    let frames: Vec<_> = words.iter().map(|word| packet(word).bytes()).collect();
    let counted: Vec<_> = words.iter().zip(firewall.counted_by(side, &frames)).collect();
    let matched = |row: usize, word: &str| {
        let (_, rules) = counted.iter().find(|(counted, _)| **counted == word).expect("every word was tried");
        rules.contains(&row.to_string())
    };
    let columns = rows.iter().enumerate().flat_map(|(row, (rule, hits, misses))| {
        let cells = move |words: &str, wanted| {
            words.split(' ').filter(|word| !word.is_empty()).map(|word| (word.to_owned(), wanted)).collect::<Vec<_>>()
        };
        let cells = [cells(hits, true), cells(misses, false)].concat();
        cells.into_iter().map(move |(word, wanted)| (row, *rule, word, wanted))
    });
    check_rows(columns.map(|(row, rule, word, wanted)| {
        let got = matched(row, &word);
        (format!("`{rule}` and {word}"), wanted, got)
    }));
}

fn counting(side: Side, before: &str, rows: &[Match<'_>]) -> String {
    let hook = if side == Side::TcEgress { "output" } else { "input" };
    let rules: Vec<_> =
        rows.iter().enumerate().map(|(row, (rule, ..))| format!("{rule} counter comment \"{row}\"")).collect();
    format!(
        "table inet t {{\n{before}\nchain c {{\ntype filter hook {hook} priority 0; policy accept;\n{}\n}}\n}}",
        rules.join("\n")
    )
}
