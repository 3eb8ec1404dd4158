//! What a rule already knows about its packets, left to right.
//!
//! nftables puts a test of the protocol in front of `tcp dport`, and of the family in front of `ip saddr`, unless the
//! rule has already asked; and it refuses a rule that asks for two protocols at once.

use super::Checked;
use crate::language::{
    diagnostic::Diagnostic,
    names,
    reading::{FibResult, Place, Reading},
    ruleset::{Comparison, CtField, Family, Match, Network, Operand, Selector, Subject, Transport, Values},
    source::Span,
};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const IGMP: u8 = 2;

/// EtherTypes of frames with a tag that nftables reads `vlan` from.
const TAGS: &[u128] = &[0x8100, 0x88a8];
pub(super) const ARP: u128 = 0x0806;

/// EtherTypes of protocols that no tag is part of.
const UNTAGGED: &[(u128, &str)] = &[(0x0800, "ip"), (ARP, "arp"), (0x86dd, "ip6")];

/// Protocols with ports where `th` looks for them.
const WITH_PORTS: &[u8] = &[6, 17, 33, 132, 136];

/// What is known.
pub(super) struct Context {
    pub(super) family: Family,
    /// The network layers that are left; empty when nothing is known.
    pub(super) networks: Vec<Network>,
    /// The upper-layer protocols that are left; empty when nothing is known.
    pub(super) protocols: Vec<u8>,
    /// Those that the connection can have, if the rule has asked about it and not about the packet.
    of_connection: Vec<u8>,
    /// The EtherTypes of the frame that are left; empty when nothing is known.
    pub(super) ether_types: Vec<u128>,
    /// Has the rule looked at the link's header?
    link_known: bool,
    /// Has it looked behind a tag?
    tag_known: bool,
    /// Has it asked for packets that the kernel takes for tagged ones, which have no other protocol?
    only_tag: bool,
    /// Is the IPv6 source known to be none of its link only?
    pub(super) beyond_link: bool,
    /// The ICMP types that are left; empty when nothing is known.
    icmp_types: Vec<u128>,
    /// A match that nftables puts in front of the next one, and shows.
    pub(super) implied: Option<Match>,
    /// Matches that nftables puts in front of the whole rule.
    pub(super) in_front: Vec<Match>,
}

/// Does this protocol have ports where `th` looks for them?
pub(super) fn has_ports(protocol: u8) -> bool {
    WITH_PORTS.contains(&protocol)
}

fn all_have_ports(protocols: &[u8]) -> bool {
    !protocols.is_empty() && protocols.iter().all(|known| has_ports(*known))
}

/// What must be tested first.
#[derive(Clone, Copy, Default)]
pub(super) struct Required {
    pub(super) network: Option<Network>,
    pub(super) tagged: bool,
}

impl Context {
    pub(super) fn new(family: Family) -> Self {
        let networks = match family {
            Family::Ip => vec![Network::Ip],
            Family::Ip6 => vec![Network::Ip6],
            Family::Inet | Family::Netdev => Vec::new(),
        };
        let (protocols, ether_types, icmp_types) = (Vec::new(), Vec::new(), Vec::new());
        let (link_known, tag_known, only_tag) = (false, false, false);
        Self {
            family,
            networks,
            protocols,
            of_connection: Vec::new(),
            ether_types,
            link_known,
            tag_known,
            only_tag,
            beyond_link: false,
            icmp_types,
            implied: None,
            in_front: Vec::new(),
        }
    }

