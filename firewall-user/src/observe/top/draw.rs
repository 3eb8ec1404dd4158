//! The picture, for a terminal of 80 columns and 24 lines or more.

use std::fmt::Write;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line as Text, Span},
    widgets::{Block, Paragraph, Row, Table, TableState},
};

use super::{Model, Tab, View, grid, grid::Grid};
use crate::observe::{
    clock::Clock,
    words::{counted, printable},
};

/// How it looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Is colour welcome?
    pub colour: bool,
    /// For times of day.
    pub clock: Clock,
}

impl Look {
    fn paint(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, model: &Model, view: &View, look: Look) {
    let parts = [Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)];
    let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(vec![title(model, view, look), tabs(view, look)]), head);
    match (view.tab, view.reason) {
        (Tab::Overview, None) => overview(frame, body, model, view, look),
        (Tab::Connections, None) => {
            let [fill, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(body);
            frame.render_widget(Paragraph::new(fill_text(model, usize::from(fill.width))), fill);
            table(frame, rest, &grid::chosen(model, view, look.clock), Some(view.chosen), look);
        }
        _ => table(frame, body, &grid::chosen(model, view, look.clock), Some(view.chosen), look),
    }
    frame.render_widget(Paragraph::new(footer(view)).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

fn title(model: &Model, view: &View, look: Look) -> Text<'static> {
    let rules = counted(model.manifest.rules.len() as u64, "rule");
    let mut text = format!("rampart  generation {}, {rules}  {}", model.generation, look.clock.at(model.at_ns).time());
    if model.lost > 0 {
        let _ = write!(text, "  {} lost", counted(model.lost, "event"));
    }
    let mut spans = vec![Span::styled(text, Style::new().add_modifier(Modifier::BOLD))];
    if view.paused {
        spans.push(Span::styled("  paused", look.paint(Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    if !view.filter.is_empty() && !view.typing {
        spans.push(Span::styled(format!("  only `{}`", printable(&view.filter)), look.paint(Color::Cyan)));
    }
    Text::from(spans)
}

fn tabs(view: &View, look: Look) -> Text<'static> {
    let one = |(at, tab): (usize, &Tab)| {
        let style =
            if *tab == view.tab { look.paint(Color::Cyan).add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(format!(" {} {} ", at + 1, tab.name()), style), Span::raw(" ")]
    };
    let mut spans: Vec<Span<'_>> = Tab::ALL.iter().enumerate().flat_map(one).collect();
    let turned = if view.reverse { ", turned over" } else { "" };
    spans.push(Span::raw(format!("by {}{turned}", view.order())));
    Text::from(spans)
}

fn footer(view: &View) -> String {
    match (view.typing, view.reason) {
        (true, _) => format!("only rows with: {}_   Enter keeps it, Esc drops it", printable(&view.filter)),
        (false, Some(_)) => "Esc back  / filter  p pause  q quit".to_owned(),
        (false, None) => "1-5 page  s sort  r turn over  / filter  p pause  Enter last drops  q quit".to_owned(),
    }
}

fn overview(frame: &mut Frame<'_>, body: Rect, model: &Model, view: &View, look: Look) {
    let lines = grid::interfaces(model, view);
    // Below are two rows of two lists, of five lines or more each.
    let most = body.height.saturating_sub(12).max(3);
    let height = (lines.rows.len() as u16 + 2).clamp(3, most);
    let parts = [Constraint::Length(height), Constraint::Fill(1), Constraint::Fill(1)];
    let [top, middle, bottom] = Layout::vertical(parts).areas(body);
    table(frame, top, &lines, None, look);
    let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
    let [left, right] = Layout::horizontal(halves).spacing(1).areas(middle);
    table(frame, left, &grid::drops(model, view, true), Some(view.chosen), look);
    table(frame, right, &grid::states(model, view), None, look);
    let fill = Rect { y: right.bottom().saturating_sub(1), height: 1, ..right };
    frame.render_widget(Paragraph::new(fill_text(model, usize::from(fill.width))), fill);
    let [left, right] = Layout::horizontal(halves).spacing(1).areas(bottom);
    table(frame, left, &grid::rules(model, view, true), None, look);
    table(frame, right, &grid::hosts(model, view, true), None, look);
}

/// `table  12 of 65536  [###      ] 0.0%`
fn fill_text(model: &Model, width: usize) -> String {
    let (used, capacity) = (model.connections(), model.capacity.max(1));
    let tenths = used * 1000 / capacity;
    let text = format!("table {used} of {} {}.{}% ", model.capacity, tenths / 10, tenths % 10);
    let room = width.saturating_sub(text.chars().count() + 2);
    let filled = usize::try_from(tenths).unwrap_or(0).min(1000) * room / 1000;
    format!("{text}[{}{}]", "#".repeat(filled), " ".repeat(room - filled))
}

fn table(frame: &mut Frame<'_>, area: Rect, grid: &Grid, chosen: Option<usize>, look: Look) {
    let style = |row: &grid::Line| match row.mood {
        grid::Mood::Good => look.paint(Color::Green),
        grid::Mood::Bad => look.paint(Color::Red),
        grid::Mood::Doubtful => look.paint(Color::Yellow),
        grid::Mood::Plain => Style::new(),
    };
    let rows = grid.rows.iter().map(|row| Row::new(row.cells.clone()).style(style(row)));
    let head = Row::new(grid.head.clone()).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let title = Span::styled(grid.title.clone(), Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, grid.widths.clone())
        .header(head)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().title(title));
    let chosen = chosen.filter(|_| !grid.rows.is_empty()).map(|chosen| chosen.min(grid.rows.len() - 1));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(chosen));
}
