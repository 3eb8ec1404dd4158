//! Chains: hooks, priorities, policies.

use firewall_common::{
    image::{CONNTRACK, Hook},
    limits::IFNAMSIZ,
};

use super::{Checked, Checker, tables::ChainState};
use crate::language::{
    ast::{self, Spanned},
    diagnostic::Diagnostic,
    names,
    ruleset::{Base, ChainType, Family},
};

/// Hooks of packets that the network stack has taken up.
const STACK_HOOKS: &[Hook] = &[Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

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
        let family = self.tables[table].family;
        let base = chain.body.hook.as_ref().map(|hook| base(hook, family)).transpose()?;
        let devices = chain.body.hook.as_ref().zip(base).map(|(hook, base)| devices(hook, base)).transpose()?;
        let policy = chain.body.policy.as_ref().map(policy).transpose()?;
        let known = self.tables[table].chain_index.get(&*chain.name.text).copied();
        let number = known.unwrap_or_else(|| self.new_chain(table, &chain.name));
        let state = &mut self.tables[table].chains[number];
        if let Some(base) = base {
            hang(state, (base, devices.unwrap_or_default()), known.is_some(), chain)?;
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

fn hang(state: &mut ChainState, (base, devices): (Base, Vec<String>), known: bool, chain: &ast::Chain) -> Checked<()> {
    let place = |base: Base| (base.kind, base.hook, base.priority);
    let same = state.base.is_some_and(|old| place(old) == place(base)) && state.devices == devices;
    if known && !same {
        let message =
            format!("chain `{}` is already defined with another type, hook or priority, or none", chain.name.text);
        return Err(Diagnostic::error(chain.name.span, message));
    }
    if !known {
        (state.base, state.devices) = (Some(base), devices);
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

fn base(written: &ast::Hook, family: Family) -> Checked<Base> {
    let kind = chain_type(&written.kind)?;
    let hook = hook(&written.name, family)?;
    type_fits(&written.kind, kind, hook)?;
    let priority = priority(written, hook, family)?;
    if kind == ChainType::Nat && priority <= CONNTRACK {
        let message = format!("a nat chain needs a priority above {CONNTRACK}, where connections are found");
        return Err(Diagnostic::error(written.priority_span, message).help("usual: `dstnat`, `srcnat`"));
    }
    Ok(Base { kind, hook, priority, drops: false })
}

fn chain_type(kind: &Spanned) -> Checked<ChainType> {
    if let Some(known) = ChainType::ALL.into_iter().find(|known| known.name() == &*kind.text) {
        return Ok(known);
    }
    let error = Diagnostic::error(kind.span, format!("unknown chain type `{}`", kind.text));
    Err(match names::nearest(&kind.text, ChainType::ALL.into_iter().map(ChainType::name)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("chain types: filter, nat, route"),
    })
}

/// `nft_chain_filter.c`, `nft_chain_nat.c`, `nft_chain_route.c` (net/netfilter, Linux 6.18).
fn type_fits(written: &Spanned, kind: ChainType, hook: Hook) -> Checked<()> {
    let (fits, hooks) = match kind {
        ChainType::Filter => (true, ""),
        ChainType::Nat => (
            matches!(hook, Hook::Prerouting | Hook::Input | Hook::Output | Hook::Postrouting),
            "prerouting, input, output, postrouting",
        ),
        ChainType::Route => (hook == Hook::Output, "output"),
    };
    if fits {
        return Ok(());
    }
    let message = format!("no chain of type `{}` can be at hook {}", written.text, hook.name());
    Err(Diagnostic::error(written.span, message).help(format!("hooks of this type: {hooks}")))
}

/// The hooks of a family.
const fn hooks_of(family: Family) -> &'static [Hook] {
    match family {
        Family::Ip | Family::Ip6 => STACK_HOOKS,
        Family::Inet => &[Hook::Ingress, Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting],
        Family::Netdev => &[Hook::Ingress, Hook::Egress],
    }
}

fn hook(written: &Spanned, family: Family) -> Checked<Hook> {
    let hooks = hooks_of(family);
    let names = || hooks.iter().map(|hook| hook.name());
    let list = names().collect::<Vec<_>>().join(", ");
    if let Some(hook) = hooks.iter().find(|hook| hook.name() == &*written.text) {
        return Ok(*hook);
    }
    if Hook::ALL.iter().any(|hook| hook.name() == &*written.text) {
        let message = format!("family {} has no hook `{}`", family.name(), written.text);
        return Err(Diagnostic::error(written.span, message).help(format!("its hooks: {list}")));
    }
    let error = Diagnostic::error(written.span, format!("unknown hook `{}`", written.text));
    Err(match names::nearest(&written.text, names()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("hooks of family {}: {list}", family.name())),
    })
}

/// The interfaces a chain hangs at: for the hooks of devices, and only for them.
pub(super) fn devices(written: &ast::Hook, base: Base) -> Checked<Vec<String>> {
    let at_device = matches!(base.hook, Hook::Ingress | Hook::Egress);
    match written.devices.first() {
        Some(first) if !at_device => {
            let message = format!("a chain at hook {} hangs at no device", base.hook.name());
            return Err(
                Diagnostic::error(first.span, message).help("ask for the interface in its rules: `iifname`, `oifname`")
            );
        }
        None if at_device => {
            let message = format!("hook {} needs a device", base.hook.name());
            return Err(Diagnostic::error(written.name.span, message).help("such as `hook ingress device eth0`"));
        }
        Some(_) | None => {}
    }
    let mut names: Vec<String> = Vec::new();
    for device in &written.devices {
        let name = device.text.to_string();
        if name.is_empty() || name.len() >= IFNAMSIZ {
            return Err(Diagnostic::error(
                device.span,
                format!("the name of an interface has 1 to {} bytes", IFNAMSIZ - 1),
            ));
        }
        if name.contains('*') {
            return Err(Diagnostic::error(device.span, "a device is named in full, without `*`"));
        }
        if names.contains(&name) {
            return Err(Diagnostic::error(device.span, format!("device `{name}` a second time")));
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn priority(written: &ast::Hook, hook: Hook, family: Family) -> Checked<i32> {
    let named = match &written.priority {
        Some(name) => i128::from(named_priority(name, hook, family)?),
        None => 0,
    };
    i32::try_from(named + written.offset)
        .map_err(|_| Diagnostic::error(written.priority_span, "a priority has 32 bits"))
}

fn named_priority(name: &Spanned, hook: Hook, family: Family) -> Checked<i32> {
    let known = names::PRIORITIES.iter().filter(|(known, _)| available(known, hook, family));
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

/// `dstnat` and `srcnat` only mean something where addresses are translated, and a device knows `filter` alone.
pub(in crate::language) fn available(name: &str, hook: Hook, family: Family) -> bool {
    match name {
        "dstnat" => matches!(hook, Hook::Prerouting),
        "srcnat" => matches!(hook, Hook::Postrouting),
        "filter" => true,
        _ => family != Family::Netdev,
    }
}
