//! Reading the drop ledger.

use std::collections::HashMap;

use firewall_common::ledger::{Dropped, DroppedSet, SETS};

use super::{Instance, KernelError, maps};

impl Instance {
    /// Who was dropped lately, whatever CPU it was on: the latest first.
    pub fn ledger(&self) -> Result<Vec<Dropped>, KernelError> {
        let map = maps::per_cpu::<DroppedSet>(&self.pins.state(), maps::LEDGER)?;
        let mut sources: HashMap<(u32, [u32; 4]), Dropped> = HashMap::new();
        for set in 0..SETS {
            let values = map.get(&set, 0).map_err(KernelError::map(maps::LEDGER))?;
            for dropped in values.iter().flat_map(|set| set.places).filter(|dropped| dropped.last_ns != 0) {
                let known = sources.entry((dropped.nfproto, dropped.source));
                known.and_modify(|known| *known = known.with(dropped)).or_insert(dropped);
            }
        }
        let mut sources: Vec<_> = sources.into_values().collect();
        sources.sort_by_key(|dropped| (std::cmp::Reverse(dropped.last_ns), dropped.source));
        Ok(sources)
    }
}
