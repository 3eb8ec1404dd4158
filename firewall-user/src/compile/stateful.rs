//! Limits, quotas and refusals as instructions.

use firewall_common::{
    answer::{EITHER, ICMP, ICMP6, RESET},
    image::{Insn, NEGATE, Op, USES_CELLS},
    limit::Bucket,
};

use super::{
    assembler::{Assembler, Place},
    words::Way,
};
use crate::language::ruleset::{Limit, Quota, Reject};

/// Goes on when the bucket in `cell` has enough, or with `over` when it has not.
pub(super) fn limit(out: &mut Assembler, limit: &Limit, cell: u32, way: Way) {
    let (bytes, constants) = limit_numbers(limit);
    let low = out.constants(&constants);
    act(out, (if bytes { Op::LimitBytes } else { Op::LimitPackets }, limit.over), (low, cell), way);
}

/// Does a limit count bytes, and the constants that say the rest.
pub(super) fn limit_numbers(limit: &Limit) -> (bool, Vec<u128>) {
    // The checker refuses limits without a bucket; such a one would let nothing through.
    let Bucket { cost, capacity } = limit.bucket().unwrap_or(Bucket { cost: u64::MAX, capacity: 0 });
    let capacity = u128::from(capacity);
    if limit.bytes {
        let rate = u128::from(limit.per.nanoseconds()) << 64 | u128::from(limit.rate);
        (true, vec![capacity, rate])
    } else {
        (false, vec![u128::from(cost) << 64 | capacity])
    }
}

/// Goes on until the quota in `cell` is used up, or with `over` from then on.
pub(super) fn quota(out: &mut Assembler, quota: &Quota, cell: u32, way: Way) {
    let low = out.constants(&[u128::from(quota.bytes)]);
    act(out, (Op::Quota, quota.over), (low, cell), way);
}

fn act(out: &mut Assembler, (op, over): (Op, bool), (low, extra): (u32, u32), way: Way) {
    out.uses |= USES_CELLS;
    let flags = way.flags | if over { NEGATE } else { 0 };
    out.push(Insn { op: op as u8, flags, rule: way.rule, low, extra, ..Insn::default() }, way.pass, way.fail);
}

/// Where a packet goes that is refused.
pub(super) const fn reject(reject: Reject) -> Place {
    match reject {
        Reject::Reset => Place::Reject(RESET, 0),
        Reject::Icmp(code) => Place::Reject(ICMP, code),
        Reject::Icmp6(code) => Place::Reject(ICMP6, code),
        Reject::Either(code) => Place::Reject(EITHER, code as u8),
    }
}
