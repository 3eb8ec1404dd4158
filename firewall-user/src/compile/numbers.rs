//! Numbers of chains and rules: counted through the whole ruleset, in order.

use crate::language::Ruleset;

/// Where each chain's numbers start.
pub(super) struct Numbers {
    /// By table and chain: the chain's number, and that of its first rule.
    chains: Vec<Vec<(u32, u32)>>,
}

impl Numbers {
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let (mut chain_number, mut rule_number) = (0, 0);
        let mut next = |rules: usize| {
            let numbers = (chain_number, rule_number);
            chain_number += 1;
            rule_number += rules as u32;
            numbers
        };
        let tables = ruleset.tables().iter();
        let chains = tables.map(|table| table.chains.iter().map(|chain| next(chain.rules.len())).collect()).collect();
        Self { chains }
    }

    pub(super) fn chain(&self, table: usize, chain: usize) -> u32 {
        self.chains[table][chain].0
    }

    pub(super) fn rule(&self, table: usize, chain: usize, rule: usize) -> u32 {
        self.chains[table][chain].1 + rule as u32
    }
}
