use super::*;

fn told(saved: &str) -> String {
    let mut problems = Diagnostics::default();
    let source = problems.sources.add("saved".into(), saved.into(), None);
    for problem in misunderstood(saved, source) {
        problems.push(problem);
    }
    let told = problems
        .iter()
        .flat_map(|problem| [problem.span.start.to_string(), " ".into(), problem.message.clone(), "\n".into()]);
    told.collect()
}

#[test]
fn a_file_of_iptables_save_has_only_lines_that_are_known() {
    assert_eq!(told("# x\n*filter\n:INPUT DROP [1:2]\n[5:6] -A INPUT -j DROP\n-I INPUT 1 -j DROP\nCOMMIT\n"), "");
    assert_eq!(told("-A INPUT -j DROP\n"), "0 this is not a line that `iptables-save` prints\n");
    assert_eq!(told("*filter\nhello\nCOMMIT\n"), "8 this is not a line that `iptables-save` prints\n");
    assert_eq!(told("*filter\n[1:2]\nCOMMIT\n"), "8 this is not a line that `iptables-save` prints\n");
    assert_eq!(told("*filter\n-A INPUT -j DROP\n"), "0 this table has no COMMIT: the file is not whole\n");
    assert_eq!(told("# nothing\n"), "0 there is no table in this file\n");
}

#[test]
fn a_place_that_the_translator_forgets_is_refused() {
    assert_eq!(told("*filter\n-I INPUT 2 -j DROP\nCOMMIT\n"), "8 the translator forgets that this is to be rule 2\n");
    let changed = "8 `-D` changes rules that are there: a file is all of them\n";
    assert_eq!(told("*filter\n-D INPUT -j DROP\nCOMMIT\n"), changed);
}

#[test]
fn each_rule_that_was_left_out_is_told_at_its_line() {
    let saved = "*filter\n-A INPUT -m recent --name \"a b\" -j DROP\n-A INPUT -j ACCEPT\n[1:2] -A INPUT -m recent --name \"a b\" -j DROP\nCOMMIT\n";
    let comment = "# -t filter -A INPUT -m recent --name a b -j DROP \n";
    let mut starts: Vec<u32> =
        left_out(&comment.repeat(2), saved, 0).iter().map(|problem| problem.span.start).collect();
    starts.sort_unstable();
    assert_eq!(starts, [8, 67]);
}

#[test]
fn what_the_translator_says_is_put_at_its_line() {
    let mut problems = Diagnostics::default();
    let source = problems.sources.add("saved".into(), "*filter\n-A INPUT --nonsense\nCOMMIT\n".into(), None);
    let complaint =
        "iptables-translate-restore v1.8.9 (nf_tables): unknown option \"--nonsense\"\nError occurred at line: 2\n";
    let problem = refused(complaint, problems.sources.get(source), source);
    assert_eq!((problem.span.start, problem.span.end), (8, 27));
    assert_eq!(problem.message, "the translator refuses this: unknown option \"--nonsense\"");
}
