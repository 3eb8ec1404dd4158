//! As much of HTTP/1.1 as a scraper and a browser need: one request a connection, `GET` and `HEAD` only, bounded in size
//! and in time.

use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Request, Status};
use serde_json::Value;

/// Longest request that is read, bytes.
pub(super) const LONGEST: usize = 8192;
/// Most headers of a request.
const HEADERS: usize = 64;

/// A request, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The method.
    pub(super) method: String,
    /// The path, without what is behind a question mark.
    pub(super) path: String,
    /// What is behind it.
    pub(super) query: String,
    /// The Host header.
    pub(super) host: Option<String>,
    /// The Accept header.
    pub(super) accept: String,
    /// Where the page is from that makes a browser ask, as it says (`Sec-Fetch-Site`).
    pub(super) site: Option<String>,
}

/// Reads a request. `Ok(None)`: there is more to come.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Asked>, &'static str> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if bytes.len() < LONGEST => return Ok(None),
        Ok(Status::Partial) => return Err("the request is too long"),
        Err(_) => return Err("this is no HTTP request"),
    }
    let named = |name: &str| {
        let mut found = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = found.next().and_then(|header| std::str::from_utf8(header.value).ok()).map(str::to_owned);
        // Two of one kind: somebody hopes that two readers take different ones.
        if found.next().is_some() { None } else { value }
    };
    let target = request.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Asked {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        host: named("host"),
        accept: named("accept").unwrap_or_default(),
        site: named("sec-fetch-site"),
    }))
}

impl Asked {
    /// Is it meant for this server? A page of somebody else's can make a browser ask any address, but under the name
    /// that it was loaded from (DNS rebinding): only addresses, localhost and `known` names are answered.
    pub(super) fn is_for_us(&self, known: &[String]) -> bool {
        let Some(host) = &self.host else { return false };
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or_default(),
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || known.iter().any(|one| one.eq_ignore_ascii_case(name))
    }

    /// A parameter of the query, decoded; `None` when it is not there or is no text.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        decoded(pairs.find(|(key, _)| *key == name)?.1)
    }

    /// Does another site's page ask?
    pub(super) fn is_foreign(&self) -> bool {
        self.site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none"))
    }
}

/// `a%20b+c` is `a b c`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                rest = behind;
                let digit = |digit: u8| char::from(digit).to_digit(16);
                (digit(*high)? << 4 | digit(*low)?) as u8
            }
            (b'%', _) => return None,
            (b'+', _) => b' ',
            (other, _) => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The status line behind the version.
    pub(super) status: &'static str,
    /// The media type.
    pub(super) media_type: &'static str,
    /// What it is.
    pub(super) body: String,
}

impl Reply {
    /// A sentence.
    pub(super) fn plain(status: &'static str, text: &str) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", body: format!("{text}\n") }
    }

    /// A value.
    pub(super) fn json(status: &'static str, value: &Value) -> Self {
        Self { status, media_type: "application/json", body: format!("{value}\n") }
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self, with_body: bool) -> Vec<u8> {
        let Self { status, media_type, body } = self;
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Connection: close\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
             connect-src 'self'; form-action 'none'; frame-ancestors 'none'\r\nAllow: GET, HEAD\r\n\r\n",
            body.len()
        );
        if with_body {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Asked {
        read(text.as_bytes()).expect("a request").expect("a whole one")
    }

    #[test]
    fn a_request_is_read_as_far_as_it_has_come() {
        assert_eq!(read(b"GET / HT"), Ok(None));
        assert!(read(b"\x16\x03\x01").is_err());
        assert!(read(&vec![b'A'; LONGEST]).is_err());
        let asked = asked("GET /api/why?packet=tcp HTTP/1.1\r\nHost: localhost:9630\r\nAccept: a/b\r\n\r\n");
        assert_eq!((asked.path.as_str(), asked.query.as_str()), ("/api/why", "packet=tcp"));
        assert_eq!(asked.accept, "a/b");
    }

    #[test]
    fn parameters_are_decoded() {
        let asked = asked(
            "GET /api/why?packet=tcp+%5B2001%3adb8%3A%3A1%5D%20x&empty=&bad=%zz&cut=%4&wrong=%ff HTTP/1.1\r\n\r\n",
        );
        assert_eq!(asked.parameter("packet").as_deref(), Some("tcp [2001:db8::1] x"));
        assert_eq!(asked.parameter("empty").as_deref(), Some(""));
        for name in ["bad", "cut", "wrong", "none"] {
            assert_eq!(asked.parameter(name), None, "{name}");
        }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let host = |host: &str| asked(&format!("GET / HTTP/1.1\r\n{host}\r\n")).is_for_us(&["fw.example".to_owned()]);
        for ours in ["Host: localhost\r\n", "Host: 127.0.0.1:9630\r\n", "Host: [::1]:9630\r\n", "Host: FW.example\r\n"]
        {
            assert!(host(ours), "{ours}");
        }
        for foreign in
            ["", "Host: evil.example\r\n", "Host: 127.0.0.1.evil.example\r\n", "Host: a\r\nHost: localhost\r\n"]
        {
            assert!(!host(foreign), "{foreign}");
        }
    }

    #[test]
    fn pages_of_others_are_told_apart() {
        let site = |site: &str| asked(&format!("GET / HTTP/1.1\r\nSec-Fetch-Site: {site}\r\n\r\n")).is_foreign();
        assert!(site("cross-site") && site("same-site"));
        assert!(!site("same-origin") && !site("none"));
    }
}
