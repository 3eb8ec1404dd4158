//! Computed values: what fits where, and the one form in which each is kept.

use firewall_common::packet::REGISTERS;

use super::{
    Checked, Checker, arrange,
    concat::{arranged_for_good, type_names},
    context::Context,
    values::{in_range, mismatch},
};
use crate::language::{
    ast::{Binary, Element, Expr, ExprKind, Given, Hash, Left, Spanned},
    diagnostic::Diagnostic,
    reading::{Place, Reading},
    ruleset::{
        self, Computed, CtField, Data, DataMap, Extras, Form, Interned, Lookup, ObjectKind, PacketHash, Selector,
        Statement, Step, Subject, Transport, Tuple, Values,
    },
    source::Span,
    types::Type,
};

/// Steps that a value may go through. The kernel bounds a rule's expressions.
const MAX_STEPS: usize = 16;

impl Checker<'_> {
    /// `meta mark set VALUE`
    pub(super) fn assignment(
        &mut self,
        (table, chain): (usize, usize),
        (target, value): (&Left, &Expr),
        context: &mut Context,
    ) -> Checked<Statement> {
        may_be_set(target)?;
        let ty = target.selector.value_type();
        let (target, _) = self.subject(target, context)?;
        let data = self.packet_data(table, (value, ty), context)?;
        may_be_computed_into(target, &data, value.span)?;
        context.beyond_link &= target.selector != Selector::Ip6Saddr;
        if is_route_mtu(&data) {
            self.tables[table].chains[chain].mtus.push(value.span);
        }
        Ok(Statement::Assign { target, value: data })
    }

    /// `jhash ip saddr mod 2`
    pub(super) fn hash(&mut self, hash: &Hash, span: Span, context: &mut Context) -> Checked<Selector> {
        let Hash { key, modulus, seed, offset } = hash;
        let keys = self.subjects(key, context)?;
        for key in &keys {
            let ty = key.selector.value_type();
            let is_counter = ty == Type::Integer(64) || ty == Type::Date;
            if ty.is_bit_field() || is_counter || matches!(key.selector, Selector::Hash(_)) {
                let message = format!(
                    "{} here cannot be hashed: it is less than whole bytes, has 64 bits, or is a hash itself",
                    ty.meaning()
                );
                return Err(Diagnostic::error(span, message));
            }
        }
        let words: usize = keys.iter().map(|key| usize::from(key.selector.value_type().bits().div_ceil(32))).sum();
        if words >= REGISTERS {
            let message = format!("more than {} bits are hashed here", 32 * (REGISTERS - 1));
            return Err(Diagnostic::error(span, message).help("hash one of two IPv6 addresses and the ports"));
        }
        // Each key asks for its header itself, when the hash is made.
        let hash = PacketHash { keys, modulus: *modulus, seed: *seed, offset: *offset };
        match Interned::new(hash) {
            Some(hash) => Ok(Selector::Hash(hash)),
            None => Err(Diagnostic::error(span, "too many different hashes")),
        }
    }

    /// A value of this type.
    pub(super) fn packet_data(
        &mut self,
        table: usize,
        (expr, ty): (&Expr, Type),
        context: &mut Context,
    ) -> Checked<Data> {
        if let ExprKind::Map(key, map) = &expr.resolved().kind {
            return self.lookup(table, (key, map), &[ty], context).map(Data::Lookup);
        }
        match self.computed(expr, context)? {
            Some(computed) => {
                fits(computed.subject.selector, ty, expr.span)?;
                Ok(Data::Computed(computed))
            }
            None => Ok(Data::Constant(self.single(expr, ty)?)),
        }
    }

    /// `ip saddr map { .. }`: data of these types.
    pub(super) fn lookup(
        &mut self,
        table: usize,
        pair: (&Left, &Expr),
        types: &[Type],
        context: &mut Context,
    ) -> Checked<Lookup> {
        self.lookup_of(table, pair, (types, false), context)
    }

    /// The same for a translation, which also takes ranges and prefixes of addresses; joined to ports, of named maps only: nft
    /// 1.0.6 makes something else of others.
    pub(super) fn nat_lookup(
        &mut self,
        table: usize,
        pair: (&Left, &Expr),
        types: &[Type],
        context: &mut Context,
    ) -> Checked<Lookup> {
        let is_named = matches!(pair.1.resolved().kind, ExprKind::Named(_));
        let ranges = types[0] != Type::InetService && (is_named || types.len() == 1);
        self.lookup_of(table, pair, (types, ranges), context)
    }

    fn lookup_of(
        &mut self,
        table: usize,
        (key, map): (&Left, &Expr),
        (types, ranges): (&[Type], bool),
        context: &mut Context,
    ) -> Checked<Lookup> {
        let keys = self.subjects(key, context)?;
        let key_types: Vec<Type> = keys.iter().map(|key| key.selector.value_type()).collect();
        let map = match &map.resolved().kind {
            ExprKind::Named(name) => {
                let set = self.tables[table].set(name, map.resolved().span)?;
                self.data_map_fits(table, set, (&key_types, types), (ranges, map.span))?;
                DataMap::Named(set)
            }
            ExprKind::Set(elements) => self.listed_data(elements, (&key_types, types), (ranges, map.span))?,
            _ => {
                let error = Diagnostic::error(map.span, "expected `{ key : value, .. }` or `@map` behind `map`");
                return Err(error.help("such as `map { 22 : 1, 80 : 2 }`"));
            }
        };
        Ok(Lookup { keys, map })
    }

    fn data_map_fits(
        &self,
        table: usize,
        set: usize,
        (keys, data): (&[Type], &[Type]),
        (ranges, span): (bool, Span),
    ) -> Checked<()> {
        let found = &self.tables[table].sets[set].set;
        if found.data_types().is_empty() {
            let kind = if found.data.is_some() { "a map to verdicts" } else { "a set" };
            return Err(Diagnostic::error(span, format!("this is {kind}, expected a map to data")));
        }
        if !ranges && matches!(found.data, Some(ruleset::MapData::Values { interval: true, .. })) {
            return Err(Diagnostic::error(span, "this map gives ranges, which only translations take"));
        }
        if found.key_types() == keys && found.data_types() == data {
            return Ok(());
        }
        let message = format!(
            "expected a map of type {} : {}, this one is {} : {}",
            type_names(keys),
            type_names(data),
            type_names(&found.key_types()),
            type_names(found.data_types()),
        );
        Err(Diagnostic::error(span, message))
    }

    fn listed_data(
        &mut self,
        elements: &[Element],
        (keys, data): (&[Type], &[Type]),
        (ranges, span): (bool, Span),
    ) -> Checked<DataMap> {
        let (mut tuples, mut default) = (Vec::with_capacity(elements.len()), None);
        for Element { key, given, options: _ } in elements {
            self.budget.spend(1, key.span)?;
            let values = match given {
                Some(Given::Value(value)) => self.data(value, data, ranges)?,
                Some(Given::Verdict(verdict)) => {
                    let error = Diagnostic::error(verdict.span, "a verdict in a map to data");
                    return Err(error.help("write `vmap` for verdicts"));
                }
                None => {
                    let error = Diagnostic::error(key.span, "an element of a map needs its data");
                    return Err(error.help("write `key : value`"));
                }
            };
            if matches!(key.kind, ExprKind::Any) {
                if default.replace(values).is_some() {
                    return Err(Diagnostic::error(key.span, "a second `*` in the map"));
                }
                continue;
            }
            let key_values = if let [ty] = keys { vec![self.values(key, *ty)?] } else { self.tuple(key, keys)? };
            let given = Some(ruleset::Given::Values(values));
            tuples.push((Tuple { key: key_values, given, extras: Extras::default() }, key.span));
        }
        if tuples.is_empty() && default.is_none() {
            return Err(Diagnostic::error(span, "an empty map gives nothing"));
        }
        Ok(DataMap::Listed { tuples: in_order(tuples, keys)?, default })
    }

    /// `counter name ip saddr map { 192.0.2.1 : "a" }`: names are kept as the numbers of objects.
    pub(super) fn object_map(
        &mut self,
        table: usize,
        kind: ObjectKind,
        (key, map): (&Left, &Expr),
        context: &mut Context,
    ) -> Checked<Lookup> {
        let keys = self.subjects(key, context)?;
        let types: Vec<Type> = keys.iter().map(|key| key.selector.value_type()).collect();
        let ExprKind::Set(elements) = &map.resolved().kind else {
            let error = Diagnostic::error(map.span, "expected `{ key : \"name\", .. }` behind `map`");
            return Err(
                error.help("a map to objects stands in its rule, with its elements: `map { 192.0.2.1 : \"a\" }`")
            );
        };
        let (mut tuples, mut default) = (Vec::with_capacity(elements.len()), None);
        for Element { key, given, options: _ } in elements {
            self.budget.spend(1, key.span)?;
            let name = match given {
                Some(Given::Value(value)) => match &value.resolved().kind {
                    ExprKind::Text(name) | ExprKind::Word(name) => Spanned { text: name.clone(), span: value.span },
                    _ => return Err(Diagnostic::error(value.span, format!("expected the name of a {}", kind.name()))),
                },
                Some(Given::Verdict(verdict)) => {
                    return Err(Diagnostic::error(verdict.span, "a verdict in a map of objects"));
                }
                None => return Err(Diagnostic::error(key.span, "an element of a map needs what it gives")),
            };
            let values = vec![Values::single(self.tables[table].object(kind, &name)? as u128)];
            if matches!(key.kind, ExprKind::Any) {
                if default.replace(values).is_some() {
                    return Err(Diagnostic::error(key.span, "a second `*` in the map"));
                }
                continue;
            }
            let key_values = if let [ty] = types[..] { vec![self.values(key, ty)?] } else { self.tuple(key, &types)? };
            let given = Some(ruleset::Given::Values(values));
            tuples.push((Tuple { key: key_values, given, extras: Extras::default() }, key.span));
        }
        if tuples.is_empty() && default.is_none() {
            return Err(Diagnostic::error(map.span, "an empty map gives nothing"));
        }
        Ok(Lookup { keys, map: DataMap::Listed { tuples: in_order(tuples, &types)?, default } })
    }

    /// What a packet has and what is done to it; `None` for what is the same for every packet.
    fn computed(&mut self, expr: &Expr, context: &mut Context) -> Checked<Option<Computed>> {
        match &expr.kind {
            ExprKind::Variable(variable) => self.computed(&variable.value, context),
            ExprKind::Selector(left) => {
                let (subject, _) = self.subject(left, context)?;
                super::reading::any_type_told(&subject, left.span)?;
                Ok(Some(Computed { subject, steps: Vec::new() }))
            }
            ExprKind::Binary(operator, left, right) => {
                let left = self.computed(left, context)?;
                if let Some(span) = first_selector(right) {
                    let error = Diagnostic::error(span, "only the first of several values can be what the packet has");
                    return Err(error.help("the kernel masks and shifts by constants"));
                }
                left.map(|left| self.step(left, *operator, right)).transpose()
            }
            ExprKind::Map(..) => {
                let message = "a map stands alone: what it gives cannot be changed";
                Err(Diagnostic::error(expr.span, message))
            }
            _ => match first_selector(expr) {
                Some(span) => Err(Diagnostic::error(span, "this value cannot be computed from the packet")),
                None => Ok(None),
            },
        }
    }

    /// A value after one more operator. Masks in a row are one.
    fn step(&mut self, mut value: Computed, operator: Binary, right: &Expr) -> Checked<Computed> {
        let ty = value.subject.selector.value_type();
        may_be_computed(ty, right.span)?;
        if let Binary::ShiftLeft | Binary::ShiftRight = operator {
            let by = self.single(right, Type::Integer(32))?;
            let by = u8::try_from(by).ok().filter(|by| *by < ty.bits()).ok_or_else(|| too_far(ty, right.span))?;
            value.steps.push(if operator == Binary::ShiftLeft { Step::Left(by) } else { Step::Right(by) });
        } else {
            let bits = in_range(self.single(right, ty)?, ty, right.span)?;
            let (before, xor_before) = match value.steps.last() {
                Some(Step::Bits { mask, xor }) => (*mask, *xor),
                Some(_) | None => (ty.max(), 0),
            };
            let (mask, xor) = match operator {
                Binary::And => (before & bits, xor_before & bits),
                Binary::Or => (before & !bits, xor_before & !bits | bits),
                Binary::Xor | Binary::ShiftLeft | Binary::ShiftRight => (before, xor_before ^ bits),
            };
            if matches!(value.steps.last(), Some(Step::Bits { .. })) {
                value.steps.pop();
            }
            value.steps.push(Step::Bits { mask, xor });
        }
        if value.steps.len() > MAX_STEPS {
            return Err(Diagnostic::error(right.span, format!("more than {MAX_STEPS} operations on one value")));
        }
        Ok(value)
    }
}

