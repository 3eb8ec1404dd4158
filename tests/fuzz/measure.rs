//! How much memory something takes at most.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, counted for each thread.
struct Counted;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// A thread that ends frees without being counted.
fn change(by: impl Fn(usize) -> usize) {
    let _ = NOW.try_with(|now| {
        now.set(by(now.get()));
        PEAK.with(|peak| peak.set(peak.get().max(now.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(|now| now + layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        change(|now| now.saturating_sub(layout.size()));
        // SAFETY: `pointer` came from `alloc` above, that is, from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Does something: the most bytes that were allocated in this thread meanwhile, and what came of it.
pub(crate) fn peak<T>(what: impl FnOnce() -> T) -> (usize, T) {
    let before = NOW.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let done = what();
    (PEAK.with(Cell::get).saturating_sub(before), done)
}
