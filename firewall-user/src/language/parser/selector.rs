//! The left side of a match: `tcp dport`, `meta iifname`, `ct state`.

use super::{Parsed, Parser, unsupported};
use crate::language::{
    ast::Left,
    diagnostic::Diagnostic,
    names,
    reading::Reading,
    ruleset::{CtField, Selector, Transport},
};

/// A header's word and the fields of it that can be matched.
struct Group {
    word: &'static str,
    fields: &'static [(&'static str, Selector)],
}

const fn ports(transport: Transport) -> [(&'static str, Selector); 2] {
    [("sport", Selector::SourcePort(transport)), ("dport", Selector::DestinationPort(transport))]
}

const GROUPS: &[Group] = &[
    Group {
        word: "ether",
        fields: &[("saddr", Selector::EtherSaddr), ("daddr", Selector::EtherDaddr), ("type", Selector::EtherType)],
    },
    Group {
        word: "vlan",
        fields: &[
            ("id", Selector::VlanId),
            ("dei", Selector::VlanDei),
            ("cfi", Selector::VlanDei),
            ("pcp", Selector::VlanPcp),
            ("type", Selector::VlanType),
        ],
    },
    Group {
        word: "ip",
        fields: &[
            ("saddr", Selector::IpSaddr),
            ("daddr", Selector::IpDaddr),
            ("protocol", Selector::IpProtocol),
            ("version", Selector::IpVersion),
            ("hdrlength", Selector::IpHdrLength),
            ("dscp", Selector::IpDscp),
            ("ecn", Selector::IpEcn),
            ("length", Selector::IpLength),
            ("id", Selector::IpId),
            ("frag-off", Selector::IpFragOff),
            ("ttl", Selector::IpTtl),
        ],
    },
    Group {
        word: "ip6",
        fields: &[
            ("saddr", Selector::Ip6Saddr),
            ("daddr", Selector::Ip6Daddr),
            ("version", Selector::Ip6Version),
            ("dscp", Selector::Ip6Dscp),
            ("ecn", Selector::Ip6Ecn),
            ("flowlabel", Selector::Ip6FlowLabel),
            ("length", Selector::Ip6Length),
            ("nexthdr", Selector::Ip6NextHdr),
            ("hoplimit", Selector::Ip6HopLimit),
        ],
    },
    Group {
        word: "tcp",
        fields: &[
            ("sport", Selector::SourcePort(Transport::Tcp)),
            ("dport", Selector::DestinationPort(Transport::Tcp)),
            ("flags", Selector::TcpFlags),
            ("sequence", Selector::TcpSequence),
            ("ackseq", Selector::TcpAckSeq),
            ("doff", Selector::TcpDoff),
            ("reserved", Selector::TcpReserved),
            ("window", Selector::TcpWindow),
            ("urgptr", Selector::TcpUrgPtr),
        ],
    },
    Group {
        word: "udp",
        fields: &[
            ("sport", Selector::SourcePort(Transport::Udp)),
            ("dport", Selector::DestinationPort(Transport::Udp)),
            ("length", Selector::UdpLength),
            ("checksum", Selector::UdpChecksum),
        ],
    },
    Group { word: "udplite", fields: &ports(Transport::UdpLite) },
    Group { word: "sctp", fields: &ports(Transport::Sctp) },
    Group { word: "dccp", fields: &ports(Transport::Dccp) },
    Group { word: "th", fields: &ports(Transport::Any) },
    Group {
        word: "icmp",
        fields: &[
            ("type", Selector::IcmpType),
            ("code", Selector::IcmpCode),
            ("id", Selector::IcmpId),
            ("sequence", Selector::IcmpSequence),
        ],
    },
    Group {
        word: "icmpv6",
        fields: &[
            ("type", Selector::Icmp6Type),
            ("code", Selector::Icmp6Code),
            ("id", Selector::Icmp6Id),
            ("sequence", Selector::Icmp6Sequence),
        ],
    },
    Group {
        word: "ct",
        fields: &[
            ("state", Selector::CtState),
            ("mark", Selector::CtMark),
            ("direction", Selector::Ct(CtField::Direction)),
            ("status", Selector::Ct(CtField::Status)),
            ("zone", Selector::Ct(CtField::Zone(None))),
            ("expiration", Selector::Ct(CtField::Expiration)),
            ("bytes", Selector::Ct(CtField::Bytes(None))),
            ("packets", Selector::Ct(CtField::Packets(None))),
            ("avgpkt", Selector::Ct(CtField::Average(None))),
            ("id", Selector::Ct(CtField::Id)),
            ("l3proto", Selector::Ct(CtField::L3Proto)),
            ("protocol", Selector::Ct(CtField::Protocol)),
        ],
    },
    Group {
        word: "meta",
        fields: &[
            ("iif", Selector::Iif),
            ("oif", Selector::Oif),
            ("iifname", Selector::IifName),
            ("oifname", Selector::OifName),
            ("l4proto", Selector::L4Proto),
            ("nfproto", Selector::NfProto),
            ("protocol", Selector::Protocol),
            ("length", Selector::Length),
            ("mark", Selector::Mark),
            ("cpu", Selector::Cpu),
            ("random", Selector::Random),
            ("pkttype", Selector::PktType),
            ("priority", Selector::Priority),
            ("time", Selector::Time),
            ("hour", Selector::Hour),
            ("day", Selector::Day),
        ],
    },
];

/// Words of `meta` that may stand alone.
const ALONE: &[(&str, Selector)] = &[
    ("iif", Selector::Iif),
    ("oif", Selector::Oif),
    ("iifname", Selector::IifName),
    ("oifname", Selector::OifName),
    ("mark", Selector::Mark),
    ("cpu", Selector::Cpu),
    ("pkttype", Selector::PktType),
    ("time", Selector::Time),
    ("hour", Selector::Hour),
    ("day", Selector::Day),
];

/// Words that a match can start with, for "did you mean".
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    let known = GROUPS.iter().map(|group| group.word).chain(ALONE.iter().map(|(word, _)| *word));
    known.chain(super::reading::WORDS.iter().copied())
}

