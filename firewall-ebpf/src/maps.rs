//! Every map and every load-time constant.
//!
//! | map | lives as long as | written by | read by | when full |
//! |---|---|---|---|---|
//! | CONTROL | the instance | user space, under the lock | entry programs | one value |
//! | XDP, TC_INGRESS, TC_EGRESS | the instance | user space | entry programs | two slots |
//! | FLOWS | the instance | generations | generations, user space | the packet that would start a flow is dropped, counted |
//! | FRAGMENTS | the instance | generations | generations | the oldest fragmented packet is forgotten |
//! | COUNTERS | the instance | generations | user space | refused when compiling |
//! | ZEROED | the instance | user space | user space | as COUNTERS |
//! | ANSWERS, ANSWER_LIMITS | the instance | generations | generations, user space | as INTERFACES; destinations of one hash share |
//! | CELLS | the instance | generations | generations, user space | refused when compiling |
//! | INTERFACES, IFINDEX | the instance | user space | generations | refused when attaching |
//! | TRAFFIC | the instance | generations | user space | as INTERFACES |
//! | FLOW_STATS | the instance | generations | generations, user space | one value |
//! | EVENTS, BUDGET | the instance | generations | user space | the event is lost and counted |
//! | LISTENERS | the instance | user space | generations | one value |
//! | ADDRESSES, ADDRESS_COPY | the instance | user space | generations | the copy that was there stays, and user space says so |
//! | GUARD | the instance | user space, generations | generations, user space | one value |
//! | FLOODS | the instance | generations | generations, user space | one value |
//! | SETS | the instance | user space, generations | generations, user space | a set is full: the rule does not match |
//! | INSNS, CONSTANTS, INTERVALS, ROOTS, NODES, NARROW, WIDE | the generation | user space, before it is put in force | generations | made to measure, with some room |
//! | START | the generation | user space, before it is put in force | generations, user space | one value |
//! | MANIFEST | the generation | user space | user space | made to measure |
//! | AUTHORS | the generation | generations | generations | rules share budgets |
//! | DEVICES | the generation | user space | generations | as INTERFACES |
//! | ROUTES | the generation | generations | generations | an older answer is overwritten |
//! | WORK, ANSWER | the generation | generations | generations | one value a kind of program |
//! | LEDGER | the instance | generations | user space | the source that was silent longest is forgotten |
//! | TRAIL, TRAIL_FILTER, TRAILS | a program that explains | that program; user space the filter | user space | a trail is lost and counted |

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    btf_maps::{Array as SetMemory, ArrayOfMaps},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_ringbuf_output},
    macros::{btf_map, map},
    maps::{Array, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, lpm_trie::Key},
};
use firewall_common::{
    addresses::{self, MAX_ADDRESSES, Question},
    answer::{self, Answer, Answering, Answers},
    classify::{Narrow, Node, Root, Wide},
    conntrack::{CtState, LOOSE, Timeouts, ZONES},
    control::{Control, SLOTS},
    counter::{Counter, FlowStats, InterfaceCounters},
    event::{self, Budget, Listeners},
    fast::Device,
    flood::{Flooding, Floods},
    fragment::Pieces,
    guard::Guard,
    image::{Insn, Interval, Part, Target, USES_NOTRACK},
    interface::Interface,
    ledger::{self, DroppedSet},
    limits::{MAX_CELLS, MAX_IFINDEX, MAX_INTERFACES, MAX_RULE_COUNTERS},
    packet::Field,
    sets::{LINE_WORDS, MAX_SETS},
    start::Start,
    table::Bucket,
    trail::{Trail, TrailFilter},
};

use crate::{
    explain,
    pipeline::Path,
    route::{REMEMBERED, Remembered},
    work::Work,
};

