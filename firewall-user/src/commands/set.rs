//! `rampart set`: elements of named sets, while packets come.

use std::{fmt::Write, io::Read};

use anyhow::{Context, Result, bail};
use firewall_common::sets::{self, meter};
use serde_json::{Value, json};

use super::{Session, Status, open};
use crate::{
    cli::args::{SetCommand, SetVerb},
    compile::{Manifest, SCHEMA, StateElement, StateSet, neighbours, verdicts},
    kernel::{self, Instance, Synced},
    language::{
        Options, parse_text,
        print::time_text,
        ruleset::{Form, OfElement, Quota, Set, Table, Values},
        types::Type,
    },
    observe::words::grouped,
};

/// A set in force, and what its declaration was.
struct Found {
    state: StateSet,
    declared: Set,
    /// The verdicts that it can give.
    verdicts: Vec<u64>,
}

impl Found {
    /// Refuses verdicts that the rules which look into the map are not made for.
    fn refuse_unprepared(&self, elements: &[StateElement]) -> Result<()> {
        let number = |element: &StateElement| element.data.first().map_or(0, |number| *number as u64);
        let Some(number) = elements.iter().map(number).find(|number| self.verdicts.binary_search(number).is_err())
        else {
            return Ok(());
        };
        let verdict = verdicts::text(number, self.state.chains.as_deref().unwrap_or_default());
        bail!(
            "`{verdict}`: the rules in force that look into `{}` cannot go there: apply them with an element of the map that does",
            self.state.name
        );
    }
}

pub(super) fn run(session: &Session<'_>, command: &SetCommand) -> Result<Status> {
    kernel::require_privileges()?;
    let instance = open()?;
    let manifest = instance.manifest()?;
    match &command.verb {
        SetVerb::List(arguments) => list(session, (&instance, &manifest), &arguments.words),
        SetVerb::Add(arguments) => change(session, (&instance, &manifest), &arguments.words, true),
        SetVerb::Delete(arguments) => change(session, (&instance, &manifest), &arguments.words, false),
        SetVerb::Flush(arguments) => flush(session, (&instance, &manifest), &arguments.words),
        SetVerb::Get(arguments) => get(session, (&instance, &manifest), &arguments.words),
        SetVerb::Load(arguments) => {
            load(session, (&instance, &manifest), &arguments.words, (&arguments.file, arguments.add))
        }
    }
}

/// All sets that can be changed.
fn all_sets(manifest: &Manifest) -> Result<Vec<Found>> {
    let ruleset = manifest.ruleset().map_err(|_| anyhow::anyhow!("the ruleset kept in the kernel cannot be read"))?;
    let record = |table: &Table, set: &Set| {
        let mut all = manifest.sets.iter();
        all.find(|one| (&*one.family, &one.table, &one.name) == (table.family.name(), &table.name, &set.name))
    };
    let of_table = |table: &Table| -> Vec<Found> {
        let found = table.sets.iter().filter_map(|set| {
            let record = record(table, set)?;
            let state = StateSet::of(table, set, record.slot?);
            Some(Found { state, declared: set.clone(), verdicts: record.verdicts.clone() })
        });
        found.collect()
    };
    Ok(ruleset.tables().iter().flat_map(of_table).collect())
}

/// The set that the first words name, `[FAMILY] [TABLE] SET`, and the words behind.
fn named<'a>(manifest: &Manifest, words: &'a [String]) -> Result<(Found, &'a [String])> {
    let all = all_sets(manifest)?;
    let matches = |found: &Found, name: &[String]| match name {
        [set] => found.state.name == *set,
        [table, set] => found.state.name == *set && found.state.table == *table,
        [family, table, set] => {
            found.state.name == *set && found.state.table == *table && found.state.family == *family
        }
        _ => false,
    };
    for length in [3, 2, 1] {
        let Some(name) = words.get(..length) else { continue };
        let count = all.iter().filter(|found| matches(found, name)).count();
        if count > 1 {
            bail!("there are {count} sets `{}`: write the family and the table in front of it", name.join(" "));
        }
        if count == 1 {
            let found = all.into_iter().find(|found| matches(found, name)).context("counted before")?;
            return Ok((found, &words[length..]));
        }
    }
    let known: Vec<String> = all.iter().map(|found| full_name(&found.state)).collect();
    let known = if known.is_empty() { "none can be changed".to_owned() } else { known.join(", ") };
    bail!("there is no set `{}` that can be changed ({known})", words.first().map_or("", String::as_str));
}

fn full_name(set: &StateSet) -> String {
    format!("{} {} {}", set.family, set.table, set.name)
}

