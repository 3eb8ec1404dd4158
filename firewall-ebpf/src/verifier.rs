//! What the verifier wants said in a certain way: one named helper each, with the reason.

use core::arch::asm;

/// Returns `value`, of which LLVM then knows nothing.
///
/// Used on packet pointers: LLVM otherwise computes `data + at + N` for the bounds check and `data + at` for the access
/// from different bases, and the verifier, which attaches the proven range to the base, refuses the access ("invalid
/// access to packet"; llvm/llvm-project#53121). Verified on Linux 6.18.
#[inline(always)]
pub fn opaque(value: usize) -> usize {
    let result: usize;
    // A move, because a sequence without any instruction gives two line records to one offset, which the kernel refuses
    // ("Invalid line_info").
    // SAFETY: one register is copied to another.
    unsafe { asm!("{0} = {1}", lateout(reg) result, in(reg) value, options(pure, nomem, nostack)) };
    result
}

/// Begins a function: takes its whole stack frame at once.
///
/// The verifier gives a frame as many bytes as were written to so far. When it finds a state equal to one it has seen, it marks
/// what that one needed, which can be a slot that this path never wrote (LLVM keeps values there that matter on some paths only),
/// and follows the slot back to a state in which the frame was shorter: "verifier bug: stack slot 10, total slots 10", `EFAULT`
/// (`__mark_chain_precision`, kernel/bpf/verifier.c; seen on Linux 6.18). A frame that is whole from the first instruction on
/// has no such state.
///
/// How long it is only the compiled function tells: the build (`firewall-user/build/frames.rs`) puts the length into this
/// instruction, and refuses a function that has a frame and does not begin with it.
#[inline(always)]
pub fn frame() {
    // SAFETY: the build moves the store to the lowest place of the frame, where nothing is yet.
    unsafe { asm!("*(u64 *)(r10 - 8) = r10", options(nostack, preserves_flags)) };
}

/// One byte at `address`.
///
/// # Safety
/// The byte must be readable: inside what [`crate::packet`] checked.
#[inline(always)]
pub unsafe fn load_u8(address: usize) -> u8 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe { asm!("{0} = *(u8 *)({1} + 0)", out(reg) value, in(reg) address, options(pure, readonly, nostack)) };
    value as u8
}

/// Two bytes at `address`, in one load whatever its alignment.
///
/// LLVM's BPF target assumes that unaligned loads do not exist and reads byte by byte; the kernel allows them wherever
/// the CPU has them (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`: x86-64, arm64, riscv64).
///
/// # Safety
/// As for [`load_u8`].
#[inline(always)]
pub unsafe fn load_u16(address: usize) -> u16 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe { asm!("{0} = *(u16 *)({1} + 0)", out(reg) value, in(reg) address, options(pure, readonly, nostack)) };
    value as u16
}

/// Writes two bytes at `address`, in one store whatever its alignment, see [`load_u16`].
///
/// # Safety
/// As for [`load_u8`].
#[inline(always)]
pub unsafe fn write_u16(address: usize, value: u16) {
    // SAFETY: the caller's promise.
    unsafe { asm!("*(u16 *)({0} + 0) = {1}", in(reg) address, in(reg) u64::from(value), options(nostack)) };
}

/// Four bytes at `address`, in one load whatever its alignment, see [`load_u16`].
///
/// # Safety
/// As for [`load_u8`].
#[inline(always)]
pub unsafe fn load_u32(address: usize) -> u32 {
    let value: u64;
    // SAFETY: the caller's promise.
    unsafe { asm!("{0} = *(u32 *)({1} + 0)", out(reg) value, in(reg) address, options(pure, readonly, nostack)) };
    value as u32
}

/// A packet pointer in a context: `data` or `data_end`.
///
/// The contexts declare them as 32 bits wide and the verifier makes the load a pointer-sized one; LLVM, which cannot
/// know, sometimes cuts the upper half off again, and a cut pointer is no pointer ("invalid mem access 'scalar'").
///
/// The offset is part of the instruction: a context pointer must not be added to ("dereference of modified ctx ptr").
///
/// # Safety
/// `context` must be the program's own and `OFFSET` that of such a field in it.
#[inline(always)]
pub unsafe fn load_packet_pointer<const OFFSET: usize>(context: *const core::ffi::c_void) -> usize {
    let value: usize;
    // SAFETY: the caller's promise. Not `pure`: a helper may move the packet, and the pointers with it.
    unsafe {
        asm!(
            "{0} = *(u32 *)({1} + {2})",
            out(reg) value,
            in(reg) context,
            const OFFSET,
            options(readonly, nostack)
        );
    }
    value
}

