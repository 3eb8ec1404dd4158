//! `rampart conns`. Connections are printed as they are read: a million of them need no more memory than one.

mod forget;
mod refused;
mod watch;

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{OUTPUT, Session, Status, complain, open, print};
use crate::{
    cli::{
        args::Reevaluate,
        conns::{Action, By, Conns, Filter},
    },
    compile::{Manifest, SCHEMA},
    kernel::{self, Flow, Instance},
    observe::{author::Author, conns::Conn, lifetimes},
};

pub(super) fn run(session: &Session<'_>, conns: &Conns) -> Result<Status> {
    let Conns { filter, count, by, watch, timeouts, action } = conns;
    let instance = open()?;
    match action {
        Some(Action::Kill(kill)) => return forget::kill(session, &instance, kill),
        Some(Action::Flush(flush)) => return forget::flush(session, &instance, flush),
        None => {}
    }
    if *timeouts {
        let timeouts = instance.manifest()?.config.conntrack.timeouts;
        session.answer(|| lifetimes::json(&timeouts), || lifetimes::text(&timeouts))?;
    } else if *watch {
        watch::run(session, filter)?;
    } else if let Some(by) = by {
        count_by(session, &instance, filter, *by)?;
    } else if *count {
        let mut count: u64 = 0;
        each(&instance, filter, |_, _, _| {
            count += 1;
            Ok(())
        })?;
        session.answer(|| json!({ "schema": SCHEMA, "count": count }), || format!("{count}\n"))?;
    } else {
        list(session, &instance, filter)?;
    }
    Ok(Status::Done)
}

fn list(session: &Session<'_>, instance: &Instance, filter: &Filter) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if session.global.json {
        print_json(instance, filter, &mut out)?;
    } else {
        each(instance, filter, |_, conn, author| out.write_all(conn.line(author).as_bytes()))?;
    }
    out.flush().context(OUTPUT)
}

fn print_json(instance: &Instance, filter: &Filter, out: &mut impl Write) -> Result<()> {
    write!(out, "{{\"schema\":\"{SCHEMA}\",\"conns\":[").context(OUTPUT)?;
    let mut separator = "";
    each(instance, filter, |_, conn, author| {
        write!(out, "{separator}{}", conn.json(author))?;
        separator = ",";
        Ok(())
    })?;
    writeln!(out, "]}}").context(OUTPUT)
}

/// How many there are of each kind, most first.
fn count_by(session: &Session<'_>, instance: &Instance, filter: &Filter, by: By) -> Result<()> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    each(instance, filter, |_, conn, _| {
        *counts.entry(conn.kind(by)).or_default() += 1;
        Ok(())
    })?;
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(name, count), (other_name, other)| other.cmp(count).then_with(|| name.cmp(other_name)));
    let width = counts.first().map_or(1, |(_, count)| count.to_string().len());
    let json = || {
        let rows: Vec<Value> = counts.iter().map(|(what, count)| json!({ "what": what, "count": count })).collect();
        json!({ "schema": SCHEMA, "counts": rows })
    };
    let lines = counts.iter().map(|(what, count)| format!("{count:>width$} {what}\n"));
    session.answer(json, || lines.collect::<Vec<_>>().concat())
}

/// Connections that are asked about when nobody wanted to know: each takes some microseconds.
pub(super) const ASKED: u64 = 10_000;

/// Connections that the rules in force would not let begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// What became of them.
    pub(super) what: Reevaluate,
    /// How many there were.
    pub(super) count: u64,
    /// Among how many.
    pub(super) of: u64,
}

/// Sees to connections that the rules in force would not let begin.
pub(super) fn reevaluate(session: &Session<'_>, instance: &Instance, what: Reevaluate) -> Result<Refused> {
    let mut refused = Refused { what, count: 0, of: 0 };
    let filter = Filter { refused: true, ..Filter::default() };
    let forgetter = if what == Reevaluate::Drop { Some(instance.forgetter()?) } else { None };
    let most = if what == Reevaluate::Count { ASKED } else { u64::MAX };
    let mut lines = String::new();
    refused.of = up_to(most, instance, &filter, |flow, conn, author| {
        refused.count += 1;
        if let Some(forgetter) = &forgetter {
            forgetter.forget(flow);
        } else if what == Reevaluate::List && !session.global.json {
            lines += &conn.line(author);
        }
        Ok(())
    })?;
    print(&lines)?;
    Ok(refused)
}

/// Does something with each connection that is asked for, and whoever let it in.
fn each(
    instance: &Instance,
    filter: &Filter,
    show: impl FnMut(&Flow, &Conn, &Author<'_>) -> io::Result<()>,
) -> Result<()> {
    up_to(u64::MAX, instance, filter, show).map(|_| ())
}

/// The same for so many of those that the table has; how many were looked at.
fn up_to(
    most: u64,
    instance: &Instance,
    filter: &Filter,
    mut show: impl FnMut(&Flow, &Conn, &Author<'_>) -> io::Result<()>,
) -> Result<u64> {
    let mut manifests: HashMap<u32, Option<Manifest>> = HashMap::new();
    // Made when there is a connection to ask about: it takes a moment.
    let mut judge = None;
    let mut looked_at = 0;
    for flow in instance.flows()? {
        let flow = flow?;
        let conn = Conn::new(flow.slot, &flow.entry, kernel::tick()).behind(flow.answers.as_ref());
        if !conn.is_wanted(filter) {
            continue;
        }
        if looked_at == most {
            break;
        }
        looked_at += 1;
        if filter.refused && !is_refused(&mut judge, instance, &flow, &conn)? {
            continue;
        }
        let generation = flow.entry.author();
        // A generation that is gone took the names of its rules with it.
        let manifest = manifests.entry(generation).or_insert_with(|| instance.manifest_of(generation).ok());
        show(&flow, &conn, &Author::of(flow.entry.rule, manifest.as_ref())).context(OUTPUT)?;
    }
    if let Some(refused::Judge { unasked: 1.., .. }) = judge {
        complain("rampart: conns: SCTP and DCCP connections were not asked about: how they begin is not known here\n");
    }
    Ok(looked_at)
}

fn is_refused<'a>(
    judge: &mut Option<refused::Judge<'a>>,
    instance: &'a Instance,
    flow: &Flow,
    conn: &Conn,
) -> Result<bool> {
    let judge = match judge {
        Some(judge) => judge,
        None => judge.insert(refused::Judge::new(instance)?),
    };
    judge.refuses(flow, conn)
}
