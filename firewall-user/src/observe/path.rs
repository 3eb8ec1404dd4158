//! The way of a packet through the rules: steps through the image, told as rules.

use firewall_common::{
    image::{DECIDES, Hook, Insn, NEGATE, NO_RULE, Op, POLICY, Target},
    packet::Field,
    trail::{AT_FAST, AT_HOOK, AT_POLICY, AT_RULE, Trail},
};

/// What happened at one rule, or at a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The rule or policy, as in [`Insn::rule`].
    pub rule: u32,
    /// Did all of it match? A policy always does.
    pub held: bool,
    /// What the part that did not match looks at.
    pub failed_at: Option<&'static str>,
    /// How many parts matched before that.
    pub parts: usize,
}

/// What happened at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtHook {
    /// The hook.
    pub hook: Hook,
    /// The rules that were looked at, in order.
    pub reached: Vec<Reached>,
}

/// The way of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Hook by hook.
    pub hooks: Vec<AtHook>,
    /// Are there earlier steps that were not kept?
    pub is_cut: bool,
    /// Did it go past the rest of the rules and the stack?
    pub is_fast: bool,
}

/// Looks up an instruction of the image.
pub type Insns<'a> = &'a dyn Fn(u32) -> Option<Insn>;

impl Path {
    /// What a trail tells.
    pub fn of(trail: &Trail, insns: Insns<'_>) -> Self {
        let (steps, is_cut) = trail.kept_steps();
        let steps: Vec<u32> = steps.collect();
        let mut path = Self { hooks: Vec::new(), is_cut, is_fast: steps.contains(&AT_FAST) };
        if is_cut && let Some(hook) = trail.last_hook() {
            path.hooks.push(AtHook { hook, reached: Vec::new() });
        }
        for (at, step) in steps.iter().enumerate() {
            path.step(*step, steps.get(at + 1).copied(), insns);
        }
        path
    }

    fn step(&mut self, step: u32, next: Option<u32>, insns: Insns<'_>) {
        if step & 0xff00_0000 == AT_HOOK {
            let hook = Hook::ALL.into_iter().find(|hook| *hook as u32 == step & 0xff);
            self.hooks.extend(hook.map(|hook| AtHook { hook, reached: Vec::new() }));
            return;
        }
        let Some(at_hook) = self.hooks.last_mut() else { return };
        if step & 0xff00_0000 == AT_RULE {
            let number = step & (AT_POLICY - 1);
            let rule = if step & AT_POLICY == 0 { number } else { number | POLICY };
            at_hook.reached.push(Reached { rule, held: true, failed_at: None, parts: 1 });
            return;
        }
        let target = Target(step);
        if target.is_verdict() || target.is_next() {
            return;
        }
        if let Some(insn) = insns(step) {
            at_hook.visit(&insn, next);
        }
    }
}

impl AtHook {
    /// An instruction was run, and the packet went on at `next`.
    fn visit(&mut self, insn: &Insn, next: Option<u32>) {
        // A chain begins with tests of its family and devices, which are no rule's and not its policy.
        if insn.rule == NO_RULE || insn.rule & POLICY != 0 && insn.flags & DECIDES == 0 {
            return;
        }
        let held = insn.pass == insn.fail || next == Some(insn.pass.0);
        let failed_at = (!held).then(|| what(insn));
        match self.reached.last_mut() {
            Some(last) if last.rule == insn.rule => {
                last.held = held;
                last.failed_at = failed_at;
                last.parts += usize::from(held);
            }
            _ => self.reached.push(Reached { rule: insn.rule, held, failed_at, parts: usize::from(held) }),
        }
    }
}

/// What an instruction looks at, in words.
fn what(insn: &Insn) -> &'static str {
    if insn.op == Op::Counter as u8 || insn.op == Op::Log as u8 {
        return "statement";
    }
    if insn.op == Op::LimitPackets as u8 || insn.op == Op::LimitBytes as u8 {
        return LIMIT;
    }
    if insn.op == Op::Quota as u8 {
        return QUOTA;
    }
    if insn.op == Op::Flow as u8 {
        return "a packet that may take the fast path";
    }
    let is_not = insn.flags & NEGATE != 0;
    FIELDS.iter().find(|(field, ..)| *field as u8 == insn.field).map_or(
        "value",
        |(_, name, not)| {
            if is_not { not } else { name }
        },
    )
}

