//! `rampart agent`: metrics and a page over HTTP, events to logs, new interfaces attached. Nothing depends on it.

mod addresses;
mod balance;
mod http;
mod notify;
mod page;
mod serve;
mod sinks;
mod state;

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Session, Status, complain,
    monitor::{Source, Until},
    ruleset,
};
use crate::{
    cli::observing::Agent,
    config::Chosen,
    kernel::{self, Instance, KernelError},
    observe::status::attachment,
};
use sinks::Sinks;

/// How often interfaces are looked for and event readers say that they are there.
const PULSE: Duration = Duration::from_millis(500);

pub(super) fn run(session: &Session<'_>, agent: &Agent) -> Result<Status> {
    kernel::require_privileges()?;
    let Some(config) = ruleset::settings(session)? else { return Ok(Status::No) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(work(session, &config.agent.with(agent)))?;
    Ok(Status::Done)
}

async fn work(session: &Session<'_>, agent: &Chosen) -> Result<()> {
    let listener = std::net::TcpListener::bind(agent.listen);
    let listener = listener.with_context(|| format!("cannot listen on {}", agent.listen))?;
    let address = listener.local_addr().context("the address listened on")?;
    let backends = balance::Board::default();
    serve::start(listener, agent, backends.clone()).context("cannot serve")?;
    addresses::start().context("cannot follow addresses")?;
    balance::start(backends).context("cannot look after backends")?;
    if agent.follow_interfaces {
        follow().context("cannot follow interfaces")?;
    }
    let mut sinks = Sinks::open(agent)?;
    let mut source = Source::default();
    let mut until = Until::signals()?;
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    session.note(&format!("http://{address}/ is served"));
    notify::tell("READY=1");
    loop {
        tokio::select! {
            biased;
            () = until.end() => break,
            _ = pulse.tick() => {
                notify::tell("WATCHDOG=1");
                if let Some(sinks) = &mut sinks {
                    source.renew(sinks)?;
                }
            }
            result = source.readable() => result?,
        }
        if let Some(sinks) = &mut sinks {
            source.drain(sinks)?;
        }
    }
    notify::tell("STOPPING=1");
    if let Some(sinks) = &mut sinks {
        source.count_lost(sinks)?;
    }
    Ok(())
}

/// Attaches to interfaces that have come up, for as long as the process lives. What cannot be done now may be in half a
/// second. A thread of its own: it asks the kernel and waits for the answer.
fn follow() -> std::io::Result<()> {
    let look = || match Instance::open().and_then(|instance| instance.attach_new()) {
        Ok(attached) => {
            for one in attached {
                complain(&format!("rampart: agent: attached to {}\n", attachment(&one)));
            }
        }
        // Nothing is in force, or somebody is just changing it.
        Err(KernelError::NotRunning | KernelError::Locked { .. }) => {}
        Err(error) => complain(&format!("rampart: agent: new interfaces: {error}\n")),
    };
    let work = move || loop {
        look();
        thread::sleep(PULSE);
    };
    thread::Builder::new().name("interfaces".to_owned()).spawn(work).map(drop)
}