    /// Prepares for looking at `selector`: what must be tested first, if anything.
    pub(super) fn require(&mut self, selector: Selector, span: Span) -> Checked<Required> {
        let network = match (selector.words(), selector) {
            (_, Selector::Reading(reading)) => {
                return Ok(Required { network: self.reading(reading, span)?, tagged: false });
            }
            (("ip", _), _) => self.network(Network::Ip, span)?,
            (("ip6", _), _) => self.network(Network::Ip6, span)?,
            (("icmp", _), _) => self.icmp(ICMP, Network::Ip, span)?,
            (("icmpv6", _), _) => self.icmp(ICMPV6, Network::Ip6, span)?,
            (("tcp", _), _) => self.transport(Transport::Tcp, span)?,
            (("udp", _), _) => self.transport(Transport::Udp, span)?,
            (("ether", _), _) => {
                self.link_known = true;
                None
            }
            (("vlan", _), _) => {
                let tagged = self.tag(span)?;
                (self.link_known, self.tag_known) = (true, true);
                return Ok(Required { network: None, tagged });
            }
            (_, Selector::SourcePort(transport) | Selector::DestinationPort(transport)) => {
                self.transport(transport, span)?
            }
            (("ct", _), _) if self.family == Family::Netdev => return Err(no_connection(span)),
            (_, Selector::NfProto) if self.family != Family::Inet => return Err(nfproto(span)),
            _ => None,
        };
        let network = if self.imply_echo(selector, network, span)? { None } else { network };
        Ok(Required { network, tagged: false })
    }

    /// What a selector stands for, given what is known of the packet; `ct original saddr` needs the network layer, ports of a
    /// connection the protocol.
    pub(super) fn known(&self, selector: Selector, span: Span) -> Checked<Selector> {
        let Selector::Ct(field) = selector else { return Ok(selector) };
        match field {
            CtField::UnknownAddress(side, end) => {
                if let [only] = self.networks[..] {
                    return Ok(Selector::Ct(CtField::Address(side, only, end)));
                }
                let error = Diagnostic::error(span, "an address of the connection, of which network layer?");
                Err(error.help("write `ct original ip saddr` or `ct original ip6 saddr`"))
            }
            CtField::Address(_, network, _) => match self.networks.iter().find(|known| **known != network) {
                Some(other) => Err(conflict(network_name(*other), network_name(network), span)),
                None => Ok(selector),
            },
            CtField::Port(..) if !self.knows_ports() && !all_have_ports(&self.of_connection) => {
                let error =
                    Diagnostic::error(span, "a port of the connection needs a test of a protocol with ports before");
                Err(error.help("write `meta l4proto tcp ct original proto-dst 22`"))
            }
            _ => Ok(selector),
        }
    }

    /// `vlan id` looks behind an 802.1Q tag, unless the rule has asked for another one.
    fn tag(&self, span: Span) -> Checked<bool> {
        self.beside_tag("vlan", span)?;
        if let [only] = self.ether_types[..] {
            if let Some((_, name)) = UNTAGGED.iter().find(|(number, _)| *number == only) {
                return Err(conflict(name, "vlan", span));
            }
            return Ok(!TAGS.contains(&only));
        }
        if self.ether_types.iter().any(|known| TAGS.contains(known)) {
            let message = "`vlan` behind a set of EtherTypes: nftables would read the second tag";
            return Err(Diagnostic::error(span, message).help("write a rule for each: `ether type 8021ad vlan id 5`"));
        }
        // In a table of one family, what was asked about the link has made it that of the family.
        let settled = matches!(self.family, Family::Inet | Family::Netdev) || self.link_known;
        match self.networks.last() {
            Some(network) if settled && !self.tag_known => Err(conflict(network_name(*network), "vlan", span)),
            Some(_) | None => Ok(true),
        }
    }

    /// Only echo messages have `id` and `sequence`: nftables adds a match of the type unless the rule has one.
    /// Was it added?
    fn imply_echo(&mut self, selector: Selector, network: Option<Network>, span: Span) -> Checked<bool> {
        let (of, echo) = match selector {
            Selector::IcmpId | Selector::IcmpSequence => (Selector::IcmpType, [0, 8]),
            Selector::Icmp6Id | Selector::Icmp6Sequence => (Selector::Icmp6Type, [128, 129]),
            _ => return Ok(false),
        };
        if self.icmp_types.is_empty() {
            self.icmp_types = echo.to_vec();
            let subject = Subject { selector: of, mask: None, or: 0, network, tagged: false };
            let operand = Operand::Set(echo.map(Values::single).to_vec());
            self.implied = Some(Match { subject, comparison: Comparison::Equal, operand });
            return Ok(true);
        }
        if self.icmp_types.iter().all(|known| echo.contains(known)) {
            return Ok(false);
        }
        let words = selector.words();
        let message = format!("`{} {}` behind another type: only echo messages have it", words.0, words.1);
        let help = format!("write `{} type {{ echo-request, echo-reply }}`, or leave the type out", words.0);
        Err(Diagnostic::error(span, message).help(help))
    }

