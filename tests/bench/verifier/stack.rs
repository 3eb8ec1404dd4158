//! How much stack a program takes, read off its instructions: the kernel does not tell.
//!
//! A function's frame ends at the lowest address that it makes out of its frame pointer; what counts is the deepest chain of
//! calls. The verifier rounds each frame up to 16 bytes for programs that are compiled, and refuses chains above 512
//! (`round_up_stack_depth`, `kernel/bpf/verifier.c`, Linux 6.18). Loops that it writes in line (`bpf_loop`) take 24 bytes more
//! behind that check.

use std::collections::BTreeMap;

/// Rounding of a frame.
const ROUND: u32 = 16;

/// One instruction, taken apart.
#[derive(Clone, Copy)]
struct Insn {
    op: u8,
    to: u8,
    from: u8,
    offset: i16,
    immediate: i32,
}

impl Insn {
    fn of(word: u64) -> Self {
        let registers = (word >> 8) as u8;
        Self {
            op: word as u8,
            to: registers & 0xf,
            from: registers >> 4,
            offset: (word >> 16) as i16,
            immediate: (word >> 32) as i32,
        }
    }

    /// Bytes below the frame pointer that this instruction, with the one before, reaches; 0 when none.
    fn depth(self, before: Self) -> u32 {
        const FRAME_POINTER: u8 = 10;
        let class = self.op & 7;
        let stores = matches!(class, 2 | 3) && self.to == FRAME_POINTER;
        let loads = class == 1 && self.from == FRAME_POINTER;
        // `r = r10; r += -n`: an address that is made.
        let takes = self.op == 0x07 && before.op == 0xbf && before.from == FRAME_POINTER && before.to == self.to;
        let lowest = if stores || loads {
            i32::from(self.offset)
        } else if takes {
            self.immediate
        } else {
            0
        };
        lowest.min(0).unsigned_abs()
    }

    /// The function that is called, or whose address is taken for a helper that calls it, relative to the next instruction.
    fn callee(self) -> Option<i32> {
        const PSEUDO_CALL: u8 = 1;
        const PSEUDO_FUNC: u8 = 4;
        match (self.op, self.from) {
            // Compiled to machine code, the function's number has taken the place of its distance (`jit_subprogs`).
            (0x85, PSEUDO_CALL) => Some(i32::from(self.offset)),
            (0x18, PSEUDO_FUNC) => Some(self.immediate),
            _ => None,
        }
    }
}

/// The largest frame and the deepest chain of calls, bytes.
pub(crate) fn depth(code: &[u64]) -> (u32, u32) {
    let code: Vec<Insn> = code.iter().map(|word| Insn::of(*word)).collect();
    let call =
        |(at, insn): (usize, &Insn)| Some((at, usize::try_from(at as i64 + 1 + i64::from(insn.callee()?)).ok()?));
    let calls: Vec<(usize, usize)> = code.iter().enumerate().filter_map(call).collect();
    let starts: std::collections::BTreeSet<usize> = std::iter::once(0).chain(calls.iter().map(|(_, to)| *to)).collect();
    let function = |at: usize| *starts.range(..=at).next_back().expect("a function starts at 0");
    let mut frames: BTreeMap<usize, u32> = starts.iter().map(|start| (*start, 0)).collect();
    for (at, pair) in code.windows(2).enumerate() {
        let frame = frames.get_mut(&function(at + 1)).expect("a function");
        *frame = (*frame).max(pair[1].depth(pair[0]));
    }
    let edges: Vec<(usize, usize)> = calls.iter().map(|(at, to)| (function(*at), *to)).collect();
    (frames.values().copied().max().unwrap_or(0), chain(0, &frames, &edges))
}

/// The deepest chain of calls from a function on.
fn chain(from: usize, frames: &BTreeMap<usize, u32>, edges: &[(usize, usize)]) -> u32 {
    let below = edges.iter().filter(|(caller, callee)| *caller == from && *callee != from);
    let below = below.map(|(_, callee)| chain(*callee, frames, edges)).max().unwrap_or(0);
    frames[&from].next_multiple_of(ROUND) + below
}
