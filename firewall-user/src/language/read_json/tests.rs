use crate::language::{Options, parse_text, print};

fn text(json: &str) -> String {
    match parse_text("x.json", json, &Options::default()) {
        Ok(parsed) => print::text(&parsed.ruleset),
        Err(diagnostics) => diagnostics.render(false),
    }
}

/// Rules of a chain, as text.
fn rules(expressions: &str) -> String {
    let listed = text(&format!(
        r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t"}}}}, {{"chain": {{"family": "inet", "table": "t", "name": "c"}}}},
        {{"rule": {{"family": "inet", "table": "t", "chain": "c", "expr": {expressions}}}}}]}}"#
    ));
    match listed.strip_prefix("table inet t {\n\tchain c {\n\t\t").and_then(|rest| rest.strip_suffix("\n\t}\n}\n")) {
        Some(rule) => rule.to_owned(),
        None => listed,
    }
}

fn matched(left: &str, right: &str) -> String {
    rules(&format!(r#"[{{"match": {{"op": "==", "left": {left}, "right": {right}}}}}]"#))
}

#[test]
fn a_map_may_stand_before_the_chains_it_jumps_to() {
    let listing = r#"{"nftables": [{"table": {"family": "ip", "name": "t"}},
        {"map": {"family": "ip", "table": "t", "name": "m", "type": "mark", "map": "verdict", "elem": [[5, {"goto": {"target": "c"}}]]}},
        {"chain": {"family": "ip", "table": "t", "name": "c"}}]}"#;
    let printed = "table ip t {\n\tmap m {\n\t\ttype mark : verdict\n\t\telements = { 0x00000005 : goto c }\n\t}\n\n\tchain c {\n\t}\n}\n";
    assert_eq!(text(listing), printed);
}

#[test]
fn parentheses_stand_where_the_text_needs_them() {
    let mark = r#"{"meta": {"key": "mark"}}"#;
    assert_eq!(matched(&format!(r#"{{"&": [{mark}, {{"|": [1, 4]}}]}}"#), "4"), "meta mark & 0x00000005 == 0x00000004");
    assert_eq!(
        matched(&format!(r#"{{"|": [{{"&": [{mark}, 12]}}, 1]}}"#), "5"),
        "meta mark & 0x0000000d | 0x00000001 == 0x00000005"
    );
    assert_eq!(matched(mark, r#"{"<<": [1, {"|": [2, 1]}]}"#), "meta mark 0x00000008");
}

#[test]
fn nothing_in_a_string_becomes_more_than_one_value() {
    let name = r#"{"meta": {"key": "iifname"}}"#;
    assert_eq!(matched(name, r#""eth0 accept""#), "iifname \"eth0 accept\"");
    assert_eq!(matched(name, r#""a;#}""#), "iifname \"a;#}\"");
    assert_eq!(matched(name, r#""eth*""#), "iifname \"eth*\"");
    assert_eq!(matched(name, r#"{"set": ["10.0.0.1", "100"]}"#), "iifname { \"100\", \"10.0.0.1\" }");
    assert!(matched(name, r#""a\"b""#).contains("cannot be written in the nftables language"));
    assert!(matched(r#"{"meta": {"key": "mark 5 accept; meta mark"}}"#, "5").contains("is no word that `key` can be"));
    assert!(matched(name, r#""@a b""#).starts_with("iifname \"@a b\""));
}

#[test]
fn what_is_no_json_is_told_by_its_byte() {
    for (json, message) in [
        ("{", "x.json:1:2: error: expected a name in quotes, found the end of the document"),
        ("{\"nftables\": [}", "x.json:1:15: error: expected a value, found `}`"),
        ("{\"nftables\": [1.5]}", "x.json:1:15: error: `1.5` is not a whole number"),
        ("{\"nftables\": [\"\\x\"]}", "x.json:1:16: error: this `\\` starts no character"),
        ("{\"nftables\": [\"a]}", "x.json:1:15: error: this string is not closed"),
        ("{\"nftables\": [], \"nftables\": []}", "x.json:1:18: error: a second `nftables`"),
        ("{\"nftables\": []} {", "x.json:1:18: error: something behind the end"),
    ] {
        assert!(text(json).starts_with(message), "{}", text(json));
    }
}

#[test]
fn a_deep_document_is_refused() {
    let deep = format!("{{\"nftables\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(text(&deep).contains("more than 64 arrays and objects inside one another"));
    let wide = format!("{{{}}}", (0..300).map(|n| format!("\"a{n}\": 1")).collect::<Vec<_>>().join(","));
    assert!(text(&wide).contains("more than 256 members"));
}

#[test]
fn every_form_has_modifiers_that_are_known() {
    super::template::check_forms();
}
