//! Chains: hooks, priorities, policies.

use firewall_common::image::Hook;

use super::{Checked, Checker, tables::ChainState};
use crate::language::{
    ast::{self, Spanned},
    diagnostic::Diagnostic,
    names,
    ruleset::Base,
};

/// Hooks that the programs run chains at.
const SUPPORTED_HOOKS: &[Hook] = &[Hook::Input, Hook::Forward, Hook::Output];

impl Checker<'_> {
    /// `add chain ..`: the chain and its rules.
    pub(super) fn chain_block(&mut self, table: usize, mut chain: ast::Chain) -> Checked<()> {
        let rules = std::mem::take(&mut chain.body.rules);
        let number = self.declare_chain(table, &chain)?;
        for rule in &rules {
            self.rule(table, number, rule, ast::RulePlace::Last);
        }
        Ok(())
    }

    /// Makes a chain, or adds to the one that is there.
    pub(super) fn declare_chain(&mut self, table: usize, chain: &ast::Chain) -> Checked<usize> {
        let base = chain.body.hook.as_ref().map(base).transpose()?;
        let policy = chain.body.policy.as_ref().map(policy).transpose()?;
        let known = self.tables[table].chain_index.get(&*chain.name.text).copied();
        let number = known.unwrap_or_else(|| self.new_chain(table, &chain.name));
        let state = &mut self.tables[table].chains[number];
        if let Some(base) = base {
            hang(state, base, known.is_some(), chain)?;
        }
        if let Some(drops) = policy {
            set_policy(state, drops, chain)?;
        }
        if let Some(comment) = chain.body.comment.as_ref().filter(|_| known.is_none()) {
            state.comment = Some(comment.text.to_string());
        }
        Ok(number)
    }

    fn new_chain(&mut self, table: usize, name: &Spanned) -> usize {
        let table = &mut self.tables[table];
        table.chains.push(ChainState::new(name.text.to_string()));
        table.chain_index.insert(name.text.to_string(), table.chains.len() - 1);
        table.chains.len() - 1
    }
}

fn hang(state: &mut ChainState, base: Base, known: bool, chain: &ast::Chain) -> Checked<()> {
    let same = state.base.is_some_and(|old| old.hook == base.hook && old.priority == base.priority);
    if known && !same {
        let message = format!("chain `{}` is already defined with another hook or priority, or none", chain.name.text);
        return Err(Diagnostic::error(chain.name.span, message));
    }
    if !known {
        state.base = Some(base);
    }
    Ok(())
}

fn set_policy(state: &mut ChainState, drops: bool, chain: &ast::Chain) -> Checked<()> {
    let Some(base) = &mut state.base else {
        let span = chain.body.policy.as_ref().map_or(chain.name.span, |policy| policy.span);
        let error = Diagnostic::error(span, "only a base chain has a policy");
        return Err(error.help("`type filter hook input priority filter;` makes it one"));
    };
    base.drops = drops;
    state.policy = Some(drops);
    Ok(())
}

fn policy(policy: &Spanned) -> Checked<bool> {
    match &*policy.text {
        "accept" => Ok(false),
        "drop" => Ok(true),
        other => {
            let error = Diagnostic::error(policy.span, format!("`{other}` is not a policy"));
            Err(error.help("a policy is `accept` or `drop`"))
        }
    }
}

fn base(written: &ast::Hook) -> Checked<Base> {
    chain_type(&written.kind)?;
    let hook = hook(&written.name)?;
    let priority = priority(written, hook)?;
    Ok(Base { hook, priority, drops: false })
}

fn chain_type(kind: &Spanned) -> Checked<()> {
    match &*kind.text {
        "filter" => Ok(()),
        "nat" | "route" => {
            let error = Diagnostic::error(kind.span, format!("chains of type `{}` are not supported yet", kind.text));
            Err(error.help("supported: `type filter`"))
        }
        other => {
            let error = Diagnostic::error(kind.span, format!("unknown chain type `{other}`"));
            Err(error.help("supported: `type filter`"))
        }
    }
}

fn hook(written: &Spanned) -> Checked<Hook> {
    let supported = SUPPORTED_HOOKS.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
    if let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.name() == &*written.text) {
        if SUPPORTED_HOOKS.contains(&hook) {
            return Ok(hook);
        }
        let error = Diagnostic::error(written.span, format!("chains at hook `{}` are not supported yet", written.text));
        return Err(error.help(format!("supported hooks: {supported}")));
    }
    if ["ingress", "egress"].contains(&&*written.text) {
        let error = Diagnostic::error(written.span, format!("hook `{}` is not supported yet", written.text));
        return Err(error.help(format!("supported hooks: {supported}")));
    }
    let error = Diagnostic::error(written.span, format!("unknown hook `{}`", written.text));
    Err(match names::nearest(&written.text, Hook::ALL.into_iter().map(Hook::name)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("supported hooks: {supported}")),
    })
}

fn priority(written: &ast::Hook, hook: Hook) -> Checked<i32> {
    let named = match &written.priority {
        Some(name) => i128::from(named_priority(name, hook)?),
        None => 0,
    };
    i32::try_from(named + written.offset)
        .map_err(|_| Diagnostic::error(written.priority_span, "a priority has 32 bits"))
}

fn named_priority(name: &Spanned, hook: Hook) -> Checked<i32> {
    let known = names::PRIORITIES.iter().filter(|(known, _)| available(known, hook));
    if let Some((_, number)) = known.clone().find(|(known, _)| *known == &*name.text) {
        return Ok(*number);
    }
    let words = known.map(|(known, _)| *known);
    let error = Diagnostic::error(name.span, format!("`{}` is not a priority at hook {}", name.text, hook.name()));
    // `filter-5` is one word to the scanner.
    if let Some((stem, _)) = name.text.split_once('-').filter(|(stem, _)| words.clone().any(|word| word == *stem)) {
        return Err(error.help(format!("put blanks around the minus: `{stem} - 5`")));
    }
    Err(match names::nearest(&name.text, words.clone()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("priorities here: a number, or {}", words.collect::<Vec<_>>().join(", "))),
    })
}

/// `dstnat` and `srcnat` only mean something where addresses are translated.
pub(in crate::language) fn available(name: &str, hook: Hook) -> bool {
    match name {
        "dstnat" => matches!(hook, Hook::Prerouting),
        "srcnat" => matches!(hook, Hook::Postrouting),
        _ => true,
    }
}
