//! What limits, counts and refuses: objects of a table, `log`, `reject` in its context.

use firewall_common::image::Hook;

use super::{
    Checked, Checker,
    context::{self, Context},
    tables::{ChainState, TableState, near},
};
use crate::language::{
    ast::{self, RejectWith, Spanned},
    diagnostic::Diagnostic,
    names,
    ruleset::{Comparison, Family, Match, Network, Object, ObjectKind, Operand, Selector, Subject, Values},
    source::Span,
    stateful::{ICMP_PORT, ICMP6_PORT, Log, Reject, Unreachable},
};

/// Bytes of a log prefix (`NF_LOG_PREFIXLEN` less its terminating zero).
const MAX_PREFIX: usize = firewall_common::limits::MAX_LOG_PREFIX;

const TCP: u8 = 6;

impl TableState {
    /// Is an object of this kind and name there?
    pub(super) fn has_object(&self, object: &ast::Object) -> bool {
        let kind = object.content.kind();
        self.object_index.contains_key(&(kind, object.name.text.to_string()))
    }

    /// An object that must be there.
    pub(super) fn object(&self, kind: ObjectKind, name: &Spanned) -> Checked<usize> {
        self.object_index.get(&(kind, name.text.to_string())).copied().ok_or_else(|| {
            let word = kind.name();
            let message = format!("there is no {word} `{}` in table `{} {}`", name.text, self.family.name(), self.name);
            let known = self.object_index.keys().filter(|(known, _)| *known == kind).map(|(_, name)| name);
            near(Diagnostic::error(name.span, message).following(), &name.text, known)
        })
    }
}

impl Checker<'_> {
    /// A new object; one that is there already stays as it is, as in nftables.
    pub(super) fn declare_object(&mut self, table: usize, written: &ast::Object) {
        let state = &mut self.tables[table];
        let (kind, name) = (written.content.kind(), written.name.text.to_string());
        if state.object_index.contains_key(&(kind, name.clone())) {
            return;
        }
        let comment = written.comment.as_ref().map(|comment| comment.text.to_string());
        state.object_index.insert((kind, name.clone()), state.objects.len());
        state.objects.push(Object { name, comment, content: written.content });
    }
}

/// Refuses statements at hooks where the kernel refuses them, in whatever chain packets of such a hook get to.
pub(super) fn check_hooks(table: &TableState) -> Checked<()> {
    // `nft_reject_validate`, `net/netfilter/nft_reject.c`
    let leaves = |hook| matches!(hook, Hook::Postrouting | Hook::Egress);
    if let Some(span) = first_reached(table, &leaves, &|chain| &chain.rejects) {
        let error = Diagnostic::error(span, "`reject` in a chain of packets that leave: the kernel refuses it there");
        return Err(error.help("reject at the hooks input, forward or output; `drop` works everywhere"));
    }
    // `nft_rt_validate`, `net/netfilter/nft_rt.c`
    let has_no_route = |hook| !matches!(hook, Hook::Forward | Hook::Output | Hook::Postrouting);
    if let Some(span) = first_reached(table, &has_no_route, &|chain| &chain.mtus) {
        let error = Diagnostic::error(span, "`rt mtu` in a chain of packets that have no route yet");
        return Err(error.help("write it at the hooks forward, output or postrouting"));
    }
    Ok(())
}

/// The first of these statements that packets of such a hook get to.
fn first_reached(
    table: &TableState,
    of_hook: &dyn Fn(Hook) -> bool,
    statements: &dyn Fn(&ChainState) -> &[Span],
) -> Option<Span> {
    let begins = |chain: &&usize| table.chains[**chain].base.as_ref().is_some_and(|base| of_hook(base.hook));
    let all: Vec<usize> = (0..table.chains.len()).collect();
    let mut reached: Vec<usize> = all.iter().filter(begins).copied().collect();
    let mut at = 0;
    while let Some(chain) = reached.get(at).copied() {
        at += 1;
        let chain = &table.chains[chain];
        if let Some(span) = statements(chain).first() {
            return Some(*span);
        }
        let maps = chain.maps.iter().flat_map(|map| &table.sets[*map].jumps);
        for (target, _) in chain.jumps.iter().chain(maps) {
            if !reached.contains(target) {
                reached.push(*target);
            }
        }
    }
    None
}

