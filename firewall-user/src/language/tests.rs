//! What no text may do to the parser, and what the pieces promise. Whole rulesets are in `tests/data`.

use std::{fmt::Write, time::Duration};

use proptest::{prelude::*, sample::select};

use super::{Diagnostics, Options, Parsed, lexer, names, parse_text, print, source::check_text};

fn parse(text: &str) -> Result<Parsed, Diagnostics> {
    let options = Options { interface: &|name| (name == "lo").then_some(1), include_directories: Vec::new() };
    parse_text("test.nft", text, &options)
}

fn refused(text: &str) -> String {
    parse(text).err().unwrap_or_else(|| panic!("accepted: {text}")).render(false)
}

fn in_chain(rules: &str) -> String {
    format!("table inet t {{\n chain c {{\n{rules}\n }}\n}}\n")
}

#[test]
fn places_are_counted_in_characters() {
    let text = in_chain("ip saddr 192.0.2.1 comment \"älter\" accept");
    assert!(refused(&text).starts_with("test.nft:3:36: error:"), "{}", refused(&text));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let message = refused(&in_chain("tcp dport \u{1b}[31m \u{9b}x"));
    assert!(!message.contains('\u{1b}') && !message.contains('\u{9b}'), "{message:?}");
}

#[test]
fn an_empty_ruleset_is_accepted_and_says_so() {
    let parsed = parse("").expect("nothing is wrong with nothing");
    assert!(parsed.ruleset.is_empty());
    assert!(parsed.warnings.render(false).contains("it accepts every packet"));
}

#[test]
fn several_errors_come_in_one_run_in_order() {
    let message = refused(&in_chain("tcp dprot 1\ntcp dport 99999\nacept\nip saddr 1.2.3.4 udp dport { 1, x }"));
    let lines: Vec<&str> =
        message.lines().filter(|line| line.starts_with("test.nft:")).map(|line| &line[..11]).collect();
    assert_eq!(lines, ["test.nft:3:", "test.nft:4:", "test.nft:5:", "test.nft:6:"], "{message}");
}

#[test]
fn messages_are_bounded() {
    let message = refused(&in_chain(&"nonsense\n".repeat(100_000)));
    assert!(message.len() < 20_000, "{} bytes", message.len());
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("(", ")"), ("{", "}"), ("{ 1, {", "} }")] {
        let text = in_chain(&format!("tcp dport {}1{}", open.repeat(100_000), close.repeat(100_000)));
        assert!(refused(&text).contains("inside one another"), "{open}");
    }
    let sum = in_chain(&format!("meta mark {}1", "1 | ".repeat(100_000)));
    assert!(refused(&sum).contains("inside one another"));
    let mut chain = String::from("define v0 = { 1 }\n");
    for level in 1..10_000 {
        let _ = writeln!(chain, "define v{level} = {{ $v{} }}", level - 1);
    }
    assert!(refused(&chain).contains("is too large"));
}

#[test]
fn variables_that_grow_are_refused() {
    let mut text = String::from("define v0 = { 1, 2, 3, 4, 5, 6, 7, 8 }\n");
    for level in 1..40 {
        let _ = writeln!(text, "define v{level} = {{ $v{}, $v{} }}", level - 1, level - 1);
    }
    // Written out, these are 2^42 values: this would not end.
    assert!(refused(&text).contains("is too large"));
}

#[test]
fn an_include_of_itself_ends() {
    let path = std::env::temp_dir().join(format!("rampart-include-{}.nft", std::process::id()));
    std::fs::write(&path, format!("include \"{}\"\n", path.display())).expect("a temporary file");
    let message = super::parse_file(&path, &Options::default()).expect_err("endless").render(false);
    std::fs::remove_file(&path).expect("removable");
    assert!(message.contains("too many files include one another"), "{message}");
}

/// The processor's time of this thread, which other work on the machine does not add to.
fn processor_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

/// Work must grow with the text, not with its square, which would be a hundredfold.
#[test]
fn long_rulesets_take_long_in_proportion() {
    let address = |n: u32| format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
    let lines = |count: u32, line: &dyn Fn(u32) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let shapes: [&dyn Fn(u32) -> String; 4] = [
        &|count| in_chain(&lines(count, &|n| format!("tcp dport {} counter accept", n % 65536))),
        &|count| in_chain(&format!("ip saddr {{ {} }} drop", lines(count, &address).replace('\n', ", "))),
        &|count| {
            let adds = lines(count, &|n| format!("add element inet t s {{ {} }}", address(n)));
            format!("table inet t {{\n set s {{ type ipv4_addr; }}\n}}\n{adds}")
        },
        &|count| {
            let chains = lines(count, &|n| format!("chain c{n} {{ accept; }}"));
            format!("table inet t {{\n{chains}\n}}\n{}", lines(count, &|_| "insert rule inet t c0 drop".to_owned()))
        },
    ];
    for (at, shape) in shapes.iter().enumerate() {
        let once = |text: &str| {
            let before = processor_time();
            parse(text).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
            processor_time().saturating_sub(before)
        };
        let best = |count| {
            let text = shape(count);
            (0..4).map(|_| once(&text)).min().expect("four runs")
        };
        let (short, long) = (best(2_000), best(20_000));
        assert!(long < short * 50, "shape {at}: {short:?} then {long:?}");
    }
}

