//! `rampart conns`. Connections are printed as they are read: a million of them need no more memory than one.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{OUTPUT, Session, Status, open};
use crate::{
    cli::args::Conns,
    compile::{Manifest, SCHEMA},
    kernel::{self, Instance},
    observe::{author::Author, conns::Conn, lifetimes},
};

pub(super) fn run(session: &Session<'_>, wanted: &Conns) -> Result<Status> {
    let instance = open()?;
    if wanted.timeouts {
        let timeouts = instance.manifest()?.config.conntrack.timeouts;
        session.answer(|| lifetimes::json(&timeouts), || lifetimes::text(&timeouts))?;
        return Ok(Status::Done);
    }
    if wanted.count {
        let mut count: u64 = 0;
        each(&instance, wanted, |_, _| {
            count += 1;
            Ok(())
        })?;
        session.answer(|| json!({ "schema": SCHEMA, "count": count }), || format!("{count}\n"))?;
        return Ok(Status::Done);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if session.global.json {
        print_json(&instance, wanted, &mut out)?;
    } else {
        each(&instance, wanted, |conn, author| out.write_all(conn.line(author).as_bytes()))?;
    }
    out.flush().context(OUTPUT)?;
    Ok(Status::Done)
}

fn print_json(instance: &Instance, wanted: &Conns, out: &mut impl Write) -> Result<()> {
    write!(out, "{{\"schema\":\"{SCHEMA}\",\"conns\":[").context(OUTPUT)?;
    let mut separator = "";
    each(instance, wanted, |conn, author| {
        write!(out, "{separator}{}", conn.json(author))?;
        separator = ",";
        Ok(())
    })?;
    writeln!(out, "]}}").context(OUTPUT)
}

/// Shows each connection that is asked for, with whoever let it in.
fn each(instance: &Instance, wanted: &Conns, mut show: impl FnMut(&Conn, &Author<'_>) -> io::Result<()>) -> Result<()> {
    let mut manifests: HashMap<u32, Option<Manifest>> = HashMap::new();
    for flow in instance.flows()? {
        let flow = flow?;
        let conn = Conn::new(flow.slot, &flow.entry, kernel::tick());
        if !conn.is_wanted(wanted) {
            continue;
        }
        let generation = flow.entry.generation;
        // A generation that is gone took the names of its rules with it.
        let manifest = manifests.entry(generation).or_insert_with(|| instance.manifest_of(generation).ok());
        show(&conn, &Author::of(flow.entry.rule, manifest.as_ref())).context(OUTPUT)?;
    }
    Ok(())
}
