//! The page: one text, nothing loaded from anywhere.

/// The whole page.
pub(super) const PAGE: &str = include_str!("page.html");
