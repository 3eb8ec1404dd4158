//! `rampart import`: files as `iptables-save` prints them on real hosts, and the lines that have no translation.

use firewall_tests::command::{Scratch, rampart_path, run};

use crate::{rampart, write};

fn saved(name: &str) -> String {
    format!("data/import/{name}.save")
}

#[test]
fn a_host_of_ipv6_is_imported_and_can_be_checked() {
    let output = rampart(&["import", "--ip6", &saved("server_of_ipv6")]).success();
    assert!(output.stdout.contains("icmpv6 type nd-neighbor-solicit counter accept\n"), "{}", output.stdout);
    assert_eq!(output.stderr, "");
    let files = Scratch::new();
    let file = write(&files, "imported.nft", &output.stdout);
    rampart(&["check", &file]).check();
    let json = rampart(&["--json", "import", "-6", &saved("server_of_ipv6")]).success().json();
    assert_eq!((&json["ok"], json["ruleset"].as_str()), (&true.into(), Some(output.stdout.as_str())));
}

/// Everything these hosts have can be translated; what is refused then is refused by its nftables words.
#[test]
fn no_line_of_docker_kubernetes_or_a_server_is_left_out() {
    for name in ["docker", "kubernetes", "host_server"] {
        let output = rampart(&["import", "--keep-going", &saved(name)]);
        assert!(!output.stderr.contains("no translation"), "{}", output.stderr);
        let rules = std::fs::read_to_string(saved(name)).expect("there").lines().filter(|line| is_rule(line)).count();
        let translated = output.stdout.lines().filter(|line| line.starts_with("add rule ")).count();
        assert_eq!(translated, rules, "{}", output.stdout);
        let complaints = output.stderr.lines().filter(|line| line.contains(": error: "));
        let of_translation = complaints.filter(|line| !line.starts_with(&format!("{} (translated):", saved(name))));
        assert_eq!(of_translation.collect::<Vec<_>>(), [""; 0]);
    }
}

fn is_rule(line: &str) -> bool {
    line.starts_with("-A ") || line.starts_with("[5:300] -A ")
}

#[test]
fn a_rule_without_translation_is_told_and_no_ruleset_printed() {
    let output = rampart(&["import", &saved("ufw")]);
    assert_eq!((output.status, output.stdout.as_str()), (1, ""));
    for line in [33, 34] {
        let told = format!("data/import/ufw.save:{line}:1: error: there is no translation of this rule\n");
        assert!(output.stderr.contains(&told), "{}", output.stderr);
    }
    assert!(output.stderr.contains("help: a dynamic set with a timeout does this"), "{}", output.stderr);
    let all = rampart(&["import", "--keep-going", &saved("ufw")]);
    assert_eq!(all.status, 1);
    assert!(all.stdout.contains("\n# -t filter -A ufw-user-input -p tcp"), "{}", all.stdout);
    assert!(all.stdout.contains("\nadd rule ip filter ufw-user-limit-accept counter accept\n"), "{}", all.stdout);
}

#[test]
fn what_iptables_save_does_not_print_is_refused_by_its_line() {
    let told = |text: &str| {
        let output = run(None, &rampart_path().to_string_lossy(), &["import"], text);
        assert_eq!((output.status, output.stdout.as_str()), (1, ""), "{text}");
        output.stderr.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(told("hello\n"), "stdin:1:1: error: this is not a line that `iptables-save` prints");
    let forgotten = told("*filter\n:INPUT ACCEPT [0:0]\n-I INPUT 3 -j DROP\nCOMMIT\n");
    assert_eq!(forgotten, "stdin:3:1: error: the translator forgets that this is to be rule 3");
    let unknown = told("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT --nonsense -j DROP\nCOMMIT\n");
    assert_eq!(unknown, "stdin:3:1: error: the translator refuses this: unknown option \"--nonsense\"");
    let other_family = told("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 2001:db8::1 -j DROP\nCOMMIT\n");
    assert_eq!(other_family, "stdin:3:1: error: the translator refuses this: host/network `2001:db8::1' not found");
}

#[test]
fn a_host_without_the_translator_is_told_which_package_has_it() {
    let output = crate::rampart_with(&["import", &saved("host_server")], |command| {
        command.env("PATH", "/nonexistent");
    });
    assert_eq!(output.status, 3);
    assert!(output.stderr.contains("no such program; it is in the package iptables"), "{}", output.stderr);
}
