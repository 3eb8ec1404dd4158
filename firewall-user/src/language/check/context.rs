//! What a rule already knows about its packets, left to right.
//!
//! nftables puts a test of the protocol in front of `tcp dport`, and of the family in front of `ip saddr`, unless the
//! rule has already asked; and it refuses a rule that asks for two protocols at once.

use super::Checked;
use crate::language::{
    diagnostic::Diagnostic,
    names,
    ruleset::{Comparison, Family, Match, Network, Operand, Selector, Transport, Values},
    source::Span,
};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Protocols with ports where `th` looks for them.
const WITH_PORTS: &[u8] = &[6, 17, 33, 132, 136];

/// What is known.
pub(super) struct Context {
    family: Family,
    /// The network layers that are left; empty when nothing is known.
    networks: Vec<Network>,
    /// The upper-layer protocols that are left; empty when nothing is known.
    protocols: Vec<u8>,
}

impl Context {
    pub(super) fn new(family: Family) -> Self {
        let networks = match family {
            Family::Ip => vec![Network::Ip],
            Family::Ip6 => vec![Network::Ip6],
            Family::Inet => Vec::new(),
        };
        Self { family, networks, protocols: Vec::new() }
    }

    /// Prepares for looking at `selector`: the network layer that must be tested first, if any.
    pub(super) fn require(&mut self, selector: Selector, span: Span) -> Checked<Option<Network>> {
        match selector {
            Selector::IpSaddr | Selector::IpDaddr | Selector::IpProtocol => self.network(Network::Ip, span),
            Selector::Ip6Saddr | Selector::Ip6Daddr => self.network(Network::Ip6, span),
            Selector::SourcePort(transport) | Selector::DestinationPort(transport) => self.transport(transport, span),
            Selector::TcpFlags => self.transport(Transport::Tcp, span),
            Selector::IcmpType | Selector::IcmpCode => self.icmp(ICMP, Network::Ip, span),
            Selector::Icmp6Type | Selector::Icmp6Code => self.icmp(ICMPV6, Network::Ip6, span),
            Selector::NfProto if self.family != Family::Inet => Err(nfproto(span)),
            Selector::NfProto
            | Selector::Iif
            | Selector::Oif
            | Selector::IifName
            | Selector::OifName
            | Selector::L4Proto
            | Selector::Protocol
            | Selector::Length
            | Selector::Mark
            | Selector::CtState
            | Selector::CtMark => Ok(None),
        }
    }

    fn network(&mut self, network: Network, span: Span) -> Checked<Option<Network>> {
        if let Some(other) = self.networks.iter().find(|known| **known != network) {
            return Err(conflict(network_name(*other), network_name(network), span));
        }
        if self.networks.is_empty() {
            self.networks = vec![network];
            return Ok(Some(network));
        }
        Ok(None)
    }

    fn transport(&mut self, transport: Transport, span: Span) -> Checked<Option<Network>> {
        let Some(number) = transport.number() else { return self.any_transport(span).map(|()| None) };
        self.protocol(number, span)?;
        Ok(None)
    }

    fn protocol(&mut self, number: u8, span: Span) -> Checked<()> {
        if let Some(other) = self.protocols.iter().find(|known| **known != number) {
            return Err(conflict(&protocol_name(*other), &protocol_name(number), span));
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

    /// `th dport` reads two bytes of whatever header is there: only for protocols with ports are these a port.
    fn any_transport(&self, span: Span) -> Checked<()> {
        if !self.protocols.is_empty() && self.protocols.iter().all(|known| WITH_PORTS.contains(known)) {
            return Ok(());
        }
        let message =
            "`th` needs a test of the protocol in front of it: of other protocols it would read any two bytes";
        let help = "write `meta l4proto { tcp, udp } th dport 53`";
        Err(Diagnostic::error(span, message).help(help))
    }

    /// Takes note of what a match that held says about the packet.
    pub(super) fn learn(&mut self, held: &Match) {
        if held.comparison != Comparison::Equal || held.subject.mask.is_some() {
            return;
        }
        let Some(values) = listed(&held.operand) else { return };
        match held.subject.selector {
            Selector::L4Proto | Selector::IpProtocol => {
                self.protocols = values.iter().map(|value| *value as u8).collect();
            }
            Selector::NfProto => self.networks = values.iter().filter_map(|value| network_of(*value)).collect(),
            Selector::Iif
            | Selector::Oif
            | Selector::IifName
            | Selector::OifName
            | Selector::Protocol
            | Selector::Length
            | Selector::Mark
            | Selector::CtState
            | Selector::CtMark
            | Selector::IpSaddr
            | Selector::IpDaddr
            | Selector::Ip6Saddr
            | Selector::Ip6Daddr
            | Selector::SourcePort(_)
            | Selector::DestinationPort(_)
            | Selector::TcpFlags
            | Selector::IcmpType
            | Selector::IcmpCode
            | Selector::Icmp6Type
            | Selector::Icmp6Code => {}
        }
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

const fn network_name(network: Network) -> &'static str {
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

fn conflict(before: &str, now: &str, span: Span) -> Diagnostic {
    let message = format!("conflicting protocols in one rule: {before} before, {now} here");
    Diagnostic::error(span, message).help("no packet is both: write two rules")
}

fn nfproto(span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, "`meta nfproto` only makes sense in a table of family inet");
    error.help("this table sees packets of one family only: leave the match out")
}