/// Values start on a page, so those of 64 bytes on a cache line: nothing else is wanted of this flag
/// (include/uapi/linux/bpf.h, Linux 5.5).
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Sets have memory of any size (`BPF_F_INNER_MAP`, Linux 5.10), which user space writes too.
const SET_FLAGS: usize = 1 << 12 | BPF_F_MMAPABLE as usize;

#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);
#[map]
pub static XDP: ProgramArray = ProgramArray::with_max_entries(SLOTS, 0);
#[map]
pub static TC_INGRESS: ProgramArray = ProgramArray::with_max_entries(SLOTS, 0);
#[map]
pub static TC_EGRESS: ProgramArray = ProgramArray::with_max_entries(SLOTS, 0);
#[map]
static FLOWS: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static FRAGMENTS: LruHashMap<[u64; 5], Pieces> = LruHashMap::with_max_entries(4096, 0);
#[map]
pub static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(MAX_RULE_COUNTERS, 0);
#[map]
pub static CELLS: Array<u64> = Array::with_max_entries(MAX_CELLS, BPF_F_MMAPABLE);
#[map]
static ZEROED: Array<Counter> = Array::with_max_entries(MAX_RULE_COUNTERS, 0);
#[map]
pub static IFINDEX: Array<u32> = Array::with_max_entries(MAX_IFINDEX, 0);
#[map]
pub static INTERFACES: Array<Interface> = Array::with_max_entries(MAX_INTERFACES, 0);
#[map]
pub static TRAFFIC: PerCpuArray<InterfaceCounters> = PerCpuArray::with_max_entries(MAX_INTERFACES, 0);
#[map]
static FLOW_STATS: PerCpuArray<FlowStats> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
pub static BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static AUTHORS: PerCpuArray<Budget> = PerCpuArray::with_max_entries(event::AUTHORS, 0);
#[map]
pub static LISTENERS: Array<Listeners> = Array::with_max_entries(1, 0);
#[map]
static ADDRESSES: LpmTrie<addresses::Data, addresses::Value> = LpmTrie::with_max_entries(2 * MAX_ADDRESSES, 0);
#[map]
pub static ADDRESS_COPY: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static GUARD: Array<Guard> = Array::with_max_entries(1, 0);
#[map]
pub static FLOODS: Array<Floods> = Array::with_max_entries(1, 0);
#[btf_map]
static SETS: ArrayOfMaps<SetMemory<[u64; LINE_WORDS], 1, SET_FLAGS>, { MAX_SETS as usize }> = ArrayOfMaps::new();
#[map]
static START: Array<Start> = Array::with_max_entries(1, 0);
#[map]
pub static INSNS: Array<Insn> = Array::with_max_entries(1, 0);
#[map]
pub static CONSTANTS: Array<[u32; 4]> = Array::with_max_entries(1, 0);
#[map]
pub static INTERVALS: Array<Interval> = Array::with_max_entries(1, 0);
#[map]
pub static ROOTS: Array<Root> = Array::with_max_entries(1, 0);
#[map]
pub static NODES: Array<Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static NARROW: Array<Narrow> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static WIDE: Array<Wide> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static GENERATORS: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static MANIFEST: Array<[u8; 4096]> = Array::with_max_entries(1, 0);
#[map]
pub static ROUTES: PerCpuArray<Remembered> = PerCpuArray::with_max_entries(REMEMBERED, 0);
#[map]
pub static DEVICES: Array<Device> = Array::with_max_entries(MAX_INTERFACES, 0);
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(2, 0);

#[map]
pub static ANSWERS: PerCpuArray<Answers> = PerCpuArray::with_max_entries(MAX_INTERFACES, 0);
#[map]
pub static ANSWER_LIMITS: Array<u64> = Array::with_max_entries(answer::LIMITS + 1, 0);
#[map]
pub static ANSWER: PerCpuArray<Answer> = PerCpuArray::with_max_entries(2, 0);
#[map]
pub static LEDGER: PerCpuArray<DroppedSet> = PerCpuArray::with_max_entries(ledger::SETS, 0);
#[map]
pub static TRAIL: PerCpuArray<Trail> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static TRAIL_FILTER: Array<TrailFilter> = Array::with_max_entries(1, 0);
#[map]
static TRAILS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Which parts of a ruleset have chains, one bit each: a constant that the verifier knows, so what happens only where there
/// are such chains is not there where there are none.
#[unsafe(no_mangle)]
pub static PARTS: Global<u32> = Global::new(u32::MAX);

