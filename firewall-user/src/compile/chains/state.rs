//! Statements with a state, and what a rule ends with.

use std::collections::HashMap;

use firewall_common::{
    image::{DECIDES, Hook, Insn, Op, Part, Target, USES_FAST, USES_REJECT, USES_SYNPROXY},
    packet::Field,
};

use super::{
    super::{
        CompileError,
        assembler::Place,
        concat, data, stateful,
        words::{self, Way},
    },
    Frame, Writer,
};
use crate::language::ruleset::{Content, Lookup, MapElement, Reject, Rule, Statement, Synproxy, Verdict};

/// The number of TCP.
const TCP: u32 = 6;

impl Writer<'_> {
    /// Goes there, whatever the packet is.
    pub(super) fn always(&mut self, rule: u32, flags: u8, place: Place) {
        self.out.push(Insn::always(rule, flags, Target::ACCEPT), place, place);
    }

    /// Each object's keys lead to it, and from there on with the rule; a key that is not in the map ends it.
    pub(super) fn object_map(&mut self, frame: &Frame<'_>, lookup: &Lookup, way: Way) -> Result<(), CompileError> {
        let tests = Way { flags: 0, ..way };
        for key in &lookup.keys {
            words::write_preconditions(&mut self.out, *key, tests);
        }
        let (groups, default) = data::groups(frame.table, &lookup.map);
        for key in lookup.keys.iter().filter(|_| default.is_some()) {
            words::write_presence(&mut self.out, *key, tests);
        }
        for (object, alternatives) in groups {
            let (found, next) = (self.out.label(), self.out.label());
            for runs in alternatives {
                let another = self.out.label();
                let here = Way { pass: Place::Label(found), fail: Place::Label(another), ..tests };
                concat::write(&mut self.out, &lookup.keys, runs, here);
                self.out.bind_here(another);
            }
            words::always(&mut self.out, way.rule, Place::Label(next));
            self.out.bind_here(found);
            self.given(frame, &object, way)?;
            self.out.bind_here(next);
        }
        match default {
            Some(object) => self.given(frame, &object, way)?,
            None => words::always(&mut self.out, way.rule, way.fail),
        }
        Ok(())
    }

    fn given(&mut self, frame: &Frame<'_>, object: &data::Gives, way: Way) -> Result<(), CompileError> {
        object.first().map_or(Ok(()), |(object, _)| self.object(frame, *object as usize, way))
    }

    /// What an object of the table does.
    pub(super) fn object(&mut self, frame: &Frame<'_>, at: usize, way: Way) -> Result<(), CompileError> {
        let object = &frame.table.objects[at];
        let record = self.manifest.object(frame.table, object);
        let cell = record.and_then(|record| record.cell.as_ref()).map_or(0, |cell| cell.slot);
        match &object.content {
            Content::Counter { .. } => {
                let slot = record.and_then(|record| record.counter.as_ref()).map_or(0, |counter| counter.slot);
                self.act(Op::Counter, slot, way);
            }
            Content::Limit(limit) => stateful::limit(&mut self.out, limit, cell, way),
            Content::Quota(quota) => stateful::quota(&mut self.out, quota, cell, way),
            Content::Synproxy(proxy) => self.synproxy(frame, *proxy, way)?,
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, reject: Reject) -> (Place, u8) {
        self.out.uses |= USES_REJECT;
        (stateful::reject(reject), DECIDES)
    }

    /// Takes the packet if it is a TCP segment with SYN or ACK; another one goes on with the rule, another protocol leaves it
    /// (`nft_synproxy_do_eval`, `net/netfilter/nft_synproxy.c`).
    pub(super) fn synproxy(&mut self, frame: &Frame<'_>, proxy: Synproxy, way: Way) -> Result<(), CompileError> {
        if self.part.hook() != Hook::Input {
            return Err(self.no_data_plane(
                frame,
                "synproxy",
                "only what this host serves itself has its handshakes made",
            ));
        }
        if proxy.timestamp {
            let reason = "the kernel keeps to itself by how much it shifts timestamps (net.ipv4.tcp_timestamps=1)";
            return Err(self.no_data_plane(frame, "synproxy timestamp", reason));
        }
        self.out.uses |= USES_SYNPROXY;
        let is = |field: Field, (low, high): (u32, u32), mask: u32, flags: u8| Insn {
            op: Op::Range as u8,
            field: field as u8,
            flags,
            rule: way.rule,
            mask,
            low,
            high,
            ..Insn::default()
        };
        let next = self.out.label();
        self.out.push(is(Field::L4Proto, (TCP, TCP), u32::MAX, 0), Place::Label(next), way.fail);
        self.out.bind_here(next);
        let (syn, ack) = (0x02, 0x10);
        let tag = TCP << 16;
        let test = is(Field::TcpFlags, (tag | syn, tag | syn | ack), 0xffff_0000 | syn | ack, way.flags);
        self.out.push(test, Place::Synproxy(proxy.mss.unwrap_or(0)), way.pass);
        Ok(())
    }

    fn no_data_plane(&self, frame: &Frame<'_>, what: &str, reason: &'static str) -> CompileError {
        let record = &self.manifest.rules[frame.number as usize];
        CompileError::NoDataPlane { file: record.file.clone(), line: record.line, what: what.to_owned(), reason }
    }

    /// `flow add`. Connections know that they have the fast path, and not by which flowtable: there is one, or all have the same interfaces.
    pub(super) fn flow(&mut self, frame: &Frame<'_>, at: usize, way: Way) -> Result<(), CompileError> {
        let devices = &frame.table.flowtables[at].devices;
        let flowtables = self.ruleset.tables().iter().flat_map(|table| &table.flowtables);
        if flowtables.into_iter().any(|other| other.devices != *devices) {
            let reason = "there are flowtables with other interfaces: give all of them the same";
            return Err(self.no_data_plane(frame, "flow add", reason));
        }
        if self.part != Part::Forward {
            return Err(self.no_data_plane(
                frame,
                "flow add",
                "its chain is jumped to from elsewhere than hook forward",
            ));
        }
        self.out.uses |= USES_FAST;
        let insn = Insn { op: Op::Flow as u8, flags: way.flags, rule: way.rule, ..Insn::default() };
        self.out.push(insn, way.pass, way.fail);
        Ok(())
    }
}

