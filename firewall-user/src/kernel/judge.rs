//! Asking the generation in force about a packet that nobody sent (`BPF_PROG_TEST_RUN`).
//!
//! The packet enters where a real one does and takes the slot that a real one takes, with the live state: a packet that is accepted is counted and enters its connection
//! like any other.

use std::time::Duration;

use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};

use aya_obj::programs::XdpAttachType;

use super::{Instance, KernelError, object};

/// Where a packet is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It comes in by an interface with XDP.
    Xdp,
    /// It comes in by an interface without XDP.
    TcIngress,
    /// It leaves by an interface.
    TcEgress,
}

impl Side {
    /// The code of a program there that lets the packet pass.
    pub(super) const fn passing(self) -> u32 {
        match self {
            Self::Xdp => XDP_PASS,
            Self::TcIngress | Self::TcEgress => TC_ACT_UNSPEC,
        }
    }
}

impl Side {
    /// The code of a program there that sends the packet out of an interface.
    const fn redirecting(self) -> u32 {
        match self {
            Self::Xdp => XDP_REDIRECT,
            Self::TcIngress | Self::TcEgress => TC_ACT_REDIRECT,
        }
    }
}

/// What the program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Did the packet pass?
    pub passed: bool,
    /// Did the program send it on by another interface, or back?
    pub redirected: bool,
    /// The packet as the program left it.
    pub bytes: Vec<u8>,
    /// Time for one run, by the kernel's measure, in whole nanoseconds.
    pub duration: Duration,
}

/// `struct xdp_md` (include/uapi/linux/bpf.h): data, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`,
/// `egress_ifindex`.
type XdpContext = [u32; 6];

/// Size of `struct __sk_buff` and where its `ifindex` is (include/uapi/linux/bpf.h, Linux 6.18).
const SK_BUFF: usize = 192;
const SK_BUFF_IFINDEX: usize = 40;

/// `XDP_PASS`, and `TC_ACT_UNSPEC` as the kernel returns it.
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
const TC_ACT_REDIRECT: u32 = 7;
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// Room for what programs may put before or behind a packet.
pub(super) const SLACK: usize = 256;

impl Instance {
    /// Runs the generation in force over `frame`, `repeat` times, as if it came in or left by interface `ifindex`.
    pub fn judge(&self, side: Side, frame: &[u8], ifindex: u32, repeat: u32) -> Result<Judgement, KernelError> {
        let name = match side {
            Side::Xdp => object::ENTER_XDP,
            Side::TcIngress => object::ENTER_TC_INGRESS,
            Side::TcEgress => object::ENTER_TC_EGRESS,
        };
        let path = self.pins.generation(self.generation()?).join(name);
        let failed = |error: ProgramError| KernelError::program(name, &error);
        let mut bytes = vec![0; frame.len() + SLACK];
        let context = context(side, frame.len(), ifindex);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut bytes),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::new()
        };
        let result = match side {
            Side::Xdp => Xdp::from_pin(path, XdpAttachType::Interface).map_err(failed)?.test_run(options),
            Side::TcIngress | Side::TcEgress => SchedClassifier::from_pin(path).map_err(failed)?.test_run(options),
        };
        let TestRunResult { return_value, duration, data_size_out, .. } = result.map_err(failed)?;
        bytes.truncate(data_size_out as usize);
        let redirected = return_value == side.redirecting();
        Ok(Judgement { passed: return_value == side.passing(), redirected, bytes, duration })
    }
}

pub(super) fn context(side: Side, length: usize, ifindex: u32) -> Vec<u8> {
    match side {
        Side::Xdp => {
            let context: XdpContext = [0, length as u32, 0, ifindex, 0, 0];
            context.iter().flat_map(|word| word.to_ne_bytes()).collect()
        }
        Side::TcIngress | Side::TcEgress => {
            let mut context = vec![0; SK_BUFF];
            context[SK_BUFF_IFINDEX..SK_BUFF_IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
            context
        }
    }
}