/// Elements by their keys; no key may have two.
fn in_order(mut tuples: Vec<(Tuple, Span)>, types: &[Type]) -> Checked<Vec<Tuple>> {
    let interval = tuples.iter().any(|(tuple, _)| tuple.key.iter().any(|part| part.form != Form::Single));
    if types.len() > 1 {
        return arranged_for_good(tuples, types, interval);
    }
    let order = |tuple: &Tuple| (arrange::sort_key(tuple.key[0], types[0], interval), tuple.key[0].high);
    tuples.sort_by_key(|(tuple, _)| order(tuple));
    let mut kept: Vec<(Tuple, Span)> = Vec::with_capacity(tuples.len());
    for (tuple, span) in tuples {
        match kept.last() {
            Some((last, _)) if *last == tuple => {}
            Some((last, other)) if overlap(last.key[0], tuple.key[0]) => {
                return Err(Diagnostic::error(span.max(*other), "this key overlaps another one of the map"));
            }
            Some(_) | None => kept.push((tuple, span)),
        }
    }
    Ok(kept.into_iter().map(|(tuple, _)| tuple).collect())
}

const fn overlap(a: Values, b: Values) -> bool {
    a.low <= b.high && b.low <= a.high
}

fn too_far(ty: Type, span: Span) -> Diagnostic {
    Diagnostic::error(span, format!("{} here has {} bits: nothing is left behind this shift", ty.meaning(), ty.bits()))
}

