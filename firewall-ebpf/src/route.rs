//! Is a packet for this host, or on its way through?

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::generated::bpf_fib_lookup};
use firewall_common::{
    image::Hook,
    packet::{Field, NFPROTO_IPV4},
};

use crate::{maps, packet::Frame, pipeline::Path, work::Work};

/// Address family numbers of sockets (include/linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The hook whose rules the packet meets; `None` for one that is forwarded: there is no chain at the forward hook yet,
/// and a hook without chains accepts.
///
/// A packet of a known connection needs no look at the routes: only connections that begin or end here are entered
/// into the table.
#[inline(always)]
pub fn hook<F: Frame>(frame: &F, work: &Work, path: Path) -> Option<Hook> {
    match path {
        Path::Egress => Some(Hook::Output),
        Path::Ingress if work.place == 0 && is_forwarded(frame, work) => None,
        Path::Ingress => Some(Hook::Input),
    }
}

/// An answer of the routing table, kept for the rest of the tick (268 ms): the question costs more than everything else
/// that happens to a packet that is dropped. So a change of addresses or routes takes effect within a tick.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Remembered {
    destination: [u32; 4],
    ifindex: u32,
    tick: u32,
    family: u32,
    is_forwarded: u32,
}

/// Places for answers; a power of two.
pub const REMEMBERED: u32 = 256;

/// Will the stack forward the packet?
#[inline(always)]
fn is_forwarded<F: Frame>(frame: &F, work: &Work) -> bool {
    let destination = [0, 1, 2, 3].map(|index| work.packet.get_at(Field::DestinationAddress, index));
    let family = work.packet.get(Field::NfProto);
    // An IPv4 address stands in the first word; what is in the others is of an earlier packet.
    let destination = if family == NFPROTO_IPV4 { [destination[0], 0, 0, 0] } else { destination };
    let ifindex = work.packet.get(Field::IifIndex);
    let mixed = destination[0] ^ destination[1] ^ destination[2] ^ destination[3] ^ ifindex;
    let place = (mixed ^ mixed >> 16 ^ mixed >> 8) & (REMEMBERED - 1);
    let Some(remembered) = maps::ROUTES.get_ptr_mut(place) else {
        return ask(frame, work);
    };
    // SAFETY: this CPU's value.
    let remembered = unsafe { &mut *remembered };
    let known = remembered.tick == work.tick
        && remembered.destination == destination
        && remembered.ifindex == ifindex
        && remembered.family == family;
    if !known {
        let is_forwarded = u32::from(ask(frame, work));
        *remembered = Remembered { destination, ifindex, tick: work.tick, family, is_forwarded };
    }
    remembered.is_forwarded != 0
}

/// Asks the kernel's routing table what it will do with the packet, so it cannot be of another opinion.
///
/// `BPF_FIB_LKUP_RET_*` (include/uapi/linux/bpf.h, Linux 6.18): NOT_FWDED (4) is a local, broadcast or multicast
/// destination, FWD_DISABLED (5) a host that is no router; a negative number, a packet that the lookup cannot judge.
/// Everything else means that the stack would forward it, or refuse it for its route.
#[inline(never)]
fn ask<F: Frame>(frame: &F, work: &Work) -> bool {
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    query.ifindex = work.packet.get(Field::IifIndex);
    if work.packet.get(Field::NfProto) == NFPROTO_IPV4 {
        query.family = AF_INET;
        query.__bindgen_anon_3.ipv4_src = work.packet.get(Field::SourceAddress).to_be();
        query.__bindgen_anon_4.ipv4_dst = work.packet.get(Field::DestinationAddress).to_be();
    } else {
        query.family = AF_INET6;
        query.__bindgen_anon_3.ipv6_src = address(work, Field::SourceAddress);
        query.__bindgen_anon_4.ipv6_dst = address(work, Field::DestinationAddress);
    }
    // SAFETY: the structure is ours and its size is given.
    let answer = unsafe {
        bpf_fib_lookup(frame.context(), (&raw mut query).cast(), size_of::<FibLookup>() as i32, 0)
    };
    answer >= 0 && answer != 4 && answer != 5
}

#[inline(always)]
fn address(work: &Work, field: Field) -> [u32; 4] {
    [0, 1, 2, 3].map(|index| work.packet.get_at(field, index).to_be())
}
