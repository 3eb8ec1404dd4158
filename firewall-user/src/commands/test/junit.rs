//! Results as `JUnit` XML, which build servers show.

use std::fmt::Write;

use super::Done;

/// The whole document.
pub(super) fn xml(suite: &str, done: &[Done]) -> String {
    let failures = done.iter().filter(|one| one.wrong.is_some()).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let suite = escaped(suite);
    let _ = writeln!(text, "<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{failures}\">", done.len());
    for Done { name, wrong, why } in done {
        let _ = write!(text, "  <testcase classname=\"{suite}\" name=\"{}\"", escaped(name));
        match wrong {
            None => text.push_str("/>\n"),
            Some(wrong) => {
                let _ = writeln!(
                    text,
                    ">\n    <failure message=\"{}\">{}</failure>\n  </testcase>",
                    escaped(wrong),
                    escaped(why)
                );
            }
        }
    }
    text.push_str("</testsuite>\n");
    text
}

/// Control characters, which XML has no way to write, become question marks.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            letter if letter.is_control() => out.push('?'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_document() {
        let wrong = Some("a < b".to_owned());
        let done = [Done { name: "\"<&>\u{1}".to_owned(), wrong, why: "x\n".to_owned() }];
        let xml = xml("a.test", &done);
        assert!(xml.contains("name=\"&quot;&lt;&amp;&gt;?\""), "{xml}");
        assert!(xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("message=\"a &lt; b\""), "{xml}");
    }
}