/// The first instruction of a part that has chains.
#[inline(always)]
pub fn entry(part: Part) -> Target {
    START.get(0).map_or(Target::DROP, |start| start.entry[part as usize])
}

/// The number of this generation.
#[inline(always)]
pub fn generation() -> u32 {
    START.get(0).map_or(0, |start| start.generation)
}

/// Did a rule say `notrack`?
#[inline(always)]
pub fn is_left_out(work: &Work) -> bool {
    USES.load() & USES_NOTRACK != 0 && work.packet.get(Field::CtState) == CtState::Untracked as u32
}

/// Are there chains of this part?
#[inline(always)]
pub fn has(part: Part) -> bool {
    PARTS.load() & 1 << part as u32 != 0
}

/// [`firewall_common::image::Settings::uses`].
#[unsafe(no_mangle)]
pub static USES: Global<u32> = Global::new(u32::MAX);
/// Seconds that International Atomic Time is ahead of this host's clock.
#[unsafe(no_mangle)]
pub static ATOMIC_AHEAD: Global<u32> = Global::new(0);
/// Seconds that the local time is ahead of UTC, two's complement.
#[unsafe(no_mangle)]
pub static LOCAL_AHEAD: Global<u32> = Global::new(0);
/// Nanoseconds of a timer tick; 0 when the clock is to be asked instead.
#[unsafe(no_mangle)]
pub static JIFFY_NS: Global<u32> = Global::new(0);
/// What is to be added to the nanoseconds of all timer ticks to have the time.
#[unsafe(no_mangle)]
pub static JIFFIES_OFFSET: Global<u64> = Global::new(0);
/// Number of buckets of the state table, less one.
#[unsafe(no_mangle)]
pub static BUCKET_MASK: Global<u32> = Global::new(0);
/// Lifetimes of connections: [`firewall_common::conntrack::Timeouts`].
#[unsafe(no_mangle)]
pub static TIMEOUTS: Global<Timeouts> = Global::new(Timeouts::DEFAULT);
/// How connections are tracked, [`firewall_common::conntrack::LOOSE`] and the like.
#[unsafe(no_mangle)]
pub static TRACKING: Global<u32> = Global::new(LOOSE);
/// What is checked beyond what the parser refuses, [`firewall_common::checks`].
#[unsafe(no_mangle)]
pub static CHECKS: Global<u32> = Global::new(u32::MAX);
/// When SYN cookies are sent unasked, [`firewall_common::flood`].
#[unsafe(no_mangle)]
pub static FLOODING: Global<Flooding> = Global::new(Flooding::NEVER);
/// How refused packets are answered.
#[unsafe(no_mangle)]
pub static ANSWERING: Global<Answering> = Global::new(Answering::DEFAULT);

/// What the program is for, [`firewall_common::trail::Explain`].
#[unsafe(no_mangle)]
pub static EXPLAIN: Global<u32> = Global::new(0);

/// The lifetime of a number, ticks.
#[inline(always)]
pub fn ticks(timeout: u32) -> u32 {
    let first = (&raw const TIMEOUTS).cast::<u32>();
    // SAFETY: `Global` is transparent; the mask keeps the index within it. Volatile, as user space wrote it before the
    // program was loaded.
    unsafe { first.add(timeout as usize & (Timeouts::ENTRIES - 1)).read_volatile() }
}

/// Is this one of the ways in which connections are tracked? A constant to the verifier.
#[inline(always)]
pub fn tracks(way: u32) -> bool {
    TRACKING.load() & way != 0
}

