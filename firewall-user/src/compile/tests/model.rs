//! A packet as a person would describe it, and rules carried out on it word for word: nothing here knows instructions.

use firewall_common::{
    image::Hook,
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, LINK_ETHERNET, NO_L4, Packet, VLAN_TAGGED},
};

use crate::language::{
    Ruleset,
    ruleset::{
        Comparison, Computed, ConcatKeys, Data, DataMap, Family, Given, Lookup, Match, Network, Operand, Rule,
        Selector, SetElement, Statement, Step, Subject, Table, Tuple, Values, Verdict,
    },
};

/// Control information and EtherType of a VLAN tag.
type Tag = (u16, u16);
/// Receiver, sender, tag.
type Link = (u64, u64, Option<Tag>);

/// A packet.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) v6: bool,
    pub(super) protocol: u8,
    /// Is its upper-layer header there?
    pub(super) header: bool,
    pub(super) source: u128,
    pub(super) destination: u128,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) flags: u8,
    pub(super) icmp: (u8, u8),
    pub(super) state: u32,
    pub(super) iif: (u32, &'static str),
    pub(super) oif: (u32, &'static str),
    pub(super) length: u32,
    pub(super) mark: u32,
    pub(super) ct_mark: u32,
    /// The link's header, if it has one.
    pub(super) link: Option<Link>,
    /// The first eight bytes of the network header.
    pub(super) network: [u32; 2],
    /// Bytes 4 to 20 of the upper-layer header.
    pub(super) transport: [u32; 4],
    /// Is it a later fragment, with ports from the first one?
    pub(super) later: bool,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            v6: false,
            protocol: 6,
            header: true,
            source: 0x0a00_0001,
            destination: 0x0a00_0002,
            source_port: 1024,
            destination_port: 80,
            flags: 2,
            icmp: (8, 0),
            state: 8,
            iif: (1, "lo"),
            oif: (0, ""),
            length: 60,
            mark: 0,
            ct_mark: 0,
            link: None,
            network: [0x4500_003c, 0],
            transport: [0; 4],
            later: false,
        }
    }
}

fn name(text: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    u128::from_be_bytes(bytes)
}

impl Probe {
    fn has_ports(&self) -> bool {
        self.header && [6, 17, 33, 132, 136].contains(&self.protocol)
    }

    fn has_icmp(&self) -> bool {
        self.header && [1, 58].contains(&self.protocol)
    }

    /// As the parser would store it.
    pub(super) fn packet(&self) -> Packet {
        let mut packet = Packet::EMPTY;
        let tag = u32::from(self.protocol) << 16;
        packet.set(Field::NfProto, if self.v6 { 10 } else { 2 });
        packet.set(Field::EtherType, if self.v6 { 0x86dd } else { 0x0800 });
        packet.set(Field::L4Proto, u32::from(self.protocol));
        packet.set(Field::L4Header, u32::from(self.protocol) | if self.header { L4_PRESENT } else { 0 });
        for field in [Field::SourcePort, Field::DestinationPort, Field::IcmpType, Field::TcpFlags] {
            packet.set(field, NO_L4);
        }
        if self.has_ports() {
            packet.set(Field::SourcePort, tag | u32::from(self.source_port));
            packet.set(Field::DestinationPort, tag | u32::from(self.destination_port));
        }
        if self.header && self.protocol == 6 {
            packet.set(Field::TcpFlags, tag | u32::from(self.flags));
        }
        if self.has_icmp() {
            packet.set(Field::IcmpType, tag | u32::from(self.icmp.0) << 8 | u32::from(self.icmp.1));
        }
        self.set_wide(&mut packet);
        packet.set(Field::CtState, self.state);
        packet.set(Field::IifIndex, self.iif.0);
        packet.set(Field::OifIndex, self.oif.0);
        packet.set(Field::Length, self.length);
        packet.set(Field::Mark, self.mark);
        packet.set(Field::CtMark, self.ct_mark);
        self.set_headers(&mut packet);
        packet
    }

