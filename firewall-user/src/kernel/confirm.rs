//! What happens to a generation that is in force: it is confirmed, or the one before comes back.

use super::{Instance, KernelError, Lock, host};

impl Instance {
    /// Makes an unconfirmed generation stay.
    pub fn confirm(&self, _lock: &Lock) -> Result<u32, KernelError> {
        let mut control = self.control()?;
        let at = control.active as usize & 1;
        if control.unconfirmed[at] == 0 {
            return Err(KernelError::NothingTo("nothing waits to be confirmed"));
        }
        if control.slot(host::monotonic_ns) != control.active {
            return Err(KernelError::NothingTo("the time to confirm has passed: the ruleset before is in force again"));
        }
        control.unconfirmed[at] = 0;
        self.set_control(&control)?;
        Ok(control.generation[at])
    }

    /// The generation that was put in force last, if it was not confirmed in time: the one before is in force again.
    pub fn lapsed(&self) -> Result<Option<u32>, KernelError> {
        let control = self.control()?;
        let is_over = control.slot(host::monotonic_ns) != control.active;
        Ok(is_over.then(|| control.generation[control.active as usize & 1]))
    }

    /// Puts the generation before in force again.
    pub fn rollback(&self, _lock: &Lock) -> Result<u32, KernelError> {
        let mut control = self.control()?;
        let in_force = control.slot(host::monotonic_ns);
        let other = in_force ^ 1;
        let generation = control.generation[other as usize & 1];
        if in_force != control.active || generation == 0 {
            return Err(KernelError::NothingTo("there is no ruleset to go back to"));
        }
        control.unconfirmed[other as usize & 1] = 0;
        control.active = other;
        self.set_control(&control)?;
        Ok(generation)
    }
}
