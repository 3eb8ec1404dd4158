//! The rows of each list: sorted, filtered, as text.

use std::{cmp::Ordering, net::IpAddr};

use ratatui::layout::Constraint;

use super::{Host, Model, Outcome, Tab, View, bits, packets, spark};
use crate::{
    compile::RuleRecord,
    observe::{author::Author, clock::Clock, counters::reason, drops, words::printable},
};

/// Rows of a list; nobody turns further.
const MOST: usize = 1000;

/// A list.
#[derive(Clone, Debug, Default)]
pub(super) struct Grid {
    /// What it is.
    pub(super) title: String,
    /// The names of its columns.
    pub(super) head: Vec<&'static str>,
    /// Their widths.
    pub(super) widths: Vec<Constraint>,
    /// Its rows.
    pub(super) rows: Vec<Line>,
}

/// A row.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Its cells.
    pub(super) cells: Vec<String>,
    /// How it looks.
    pub(super) mood: Mood,
    /// The drop reason that it stands for.
    pub(super) reason: Option<u32>,
}

/// How a row looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// As others.
    #[default]
    Plain,
    /// Packets pass.
    Good,
    /// Packets are dropped.
    Bad,
    /// Packets are refused.
    Doubtful,
}

/// The list of the page, or the last packets of the reason that was chosen.
pub(super) fn chosen(model: &Model, view: &View, clock: Clock) -> Grid {
    if let Some(reason) = view.reason {
        return last_drops(model, view, reason, clock);
    }
    match view.tab {
        Tab::Overview => drops(model, view, true),
        Tab::Rules => rules(model, view, false),
        Tab::Hosts => hosts(model, view, false),
        Tab::Drops => drops(model, view, false),
        Tab::Connections => states(model, view),
    }
}

/// The reasons that the rows of the page stand for.
pub fn reasons(model: &Model, view: &View) -> Vec<Option<u32>> {
    chosen(model, view, Clock::since(0)).rows.iter().map(|row| row.reason).collect()
}

/// Sorts and filters, then makes text of what is left.
fn rows<T>(view: &View, mut all: Vec<T>, order: impl Fn(&T, &T) -> Ordering, line: impl Fn(&T) -> Line) -> Vec<Line> {
    all.sort_by(|one, other| if view.reverse { order(other, one) } else { order(one, other) });
    all.iter().map(line).filter(|line| view.wants(&line.cells.join(" "))).take(MOST).collect()
}

fn cells(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    texts.into_iter().map(|text| printable(&text)).collect()
}

/// Numbers stand on the right.
fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

/// Largest first.
fn falling(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}

/// By interface, way and outcome: never sorted, so that each stays where it is.
pub(super) fn interfaces(model: &Model, view: &View) -> Grid {
    let line = |((name, way, outcome), line): (&(String, super::Way, Outcome), &super::Line)| Line {
        cells: cells([
            name.clone(),
            way.name().to_owned(),
            outcome.name().to_owned(),
            right(&packets(line.rate.packets), 6),
            right(&bits(line.rate.bits), 7),
            right(&line.total.packets.to_string(), 11),
            spark(&line.history, 24),
        ]),
        mood: match outcome {
            Outcome::Passed => Mood::Good,
            Outcome::Dropped => Mood::Bad,
            Outcome::Rejected => Mood::Doubtful,
        },
        reason: None,
    };
    let rows = model.lines.iter().map(line).filter(|line| view.wants(&line.cells.join(" ")));
    Grid {
        title: "Interfaces".to_owned(),
        head: vec!["interface", "way", "verdict", " pkt/s", "  bit/s", "    packets", "last seconds"],
        widths: [15, 3, 8, 6, 7, 11, 24].map(Constraint::Length).to_vec(),
        rows: rows.collect(),
    }
}

