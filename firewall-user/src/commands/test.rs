//! `rampart test`: packets with what is expected of each, run through a ruleset in the kernel.

mod junit;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use firewall_common::image::Insn;
use serde_json::{Value, json};

use super::{No, Session, Status, open, ruleset, why};
use crate::{
    cli::observing::Test,
    compile::{self, Compiled, Manifest, SCHEMA},
    kernel::{self, Ingress, Known, Question, Shadow, Side},
    observe::{author::Author, why::Report, words::counted},
    packets::suite::{Case, Suite, Wanted},
};

/// How a packet did.
pub(super) struct Done {
    /// Its name.
    pub(super) name: String,
    /// What became of it instead of what was expected.
    pub(super) wrong: Option<String>,
    /// What `why` says of it.
    pub(super) why: String,
}

pub(super) fn run(session: &Session<'_>, test: &Test) -> Result<Status> {
    let suite = read(&test.file)?;
    let done = match &test.ruleset {
        Some(file) => {
            kernel::require_privileges()?;
            // Read there too: names of interfaces in it are of those that the packets name.
            let play = || -> Result<Option<Vec<Done>>> {
                let Some(parsed) = ruleset::read(session, file)? else { return Ok(None) };
                candidate(&compile::compile(&parsed.ruleset, None)?, &suite).map(Some)
            };
            let Some(done) = kernel::on_stage(&stage(&suite), play)?? else { return Ok(Status::No) };
            done
        }
        None => loaded(&suite)?,
    };
    if let Some(file) = &test.junit {
        let xml = junit::xml(&test.file.display().to_string(), &done);
        fs::write(file, xml).with_context(|| format!("cannot write {}", file.display()))?;
    }
    session.answer(|| as_json(&done), || as_text(&done))?;
    Ok(if done.iter().any(|one| one.wrong.is_some()) { Status::No } else { Status::Done })
}

/// The packets of a file, of which there must be some: a suite that tests nothing is a mistake.
fn read(file: &Path) -> Result<Suite> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let suite = Suite::parse(&text).map_err(|error| No(format!("{name}: {error}")))?;
    if suite.cases.is_empty() { Err(No(format!("{name}: there is no packet in it")).into()) } else { Ok(suite) }
}

/// What says no to `apply --test FILE`; `None` when all packets did as expected.
pub(super) fn refusal(file: &Path, compiled: &Compiled) -> Result<Option<String>> {
    let suite = read(file)?;
    let done = candidate(compiled, &suite)?;
    Ok(done.iter().any(|one| one.wrong.is_some()).then(|| as_text(&done)))
}

/// The interfaces that the packets name, with the addresses that the file gives them.
fn stage(suite: &Suite) -> Vec<(String, Vec<(std::net::IpAddr, u8)>)> {
    let mut all = suite.interfaces.clone();
    for case in &suite.cases {
        if all.iter().all(|(name, _)| *name != case.interface) {
            all.push((case.interface.clone(), Vec::new()));
        }
    }
    all
}

/// Through a ruleset that is not in force, over empty state.
fn candidate(compiled: &Compiled, suite: &Suite) -> Result<Vec<Done>> {
    let mut shadow = Shadow::of_candidate(compiled)?;
    let insns = &compiled.image.insns;
    let look_up = |at: u32| insns.get(at as usize).copied();
    let cases = suite.cases.iter().map(|case| {
        let ifindex = kernel::interface_index(&case.interface);
        let ifindex = ifindex.with_context(|| format!("{}: no interface `{}` here", case.name, case.interface))?;
        let side = if case.leaves { Side::TcEgress } else { Side::Xdp };
        ask(&mut shadow, case, (side, ifindex), &compiled.manifest, &look_up)
    });
    cases.collect()
}

