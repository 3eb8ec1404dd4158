//! A Rust file as the rules look at it: lines, comments apart from code, tests apart from the rest.
//!
//! This reads formatted code, not any Rust: `cargo fmt --check` runs before it.

/// One file.
pub(crate) struct Source<'a> {
    lines: Vec<&'a str>,
    /// Lines before the test module.
    before_tests: usize,
}

/// A function with a body: its first and last line, from 0.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let lines: Vec<_> = text.lines().collect();
        let opens_tests =
            |at: &usize| lines[*at] == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|line| line.starts_with("mod "));
        let before_tests = (0..lines.len()).find(opens_tests).unwrap_or(lines.len());
        Self { lines, before_tests }
    }

    /// Lines that are not tests.
    pub(crate) fn length(&self) -> usize {
        self.before_tests
    }

    /// Number (from 0) and text of each line, with what stands in comments and strings taken out, tests left out.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.lines[..self.before_tests].iter().enumerate().map(|(number, line)| (number, code_of(line)))
    }

    /// Does `line`, or the comment right above it, say `word`? Attributes and the beginning of the statement that
    /// `line` continues may stand in between.
    pub(crate) fn is_explained(&self, line: usize, word: &str) -> bool {
        let is_comment = |line: &&str| line.starts_with("//");
        let continues = |line: &&str| !is_comment(line) && !line.is_empty() && !line.ends_with([';', '{', '}']);
        let above = self.lines[..line].iter().rev().map(|line| line.trim());
        self.lines[line].contains(word)
            || above.skip_while(continues).take_while(is_comment).any(|comment| comment.contains(word))
    }

    /// Functions outside tests. Formatted code closes a function at the indent it was opened at.
    pub(crate) fn functions(&self) -> Vec<Function<'a>> {
        let lines = &self.lines[..self.before_tests];
        let mut functions = Vec::new();
        for (first, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let closes = |line: &&str| line.len() == indent + 1 && line.ends_with('}');
            let length = lines[first..].iter().position(closes);
            let is_one_line = line.ends_with('}') || line.ends_with(';');
            if let (Some(length), false) = (length, is_one_line) {
                functions.push(Function { name, first, last: first + length });
            }
        }
        functions
    }
}

/// The function that a line begins, if it begins one.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifies = |word: &str| {
        matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"" | "pub")
            || word.starts_with("pub(")
            || word.ends_with(')')
    };
    let name = after.split(['(', '<']).next()?;
    (before.split_whitespace().all(qualifies) && !name.is_empty()).then_some(name)
}

/// A line without its comment and without what stands in its string literals.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '\'' if !in_string && characters.peek() == Some(&'"') => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            other => code.push(other),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code_of(r#"let a = "unsafe { \" "; // unsafe {"#), "let a = ; ");
        assert_eq!(code_of("let quote = '\"'; unsafe {}"), "let quote = '; unsafe {}");
    }

    #[test]
    fn a_function_ends_at_its_indent() {
        let source = Source::new("impl A {\n    pub(crate) const fn f<T>(&self) {\n        {\n        }\n    }\n}\n");
        let functions = source.functions();
        assert_eq!(functions.len(), 1);
        assert_eq!((functions[0].name, functions[0].first, functions[0].last), ("f", 1, 4));
    }

    #[test]
    fn tests_do_not_count() {
        let source = Source::new("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(source.length(), 1);
    }

    #[test]
    fn an_explanation_stands_right_above() {
        let source = Source::new("// SAFETY: so.\nlet a =\n    unsafe { b() };\nlet c = unsafe { d() };\n");
        assert!(source.is_explained(2, "SAFETY:"));
        assert!(!source.is_explained(3, "SAFETY:"));
    }
}