/// What is known of an address.
#[inline(always)]
pub fn address(question: &Question) -> Option<addresses::Value> {
    let key = core::ptr::from_ref(question).cast::<Key<addresses::Data>>();
    // SAFETY: both are the number of bits and the data, in this order.
    ADDRESSES.get(unsafe { &*key }).copied()
}

/// The slot of the generation in force.
#[inline(always)]
pub fn slot() -> u32 {
    CONTROL.get(0).map_or(0, |control| control.slot(now_ns))
}

/// Now: `CLOCK_MONOTONIC` as of the last timer tick. Told from the number of those ticks, which is read without a call; asking
/// the clock itself cost an established packet 17 of 109 ns.
#[inline(always)]
pub fn now_ns() -> u64 {
    let length = JIFFY_NS.load();
    if length == 0 {
        // SAFETY: the helper has no arguments.
        return unsafe { bpf_ktime_get_coarse_ns() };
    }
    // SAFETY: as above.
    unsafe { bpf_jiffies64() }.wrapping_mul(u64::from(length)).wrapping_add(JIFFIES_OFFSET.load())
}

/// Now, exactly: it costs 32 ns to ask.
#[inline(always)]
pub fn exact_ns() -> u64 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The work area of a kind of program on this CPU.
#[inline(always)]
pub fn work(path: Path) -> Option<&'static mut Work> {
    work_of(path as u32)
}

/// The same by the number of the kind, [`Path`].
#[inline(always)]
pub fn work_of(path: u32) -> Option<&'static mut Work> {
    let pointer = WORK.get_ptr_mut(path)?;
    // SAFETY: one CPU runs one program of a kind at a time, and no stage looks its own work up again.
    Some(unsafe { &mut *pointer })
}

/// Puts `length` bytes into the ring of trails; `false` when there is no room.
#[inline(always)]
pub fn send_trail(bytes: *const u8, length: u64) -> bool {
    let ring = core::ptr::from_ref(&TRAILS).cast_mut().cast();
    // SAFETY: the bytes are a map value's, which is at least that long.
    unsafe { bpf_ringbuf_output(ring, bytes.cast_mut().cast(), length, 0) == 0 }
}

/// Changes this CPU's statistics of the state table.
#[inline(always)]
pub fn flow_stats(change: impl FnOnce(&mut FlowStats)) {
    if let Some(stats) = FLOW_STATS.get_ptr_mut(0) {
        // SAFETY: this CPU's value; tc and XDP on one CPU may lose one of two counts, nothing else.
        change(unsafe { &mut *stats });
    }
}

/// Bucket `index` of the state table.
#[inline(always)]
pub fn bucket(index: u32) -> Option<*mut Bucket> {
    explain::bucket(index);
    FLOWS.get_ptr_mut(index)
}

/// Where an interface's counters and name are; 0 for one that is not registered.
#[inline(always)]
pub fn interface(ifindex: u32) -> u32 {
    IFINDEX.get(ifindex).copied().unwrap_or(0)
}

/// The conntrack zone of an interface.
#[inline(always)]
pub fn zone(interface: u32) -> u32 {
    if tracks(ZONES) { INTERFACES.get(interface).map_or(0, |interface| interface.zone) } else { 0 }
}

/// The name of an interface.
#[inline(always)]
pub fn interface_name(interface: u32) -> [u32; 4] {
    INTERFACES.get(interface).map_or([0; 4], |interface| interface.name)
}

/// The map of sets, as helpers call it.
#[inline(always)]
pub fn sets() -> *mut c_void {
    (&raw const SETS).cast_mut().cast()
}

/// Does anybody read events until now or later?
#[inline(always)]
pub fn is_listening(tick: u32) -> bool {
    LISTENERS.get(0).is_some_and(|Listeners { until, .. }| *until != 0 && until.wrapping_sub(tick) as i32 > 0)
}