/// Drop reasons by layer.
pub(super) fn drops(model: &Model, view: &View, is_small: bool) -> Grid {
    let all: Vec<_> = model.reasons.iter().collect();
    let order = |(a, one): &(&u32, &super::Line), (b, other): &(&u32, &super::Line)| {
        let rates = falling(one.rate.packets, other.rate.packets);
        let totals = other.total.packets.cmp(&one.total.packets);
        match view.order() {
            "packets" => totals.then(a.cmp(b)),
            "layer" => reason(**a).1.cmp(reason(**b).1).then(rates).then(totals),
            _ => rates.then(totals).then(a.cmp(b)),
        }
    };
    let line = |(number, line): &(&u32, &super::Line)| {
        let (name, layer, meaning) = reason(**number);
        let (rate, total) = (right(&packets(line.rate.packets), 6), right(&line.total.packets.to_string(), 9));
        let texts = if is_small {
            vec![layer.to_owned(), name, rate, total]
        } else {
            vec![layer.to_owned(), name, rate, total, spark(&line.history, 15), meaning.to_owned()]
        };
        Line { cells: cells(texts), mood: Mood::Plain, reason: Some(**number) }
    };
    let (head, widths) = if is_small {
        (vec!["layer", "reason", " pkt/s", "  packets"], vec![9, 11, 6, 9])
    } else {
        (vec!["layer", "reason", " pkt/s", "  packets", "last seconds", "meaning"], vec![9, 20, 6, 9, 15])
    };
    let mut widths: Vec<_> = widths.into_iter().map(Constraint::Length).collect();
    if is_small {
        widths[1] = Constraint::Fill(1);
    } else {
        widths.push(Constraint::Fill(1));
    }
    Grid { title: "Drops by layer and reason".to_owned(), head, widths, rows: rows(view, all, order, line) }
}

/// The last packets that were dropped for a reason: the ledger has one for each source.
fn last_drops(model: &Model, view: &View, wanted: u32, clock: Clock) -> Grid {
    let (name, layer, meaning) = reason(wanted);
    let line = |dropped: &firewall_common::ledger::Dropped| {
        let manifest = (dropped.generation == model.generation).then_some(&model.manifest);
        let by = Author::of(dropped.rule, manifest).short().unwrap_or_default();
        let told = drops::Drop::new(dropped, manifest);
        let source = drops::source(dropped).map_or_else(|| "?".to_owned(), |source| source.to_string());
        Line {
            cells: cells([
                clock.at(dropped.last_ns).time(),
                source,
                told.target().unwrap_or_default(),
                right(&dropped.packets.to_string(), 8),
                by,
            ]),
            ..Line::default()
        }
    };
    let mut rows: Vec<_> =
        model.last_drops(wanted).map(line).filter(|line| view.wants(&line.cells.join(" "))).collect();
    let title = format!("Last drops by source: {name} ({layer}): {meaning}");
    if rows.is_empty() {
        let cells = vec!["none: of each source the last drop is kept".to_owned()];
        rows.push(Line { cells, ..Line::default() });
        return Grid { title, head: vec![""], widths: vec![Constraint::Fill(1)], rows };
    }
    Grid {
        title,
        head: vec!["time", "source", "to", " packets", "by"],
        widths: vec![
            Constraint::Length(13),
            Constraint::Fill(2),
            Constraint::Length(15),
            Constraint::Length(8),
            Constraint::Fill(2),
        ],
        rows,
    }
}

