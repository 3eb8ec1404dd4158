//! Elements as somebody would write them: prefixes that together are one interval.

use super::StateElement;

/// Joins elements that differ in one part only, stand side by side there, and are the same in all else.
pub fn joined(mut elements: Vec<StateElement>) -> Vec<StateElement> {
    let parts = elements.first().map_or(0, |one| one.parts.len());
    for part in (0..parts).rev() {
        elements.sort_by_cached_key(|one| (others(one, part), one.parts[part]));
        elements.dedup_by(|later, earlier| join(earlier, later, part));
    }
    elements.sort_by(|a, b| a.parts.cmp(&b.parts));
    elements
}

fn others(element: &StateElement, part: usize) -> Vec<(u128, u128)> {
    let all = element.parts.iter().enumerate();
    all.filter(|(at, _)| *at != part).map(|(_, run)| *run).collect()
}

fn join(earlier: &mut StateElement, later: &StateElement, part: usize) -> bool {
    let together = StateElement { parts: earlier.parts.clone(), ..later.clone() };
    let beside = earlier.parts[part].1.checked_add(1) == Some(later.parts[part].0);
    let is_one = beside && together == *earlier && others(earlier, part) == others(later, part);
    if is_one {
        earlier.parts[part].1 = later.parts[part].1;
    }
    is_one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(parts: &[(u128, u128)], data: u128) -> StateElement {
        StateElement { parts: parts.to_vec(), data: vec![data], ..StateElement::default() }
    }

    #[test]
    fn pieces_of_an_interval_become_one() {
        let pieces = [((4, 7), 1), ((1, 1), 1), ((2, 3), 1), ((8, 8), 2), ((10, 10), 2)];
        let found = joined(pieces.iter().map(|(run, data)| element(&[*run], *data)).collect());
        assert_eq!(found, [element(&[(1, 7)], 1), element(&[(8, 8)], 2), element(&[(10, 10)], 2)]);
    }

    #[test]
    fn pieces_of_several_parts_become_one() {
        let rows = [(1, 1), (2, 3)];
        let columns = [(8, 15), (16, 16)];
        let pieces = rows.iter().flat_map(|row| columns.iter().map(move |column| element(&[*row, *column], 1)));
        let other = element(&[(1, 3), (17, 17)], 2);
        assert_eq!(joined(pieces.chain([other.clone()]).collect()), [element(&[(1, 3), (8, 16)], 1), other]);
    }
}
