//! What a rule can ask for beside the packet's words: [`crate::image::Op::Fetch`].

/// A value to be fetched into registers.
///
/// The numbers are part of the image format, see [`crate::abi::ABI_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Fetch {
    /// The number of the CPU, one word (`meta cpu`).
    Cpu = 1,
    /// A random number, one word (`meta random`).
    Random = 2,
}
