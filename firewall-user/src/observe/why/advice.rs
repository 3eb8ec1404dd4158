//! Which change would let a dropped packet through.

use firewall_common::{image::POLICY, verdict::Layer, verdict::Reason};

use super::{Author, Outcome, Reached, Report};
use crate::observe::{
    packet::protocol_name,
    path::{LIMIT, QUOTA},
    words::printable,
};

impl Report<'_> {
    /// What to do, in sentences; nothing for a packet that passes.
    pub fn advice(&self) -> Vec<String> {
        if self.outcome() == Outcome::Accept {
            return Vec::new();
        }
        match self.reason() {
            Some(reason) if !self.is_by_ruleset() => vec![of_reason(reason).to_owned()],
            _ => self.of_ruleset(),
        }
    }

    fn of_ruleset(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let wanted = self.accepting();
        match self.author() {
            Author::Policy(chain) => {
                let nearest = self.nearest().map_or_else(String::new, |rule| format!("; nearest: {rule}"));
                lines.push(format!("no rule in chain {} accepts {}{nearest}", chain.name, self.subject()));
                lines.push(format!("`{wanted}` in chain {} would let it through", chain.name));
            }
            Author::Rule(rule) => {
                let place = printable(&format!("{}:{}", rule.file, rule.line));
                lines.push(format!(
                    "`{wanted}` in front of {place} (chain {}), or a narrower rule there, would let it through",
                    rule.chain
                ));
            }
            Author::Nobody | Author::Forgotten => {}
        }
        lines
    }

    /// `tcp 443 from 198.51.100.7`
    fn subject(&self) -> String {
        let packet = self.packet();
        let protocol = packet.protocol.map_or_else(|| "it".to_owned(), protocol_name);
        let port = packet.ports.map_or_else(String::new, |(_, port)| format!(" {port}"));
        match packet.addresses {
            Some((source, to)) if self.is_leaving() => format!("{protocol}{port} from {source} to {to}"),
            Some((source, _)) => format!("{protocol}{port} from {source}"),
            None => protocol,
        }
    }

    /// The rule that a person would write.
    fn accepting(&self) -> String {
        let packet = self.packet();
        let Some((source, to)) = packet.addresses else { return "accept".to_owned() };
        let family = if source.is_ipv4() { "ip" } else { "ip6" };
        let (word, address) = if self.is_leaving() { ("daddr", to) } else { ("saddr", source) };
        let protocol = packet.protocol.map(protocol_name).unwrap_or_default();
        let upper = match (packet.ports, packet.icmp) {
            (Some((_, port)), _) => format!("{protocol} dport {port}"),
            (None, Some((kind, _))) => format!("{protocol} type {kind}"),
            (None, None) => format!("meta l4proto {protocol}"),
        };
        format!("{family} {word} {address} {upper} accept")
    }

    /// Of the accepting rules that were looked at, the one of which most matched.
    fn nearest(&self) -> Option<String> {
        let is_near = |one: &&Reached| !one.held && one.rule & POLICY == 0 && self.accepts(one.rule);
        let reached = self.path.hooks.iter().flat_map(|at| &at.reached);
        // Of equals, the first.
        let nearest = reached.filter(is_near).fold(None, |best: Option<&Reached>, one| match best {
            Some(best) if self.likeness(best) >= self.likeness(one) => Some(best),
            _ => Some(one),
        })?;
        let rule = self.manifest.rule(nearest.rule)?;
        let part = nearest.failed_at.map_or_else(String::new, |part| format!(" (differs in: {part})"));
        Some(printable(&format!("{}:{} `{}`{part}", rule.file, rule.line, rule.text)))
    }

    /// How near a rule is: not one for another protocol; then how much of it matched, and by what it did not. One for
    /// another port or address is for such packets; one for another state of the connection is for others.
    fn likeness(&self, one: &Reached) -> (bool, usize, u8, bool) {
        let rank = match one.failed_at {
            Some(LIMIT | QUOTA) => 4,
            Some("destination port" | "ICMP type") => 3,
            Some("source address" | "destination address" | "incoming interface" | "outgoing interface") => 2,
            Some("ct state" | "family") => 0,
            Some(_) | None => 1,
        };
        let protocol = self.packet().protocol.map(protocol_name).unwrap_or_default();
        let text = self.manifest.rule(one.rule).map_or("", |rule| &rule.text);
        let names = |protocol: &str| text.split(' ').any(|word| word == protocol);
        let is_of_another = !names(&protocol) && ["tcp", "udp", "icmp", "icmpv6", "sctp"].into_iter().any(names);
        (!is_of_another, one.parts, rank, names(&protocol))
    }

    fn accepts(&self, rule: u32) -> bool {
        self.manifest.rule(rule).is_some_and(|rule| rule.text.split(' ').any(|word| word == "accept"))
    }
}

/// What to do about a drop that no rule asked for.
fn of_reason(reason: Reason) -> &'static str {
    match (reason, reason.layer()) {
        (Reason::TableFull, _) => {
            "the table of connections is full of established ones: `rampart apply --flows N` after `rampart stop` makes it larger"
        }
        (_, Layer::Link | Layer::Network | Layer::Transport) => {
            "the packet itself is malformed: no rule can let it through, and the network stack would drop it as well"
        }
        (_, Layer::Ruleset | Layer::Internal) => "no rule can let it through: see the reason",
    }
}