/// The first selector in a value.
pub(super) fn first_selector(expr: &Expr) -> Option<Span> {
    match &expr.kind {
        ExprKind::Selector(_) | ExprKind::Map(..) => Some(expr.span),
        ExprKind::Variable(variable) => first_selector(&variable.value),
        ExprKind::Binary(_, left, right) | ExprKind::Range(left, right) => {
            first_selector(left).or_else(|| first_selector(right))
        }
        ExprKind::Prefix(base, _) => first_selector(base),
        ExprKind::List(values) | ExprKind::Concat(values) => values.iter().find_map(first_selector),
        ExprKind::Set(_)
        | ExprKind::Word(_)
        | ExprKind::Text(_)
        | ExprKind::Number(_)
        | ExprKind::Ipv4(_)
        | ExprKind::Ipv6(_)
        | ExprKind::Mac(_)
        | ExprKind::Time(_)
        | ExprKind::Named(_)
        | ExprKind::Any => None,
    }
}

/// Which values can be computed with: those of the kernel's own, in its byte order.
fn may_be_computed(ty: Type, span: Span) -> Checked<()> {
    if matches!(ty, Type::Mark | Type::Integer(32)) {
        return Ok(());
    }
    Err(Diagnostic::error(span, format!("{} cannot be computed with yet", ty.meaning())))
}

