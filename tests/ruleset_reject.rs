//! Rulesets that are refused: `data/reject/NAME.nft` gives exactly the messages in `NAME.err`. `UPDATE_EXPECT=1` writes
//! the expected files anew.
//!
//! A name that starts with `nft_refuses_` says that the kernel's `nft` refuses the file too.

mod ruleset;

use std::{fs, path::Path};

use firewall_user::language::{Diagnostics, parse_file, parse_text};
use ruleset::{expect, files, in_own_namespace, options};

const FOLDER: &str = "data/reject";

fn refused(path: &str) -> Diagnostics {
    parse_file(Path::new(path), &options()).err().unwrap_or_else(|| panic!("{path} is accepted"))
}

#[test]
fn messages_are_as_expected() {
    for file in files(FOLDER) {
        expect(&file.beside("err"), &refused(&file.path).render(false));
    }
}

#[test]
fn nft_refuses_what_is_said_of_it() {
    for file in files(FOLDER).iter().filter(|file| file.name.starts_with("nft_refuses_")) {
        let answer = in_own_namespace(&format!("nft -f {}", file.path));
        assert!(answer.is_err(), "nft accepts {}", file.path);
    }
}

#[test]
fn files_that_are_no_text_say_so() {
    let folder = std::env::temp_dir().join(format!("rampart-reject-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let told = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("a temporary file");
        let text = refused(&path.to_string_lossy()).render(false);
        text.replace(&*folder.to_string_lossy(), "")
    };
    assert_eq!(told("zero", b"table inet t {\n\0}\n"), "error: /zero:2: zero byte at byte 15: not a text file\n");
    assert_eq!(told("binary", b"\x7fELF\xff\xfe"), "error: /binary:1: invalid UTF-8 at byte 4: not a text file\n");
    fs::remove_dir_all(&folder).expect("removable");
    let folder = refused("data").render(false);
    assert_eq!(folder, "error: data: is a directory, not a ruleset file\n");
    assert_eq!(refused("data/none.nft").render(false), "error: data/none.nft: no such file\n");
}

#[test]
fn a_long_line_is_shown_around_its_error_only() {
    let mut text = "table inet t {\n\tchain c {\n\t\ttcp dport { ".to_owned();
    text.push_str(&"1, ".repeat(3_000_000));
    text.push_str("70000, ");
    text.push_str(&"2, ".repeat(300_000));
    text.push_str("3 } accept\n\t}\n}\n");
    let diagnostics = parse_text("long.nft", &text, &options()).expect_err("70000 is no port");
    let message = diagnostics.render(false);
    assert!(message.starts_with("long.nft:3:9000015: error: 70000 is out of range"), "{message}");
    assert!(message.contains("70000") && message.len() < 1000, "{} bytes", message.len());
}
