//! The contract between the eBPF program and user space: the layout version, and that layouts have no surprises.

/// Version of every layout that is shared through pinned maps.
///
/// It must move whenever a type listed in [`shared`] changes size, meaning or field order: a process that finds pins
/// of another version refuses them by name instead of reading them as something they are not.
pub const ABI_VERSION: u32 = 8;

/// Declares that types may cross between kernel and user space: asserts their size, and (for user space) that every
/// bit pattern is a valid value.
#[macro_export]
macro_rules! shared {
    ($($type:ty = $size:expr),+ $(,)?) => {
        $(
            const _: () = assert!(core::mem::size_of::<$type>() == $size, "layout changed: move ABI_VERSION");
            #[cfg(feature = "user")]
            #[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
            // SAFETY: the type is `repr(C)`, `Copy`, made of integers only, and its asserted size leaves no padding.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

#[doc(inline)]
pub use crate::shared;

#[cfg(test)]
mod tests;
