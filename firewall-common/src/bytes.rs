//! How header bytes are read: the one seam between the parser and where packets really are.
//!
//! A header is asked for whole, by its length, and either all of it can be read or none: so there is one bounds check
//! a header, where the verifier wants to see it, and reading a field cannot fail.

/// A packet whose headers can be looked at.
pub trait PacketBytes {
    /// `N` readable bytes.
    type Header<const N: usize>: HeaderBytes;

    /// The `N` bytes that start `at` bytes into the frame, or `None` when the frame ends before.
    fn header<const N: usize>(&self, at: u32) -> Option<Self::Header<N>>;

    /// Bytes that can be read; the frame may have more.
    fn length(&self) -> u32;

    /// Length of the whole frame, bytes. Only asked for when the network header promises more than [`Self::length`]:
    /// in the kernel the answer can cost as much as reading a header.
    #[inline(always)]
    fn whole_length(&self) -> u32 {
        self.length()
    }

    /// Reads a number back from where it was stored.
    ///
    /// In the kernel this makes the verifier forget how the number came about: it does not track what is in a map
    /// value, so the paths of one layer's parser become one path before the next layer's. Without it the program is
    /// verified once for every combination of tags, options and extension headers: over a million instructions.
    #[inline(always)]
    fn settled(&self, stored: &u32) -> u32 {
        *stored
    }
}

/// Bytes that were checked to be there. Fields are in network byte order and come back as numbers.
///
/// `at` must be a constant below the header's length; anything else reads zero on the host and is refused by the
/// verifier in the kernel.
pub trait HeaderBytes: Copy {
    /// One byte.
    fn u8(&self, at: usize) -> u8;
    /// Two bytes, big-endian.
    fn be16(&self, at: usize) -> u16;
    /// Four bytes, big-endian.
    fn be32(&self, at: usize) -> u32;
}

/// A header copied out of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Copied<const N: usize>([u8; N]);

impl<const N: usize> Copied<N> {
    fn array<const M: usize>(&self, at: usize) -> [u8; M] {
        self.0.get(at..at + M).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; M])
    }
}

impl<const N: usize> HeaderBytes for Copied<N> {
    fn u8(&self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }

    fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }
}

impl PacketBytes for [u8] {
    type Header<const N: usize> = Copied<N>;

    fn header<const N: usize>(&self, at: u32) -> Option<Copied<N>> {
        let at = at as usize;
        self.get(at..at.checked_add(N)?)?.try_into().ok().map(Copied)
    }

    fn length(&self) -> u32 {
        self.len() as u32
    }
}