/// Elements as written, read as the set's own text would be; of a map with what they give (`keys_only`: without).
fn elements(found: &Found, name: &str, (lines, keys_only): (&str, bool)) -> Result<Vec<StateElement>> {
    let Found { state, declared, verdicts: _ } = found;
    let mut flags = Vec::new();
    if declared.interval {
        flags.push("interval");
    }
    if declared.timeouts {
        flags.push("timeout");
    }
    let flags = if flags.is_empty() { String::new() } else { format!("flags {};", flags.join(",")) };
    // What is nothing but intervals is joined; others keep what stands beside them.
    let merge = if declared.interval && state.kind == sets::Kind::Ranges { "auto-merge;" } else { "" };
    let counter = declared.statements.iter().map(OfElement::text).collect::<Vec<_>>().join(" ");
    let counter = if counter.is_empty() { counter } else { counter + ";" };
    let data = if keys_only { &[] } else { &state.data[..] };
    let (kind, merge) = if data.is_empty() { ("set", merge) } else { ("map", "") };
    let chains = state.chains.as_deref().filter(|_| !keys_only);
    let declaration = match chains {
        Some(_) => format!("{} : verdict", spelled(&state.types, &[])),
        None => spelled(&state.types, data),
    };
    let chains: String = chains.into_iter().flatten().flat_map(|chain| ["chain ", chain, " { }; "]).collect();
    let text = format!(
        "table {} t {{ {chains}{kind} s {{ {declaration}; {flags} {merge} {counter} elements = {{ {lines} }}\n}}\n}}\n",
        state.family
    );
    let parsed = parse_text(name, &text, &Options::default())
        .map_err(|problems| anyhow::anyhow!("{}", problems.render(false)))?;
    let table = &parsed.ruleset.tables()[0];
    let mut set = table.sets[0].clone();
    let alone = set.elements.iter().map(|one| &one.extras);
    let tuples = set.concat.iter().flat_map(|concat| &concat.tuples).map(|one| &one.extras);
    if let Some(comment) = alone.chain(tuples).find_map(|extras| extras.comment.as_deref()) {
        bail!(
            "comment `{comment}`: comments are kept with the elements of the ruleset's own text, not with those added later"
        );
    }
    set.timeout = declared.timeout;
    let elements = StateSet::of(table, &set, state.slot).elements;
    if state.chains.is_some() && !keys_only {
        found.refuse_unprepared(&elements)?;
    }
    Ok(elements)
}

/// The types of a set or map as its declaration spells them: by name, or by an expression of each where one has no name.
fn spelled(types: &[Type], data: &[Type]) -> String {
    let has_no_name = |ty: &Type| matches!(ty, Type::Integer(_));
    let by_expression = types.iter().chain(data).any(has_no_name);
    let one = |ty: &Type| if by_expression { expression(*ty) } else { ty.name() };
    let text = |types: &[Type]| types.iter().map(one).collect::<Vec<_>>().join(" . ");
    let word = if by_expression { "typeof" } else { "type" };
    let data = if data.is_empty() { String::new() } else { format!(" : {}", text(data)) };
    format!("{word} {}{data}", text(types))
}

/// An expression of a type.
fn expression(ty: Type) -> &'static str {
    match ty.name() {
        "integer" => "numgen inc mod 4294967295",
        "ipv4_addr" => "ip daddr",
        "ipv6_addr" => "ip6 daddr",
        "ether_addr" => "ether daddr",
        "inet_service" => "th dport",
        "inet_proto" => "meta l4proto",
        "mark" => "meta mark",
        "ifname" => "iifname",
        // What else there is does not stand beside a number; the message names it.
        other => other,
    }
}

/// `a b timeout 1h`: what stands behind `timeout` belongs to the element before.
fn joined(words: &[String]) -> String {
    let mut text = String::new();
    let mut belongs = true;
    for word in words {
        let option = matches!(word.as_str(), "timeout" | "expires" | "counter" | "." | "-" | ":" | "jump" | "goto");
        if !text.is_empty() {
            text.push_str(if belongs || option || word.ends_with(',') && word.len() == 1 { " " } else { ", " });
        }
        text.push_str(word);
        belongs = option && word != "counter" || word.ends_with(',') || word == "packets" || word == "bytes";
    }
    text
}

