//! Statements as text, on one line.

use std::fmt::Write;

use super::set::{extras, time};
use crate::language::{
    ruleset::{
        Comparison, Computed, ConcatKeys, Data, DataMap, Family, Form, Given, Lookup, MapElement, Match, Nat, NatTo,
        Network, OfElement, Operand, PacketHash, Put, Reject, Ruleset, Selector, Statement, Step, Subject, Table,
        Tuple, Update, Values, Verdict,
    },
    stateful::{self, ICMP_CODES, ICMP_PORT, ICMP6_CODES, ICMP6_PORT, Unreachable},
    types::Type,
};

/// What numbers are called.
pub(super) struct Names<'a> {
    pub(super) ruleset: &'a Ruleset,
    pub(super) table: &'a Table,
}

impl Names<'_> {
    pub(super) fn statement(&self, statement: &Statement) -> String {
        match statement {
            Statement::Match(held) => self.a_match(held),
            Statement::Map { subject, elements } => self.map(*subject, elements),
            Statement::Concat { subjects, negated, keys } => {
                let sign = if *negated { "!= " } else { "" };
                format!("{} {sign}{}", concat_text(subjects), self.concat_keys(subjects, keys))
            }
            Statement::ConcatMap { subjects, keys } => {
                format!("{} vmap {}", concat_text(subjects), self.concat_keys(subjects, keys))
            }
            Statement::NamedMap { subject, map } => {
                format!("{} vmap @{}", subject_text(*subject), self.table.sets[*map].name)
            }
            Statement::Update(update) => self.update(update),
            Statement::Assign { target, value } => {
                let ty = target.selector.value_type();
                format!("{} set {}", subject_text(*target), self.data(value, ty))
            }
            Statement::Counter { packets, bytes } => format!("counter packets {packets} bytes {bytes}"),
            Statement::NoTrack => "notrack".to_owned(),
            Statement::Log(log) => log.text(),
            Statement::Limit(limit) => format!("limit {}", limit.text()),
            Statement::Quota(quota) => format!("quota {}", quota.text()),
            Statement::Connections { over, count } => format!("ct count {}{count}", if *over { "over " } else { "" }),
            Statement::Object(object) => {
                let object = &self.table.objects[*object];
                format!("{} name \"{}\"", object.kind().name(), object.name)
            }
            Statement::ObjectMap(kind, lookup) => self.object_map(kind.name(), lookup),
            Statement::Synproxy(proxy) => proxy.text(),
            Statement::Flow(at) => format!("flow add @{}", self.table.flowtables[*at].name),
            Statement::Reject(reject) => self.reject(*reject),
            Statement::Nat(nat) => self.nat(nat),
            Statement::Verdict(verdict) => self.verdict(*verdict),
        }
    }

    /// Of what says nothing more than `reject` alone, only that is printed.
    fn reject(&self, reject: Reject) -> String {
        let with = |protocol: &str, names, code: u8| {
            let code = stateful::code_name(names, code).map_or_else(|| code.to_string(), str::to_owned);
            format!("reject with {protocol} {code}")
        };
        match (reject, self.table.family) {
            (Reject::Icmp(ICMP_PORT), Family::Ip)
            | (Reject::Icmp6(ICMP6_PORT), Family::Ip6)
            | (Reject::Either(Unreachable::Port), _) => "reject".to_owned(),
            (Reject::Reset, _) => "reject with tcp reset".to_owned(),
            (Reject::Icmp(code), _) => with("icmp", ICMP_CODES, code),
            (Reject::Icmp6(code), _) => with("icmpv6", ICMP6_CODES, code),
            (Reject::Either(code), _) => format!("reject with icmpx {}", code.name()),
        }
    }

    fn data(&self, data: &Data, ty: Type) -> String {
        match data {
            Data::Constant(value) => self.values_text(Values::single(*value), ty),
            Data::Computed(computed) => computed_text(computed),
            Data::Lookup(lookup) => self.lookup(lookup, &[ty]),
        }
    }

    fn lookup(&self, Lookup { keys, map }: &Lookup, types: &[Type]) -> String {
        let map = match map {
            DataMap::Named(set) => format!("@{}", self.table.sets[*set].name),
            DataMap::Listed { tuples, default } => {
                let key_types: Vec<Type> = keys.iter().map(|key| key.selector.value_type()).collect();
                let mut elements: Vec<String> =
                    tuples.iter().map(|tuple| self.tuple(tuple, (&key_types, types), &[])).collect();
                elements.extend(default.iter().map(|data| format!("* : {}", self.parts(data, types))));
                format!("{{ {} }}", elements.join(", "))
            }
        };
        format!("{} map {map}", concat_text(keys))
    }

    /// `counter name ip saddr map { 192.0.2.1 : "a" }`
    fn object_map(&self, kind: &str, Lookup { keys, map }: &Lookup) -> String {
        let DataMap::Listed { tuples, default } = map else { return String::new() };
        let types: Vec<Type> = keys.iter().map(|key| key.selector.value_type()).collect();
        let name = |values: &[Values]| {
            let object = values.first().and_then(|one| self.table.objects.get(one.low as usize));
            object.map_or_else(String::new, |object| format!(" : \"{}\"", object.name))
        };
        let given = |tuple: &Tuple| match &tuple.given {
            Some(Given::Values(values)) => name(values),
            Some(Given::Verdict(_)) | None => String::new(),
        };
        let mut elements: Vec<String> =
            tuples.iter().map(|tuple| self.parts(&tuple.key, &types) + &given(tuple)).collect();
        elements.extend(default.iter().map(|values| format!("*{}", name(values))));
        format!("{kind} name {} map {{ {} }}", concat_text(keys), elements.join(", "))
    }

    fn nat(&self, nat: &Nat) -> String {
        let Nat { kind, network, prefix, address, joined: _, ports, random, fully_random, persistent } = nat;
        let mut out = kind.name().to_owned();
        if nat.names_network(self.table) {
            out += network.map_or("", |network| if network == Network::Ip { " ip" } else { " ip6" });
        }
        if *prefix {
            out += " prefix";
        }
        if address.is_some() || ports.is_some() {
            out += " to ";
        }
        match address {
            Some(NatTo::Values(values)) => {
                let ty = if *network == Some(Network::Ip6) { Type::Ipv6Addr } else { Type::Ipv4Addr };
                let text = self.values_text(*values, ty);
                if ports.is_some() && ty == Type::Ipv6Addr {
                    let _ = write!(out, "[{}]", text.replace('-', "]-["));
                } else {
                    out += &text;
                }
            }
            Some(NatTo::Lookup(lookup)) => out += &self.lookup(lookup, nat.data_types()),
            None => {}
        }
        match ports {
            Some(NatTo::Values(Values { low, high, form: _ })) if low == high => {
                let _ = write!(out, ":{low}");
            }
            Some(NatTo::Values(Values { low, high, form: _ })) => {
                let _ = write!(out, ":{low}-{high}");
            }
            Some(NatTo::Lookup(lookup)) => {
                let _ = write!(out, ":{}", self.lookup(lookup, &[Type::InetService]));
            }
            None => {}
        }
        let flags = [(*random, "random"), (*fully_random, "fully-random"), (*persistent, "persistent")];
        let flags: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if !flags.is_empty() {
            out.push(' ');
            out += &flags.join(",");
        }
        out
    }

    pub(super) fn verdict(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Drop => "drop".to_owned(),
            Verdict::Return => "return".to_owned(),
            Verdict::Continue => "continue".to_owned(),
            Verdict::Jump(chain) => format!("jump {}", self.table.chains[chain].name),
            Verdict::Goto(chain) => format!("goto {}", self.table.chains[chain].name),
        }
    }

    fn a_match(&self, held: &Match) -> String {
        let Match { subject, comparison, operand } = held;
        let ty = subject.selector.value_type();
        let several = subject.mask.filter(|mask| ty.is_flags() && mask.count_ones() > 1);
        if let (Some(mask), Operand::One(values)) = (several, operand) {
            return flags_under_mask(*subject, *comparison, (values.low, mask));
        }
        let mut out = subject_text(*subject);
        out.push(' ');
        out.push_str(operator(*comparison, must_be_written(held)));
        match operand {
            Operand::One(values) => match comparison {
                Comparison::AnyBit | Comparison::NoBit => out.push_str(&ty.flag_text(values.low, ",")),
                Comparison::Equal | Comparison::NotEqual => self.compared(*values, ty, &mut out),
                Comparison::Less | Comparison::LessEqual | Comparison::Greater | Comparison::GreaterEqual => {
                    self.ordered(*values, ty, &mut out);
                }
            },
            Operand::Set(set) => {
                let elements = set.iter().map(|values| self.values_text(*values, ty));
                let _ = write!(out, "{{ {} }}", elements.collect::<Vec<_>>().join(", "));
            }
            Operand::Named(set) => {
                let _ = write!(out, "@{}", self.table.sets[*set].name);
            }
        }
        out
    }

    /// A value behind `==`. Several TCP flags are printed as a number: joined by `|` they would read as "any of".
    fn compared(&self, values: Values, ty: Type, out: &mut String) {
        if ty == Type::TcpFlag && values.low.count_ones() > 1 {
            let _ = write!(out, "0x{:x}", values.low);
        } else {
            self.values(values, ty, out);
        }
    }

    /// A value behind `<`: of flags the number counts, not the names.
    fn ordered(&self, values: Values, ty: Type, out: &mut String) {
        if ty.is_flags() {
            let _ = write!(out, "0x{:x}", values.low);
        } else {
            self.values(values, ty, out);
        }
    }

    fn map(&self, subject: Subject, elements: &[MapElement]) -> String {
        let ty = match subject.selector.value_type() {
            // nft prints these as other numbers only here.
            Type::Raw(bits) => Type::Integer(bits),
            ty => ty,
        };
        let elements = elements.iter().map(|MapElement { key, verdict }| {
            let key = key.map_or_else(|| "*".to_owned(), |key| self.values_text(key, ty));
            format!("{key} : {}", self.verdict(*verdict))
        });
        format!("{} vmap {{ {} }}", subject_text(subject), elements.collect::<Vec<_>>().join(", "))
    }

    fn concat_keys(&self, subjects: &[Subject], keys: &ConcatKeys) -> String {
        match keys {
            ConcatKeys::Named(set) => format!("@{}", self.table.sets[*set].name),
            ConcatKeys::Listed { tuples, default } => {
                let types: Vec<Type> = subjects.iter().map(|subject| subject.selector.value_type()).collect();
                let mut elements: Vec<String> =
                    tuples.iter().map(|tuple| self.tuple(tuple, (&types, &[]), &[])).collect();
                elements.extend(default.map(|verdict| format!("* : {}", self.verdict(verdict))));
                format!("{{ {} }}", elements.join(", "))
            }
        }
    }

    /// An element of a set or map of concatenations.
    pub(super) fn tuple(&self, tuple: &Tuple, (types, data): (&[Type], &[Type]), statements: &[OfElement]) -> String {
        let mut out = self.parts(&tuple.key, types);
        extras(statements, &tuple.extras, &mut out);
        out.extend(tuple.given.as_ref().map(|given| self.given(given, data)));
        out
    }

    fn parts(&self, parts: &[Values], types: &[Type]) -> String {
        let parts = parts.iter().zip(types).map(|(values, ty)| self.values_text(*values, *ty));
        parts.collect::<Vec<_>>().join(" . ")
    }

    /// What a map gives, with the colon in front.
    pub(super) fn given(&self, given: &Given, types: &[Type]) -> String {
        match given {
            Given::Verdict(verdict) => format!(" : {}", self.verdict(*verdict)),
            Given::Values(values) => format!(" : {}", self.parts(values, types)),
        }
    }

    fn update(&self, update: &Update) -> String {
        let Update { operation, set, key, timeout, statements, data } = update;
        let set = &self.table.sets[*set];
        let mut out = if set.meter {
            format!("meter {} size {} {{ ", set.name, set.size.unwrap_or(0))
        } else {
            format!("{} @{} {{ ", operation.name(), set.name)
        };
        out.push_str(&self.put_text(key));
        if let Some(timeout) = timeout {
            let _ = write!(out, " timeout {}", time(*timeout));
        }
        for statement in statements {
            let _ = write!(out, " {}", statement.text());
        }
        if let Some(data) = data {
            let _ = write!(out, " : {}", self.put_text(data));
        }
        out.push_str(" }");
        out
    }

    fn put_text(&self, parts: &[Put]) -> String {
        let part = |part: &Put| match part {
            Put::Of(subject) => subject_text(*subject),
            Put::Constant(values, ty) => self.values_text(*values, *ty),
        };
        parts.iter().map(part).collect::<Vec<_>>().join(" . ")
    }

    fn values_text(&self, values: Values, ty: Type) -> String {
        let mut out = String::new();
        self.values(values, ty, &mut out);
        out
    }

    pub(super) fn values(&self, values: Values, ty: Type, out: &mut String) {
        if ty != Type::IfIndex {
            return ty.print(values, out);
        }
        out.push_str(&self.interface(values.low));
        if values.form == Form::Range {
            out.push('-');
            out.push_str(&self.interface(values.high));
        }
    }

    fn interface(&self, index: u128) -> String {
        let known = self.ruleset.interfaces().iter().find(|(known, _)| u128::from(*known) == index);
        known.map_or_else(|| index.to_string(), |(_, name)| format!("\"{name}\""))
    }
}

