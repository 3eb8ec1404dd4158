//! The kernel side of user space: what is loaded, attached and pinned, and how it is replaced.
//!
//! Everything an instance is lives in pins ([`pins`]); no process of ours need be alive. [`Instance`] is the way in.

mod addresses;
mod answering;
mod apply;
mod attach;
mod bans;
#[expect(unsafe_code, reason = "system calls that aya has no form for")]
mod batch;
mod clocks;
mod confirm;
mod cookies;
mod counts;
#[cfg(feature = "debug-log")]
mod debug_log;
mod error;
mod events;
mod examine;
mod fast;
mod floods;
mod flows;
mod forget;
mod generation;
mod host;
mod image;
mod instance;
mod interfaces;
#[expect(unsafe_code, reason = "system calls that aya has no form for")]
mod jiffies;
mod journal;
mod judge;
mod ledger;
mod lock;
mod maps;
mod netlink;
mod object;
mod outside;
mod pins;
mod probe;
mod raw;
mod reassembly;
mod registration;
mod remains;
mod reset;
mod reuse;
#[expect(unsafe_code, reason = "memory that is shared with the kernel")]
mod set_memory;
#[expect(unsafe_code, reason = "system calls that aya has no form for")]
mod sets;
mod shadow;
mod stage;
mod twin;
mod way_back;

pub use addresses::{Addresses, Follower, follow as follow_addresses};
pub use apply::{Applied, ApplyOptions};
pub use attach::{Attached, Egress, Ingress};
pub use bans::{Ban, Banned};
pub use cookies::takes_cookies;
pub use error::KernelError;
pub use events::Events;
pub use examine::{Candidate, Machine, candidates, other_rulesets};
pub use fast::FastWay;
pub use floods::FloodState;
pub use flows::{Flow, Flows};
pub use forget::Forgetter;
pub use host::{enter_netns, monotonic_ns, require_privileges, tick};
pub use image::LoadedImage;
pub use instance::{Instance, StateOptions, Stopped};
pub use interfaces::{hardware_address, interface_index};
pub use journal::{Applying, Happening, Journal, Outcome, Tales, What};
pub use judge::{Judgement, Side};
pub use lock::Lock;
pub use object::{TOOLCHAIN, embedded as embedded_object};
pub use outside::{Passing, outside};
pub use reassembly::never_completed;
pub use remains::{Remains, remove_dead};
pub use reset::reset;
pub use set_memory::SetMemory;
pub use sets::Synced;
pub use shadow::{Answer, Known, Question, Shadow};
pub use stage::on_stage;
pub use twin::Watch;
