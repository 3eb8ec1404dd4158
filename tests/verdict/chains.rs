//! Chains: order, policies, jumps and maps of verdicts, as nftables has them.

use firewall_common::verdict::Reason;
use firewall_user::kernel::Side;

use super::support::{Firewall, Outcome, packets::word, table::check_rows};

/// For each packet, what becomes of it.
type Rows<'a> = &'a [(&'a str, Outcome)];

const PASS: Outcome = Ok(());
const RULE: Outcome = Err(Reason::Rule);
const POLICY: Outcome = Err(Reason::Policy);

#[track_caller]
fn check(rules: &str, rows: Rows<'_>) -> Firewall {
    let firewall = Firewall::new(rules);
    firewall.check_ingress(rows.iter().map(|(text, outcome)| (*text, word(text), *outcome)));
    firewall
}

/// A table with one base chain at `input` under policy drop, and these other chains.
fn table(others: &str, rules: &str) -> String {
    format!("table inet t {{ {others}\n chain c {{ type filter hook input priority 0; policy drop;\n {rules}\n }}\n }}")
}

/// The comments of the rules that counted a packet, in the order of comments.
#[track_caller]
fn check_path(rules: &str, rows: &[(&str, &[&str])]) {
    let firewall = Firewall::new(rules);
    let frames: Vec<_> = rows.iter().map(|(text, _)| word(text).bytes()).collect();
    let paths = firewall.counted_by(Side::Xdp, &frames);
    check_rows(rows.iter().zip(paths).map(|((text, wanted), got)| {
        (*text, wanted.iter().map(|comment| (*comment).to_owned()).collect::<Vec<_>>(), got)
    }));
}

#[test]
fn the_first_verdict_decides() {
    check(
        &table("", "tcp dport 22 accept\n tcp dport 22 drop\n tcp dport 23 drop\n tcp dport 23 accept"),
        &[("tcp:22", PASS), ("tcp:23", RULE), ("tcp:24", POLICY)],
    );
}

#[test]
fn without_a_chain_at_a_hook_all_pass() {
    let firewall = check(
        "table inet t { chain c { type filter hook output priority 0; policy drop; }; }",
        &[("tcp:22", PASS), ("udp6:53", PASS)],
    );
    assert_eq!(firewall.egress(&word("tcp:22")), Err(Reason::Policy));
    check("", &[("tcp:22", PASS)]);
    check("table inet t { chain c { drop; }; }", &[("tcp:22", PASS)]);
}

#[test]
fn accept_ends_its_chain_only_and_drop_is_final() {
    let rules = "table inet t {
        chain later { type filter hook input priority 10; policy accept; tcp dport { 22, 23 } counter drop comment \"late\"; }
        chain early {
            type filter hook input priority -10; policy drop;
            tcp dport 22 counter accept comment \"early\"
            tcp dport 24 accept
            tcp dport 25 drop
        }
    }";
    let firewall = check(rules, &[("tcp:22", RULE), ("tcp:23", POLICY), ("tcp:24", PASS), ("tcp:25", RULE)]);
    assert_eq!((firewall.rule("early").0, firewall.rule("late").0), (1, 1), "port 23 never got as far as the late one");
}

#[test]
fn chains_run_by_priority_whatever_their_order_and_table() {
    let chain = |name: &str, priority: &str, rule: &str| {
        format!(
            "table inet {name} {{ chain c {{ type filter hook input priority {priority}; policy accept; {rule}; }}; }}\n"
        )
    };
    let rules = [
        chain("last", "100", "tcp dport 22 counter drop comment \"3 last\""),
        chain("first", "-300", "tcp dport 22-23 counter comment \"1 first\""),
        chain("named", "filter - 5", "tcp dport 22-23 counter accept comment \"2 filter - 5\""),
        chain("middle", "filter", "tcp dport 23 counter drop comment \"3 filter\""),
    ];
    check_path(
        &rules.concat(),
        &[
            ("tcp:22", &["1 first", "2 filter - 5", "3 last"]),
            ("tcp:23", &["1 first", "2 filter - 5", "3 filter"]),
            ("tcp:24", &[]),
        ],
    );
}

#[test]
fn tables_of_one_family_see_only_that_family() {
    let rules = "
        table ip four { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; }; }
        table ip6 six { chain c { type filter hook input priority 0; policy drop; tcp dport 23 accept; }; }
        table inet both { chain c { type filter hook input priority 10; policy accept; tcp dport 24 drop; }; }";
    check(rules, &[("tcp:22", PASS), ("tcp6:22", POLICY), ("tcp:23", POLICY), ("tcp6:23", PASS)]);
}

#[test]
fn jump_comes_back_and_goto_does_not() {
    let rules = table(
        "chain jumped { tcp dport 22 accept; tcp dport 23 return; tcp dport 24 drop; counter comment \"1 end of jumped\"; }
         chain gone { tcp dport 32 accept; tcp dport 33 return; counter comment \"3 end of gone\"; }",
        "tcp dport 22-29 jump jumped
         tcp dport 22-29 counter accept comment \"2 behind the jump\"
         tcp dport 32-39 goto gone
         tcp dport 32-39 counter accept comment \"4 behind the goto\"",
    );
    check(
        &rules,
        &[
            ("tcp:22", PASS),
            ("tcp:23", PASS),
            ("tcp:24", RULE),
            ("tcp:25", PASS),
            ("tcp:32", PASS),
            ("tcp:33", POLICY),
            ("tcp:34", POLICY),
            ("tcp:40", POLICY),
        ],
    );
    check_path(
        &rules,
        &[
            ("tcp:22", &[]),
            ("tcp:23", &["2 behind the jump"]),
            ("tcp:25", &["1 end of jumped", "2 behind the jump"]),
            ("tcp:33", &[]),
            ("tcp:34", &["3 end of gone"]),
        ],
    );
}

/// A chain that was gone to returns to where the chain that went was jumped to from.
#[test]
fn a_goto_inside_a_jump_returns_to_the_jump() {
    let rules = table(
        "chain end { tcp dport 23 return; counter comment \"end\"; }
         chain middle { goto end; accept; }",
        "jump middle
         counter accept comment \"back\"",
    );
    check(&rules, &[("tcp:23", PASS), ("tcp:24", PASS)]);
    check_path(&rules, &[("tcp:23", &["back"]), ("tcp:24", &["back", "end"])]);
}

#[test]
fn return_in_a_base_chain_is_its_policy() {
    check(&table("", "tcp dport 22 return\n accept"), &[("tcp:22", POLICY), ("tcp:23", PASS)]);
}

#[test]
fn continue_goes_on() {
    check(&table("", "tcp dport 22 continue\n tcp dport 22 accept"), &[("tcp:22", PASS)]);
}

#[test]
fn jumps_nest() {
    let depth = 14;
    let chains: Vec<_> = (1..depth).map(|at| format!("chain c{at} {{ jump c{}; }}", at + 1)).collect();
    let others = format!("chain c{depth} {{ tcp dport 22 accept; tcp dport 23 drop; }}\n{}", {
        let mut chains = chains;
        chains.reverse();
        chains.join("\n")
    });
    check(
        &table(&others, "jump c1\n tcp dport 24 accept"),
        &[("tcp:22", PASS), ("tcp:23", RULE), ("tcp:24", PASS), ("tcp:25", POLICY)],
    );
}

#[test]
fn a_map_of_verdicts() {
    let rules = table(
        "chain web { counter accept comment \"web\"; }
         chain mail { tcp sport 40000 return; accept; }",
        "tcp dport vmap { 22 : accept, 23 : drop, 25 : jump mail, 80-90 : goto web }
         tcp dport { 25, 26 } counter accept comment \"behind the map\"
         ip saddr vmap { 198.51.100.0/24 : accept, 203.0.113.7 : drop }
         meta l4proto vmap { udp : accept, icmp : drop }",
    );
    let firewall = check(
        &rules,
        &[
            ("tcp:22", PASS),
            ("tcp6:22", PASS),
            ("tcp:23", RULE),
            ("tcp:25", PASS),
            ("tcp:26", PASS),
            ("tcp:80", PASS),
            ("tcp:90", PASS),
            ("tcp:91", POLICY),
            ("udp:22", PASS),
            ("udp:23", PASS),
            ("icmp:8", RULE),
            ("proto:47", POLICY),
        ],
    );
    assert_eq!((firewall.rule("behind the map").0, firewall.rule("web").0), (2, 2));
}

#[test]
fn a_map_of_states() {
    check(
        &table("", "ct state vmap { established : accept, related : accept, invalid : drop }\n tcp dport 22 accept"),
        &[("tcp:22", PASS), ("tcp:23", POLICY)],
    );
}

#[test]
fn a_rule_without_matches_is_for_all() {
    check(&table("", "accept"), &[("tcp:22", PASS), ("proto6:47", PASS)]);
    check(&table("", "drop"), &[("tcp:22", RULE), ("arp", PASS)]);
}

/// Ten thousand rules are one verdict like any other.
#[test]
fn a_long_chain() {
    let rules: Vec<_> = (1..=10_000).map(|port| format!("tcp dport {port} drop")).collect();
    check(
        &table("", &(rules.join("\n") + "\ntcp dport 10001 accept")),
        &[("tcp:1", RULE), ("tcp:10000", RULE), ("tcp:10001", PASS), ("tcp:10002", POLICY), ("udp:1", POLICY)],
    );
}

#[test]
fn no_packet_comes_to_a_table_that_sleeps() {
    let asleep = "table inet later { flags dormant; chain c { type filter hook input priority -5; policy drop; }; }\n";
    let awake = table("", "tcp dport 22 accept");
    check(&format!("{asleep}\n{awake}"), &[("tcp:22", PASS), ("tcp:23", POLICY)]);
    let awake = asleep.replace("flags dormant;", "");
    check(&format!("{awake}\n{}", table("", "tcp dport 22 accept")), &[("tcp:22", POLICY)]);
}

#[test]
fn what_a_file_takes_away_again_is_not_there() {
    let made = table(
        "set ports { type inet_service; elements = { 23 }; }; chain spare { drop; }; chain later { accept; };",
        "tcp dport @ports jump spare",
    );
    let gone = "flush chain inet t c\ndelete chain inet t spare\ndelete set inet t ports\n";
    let rules = format!("{made}\n{gone}add rule inet t c tcp dport 22 jump later\n");
    check(&rules, &[("tcp:22", PASS), ("tcp:23", POLICY)]);
}
