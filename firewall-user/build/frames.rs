//! Gives each function of the eBPF object its whole stack frame at once; why is told by `verifier::frame` in the program.
//!
//! That function leaves a store of the frame pointer at the frame's first place, which is an instruction that the compiler
//! never makes. Here it is moved to the last place of the frame, or taken out where there is no frame.

use std::ops::Range;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// Bytes of an instruction.
const SIZE: usize = 8;
/// `*(u64 *)(r10 - 8) = r10`
const MARK: [u8; SIZE] = [0x7b, 0xaa, 0xf8, 0xff, 0, 0, 0, 0];
/// `goto +0`, which does nothing.
const NOTHING: [u8; SIZE] = [0x05, 0, 0, 0, 0, 0, 0, 0];

/// A function of the object: name, and where its instructions are.
struct Function {
    name: String,
    bytes: Range<usize>,
}

/// Moves the marks of an object.
pub(crate) fn whole(object: &mut [u8]) -> Result<(), String> {
    for function in functions(object)? {
        let code = &mut object[function.bytes];
        settle(code).map_err(|problem| format!("{}: {problem}", function.name))?;
    }
    Ok(())
}

fn functions(object: &[u8]) -> Result<Vec<Function>, String> {
    let file = object::File::parse(object).map_err(|error| format!("not an object: {error}"))?;
    let mut functions = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() != 0) {
        let name = symbol.name().unwrap_or_default().to_owned();
        let section = symbol.section_index().ok_or_else(|| format!("{name} is in no section"))?;
        let section = file.section_by_index(section).map_err(|error| format!("{name}: {error}"))?;
        let (start, _) = section.file_range().ok_or_else(|| format!("{name} has no bytes"))?;
        let start = (start + symbol.address()) as usize;
        functions.push(Function { name, bytes: start..start + symbol.size() as usize });
    }
    Ok(functions)
}

/// Moves the marks of one function.
fn settle(code: &mut [u8]) -> Result<(), String> {
    let depth = depth(code);
    let (insns, _) = code.as_chunks_mut::<SIZE>();
    let Some(first) = insns.iter().position(|insn| *insn == MARK) else {
        let missing = || format!("has a frame of {depth} bytes and does not begin with `verifier::frame()`");
        return if depth == 0 { Ok(()) } else { Err(missing()) };
    };
    let (before, marked) = insns.split_at_mut(first);
    if before.iter().any(|insn| is_jump(*insn)) {
        return Err("`verifier::frame()` comes too late".to_owned());
    }
    // An argument that was put away in the last place has done it already.
    let is_whole = before.iter().any(|insn| reach(*insn, NOTHING) == depth);
    let mark = if depth == 0 || is_whole { NOTHING } else { store_at(depth) };
    marked.iter_mut().filter(|insn| **insn == MARK).for_each(|insn| *insn = mark);
    Ok(())
}

/// The mark at a place below the frame pointer.
fn store_at(depth: usize) -> [u8; SIZE] {
    let mut insn = MARK;
    insn[2..4].copy_from_slice(&(-(depth as i16)).to_le_bytes());
    insn
}

/// The function's frame, in bytes, without the marks: a multiple of eight.
fn depth(code: &[u8]) -> usize {
    let (insns, _) = code.as_chunks::<SIZE>();
    let mut depth = 0;
    let mut before = NOTHING;
    for &insn in insns {
        if insn != MARK {
            depth = depth.max(reach(insn, before));
        }
        before = insn;
    }
    depth
}

/// How far below the frame pointer an instruction reaches, with the one before it; 0 when it does not.
fn reach(insn: [u8; SIZE], before: [u8; SIZE]) -> usize {
    const FRAME_POINTER: u8 = 10;
    let (to, from) = (insn[1] & 15, insn[1] >> 4);
    let offset = i32::from(i16::from_le_bytes([insn[2], insn[3]]));
    let immediate = i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]);
    // Loads are class 1, stores 2 and 3 (RFC 9669, section 4.1).
    let lowest = match insn[0] & 7 {
        1 if from == FRAME_POINTER => offset,
        2 | 3 if to == FRAME_POINTER => offset,
        // `r = r10; r += -n`: an address that is made.
        7 if insn[0] == 0x07 && before[0] == 0xbf && before[1] == FRAME_POINTER << 4 | to => immediate,
        _ => 0,
    };
    lowest.min(0).unsigned_abs().next_multiple_of(SIZE as u32) as usize
}

/// Jumps, calls and exits are classes 5 and 6 (RFC 9669, section 4.1).
fn is_jump(insn: [u8; SIZE]) -> bool {
    matches!(insn[0] & 7, 5 | 6)
}
