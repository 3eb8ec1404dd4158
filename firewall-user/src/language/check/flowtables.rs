//! Flowtables, and the rules that put connections there.

use firewall_common::image::Hook;

use super::{
    Checked, Checker, chains,
    tables::{TableState, near},
};
use crate::language::{
    ast::{self, Spanned},
    diagnostic::Diagnostic,
    ruleset::{Base, ChainType, Family, Flowtable},
    source::Span,
};

impl Checker<'_> {
    /// A new flowtable, or more interfaces of one that is there.
    pub(super) fn declare_flowtable(&mut self, table: usize, written: &ast::Flowtable) -> Checked<()> {
        let state = &mut self.tables[table];
        if !matches!(state.family, Family::Ip | Family::Ip6 | Family::Inet) {
            let message = format!("family {} has no flowtables", state.family.name());
            return Err(Diagnostic::error(written.name.span, message).help("families: ip, ip6, inet"));
        }
        let known = state.flowtables.iter().position(|known| *known.name == *written.name.text);
        let Some(hook) = &written.hook else {
            return Err(Diagnostic::error(written.name.span, "a flowtable needs its hook")
                .help("such as `hook ingress priority filter; devices = { eth0, eth1 };`"));
        };
        if &*hook.name.text != Hook::Ingress.name() {
            return Err(Diagnostic::error(hook.name.span, "a flowtable hangs at hook ingress"));
        }
        let hook = ast::Hook { devices: written.devices.clone(), ..hook.clone() };
        let priority = chains::priority(&hook, Hook::Ingress, Family::Netdev)?;
        let base = Base { kind: ChainType::Filter, hook: Hook::Ingress, priority, drops: false };
        let devices = if hook.devices.is_empty() { Vec::new() } else { chains::devices(&hook, base)? };
        let Some(known) = known else {
            let (name, counter) = (written.name.text.to_string(), written.counter);
            state.flowtables.push(Flowtable { name, priority, devices, counter });
            return Ok(());
        };
        let flowtable = &mut state.flowtables[known];
        flowtable.devices.extend(devices);
        flowtable.devices.sort_unstable();
        flowtable.devices.dedup();
        Ok(())
    }
}

impl TableState {
    /// The flowtable of a `flow add` in a chain: only forwarded connections can take a way past the rules
    /// (`nft_flow_offload_validate`, `net/netfilter/nft_flow_offload.c`, Linux 6.18).
    pub(super) fn flowtable(&self, chain: usize, name: &Spanned, span: Span) -> Checked<usize> {
        if self.chains[chain].base.is_some_and(|base| base.hook != Hook::Forward) {
            let error = Diagnostic::error(span, "`flow add` is for chains at hook forward");
            return Err(error.help("only what is forwarded can take a way past the rules"));
        }
        self.known_flowtable(name)
    }

    /// A flowtable that must be there.
    pub(super) fn known_flowtable(&self, name: &Spanned) -> Checked<usize> {
        self.flowtables.iter().position(|known| *known.name == *name.text).ok_or_else(|| {
            let (family, table) = (self.family.name(), &self.name);
            let message = format!("there is no flowtable `{}` in table `{family} {table}`", name.text);
            near(
                Diagnostic::error(name.span, message).following(),
                &name.text,
                self.flowtables.iter().map(|known| &known.name),
            )
        })
    }
}