fn concat_text(subjects: &[Subject]) -> String {
    subjects.iter().map(|subject| subject_text(*subject)).collect::<Vec<_>>().join(" . ")
}

fn subject_text(subject: Subject) -> String {
    let Subject { selector, mask, or, network: _, tagged: _ } = subject;
    let ty = selector.value_type();
    let mut out = selector_text(selector);
    if let Some(mask) = mask {
        out.push_str(" & ");
        if ty.is_flags() && mask.count_ones() > 1 {
            let _ = write!(out, "({})", ty.flag_text(mask, " | "));
        } else {
            ty.print_one(mask, &mut out);
        }
    }
    if or != 0 {
        out.push_str(" | ");
        ty.print_one(or, &mut out);
    }
    out
}

/// A value with what is done to it. Parentheses stand around what binds less than the operator behind it.
fn computed_text(Computed { subject, steps }: &Computed) -> String {
    const SHIFT: u8 = 1;
    let ty = subject.selector.value_type();
    let (mut out, mut weakest) = (subject_text(*subject), 0);
    let mut operator = |sign: &str, strength: u8, right: String| {
        if weakest > strength {
            out = format!("({out})");
        }
        let _ = write!(out, " {sign} {right}");
        weakest = strength;
    };
    let text = |bits: u128| {
        let mut text = String::new();
        ty.print_one(bits, &mut text);
        text
    };
    for step in steps {
        match *step {
            Step::Left(by) => operator("<<", SHIFT, by.to_string()),
            Step::Right(by) => operator(">>", SHIFT, by.to_string()),
            Step::Bits { mask, xor } => {
                let (and, xor, or) = Step::as_operators(mask, xor, ty.max());
                if let Some(and) = and {
                    operator("&", 2, text(and));
                }
                for (sign, strength, bits) in [("^", 3, xor), ("|", 4, or)] {
                    if bits != 0 {
                        operator(sign, strength, text(bits));
                    }
                }
            }
        }
    }
    out
}

