//! What the program knows about an interface.

use crate::limits::IFNAMSIZ;

/// An attached interface. Index 0 of the map stands for every interface that is not registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Its name, as in [`crate::packet::Field::IifName`].
    pub name: [u32; 4],
    /// Its index; 0 for a free place.
    pub ifindex: u32,
    /// [`RAW_IP`].
    pub flags: u32,
    /// Why it is not met as it would best be: an error number, or 0.
    pub note: u32,
    /// Conntrack zone of the packets that cross it.
    pub zone: u32,
}

crate::shared!(Interface = 32);

/// [`Interface::flags`]: frames start with the network header.
pub const RAW_IP: u32 = 1;
/// [`Interface::flags`]: ingress is generic XDP.
pub const GENERIC: u32 = 2;
/// [`Interface::flags`]: ingress is tc.
pub const TC_INGRESS: u32 = 4;
/// [`Interface::flags`]: packets come in with checksums that are finished, says the setting `checksums`.
pub const WHOLE: u32 = 32;

/// An interface name as words that compare as rules compare them: zero-filled, big-endian. Longer names are cut: the
/// kernel has none.
pub fn name_words(name: &str) -> [u32; 4] {
    let mut bytes = [0; IFNAMSIZ];
    for (to, from) in bytes.iter_mut().take(IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from;
    }
    [0, 4, 8, 12].map(|at| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

#[cfg(test)]
mod tests;