/// Through the ruleset in force.
fn loaded(suite: &Suite) -> Result<Vec<Done>> {
    let instance = open()?;
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let image = instance.image(generation)?;
    let mut shadow = instance.shadow(generation)?;
    let attached: BTreeMap<_, _> = instance.interfaces()?.into_iter().map(|one| (one.name.clone(), one)).collect();
    let look_up = |at: u32| image.insn(at);
    let cases = suite.cases.iter().map(|case| {
        let found = attached.get(&case.interface);
        let found = found.with_context(|| format!("{}: not attached to `{}`", case.name, case.interface))?;
        let side = match (case.leaves, found.ingress) {
            (true, _) => Side::TcEgress,
            (false, Ingress::Tc) => Side::TcIngress,
            (false, Ingress::Native | Ingress::Generic) => Side::Xdp,
        };
        ask(&mut shadow, case, (side, found.ifindex), &manifest, &look_up)
    });
    cases.collect()
}

fn ask(
    shadow: &mut Shadow<'_>,
    case: &Case,
    (side, ifindex): (Side, u32),
    manifest: &Manifest,
    insns: &dyn Fn(u32) -> Option<Insn>,
) -> Result<Done> {
    let frame = case.packet.frame();
    // A connection that somebody has just now is no part of a test.
    let known = match why::known(case.packet.state) {
        Known::Live => Known::Nothing,
        other => other,
    };
    let answer = shadow.ask(&Question { side, frame: &frame, ifindex, known })?;
    let mut report = Report::new(&answer.trail, manifest, insns, &case.interface);
    report.left = Some(&answer.bytes);
    Ok(Done { name: case.name.clone(), wrong: difference(&report, &case.wanted), why: report.text() })
}

/// What is not as expected.
fn difference(report: &Report<'_>, wanted: &Wanted) -> Option<String> {
    let Wanted { verdict, reason, line, comment, to, from } = wanted;
    let found = report.outcome().name();
    if found != verdict {
        return Some(format!("{verdict} was expected, and it is {found}"));
    }
    let name = report.reason().map_or("none", |reason| reason.name());
    if reason.as_ref().is_some_and(|reason| reason != name) {
        return Some(format!("reason {} was expected, and it is {name}", reason.as_deref().unwrap_or_default()));
    }
    let rule = match report.author() {
        Author::Rule(rule) => Some(rule),
        Author::Nobody | Author::Policy(_) | Author::Forgotten => None,
    };
    let by = report.author().long().unwrap_or_else(|| "no rule".to_owned());
    if line.is_some_and(|line| rule.is_none_or(|rule| rule.line != line)) {
        return Some(format!("line {} was expected to decide, and it is {by}", line.unwrap_or_default()));
    }
    if comment.is_some() && rule.is_none_or(|rule| rule.comment != *comment) {
        return Some(format!(
            "rule \"{}\" was expected to decide, and it is {by}",
            comment.as_deref().unwrap_or_default()
        ));
    }
    let (source, destination) = report.left_ends();
    for (what, wanted, found) in [("to", to, destination), ("from", from, source)] {
        if let Some(wanted) = wanted
            && !is_end(wanted, &found)
        {
            return Some(format!("it was expected to go {what} {wanted}, and goes {what} {found}"));
        }
    }
    None
}

/// Is an end the one that was said, its port aside if none was said?
fn is_end(wanted: &str, found: &str) -> bool {
    let address = |text: &str| text.parse::<std::net::SocketAddr>().map(|end| end.ip().to_string());
    wanted == found || address(found).is_ok_and(|found| found == wanted)
}

fn as_text(done: &[Done]) -> String {
    let mut text = String::new();
    for one in done {
        match &one.wrong {
            None => text.push_str(&format_line("ok", &one.name)),
            Some(wrong) => {
                text.push_str(&format_line("WRONG", &format!("{}: {wrong}", one.name)));
                for line in one.why.lines() {
                    text.push_str(&format_line("", line));
                }
            }
        }
    }
    let wrong = done.iter().filter(|one| one.wrong.is_some()).count() as u64;
    text + &format!("{}, {wrong} wrong\n", counted(done.len() as u64, "packet"))
}

fn format_line(mark: &str, text: &str) -> String {
    format!("{mark:<6}{text}\n")
}

fn as_json(done: &[Done]) -> Value {
    let one = |one: &Done| json!({ "name": one.name, "ok": one.wrong.is_none(), "message": one.wrong });
    json!({
        "schema": SCHEMA,
        "ok": done.iter().all(|one| one.wrong.is_none()),
        "packets": done.iter().map(one).collect::<Vec<_>>(),
    })
}
