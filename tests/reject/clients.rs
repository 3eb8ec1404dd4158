//! What real clients see.
