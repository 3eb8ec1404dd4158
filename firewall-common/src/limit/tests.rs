use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proptest::prelude::*;

use super::{Bucket, DEFAULT_BURST, LARGEST_BUCKET, after, cost_of_bytes, take};

const SECOND: u64 = 1_000_000_000;

/// `nft_limit_eval` and `nft_limit_init` (`net/netfilter/nft_limit.c`, Linux 6.18), as they stand there.
struct Model {
    tokens: u64,
    last: u64,
    tokens_max: u64,
}

impl Model {
    fn new(bucket: Bucket, now: u64) -> Self {
        Self { tokens: bucket.capacity, last: now, tokens_max: bucket.capacity }
    }

    fn eval(&mut self, now: u64, cost: u64) -> bool {
        let mut tokens = self.tokens.wrapping_add(now).wrapping_sub(self.last);
        if tokens > self.tokens_max {
            tokens = self.tokens_max;
        }
        self.last = now;
        let delta = tokens.wrapping_sub(cost) as i64;
        if delta >= 0 {
            self.tokens = delta as u64;
            return true;
        }
        self.tokens = tokens;
        false
    }
}

fn unit() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(60), Just(3600), Just(86_400), Just(604_800)].prop_map(|seconds| seconds * SECOND)
}

/// Gaps between packets: none, a little, about as long as a packet costs, long.
fn gaps(cost: u64, capacity: u64) -> impl Strategy<Value = Vec<u64>> {
    let around = |length: u64| (0..3_u64).prop_map(move |offset| (length + offset).saturating_sub(1));
    let gap = prop_oneof![Just(0), 0..1000_u64, around(cost), around(capacity), 0..=capacity];
    prop::collection::vec(gap, 1..100)
}

fn agrees(bucket: Bucket, start: u64, packets: impl Iterator<Item = (u64, u64)>) {
    let mut model = Model::new(bucket, start);
    let (mut word, mut now) = (0, start);
    for (gap, cost) in packets {
        now += gap;
        let new = after(word, now, cost, bucket.capacity);
        assert_eq!(new != 0, model.eval(now, cost), "{bucket:?} at {now}: {cost}");
        word = if new == 0 { word } else { new };
    }
}

proptest! {
    #[test]
    fn packets_are_limited_as_in_the_kernel(
        (bucket, gaps) in (1..10_000_u64, unit(), 0..100_u64).prop_flat_map(|(rate, unit, burst)| {
            let bucket = Bucket::of_packets(rate, unit, burst).expect("small");
            (Just(bucket), gaps(bucket.cost, bucket.capacity))
        }),
        start in 0..100 * SECOND,
    ) {
        agrees(bucket, start, gaps.into_iter().map(|gap| (gap, bucket.cost)));
    }

    #[test]
    fn bytes_are_limited_as_in_the_kernel(
        (rate, unit, bucket, gaps) in (1..10_000_000_u64, unit(), 0..10_000_u64).prop_filter_map(
            "beyond 64 bits",
            |(rate, unit, burst)| Some((rate, unit, Bucket::of_bytes(rate, unit, burst)?)),
        ).prop_flat_map(|(rate, unit, bucket)| {
            (Just(rate), Just(unit), Just(bucket), gaps(cost_of_bytes(1500, unit, rate), bucket.capacity))
        }),
        lengths in prop::collection::vec(20..65_535_u32, 100),
        start in 0..100 * SECOND,
    ) {
        let costs = lengths.into_iter().map(|length| cost_of_bytes(length, unit, rate));
        agrees(bucket, start, gaps.into_iter().zip(costs));
    }
}

/// A packet that is let through leaves its bucket with a word that is not that of a full one, whatever the time.
#[test]
fn a_used_bucket_is_not_taken_for_an_unused_one() {
    for now in [0, 1, SECOND, u64::MAX / 4] {
        for capacity in [0, 1, SECOND, LARGEST_BUCKET - 1] {
            assert_ne!(after(0, now, 0, capacity), 0, "{now} {capacity}");
        }
    }
}

#[test]
fn a_burst_is_let_through_at_once_and_then_the_rate() {
    let bucket = Bucket::of_packets(10, SECOND, 0).expect("small");
    assert_eq!(bucket, Bucket { cost: SECOND / 10, capacity: DEFAULT_BURST * SECOND / 10 });
    let word = AtomicU64::new(0);
    let passed = |now: u64| (0..100).filter(|_| take(&word, now, bucket.cost, bucket.capacity)).count();
    // Even right after the machine started.
    assert_eq!(passed(0), 5);
    assert_eq!(passed(SECOND / 10 - 1), 0);
    assert_eq!(passed(SECOND / 10), 1);
    assert_eq!(passed(100 * SECOND), 5);
}

#[test]
fn numbers_that_the_kernel_refuses_have_no_bucket() {
    assert_eq!(Bucket::of_packets(0, SECOND, 5), None);
    assert_eq!(Bucket::of_packets(u64::MAX, SECOND, 5), None);
    assert_eq!(Bucket::of_bytes(0, SECOND, 5), None);
    assert_eq!(Bucket::of_packets(1, 604_800 * SECOND, u64::from(u32::MAX)), None);
    assert_eq!(Bucket::of_bytes(u64::MAX, SECOND, 1), None);
    assert_eq!(Bucket::of_bytes(1 << 40, SECOND, 0), None);
    assert!(Bucket::of_packets(1, SECOND, u64::from(u32::MAX)).is_some());
}

/// Two CPUs, one bucket: together they get what there is, not more, and hardly less.
#[test]
fn two_cpus_share_a_bucket() {
    const PACKETS: u64 = 400_000;
    // The clock moves on by one with each packet; a packet in ten may pass.
    let (word, clock) = (AtomicU64::new(0), AtomicU64::new(SECOND));
    let (cost, capacity) = (10, 50);
    let run = || {
        let try_one = |_: &u64| take(&word, clock.fetch_add(1, Ordering::Relaxed), cost, capacity);
        (0..PACKETS / 2).filter(try_one).count() as u64
    };
    let passed = thread::scope(|scope| {
        let other = scope.spawn(run);
        run() + other.join().expect("no panic")
    });
    let most = PACKETS / cost + capacity / cost;
    assert!(passed <= most + 1, "{passed} of at most {most}");
    assert!(passed >= most * 95 / 100, "{passed} of {most}");
}
