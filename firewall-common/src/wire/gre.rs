//! GRE (RFC 2784): only that it is.

/// Protocol number.
pub const PROTOCOL: u8 = 47;
