//! Putting the entry programs on interfaces, and taking them off.
//!
//! Ingress: native XDP, else generic XDP, else tc. Egress: tcx, else a classifier of the clsact qdisc (before
//! Linux 6.6). What was chosen, and the error number that made for a step down, is kept in the interface's entry of the
//! INTERFACES map, where `status` finds it.

use std::{fs, io};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, XdpMode,
        links::FdLink,
        loaded_programs,
        tc::{NlOptions, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program},
    },
};
use firewall_common::interface::{GENERIC, Interface as Entry, RAW_IP, TC_INGRESS, WHOLE, name_words};

use super::{KernelError, error::chain, interfaces::Interface, object, pins::Pins};
use crate::config::Config;

/// How packets that come in are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// XDP in the driver.
    Native,
    /// XDP in the stack, before everything else there.
    Generic,
    /// tc.
    Tc,
}

impl Ingress {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }
}

/// How packets that leave are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// A tcx link.
    Tcx,
    /// A classifier of the clsact qdisc.
    Clsact,
}

impl Egress {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// An interface that packets are filtered on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its index in the interface maps.
    pub place: u32,
    /// Its interface index.
    pub ifindex: u32,
    /// Its name when it was attached or last applied to.
    pub name: String,
    /// How incoming packets are met.
    pub ingress: Ingress,
    /// How outgoing packets are met.
    pub egress: Egress,
    /// Does the interface still exist?
    pub present: bool,
    /// Why ingress is not native XDP.
    pub note: Option<String>,
}

/// [`Entry::flags`]: egress, and ingress if it is tc, are of the clsact qdisc.
const CLSACT: u32 = 8;

/// [`Entry::flags`]: known by name, for rules about outgoing interfaces, but not attached to.
pub(super) const NAME_ONLY: u32 = 16;

/// Asks for clsact where tcx could be had, so that it can be tested.
const FORCE_CLSACT: &str = "RAMPART_FORCE_CLSACT";

impl Attached {
    /// What an entry of the map says; `None` for a free place.
    pub(super) fn of(place: u32, entry: &Entry, present: bool) -> Option<Self> {
        let flags = entry.flags;
        (entry.ifindex != 0 && flags & NAME_ONLY == 0).then(|| Self {
            place,
            ifindex: entry.ifindex,
            name: name(entry),
            ingress: if flags & TC_INGRESS != 0 {
                Ingress::Tc
            } else if flags & GENERIC != 0 {
                Ingress::Generic
            } else {
                Ingress::Native
            },
            egress: if flags & CLSACT == 0 { Egress::Tcx } else { Egress::Clsact },
            present,
            note: note(entry),
        })
    }
}

fn name(entry: &Entry) -> String {
    let bytes: Vec<u8> = entry.name.iter().flat_map(|word| word.to_be_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn note(entry: &Entry) -> Option<String> {
    if entry.flags & RAW_IP != 0 {
        return Some("no Ethernet header, so no XDP".to_owned());
    }
    if entry.note == REWRITES {
        let reason = "packets are rewritten, and only tc knows of checksums that are still to be finished";
        return Some(reason.to_owned());
    }
    if entry.note == WANTED {
        return Some("the settings want it ([attach], tc)".to_owned());
    }
    if entry.note == UNASKED {
        return Some("connections made here are translated, and some of their packets come by it".to_owned());
    }
    let errno = entry.note as i32;
    (errno != 0).then(|| match errno {
        libc::EOPNOTSUPP | libc::EINVAL => "the driver has no native XDP".to_owned(),
        libc::ERANGE => "the driver's native XDP does not take this MTU".to_owned(),
        other => format!("native XDP: {}", io::Error::from_raw_os_error(other)),
    })
}

/// [`Entry::note`], beside error numbers: packets are rewritten.
const REWRITES: u32 = 1 << 16;
/// And: the settings say so.
const WANTED: u32 = 1 << 17;

/// And: loopback, which nobody asked for.
const UNASKED: u32 = 1 << 18;

/// Was the interface attached though nobody asked for it?
pub(super) const fn is_unasked(entry: &Entry) -> bool {
    entry.note == UNASKED
}

/// XDP is not told which checksums the sender left to a network card to finish. Where there is no card, as between the ends
/// of a veth pair and with generic XDP, they come unfinished, and a checksum cannot be adjusted without knowing.
fn needs_tc(interface: &Interface) -> bool {
    interface.rewrites && (interface.is_pair || interface.is_loopback)
}

/// Is it attached in a way that packets cannot be rewritten in?
pub(super) fn cannot_rewrite(interface: &Interface, entry: &Entry) -> bool {
    interface.rewrites && entry.flags & TC_INGRESS == 0 && (interface.is_pair || entry.flags & GENERIC != 0)
}

/// An entry of the map for an interface about to be attached.
pub(super) fn entry(interface: &Interface, config: &Config) -> Entry {
    let (flags, note) = if !interface.has_ethernet {
        (RAW_IP | TC_INGRESS, 0)
    } else if interface.unasked {
        (TC_INGRESS, UNASKED)
    } else if needs_tc(interface) {
        (TC_INGRESS, REWRITES)
    } else if config.attach.wants_tc(&interface.name) {
        (TC_INGRESS, WANTED)
    } else {
        (0, 0)
    };
    let whole = if config.checks.wants_checksums(&interface.name) { WHOLE } else { 0 };
    Entry {
        name: name_words(&interface.name),
        ifindex: interface.index,
        flags: flags | whole,
        note,
        zone: config.conntrack.zone(&interface.name).into(),
    }
}

/// Is there an XDP program on the interface that is not ours? Ours leave when their pins do, so any is somebody's.
pub(super) fn refuse_foreign(interface: &Interface) -> Result<(), KernelError> {
    let Some((id, _)) = interface.xdp else {
        return Ok(());
    };
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned());
    Err(KernelError::ForeignXdp { interface: interface.name.clone(), program, id })
}

/// Attaches the entry programs to an interface; what they ended up as is noted in `entry`.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pins: &Pins,
    interface: &Interface,
    entry: &mut Entry,
) -> Result<(), KernelError> {
    if entry.flags & TC_INGRESS == 0 {
        attach_xdp(ebpf, pins, interface, entry)?;
    }
    if entry.flags & TC_INGRESS != 0 {
        attach_tc(ebpf, pins, interface, entry, TcAttachType::Ingress)?;
    }
    refuse_unfinished(entry, &interface.name)?;
    attach_tc(ebpf, pins, interface, entry, TcAttachType::Egress)
}

