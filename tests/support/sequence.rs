//! Sequences: packets of one connection after another, what each is to connection tracking, what each makes of the
//! connection.

use std::collections::HashSet;

use firewall_common::flow::FlowKey;
use firewall_tests::packet::{Frame, flag};
use firewall_user::kernel::Side;

use super::{Firewall, table::check_rows};

/// Everything passes, and every packet is counted under its state: `> new` for one that comes in.
pub const STATES: &str = "table inet t {
    chain input {
        type filter hook input priority 0; policy accept;
        ct state new counter comment \"> new\"
        ct state established counter comment \"> established\"
        ct state related counter comment \"> related\"
        ct state invalid counter comment \"> invalid\"
        ct state untracked counter comment \"> untracked\"
    }
    chain output {
        type filter hook output priority 0; policy accept;
        ct state new counter comment \"< new\"
        ct state established counter comment \"< established\"
        ct state related counter comment \"< related\"
        ct state invalid counter comment \"< invalid\"
        ct state untracked counter comment \"< untracked\"
    }
}";

/// Who sends the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The client: it comes in.
    Outside,
    /// The server, where rampart is: it leaves.
    Inside,
}

/// A packet (`>` from the one who began, `<` back; then what the test makes a packet of), its state, and the state
/// that its connection is in behind it (`-`: there is none).
pub type Step<'a> = (&'a str, &'a str, &'a str);

impl Firewall {
    /// The state that a packet has.
    pub fn state_of(&self, side: Side, frame: &Frame) -> String {
        let counted = self.counted_by(side, &[frame.bytes()]).remove(0);
        let [comment] = &counted[..] else { panic!("a packet has one state, not {counted:?}") };
        comment[2..].to_owned()
    }

    /// Sends the packets, in order, and compares. `packet` makes one of what is behind the arrow; it is told whether
    /// the packet comes in.
    ///
    /// Only connections that are not there yet are looked at: several sequences can follow each other, each with an
    /// address or port of its own.
    #[track_caller]
    pub fn check_sequence(&self, first: First, packet: impl Fn(&str, bool) -> Frame, steps: &[Step<'_>]) {
        let known: HashSet<_> = self.flows().iter().map(|flow| flow.entry.key).collect();
        let rows: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(number, (text, state, after))| {
                let (arrow, what) = text.split_once(' ').unwrap_or((text, ""));
                let comes_in = (arrow == ">") == (first == First::Outside);
                let side = if comes_in { Side::Xdp } else { Side::TcEgress };
                let got = self.state_of(side, &packet(what, comes_in));
                let wanted = ((*state).to_owned(), (*after).to_owned());
                ((number + 1, *text, first), wanted, (got, self.state_of_new(&known).to_owned()))
            })
            .collect();
        check_rows(rows);
    }
}

impl Firewall {
    /// The state of the only connection that is not known yet.
    fn state_of_new(&self, known: &HashSet<FlowKey>) -> &'static str {
        let flows: Vec<_> = self.flows().into_iter().filter(|flow| !known.contains(&flow.entry.key)).collect();
        assert!(flows.len() <= 1, "{flows:?}");
        flows.first().map_or("-", |flow| flow.slot.state().name())
    }
}

/// TCP flags by their letters, `.` for none.
pub fn flags(letters: &str) -> u8 {
    let flag = |letter| match letter {
        'F' => flag::FIN,
        'S' => flag::SYN,
        'R' => flag::RST,
        'P' => flag::PSH,
        'A' => flag::ACK,
        'U' => flag::URG,
        'E' => flag::ECE,
        'C' => flag::CWR,
        '.' => 0,
        _ => panic!("no flag {letter}"),
    };
    letters.chars().map(flag).fold(0, |all, one| all | one)
}