    /// What must hold before bytes are read. Options and chunks ask for nothing: without them there is nothing to read,
    /// and `missing` is true.
    fn reading(&mut self, reading: Reading, span: Span) -> Checked<Option<Network>> {
        if let Reading::Fib(fib) = reading {
            // A type is told of any address.
            return if fib.result == FibResult::Type { Ok(None) } else { self.fib(span).map(|()| None) };
        }
        match reading.place() {
            Some(Place::Arp) => self.arp(span).map(|()| None),
            Some(Place::Ip | Place::IpOption(_)) => self.network(Network::Ip, span),
            Some(Place::Extension(_)) => self.network(Network::Ip6, span),
            Some(Place::Upper(ICMP)) => self.icmp(ICMP, Network::Ip, span),
            Some(Place::Upper(ICMPV6)) => self.icmp(ICMPV6, Network::Ip6, span),
            Some(Place::Upper(IGMP)) => {
                let network = self.icmp(IGMP, Network::Ip, span)?;
                if network.is_some() && self.family == Family::Inet {
                    // nftables shows this one.
                    let subject =
                        Subject { selector: Selector::NfProto, mask: None, or: 0, network: None, tagged: false };
                    let operand = Operand::One(Values::single(u128::from(firewall_common::packet::NFPROTO_IPV4)));
                    self.implied = Some(Match { subject, comparison: Comparison::Equal, operand });
                    return Ok(None);
                }
                Ok(network)
            }
            Some(Place::Upper(protocol)) => self.protocol(protocol, span).map(|()| None),
            Some(Place::Message(protocol, kind)) => self.message(reading, (protocol, kind), span),
            Some(Place::TcpOption(_) | Place::Chunk(_)) | None => Ok(None),
        }
    }

    /// The routing table is asked about one family at a time, and never answers programs about link-local addresses.
    fn fib(&self, span: Span) -> Checked<()> {
        match self.networks[..] {
            [Network::Ip] => Ok(()),
            [Network::Ip6] if self.beyond_link => Ok(()),
            [Network::Ip6] => {
                let error =
                    Diagnostic::error(span, "the routing table does not tell programs about link-local sources");
                Err(error.help("exclude them first: `ip6 saddr != fe80::/10 fib saddr . iif oif missing drop`"))
            }
            _ => {
                let error = Diagnostic::error(span, "the routing table is asked about one family at a time");
                Err(error
                    .help("write `meta nfproto ipv4` in front of it, and in a second rule `ip6 saddr != fe80::/10`"))
            }
        }
    }

    /// A field that only messages of one ICMP type have: nftables tests for that type, and refuses a rule that asked
    /// for another one before.
    fn message(&mut self, reading: Reading, (protocol, kind): (u8, u8), span: Span) -> Checked<Option<Network>> {
        let (network, types) = match protocol {
            ICMP => (Network::Ip, names::ICMP_TYPES),
            _ => (Network::Ip6, names::ICMPV6_TYPES),
        };
        let network = self.icmp(protocol, network, span)?;
        let kind = u128::from(kind);
        if let Some(other) = self.icmp_types.iter().find(|known| **known != kind) {
            let name = |number| names::name(types, number).map_or_else(|| number.to_string(), str::to_owned);
            let message = format!("`{reading}` is of messages of type {}, the rule has {}", name(kind), name(*other));
            return Err(Diagnostic::error(span, message).help("no packet is both: write two rules"));
        }
        self.icmp_types = vec![kind];
        Ok(network)
    }

    /// Does the rule know that the packet has a protocol with ports?
    pub(super) fn knows_ports(&self) -> bool {
        all_have_ports(&self.protocols)
    }

    /// The one network layer that is left.
    pub(super) fn known_network(&self) -> Option<Network> {
        if let [only] = self.networks[..] { Some(only) } else { None }
    }

