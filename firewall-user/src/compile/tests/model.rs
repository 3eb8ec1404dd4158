//! A packet as a person would describe it, and rules carried out on it word for word: nothing here knows instructions.

use firewall_common::{
    image::Hook,
    packet::{Field, L4_PRESENT, NO_L4, Packet},
};

use crate::language::{
    Ruleset,
    ruleset::{
        Comparison, Family, Match, Network, Operand, Rule, Selector, Statement, Subject, Table, Values, Verdict,
    },
};

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
        packet
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
        })
    }

    fn subject(&self, subject: Subject) -> Option<u128> {
        let Subject { selector, mask, network } = subject;
        match network {
            Some(Network::Ip) if self.v6 => return None,
            Some(Network::Ip6) if !self.v6 => return None,
            Some(_) | None => {}
        }
        self.value(selector).map(|value| value & mask.unwrap_or(u128::MAX))
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
    probe: &'a Probe,
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
                Statement::Match(_) | Statement::Log { .. } | Statement::Verdict(Verdict::Continue) => {}
                Statement::Counter { .. } => {
                    self.outcome.counted.push((self.number, chain, number, counters));
                    counters += 1;
                }
                Statement::Verdict(verdict) => return self.verdict(*verdict),
                Statement::Map { subject, elements } => {
                    let Some(value) = self.probe.subject(*subject) else { return Said::Nothing };
                    let found = elements.iter().find(|element| element.key.is_none_or(|key| within(value, &[key])));
                    match found.map(|element| element.verdict) {
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

/// Runs a packet through a hook's chains.
pub(super) fn run(ruleset: &Ruleset, hook: Hook, probe: &Probe) -> Outcome {
    let mut bases = Vec::new();
    for (number, table) in ruleset.tables().iter().enumerate() {
        for (chain, content) in table.chains.iter().enumerate() {
            if let Some(base) = content.base.filter(|base| base.hook == hook) {
                bases.push((base.priority, std::cmp::Reverse((number, chain)), base.drops));
            }
        }
    }
    bases.sort_unstable();
    let mut outcome = Outcome::default();
    for (_, std::cmp::Reverse((number, chain)), drops) in bases {
        let table = &ruleset.tables()[number];
        let seen = match table.family {
            Family::Ip => !probe.v6,
            Family::Ip6 => probe.v6,
            Family::Inet => true,
        };
        if !seen {
            continue;
        }
        let said = Run { probe, table, number, outcome: &mut outcome }.chain(chain);
        if said == Said::Drop || (said != Said::Accept && drops) {
            return outcome;
        }
    }
    outcome.accepted = true;
    outcome
}
