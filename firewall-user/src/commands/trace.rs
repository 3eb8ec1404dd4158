//! `rampart trace`: live packets, and every rule that each of them meets.

use anyhow::Result;
use firewall_common::{image::Insn, trail::WANTS_STEPS};

use super::{
    Session, Status, open, print, print_json,
    watch::{self, Wish},
};
use crate::{
    cli::observing::Trace,
    observe::{clock::Clock, why::Report, words::counted},
};

pub(super) fn run(session: &Session<'_>, trace: &Trace) -> Result<Status> {
    let instance = open()?;
    let image = instance.image(instance.generation()?)?;
    let look_up = |at: u32| -> Option<Insn> { image.insn(at) };
    let clock = Clock::new(crate::kernel::monotonic_ns());
    let wish = Wish {
        filters: &trace.filters,
        flags: WANTS_STEPS,
        snap: 0,
        per_tick: watch::PER_TICK,
        count: trace.count,
        time: trace.time,
    };
    let end = watch::watch(&instance, &wish, |trail, manifest, interface| {
        let report = Report::new(trail, manifest, &look_up, interface);
        let at = clock.at(trail.time_ns);
        if session.global.json {
            let mut json = report.json();
            json["time"] = at.date_and_time().into();
            print_json(&json)
        } else {
            print(&format!("{} {}", at.time(), report.text()))
        }
    })?;
    session.note(&format!("{}, {} lost{}", counted(end.seen, "packet"), end.lost, end.because()));
    Ok(Status::Done)
}