/// How many of each kind the rule had so far.
#[derive(Default)]
pub(super) struct Nth {
    pub(super) counter: usize,
    pub(super) connections: usize,
    pub(super) log: usize,
    pub(super) limit: usize,
    pub(super) quota: usize,
}

impl Nth {
    /// The next one's number.
    pub(super) fn next(nth: &mut usize) -> usize {
        *nth += 1;
        *nth - 1
    }
}

/// What a rule ends with.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    Verdict(Verdict),
    Reject(Reject),
}

/// A rule's statements, and the verdict at its end.
pub(super) fn split(rule: &Rule) -> (Vec<&Statement>, Option<Ending>) {
    let mut statements: Vec<_> = rule.statements.iter().filter(|statement| !is_continue(statement)).collect();
    let ending = match statements.last() {
        Some(Statement::Verdict(verdict)) => Some(Ending::Verdict(*verdict)),
        Some(Statement::Reject(reject)) => Some(Ending::Reject(*reject)),
        Some(_) | None => None,
    };
    if ending.is_some() {
        statements.pop();
    }
    (statements, ending)
}

/// The keys of each verdict, verdicts in order of their first key.
pub(super) fn grouped(elements: &[MapElement]) -> Vec<(Verdict, Vec<(u128, u128)>)> {
    let mut groups: Vec<(Verdict, Vec<(u128, u128)>)> = Vec::new();
    let mut index: HashMap<Verdict, usize> = HashMap::new();
    for MapElement { key, verdict } in elements {
        let Some(key) = key else { continue };
        let at = *index.entry(*verdict).or_insert_with(|| {
            groups.push((*verdict, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push((key.low, key.high));
    }
    groups
}

fn is_continue(statement: &Statement) -> bool {
    matches!(statement, Statement::Verdict(Verdict::Continue))
}

/// A rule of nothing but `continue` needs no instruction.
pub(super) fn does_something(rule: &Rule) -> bool {
    !rule.statements.iter().all(is_continue)
}
