//! A ruleset as JSON, in the schema of `nft -j list ruleset` (libnftables-json(5), version 1).

mod stateful;
mod value;

use serde_json::{Map, Value, json};

use self::value::{
    computed_value, concat_left, joined_flags, left, listed_flags, map_type, name, of_element, operator, printed,
    selected, with_extras,
};
use super::{
    print::{CounterRef, Object, Shown, hidden, statement_text},
    ruleset::{
        Base, Chain, Comparison, ConcatKeys, Data, DataMap, Extras, Flowtable, Form, Given, Lookup, MapElement, Match,
        Nat, NatTo, Network, Object as Named, Operand, Put, Quota, Rule, Ruleset, Set, SetElement, Statement, Subject,
        Table, Tuple, Update, Values, Verdict,
    },
    types::{Style, Type},
};

/// Everything, with what `shown` knows.
pub fn listing(ruleset: &Ruleset, shown: &Shown<'_>) -> Value {
    let mut objects = Vec::new();
    each(ruleset, shown, &mut |object| objects.push(object));
    json!({ "nftables": objects })
}

/// The same, one object after the other: a large ruleset is never in memory as a whole.
pub fn each(ruleset: &Ruleset, shown: &Shown<'_>, out: &mut dyn FnMut(Value)) {
    out(json!({ "metainfo": {
        "version": env!("CARGO_PKG_VERSION"),
        "release_name": "rampart",
        "json_schema_version": 1,
    }}));
    for (number, table) in ruleset.tables().iter().enumerate() {
        Printer { ruleset, table, number, shown }.table(out);
    }
}

struct Printer<'a> {
    ruleset: &'a Ruleset,
    table: &'a Table,
    number: usize,
    shown: &'a Shown<'a>,
}

/// An object under its kind, without what it does not have.
fn object(kind: &str, fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let fields: Map<String, Value> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    json!({ kind: fields })
}

fn text(text: Option<&String>) -> Option<Value> {
    text.map(|text| Value::from(text.as_str()))
}

