//! Maglev hashing: places of a table given to backends so that each gets its share, and so that few places change when one
//! backend comes or goes (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).

/// A backend that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What it is told apart by; its places follow from it alone.
    pub name: &'a str,
    /// Its share, in relation to the others'. One of 0 gets no place.
    pub weight: u32,
}

/// For each of `size` places the index of a member; `None` when no member has a share.
pub fn table(members: &[Member<'_>], size: usize) -> Option<Vec<usize>> {
    let heaviest = members.iter().map(|member| member.weight).max().filter(|weight| *weight > 0)?;
    let mut walks: Vec<Walk> = members.iter().map(|member| Walk::of(member, size)).collect();
    let mut places = vec![None; size];
    let mut left = size;
    while left > 0 {
        for (index, walk) in walks.iter_mut().enumerate() {
            // Each round gives the heaviest one a place, the others one in as many rounds as their share says.
            walk.credit += u64::from(members[index].weight);
            if walk.credit < u64::from(heaviest) || left == 0 {
                continue;
            }
            walk.credit -= u64::from(heaviest);
            let place = walk.next_free(&places);
            places[place] = Some(index);
            left -= 1;
        }
    }
    Some(places.into_iter().flatten().collect())
}

/// A member's way through the table: a permutation of its places.
struct Walk {
    /// Places in the order it wants them, the next one last.
    wanted: Vec<usize>,
    credit: u64,
}

impl Walk {
    fn of(member: &Member<'_>, size: usize) -> Self {
        let mut order: Vec<(u64, usize)> =
            (0..size).map(|place| (mixed(hash(member.name) ^ (place as u64).wrapping_mul(GOLDEN)), place)).collect();
        // A table of any size has such an order; steps of equal length, as in the paper, want a prime one.
        order.sort_unstable_by(|one, other| other.cmp(one));
        Self { wanted: order.into_iter().map(|(_, place)| place).collect(), credit: 0 }
    }

    fn next_free(&mut self, places: &[Option<usize>]) -> usize {
        loop {
            let place = self.wanted.pop().expect("a member wants every place, and one is free");
            if places[place].is_none() {
                return place;
            }
        }
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Every bit of the result depends on every bit of the argument (the finalizer of splitmix64).
const fn mixed(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members<'a>(names: &'a [String], weights: &[u32]) -> Vec<Member<'a>> {
        names.iter().zip(weights).map(|(name, weight)| Member { name, weight: *weight }).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("192.0.2.{number}:8443")).collect()
    }

    fn counted(table: &[usize], count: usize) -> Vec<usize> {
        let mut counts = vec![0; count];
        for member in table {
            counts[*member] += 1;
        }
        counts
    }

    #[test]
    fn nobody_to_give_places_to() {
        assert_eq!(table(&[], 7), None);
        assert_eq!(table(&members(&names(2), &[0, 0]), 7), None);
    }

    #[test]
    fn each_gets_its_share() {
        let names = names(4);
        assert_eq!(counted(&table(&members(&names, &[1; 4]), 251).expect("a table"), 4), [63, 63, 63, 62]);
        let weighted = counted(&table(&members(&names, &[1, 2, 4, 0]), 700).expect("a table"), 4);
        assert_eq!(weighted, [100, 200, 400, 0]);
    }

    proptest! {
        /// When one of N goes, its places move, and little more than them.
        #[test]
        fn few_places_move(count in 2_usize..20, gone in 0_usize..20) {
            let gone = gone % count;
            let (size, names) = (1009, names(count));
            let before = table(&members(&names, &vec![1; count]), size).expect("a table");
            let mut weights = vec![1; count];
            weights[gone] = 0;
            let after = table(&members(&names, &weights), size).expect("a table");
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after && **before != gone).count();
            prop_assert!(moved <= size / 10, "{moved} places of others moved");
            prop_assert!(after.iter().all(|member| *member != gone));
            let counts = counted(&after, count);
            let (least, most) = (counts.iter().filter(|count| **count > 0).min(), counts.iter().max());
            prop_assert!(most.expect("some") - least.expect("some") <= 1);
        }
    }
}
