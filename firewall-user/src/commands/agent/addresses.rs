//! What addresses are to this host (`fib daddr type`) is followed: the programs have a copy of what the kernel knows.

use std::{io, thread, time::Duration};

use anyhow::Result;

use crate::{
    commands::complain,
    kernel::{self, Follower, Instance, KernelError, Lock},
};

/// How often it is asked what is in force while nothing changes.
const PULSE: Duration = Duration::from_millis(500);

/// Follows for as long as the process lives.
pub(super) fn start() -> io::Result<()> {
    let follower = kernel::follow_addresses()?;
    let work = move || {
        let mut keeper = Keeper { follower, claim: None, generation: None, asks: false, is_old: true, problem: None };
        loop {
            keeper.beat();
        }
    };
    thread::Builder::new().name("addresses".to_owned()).spawn(work).map(drop)
}

struct Keeper {
    follower: Follower,
    /// Says that it is us who follow.
    claim: Option<Lock>,
    generation: Option<u32>,
    /// Does the ruleset in force ask?
    asks: bool,
    /// Has something changed since the copy was made?
    is_old: bool,
    /// The last thing that went wrong, which is said once.
    problem: Option<String>,
}

impl Keeper {
    fn beat(&mut self) {
        let problem = match self.work() {
            Ok(()) => None,
            // Somebody is just changing it: next time.
            Err(error) if matches!(error.downcast_ref(), Some(KernelError::Locked { .. })) => return,
            Err(error) => {
                // A socket that fails at once must not keep a CPU busy.
                thread::sleep(PULSE);
                Some(format!("{error:#}"))
            }
        };
        if problem != self.problem {
            if let Some(problem) = &problem {
                complain(&format!("rampart: agent: addresses (`fib .. type`): {problem}\n"));
            }
            self.problem = problem;
        }
    }

    fn work(&mut self) -> Result<()> {
        self.is_old |= self.follower.wait(PULSE)?;
        let instance = match Instance::open() {
            Ok(instance) => instance,
            Err(KernelError::NotRunning) => {
                (self.claim, self.generation, self.is_old) = (None, None, true);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if self.claim.is_none() || !instance.is_claim_kept() {
            self.claim = None;
            self.claim = instance.claim_addresses()?;
        }
        let generation = instance.generation()?;
        if self.generation != Some(generation) {
            self.asks = instance.manifest_of(generation)?.asks_addresses();
            self.generation = Some(generation);
        }
        if self.asks && self.is_old && self.claim.is_some() {
            let lock = instance.lock()?;
            self.is_old = false;
            instance.renew_addresses(&lock)?;
        }
        Ok(())
    }
}
