use super::*;

fn good() -> Machine {
    Machine {
        release: "6.1.0-18-amd64".to_owned(),
        is_new_enough: Some(true),
        has_btf: true,
        compiles: Some(true),
        is_locked_down: false,
        missing_capabilities: None,
    }
}

fn problems(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| finding.level == Level::Problem).map(|finding| &*finding.subject).collect()
}

#[test]
fn a_good_machine_has_no_problem() {
    assert_eq!(problems(&machine(&good())), Vec::<&str>::new());
}

#[test]
fn each_thing_that_is_missing_is_a_problem_of_its_own() {
    let bad = Machine {
        is_new_enough: Some(false),
        has_btf: false,
        compiles: Some(false),
        is_locked_down: true,
        missing_capabilities: Some("CAP_BPF".to_owned()),
        ..good()
    };
    let findings = machine(&bad);
    assert_eq!(problems(&findings), ["kernel", "types", "compiler", "lockdown", "privileges"]);
    assert!(findings.iter().all(|finding| finding.help.is_some()), "{findings:?}");
}

#[test]
fn an_interface_that_is_up_and_unfiltered_is_a_problem_only_when_rules_are_in_force() {
    let candidate = Candidate { ifindex: 2, name: "eth0".to_owned(), has_xdp: false };
    let finding = |is_in_force| interfaces(std::slice::from_ref(&candidate), &[], is_in_force)[0].level;
    assert_eq!((finding(true), finding(false)), (Level::Problem, Level::Note));
    let taken = Candidate { has_xdp: true, ..candidate };
    assert_eq!(interfaces(&[taken], &[], false)[0].level, Level::Problem);
}

#[test]
fn a_table_that_is_nearly_full_and_internal_drops_are_problems() {
    let flows = FlowUse { live: 80, capacity: 100, ..FlowUse::default() };
    let mut traffic = InterfaceCounters::ZERO;
    traffic.ingress[Reason::TableFull as usize].packets = 3;
    traffic.egress[Reason::TableFull as usize].packets = 4;
    traffic.ingress[Reason::Policy as usize].packets = 9;
    let findings = in_force(7, &flows, &[traffic], 0);
    assert_eq!(problems(&findings), ["connections", Reason::TableFull.name()]);
    assert!(findings.last().expect("a finding").text.starts_with("7 packets"), "{findings:?}");
}

#[test]
fn the_text_is_a_table() {
    let findings = [Finding::ok("kernel", "Linux 6.1"), Finding::problem("eth0", "bad", "do this")];
    assert_eq!(text(&findings), "ok       kernel  Linux 6.1\nproblem  eth0    bad\n                 do this\n");
    assert_eq!(json(&findings)["findings"][1]["help"], "do this");
}
