//! The maps by name: the only file that spells them.

use std::path::Path;

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapInfo, MapType, PerCpuArray, PerCpuValues, ProgramArray, RingBuf},
};
use firewall_common::{
    addresses::{self, MAX_ADDRESSES},
    answer::{self, Answers},
    control::{Control, SLOTS},
    counter::{Counter, FlowStats, InterfaceCounters},
    event::{Budget, Listeners},
    flood::Floods,
    fragment::Pieces,
    guard::Guard,
    interface::Interface,
    ledger::{DroppedSet, SETS},
    limits::{MAX_CELLS, MAX_IFINDEX, MAX_INTERFACES, MAX_RULE_COUNTERS},
    sets::MAX_SETS,
    start::Start,
    table::BUCKET,
};

use super::{KernelError, batch};

pub(super) const CONTROL: &str = "CONTROL";
pub(super) const XDP: &str = "XDP";
pub(super) const TC_INGRESS: &str = "TC_INGRESS";
pub(super) const TC_EGRESS: &str = "TC_EGRESS";
pub(super) const FLOWS: &str = "FLOWS";
pub(super) const COUNTERS: &str = "COUNTERS";
pub(super) const ANSWERS: &str = "ANSWERS";
pub(super) const ANSWER_LIMITS: &str = "ANSWER_LIMITS";
pub(super) const CELLS: &str = "CELLS";
pub(super) const ZEROED: &str = "ZEROED";
pub(super) const IFINDEX: &str = "IFINDEX";
pub(super) const INTERFACES: &str = "INTERFACES";
pub(super) const TRAFFIC: &str = "TRAFFIC";
pub(super) const FLOW_STATS: &str = "FLOW_STATS";
pub(super) const EVENTS: &str = "EVENTS";
pub(super) const BUDGET: &str = "BUDGET";
pub(super) const LISTENERS: &str = "LISTENERS";
pub(super) const ADDRESSES: &str = "ADDRESSES";
pub(super) const ADDRESS_COPY: &str = "ADDRESS_COPY";
pub(super) const GUARD: &str = "GUARD";
pub(super) const FLOODS: &str = "FLOODS";
pub(super) const NAMED_SETS: &str = "SETS";
pub(super) const START: &str = "START";
pub(super) const INSNS: &str = "INSNS";
pub(super) const CONSTANTS: &str = "CONSTANTS";
pub(super) const INTERVALS: &str = "INTERVALS";
pub(super) const ROOTS: &str = "ROOTS";
pub(super) const NODES: &str = "NODES";
pub(super) const NARROW: &str = "NARROW";
pub(super) const WIDE: &str = "WIDE";
pub(super) const GENERATORS: &str = "GENERATORS";
pub(super) const DEVICES: &str = "DEVICES";
pub(super) const MANIFEST: &str = "MANIFEST";
pub(super) const LEDGER: &str = "LEDGER";
pub(super) const TRAIL: &str = "TRAIL";
pub(super) const TRAIL_FILTER: &str = "TRAIL_FILTER";
pub(super) const TRAILS: &str = "TRAILS";
const FRAGMENTS: &str = "FRAGMENTS";

/// Bytes of the manifest in one map value.
pub(super) const MANIFEST_CHUNK: usize = 4096;

/// What a state map must look like to be adopted: aya takes any pin of the right name.
pub(super) struct Shape {
    pub(super) name: &'static str,
    kind: MapType,
    key: u32,
    value: u32,
    /// `None`: chosen when the instance was made.
    entries: Option<u32>,
}

const fn shape(name: &'static str, kind: MapType, key: u32, value: usize, entries: Option<u32>) -> Shape {
    Shape { name, kind, key, value: value as u32, entries }
}

