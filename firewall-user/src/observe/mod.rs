//! What the kernel knows, in words and in JSON: pure functions of the values that were read.
//!
//! | module | what it shows |
//! |---|---|
//! | [`conns`] | connections |
//! | [`counters`] | what an interface received, sent and dropped |
//! | [`events`] | what programs tell of: drops, log statements, connections |
//! | [`happenings`] | what commands and the agent tell of |
//! | [`lifetimes`] | how long connections live |
//! | [`doctor`] | what is wrong, and what to do about it |
//! | [`status`] | what is in force, and where |
//! | [`notes`] | elements of sets, what is left of limits |
//! | [`top`] | rates, for a terminal |
//! | [`author`] | the rule or policy that a number stands for |
//! | [`packet`] | addresses, ports, protocols, flags |
//! | [`clock`] | the kernel's clock as time of day |
//! | [`words`] | numbers and durations |

pub mod author;
pub mod clock;
pub mod conns;
pub mod counters;
pub mod doctor;
pub mod drops;
pub mod events;
pub mod happenings;
pub mod lifetimes;
pub mod metrics;
pub mod notes;
pub mod packet;
pub mod path;
pub mod status;
pub mod top;
pub mod why;
pub mod words;
