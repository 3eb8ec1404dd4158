//! What the page shows.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::serve::open;
use crate::{
    commands::top::Eye,
    compile::SCHEMA,
    kernel::{KernelError, monotonic_ns},
    observe::{clock::Clock, drops, status::attachment_json},
};

/// Of a list.
const MOST: usize = 20;
/// Rates are of a second at least, however many ask.
const SECOND: Duration = Duration::from_secs(1);

/// What was read, for whoever asks next: rates are made of two looks.
#[derive(Default)]
pub(super) struct State {
    eye: Eye,
    looked: Option<Instant>,
}

impl State {
    /// As JSON.
    pub(super) fn told(&mut self) -> Result<Value, KernelError> {
        let Some(instance) = open()? else {
            *self = Self::default();
            return Ok(json!({ "schema": SCHEMA, "running": false }));
        };
        if self.looked.is_none_or(|looked| looked.elapsed() >= SECOND) {
            self.eye.look()?;
            self.looked = Some(Instant::now());
        }
        let (model, clock) = (&self.eye.model, Clock::new(monotonic_ns()));
        let lately = model.drops.iter().take(MOST).map(|dropped| {
            let manifest = (dropped.generation == model.generation).then_some(&model.manifest);
            let source = drops::source(dropped).map(|source| source.to_string());
            json!({ "source": source, "dropped": drops::Drop::new(dropped, manifest).json(clock) })
        });
        let mut told: Map<String, Value> = [
            ("running".to_owned(), true.into()),
            ("rules_in_force".to_owned(), model.manifest.rules.len().into()),
            ("attached".to_owned(), instance.interfaces()?.iter().map(attachment_json).collect()),
            ("dropped_lately".to_owned(), lately.collect()),
        ]
        .into_iter()
        .collect();
        if let Value::Object(rates) = model.json(MOST) {
            told.extend(rates);
        }
        Ok(told.into())
    }
}
