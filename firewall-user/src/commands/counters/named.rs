//! Counters and quotas with a name.

use std::{collections::HashMap, fmt::Write};

use firewall_common::counter::Counter;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    commands::list::{attempts, coherent},
    compile::{ObjectRecord, QuotaRecord},
    kernel::{Instance, KernelError},
    language::{print, ruleset::Quota},
};

/// As much of a manifest as they need.
#[derive(Debug, Default, Deserialize)]
struct Objects {
    #[serde(default)]
    objects: Vec<ObjectRecord>,
}

/// Them, and what they counted.
#[derive(Default)]
pub(super) struct Named {
    objects: Vec<ObjectRecord>,
    counters: HashMap<u32, Counter>,
    quotas: HashMap<u32, u64>,
}

impl Named {
    /// Reads them, and sets them back if that is asked for.
    pub(super) fn read(instance: &Instance, reset: bool) -> Result<Self, KernelError> {
        let lock = reset.then(|| instance.lock()).transpose()?;
        let (Objects { objects }, (counters, quotas)) = coherent(instance, attempts(reset), |Objects { objects }| {
            let counters: Vec<_> = objects.iter().filter_map(|one| Some(one.counter.as_ref()?.slot)).collect();
            let quotas = objects.iter().filter(|one| one.quota.is_some());
            let quotas: Vec<_> = quotas.filter_map(|one| Some(one.cell.as_ref()?.slot)).collect();
            Ok(match &lock {
                Some(lock) => (instance.reset_counters(lock, counters)?, instance.reset_cells(lock, quotas)?),
                None => (instance.rule_counters_since_reset(counters)?, instance.cells(quotas)?),
            })
        })?;
        Ok(Self { objects, counters, quotas })
    }

    fn counter(&self, object: &ObjectRecord) -> Option<Counter> {
        Some(self.counters.get(&object.counter.as_ref()?.slot).copied().unwrap_or_default())
    }

    fn quota<'a>(&self, object: &'a ObjectRecord) -> Option<(&'a QuotaRecord, u64)> {
        let (quota, cell) = (object.quota.as_ref()?, object.cell.as_ref()?);
        Some((quota, self.quotas.get(&cell.slot).copied().unwrap_or(cell.first).min(quota.bytes)))
    }

    /// A line each.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for object in &self.objects {
            let ObjectRecord { family, table, kind, name, .. } = object;
            let said = if let Some(Counter { packets, bytes }) = self.counter(object) {
                print::counter_text((packets, bytes))
            } else if let Some((QuotaRecord { over, bytes }, used)) = self.quota(object) {
                print::quota_text(Quota { over: *over, bytes: *bytes, used: 0 }, used)
            } else {
                continue;
            };
            let _ = writeln!(out, "{kind} {family} {table} {name}  {said}");
        }
        out
    }

    /// The same as JSON.
    pub(super) fn json(&self) -> Value {
        let one = |object: &ObjectRecord| {
            let ObjectRecord { family, table, kind, name, .. } = object;
            let mut value = json!({ "kind": kind, "family": family, "table": table, "name": name });
            if let Some(Counter { packets, bytes }) = self.counter(object) {
                value["packets"] = packets.into();
                value["bytes"] = bytes.into();
            } else {
                let (QuotaRecord { over, bytes }, used) = self.quota(object)?;
                value["over"] = (*over).into();
                value["bytes"] = (*bytes).into();
                value["used"] = used.into();
            }
            Some(value)
        };
        self.objects.iter().filter_map(one).collect()
    }
}