/// The maps that outlive a generation.
pub(super) const STATE: [Shape; 24] = [
    shape(CONTROL, MapType::Array, 4, size_of::<Control>(), Some(1)),
    shape(XDP, MapType::ProgramArray, 4, 4, Some(SLOTS)),
    shape(TC_INGRESS, MapType::ProgramArray, 4, 4, Some(SLOTS)),
    shape(TC_EGRESS, MapType::ProgramArray, 4, 4, Some(SLOTS)),
    shape(FLOWS, MapType::Array, 4, BUCKET, None),
    shape(FRAGMENTS, MapType::LruHash, 40, size_of::<Pieces>(), Some(4096)),
    shape(COUNTERS, MapType::PerCpuArray, 4, size_of::<Counter>(), Some(MAX_RULE_COUNTERS)),
    shape(ZEROED, MapType::Array, 4, size_of::<Counter>(), Some(MAX_RULE_COUNTERS)),
    shape(ANSWERS, MapType::PerCpuArray, 4, size_of::<Answers>(), Some(MAX_INTERFACES)),
    shape(ANSWER_LIMITS, MapType::Array, 4, 8, Some(answer::LIMITS + 1)),
    shape(CELLS, MapType::Array, 4, 8, Some(MAX_CELLS)),
    shape(IFINDEX, MapType::Array, 4, 4, Some(MAX_IFINDEX)),
    shape(INTERFACES, MapType::Array, 4, size_of::<Interface>(), Some(MAX_INTERFACES)),
    shape(TRAFFIC, MapType::PerCpuArray, 4, size_of::<InterfaceCounters>(), Some(MAX_INTERFACES)),
    shape(FLOW_STATS, MapType::PerCpuArray, 4, size_of::<FlowStats>(), Some(1)),
    shape(EVENTS, MapType::RingBuf, 0, 0, Some(1 << 20)),
    shape(BUDGET, MapType::PerCpuArray, 4, size_of::<Budget>(), Some(1)),
    shape(LISTENERS, MapType::Array, 4, size_of::<Listeners>(), Some(1)),
    shape(ADDRESSES, MapType::LpmTrie, 32, size_of::<addresses::Value>(), Some(2 * MAX_ADDRESSES)),
    shape(ADDRESS_COPY, MapType::Array, 4, 4, Some(1)),
    shape(GUARD, MapType::Array, 4, size_of::<Guard>(), Some(1)),
    shape(FLOODS, MapType::Array, 4, size_of::<Floods>(), Some(1)),
    shape(NAMED_SETS, MapType::ArrayOfMaps, 4, 4, Some(MAX_SETS)),
    shape(LEDGER, MapType::PerCpuArray, 4, size_of::<DroppedSet>(), Some(SETS)),
];

/// Maps of the instance without which a generation's programs cannot be put in force, or have nothing to do there.
pub(super) const OF_SLOTS: [&str; 5] = [XDP, TC_INGRESS, TC_EGRESS, FLOWS, EVENTS];

/// Names of a generation's own maps that are pinned with it.
pub(super) const OF_GENERATION: [&str; 11] =
    [START, INSNS, CONSTANTS, INTERVALS, ROOTS, NODES, NARROW, WIDE, GENERATORS, DEVICES, MANIFEST];

impl Shape {
    /// Compares with what is pinned at `path`; how many entries it has.
    pub(super) fn check(&self, path: &Path) -> Result<u32, KernelError> {
        let foreign = |difference: String| KernelError::ForeignPin { path: path.to_owned(), difference };
        let info = MapInfo::from_pin(path).map_err(|error| foreign(error.to_string()))?;
        let kind = info.map_type().map_err(|error| foreign(error.to_string()))?;
        if kind != self.kind {
            return Err(foreign(format!("it is a map of type {kind:?}, not {:?}", self.kind)));
        }
        let sizes = [
            ("key size", info.key_size(), Some(self.key)),
            ("value size", info.value_size(), Some(self.value)),
            ("capacity", info.max_entries(), self.entries),
        ];
        for (what, found, wanted) in sizes {
            if wanted.is_some_and(|wanted| wanted != found) {
                return Err(foreign(format!("{what} {found}, not {}", wanted.unwrap_or_default())));
            }
        }
        Ok(info.max_entries())
    }
}

/// A pinned map.
pub(super) fn open(directory: &Path, name: &'static str) -> Result<MapData, KernelError> {
    MapData::from_pin(directory.join(name)).map_err(KernelError::map(name))
}

/// What the kernel says of a pinned map.
pub(super) fn info(directory: &Path, name: &'static str) -> Result<MapInfo, KernelError> {
    open(directory, name)?.info().map_err(KernelError::map(name))
}

