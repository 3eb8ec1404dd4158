//! The rules themselves, a function each.

use super::{Finding, Weight, source::Source};

/// Lines of a file without its tests; longer ones are split.
const MAX_FILE: usize = 500;
/// Lines of a function; a longer one needs a reason that convinces a reviewer.
const MAX_FUNCTION: usize = 60;

/// Where things lie on somebody's machine is nobody else's business, and true nowhere else.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

pub(super) fn no_machine_paths(text: &str) -> Vec<Finding> {
    let found = |line: &str| MACHINE_PATHS.iter().find(|path| line.contains(**path));
    let finding = |(number, line)| found(line).map(|path| error(number, format!("`{path}` is a path of one machine")));
    text.lines().enumerate().filter_map(finding).collect()
}

pub(super) fn file_length(path: &str, source: &Source) -> Option<Finding> {
    let length = source.length();
    let what = || format!("{length} lines without tests, {MAX_FILE} at most: split the file");
    (length > MAX_FILE && !is_test(path)).then(|| error(MAX_FILE, what()))
}

pub(super) fn function_length(path: &str, source: &Source) -> Vec<Finding> {
    let long = source.functions().into_iter().filter(|function| function.last - function.first >= MAX_FUNCTION);
    let finding = |function: super::source::Function| Finding {
        line: function.first + 1,
        what: format!("`{}` has {} lines", function.name, function.last - function.first + 1),
        weight: Weight::Note,
    };
    if is_test(path) { Vec::new() } else { long.map(finding).collect() }
}

/// A panic in the eBPF program is a loop that the verifier refuses, with a message that names no line.
pub(super) fn no_panics(path: &str, source: &Source) -> Vec<Finding> {
    if !path.starts_with("firewall-ebpf/src/") {
        return Vec::new();
    }
    let panics = |code: &str| [".unwrap()", ".expect(", "panic!("].into_iter().find(|call| code.contains(call));
    let finding = |(number, code): (usize, String)| {
        panics(&code).map(|call| error(number, format!("`{call}` in the eBPF program: return a drop reason instead")))
    };
    source.code().filter_map(finding).collect()
}

pub(super) fn unsafe_is_explained(source: &Source) -> Vec<Finding> {
    let is_unsafe = |code: &str| code.contains("unsafe {") || code.contains("unsafe impl");
    source
        .code()
        .filter(|(number, code)| is_unsafe(code) && !source.is_explained(*number, "SAFETY:"))
        .map(|(number, _)| error(number, "`unsafe` without a SAFETY comment right above".to_owned()))
        .collect()
}

/// Tests may be as long as the table of cases they hold.
fn is_test(path: &str) -> bool {
    let is_harness = path.starts_with("tests/harness/");
    (path.starts_with("tests/") && !is_harness) || path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn error(number: usize, what: String) -> Finding {
    Finding { line: number + 1, what, weight: Weight::Error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_an_error() {
        let text = "fn a() {}\n".repeat(MAX_FILE + 1);
        assert!(file_length("firewall-user/src/a.rs", &Source::new(&text)).is_some());
        assert!(file_length("tests/verdict.rs", &Source::new(&text)).is_none());
    }

    #[test]
    fn panics_matter_in_the_ebpf_program_only() {
        let source = Source::new("fn a() {\n    b().unwrap();\n}\n");
        assert_eq!(no_panics("firewall-ebpf/src/main.rs", &source)[0].line, 2);
        assert!(no_panics("xtask/src/main.rs", &source).is_empty());
    }

    #[test]
    fn unsafe_needs_its_comment() {
        assert_eq!(unsafe_is_explained(&Source::new("fn a() {\n    unsafe { b() }\n}\n")).len(), 1);
        assert!(
            unsafe_is_explained(&Source::new("// SAFETY: no padding.\n#[rustfmt::skip]\nunsafe impl A for B {}\n"))
                .is_empty()
        );
    }
}