/// Reads back what was stored in a map value: a number without a history.
///
/// The verifier does not track the contents of map values, so behind this the paths on which the value differed are
/// one path again. Without it, every place an entry can stand in would be verified with all that follows: seven times
/// the work (and over one million instructions for the whole program).
#[inline(always)]
pub fn forget(value: &u32) -> u32 {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::read_volatile(value) }
}

/// Tells LLVM that a global function, which is given no pointer to it, has changed the work area.
#[inline(always)]
pub fn changed<T>(work: &mut T) {
    // A move, as in `opaque`.
    // SAFETY: nothing is done; what counts is that it could.
    unsafe { asm!("{0} = {1}", out(reg) _, in(reg) core::ptr::from_mut(work), options(nostack)) };
}

/// [`forget`] for 64 bits.
#[inline(always)]
pub fn forget_u64(value: &u64) -> u64 {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::read_volatile(value) }
}

/// Is `last < value`? 1 or 0.
///
/// Written out, because LLVM makes a jump of every comparison for BPF, and jumps that depend on a packet are mispredicted.
#[inline(always)]
pub fn is_below(last: u32, value: u32) -> u32 {
    let mut result = u64::from(last);
    // SAFETY: two registers are computed with.
    unsafe {
        asm!("{0} -= {1}", "{0} >>= 63", inout(reg) result, in(reg) u64::from(value), options(pure, nomem, nostack));
    }
    result as u32
}

/// Replaces the word at `address` by `new` if it is `old`; says whether it was. A full barrier.
///
/// rustc gives its BPF target no compare-and-swap although BPF v3 has the instruction (Linux 5.12).
///
/// # Safety
/// `address` must be that of an aligned `u64` in a map value.
#[inline(always)]
pub unsafe fn compare_exchange(address: *mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({address} + 0, r0, {new})",
            address = in(reg) address,
            new = in(reg) new,
            inlateout("r0") old => found,
            options(nostack)
        );
    }
    found == old
}

/// Stores `new` at `address` as a full barrier: whoever sees it sees what was written before.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub unsafe fn publish(address: *mut u64, new: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{new} = xchg_64({address} + 0, {new})",
            address = in(reg) address,
            new = inlateout(reg) new => _,
            options(nostack)
        );
    }
}

/// Sets `bits` in the word at `address`.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub unsafe fn set_bits(address: *mut u64, bits: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({0} + 0) |= {1}", in(reg) address, in(reg) bits, options(nostack)) };
}

/// Adds to the word at `address`: what it was before.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub unsafe fn fetch_add(address: *mut u64, amount: u64) -> u64 {
    let before: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{amount} = atomic_fetch_add((u64 *)({address} + 0), {amount})",
            address = in(reg) address,
            amount = inlateout(reg) amount => before,
            options(nostack)
        );
    }
    before
}

/// An aligned word of a map value that other CPUs change as well.
pub struct Cell(pub *mut u64);

impl firewall_common::limit::Word for Cell {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: whoever made this got the pointer from a map.
        unsafe { core::ptr::read_volatile(self.0) }
    }

    #[inline(always)]
    fn replace(&self, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { compare_exchange(self.0, old, new) }
    }
}

/// Adds `value` to the word at `address`, whoever else does so at the same time.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub unsafe fn add(address: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) address, in(reg) value, options(nostack)) };
}

/// [`is_below`], at its place among the loads: LLVM would otherwise load everything first that is compared, and put it on
/// the stack, of which there are 512 bytes.
#[inline(always)]
pub fn is_below_here(last: u32, value: u32) -> u32 {
    let mut result = u64::from(last);
    // SAFETY: two registers are computed with.
    unsafe {
        asm!("{0} -= {1}", "{0} >>= 63", inout(reg) result, in(reg) u64::from(value), options(nomem, nostack));
    }
    result as u32
}

/// Is the upper half of `word` the tag, and its lower half above the tick? 1 or 0. At its place, as [`is_below_here`].
#[inline(always)]
pub fn is_live(word: u64, tag: u32, tick: u32) -> u32 {
    let mut result = u64::from(tick);
    // SAFETY: registers are computed with.
    unsafe {
        asm!(
            "{t} = {word}",
            "{t} >>= 32",
            "{t} ^= {tag}",
            "{t} += -1",
            "{word} <<= 32",
            "{word} >>= 32",
            "{result} -= {word}",
            "{result} &= {t}",
            "{result} >>= 63",
            t = out(reg) _,
            word = inout(reg) word => _,
            tag = in(reg) u64::from(tag),
            result = inout(reg) result,
            options(nomem, nostack)
        );
    }
    result as u32
}