/// What `log` says, where nothing contradicts.
pub(super) fn checked_log(log: &ast::Log, span: Span) -> Checked<Log> {
    let ast::Log { prefix, level, flags, flags_span, group, snaplen, threshold, group_span } = log;
    if let Some(prefix) = prefix.as_ref().filter(|prefix| prefix.text.len() > MAX_PREFIX) {
        let message = format!("a log prefix has at most {MAX_PREFIX} bytes");
        return Err(Diagnostic::error(prefix.span, message));
    }
    if let (Some(level), Some(other)) = (level, group_span) {
        let message = "a log has a level or a group, not both";
        return Err(Diagnostic::error(level.span.max(*other), message));
    }
    if let (Some(_), Some(flags), Some(group)) = (group, flags_span, group_span) {
        let message = "a log has flags or a group, not both";
        return Err(Diagnostic::error((*flags).max(*group), message));
    }
    let level = level.as_ref().map(log_level).transpose()?;
    if level == Some(AUDIT) && (prefix.is_some() || *flags != 0) {
        return Err(Diagnostic::error(span, "`log level audit` takes nothing else"));
    }
    Ok(Log {
        prefix: prefix.as_ref().map(|prefix| prefix.text.to_string()),
        level: level.filter(|level| *level != "warn"),
        flags: *flags,
        group: *group,
        // Without a group nobody would get the packet: nftables forgets them too.
        snaplen: group.and(*snaplen),
        threshold: group.and(*threshold),
    })
}

/// The level of records for the audit system.
const AUDIT: &str = "audit";

fn log_level(level: &Spanned) -> Checked<&'static str> {
    let known = || names::LOG_LEVELS.iter().copied().chain([AUDIT]);
    if let Some(level) = known().find(|known| **known == *level.text) {
        return Ok(level);
    }
    let error = Diagnostic::error(level.span, format!("unknown log level `{}`", level.text));
    Err(match names::nearest(&level.text, known()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("log levels: {}", known().collect::<Vec<_>>().join(", "))),
    })
}

impl Context {
    /// What `reject` means here. nftables puts the tests that it depends on in front of the rule.
    pub(super) fn reject(&mut self, with: RejectWith, span: Span) -> Checked<Reject> {
        match with {
            RejectWith::Default => self.default_reject(span),
            RejectWith::Reset => {
                self.only_tcp(span)?;
                Ok(Reject::Reset)
            }
            RejectWith::Icmp(code) => self.only(Network::Ip, span).map(|()| Reject::Icmp(code)),
            RejectWith::Icmp6(code) => self.only(Network::Ip6, span).map(|()| Reject::Icmp6(code)),
            RejectWith::Either(code) => match self.family {
                Family::Inet | Family::Netdev => Ok(Reject::Either(code)),
                Family::Ip | Family::Ip6 => {
                    let error = Diagnostic::error(span, "`icmpx` is for tables that see IPv4 and IPv6");
                    Err(error.help("write `icmp` in a table of family ip, `icmpv6` in one of family ip6"))
                }
            },
        }
    }

    fn default_reject(&self, span: Span) -> Checked<Reject> {
        if self.ether_types == [context::ARP] {
            return Err(Diagnostic::error(
                span,
                "nobody can be told that ARP is refused: `reject` is for IPv4 and IPv6",
            ));
        }
        Ok(match self.networks[..] {
            [Network::Ip] => Reject::Icmp(ICMP_PORT),
            [Network::Ip6] => Reject::Icmp6(ICMP6_PORT),
            _ => Reject::Either(Unreachable::Port),
        })
    }

    fn only_tcp(&mut self, span: Span) -> Checked<()> {
        match self.protocols[..] {
            [TCP] => Ok(()),
            [] => {
                self.in_front.push(equals(Selector::L4Proto, TCP.into()));
                Ok(())
            }
            _ => {
                let error = Diagnostic::error(span, "only TCP has resets, and this rule asks for another protocol");
                Err(error.help("`reject` alone tells of every protocol"))
            }
        }
    }

    fn only(&mut self, network: Network, span: Span) -> Checked<()> {
        if let Some(other) = self.networks.iter().find(|known| **known != network) {
            return Err(context::conflict(context::network_name(*other), context::network_name(network), span));
        }
        if self.networks.is_empty() {
            let is_v4 = network == Network::Ip;
            self.in_front.push(match self.family {
                Family::Netdev => equals(Selector::Protocol, if is_v4 { 0x0800 } else { 0x86dd }),
                Family::Inet | Family::Ip | Family::Ip6 => equals(Selector::NfProto, if is_v4 { 2 } else { 10 }),
            });
        }
        Ok(())
    }
}

fn equals(selector: Selector, value: u128) -> Match {
    let subject = Subject { selector, mask: None, or: 0, tagged: false, network: None };
    Match { subject, comparison: Comparison::Equal, operand: Operand::One(Values::single(value)) }
}
