//! Token buckets and quotas: what `limit` and `quota` do, each over one word of 64 bits.
//!
//! The kernel keeps two numbers for a bucket, how many tokens it had and when that was (`nft_limit_eval`,
//! `net/netfilter/nft_limit.c`, Linux 6.18), under a lock. Tokens are nanoseconds there: they come with time and a packet
//! costs some. So the two numbers say one thing, the time at which the bucket would have been empty, and that is the word
//! here: it changes in one compare-and-swap, and no CPU waits for another one.

/// Added to every time in a bucket's word: zero, what a map's values are at first, then lies before anything that a
/// full bucket could hold, and a bucket that was never used is full.
const BIAS: u64 = 1 << 63;

/// Buckets hold less than this many nanoseconds (292 years).
pub const LARGEST_BUCKET: u64 = BIAS;

/// Tries to change a bucket's word before the packet is taken to be over the limit. Each failure means that another CPU
/// took a packet's worth meanwhile, so with any number of CPUs that many packets got what there was.
const TRIES: u32 = 16;

/// A bucket's word, wherever it lies.
pub trait Word {
    /// What it is now.
    fn load(&self) -> u64;
    /// Makes it `new` if it is `old`; says whether it was.
    fn replace(&self, old: u64, new: u64) -> bool;
}

/// The word after a packet that costs `cost` took it from the bucket at time `now`, or 0 when there was not enough.
///
/// `now`, `cost` and `capacity` are nanoseconds, the last one below [`LARGEST_BUCKET`]. A word that is 0 is a full bucket.
#[inline(always)]
pub const fn after(word: u64, now: u64, cost: u64, capacity: u64) -> u64 {
    let now = now.wrapping_add(BIAS);
    // A bucket does not get fuller than full.
    let full = now.wrapping_sub(capacity);
    let empty = if word > full { word } else { full };
    // `empty` may lie ahead: another CPU's clock was read later than ours.
    let spent = empty.wrapping_add(cost);
    if spent < empty || spent > now { 0 } else { spent }
}

/// What is in the bucket at time `now`.
pub const fn left(word: u64, now: u64, capacity: u64) -> u64 {
    let now = now.wrapping_add(BIAS);
    let full = now.wrapping_sub(capacity);
    let empty = if word > full { word } else { full };
    now.saturating_sub(empty)
}

/// Takes what a packet costs from the bucket; `false` when there is not enough.
#[inline(always)]
pub fn take(word: &impl Word, now: u64, cost: u64, capacity: u64) -> bool {
    for _ in 0..TRIES {
        let old = word.load();
        let new = after(old, now, cost, capacity);
        if new == 0 {
            return false;
        }
        if word.replace(old, new) {
            return true;
        }
    }
    false
}

/// What a packet of `length` bytes costs at `rate` bytes in `nanoseconds`. Products beyond 64 bits wrap as in the kernel.
#[inline(always)]
pub const fn cost_of_bytes(length: u32, nanoseconds: u64, rate: u64) -> u64 {
    match nanoseconds.wrapping_mul(length as u64).checked_div(rate) {
        Some(cost) => cost,
        None => u64::MAX,
    }
}

/// What a `limit` comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// What a packet costs; 0 when that depends on its length.
    pub cost: u64,
    /// How much it holds.
    pub capacity: u64,
}

/// Packets of a burst when none, or 0, is written (`NFT_LIMIT_PKT_BURST_DEFAULT`).
pub const DEFAULT_BURST: u64 = 5;

impl Bucket {
    /// `rate` packets in `nanoseconds`; `None` where the kernel refuses the numbers.
    pub const fn of_packets(rate: u64, nanoseconds: u64, burst: u64) -> Option<Self> {
        let burst = if burst == 0 { DEFAULT_BURST } else { burst };
        // The kernel adds them up first, whatever it does with the sum.
        if rate.checked_add(burst).is_none() {
            return None;
        }
        let Some(cost) = nanoseconds.checked_div(rate) else { return None };
        match cost.checked_mul(burst) {
            Some(capacity) if capacity < LARGEST_BUCKET => Some(Self { cost, capacity }),
            Some(_) | None => None,
        }
    }

    /// `rate` bytes in `nanoseconds`.
    pub const fn of_bytes(rate: u64, nanoseconds: u64, burst: u64) -> Option<Self> {
        let Some(most) = rate.checked_add(burst) else { return None };
        let Some(product) = nanoseconds.checked_mul(most) else { return None };
        match product.checked_div(rate) {
            Some(capacity) if capacity < LARGEST_BUCKET => Some(Self { cost: 0, capacity }),
            Some(_) | None => None,
        }
    }
}

#[cfg(any(test, feature = "user"))]
impl Word for core::sync::atomic::AtomicU64 {
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::Relaxed)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        use core::sync::atomic::Ordering::Relaxed;
        self.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests;
