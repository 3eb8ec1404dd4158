//! The programs that rampart attaches.
//!
//! `enter_*` stay on the interfaces and only find the generation in force; `rampart_*` are the generation: the whole
//! firewall, loaded anew with every ruleset. All of them are one pipeline, [`pipeline::run`], over two kinds of
//! context.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library; the entry macros hide their documentation")]
#![expect(unsafe_code, reason = "packet pointers, map pointers and helper calls have no safe form; see each SAFETY")]

mod act;
mod addresses;
mod answer;
mod association;
mod bans;
mod bucket;
mod checks;
mod checksum;
mod connection;
mod conntrack;
mod cookie;
mod count;
mod edit;
mod emit;
mod explain;
mod fast;
mod fetch;
mod fib;
mod flood;
mod fragment;
mod maps;
mod marks;
mod nat;
mod packet;
mod pipeline;
mod read;
mod route;
mod rules;
mod sets;
mod verifier;
mod work;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

use crate::{
    act::Act,
    packet::{TcFrame, XdpFrame},
    pipeline::Path,
};

/// Ingress of an interface with XDP: hands the packet to the generation in force.
#[xdp(frags)]
pub fn enter_xdp(ctx: XdpContext) -> u32 {
    verifier::frame();
    let slot = maps::slot();
    // SAFETY: the program ends here if the call succeeds; nothing is left to be dropped.
    unsafe { maps::XDP.tail_call(&ctx, slot) };
    XdpFrame::act(pipeline::no_generation(&XdpFrame::new(&ctx), Path::Ingress)) as u32
}

/// Ingress of an interface without XDP.
#[classifier]
pub fn enter_tc_ingress(ctx: TcContext) -> i32 {
    verifier::frame();
    let slot = maps::slot();
    // SAFETY: as above.
    unsafe { maps::TC_INGRESS.tail_call(&ctx, slot) };
    TcFrame::act(pipeline::no_generation(&TcFrame::new(&ctx), Path::Ingress))
}

/// Egress of an interface.
#[classifier]
pub fn enter_tc_egress(ctx: TcContext) -> i32 {
    verifier::frame();
    let slot = maps::slot();
    // SAFETY: as above.
    unsafe { maps::TC_EGRESS.tail_call(&ctx, slot) };
    TcFrame::act(pipeline::no_generation(&TcFrame::new(&ctx), Path::Egress))
}

/// A generation at XDP ingress.
#[xdp(frags)]
#[inline(always)]
pub fn rampart_xdp(ctx: XdpContext) -> u32 {
    verifier::frame();
    let verdict = pipeline::run(&XdpFrame::new(&ctx), Path::Ingress);
    #[cfg(feature = "debug-log")]
    aya_log_ebpf::debug!(&ctx, "XDP: {} bytes, verdict {}", ctx.data_end() - ctx.data(), verdict.number());
    XdpFrame::act(verdict) as u32
}

/// A generation at tc ingress.
#[classifier]
#[inline(always)]
pub fn rampart_tc_ingress(ctx: TcContext) -> i32 {
    verifier::frame();
    TcFrame::act(pipeline::run(&TcFrame::new(&ctx), Path::Ingress))
}

/// A generation at tc egress.
#[classifier]
#[inline(always)]
pub fn rampart_tc_egress(ctx: TcContext) -> i32 {
    verifier::frame();
    TcFrame::act(pipeline::run(&TcFrame::new(&ctx), Path::Egress))
}

/// What `benchmarks` subtract: a program that does nothing.
#[xdp(frags)]
pub fn nothing(_: XdpContext) -> u32 {
    aya_ebpf::bindings::xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program in which this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