    fn set_headers(&self, packet: &mut Packet) {
        if let Some((receiver, sender, tag)) = self.link {
            packet.set(Field::Vlan, LINK_ETHERNET | tag.map_or(0, |(tci, _)| VLAN_TAGGED | u32::from(tci)));
            packet.set(Field::VlanType, tag.map_or(0, |(_, kind)| u32::from(kind)));
            let words = [receiver >> 16, receiver << 16 | sender >> 32, sender >> 16, sender << 16];
            for (index, word) in words.into_iter().enumerate() {
                packet.set_at(Field::EtherDestination, index, word as u32);
            }
            packet.set(Field::OuterEtherType, (sender << 16) as u32 | self.outer_type());
        }
        packet.set(Field::NetworkHeader, self.network[0]);
        packet.set(Field::NetworkHeaderNext, self.network[1]);
        packet.set(Field::Ttl, self.ttl());
        for (index, word) in self.transport.into_iter().enumerate() {
            packet.set_at(Field::TransportHeader, index, word);
        }
        packet.set(Field::Fragment, if self.later { FRAGMENT_LATER } else { 0 });
    }

    fn outer_type(&self) -> u32 {
        match self.link {
            Some((_, _, Some(_))) => 0x8100,
            _ if self.v6 => 0x86dd,
            _ => 0x0800,
        }
    }

    /// In IPv4 it is not in the first eight bytes: any number will do.
    fn ttl(&self) -> u32 {
        self.network[1] & 0xff
    }

    /// Fields of the headers, as the standards draw them.
    fn header_value(&self, selector: Selector) -> Option<u128> {
        let bits = |word: u32, from: u32, count: u32| u128::from(word << from >> (32 - count));
        let [first, next] = self.network;
        let (ip, ip6) = ((!self.v6).then_some(()), self.v6.then_some(()));
        let upper = |protocol: u8, at: usize| {
            (self.header && !self.later && self.protocol == protocol).then_some(self.transport[at])
        };
        let link = self.link.filter(|_| self.iif.0 > 1);
        let tag = link.and_then(|(_, _, tag)| tag);
        Some(match selector {
            Selector::EtherDaddr => link?.0.into(),
            Selector::EtherSaddr => link?.1.into(),
            Selector::EtherType => link.map(|_| self.outer_type().into())?,
            Selector::VlanPcp => (tag?.0 >> 13).into(),
            Selector::VlanDei => (tag?.0 >> 12 & 1).into(),
            Selector::VlanId => (tag?.0 & 0xfff).into(),
            Selector::VlanType => tag?.1.into(),
            Selector::IpVersion => ip.map(|()| bits(first, 0, 4))?,
            Selector::IpHdrLength => ip.map(|()| bits(first, 4, 4))?,
            Selector::IpDscp => ip.map(|()| bits(first, 8, 6))?,
            Selector::IpEcn => ip.map(|()| bits(first, 14, 2))?,
            Selector::IpLength => ip.map(|()| bits(first, 16, 16))?,
            Selector::IpId => ip.map(|()| bits(next, 0, 16))?,
            Selector::IpFragOff => ip.map(|()| bits(next, 16, 16))?,
            Selector::IpTtl => ip.map(|()| self.ttl().into())?,
            Selector::Ip6Version => ip6.map(|()| bits(first, 0, 4))?,
            Selector::Ip6Dscp => ip6.map(|()| bits(first, 4, 6))?,
            Selector::Ip6Ecn => ip6.map(|()| bits(first, 10, 2))?,
            Selector::Ip6FlowLabel => ip6.map(|()| bits(first, 12, 20))?,
            Selector::Ip6Length => ip6.map(|()| bits(next, 0, 16))?,
            Selector::Ip6NextHdr => ip6.map(|()| bits(next, 16, 8))?,
            Selector::Ip6HopLimit => ip6.map(|()| bits(next, 24, 8))?,
            Selector::TcpSequence => upper(6, 0)?.into(),
            Selector::TcpAckSeq => upper(6, 1)?.into(),
            Selector::TcpDoff => bits(upper(6, 2)?, 0, 4),
            Selector::TcpReserved => bits(upper(6, 2)?, 4, 4),
            Selector::TcpWindow => bits(upper(6, 2)?, 16, 16),
            Selector::TcpUrgPtr => bits(upper(6, 3)?, 16, 16),
            Selector::UdpLength => bits(upper(17, 0)?, 0, 16),
            Selector::UdpChecksum => bits(upper(17, 0)?, 16, 16),
            Selector::IcmpId => bits(upper(1, 0)?, 0, 16),
            Selector::IcmpSequence => bits(upper(1, 0)?, 16, 16),
            Selector::Icmp6Id => bits(upper(58, 0)?, 0, 16),
            Selector::Icmp6Sequence => bits(upper(58, 0)?, 16, 16),
            other => panic!("{other:?} is no field of a header"),
        })
    }