/// A selector, with what a hash is made of.
pub(super) fn selector_text(selector: Selector) -> String {
    let Selector::Hash(hash) = selector else { return selector.text() };
    let PacketHash { keys, modulus, seed, offset } = hash.get();
    let mut out = format!("jhash {} mod {modulus}", concat_text(keys));
    if let Some(seed) = seed {
        let _ = write!(out, " seed 0x{seed:x}");
    }
    if *offset != 0 {
        let _ = write!(out, " offset {offset}");
    }
    out
}

/// `tcp flags syn / fin,syn`
fn flags_under_mask(subject: Subject, comparison: Comparison, (value, mask): (u128, u128)) -> String {
    let ty = subject.selector.value_type();
    let slash = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let left = subject.selector.text();
    if slash {
        let not = if comparison == Comparison::NotEqual { "!= " } else { "" };
        return format!("{left} {not}{} / {}", ty.flag_text(value, ","), ty.flag_text(mask, ","));
    }
    let sign = operator(comparison, true);
    format!("{left} & ({}) {sign}0x{value:x}", ty.flag_text(mask, " | "))
}

/// Does nothing between the two sides mean something else than `==`? Behind a mask it would be a mistake, before
/// flags it would mean "any of"; but a set says itself what it means.
fn must_be_written(held: &Match) -> bool {
    let flags = held.subject.selector.value_type().is_flags();
    let range = matches!(held.operand, Operand::One(Values { form: Form::Range, .. }));
    let changed = held.subject.mask.is_some() || held.subject.or != 0;
    (changed && !range) || (flags && matches!(held.operand, Operand::One(_)))
}

/// The operator with a blank behind it; empty for the one that is not written.
fn operator(comparison: Comparison, written: bool) -> &'static str {
    match comparison {
        Comparison::Equal if written => "== ",
        Comparison::Equal | Comparison::AnyBit => "",
        Comparison::NotEqual => "!= ",
        Comparison::NoBit => "! ",
        Comparison::Less => "< ",
        Comparison::LessEqual => "<= ",
        Comparison::Greater => "> ",
        Comparison::GreaterEqual => ">= ",
    }
}