impl Printer<'_> {
    fn table(&self, out: &mut dyn FnMut(Value)) {
        let Table { family, name, dormant, comment, objects, flowtables, sets, chains } = self.table;
        out(object(
            "table",
            [
                ("family", Some(family.name().into())),
                ("name", Some(name.as_str().into())),
                ("handle", self.handle(Object::Table(self.number))),
                ("flags", dormant.then(|| "dormant".into())),
                ("comment", text(comment.as_ref())),
            ],
        ));
        objects.iter().enumerate().for_each(|(at, named)| out(self.named(at, named)));
        let shown = sets.iter().enumerate().filter(|(_, set)| !set.meter);
        shown.for_each(|(at, set)| out(self.set(at, set)));
        for flowtable in flowtables {
            out(self.flowtable(flowtable));
        }
        chains.iter().enumerate().for_each(|(at, chain)| out(self.chain(at, chain)));
        for (at, chain) in chains.iter().enumerate() {
            for (rule_at, rule) in chain.rules.iter().enumerate() {
                out(self.rule((at, rule_at), &chain.name, rule));
            }
        }
    }

    fn handle(&self, object: Object) -> Option<Value> {
        (self.shown.handle)(object).map(Value::from)
    }

    fn flowtable(&self, flowtable: &Flowtable) -> Value {
        let Flowtable { name, priority, devices, counter: _ } = flowtable;
        let devices = match &devices[..] {
            [] => None,
            [one] => Some(Value::from(one.as_str())),
            several => Some(several.into()),
        };
        object(
            "flowtable",
            [
                ("family", Some(self.table.family.name().into())),
                ("name", Some(name.as_str().into())),
                ("table", Some(self.table.name.as_str().into())),
                ("hook", Some("ingress".into())),
                ("prio", Some((*priority).into())),
                ("dev", devices),
            ],
        )
    }

    fn named(&self, at: usize, named: &Named) -> Value {
        let common = [
            ("family", Some(self.table.family.name().into())),
            ("name", Some(named.name.as_str().into())),
            ("table", Some(self.table.name.as_str().into())),
            ("handle", self.handle(Object::Named(self.number, at))),
            ("comment", text(named.comment.as_ref())),
        ];
        stateful::named(named, (self.shown.content)((self.number, at), named.content), common)
    }

    fn set(&self, at: usize, set: &Set) -> Value {
        // nft 1.0.6 does not show `dynamic` here.
        let flags = [(set.constant, "constant"), (set.interval, "interval"), (set.timeouts, "timeout")];
        let flags: Vec<Value> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| Value::from(*name)).collect();
        let types = set.key_types();
        let names: Vec<Value> = types.iter().map(|ty| ty.name().into()).collect();
        let elements = self.elements(set, &types);
        let seconds = |time: Option<u64>| time.map(|time| Value::from(time / 1000));
        object(
            set.kind(),
            [
                ("family", Some(self.table.family.name().into())),
                ("name", Some(set.name.as_str().into())),
                ("table", Some(self.table.name.as_str().into())),
                ("type", Some(if names.len() > 1 { names.into() } else { set.element_type.name().into() })),
                ("handle", self.handle(Object::Set(self.number, at))),
                ("comment", text(set.comment.as_ref())),
                ("map", set.data.as_ref().map(map_type)),
                ("policy", set.saves_memory.then(|| "memory".into())),
                ("size", set.size.map(Value::from)),
                ("flags", (!flags.is_empty()).then(|| flags.into())),
                ("timeout", seconds(set.timeout)),
                ("gc-interval", seconds(set.gc_interval)),
                ("auto-merge", set.auto_merge.then(|| true.into())),
                ("elem", (!elements.is_empty()).then(|| elements.into())),
                ("stmt", (!set.statements.is_empty()).then(|| set.statements.iter().map(of_element).collect())),
            ],
        )
    }

    fn elements(&self, set: &Set, types: &[Type]) -> Vec<Value> {
        let data = set.data_types();
        let ty = set.element_type;
        let one = |element: &SetElement| {
            self.element(self.values(element.values, ty), &element.extras, (element.given.as_ref(), data))
        };
        let mut elements: Vec<Value> = set.elements.iter().map(one).collect();
        let tuples = set.concat.iter().flat_map(|concat| &concat.tuples);
        elements.extend(tuples.map(|tuple| self.tuple(tuple, types, data)));
        let any = set.catch_all.as_ref();
        elements.extend(any.map(|any| self.element("*".into(), &any.extras, (any.given.as_ref(), data))));
        elements
    }

    fn element(&self, key: Value, extras: &Extras, (given, data): (Option<&Given>, &[Type])) -> Value {
        let key = with_extras(key, extras);
        match given {
            Some(Given::Verdict(verdict)) => json!([key, self.verdict(*verdict)]),
            Some(Given::Values(values)) => json!([key, self.parts(values, data)]),
            None => key,
        }
    }

    fn parts(&self, parts: &[Values], types: &[Type]) -> Value {
        let mut parts: Vec<Value> = parts.iter().zip(types).map(|(values, ty)| self.values(*values, *ty)).collect();
        if parts.len() == 1 { parts.remove(0) } else { json!({ "concat": parts }) }
    }

    fn chain(&self, at: usize, chain: &Chain) -> Value {
        let Chain { name, base, devices, comment, rules: _ } = chain;
        let dev = match &devices[..] {
            [] => None,
            [one] => Some(one.as_str().into()),
            several => Some(several.into()),
        };
        let policy = |base: &Base| if base.drops { "drop" } else { "accept" };
        object(
            "chain",
            [
                ("family", Some(self.table.family.name().into())),
                ("table", Some(self.table.name.as_str().into())),
                ("name", Some(name.as_str().into())),
                ("handle", self.handle(Object::Chain(self.number, at))),
                ("comment", text(comment.as_ref())),
                ("type", base.map(|base| base.kind.name().into())),
                ("hook", base.map(|base| base.hook.name().into())),
                ("dev", dev),
                ("prio", base.map(|base| base.priority.into())),
                ("policy", base.as_ref().map(|base| policy(base).into())),
            ],
        )
    }

    fn rule(&self, (chain, number): (usize, usize), chain_name: &str, rule: &Rule) -> Value {
        let (mut nth, mut nth_quota) = (0, 0);
        let expressions: Vec<Value> = rule
            .statements
            .iter()
            .skip(hidden(self.table, rule))
            .map(|statement| match statement {
                Statement::Quota(quota) => {
                    let quota_ref = CounterRef { table: self.number, chain, rule: number, nth: nth_quota };
                    nth_quota += 1;
                    stateful::quota(&Quota { used: (self.shown.quota)(quota_ref, (quota.used, quota.bytes)), ..*quota })
                }
                Statement::Limit(limit) => stateful::limit(limit),
                Statement::Connections { over, count } => stateful::connections(*over, *count),
                Statement::Object(object) => {
                    let object = &self.table.objects[*object];
                    json!({ object.kind().name(): object.name })
                }
                Statement::ObjectMap(kind, lookup) => json!({ kind.name(): self.object_map(lookup) }),
                Statement::Flow(at) => {
                    json!({ "flow": { "op": "add", "flowtable": format!("@{}", self.table.flowtables[*at].name) } })
                }
                Statement::Synproxy(proxy) => stateful::synproxy(*proxy),
                Statement::Reject(reject) => stateful::reject(*reject),
                Statement::Counter { packets, bytes } => {
                    let counter = CounterRef { table: self.number, chain, rule: number, nth };
                    nth += 1;
                    let (packets, bytes) = (self.shown.counter)(counter, (*packets, *bytes));
                    json!({ "counter": { "packets": packets, "bytes": bytes } })
                }
                Statement::Match(held) => self.a_match(held),
                Statement::Map { subject, elements } => self.map(*subject, elements),
                Statement::Concat { subjects, negated, keys } => {
                    let sign = if *negated { "!=" } else { "==" };
                    let right = self.concat_keys(subjects, keys);
                    json!({ "match": { "op": sign, "left": concat_left(subjects), "right": right } })
                }
                Statement::ConcatMap { subjects, keys } => {
                    json!({ "vmap": { "key": concat_left(subjects), "data": self.concat_keys(subjects, keys) } })
                }
                Statement::NamedMap { subject, map } => {
                    json!({ "vmap": { "key": left(*subject), "data": format!("@{}", self.table.sets[*map].name) } })
                }
                Statement::Update(update) => self.update(update),
                Statement::Assign { target, value } => {
                    let ty = target.selector.value_type();
                    json!({ "mangle": { "key": left(*target), "value": self.data(value, ty) } })
                }
                Statement::Log(log) => stateful::log(log),
                Statement::NoTrack => json!({ "notrack": null }),
                Statement::Nat(nat) => self.nat(nat),
                Statement::Verdict(verdict) => self.verdict(*verdict),
            })
            .collect();
        object(
            "rule",
            [
                ("family", Some(self.table.family.name().into())),
                ("table", Some(self.table.name.as_str().into())),
                ("chain", Some(chain_name.into())),
                ("handle", self.handle(Object::Rule(self.number, chain, number))),
                ("comment", text(rule.comment.as_ref())),
                ("expr", Some(expressions.into())),
            ],
        )
    }

    fn data(&self, data: &Data, ty: Type) -> Value {
        match data {
            Data::Constant(value) => self.one(*value, ty),
            Data::Computed(computed) => computed_value(computed),
            Data::Lookup(lookup) => self.lookup(lookup, &[ty]),
        }
    }

    /// The names of objects by key.
    fn object_map(&self, Lookup { keys, map }: &Lookup) -> Value {
        let key = if let [only] = keys[..] { left(only) } else { concat_left(keys) };
        let types: Vec<Type> = keys.iter().map(|key| key.selector.value_type()).collect();
        let DataMap::Listed { tuples, default } = map else { return Value::Null };
        let name = |values: &[Values]| {
            let object = values.first().and_then(|one| self.table.objects.get(one.low as usize));
            object.map_or(Value::Null, |object| object.name.as_str().into())
        };
        let element = |tuple: &Tuple| {
            let parts: Vec<Value> =
                tuple.key.iter().zip(&types).map(|(values, ty)| self.values(*values, *ty)).collect();
            let key = if let [only] = &parts[..] { only.clone() } else { json!({ "concat": parts }) };
            match &tuple.given {
                Some(Given::Values(values)) => json!([key, name(values)]),
                Some(Given::Verdict(_)) | None => key,
            }
        };
        let mut elements: Vec<Value> = tuples.iter().map(element).collect();
        elements.extend(default.iter().map(|values| json!(["*", name(values)])));
        json!({ "map": { "key": key, "data": { "set": elements } } })
    }

    fn lookup(&self, Lookup { keys, map }: &Lookup, types: &[Type]) -> Value {
        let key = if let [only] = keys[..] { left(only) } else { concat_left(keys) };
        let data = match map {
            DataMap::Named(set) => format!("@{}", self.table.sets[*set].name).into(),
            DataMap::Listed { tuples, default } => {
                let key_types: Vec<Type> = keys.iter().map(|key| key.selector.value_type()).collect();
                let pair = |tuple: &Tuple| {
                    let given = match &tuple.given {
                        Some(Given::Values(values)) => self.parts(values, types),
                        Some(Given::Verdict(_)) | None => Value::Null,
                    };
                    json!([self.parts(&tuple.key, &key_types), given])
                };
                let mut elements: Vec<Value> = tuples.iter().map(pair).collect();
                elements.extend(default.iter().map(|data| json!(["*", self.parts(data, types)])));
                json!({ "set": elements })
            }
        };
        json!({ "map": { "key": key, "data": data } })
    }

    fn nat(&self, nat: &Nat) -> Value {
        let Nat { kind, network, prefix, address, joined: _, ports, random, fully_random, persistent } = nat;
        let mut fields = Map::new();
        if let (Some(network), Some(to)) = (network, address) {
            let (name, ty) = match network {
                Network::Ip => ("ip", Type::Ipv4Addr),
                Network::Ip6 => ("ip6", Type::Ipv6Addr),
            };
            if nat.names_network(self.table) {
                fields.insert("family".to_owned(), name.into());
            }
            let to = match to {
                NatTo::Values(values) => self.values(*values, ty),
                NatTo::Lookup(lookup) => self.lookup(lookup, nat.data_types()),
            };
            fields.insert("addr".to_owned(), to);
        }
        if let Some(to) = ports {
            let port = match to {
                NatTo::Values(values) => self.values(*values, Type::InetService),
                NatTo::Lookup(lookup) => self.lookup(lookup, &[Type::InetService]),
            };
            fields.insert("port".to_owned(), port);
        }
        if *prefix {
            fields.insert("type_flags".to_owned(), "prefix".into());
        }
        let flags =
            [(*random, "random"), (*fully_random, "fully-random"), (*persistent, "persistent"), (*prefix, "netmap")];
        let flags: Vec<Value> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).into()).collect();
        match &flags[..] {
            [] => {}
            [one] => drop(fields.insert("flags".to_owned(), one.clone())),
            _ => drop(fields.insert("flags".to_owned(), flags.into())),
        }
        json!({ kind.name(): if fields.is_empty() { Value::Null } else { fields.into() } })
    }

    fn verdict(&self, verdict: Verdict) -> Value {
        let chain = |chain: usize| json!({ "target": self.table.chains[chain].name });
        match verdict {
            Verdict::Accept => json!({ "accept": null }),
            Verdict::Drop => json!({ "drop": null }),
            Verdict::Return => json!({ "return": null }),
            Verdict::Continue => json!({ "continue": null }),
            Verdict::Jump(target) => json!({ "jump": chain(target) }),
            Verdict::Goto(target) => json!({ "goto": chain(target) }),
        }
    }

    fn map(&self, subject: Subject, elements: &[MapElement]) -> Value {
        let ty = subject.selector.value_type();
        let elements = elements.iter().map(|MapElement { key, verdict }| {
            let key = key.map_or_else(|| "*".into(), |key| self.values(key, ty));
            Value::from(vec![key, self.verdict(*verdict)])
        });
        json!({ "vmap": { "key": left(subject), "data": { "set": elements.collect::<Vec<_>>() } } })
    }

    fn concat_keys(&self, subjects: &[Subject], keys: &ConcatKeys) -> Value {
        let types: Vec<Type> = subjects.iter().map(|subject| subject.selector.value_type()).collect();
        match keys {
            ConcatKeys::Named(set) => format!("@{}", self.table.sets[*set].name).into(),
            ConcatKeys::Listed { tuples, default } => {
                let mut elements: Vec<Value> = tuples.iter().map(|tuple| self.tuple(tuple, &types, &[])).collect();
                elements.extend(default.map(|verdict| json!(["*", self.verdict(verdict)])));
                json!({ "set": elements })
            }
        }
    }

    fn tuple(&self, tuple: &Tuple, types: &[Type], data: &[Type]) -> Value {
        let parts: Vec<Value> = tuple.key.iter().zip(types).map(|(values, ty)| self.values(*values, *ty)).collect();
        self.element(json!({ "concat": parts }), &tuple.extras, (tuple.given.as_ref(), data))
    }

    /// nft 1.0.6 has no JSON for changes of maps and gives their text.
    fn update(&self, update: &Update) -> Value {
        let Update { operation, set, key, timeout, statements, data } = update;
        if data.is_some() {
            return statement_text(self.ruleset, self.table, &Statement::Update(update.clone())).into();
        }
        let part = |part: &Put| match part {
            Put::Of(subject) => left(*subject),
            Put::Constant(values, ty) => self.values(*values, *ty),
        };
        let key = match &key[..] {
            [only] => part(only),
            _ => json!({ "concat": key.iter().map(part).collect::<Vec<_>>() }),
        };
        let element = match timeout {
            Some(timeout) => json!({ "elem": { "val": key, "timeout": timeout / 1000 } }),
            None => key,
        };
        let set = &self.table.sets[*set];
        let mut statements: Vec<Value> = statements.iter().map(of_element).collect();
        if set.meter && statements.len() == 1 {
            let (size, name) = (set.size, &set.name);
            return json!({ "meter": { "key": element, "stmt": statements.remove(0), "size": size, "name": name } });
        }
        let (operation, name) = (operation.name(), format!("@{}", set.name));
        if statements.is_empty() {
            json!({ "set": { "op": operation, "elem": element, "set": name } })
        } else {
            json!({ "set": { "op": operation, "elem": element, "set": name, "stmt": statements } })
        }
    }

    fn a_match(&self, held: &Match) -> Value {
        let Match { subject, comparison, operand } = held;
        let ty = subject.selector.value_type();
        let equal = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let several = subject.mask.filter(|mask| equal && ty.is_flags() && mask.count_ones() > 1);
        if let (Some(mask), Operand::One(values)) = (several, operand) {
            // `tcp flags syn / syn,ack`: here flags are lists.
            let left = json!({ "&": [selected(subject.selector), listed_flags(ty, mask)] });
            return json!({ "match": { "op": operator(*comparison), "left": left, "right": listed_flags(ty, values.low) } });
        }
        let right = match operand {
            Operand::One(values) => match comparison {
                Comparison::AnyBit | Comparison::NoBit => listed_flags(ty, values.low),
                Comparison::Equal
                | Comparison::NotEqual
                | Comparison::Less
                | Comparison::LessEqual
                | Comparison::Greater
                | Comparison::GreaterEqual => self.compared(*values, ty),
            },
            Operand::Set(set) => json!({ "set": set.iter().map(|one| self.values(*one, ty)).collect::<Vec<_>>() }),
            Operand::Named(set) => format!("@{}", self.table.sets[*set].name).into(),
        };
        json!({ "match": { "op": operator(*comparison), "left": left(*subject), "right": right } })
    }

    fn compared(&self, values: Values, ty: Type) -> Value {
        if ty == Type::TcpFlag && values.low.count_ones() > 1 {
            return (values.low as u64).into();
        }
        self.values(values, ty)
    }

    fn values(&self, values: Values, ty: Type) -> Value {
        let Values { low, high, form } = values;
        match form {
            Form::Single => self.one(low, ty),
            Form::Prefix(_) if ty == Type::IfName => {
                let mut name = String::new();
                ty.print(values, &mut name);
                name.trim_matches('"').into()
            }
            Form::Prefix(length) => json!({ "prefix": { "addr": self.one(low, ty), "len": length } }),
            // nft names the ends of other ranges, but not these.
            Form::Range if ty == Type::InetProto => json!({ "range": [low as u64, high as u64] }),
            Form::Range => json!({ "range": [self.one(low, ty), self.one(high, ty)] }),
        }
    }

    fn one(&self, value: u128, ty: Type) -> Value {
        match ty.style() {
            Style::Number | Style::Mark | Style::Hex => (value as u64).into(),
            Style::Presence => (value != 0).into(),
            Style::IfIndex => {
                let known = self.ruleset.interfaces().iter().find(|(known, _)| u128::from(*known) == value);
                known.map_or_else(|| value.to_string(), |(_, name)| name.clone()).into()
            }
            Style::Flags => joined_flags(ty, value),
            Style::Duration => ((value / 1000) as u64).into(),
            Style::Address | Style::IfName | Style::ClassId | Style::Clock => {
                printed(ty, value).trim_matches('"').into()
            }
            Style::Name | Style::Quoted | Style::NameOrHex(_) => name(ty, value),
        }
    }
}