    fn set_wide(&self, packet: &mut Packet) {
        let mut set = |field: Field, value: u128| {
            for index in 0..4 {
                packet.set_at(field, index, (value >> (96 - 32 * index)) as u32);
            }
        };
        set(Field::IifName, name(self.iif.1));
        set(Field::OifName, name(self.oif.1));
        // An IPv4 address is the first word.
        let shift = if self.v6 { 0 } else { 96 };
        set(Field::SourceAddress, self.source << shift);
        set(Field::DestinationAddress, self.destination << shift);
    }

    /// The value a selector looks at; `None` when the packet does not have it.
    fn value(&self, selector: Selector) -> Option<u128> {
        let of = |protocol: u8| (self.header && self.protocol == protocol).then_some(());
        let has = |transport: crate::language::ruleset::Transport| match transport.number() {
            Some(number) => of(number),
            None => self.has_ports().then_some(()),
        };
        Some(match selector {
            Selector::Iif => self.iif.0.into(),
            Selector::Oif => self.oif.0.into(),
            Selector::IifName => name(self.iif.1),
            Selector::OifName => name(self.oif.1),
            Selector::L4Proto => self.protocol.into(),
            Selector::IpProtocol => (!self.v6).then_some(self.protocol.into())?,
            Selector::NfProto => {
                if self.v6 {
                    10
                } else {
                    2
                }
            }
            Selector::Protocol => {
                if self.v6 {
                    0x86dd
                } else {
                    0x0800
                }
            }
            Selector::Length => self.length.into(),
            Selector::Mark => self.mark.into(),
            Selector::CtState => self.state.into(),
            Selector::CtMark => (![1, 64].contains(&self.state)).then_some(self.ct_mark.into())?,
            Selector::IpSaddr => (!self.v6).then_some(self.source)?,
            Selector::IpDaddr => (!self.v6).then_some(self.destination)?,
            Selector::Ip6Saddr => self.v6.then_some(self.source)?,
            Selector::Ip6Daddr => self.v6.then_some(self.destination)?,
            Selector::SourcePort(transport) => has(transport).map(|()| self.source_port.into())?,
            Selector::DestinationPort(transport) => has(transport).map(|()| self.destination_port.into())?,
            Selector::TcpFlags => of(6).map(|()| self.flags.into())?,
            Selector::IcmpType => of(1).map(|()| self.icmp.0.into())?,
            Selector::IcmpCode => of(1).map(|()| self.icmp.1.into())?,
            Selector::Icmp6Type => of(58).map(|()| self.icmp.0.into())?,
            Selector::Icmp6Code => of(58).map(|()| self.icmp.1.into())?,
            other => self.header_value(other)?,
        })
    }

    fn subject(&self, subject: Subject) -> Option<u128> {
        let Subject { selector, mask, or, network, tagged } = subject;
        match network {
            Some(Network::Ip) if self.v6 => return None,
            Some(Network::Ip6) if !self.v6 => return None,
            Some(_) | None => {}
        }
        if tagged && self.outer_type() != 0x8100 {
            return None;
        }
        self.value(selector).map(|value| value & mask.unwrap_or(u128::MAX) | or)
    }
}

fn within(value: u128, values: &[Values]) -> bool {
    values.iter().any(|values| (values.low..=values.high).contains(&value))
}

fn holds(table: &Table, held: &Match, probe: &Probe) -> bool {
    let Match { subject, comparison, operand } = held;
    let Some(value) = probe.subject(*subject) else { return false };
    let (inside, only) = match operand {
        Operand::One(values) => (within(value, &[*values]), values.low),
        Operand::Set(values) => (within(value, values), 0),
        Operand::Named(set) => (table.sets[*set].elements.iter().any(|element| within(value, &[element.values])), 0),
    };
    match comparison {
        Comparison::Equal => inside,
        Comparison::NotEqual => !inside,
        Comparison::Less => value < only,
        Comparison::LessEqual => value <= only,
        Comparison::Greater => value > only,
        Comparison::GreaterEqual => value >= only,
        Comparison::AnyBit => value & only != 0,
        Comparison::NoBit => value & only == 0,
    }
}