fn change(
    session: &Session<'_>,
    (instance, manifest): (&Instance, &Manifest),
    words: &[String],
    adds: bool,
) -> Result<Status> {
    let (found, rest) = named(manifest, words)?;
    if rest.is_empty() {
        bail!("no elements: `rampart set add {} ELEMENT..`", found.state.name);
    }
    let wanted = elements(&found, "elements", (&joined(rest), !adds))?;
    let _lock = instance.lock()?;
    let count = if adds {
        instance.add_to_set(&found.state, &wanted)?
    } else {
        instance.remove_from_set(&found.state, &wanted)?
    };
    if !adds && count == 0 {
        bail!("set `{}` has none of these elements", found.state.name);
    }
    told(session, &found.state, if adds { "added" } else { "removed" }, count)
}

fn told(session: &Session<'_>, set: &StateSet, what: &str, count: usize) -> Result<Status> {
    session.answer(
        || json!({ "schema": SCHEMA, "set": full_name(set), what: count }),
        || format!("set {}: {count} {what}\n", full_name(set)),
    )?;
    Ok(Status::Done)
}

fn flush(session: &Session<'_>, (instance, manifest): (&Instance, &Manifest), words: &[String]) -> Result<Status> {
    let (found, rest) = named(manifest, words)?;
    if let Some(word) = rest.first() {
        bail!("`flush` takes all elements out: `{word}` is too much");
    }
    let _lock = instance.lock()?;
    instance.replace_set(&found.state, &[])?;
    session.answer(
        || json!({ "schema": SCHEMA, "set": full_name(&found.state), "flushed": true }),
        || format!("set {}: empty\n", full_name(&found.state)),
    )?;
    Ok(Status::Done)
}

fn get(session: &Session<'_>, (instance, manifest): (&Instance, &Manifest), words: &[String]) -> Result<Status> {
    let (found, rest) = named(manifest, words)?;
    let wanted = elements(&found, "elements", (&joined(rest), true))?;
    let memory = instance.set_memory(&found.state)?;
    let inside = |one: &StateElement| found.state.covers(&memory.lines(), one, kernel::tick());
    let all = wanted.iter().all(inside);
    session.answer(
        || json!({ "schema": SCHEMA, "set": full_name(&found.state), "found": all }),
        || format!("{}\n", if all { "in the set" } else { "not in the set" }),
    )?;
    Ok(if all { Status::Done } else { Status::No })
}

fn load(
    session: &Session<'_>,
    (instance, manifest): (&Instance, &Manifest),
    words: &[String],
    (file, adds): (&str, bool),
) -> Result<Status> {
    let (found, rest) = named(manifest, words)?;
    if let Some(word) = rest.first() {
        bail!("`{word}` is too much: elements come from the file");
    }
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| file.to_owned())?
    };
    let bare = |line: &str| line.split('#').next().unwrap_or_default().trim().trim_end_matches(',').to_owned();
    // Line by line as in the file, so that messages name its lines.
    let lines = text.lines().map(bare).map(|line| if line.is_empty() { line } else { format!("{line},") });
    let reading = session.progress(&format!("reading {file}"));
    let wanted = elements(&found, file, (&lines.collect::<Vec<_>>().join("\n"), false))?;
    drop(reading);
    let what = format!(
        "{} elements of {file} take {} KiB of memory",
        grouped(found.state.count(&wanted) as u64),
        grouped(Instance::set_size(&found.state, &wanted).div_ceil(1024))
    );
    if session.terminal.stderr {
        session.note(&what);
    }
    let adding = session.progress(&what);
    let _lock = instance.lock()?;
    let said = if adds {
        let added = instance.add_to_set(&found.state, &wanted)?;
        Synced { added, kept: wanted.len() - added, ..Synced::default() }
    } else {
        instance.sync_set(&found.state, &wanted)?
    };
    let name = full_name(&found.state);
    let bytes = instance.set_memory(&found.state)?.bytes();
    let Synced { added, removed, changed, kept } = said;
    let loaded = wanted.len();
    drop(adding);
    session.answer(
        || {
            json!({ "schema": SCHEMA, "set": name, "loaded": loaded, "added": added, "removed": removed, "changed": changed,
                "kept": kept, "memory": bytes })
        },
        || {
            let changed = if changed > 0 { format!("{changed} changed, ") } else { String::new() };
            format!(
                "set {name}: {loaded} loaded, {added} added, {removed} removed, {changed}{kept} as before, {} KiB\n",
                bytes.div_ceil(1024)
            )
        },
    )?;
    Ok(Status::Done)
}

/// Gives a set or map these elements and no others, all at once.
pub(super) fn write(instance: &Instance, words: &[String], lines: &[String]) -> Result<()> {
    let (found, rest) = named(&instance.manifest()?, words)?;
    if let Some(word) = rest.first() {
        bail!("`{word}` is too much behind the name of a map");
    }
    let wanted = elements(&found, "backends", (&lines.join(",\n"), false))?;
    let _lock = instance.lock()?;
    Ok(instance.replace_set(&found.state, &wanted)?)
}

