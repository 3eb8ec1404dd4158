//! Whether a backend is taken to be alive: so many checks in a row say so, as in `HAProxy` (`rise`, `fall`).

/// What several checks in a row make of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row that bring it back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
}

/// What is known of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Does it get new connections?
    pub is_up: bool,
    /// Checks in a row that said otherwise.
    against: u32,
}

impl Health {
    /// Nothing is known yet: it is believed to work, so that a start of the agent takes no backend out.
    pub const UNKNOWN: Self = Self { is_up: true, against: 0 };

    /// Another check was made; whether it changed what the backend is taken for.
    pub const fn learn(&mut self, succeeded: bool, thresholds: Thresholds) -> bool {
        if succeeded == self.is_up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if succeeded { thresholds.rise } else { thresholds.fall };
        if self.against < enough {
            return false;
        }
        *self = Self { is_up: succeeded, against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// `+` and `-` are checks; what it is taken for after each of them.
    #[rstest]
    #[case("+++", "+++")]
    #[case("--+--+---+", "++++++++--")]
    #[case("---+-++", "++----+")]
    #[case("---++---", "++--+++-")]
    fn it_takes_several_in_a_row(#[case] checks: &str, #[case] wanted: &str) {
        let thresholds = Thresholds { rise: 2, fall: 3 };
        let mut health = Health::UNKNOWN;
        let taken: String = checks
            .chars()
            .map(|check| {
                let before = health.is_up;
                assert_eq!(health.learn(check == '+', thresholds), before != health.is_up);
                if health.is_up { '+' } else { '-' }
            })
            .collect();
        assert_eq!(taken, wanted, "{checks}");
    }
}
