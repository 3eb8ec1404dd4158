//! How the places of a map are shared among backends that are up.

use serde::{Deserialize, Serialize};

use super::maglev::{self, Member};

/// How places are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choose {
    /// By Maglev: when one of N backends goes, about 1/N of the places change hands.
    #[default]
    Consistent,
    /// In turns: what `numgen inc` goes through reaches one backend after the other.
    RoundRobin,
    /// In the measure in which backends have fewer connections than others.
    LeastConnections,
}

/// A backend that may get places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// What it is told apart by.
    pub name: &'a str,
    /// Its share.
    pub weight: u32,
    /// Is it up?
    pub is_up: bool,
    /// Connections that it has.
    pub connections: u64,
}

/// For each of `size` places the index of a backend. When none is up, all are given places: somebody may answer after all, and
/// nobody would otherwise. `None` when there is no backend with a share.
pub fn places(choose: Choose, candidates: &[Candidate<'_>], size: usize) -> Option<Vec<usize>> {
    let any_up = candidates.iter().any(|candidate| candidate.is_up && candidate.weight > 0);
    let weight = |candidate: &Candidate<'_>| if candidate.is_up || !any_up { candidate.weight } else { 0 };
    match choose {
        Choose::Consistent => {
            let member = |candidate| (candidate, weight(candidate));
            let members: Vec<Member<'_>> = candidates
                .iter()
                .map(member)
                .map(|(candidate, weight)| Member { name: candidate.name, weight })
                .collect();
            maglev::table(&members, size)
        }
        Choose::RoundRobin => in_turns(&candidates.iter().map(weight).collect::<Vec<_>>(), size),
        Choose::LeastConnections => in_turns(&deficits(candidates, weight), size),
    }
}

/// One after the other, smoothly: who has waited for the largest share is next (as nginx shares, `ngx_http_upstream_round_robin`).
fn in_turns(weights: &[u32], size: usize) -> Option<Vec<usize>> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    if total == 0 {
        return None;
    }
    let mut waited = vec![0_i64; weights.len()];
    let next = |_| {
        waited.iter_mut().zip(weights).for_each(|(waited, weight)| *waited += i64::from(*weight));
        // Of equals the first.
        let chosen = (0..waited.len()).rev().max_by_key(|index| (weights[*index] > 0, waited[*index])).unwrap_or(0);
        waited[chosen] -= total;
        chosen
    };
    Some((0..size).map(next).collect())
}

/// Shares by which backends come to have connections in the measure of their weights: what each lacks of the fullest one's level,
/// and one part more, so that equals share evenly.
fn deficits(candidates: &[Candidate<'_>], weight: impl Fn(&Candidate<'_>) -> u32) -> Vec<u32> {
    let level = |candidate: &Candidate<'_>| {
        candidate.connections.saturating_mul(1000).checked_div(u64::from(weight(candidate))).unwrap_or(0)
    };
    let fullest = candidates.iter().map(level).max().unwrap_or(0);
    let parts = |candidate: &Candidate<'_>| {
        let lacking = (fullest - level(candidate)).saturating_mul(u64::from(weight(candidate))) / 1000;
        let parts = lacking.saturating_add(1).min(u64::from(u16::MAX)) as u32;
        if weight(candidate) == 0 { 0 } else { parts }
    };
    candidates.iter().map(parts).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn candidates(states: &[(u32, bool, u64)]) -> Vec<Candidate<'static>> {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let one = |(name, (weight, is_up, connections)): (&&'static str, &(u32, bool, u64))| Candidate {
            name,
            weight: *weight,
            is_up: *is_up,
            connections: *connections,
        };
        NAMES.iter().zip(states).map(one).collect()
    }

    fn shown(choose: Choose, states: &[(u32, bool, u64)], size: usize) -> String {
        let places = places(choose, &candidates(states), size);
        places.map_or("none".to_owned(), |places| places.iter().map(|place| ['a', 'b', 'c'][*place]).collect())
    }

    #[rstest]
    #[case(&[(1, true, 0), (1, true, 0), (1, true, 0)], "abcabc")]
    #[case(&[(1, true, 0), (1, false, 0), (1, true, 0)], "acacac")]
    #[case(&[(2, true, 0), (1, true, 0)], "abaaba")]
    #[case(&[(1, false, 0), (1, false, 0)], "ababab")]
    #[case(&[(0, true, 0)], "none")]
    fn in_turns_of_those_that_are_up(#[case] states: &[(u32, bool, u64)], #[case] wanted: &str) {
        assert_eq!(shown(Choose::RoundRobin, states, 6), wanted);
    }

    #[rstest]
    #[case::equals(&[(1, true, 5), (1, true, 5)], "abab")]
    #[case::one_has_none(&[(1, true, 100), (1, true, 0)], "bbbb")]
    #[case::by_weight(&[(2, true, 20), (1, true, 10)], "abab")]
    #[case::one_is_down(&[(1, true, 100), (1, false, 0)], "aaaa")]
    fn who_has_least(#[case] states: &[(u32, bool, u64)], #[case] wanted: &str) {
        assert_eq!(shown(Choose::LeastConnections, states, 4), wanted);
    }

    #[test]
    fn consistent_leaves_others_alone() {
        let all = shown(Choose::Consistent, &[(1, true, 0), (1, true, 0), (1, true, 0)], 251);
        let without = shown(Choose::Consistent, &[(1, true, 0), (1, false, 0), (1, true, 0)], 251);
        assert!(!without.contains('b'));
        let moved =
            all.chars().zip(without.chars()).filter(|(before, after)| before != after && *before != 'b').count();
        assert!(moved < 60, "{moved}");
    }
}
