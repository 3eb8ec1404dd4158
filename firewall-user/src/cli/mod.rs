//! What was typed: arguments and their values. Nothing here asks the machine anything.

pub mod args;
pub mod bans;
pub mod conns;
pub mod observing;
pub mod values;

pub use args::{Cli, Verb};