#[test]
fn tokens_cover_the_text() {
    let text = "tcp dport{22:accept,::1-::5}10.0.0.1/8 eth* \"x\" 00:00:5e:00:53:01 a-b.c/d 0x1f==$v#end";
    let cut: Vec<&str> =
        lexer::tokens(text).iter().map(|token| &text[token.start as usize..token.end as usize]).collect();
    let expected = [
        "tcp",
        "dport",
        "{",
        "22",
        ":",
        "accept",
        ",",
        "::1",
        "-",
        "::5",
        "}",
        "10.0.0.1",
        "/",
        "8",
        "eth*",
        "\"x\"",
        "00:00:5e:00:53:01",
        "a-b.c/d",
        "0x1f",
        "==",
        "$",
        "v",
        "",
    ];
    assert_eq!(cut, expected);
}

#[test]
fn near_words_are_found() {
    assert_eq!(names::nearest("accpet", ["accept", "drop"]), Some("accept"));
    assert_eq!(names::nearest("xyz", ["accept", "drop"]), None);
    assert_eq!(names::nearest("tpc", ["tcp", "udp"]), Some("tcp"));
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let error = check_text("f".as_ref(), b"a\nb\xffc".to_vec()).expect_err("no UTF-8");
    assert_eq!(error.to_string(), "f:2: invalid UTF-8 at byte 3: not a text file");
}

/// Words and marks of the language, so that random texts get past the first token.
const WORDS: &[&str] = &[
    "table",
    "inet",
    "ip",
    "ip6",
    "chain",
    "set",
    "{",
    "}",
    "(",
    ")",
    ";",
    "\n",
    ",",
    ":",
    "type",
    "filter",
    "hook",
    "input",
    "priority",
    "policy",
    "accept",
    "drop",
    "jump",
    "goto",
    "tcp",
    "dport",
    "flags",
    "syn",
    "ct",
    "state",
    "new",
    "established",
    "meta",
    "mark",
    "iifname",
    "lo",
    "eth*",
    "counter",
    "packets",
    "bytes",
    "log",
    "prefix",
    "\"text\"",
    "comment",
    "vmap",
    "@s",
    "@nh",
    "$v",
    "define",
    "redefine",
    "undefine",
    "v",
    "=",
    "==",
    "!=",
    "!",
    "<",
    "<=",
    "&",
    "|",
    "^",
    "<<",
    "/",
    "-",
    "*",
    ".",
    "22",
    "0x1f",
    "70000",
    "192.0.2.1",
    "192.0.2.0/24",
    "::1",
    "2001:db8::/32",
    "elements",
    "interval",
    "auto-merge",
    "ipv4_addr",
    "add",
    "rule",
    "element",
    "flush",
    "ruleset",
    "delete",
    "insert",
    "create",
    "include",
    "\"",
    "\\",
    "#",
    "\r",
    "\u{e9}",
    "00:00:5e:00:53:01",
    "reject",
    "limit",
    "th",
    "icmp",
    "echo-request",
];

fn words() -> impl Strategy<Value = String> {
    proptest::collection::vec((select(WORDS), select(&[" ", "", " ", "\n"][..])), 0..80)
        .prop_map(|words| words.into_iter().flat_map(|(word, blank)| [word, blank]).collect())
}

/// Either a message that renders, or a ruleset that prints and reads again.
fn never_fails(text: &str) {
    match parse(text) {
        Ok(parsed) => {
            let printed = print::text(&parsed.ruleset);
            match parse(&printed) {
                Ok(again) => assert_eq!(again.ruleset, parsed.ruleset, "{text}\n{printed}"),
                Err(errors) => panic!("{}\n{text}\n{printed}", errors.render(false)),
            }
        }
        Err(errors) => assert!(errors.render(true).contains("error")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_ends_without_a_panic(text in "\\PC{0,200}") {
        never_fails(&text);
    }

    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = check_text("bytes".as_ref(), bytes) {
            never_fails(&text);
        }
    }

    #[test]
    fn any_words_end_without_a_panic(text in words()) {
        never_fails(&text);
    }

    #[test]
    fn any_words_in_a_chain_end_without_a_panic(text in words()) {
        never_fails(&in_chain(&text));
    }

    #[test]
    fn a_ruleset_cut_anywhere_ends_without_a_panic(at in 0usize..600, junk in select(WORDS)) {
        let text = "define v = { 22, 80 }\ntable inet t {\n set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }\n chain c {\n  type filter hook input priority filter - 5; policy drop;\n  ct state established,related accept\n  ip saddr @s tcp dport $v counter packets 1 bytes 2 log prefix \"a\" level info accept comment \"b\"\n  tcp flags & (fin|syn) == syn tcp dport vmap { 22 : accept, 80-90 : jump d, * : drop }\n }\n chain d { return; }\n}\n";
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        never_fails(&text[..at]);
        never_fails(&format!("{}{junk}{}", &text[..at], &text[at..]));
    }
}