fn list(session: &Session<'_>, (instance, manifest): (&Instance, &Manifest), words: &[String]) -> Result<Status> {
    if words.is_empty() {
        let all = all_sets(manifest)?;
        let names = || all.iter().map(|found| full_name(&found.state));
        session.answer(
            || json!({ "schema": SCHEMA, "sets": names().collect::<Vec<_>>() }),
            || names().map(|name| name + "\n").collect::<String>(),
        )?;
        return Ok(Status::Done);
    }
    let (found, rest) = named(manifest, words)?;
    if let Some(word) = rest.first() {
        bail!("`{word}` is too much: `rampart set get` asks for elements");
    }
    let memory = instance.set_memory(&found.state)?;
    let all = found.state.elements(&memory.lines(), kernel::tick());
    // Names of interfaces are no neighbours, whatever their letters are.
    let joins = found.declared.interval && !found.state.types.contains(&Type::IfName);
    let all = if joins { neighbours::joined(all) } else { sorted(all) };
    session.answer(
        || {
            let one = |element: &StateElement| Value::from(text(&found.state, element));
            let elements: Vec<Value> = all.iter().map(one).collect();
            json!({ "schema": SCHEMA, "set": full_name(&found.state), "memory": memory.bytes(), "elements": elements })
        },
        || all.iter().map(|element| text(&found.state, element) + "\n").collect::<String>(),
    )?;
    Ok(Status::Done)
}

fn sorted(mut elements: Vec<StateElement>) -> Vec<StateElement> {
    elements.sort_by(|a, b| a.parts.cmp(&b.parts));
    elements
}

/// The element of a set, by its slot, that has this value in its only part.
pub(super) fn member(instance: &Instance, manifest: &Manifest, slot: u32, value: u128) -> Option<String> {
    let found = all_sets(manifest).ok()?.into_iter().find(|found| found.state.slot == slot)?;
    let memory = instance.set_memory(&found.state).ok()?;
    let elements = found.state.elements(&memory.lines(), kernel::tick());
    let has = |element: &&StateElement| matches!(element.parts[..], [(low, high)] if (low..=high).contains(&value));
    elements.iter().find(has).map(|element| text(&found.state, element))
}

/// An element as it can be read again.
fn text(set: &StateSet, element: &StateElement) -> String {
    let part = |(ty, (low, high)): (&crate::language::types::Type, &(u128, u128))| {
        let host = low ^ high;
        let is_prefix = host & host.wrapping_add(1) == 0 && low & host == 0;
        let form = match ty.bits().checked_sub(host.count_ones() as u8) {
            _ if low == high => Form::Single,
            Some(length) if is_prefix && ty.prints_prefixes() => Form::Prefix(length),
            Some(_) | None => Form::Range,
        };
        let mut out = String::new();
        ty.print(Values { low: *low, high: *high, form }, &mut out);
        out
    };
    let mut out = set.types.iter().zip(&element.parts).map(part).collect::<Vec<_>>().join(" . ");
    statements(set, element, &mut out);
    if let Some(timeout) = element.timeout {
        let _ = write!(out, " timeout {}", time_text(timeout));
    }
    if let Some(expires) = element.expires {
        let _ = write!(out, " expires {}", time_text(expires));
    }
    if let Some(chains) = &set.chains {
        let number = element.data.first().map_or(0, |number| *number as u64);
        let _ = write!(out, " : {}", verdicts::text(number, chains));
        return out;
    }
    for (nth, (ty, value)) in set.data.iter().zip(&element.data).enumerate() {
        out.push_str(if nth == 0 { " : " } else { " . " });
        ty.print(Values { low: *value, high: *value, form: Form::Single }, &mut out);
    }
    out
}

/// What an element keeps for itself, with what became of it.
fn statements(set: &StateSet, element: &StateElement, out: &mut String) {
    let mut cells = element.cells.iter();
    for statement in &set.statements {
        let _ = match statement {
            OfElement::Counter(..) => {
                let (packets, bytes) = element.counter;
                write!(out, " counter packets {packets} bytes {bytes}")
            }
            OfElement::Limit(_) | OfElement::Quota(_) => match (statement, cells.next()) {
                (_, Some(&meter::NONE) | None) => Ok(()),
                (OfElement::Quota(quota), Some(used)) => {
                    write!(out, " {}", OfElement::Quota(Quota { used: *used, ..*quota }).text())
                }
                (other, Some(_)) => write!(out, " {}", other.text()),
            },
            OfElement::Connections { .. } => write!(out, " {}", statement.text()),
        };
    }
}