    /// Has the rule asked for the upper-layer protocol?
    pub(super) fn knows_protocol(&self) -> bool {
        !self.protocols.is_empty()
    }

    /// For nftables a packet of `meta protocol 8021q` has no other protocol.
    fn beside_tag(&self, name: &str, span: Span) -> Checked<()> {
        if !self.only_tag {
            return Ok(());
        }
        let message = format!("conflicting protocols in one rule: a tag before, {name} here");
        Err(Diagnostic::error(span, message).help("write `ether type 8021q` for what has a tag in its frame"))
    }

    fn network(&mut self, network: Network, span: Span) -> Checked<Option<Network>> {
        self.beside_tag(network_name(network), span)?;
        if self.ether_types == [ARP] {
            return Err(conflict("arp", network_name(network), span));
        }
        if let Some(other) = self.networks.iter().find(|known| **known != network) {
            return Err(conflict(network_name(*other), network_name(network), span));
        }
        if self.networks.is_empty() {
            self.networks = vec![network];
            return Ok(Some(network));
        }
        Ok(None)
    }

    /// ARP is a network layer of its own, which only chains of devices see.
    fn arp(&mut self, span: Span) -> Checked<()> {
        if self.family != Family::Netdev {
            let error =
                Diagnostic::error(span, format!("no ARP packet comes by in a table of family {}", self.family.name()));
            return Err(error.help(
                "write it into a table of family netdev: `type filter hook ingress device eth0 priority filter`",
            ));
        }
        self.beside_tag("arp", span)?;
        if let Some(network) = self.networks.first() {
            return Err(conflict(network_name(*network), "arp", span));
        }
        if let Some(other) = self.ether_types.iter().find(|known| **known != ARP && !TAGS.contains(known)) {
            let name = names::name(names::ETHER_TYPES, *other).map_or_else(|| format!("0x{other:04x}"), str::to_owned);
            return Err(conflict(&name, "arp", span));
        }
        self.ether_types = vec![ARP];
        Ok(())
    }

    fn transport(&mut self, transport: Transport, span: Span) -> Checked<Option<Network>> {
        let Some(number) = transport.number() else { return Ok(None) };
        self.protocol(number, span)?;
        Ok(None)
    }

    fn protocol(&mut self, number: u8, span: Span) -> Checked<()> {
        if self.ether_types == [ARP] {
            return Err(conflict("arp", &protocol_name(number), span));
        }
        self.beside_tag(&protocol_name(number), span)?;
        let known = self.protocols.iter().chain(&self.of_connection);
        if let Some(other) = known.into_iter().find(|known| **known != number) {
            return Err(conflict(&protocol_name(*other), &protocol_name(number), span));
        }
        if !self.of_connection.is_empty() && self.protocols.is_empty() && ![ICMP, ICMPV6].contains(&number) {
            let name = protocol_name(number);
            let message =
                format!("`{name}` behind `ct protocol`: nftables would read ICMP errors of the connection as {name}");
            return Err(Diagnostic::error(span, message).help(format!("write `meta l4proto {name}` in front of it")));
        }
        self.protocols = vec![number];
        Ok(())
    }

    /// An ICMP match asks for its family too, unless the rule knows protocol or family: then nftables leaves it at
    /// that, and so a rule may ask for `icmpv6` in IPv4.
    fn icmp(&mut self, number: u8, network: Network, span: Span) -> Checked<Option<Network>> {
        let known = !self.protocols.is_empty();
        self.protocol(number, span)?;
        if known || !self.networks.is_empty() {
            return Ok(None);
        }
        self.networks = vec![network];
        Ok(Some(network))
    }