/// Refuses to look at checksums at tc: what was merged on its way there (GRO) has none that is finished.
pub(super) fn refuse_unfinished(entry: &Entry, name: &str) -> Result<(), KernelError> {
    if entry.flags & WHOLE == 0 || entry.flags & TC_INGRESS == 0 {
        return Ok(());
    }
    Err(KernelError::Limit(format!(
        "checks: `checksums` names interface `{name}`, which is attached by tc, where segments were merged and their checksums are not \
         finished; they can be looked at by XDP only"
    )))
}

fn attach_xdp(ebpf: &mut Ebpf, pins: &Pins, interface: &Interface, entry: &mut Entry) -> Result<(), KernelError> {
    let refused = |reason: String| KernelError::Attach { interface: interface.name.clone(), hook: "XDP", reason };
    let program = object::xdp(ebpf, object::ENTER_XDP)?;
    let link = match program.attach_to_if_index(interface.index, XdpMode::Driver) {
        Ok(link) => link,
        Err(native) => {
            if interface.rewrites {
                entry.note = REWRITES;
                entry.flags |= TC_INGRESS;
                return Ok(());
            }
            entry.note = errno(&native).unwrap_or(libc::EINVAL) as u32;
            entry.flags |= GENERIC;
            match program.attach_to_if_index(interface.index, XdpMode::Skb) {
                Ok(link) => link,
                Err(generic) if matches!(errno(&generic), Some(libc::EBUSY | libc::EEXIST | libc::ENODEV)) => {
                    return Err(refused(chain(&generic)));
                }
                Err(_) => {
                    entry.flags = entry.flags & !GENERIC | TC_INGRESS;
                    return Ok(());
                }
            }
        }
    };
    let link = program.take_link(link).map_err(|error| refused(chain(&error)))?;
    let link = FdLink::try_from(link).map_err(|error| refused(chain(&error)))?;
    pin_link(link, pins, interface.index, "xdp").map_err(refused)
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn attach_tc(
    ebpf: &mut Ebpf,
    pins: &Pins,
    interface: &Interface,
    entry: &mut Entry,
    way: TcAttachType,
) -> Result<(), KernelError> {
    let (program, hook) = match way {
        TcAttachType::Egress => (object::ENTER_TC_EGRESS, "tc egress"),
        TcAttachType::Ingress | TcAttachType::Custom(_) => (object::ENTER_TC_INGRESS, "tc ingress"),
    };
    let refused = |reason: String| KernelError::Attach { interface: interface.name.clone(), hook, reason };
    let program = object::classifier(ebpf, program)?;
    if std::env::var_os(FORCE_CLSACT).is_none() {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        if let Ok(link) = program.attach_with_options(&interface.name, way, options) {
            let link = program.take_link(link).map_err(|error| refused(chain(&error)))?;
            let link = FdLink::try_from(link).map_err(|error| refused(chain(&error)))?;
            return pin_link(link, pins, interface.index, hook.trim_start_matches("tc ")).map_err(refused);
        }
    }
    entry.flags |= CLSACT;
    attach_clsact(program, &interface.name, way).map_err(refused)
}

/// A classifier of a qdisc is no link: it stays until somebody removes it, so there is nothing to pin.
fn attach_clsact(program: &mut SchedClassifier, interface: &str, way: TcAttachType) -> Result<(), String> {
    // Somebody may have made the qdisc before; if it could not be made, attaching says so.
    let _ = qdisc_add_clsact(interface);
    let options = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
    let link = program.attach_with_options(interface, way, options).map_err(|error| chain(&error))?;
    let link = program.take_link(link).map_err(|error| chain(&error))?;
    std::mem::forget(link);
    Ok(())
}

fn pin_link(link: FdLink, pins: &Pins, ifindex: u32, what: &str) -> Result<(), String> {
    let path = pins.links().join(format!("{ifindex}-{what}"));
    // The pin of an interface that had this index before.
    let _ = fs::remove_file(&path);
    link.pin(path).map(drop).map_err(|error| chain(&error))
}

/// Takes the programs off an interface. What is not there any more needs no taking off.
pub(super) fn detach(pins: &Pins, entry: &Entry) {
    for what in ["xdp", "ingress", "egress"] {
        let _ = fs::remove_file(pins.links().join(format!("{}-{what}", entry.ifindex)));
    }
    if entry.flags & CLSACT != 0 {
        detach_classifiers(&name(entry));
    }
}

/// Takes our classifiers off an interface's clsact qdisc, if there are any.
pub(super) fn detach_classifiers(interface: &str) {
    let _ = qdisc_detach_program(interface, TcAttachType::Egress, object::ENTER_TC_EGRESS);
    let _ = qdisc_detach_program(interface, TcAttachType::Ingress, object::ENTER_TC_INGRESS);
}