/// A map of a loaded object, whatever it is.
pub(super) fn data<'a>(ebpf: &'a aya::Ebpf, name: &'static str) -> Result<&'a MapData, KernelError> {
    let missing = || KernelError::Damaged(format!("the program has no map {name}"));
    match ebpf.map(name).ok_or_else(missing)? {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::PerCpuHashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::LpmTrie(data) => Ok(data),
        _ => Err(KernelError::Damaged(format!("map {name} is of a type that cannot be copied"))),
    }
}

/// A pinned array.
pub(super) fn array<T: Pod>(directory: &Path, name: &'static str) -> Result<Array<MapData, T>, KernelError> {
    Array::try_from(Map::Array(open(directory, name)?)).map_err(KernelError::map(name))
}

/// A pinned per-CPU array.
pub(super) fn per_cpu<T: Pod>(directory: &Path, name: &'static str) -> Result<PerCpuArray<MapData, T>, KernelError> {
    PerCpuArray::try_from(Map::PerCpuArray(open(directory, name)?)).map_err(KernelError::map(name))
}

/// A pinned program array.
pub(super) fn programs(directory: &Path, name: &'static str) -> Result<ProgramArray<MapData>, KernelError> {
    ProgramArray::try_from(Map::ProgramArray(open(directory, name)?)).map_err(KernelError::map(name))
}

/// The pinned ring of events.
pub(super) fn ring(directory: &Path) -> Result<RingBuf<MapData>, KernelError> {
    RingBuf::try_from(Map::RingBuf(open(directory, EVENTS)?)).map_err(KernelError::map(EVENTS))
}

/// An array of a loaded object.
pub(super) fn array_of<'a, T: Pod>(
    ebpf: &'a mut aya::Ebpf,
    name: &'static str,
) -> Result<Array<&'a mut MapData, T>, KernelError> {
    let map = ebpf.map_mut(name).ok_or_else(|| KernelError::Damaged(format!("the program has no map {name}")))?;
    Array::try_from(map).map_err(KernelError::map(name))
}

/// What the programs of a generation read when they run.
pub(super) fn start(directory: &Path) -> Result<Start, KernelError> {
    array(directory, START)?.get(&0, 0).map_err(KernelError::map(START))
}

/// The maps of a generation: those of a loaded object, or pinned ones.
pub(super) enum Maps<'a> {
    /// Of an object.
    Loaded(&'a mut aya::Ebpf),
    /// In this directory.
    Pinned(&'a Path),
}

impl Maps<'_> {
    /// Writes `values` into a map, from index 0.
    pub(super) fn fill<T: Pod>(&mut self, name: &'static str, values: &[T]) -> Result<(), KernelError> {
        match self {
            Self::Loaded(ebpf) => fill(ebpf, name, values),
            Self::Pinned(_) if values.is_empty() => Ok(()),
            Self::Pinned(directory) => {
                batch::write(&open(directory, name)?, 0, values).map_err(KernelError::system(name))
            }
        }
    }
}

/// Writes `values` into a map of a loaded object, from index 0.
pub(super) fn fill<T: Pod>(ebpf: &mut aya::Ebpf, name: &'static str, values: &[T]) -> Result<(), KernelError> {
    let map = ebpf.map_mut(name).ok_or_else(|| KernelError::Damaged(format!("the program has no map {name}")))?;
    let Map::Array(data) = map else { return Err(KernelError::Damaged(format!("{name} is not an array"))) };
    if values.is_empty() {
        return Ok(());
    }
    batch::write(data, 0, values).map_err(KernelError::system(name))
}

/// CPUs that a per-CPU map has values for.
pub(super) fn cpus() -> Result<usize, KernelError> {
    aya::util::nr_cpus().map_err(|(what, source)| KernelError::System { what: what.to_owned(), source })
}

/// The same value on every CPU, or `first` on one and `rest` on the others.
pub(super) fn on_cpus<T: Pod>(first: T, rest: T) -> Result<PerCpuValues<T>, KernelError> {
    let cpus = cpus()?;
    let mut values = vec![rest; cpus];
    if let Some(value) = values.first_mut() {
        *value = first;
    }
    PerCpuValues::try_from(values).map_err(KernelError::system("per-CPU values"))
}
