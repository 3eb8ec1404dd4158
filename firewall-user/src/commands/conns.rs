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

/// What becomes of connections that the rules in force would not let begin; how many there were.
pub(super) fn reevaluate(session: &Session<'_>, instance: &Instance, what: Reevaluate) -> Result<u64> {
    let filter = Filter { refused: true, ..Filter::default() };
    let mut count = 0;
    let forgetter = if what == Reevaluate::Drop { Some(instance.forgetter()?) } else { None };
    let mut lines = String::new();
    each(instance, &filter, |flow, conn, author| {
        count += 1;
        if let Some(forgetter) = &forgetter {
            forgetter.forget(flow);
        } else if !session.global.json {
            lines += &conn.line(author);
        }
        Ok(())
    })?;
    print(&lines)?;
    Ok(count)
}

/// Does something with each connection that is asked for, and whoever let it in.
fn each(
    instance: &Instance,
    filter: &Filter,
    mut show: impl FnMut(&Flow, &Conn, &Author<'_>) -> io::Result<()>,
) -> Result<()> {
    let mut manifests: HashMap<u32, Option<Manifest>> = HashMap::new();
    let mut judge = if filter.refused { Some(refused::Judge::new(instance)?) } else { None };
    for flow in instance.flows()? {
        let flow = flow?;
        let conn = Conn::new(flow.slot, &flow.entry, kernel::tick());
        if !conn.is_wanted(filter) {
            continue;
        }
        if let Some(judge) = &mut judge
            && !judge.refuses(&flow, &conn)?
        {
            continue;
        }
        let generation = flow.entry.generation;
        // A generation that is gone took the names of its rules with it.
        let manifest = manifests.entry(generation).or_insert_with(|| instance.manifest_of(generation).ok());
        show(&flow, &conn, &Author::of(flow.entry.rule, manifest.as_ref())).context(OUTPUT)?;
    }
    if let Some(refused::Judge { unasked: 1.., .. }) = judge {
        complain("rampart: conns: SCTP and DCCP connections were not asked about: how they begin is not known here\n");
    }
    Ok(())
}