/// May what this selector has be given to something of this type? As nftables has it: only numbers fit elsewhere.
fn fits(selector: Selector, ty: Type, span: Span) -> Checked<()> {
    let found = selector.value_type();
    match found {
        _ if found == ty => Ok(()),
        Type::Integer(bits) if bits == ty.bits() => Ok(()),
        _ => Err(mismatch(ty, found.meaning(), span)),
    }
}

/// What statements can give a value.
fn may_be_set(target: &Left) -> Checked<()> {
    use Selector as S;
    let reason = match target.selector {
        _ if target.hash.is_some() => "a hash is computed, not set",
        S::Mark
        | S::CtMark
        | S::Priority
        | S::IpDscp
        | S::IpEcn
        | S::IpId
        | S::IpTtl
        | S::IpSaddr
        | S::IpDaddr
        | S::Ip6Dscp
        | S::Ip6Ecn
        | S::Ip6FlowLabel
        | S::Ip6HopLimit
        | S::Ip6Saddr
        | S::Ip6Daddr
        | S::SourcePort(Transport::Tcp | Transport::Udp)
        | S::DestinationPort(Transport::Tcp | Transport::Udp)
        | S::TcpSequence
        | S::TcpAckSeq
        | S::TcpFlags
        | S::TcpWindow
        | S::TcpUrgPtr
        | S::IcmpId
        | S::IcmpSequence
        | S::Icmp6Id
        | S::Icmp6Sequence
        | S::EtherSaddr
        | S::EtherDaddr
        | S::VlanId
        | S::VlanPcp
        | S::VlanDei => return Ok(()),
        S::Reading(reading) if option_value(reading) => return Ok(()),
        S::Reading(reading) if matches!(reading.place(), Some(Place::TcpOption(_))) => {
            "the kernel writes two or four bytes of an option, not its kind and length"
        }
        S::SourcePort(Transport::Sctp) | S::DestinationPort(Transport::Sctp) => {
            "its checksum covers the whole packet, which is not read here"
        }
        S::SourcePort(Transport::Any) | S::DestinationPort(Transport::Any) => {
            "write it for each protocol: `tcp dport set 80`"
        }
        S::IcmpType | S::IcmpCode | S::Icmp6Type | S::Icmp6Code => "nft 1.0.6 itself lists it as a change of ports",
        S::IpVersion
        | S::IpHdrLength
        | S::IpLength
        | S::IpFragOff
        | S::IpProtocol
        | S::Ip6Version
        | S::Ip6Length
        | S::Ip6NextHdr
        | S::EtherType
        | S::VlanType
        | S::TcpDoff
        | S::TcpReserved
        | S::UdpLength
        | S::UdpChecksum => "the kernel would read the packet as another one: rules act before it, not behind it",
        S::PktType => "the kernel decides whom a frame is for behind XDP",
        S::Ct(CtField::Zone(_)) => "zones are set by interface: see `[conntrack]` in the settings",
        _ => "it is not something that a packet can be given",
    };
    let selector = target.selector.text();
    Err(Diagnostic::error(target.span, format!("`{selector} set` is not supported")).help(reason))
}

