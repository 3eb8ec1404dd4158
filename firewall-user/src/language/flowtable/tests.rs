//! Not among the files that nft reads too: it wants a kernel with flowtables.

use serde_json::Value;

use crate::language::{Options, json, parse_text, print, ruleset::Ruleset};

const TEXT: &str = "table inet t {
\tflowtable f {
\t\thook ingress priority filter + 5
\t\tdevices = { eth0, eth1 }
\t\tcounter
\t}

\tchain c {
\t\ttype filter hook forward priority filter; policy accept;
\t\tct state established flow add @f
\t}
}
";

fn document(ruleset: &Ruleset) -> Value {
    let shown = print::Shown {
        counter: &|_, written| written,
        quota: &|_, (written, _)| written,
        content: &|_, written| written,
        handle: &|_| None,
    };
    json::listing(ruleset, &shown)
}

fn refused(text: &str) -> String {
    parse_text("t", text, &Options::default()).expect_err(text).render(false)
}

#[test]
fn what_is_printed_is_what_was_read() {
    let parsed = parse_text("t", TEXT, &Options::default()).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    assert_eq!(print::text(&parsed.ruleset), TEXT);
    let document = document(&parsed.ruleset);
    let flowtable = &document["nftables"][2]["flowtable"];
    assert_eq!((&flowtable["prio"], &flowtable["dev"][1]), (&5.into(), &"eth1".into()), "{document:#}");
    let again = parse_text("t", &document.to_string(), &Options::default());
    let again = again.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    // JSON does not tell of `counter`.
    assert_eq!(print::text(&again.ruleset), TEXT.replace("\t\tcounter\n", ""));
}

#[test]
fn devices_are_added_and_older_words_are_read() {
    let text = "table ip t { flowtable f { hook ingress priority 0; devices = { a }; }; }
        add flowtable ip t f { hook ingress priority 0; devices = { b }; }
        table ip t { chain c { type filter hook forward priority 0; flow offload @f; }; }";
    let parsed = parse_text("t", text, &Options::default()).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let text = print::text(&parsed.ruleset);
    assert!(text.contains("devices = { a, b }") && text.contains("flow add @f"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let rule = |hook: &str, rule: &str| {
        format!(
            "table inet t {{ flowtable fast {{ hook ingress priority 0; devices = {{ a }}; }}
            chain c {{ type filter hook {hook} priority 0; {rule}; }}; }}"
        )
    };
    assert!(refused(&rule("input", "flow add @fast")).contains("`flow add` is for chains at hook forward"));
    assert!(refused(&rule("forward", "flow add @fats")).contains("did you mean `fast`?"));
    assert!(refused(&rule("forward", "flow drop @fast")).contains("expected `add` after `flow`"));
    assert!(refused("table inet t { flowtable f { devices = { a }; }; }").contains("a flowtable needs its hook"));
    assert!(
        refused("table inet t { flowtable f { hook egress priority 0; devices = { a }; }; }").contains("hook ingress")
    );
    assert!(
        refused("table netdev t { flowtable f { hook ingress priority 0; devices = { a }; }; }")
            .contains("family netdev has no flowtables")
    );
    assert!(refused("table ip t { flowtable f { flags offload; }; }").contains("`flags offload`"));
}