/// Rules with counters.
pub(super) fn rules(model: &Model, view: &View, is_small: bool) -> Grid {
    let all: Vec<_> =
        model.rules.iter().filter_map(|(number, line)| Some((model.manifest.rule(*number)?, line))).collect();
    let order = |(a, one): &(&RuleRecord, &super::Line), (b, other): &(&RuleRecord, &super::Line)| {
        let rates = falling(one.rate.packets, other.rate.packets);
        let totals = other.total.packets.cmp(&one.total.packets);
        match view.order() {
            "bits/s" => falling(one.rate.bits, other.rate.bits).then(totals).then(a.number.cmp(&b.number)),
            "packets" => totals.then(a.number.cmp(&b.number)),
            "line" => a.number.cmp(&b.number),
            _ => rates.then(totals).then(a.number.cmp(&b.number)),
        }
    };
    let line = |(rule, line): &(&RuleRecord, &super::Line)| {
        let rate = right(&packets(line.rate.packets), 6);
        // The comment is what the rule is called.
        let text = rule.comment.clone().filter(|_| is_small).unwrap_or_else(|| rule.text.clone());
        let file = rule.file.rsplit('/').next().unwrap_or_default();
        let text = if is_small { format!("{}: {text}", rule.line) } else { format!("{file}:{}: {text}", rule.line) };
        let total = right(&line.total.packets.to_string(), 10);
        let texts = if is_small { vec![rate, text] } else { vec![rate, right(&bits(line.rate.bits), 7), total, text] };
        Line { cells: cells(texts), ..Line::default() }
    };
    let (head, widths) = if is_small {
        (vec![" pkt/s", "line: rule"], vec![Constraint::Length(6), Constraint::Fill(1)])
    } else {
        let widths = vec![Constraint::Length(6), Constraint::Length(7), Constraint::Length(10), Constraint::Fill(1)];
        (vec![" pkt/s", "  bit/s", "   packets", "rule"], widths)
    };
    let title = if is_small { "Busiest rules" } else { "Rules with counters" };
    Grid { title: title.to_owned(), head, widths, rows: rows(view, all, order, line) }
}

/// Those that begin connections, and those that are spoken to.
pub(super) fn hosts(model: &Model, view: &View, is_small: bool) -> Grid {
    let both = [("from", &model.sources), ("to", &model.destinations)];
    let all: Vec<_> = both
        .into_iter()
        .flat_map(|(role, hosts)| hosts.iter().map(move |(address, host)| (role, *address, *host)))
        .collect();
    let order = |(_, a, one): &(&str, IpAddr, Host), (_, b, other): &(&str, IpAddr, Host)| {
        let bits = falling(one.rate.bits, other.rate.bits);
        let connections = other.connections.cmp(&one.connections);
        match view.order() {
            "packets/s" => falling(one.rate.packets, other.rate.packets).then(connections).then(a.cmp(b)),
            "connections" => connections.then(a.cmp(b)),
            "address" => a.cmp(b),
            _ => bits.then(connections).then(a.cmp(b)),
        }
    };
    let line = |(role, address, host): &(&str, IpAddr, Host)| {
        let (bits, conns) = (right(&bits(host.rate.bits), 7), right(&host.connections.to_string(), 6));
        let mut texts = vec![(*role).to_owned(), address.to_string(), conns];
        if !is_small {
            texts.push(right(&packets(host.rate.packets), 6));
        }
        texts.push(bits);
        Line { cells: cells(texts), ..Line::default() }
    };
    let (mut head, mut widths) = (vec!["", "address", " conns"], vec![Constraint::Length(4), Constraint::Fill(1)]);
    widths.push(Constraint::Length(6));
    if !is_small {
        head.push(" pkt/s");
        widths.push(Constraint::Length(6));
    }
    head.push("  bit/s");
    widths.push(Constraint::Length(7));
    Grid { title: "Sources and destinations".to_owned(), head, widths, rows: rows(view, all, order, line) }
}

/// Connections by state.
pub(super) fn states(model: &Model, view: &View) -> Grid {
    let all: Vec<_> = model.states.iter().map(|(state, count)| (*state, *count)).collect();
    let order = |(a, one): &(&str, u64), (b, other): &(&str, u64)| match view.order() {
        "state" => a.cmp(b),
        _ => other.cmp(one).then(a.cmp(b)),
    };
    let line = |(state, count): &(&str, u64)| Line {
        cells: cells([right(&count.to_string(), 11), (*state).to_owned()]),
        ..Line::default()
    };
    Grid {
        title: "Connections by state".to_owned(),
        head: vec!["connections", "state"],
        widths: vec![Constraint::Length(11), Constraint::Fill(1)],
        rows: rows(view, all, order, line),
    }
}
