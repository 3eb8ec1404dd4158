//! Concatenations as tests: one of several alternatives, each of which is a test of every part.

use std::collections::HashMap;

use super::{
    assembler::{Assembler, Place},
    words::{self, Way},
};
use crate::language::ruleset::{Subject, Tuple, Verdict};

/// Intervals: those a part is in, or one of each part.
type Part = Vec<(u128, u128)>;

/// Of each part of a concatenation.
pub(super) type Parts = Vec<Part>;

/// What gives a verdict (or, in a set, is in it): a value of each part.
pub(super) type Alternative = (Option<Verdict>, Vec<Part>);

/// Elements that differ in their first part only, as one: with their verdict, in order of the first of each.
pub(super) fn alternatives(tuples: &[Tuple]) -> Vec<Alternative> {
    let mut found: Vec<Alternative> = Vec::new();
    let mut index: HashMap<(Option<Verdict>, Part), usize> = HashMap::new();
    for tuple in tuples {
        let (key, verdict) = (&tuple.key, &tuple.verdict());
        let runs: Vec<(u128, u128)> = key.iter().map(|part| (part.low, part.high)).collect();
        let Some((first, rest)) = runs.split_first() else { continue };
        if let Some(at) = index.get(&(*verdict, rest.to_vec())) {
            found[*at].1[0].push(*first);
            continue;
        }
        index.insert((*verdict, rest.to_vec()), found.len());
        found.push((*verdict, runs.iter().map(|run| vec![*run]).collect()));
    }
    found
}

/// Tests every part of an alternative, the last first: of those with many values there is one, and it is dearest.
pub(super) fn write(out: &mut Assembler, subjects: &[Subject], parts: Parts, way: Way) {
    let mut left = parts.len();
    for (subject, part) in subjects.iter().zip(parts).rev() {
        left -= 1;
        if left == 0 {
            return words::write_keys(out, *subject, part, way);
        }
        let next = out.label();
        words::write_keys(out, *subject, part, Way { flags: 0, pass: Place::Label(next), ..way });
        out.bind_here(next);
    }
}
