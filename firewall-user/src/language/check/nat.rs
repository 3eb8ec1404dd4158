//! Translation of addresses.

use firewall_common::image::Hook;

use super::{Checked, Checker, context::Context};
use crate::language::{
    ast::{self, Expr, ExprKind},
    diagnostic::Diagnostic,
    ruleset::{ChainType, DataMap, Family, Form, Given, Lookup, Nat, NatKind, NatTo, Network, Values},
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
        let (address, joined) = match &written.address {
            Some(address) => self.nat_address(table, (address, network), context, span)?,
            None => (None, false),
        };
        let ports = match &written.port {
            Some(port) => Some(self.nat_ports(table, port, context)?),
            None => None,
        };
        if address.is_none() && ports.is_none() && !matches!(written.kind, NatKind::Masquerade | NatKind::Redirect) {
            return Err(Diagnostic::error(span, "a translation to nothing"));
        }
        let has = |name: &str| written.flags.iter().any(|flag| &*flag.text == name);
        let network = network.filter(|_| address.is_some());
        let (random, fully_random, persistent) = (has("random"), has("fully-random"), has("persistent"));
        let (kind, prefix) = (written.kind, written.prefix.is_some());
        let nat = Nat { kind, network, prefix, address, joined, ports, random, fully_random, persistent };
        self.nat_fits(table, &nat, span)?;
        Ok(nat)
    }

    /// What the parts say together.
    fn nat_fits(&self, table: usize, nat: &Nat, span: Span) -> Checked<()> {
        if nat.lookups().count() > 1 {
            let error = Diagnostic::error(span, "a map for the address and another one for the port");
            return Err(error.help("one map can give both: `dnat ip to tcp dport map { 80 : 192.0.2.1 . 8080 }`"));
        }
        let is_prefix = |one: &Values| matches!(one.form, Form::Prefix(_));
        let given = nat.lookups().flat_map(|lookup| self.nat_given(table, lookup)).collect::<Vec<_>>();
        let written = match nat.address {
            Some(NatTo::Values(values)) => is_prefix(&values),
            Some(NatTo::Lookup(_)) | None => given.iter().all(|data| is_prefix(&data[0])),
        };
        if nat.prefix && !written {
            let error = Diagnostic::error(span, "`prefix` in front of what is no prefix");
            return Err(error.help("such as `snat ip prefix to ip saddr map { 192.0.2.0/24 : 198.51.100.0/24 }`"));
        }
        Ok(())
    }

    /// All that a map gives.
    fn nat_given<'a>(&'a self, table: usize, lookup: &'a Lookup) -> Vec<&'a [Values]> {
        let of = |given: Option<&'a Given>| match given {
            Some(Given::Values(values)) => Some(&values[..]),
            Some(Given::Verdict(_)) | None => None,
        };
        match &lookup.map {
            DataMap::Listed { tuples, default } => {
                tuples.iter().filter_map(|tuple| of(tuple.given.as_ref())).chain(default.as_deref()).collect()
            }
            DataMap::Named(set) => {
                let set = &self.tables[table].sets[*set].set;
                let tuples = set.concat.iter().flat_map(|concat| &concat.tuples);
                let several = tuples.filter_map(|tuple| of(tuple.given.as_ref()));
                several.chain(set.elements.iter().filter_map(|one| of(one.given.as_ref()))).collect()
            }
        }
    }

    /// The addresses, and whether ports are joined to them.
    fn nat_address(
        &mut self,
        table: usize,
        (address, network): (&Expr, Option<Network>),
        context: &mut Context,
        span: Span,
    ) -> Checked<(Option<NatTo>, bool)> {
        let ty = match network {
            Some(Network::Ip) => Type::Ipv4Addr,
            Some(Network::Ip6) => Type::Ipv6Addr,
            None => {
                let error = Diagnostic::error(span, "`ip` or `ip6` must stand here in a table of family inet");
                return Err(error.help("such as `dnat ip to 192.0.2.1`"));
            }
        };
        let ExprKind::Map(key, map) = &address.resolved().kind else {
            return Ok((Some(NatTo::Values(self.nat_values(address, ty)?)), false));
        };
        let joined = self.gives_ports(table, map)?;
        let types = [ty, Type::InetService];
        let types = if joined { &types[..] } else { &types[..1] };
        let lookup = self.nat_lookup(table, (key, map), types, context)?;
        if joined && !context.knows_protocol() {
            return Err(no_protocol(address.span));
        }
        Ok((Some(NatTo::Lookup(lookup)), joined))
    }

    /// Does this map give ports joined to addresses?
    fn gives_ports(&self, table: usize, map: &Expr) -> Checked<bool> {
        Ok(match &map.resolved().kind {
            ExprKind::Named(name) => {
                let set = self.tables[table].set(name, map.resolved().span)?;
                self.tables[table].sets[set].set.data_types().len() > 1
            }
            ExprKind::Set(elements) => matches!(
                elements.first().and_then(|element| element.given.as_ref()),
                Some(ast::Given::Value(Expr { kind: ExprKind::Concat(_), .. }))
            ),
            _ => false,
        })
    }

    fn nat_values(&mut self, value: &Expr, ty: Type) -> Checked<Values> {
        if let Some(span) = super::data::first_selector(value) {
            let error = Diagnostic::error(span, "a translation to what the packet itself has is not supported");
            return Err(error.help("a map says what becomes what: `dnat to ip daddr map { 192.0.2.1 : 198.51.100.1 }`"));
        }
        self.values(value, ty)
    }

    fn nat_ports(&mut self, table: usize, port: &Expr, context: &mut Context) -> Checked<NatTo> {
        if !context.knows_protocol() {
            return Err(no_protocol(port.span));
        }
        if let ExprKind::Map(key, map) = &port.resolved().kind {
            return Ok(NatTo::Lookup(self.nat_lookup(table, (key, map), &[Type::InetService], context)?));
        }
        Ok(NatTo::Values(self.nat_values(port, Type::InetService)?))
    }
}

fn no_protocol(span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, "a port behind no test of the protocol");
    error.help("write `tcp dport 80`, or `meta l4proto { tcp, udp }`, in front of it")
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