    /// Takes note of what a match that held says about the packet.
    pub(super) fn learn(&mut self, held: &Match) {
        self.beyond_link |= excludes_link_local(held);
        if held.comparison != Comparison::Equal || held.subject.mask.is_some() || held.subject.or != 0 {
            return;
        }
        let Some(values) = listed(&held.operand) else { return };
        match held.subject.selector {
            Selector::L4Proto | Selector::IpProtocol | Selector::Ip6NextHdr => {
                self.protocols = values.iter().map(|value| *value as u8).collect();
                self.of_connection.clear();
            }
            Selector::Ct(CtField::Protocol) if !self.networks.is_empty() => {
                self.of_connection = values.iter().map(|value| *value as u8).collect();
            }
            Selector::NfProto => self.learn_families(&values),
            Selector::Ct(CtField::L3Proto) if self.family == Family::Inet => self.learn_families(&values),
            Selector::EtherType => {
                self.learn_networks(&values);
                self.ether_types = values;
            }
            Selector::VlanType => self.learn_networks(&values),
            Selector::Protocol if self.family == Family::Netdev => {
                self.learn_networks(&values);
                self.only_tag = values.iter().any(|known| TAGS.contains(known));
                if values.contains(&ARP) {
                    self.ether_types = values;
                }
            }
            Selector::IcmpType | Selector::Icmp6Type => self.icmp_types = values,
            _ => {}
        }
    }

    fn learn_families(&mut self, numbers: &[u128]) {
        self.networks = numbers.iter().filter_map(|number| network_of(*number)).collect();
    }

    /// What an EtherType says about the network layer, whatever was asked before.
    fn learn_networks(&mut self, ether_types: &[u128]) {
        let networks: Option<Vec<Network>> = ether_types.iter().map(|number| network_of_type(*number)).collect();
        if let Some(networks) = networks {
            self.networks = networks;
        }
    }
}

/// Does a match that held leave no source within `fe80::/10`?
fn excludes_link_local(held: &Match) -> bool {
    const FIRST: u128 = 0xfe80 << 112;
    const LAST: u128 = FIRST | u128::MAX >> 10;
    let Match { subject: Subject { selector: Selector::Ip6Saddr, mask: None, or: 0, .. }, comparison, operand } = held
    else {
        return false;
    };
    match (comparison, operand) {
        (Comparison::NotEqual, Operand::One(values)) => values.low <= FIRST && values.high >= LAST,
        (Comparison::NotEqual, Operand::Set(values)) => values.iter().any(|one| one.low <= FIRST && one.high >= LAST),
        (Comparison::Equal, Operand::One(values)) => values.high < FIRST || values.low > LAST,
        (Comparison::Equal, Operand::Set(values)) => values.iter().all(|one| one.high < FIRST || one.low > LAST),
        _ => false,
    }
}

fn network_of_type(ether_type: u128) -> Option<Network> {
    match ether_type {
        0x0800 => Some(Network::Ip),
        0x86dd => Some(Network::Ip6),
        _ => None,
    }
}

/// The values of a right side without ranges.
fn listed(operand: &Operand) -> Option<Vec<u128>> {
    let values: &[Values] = match operand {
        Operand::One(values) => std::slice::from_ref(values),
        Operand::Set(values) => values,
        Operand::Named(_) => return None,
    };
    values.iter().map(|values| (values.low == values.high).then_some(values.low)).collect()
}

fn network_of(number: u128) -> Option<Network> {
    match number {
        2 => Some(Network::Ip),
        10 => Some(Network::Ip6),
        _ => None,
    }
}

pub(super) const fn network_name(network: Network) -> &'static str {
    match network {
        Network::Ip => "ip",
        Network::Ip6 => "ip6",
    }
}

fn protocol_name(number: u8) -> String {
    match number {
        ICMPV6 => "icmpv6".to_owned(),
        _ => names::name(names::PROTOCOLS, u128::from(number)).map_or_else(|| number.to_string(), str::to_owned),
    }
}

pub(super) fn conflict(before: &str, now: &str, span: Span) -> Diagnostic {
    let message = format!("conflicting protocols in one rule: {before} before, {now} here");
    Diagnostic::error(span, message).help("no packet is both: write two rules")
}

fn nfproto(span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, "`meta nfproto` only makes sense in a table of family inet");
    error.help("this table sees packets of one family only: leave the match out")
}

fn no_connection(span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, "`ct` in a table of family netdev: packets there belong to no connection yet");
    error.help("connections are looked up before the hooks of families inet, ip and ip6")
}
