//! `rampart monitor`.
use super::{Session, Status};
use crate::cli::args::Monitor;
use anyhow::Result;
pub(super) fn run(_: &Session<'_>, _: &Monitor) -> Result<Status> {
    Ok(Status::Done)
}
