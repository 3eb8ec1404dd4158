//! Translation of addresses.

use firewall_common::image::Hook;

use super::{Checked, Checker, context::Context};
use crate::language::{
    ast::{self, Expr},
    diagnostic::Diagnostic,
    ruleset::{ChainType, Family, Nat, NatKind, Network, Values},
    source::Span,
    types::Type,
};

impl Checker<'_> {
    /// A translation in a rule of this chain.
    pub(super) fn nat(
        &mut self,
        (table, chain): (usize, usize),
        written: &ast::Nat,
        context: &mut Context,
        span: Span,
    ) -> Checked<Nat> {
        let base = self.tables[table].chains[chain].base;
        if let Some(base) =
            base.filter(|base| base.kind != ChainType::Nat || !written.kind.hooks().contains(&base.hook))
        {
            return Err(out_of_place(written.kind, base.kind, base.hook, span));
        }
        let family = self.tables[table].family;
        if family == Family::Netdev {
            return Err(Diagnostic::error(span, "addresses are translated in tables of family ip, ip6 or inet"));
        }
        let network = nat_network(written, family, context, span)?;
        let address = match &written.address {
            Some(address) => Some(self.nat_address(address, network, span)?),
            None => None,
        };
        let ports = match &written.port {
            Some(port) => Some(self.nat_ports(port, context)?),
            None => None,
        };
        if address.is_none() && ports.is_none() && !matches!(written.kind, NatKind::Masquerade | NatKind::Redirect) {
            return Err(Diagnostic::error(span, "a translation to nothing"));
        }
        let has = |name: &str| written.flags.iter().any(|flag| &*flag.text == name);
        let network = network.filter(|_| address.is_some());
        let kind = written.kind;
        let (random, fully_random, persistent) = (has("random"), has("fully-random"), has("persistent"));
        Ok(Nat { kind, network, address, ports, random, fully_random, persistent })
    }

    fn nat_address(&mut self, address: &Expr, network: Option<Network>, span: Span) -> Checked<Values> {
        match network {
            Some(Network::Ip) => self.values(address, Type::Ipv4Addr),
            Some(Network::Ip6) => self.values(address, Type::Ipv6Addr),
            None => {
                let error = Diagnostic::error(span, "`ip` or `ip6` must stand here in a table of family inet");
                Err(error.help("such as `dnat ip to 192.0.2.1`"))
            }
        }
    }

    fn nat_ports(&mut self, port: &Expr, context: &Context) -> Checked<(u16, u16)> {
        if !context.knows_protocol() {
            let error = Diagnostic::error(port.span, "a port behind no test of the protocol");
            return Err(error.help("write `tcp dport 80`, or `meta l4proto { tcp, udp }`, in front of it"));
        }
        let Values { low, high, form: _ } = self.values(port, Type::InetService)?;
        Ok((low as u16, high as u16))
    }
}

/// The network that an address is of: as written, as the table or the rule has it.
fn nat_network(written: &ast::Nat, family: Family, context: &Context, span: Span) -> Checked<Option<Network>> {
    let named = written.network.as_ref().map(|name| if &*name.text == "ip" { Network::Ip } else { Network::Ip6 });
    let known = context.known_network();
    if let (Some(named), Some(known)) = (named, known)
        && named != known
    {
        let message = "a translation of the other network than the rule or table is about";
        return Err(Diagnostic::error(span, message));
    }
    let table = match family {
        Family::Ip => Some(Network::Ip),
        Family::Ip6 => Some(Network::Ip6),
        Family::Inet | Family::Netdev => None,
    };
    Ok(named.or(table).or(known))
}

fn out_of_place(kind: NatKind, chain: ChainType, hook: Hook, span: Span) -> Diagnostic {
    let hooks = kind.hooks().iter().map(|hook| hook.name()).collect::<Vec<_>>().join(" and ");
    let message = if chain == ChainType::Nat {
        format!("no `{}` at hook {}", kind.name(), hook.name())
    } else {
        format!("`{}` in a chain of type {}", kind.name(), chain.name())
    };
    Diagnostic::error(span, message).help(format!("it belongs into chains of type nat at {hooks}"))
}
