//! Chains that hang at devices.

use firewall_common::{
    image::{Hook, Insn, Op, USES_NAMES},
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6},
};

use super::Writer;
use crate::{
    compile::{assembler::Place, parts, words::Way},
    language::ruleset::{Base, Family},
};

impl Writer<'_> {
    /// Only packets of its devices meet the chain, and at a device one of family inet only IP packets.
    pub(super) fn devices(&mut self, (table, chain): (usize, usize), base: Base, way: Way) {
        let field = match base.hook {
            Hook::Ingress => Field::IifName,
            Hook::Egress => Field::OifName,
            Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting => return,
        };
        let table = &self.ruleset.tables()[table];
        self.out.uses |= USES_NAMES;
        let start = self.out.label();
        let is_ip = (table.family == Family::Inet).then(|| self.out.label());
        let found = is_ip.unwrap_or(start);
        let devices = &table.chains[chain].devices;
        for (at, device) in devices.iter().enumerate() {
            let next = self.out.label();
            let fail = if at + 1 < devices.len() { Place::Label(next) } else { way.fail };
            let (low, high) = (self.out.constant(parts::device_name(device)), self.out.constant(u128::MAX));
            let insn =
                Insn { op: Op::Masked128 as u8, field: field as u8, rule: way.rule, low, high, ..Insn::default() };
            self.out.push(insn, Place::Label(found), fail);
            self.out.bind_here(next);
        }
        if let Some(is_ip) = is_ip {
            self.out.bind_here(is_ip);
            let insn = Insn {
                op: Op::Range as u8,
                field: Field::NfProto as u8,
                rule: way.rule,
                mask: u32::MAX,
                low: NFPROTO_IPV4,
                high: NFPROTO_IPV6,
                ..Insn::default()
            };
            self.out.push(insn, Place::Label(start), way.fail);
        }
        self.out.bind_here(start);
    }
}