impl Parser<'_> {
    /// A selector, if one stands here.
    pub(super) fn selector(&mut self) -> Parsed<Option<Left>> {
        if let Some(reading) = self.reading()? {
            return Ok(Some(reading));
        }
        let Some(word) = self.word() else { return Ok(None) };
        if let "numgen" | "symhash" = word {
            return self.generator().map(Some);
        }
        if word == "jhash" {
            return self.hash().map(Some);
        }
        if let Some((_, selector)) = ALONE.iter().find(|(alone, _)| *alone == word) {
            let span = self.bump();
            return Ok(Some(Left { selector: *selector, hash: None, operations: Vec::new(), more: Vec::new(), span }));
        }
        let Some(group) = GROUPS.iter().find(|group| group.word == word) else { return Ok(None) };
        let start = self.bump();
        if group.word == "ct"
            && let Some((selector, end)) = self.sided_field()?
        {
            let span = start.to(end);
            return Ok(Some(Left { selector, hash: None, operations: Vec::new(), more: Vec::new(), span }));
        }
        let selector = self.field(group)?;
        let span = start.to(self.bump());
        Ok(Some(Left { selector, hash: None, operations: Vec::new(), more: Vec::new(), span }))
    }

    /// The field behind the group's word; not yet read past.
    fn field(&self, group: &Group) -> Parsed<Selector> {
        let Some(word) = self.word() else {
            let fields = group.fields.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            let message = format!("a field behind `{}`: {fields}", group.word);
            return Err(self.unexpected(&message));
        };
        match group.fields.iter().find(|(field, _)| *field == word) {
            Some((_, selector)) => Ok(*selector),
            None => match Reading::named(group.word, word) {
                Some(reading) => Ok(Selector::Reading(reading)),
                None => Err(self.no_field(group, word)),
            },
        }
    }

    fn no_field(&self, group: &Group, word: &str) -> Diagnostic {
        if let Some(refused) = unsupported::field(group.word, word, self.here()) {
            return refused;
        }
        let fields = group.fields.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let error = Diagnostic::error(self.here(), format!("unknown field `{word}` behind `{}`", group.word));
        match names::nearest(word, group.fields.iter().map(|(word, _)| *word)) {
            Some(near) => error.help(format!("did you mean `{} {near}`?", group.word)),
            None => error.help(format!("`{}` knows: {fields}", group.word)),
        }
    }
}
