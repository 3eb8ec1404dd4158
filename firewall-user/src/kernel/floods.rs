//! Floods of first segments: whether SYN cookies are sent unasked, see [`firewall_common::flood`].

use std::time::Duration;

use firewall_common::flood::{self, Flooding, Floods};

use super::{Instance, KernelError, host, maps};

/// What is known of floods of first segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodState {
    /// Are cookies sent? Without any first segment nobody notices that a flood is over: then it is, all the same.
    pub is_on: bool,
    /// Handshakes of the last seconds that are not completed.
    pub open: u32,
    /// Floods that began.
    pub begun: u64,
    /// Connections that cookies were brought back for.
    pub returned: u64,
    /// For how long it has been so.
    pub since: Option<Duration>,
}

impl FloodState {
    /// What the instance's value says at a tick and a moment.
    fn of(floods: &Floods, limits: &Flooding, tick: u32, now_ns: u64) -> Self {
        let Floods { state, judged: _, reserved: _, begun, returned, changed_ns, reserved2: _, open } = *floods;
        let open = flood::open(&open, flood::second(tick));
        let is_on = flood::is_on(state) && flood::goes_on(true, open, limits.begin, limits.end);
        let since = (changed_ns != 0).then(|| Duration::from_nanos(now_ns.saturating_sub(changed_ns)));
        Self { is_on, open, begun, returned, since }
    }
}

impl Instance {
    /// What is known of floods of first segments.
    pub fn floods(&self, limits: &Flooding) -> Result<FloodState, KernelError> {
        let map = maps::array::<Floods>(&self.pins.state(), maps::FLOODS)?;
        let floods = map.get(&0, 0).map_err(KernelError::map(maps::FLOODS))?;
        Ok(FloodState::of(&floods, limits, host::tick(), host::monotonic_ns()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_that_nobody_saw_end_is_over() {
        let limits = Flooding { begin: 100, end: 20, ..Flooding::NEVER };
        let mut floods = Floods { state: flood::state(true, 4000), begun: 3, returned: 7, ..Floods::default() };
        floods.open[flood::place(1000)] = (1000 << 32) + 500;
        floods.changed_ns = 5_000_000_000;
        let during = FloodState::of(&floods, &limits, 4000, 8_000_000_000);
        let since = Some(Duration::from_secs(3));
        assert_eq!(during, FloodState { is_on: true, open: 500, begun: 3, returned: 7, since });
        let after = FloodState::of(&floods, &limits, 4032, 8_000_000_000);
        assert_eq!(after, FloodState { is_on: false, open: 0, ..during });
    }
}
