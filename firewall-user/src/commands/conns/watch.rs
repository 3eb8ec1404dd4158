//! `rampart conns --watch`: the table looked at again and again, and what is different.
//!
//! A connection ends by its time running out, which no program of the kernel's notices: so nothing but looking could tell.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use firewall_common::flow::FlowKey;
use serde_json::{Value, json};

use super::{OUTPUT, each};
use crate::{
    cli::conns::Filter,
    commands::{Session, open},
    compile::SCHEMA,
    observe::{author::Author, conns::Conn},
};

/// A tick of the table's clock: nothing changes oftener.
const PAUSE: Duration = Duration::from_millis(268);

/// A connection as it was seen last.
struct Last {
    look: u64,
    state: u8,
    created: u32,
    conn: Conn,
    rule: Option<String>,
}

pub(super) fn run(session: &Session<'_>, filter: &Filter) -> Result<()> {
    let mut known: HashMap<FlowKey, Last> = HashMap::new();
    for number in 0_u64.. {
        let mut out = BufWriter::new(io::stdout().lock());
        look(session, filter, (&mut known, number), &mut out)?;
        out.flush().context(OUTPUT)?;
        drop(out);
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Looks at the table once. The first time nothing is told: what is there is not new.
fn look(
    session: &Session<'_>,
    filter: &Filter,
    (known, number): (&mut HashMap<FlowKey, Last>, u64),
    out: &mut impl Write,
) -> Result<()> {
    // All of them: one may come to match the filter later, by its state for example.
    each(&open()?, &Filter::default(), |flow, conn, author| {
        let (state, created) = (flow.slot.state().0, flow.entry.created);
        let last = Last { look: number, state, created, conn: *conn, rule: author.short() };
        let before = known.insert(flow.entry.key, last);
        if let Some(gone) = before.as_ref().filter(|before| before.created != created && before.conn.is_wanted(filter))
        {
            tell(session, "destroy", gone, out)?;
        }
        let what = match &before {
            Some(before) if before.created == created && before.state == state => return Ok(()),
            Some(before) if before.created == created => "update",
            None if number == 0 => return Ok(()),
            Some(_) | None => "new",
        };
        match known.get(&flow.entry.key).filter(|_| conn.is_wanted(filter)) {
            Some(now) => tell(session, what, now, out),
            None => Ok(()),
        }
    })?;
    let mut gone = Vec::new();
    known.retain(|_, last| {
        let is_there = last.look == number;
        if !is_there && last.conn.is_wanted(filter) {
            gone.push(Last { rule: last.rule.take(), ..*last });
        }
        is_there
    });
    gone.iter().try_for_each(|last| tell(session, "destroy", last, out)).context(OUTPUT)
}

/// Says what happened to a connection.
fn tell(session: &Session<'_>, what: &str, last: &Last, out: &mut impl Write) -> io::Result<()> {
    let Last { conn, rule, .. } = last;
    if session.global.json {
        let mut value = json!({ "schema": SCHEMA, "event": what });
        if let (Some(object), Value::Object(fields)) = (value.as_object_mut(), conn.json(&Author::Nobody)) {
            object.extend(fields);
            object.insert("rule".to_owned(), rule.clone().into());
        }
        return writeln!(out, "{value}");
    }
    let rule = rule.as_ref().map_or_else(String::new, |rule| format!(" {rule}"));
    writeln!(out, "{:<9} {}{rule}", format!("[{}]", what.to_uppercase()), conn.line(&Author::Nobody).trim_end())
}
