//! Jumps: that they end, and how deep they go.

use super::{Checked, tables::TableState};
use crate::language::{diagnostic::Diagnostic, source::Span};

/// Chains that a packet may be jumped through below a base chain: the kernel refuses the sixteenth
/// (`NFT_JUMP_STACK_SIZE`, `include/net/netfilter/nf_tables.h`).
const MAX_DEPTH: usize = 15;

/// How far a chain has been looked at.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    /// Done: this many jumps deep below it.
    Depth(usize),
}

struct Walk<'a> {
    table: &'a TableState,
    marks: Vec<Mark>,
    /// The chains jumped through to get here.
    path: Vec<usize>,
}

/// Refuses loops, and jumps that go too deep. Only what hangs below a base chain counts, as in the kernel: no packet
/// gets to the rest.
pub(super) fn check(table: &TableState) -> Checked<()> {
    let mut walk = Walk { table, marks: vec![Mark::New; table.chains.len()], path: Vec::new() };
    for (number, chain) in table.chains.iter().enumerate() {
        if chain.base.is_some() {
            walk.depth(number, Span::default())?;
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// How deep the jumps below a chain go. Never recurses deeper than [`MAX_DEPTH`].
    fn depth(&mut self, chain: usize, from: Span) -> Checked<usize> {
        match self.marks[chain] {
            Mark::Depth(depth) if self.path.len() + depth <= MAX_DEPTH => return Ok(depth),
            Mark::Depth(_) => return Err(too_deep(from)),
            Mark::Open => return Err(self.a_loop(chain, from)),
            Mark::New if self.path.len() > MAX_DEPTH => return Err(too_deep(from)),
            Mark::New => {}
        }
        self.marks[chain] = Mark::Open;
        self.path.push(chain);
        let mut deepest = 0;
        let table = self.table;
        let maps = table.chains[chain].maps.iter().flat_map(|map| &table.sets[*map].jumps);
        for (target, span) in table.chains[chain].jumps.iter().chain(maps).copied() {
            deepest = deepest.max(1 + self.depth(target, span)?);
        }
        self.path.pop();
        self.marks[chain] = Mark::Depth(deepest);
        Ok(deepest)
    }

    fn name(&self, chain: usize) -> &str {
        &self.table.chains[chain].name
    }

    fn a_loop(&self, chain: usize, from: Span) -> Diagnostic {
        let start = self.path.iter().position(|on_path| *on_path == chain).unwrap_or(0);
        let names = self.path[start..].iter().map(|on_path| self.name(*on_path)).chain([self.name(chain)]);
        let way = names.collect::<Vec<_>>().join(" -> ");
        Diagnostic::error(from, format!("this jump closes a loop: {way}"))
    }
}

fn too_deep(from: Span) -> Diagnostic {
    let message = format!("jumps go more than {MAX_DEPTH} chains deep, which the kernel refuses too");
    Diagnostic::error(from, message)
}
