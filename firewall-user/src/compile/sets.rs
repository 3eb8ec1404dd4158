//! Named sets and maps.

use super::CompileError;
use crate::language::{Ruleset, ruleset::Set};

/// Refuses sets that would have to change while packets come.
pub(super) fn refuse_unsupported(ruleset: &Ruleset) -> Result<(), CompileError> {
    for table in ruleset.tables() {
        for set in &table.sets {
            if let Some(what) = unsupported(set) {
                let (table, name) = (table.name.clone(), set.name.clone());
                return Err(CompileError::NotYet { table, kind: set.kind(), name, what });
            }
        }
    }
    Ok(())
}

fn unsupported(set: &Set) -> Option<&'static str> {
    if set.dynamic {
        Some("changes by rules are")
    } else if set.timeouts {
        Some("timeouts are")
    } else if set.counter {
        Some("counters on elements are")
    } else if set.data.is_none() && set.catch_all.is_some() {
        Some("`*` in a set is")
    } else {
        None
    }
}
