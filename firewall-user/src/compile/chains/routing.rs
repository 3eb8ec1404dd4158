//! Where the routing table can be asked (`fib`), as `nft_fib_validate` has it.

use firewall_common::{
    addresses::{ON_IIF, ON_OIF},
    fetch::{Fetch, argument},
    image::{Hook, Insn, Op, USES_FIB},
};

use super::{CompileError, Hung, Writer};

impl Writer<'_> {
    /// As in the kernel (`nft_fib_validate`), packets that leave are not asked about.
    pub(super) fn may_ask(&self, Hung { table, chain, base }: &Hung) -> Result<(), CompileError> {
        let comes_in = matches!(base.hook, Hook::Prerouting | Hook::Input | Hook::Forward);
        if comes_in || self.out.uses & USES_FIB == 0 {
            return Ok(());
        }
        let table = &self.ruleset.tables()[*table];
        Err(CompileError::NotEnforced {
            table: table.name.clone(),
            chain: table.chains[*chain].name.clone(),
            what: "`fib` asks for the way back of packets that come in: at prerouting, input and forward",
        })
    }

    /// The same of what addresses are, which packets that leave are asked as well: on the interface that is known there.
    pub(super) fn may_ask_types(&self, Hung { table, chain, base }: &Hung, first: usize) -> Result<(), CompileError> {
        let insns = &self.out.written()[first..];
        let asks = |insn: &&Insn| insn.op == Op::Fetch as u8 && insn.low as u8 == Fetch::AddressType as u8;
        let what = insns.iter().filter(asks).find_map(|insn| misplaced(base.hook, argument(insn.low)));
        let Some(what) = what else { return Ok(()) };
        let table = &self.ruleset.tables()[*table];
        let (table, chain) = (table.name.clone(), table.chains[*chain].name.clone());
        Err(CompileError::NotEnforced { table, chain, what })
    }
}

/// Why a question cannot be asked at a hook.
const fn misplaced(hook: Hook, argument: u32) -> Option<&'static str> {
    match hook {
        Hook::Ingress | Hook::Egress => Some("`fib` asks about packets of the network layer, not in chains of devices"),
        Hook::Output | Hook::Postrouting if argument & ON_IIF != 0 => {
            Some("`fib .. iif type` asks about packets that come in: at prerouting, input and forward")
        }
        Hook::Prerouting | Hook::Input if argument & ON_OIF != 0 => {
            Some("`fib .. oif type` asks about packets that leave: at forward, output and postrouting")
        }
        _ => None,
    }
}
