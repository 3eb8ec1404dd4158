//! Which generation a packet meets.

use rstest::rstest;

use super::Control;

const DEADLINE: u64 = 1_000;

#[rstest]
#[case::confirmed(0, [0, 0], DEADLINE + 1, 0)]
#[case::the_other_slot(1, [0, 0], DEADLINE + 1, 1)]
#[case::unconfirmed_before_its_deadline(0, [1, 0], DEADLINE - 1, 0)]
#[case::unconfirmed_at_its_deadline(0, [1, 0], DEADLINE, 0)]
#[case::unconfirmed_behind_its_deadline(0, [1, 0], DEADLINE + 1, 1)]
#[case::so_in_the_other_slot(1, [0, 1], DEADLINE + 1, 0)]
#[case::only_the_active_slot_counts(0, [0, 1], DEADLINE + 1, 0)]
#[case::a_slot_number_that_is_none(2, [0, 0], 0, 0)]
#[case::another(u32::MAX, [0, 0], 0, 1)]
fn a_packet_takes_a_slot(#[case] active: u32, #[case] unconfirmed: [u32; 2], #[case] now: u64, #[case] slot: u32) {
    let deadline_ns = unconfirmed.map(|unconfirmed| if unconfirmed == 0 { 0 } else { DEADLINE });
    let control = Control { active, unconfirmed, deadline_ns, ..Control::default() };
    assert_eq!(control.slot(|| now), slot);
}

#[test]
fn the_clock_is_read_only_when_it_matters() {
    assert_eq!(Control::default().slot(|| panic!("nothing waits for confirmation")), 0);
}
