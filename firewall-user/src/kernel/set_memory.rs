//! The memory of a named set, mapped into our own a window at a time: the kernel puts every page of a mapping in place at once,
//! and a change of one element touches a handful of them.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

use firewall_common::sets::{LINE, LINE_WORDS, Lines};

/// Bytes of a window at least: 16 pages.
const WINDOW: usize = 64 << 10;
/// Windows of a set at most, as a process may have 65,530 mappings (`vm.max_map_count`).
const WINDOWS: usize = 4096;

/// A line as it is mapped.
type MappedLine = [AtomicU64; LINE_WORDS];

/// A set's memory.
pub struct SetMemory {
    map: OwnedFd,
    count: usize,
    /// Lines of a window; a power of two.
    window: usize,
    mapped: RefCell<HashMap<usize, NonNull<MappedLine>>>,
}

impl Drop for SetMemory {
    fn drop(&mut self) {
        for (number, window) in self.mapped.get_mut().drain() {
            let lines = self.window.min(self.count - number * self.window);
            // SAFETY: what was mapped, as long as it was.
            unsafe { libc::munmap(window.as_ptr().cast(), lines * LINE) };
        }
    }
}

impl SetMemory {
    /// The memory of a map of so many lines.
    pub(super) fn of(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let window = (WINDOW / LINE).max(count.div_ceil(WINDOWS).next_power_of_two());
        Ok(Self { map: map.try_clone_to_owned()?, count, window, mapped: RefCell::default() })
    }

    /// The lines, as they are asked for. One that cannot be mapped is not there.
    pub const fn lines(&self) -> SetLines<'_> {
        SetLines(self)
    }

    /// Bytes of memory.
    pub const fn bytes(&self) -> u64 {
        (self.count * LINE) as u64
    }

    fn window(&self, number: usize) -> io::Result<NonNull<MappedLine>> {
        if let Some(window) = self.mapped.borrow().get(&number) {
            return Ok(*window);
        }
        let first = number * self.window;
        // SAFETY: a new mapping, wherever the kernel wants it.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                self.window.min(self.count - first) * LINE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                self.map.as_fd().as_raw_fd(),
                (first * LINE) as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let window = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at no address"))?;
        self.mapped.borrow_mut().insert(number, window);
        Ok(window)
    }
}

/// The lines of a set's memory.
#[derive(Clone, Copy)]
pub struct SetLines<'a>(&'a SetMemory);

impl<'a> Lines for SetLines<'a> {
    type Line = &'a MappedLine;

    fn line(&self, index: u32) -> Option<Self::Line> {
        let (memory, index) = (self.0, index as usize);
        if index >= memory.count {
            return None;
        }
        let window = memory.window(index / memory.window).ok()?;
        // SAFETY: within the window, which stays mapped as long as the memory lives, and all of it words that are read and written
        // whole.
        Some(unsafe { window.add(index % memory.window).as_ref() })
    }
}
