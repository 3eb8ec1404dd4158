//! A snapshot of every layout that crosses between kernel and user space, in `abi.txt`.

use core::mem::{align_of, offset_of, size_of};
use std::{collections::BTreeSet, env, fmt::Write, fs, path::Path};

use super::ABI_VERSION;
use crate::{
    answer::{Answer, Answering, Answers},
    classify::{Head, Narrow, Node, Root, Search, Wide},
    conntrack::{Timeouts, Window},
    control::Control,
    counter::{Counter, FlowStats, InterfaceCounters},
    eval::Cursor,
    event::{Budget, Event, Listeners},
    fast::Device,
    flood::{Flooding, Floods},
    flow::{FlowKey, Secret},
    fragment::Pieces,
    guard::Guard,
    image::{Insn, Interval, Settings, Target},
    interface::Interface,
    ledger::{Dropped, DroppedSet},
    packet::Packet,
    sets::{hash::Probe, run::Scratch},
    start::Start,
    table::{Bucket, Entry, Slot},
    trail::{Trail, TrailFilter},
};

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Describes types, each with all its fields: a field that is left out does not compile.
macro_rules! layouts {
    ($($type:ident { $($field:tt),+ $(,)? })+) => {{
        let mut text = String::new();
        $(
            let _ = |value: &$type| {
                let $type { $($field: _),+ } = value;
            };
            let mut fields = vec![
                $((offset_of!($type, $field), size_of_field(|value: &$type| &value.$field), stringify!($field))),+
            ];
            fields.sort_unstable();
            describe(&mut text, stringify!($type), (size_of::<$type>(), align_of::<$type>()), &fields);
        )+
        text
    }};
}

fn describe(text: &mut String, name: &str, (size, align): (usize, usize), fields: &[(usize, usize, &str)]) {
    let mut end = 0;
    writeln!(text, "\n{name}: size {size}, align {align}").expect("a string takes all");
    for (offset, size, field) in fields {
        assert_eq!(*offset, end, "{name} has padding before {field}: the kernel's verifier and `Pod` mind");
        end = offset + size;
        writeln!(text, "{offset:8} {size:6}  {name}.{field}").expect("a string takes all");
    }
    assert_eq!(end, size, "{name} has padding at its end");
}

fn snapshot() -> String {
    let layouts = layouts! {
        Packet {
            words, l3_offset, l4_offset, frame_length, l4_length, payload_length, tcp_seq, tcp_ack, tcp_window, icmp_id,
            fragment_id, fragment_offset,
        }
        FlowKey { low, high, tail }
        Secret { 0 }
        Slot { 0 }
        Device { flags, address, ifindex }
        Entry {
            key, created, originator_is_high, terms, packets, bytes, rule, generation, mark, ifindex, windows,
        }
        Window { end, max_end, max_ack, max_win }
        Bucket { slots, asides, entries }
        Target { 0 }
        Insn { op, field, flags, reserved, rule, mask, low, high, extra, pass, fail }
        Interval { low, high }
        Settings { entry, uses }
        Start { entry, generation, insns, reserved, constants, jiffies_offset, since }
        Cursor { at, rule, search }
        Probe { form, gone, tag, spread, buckets, keys, extras, place, expires, tick, gone_at, left }
        Scratch {
            key, whole, extras, probe, set, shape, looked, shapes, phase, next, mine, operation, answer, looking,
            asked, counting, counted, vacant, is_member, noted,
        }
        Search { at, tree, least, found, reserved }
        Root { trees, otherwise, rule, reserved }
        Node { last, field, branches }
        Head { number, target, rule, fields, flags }
        Narrow { low, span, head }
        Wide { value, mask, low, span, head, reserved }
        Counter { packets, bytes }
        InterfaceCounters { ingress, egress }
        Timeouts { 0 }
        Guard { bans_until, reserved }
        Floods { state, judged, reserved, begun, returned, changed_ns, reserved2, open }
        Flooding { begin, end, mss, ports }
        Pieces { words, expires, ranges, broken }
        FlowStats {
            entered, refused, evicted_embryonic, evicted_answered, retried, forgotten, fragments_early, reserved,
        }
        Event {
            time_ns, suppressed, more, kind, generation, reason, rule, log, hook, ifindex, length, ct_state, ether_type, source,
            destination, nfproto, protocol, source_port, destination_port, icmp, tcp_flags, translated, translated_ports,
            numbers, age, state,
        }
        Listeners { until, reserved, table_full, nat_exhausted }
        Budget { tick, spent, suppressed, lost }
        Control { abi, active, generation, unconfirmed, deadline_ns, secret }
        Answer { quote, header, link, source, link_length, header_length, quote_length, hops }
        Answering { ttl, hop_limit, icmp_interval, icmp6_interval, spacing, burst }
        Answers { resets, errors, limited, unanswerable, failed }
        Interface { name, ifindex, flags, note, zone }
        Dropped {
            source, first_ns, last_ns, packets, nfproto, reason, rule, generation, destination_port, ifindex,
        }
        DroppedSet { places }
        Trail {
            time_ns, slot, lost, tick, spent, active, path, verdict, rule, hook, generation, interface, bucket, place,
            pending, bucket_count, step_count, captured, reserved, buckets, packet, reserved2, bytes, steps,
        }
        TrailFilter {
            until, flags, per_tick, snap, nfproto, protocol, source_port, destination_port, ifindex, reserved, early,
            early_value, early_mask, source,
            source_mask, destination, destination_mask,
        }
    };
    format!(
        "ABI_VERSION {ABI_VERSION}\nOffset, size and name of every field that kernel and user space share.\n{layouts}"
    )
}

#[test]
fn layouts_are_those_of_their_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("abi.txt");
    let found = snapshot();
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &found).expect("abi.txt can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if found == expected {
        return;
    }
    let moved = expected.lines().next() != found.lines().next();
    let advice = if moved { "UPDATE_EXPECT=1 writes it" } else { "move ABI_VERSION, then UPDATE_EXPECT=1 writes it" };
    panic!("abi.txt does not describe the layouts any more: {advice}\n{}", differences(&expected, &found));
}

/// The lines that are only in one of two texts.
fn differences(expected: &str, found: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (expected.lines().collect(), found.lines().collect());
    let lines = old.difference(&new).map(|line| format!("- {line}\n"));
    lines.chain(new.difference(&old).map(|line| format!("+ {line}\n"))).collect()
}

#[test]
fn every_shared_type_is_in_the_snapshot() {
    let snapshot = snapshot();
    let mut types = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("a source file");
        for list in text.split("crate::shared!(").skip(1) {
            let list = list.split(");").next().unwrap_or_default();
            for name in list.split(',').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name.trim()) {
                assert!(snapshot.contains(&format!("\n{name}: size")), "{name} of {} is missing", path.display());
                types += 1;
            }
        }
    }
    assert!(types >= 14, "only {types} shared types found");
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut sources: Vec<_> = folders.iter().flat_map(|folder| sources(folder)).collect();
    sources.extend(files.into_iter().filter(|path| !path.ends_with("tests.rs")));
    sources
}