/// What a packet met.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) accepted: bool,
    /// Table, chain, rule and number of each counter it was counted in.
    pub(super) counted: Vec<(usize, usize, usize, usize)>,
    /// Its mark and its connection's, behind the rules.
    pub(super) marks: (u32, u32),
}

/// What a chain says.
#[derive(Clone, Copy, PartialEq)]
enum Said {
    Accept,
    Drop,
    /// Nothing: the caller goes on.
    Nothing,
    /// `goto`'s chain said nothing: neither the caller goes on in this chain.
    End,
}

struct Run<'a> {
    probe: &'a mut Probe,
    table: &'a Table,
    number: usize,
    outcome: &'a mut Outcome,
}

impl Run<'_> {
    fn chain(&mut self, chain: usize) -> Said {
        let table = self.table;
        for (number, rule) in table.chains[chain].rules.iter().enumerate() {
            match self.rule((chain, number), rule) {
                Said::Nothing => {}
                Said::End => return Said::Nothing,
                said @ (Said::Accept | Said::Drop) => return said,
            }
        }
        Said::Nothing
    }

    fn verdict(&mut self, verdict: Verdict) -> Said {
        match verdict {
            Verdict::Accept => Said::Accept,
            Verdict::Drop => Said::Drop,
            Verdict::Return => Said::End,
            Verdict::Continue => Said::Nothing,
            Verdict::Jump(chain) => self.chain(chain),
            Verdict::Goto(chain) => match self.chain(chain) {
                Said::Nothing | Said::End => Said::End,
                said @ (Said::Accept | Said::Drop) => said,
            },
        }
    }

    fn rule(&mut self, (chain, number): (usize, usize), rule: &Rule) -> Said {
        let mut counters = 0;
        for statement in &rule.statements {
            match statement {
                Statement::Match(held) if !holds(self.table, held, self.probe) => return Said::Nothing,
                Statement::Match(_)
                | Statement::Update(_)
                | Statement::NoTrack
                | Statement::Nat(_)
                | Statement::Log(_)
                | Statement::Verdict(Verdict::Continue) => {}
                Statement::Assign { target, value } => match self.data(value) {
                    Some(value) => self.assign(target.selector, value),
                    None => return Said::Nothing,
                },
                Statement::Counter { .. } => {
                    self.outcome.counted.push((self.number, chain, number, counters));
                    counters += 1;
                }
                Statement::Verdict(verdict) => return self.verdict(*verdict),
                Statement::Reject(_) => return Said::Drop,
                Statement::Limit(_)
                | Statement::Quota(_)
                | Statement::Connections { .. }
                | Statement::Object(_)
                | Statement::ObjectMap(..)
                | Statement::Flow(_)
                | Statement::Synproxy(_) => panic!("what these say depends on the packets before"),
                Statement::Map { subject, elements } => {
                    let Some(value) = self.probe.subject(*subject) else { return Said::Nothing };
                    let found = elements.iter().find(|element| element.key.is_none_or(|key| within(value, &[key])));
                    match found.map(|element| element.verdict) {
                        Some(Verdict::Continue) => {}
                        Some(verdict) => return self.verdict(verdict),
                        None => return Said::Nothing,
                    }
                }
                Statement::Concat { subjects, negated, keys } => match self.concat(subjects, keys) {
                    Looked::Up(found) if found.is_some() != *negated => {}
                    Looked::Up(_) | Looked::Missing => return Said::Nothing,
                },
                Statement::ConcatMap { subjects, keys } => match self.concat(subjects, keys) {
                    Looked::Up(Some(Verdict::Continue)) => {}
                    Looked::Up(Some(verdict)) => return self.verdict(verdict),
                    Looked::Up(None) | Looked::Missing => return Said::Nothing,
                },
                Statement::NamedMap { subject, map } => {
                    let Some(value) = self.probe.subject(*subject) else { return Said::Nothing };
                    let map = &self.table.sets[*map];
                    let found = map.elements.iter().find(|element| within(value, &[element.values]));
                    match found.map_or(map.default_verdict(), SetElement::verdict) {
                        Some(Verdict::Continue) => {}
                        Some(verdict) => return self.verdict(verdict),
                        None => return Said::Nothing,
                    }
                }
            }
        }
        Said::Nothing
    }
}

/// What looking values up together gave.
enum Looked {
    /// The packet does not have one of them.
    Missing,
    /// The verdict of the element they are in; of a set's it is `continue`.
    Up(Option<Verdict>),
}

