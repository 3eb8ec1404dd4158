//! The library behind the `rampart` command.
//!
//! A ruleset travels through [`language`] (text to a checked ruleset) and [`compile`] (checked ruleset to an image)
//! into the kernel.

pub mod balance;
pub mod cli;
pub mod commands;
pub mod compile;
pub mod config;
pub mod import;
pub mod kernel;
pub mod language;
pub mod observe;
pub mod packets;