/// A part that failed because of what other packets used up.
pub const LIMIT: &str = "limit";
/// The same of a quota.
pub const QUOTA: &str = "quota";

/// Fields, what they are, and the same where the test is that it is not so.
const FIELDS: &[(Field, &str, &str)] = &[
    (Field::NfProto, "family", "not the family"),
    (Field::L4Proto, "protocol", "not the protocol"),
    (Field::L4Header, "protocol", "not the protocol"),
    (Field::SourceAddress, "source address", "not the source address"),
    (Field::DestinationAddress, "destination address", "not the destination address"),
    (Field::SourcePort, "source port", "not the source port"),
    (Field::DestinationPort, "destination port", "not the destination port"),
    (Field::IcmpType, "ICMP type", "not the ICMP type"),
    (Field::CtState, "ct state", "not the ct state"),
    (Field::IifIndex, "incoming interface", "not the incoming interface"),
    (Field::OifIndex, "outgoing interface", "not the outgoing interface"),
    (Field::IifName, "incoming interface", "not the incoming interface"),
    (Field::OifName, "outgoing interface", "not the outgoing interface"),
    (Field::TcpFlags, "TCP flags", "not the TCP flags"),
    (Field::Length, "length", "not the length"),
    (Field::Fragment, "fragmentation", "not the fragmentation"),
    (Field::Mark, "mark", "not the mark"),
    (Field::CtMark, "ct mark", "not the ct mark"),
    (Field::EtherType, "EtherType", "not the EtherType"),
    (Field::Vlan, "VLAN tag", "not the VLAN tag"),
    (Field::Ttl, "time to live", "not the time to live"),
    (Field::Tos, "DSCP or ECN", "not the DSCP or ECN"),
    (Field::EtherDestination, "hardware destination", "not the hardware destination"),
    (Field::EtherSource, "hardware source", "not the hardware source"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(steps: &[u32]) -> Trail {
        let mut trail = Trail::EMPTY;
        trail.steps[..steps.len()].copy_from_slice(steps);
        trail.step_count = steps.len() as u32;
        trail
    }

    fn insn(rule: u32, field: Field, pass: u32, fail: u32) -> Insn {
        Insn {
            op: Op::Range as u8,
            field: field as u8,
            rule,
            pass: Target(pass),
            fail: Target(fail),
            ..Insn::default()
        }
    }

    #[test]
    fn instructions_become_rules() {
        let image = [
            insn(0, Field::SourceAddress, 1, 2),
            insn(0, Field::DestinationPort, Target::ACCEPT.0, 2),
            insn(POLICY | 4, Field::NfProto, 3, Target::ACCEPT.0),
            Insn { flags: DECIDES, ..insn(POLICY | 4, Field::Zero, Target::DROP.0, Target::DROP.0) },
        ];
        let look_up = |at: u32| image.get(at as usize).copied();
        let path = Path::of(&trail(&[AT_HOOK | 1, 0, 1, 2, 3, Target::DROP.0]), &look_up);
        let rule = Reached { rule: 0, held: false, failed_at: Some("destination port"), parts: 1 };
        let policy = Reached { rule: POLICY | 4, held: true, failed_at: None, parts: 1 };
        assert_eq!(path.hooks, [AtHook { hook: Hook::Input, reached: vec![rule, policy] }]);
    }

    #[test]
    fn what_a_tree_decided_is_a_rule_as_well() {
        let path = Path::of(&trail(&[AT_HOOK | 1, Target::next(0).0, AT_RULE | 7, Target::ACCEPT.0]), &|_| None);
        assert_eq!(path.hooks[0].reached, [Reached { rule: 7, held: true, failed_at: None, parts: 1 }]);
    }
}
