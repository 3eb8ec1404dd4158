//! `why`: what a shadow of the loaded generation says is what the live program does, and asking changes nothing.

mod support;

#[path = "why/agreement.rs"]
mod agreement;
#[path = "why/command.rs"]
mod command;
#[path = "why/details.rs"]
mod details;
#[path = "why/live.rs"]
mod live;
#[path = "why/suites.rs"]
mod suites;