impl Run<'_> {
    fn data(&self, data: &Data) -> Option<u128> {
        let Computed { subject, steps } = match data {
            Data::Constant(value) => return Some(*value),
            Data::Computed(computed) => computed,
            Data::Lookup(lookup) => return self.look_up(lookup),
        };
        let max = subject.selector.value_type().max();
        let value = self.probe.subject(*subject)?;
        Some(steps.iter().fold(value, |value, step| match step {
            Step::Bits { mask, xor } => value & mask ^ xor,
            Step::Left(by) => value << by & max,
            Step::Right(by) => value >> by,
        }))
    }

    fn look_up(&self, Lookup { keys, map }: &Lookup) -> Option<u128> {
        let values = keys.iter().map(|key| self.probe.subject(*key)).collect::<Option<Vec<u128>>>()?;
        let is_in = |key: &[Values]| values.iter().zip(key).all(|(value, part)| within(*value, &[*part]));
        let data = |given: &Given| match given {
            Given::Values(values) => values[0].low,
            Given::Verdict(_) => panic!("a verdict in a map to data"),
        };
        match map {
            DataMap::Listed { tuples, default } => {
                let found = tuples.iter().find(|tuple| is_in(&tuple.key)).and_then(|tuple| tuple.given.as_ref());
                found.map(data).or(default.as_ref().map(|data| data[0].low))
            }
            DataMap::Named(set) => {
                let set = &self.table.sets[*set];
                let tuples = set.concat.iter().flat_map(|concat| &concat.tuples);
                let mut found = tuples.filter(|tuple| is_in(&tuple.key)).filter_map(|tuple| tuple.given.as_ref());
                let alone = set.elements.iter().find(|one| is_in(&[one.values])).and_then(|one| one.given.as_ref());
                found.next().or(alone).or(set.catch_all.as_ref().and_then(|any| any.given.as_ref())).map(data)
            }
        }
    }

    fn assign(&mut self, target: Selector, value: u128) {
        match target {
            Selector::Mark => self.probe.mark = value as u32,
            Selector::CtMark if self.probe.value(Selector::CtMark).is_some() => self.probe.ct_mark = value as u32,
            Selector::CtMark => {}
            other => panic!("{other:?} cannot be set"),
        }
    }

    fn concat(&self, subjects: &[Subject], keys: &ConcatKeys) -> Looked {
        let values = subjects.iter().map(|subject| self.probe.subject(*subject));
        let Some(values) = values.collect::<Option<Vec<u128>>>() else { return Looked::Missing };
        let (tuples, default) = match keys {
            ConcatKeys::Listed { tuples, default } => (tuples, *default),
            ConcatKeys::Named(set) => {
                let set = &self.table.sets[*set];
                (&set.concat.as_ref().expect("checked").tuples, set.default_verdict())
            }
        };
        let is_in = |tuple: &&Tuple| values.iter().zip(&tuple.key).all(|(value, part)| within(*value, &[*part]));
        Looked::Up(tuples.iter().find(is_in).map(|tuple| tuple.verdict().unwrap_or(Verdict::Continue)).or(default))
    }
}

/// Runs a packet through a hook's chains.
pub(super) fn run(ruleset: &Ruleset, hook: Hook, probe: &Probe) -> Outcome {
    let mut bases = Vec::new();
    for (number, table) in ruleset.tables().iter().enumerate() {
        for (chain, content) in table.chains.iter().enumerate() {
            if let Some(base) = content.base.filter(|base| base.hook == hook && !table.dormant) {
                bases.push((base.priority, std::cmp::Reverse((number, chain)), base.drops));
            }
        }
    }
    bases.sort_unstable();
    let mut probe = probe.clone();
    let mut outcome = Outcome { marks: (probe.mark, probe.ct_mark), ..Outcome::default() };
    for (_, std::cmp::Reverse((number, chain)), drops) in bases {
        let table = &ruleset.tables()[number];
        let seen = match table.family {
            Family::Ip => !probe.v6,
            Family::Ip6 => probe.v6,
            Family::Inet | Family::Netdev => true,
        };
        if !seen {
            continue;
        }
        let said = Run { probe: &mut probe, table, number, outcome: &mut outcome }.chain(chain);
        outcome.marks = (probe.mark, probe.ct_mark);
        if said == Said::Drop || (said != Said::Accept && drops) {
            return outcome;
        }
    }
    outcome.accepted = true;
    outcome
}
