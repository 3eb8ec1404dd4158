//! Names and texts: nothing in a JSON string may become anything else than one value of the text.

use super::{
    Made,
    value::{Kind, Node},
    writer::Writer,
};
use crate::language::{
    diagnostic::Diagnostic,
    lexer::{self, Kind as Token},
    source::Span,
};

/// Words that would be operators where a value stands.
const OPERATORS: &[&str] = &[
    "eq", "ne", "lt", "gt", "le", "ge", "and", "or", "xor", "not", "lshift", "rshift", "set", "map", "vmap", "exists",
    "missing", "comment", "timeout", "expires", "counter", "limit", "quota", "last",
];

/// A text for a message.
pub(super) fn shown(text: &str) -> String {
    super::shorten(text)
}

/// A member that must be a text.
pub(super) fn text<'n>(node: &'n Node, name: &str) -> Made<&'n str> {
    node.text().ok_or_else(|| Diagnostic::error(node.span, format!("`{name}` is a string, not {}", node.what())))
}

/// The kind of the one token that a text is.
fn only_token(text: &str) -> Option<Token> {
    let tokens = lexer::tokens(text);
    match tokens.as_slice() {
        [only, _end] if only.start == 0 && only.end as usize == text.len() => Some(only.kind),
        _ => None,
    }
}

/// A text in quotes. The language has no way to write some.
pub(super) fn quoted(out: &mut Writer, text: &str, from: Span) -> Made<()> {
    if text.contains(['"', '\n', '\0']) {
        let message = format!(
            "`{}` cannot be written in the nftables language: it has no quotes or line ends in a text",
            shown(text)
        );
        return Err(Diagnostic::error(from, message));
    }
    out.glued(&format!("\"{text}\""), from);
    Ok(())
}

/// A value that is a string: a word, an address, a number, `@set`, `*`, or else a text in quotes.
pub(super) fn value(out: &mut Writer, text: &str, from: Span) -> Made<()> {
    if text == "*" {
        out.glued(text, from);
        return Ok(());
    }
    if let Some(set) = text.strip_prefix('@').filter(|set| only_token(set) == Some(Token::Word)) {
        out.glued(&format!("@{set}"), from);
        return Ok(());
    }
    let plain = match only_token(text) {
        Some(Token::Word) => !OPERATORS.contains(&text),
        Some(Token::Wildcard | Token::Number | Token::Ipv4 | Token::Ipv6 | Token::Mac) => true,
        Some(Token::Text | Token::OpenText | Token::Mark(_) | Token::Newline | Token::Stray | Token::End) | None => {
            false
        }
    };
    // `8021q` is a number and a word to the scanner, and a name to everybody else.
    if plain || matches!(text, "8021q" | "8021ad") {
        out.glued(text, from);
        return Ok(());
    }
    quoted(out, text, from)
}

/// The name of a table, chain or set.
pub(super) fn name(out: &mut Writer, node: &Node, what: &str) -> Made<()> {
    let name = text(node, what)?;
    if only_token(name) != Some(Token::Word) {
        let message = format!("`{}` is not a name that the nftables language can write", shown(name));
        return Err(Diagnostic::error(node.span, message));
    }
    out.glued(name, node.span);
    Ok(())
}

/// A word of the language, or several: never more than letters, digits and what may stand between them.
pub(super) fn words(out: &mut Writer, node: &Node, name: &str, between: &str) -> Made<()> {
    match &node.kind {
        Kind::Number(digits) => out.glued(digits, node.span),
        Kind::Text(text) if is_plain(text) => out.glued(text, node.span),
        Kind::Array(items) if items.iter().all(|item| !matches!(item.kind, Kind::Array(_))) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.glued(between, item.span);
                }
                words(out, item, name, between)?;
            }
        }
        Kind::Text(text) => {
            let message = format!("`{}` is no word that `{name}` can be", shown(text));
            return Err(Diagnostic::error(node.span, message));
        }
        Kind::Null | Kind::Bool(_) | Kind::Array(_) | Kind::Object(_) => {
            return Err(Diagnostic::error(node.span, format!("`{name}` cannot be {}", node.what())));
        }
    }
    Ok(())
}

fn is_plain(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b' ' | b'[' | b']');
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && text.bytes().all(inside)
}

/// A string, or each of several.
pub(super) fn each(node: &Node) -> impl Iterator<Item = &Node> {
    node.items().unwrap_or(std::slice::from_ref(node)).iter()
}

/// `flags tcp sequence,options flags ip options`
pub(super) fn log_flags(out: &mut Writer, node: &Node) -> Made<()> {
    let flags = each(node).map(|flag| text(flag, "flags")).collect::<Made<Vec<_>>>()?;
    let tcp: Vec<&str> = flags.iter().filter_map(|flag| flag.strip_prefix("tcp ")).collect();
    let mut parts: Vec<String> = Vec::new();
    if !tcp.is_empty() {
        parts.push(format!("flags tcp {}", tcp.join(",")));
    }
    parts.extend(flags.iter().filter(|flag| !flag.starts_with("tcp ")).map(|flag| format!("flags {flag}")));
    let all = parts.join(" ");
    if !all.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b' ' | b',')) {
        return Err(Diagnostic::error(node.span, "these are no flags of `log`"));
    }
    out.glued(&all, node.span);
    Ok(())
}

/// Of `type_flags`, only `prefix` is something that the text says; the others follow from the values.
pub(super) fn nat_type(out: &mut Writer, node: &Node) -> Made<()> {
    for flag in each(node) {
        match text(flag, "type_flags")? {
            "prefix" => out.glued("prefix", flag.span),
            "interval" | "concat" => {}
            other => {
                let message = format!("unknown type flag `{}`", shown(other));
                return Err(Diagnostic::error(flag.span, message));
            }
        }
    }
    Ok(())
}

/// Flags of a translation; `netmap` is what `prefix` in front says.
pub(super) fn nat_flags(out: &mut Writer, node: &Node) -> Made<()> {
    let mut flags = Vec::new();
    for flag in each(node) {
        match text(flag, "flags")? {
            "netmap" => {}
            known @ ("random" | "fully-random" | "persistent") => flags.push(known),
            other => {
                return Err(Diagnostic::error(flag.span, format!("unknown flag `{}` of a translation", shown(other))));
            }
        }
    }
    out.glued(&flags.join(","), node.span);
    Ok(())
}

/// ` device "eth0"`, or ` devices = { eth0, eth1 }`
pub(super) fn device(out: &mut Writer, node: &Node) -> Made<()> {
    if node.items().is_some() {
        out.glued("devices = ", node.span);
        return devices(out, node);
    }
    out.glued("device ", node.span);
    quoted(out, text(node, "dev")?, node.span)
}

/// `{ "eth0", "eth1" }`
pub(super) fn devices(out: &mut Writer, node: &Node) -> Made<()> {
    out.glued("{ ", node.span);
    for (at, device) in each(node).enumerate() {
        if at > 0 {
            out.glued(", ", device.span);
        }
        quoted(out, text(device, "dev")?, device.span)?;
    }
    out.glued(" }", node.span);
    Ok(())
}