/// Two or four bytes of a TCP option.
fn option_value(reading: Reading) -> bool {
    let is_option = matches!(reading.place(), Some(Place::TcpOption(_))) || matches!(reading, Reading::RawOption(..));
    is_option && matches!(reading.value_type(), Type::Integer(16 | 32))
}

fn is_route_mtu(value: &Data) -> bool {
    matches!(value, Data::Computed(Computed { subject, steps: _ }) if subject.selector == Selector::RouteMtu)
}

/// nft 1.0.6 computes values only for fields that begin and end at even bytes.
fn may_be_computed_into(target: Subject, value: &Data, span: Span) -> Checked<()> {
    let selector = target.selector;
    if let Selector::Reading(_) = selector {
        return match value {
            Data::Computed(_) if !is_route_mtu(value) => {
                let error = Diagnostic::error(span, "a TCP option is given a number, what a map gives, or `rt mtu`");
                Err(error.help("nft 1.0.6 lists fields of a packet there as raw payload"))
            }
            Data::Constant(_) | Data::Computed(_) | Data::Lookup(_) => Ok(()),
        };
    }
    if is_route_mtu(value) {
        let error = Diagnostic::error(span, "`rt mtu` is the size of a segment");
        return Err(error.help("write `tcp option maxseg size set rt mtu`"));
    }
    let is_card = selector.value_type() == Type::EtherAddr && matches!(value, Data::Lookup(_));
    if is_card {
        return Err(Diagnostic::error(span, "hardware addresses from a map are not supported"));
    }
    let is_even = matches!(selector, Selector::Mark | Selector::CtMark | Selector::Priority)
        || (selector.value_type().bits().is_multiple_of(16) && !selector.value_type().is_bit_field());
    if is_even || matches!(value, Data::Constant(_)) {
        return Ok(());
    }
    let error = Diagnostic::error(span, "a field of less than two bytes can only be given a number");
    Err(error.help("nft 1.0.6 refuses it too"))
}
