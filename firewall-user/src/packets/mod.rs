//! Packets that nobody sent: from words, from hexadecimal digits, from capture files.

pub mod capture;
mod frame;
mod spec;
pub mod suite;

pub use spec::{Spec, SpecError, State};

/// The bytes of hexadecimal digits, blanks and colons between them.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.chars().filter(|letter| !letter.is_whitespace() && *letter != ':').collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err("hexadecimal digits come in pairs".to_owned());
    }
    let byte = |at: usize| {
        u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| format!("`{}` is no byte", &digits[at..at + 2]))
    };
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests;
