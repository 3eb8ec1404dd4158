//! What commands and the agent did, as events: the same schema as those of packets.

use std::{fmt::Write, net::IpAddr};

use firewall_common::event::Kind;
use serde_json::{Value, json};

use super::{
    clock::Clock,
    events::{Tale, blank, wanted},
    words::{self, counted, printable},
};
use crate::{
    cli::values::{EventFilter, Prefix},
    kernel::{Applying, Happening, Outcome, What},
};

impl Tale for Happening {
    fn is_wanted(&self, filters: &[EventFilter]) -> bool {
        wanted(filters, |filter| is_under(self, filter))
    }

    fn line(&self, _: Clock) -> String {
        let moment = Clock::since(0).at(self.time_ns);
        format!("{} {:<7} {}", moment.time(), self.what.kind().name(), text(self))
    }

    fn json(&self, _: Clock) -> Value {
        let mut json = blank(self.what.kind(), Clock::since(0).at(self.time_ns), self.generation);
        json["by"] = Some(self.by.clone()).filter(|by| !by.is_empty()).into();
        match &self.what {
            What::Apply(applying) => {
                let Applying { result, file, rules, seconds, confirm_within, error } = applying;
                json["apply"] = json!({
                    "result": result.name(),
                    "file": file,
                    "rules": rules,
                    "seconds": seconds,
                    "confirm_within": confirm_within,
                    "error": error,
                });
            }
            What::Ban { source, seconds, reason, is_new } => {
                json["ban"] = json!({ "source": source, "seconds": seconds, "reason": reason, "new": is_new });
            }
            What::Unban { source } => json["ban"] = json!({ "source": source }),
            What::Backend { map, backend, is_up: _, error } => {
                json["backend"] = json!({ "map": map, "address": backend, "error": error });
            }
            What::Flood { is_on: _, reason, counted, threshold } => {
                json["flood"] = json!({ "reason": reason, "counted": counted, "threshold": threshold });
            }
        }
        json
    }

    fn kind(&self) -> Kind {
        self.what.kind()
    }
}

/// What it is about, if that is an address: the banned ones, or a backend.
fn subject(happening: &Happening) -> (Option<Prefix>, Option<u16>) {
    match &happening.what {
        What::Ban { source, .. } | What::Unban { source } => (source.parse().ok(), None),
        What::Backend { backend, .. } => match backend.parse::<std::net::SocketAddr>() {
            Ok(socket) => (socket.ip().to_string().parse().ok(), Some(socket.port())),
            Err(_) => (backend.parse().ok(), None),
        },
        What::Apply(_) | What::Flood { .. } => (None, None),
    }
}

fn is_under(happening: &Happening, filter: &EventFilter) -> bool {
    let (subject, port) = subject(happening);
    let is_ban = matches!(happening.what, What::Ban { .. } | What::Unban { .. });
    let contains = |wanted: &Prefix| {
        subject.is_some_and(|subject| {
            let first: IpAddr = subject.parts().0;
            wanted.contains(first) || subject.covers(wanted)
        })
    };
    match filter {
        EventFilter::Kind(kind) => happening.what.kind() == *kind,
        EventFilter::Host(prefix) => contains(prefix),
        EventFilter::Source(prefix) => is_ban && contains(prefix),
        EventFilter::Destination(prefix) => !is_ban && contains(prefix),
        EventFilter::DestinationPort(wanted) | EventFilter::Port(wanted) => port == Some(*wanted),
        EventFilter::Protocol(_)
        | EventFilter::SourcePort(_)
        | EventFilter::Reason(_)
        | EventFilter::Layer(_)
        | EventFilter::Hook(_)
        | EventFilter::Interface(_) => false,
    }
}

fn text(happening: &Happening) -> String {
    let by = &happening.by;
    match &happening.what {
        What::Apply(applying) => apply(happening, applying),
        What::Ban { source, seconds, reason, is_new } => {
            let time =
                seconds.map_or_else(|| "until it is lifted".to_owned(), |time| format!("for {}", words::seconds(time)));
            let again = if *is_new { "" } else { ", from now on" };
            let mut text = format!("{source} {time}{again}, by {by}");
            if !reason.is_empty() {
                let _ = write!(text, ": {}", printable(reason));
            }
            text
        }
        What::Unban { source } if by.is_empty() => format!("{source}, its time is over"),
        What::Unban { source } => format!("{source}, by {by}"),
        What::Backend { map, backend, is_up, error } => {
            let what = if *is_up { "answers" } else { "does not answer" };
            let why = error.as_ref().map_or_else(String::new, |error| format!(": {}", printable(error)));
            format!("{backend} of {map} {what}{why}")
        }
        What::Flood { is_on: _, reason, counted, threshold } => {
            format!("{reason}: {counted}, a flood from {threshold} on")
        }
    }
}

fn apply(happening: &Happening, applying: &Applying) -> String {
    let Applying { result, file, rules, seconds, confirm_within, error } = applying;
    let (generation, by) = (happening.generation, &happening.by);
    let in_force = if generation == 0 {
        "nothing is in force".to_owned()
    } else {
        format!("generation {generation} is in force, {}", counted(*rules, "rule"))
    };
    let file = file.as_ref().map_or_else(String::new, |file| format!("{}: ", printable(file)));
    // Nobody does what happens because the time is over.
    let by = if by.is_empty() { String::new() } else { format!(", by {by}") };
    let mut text = format!("{file}{}, {in_force}{by}", result.name().replace('_', " "));
    if *result == Outcome::Applied {
        let _ = write!(text, ", in {}", words::took(std::time::Duration::from_secs_f64(seconds.max(0.0))));
    }
    if let Some(within) = confirm_within {
        let _ = write!(text, ", to be confirmed within {}", words::seconds(*within as u64));
    }
    if let Some(error) = error {
        let _ = write!(text, ": {}", printable(error));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(what: What) -> Happening {
        Happening { number: 7, time_ns: 1_700_000_001_500_000_000, generation: 4, by: "alice".to_owned(), what }
    }

    fn applied(result: Outcome, error: Option<&str>) -> What {
        What::Apply(Applying {
            result,
            file: Some("rules.nft".to_owned()),
            rules: 12,
            seconds: 0.5,
            confirm_within: None,
            error: error.map(str::to_owned),
        })
    }

    fn ban(source: &str) -> What {
        What::Ban { source: source.to_owned(), seconds: Some(600), reason: "ssh".to_owned(), is_new: true }
    }

    #[test]
    fn a_line_each() {
        let rows = [
            (
                applied(Outcome::Applied, None),
                "22:13:21.500Z apply   rules.nft: applied, generation 4 is in force, 12 rules, by alice, in 500 ms",
            ),
            (
                applied(Outcome::Refused, Some("2 errors")),
                "22:13:21.500Z apply   rules.nft: refused, generation 4 is in force, 12 rules, by alice: 2 errors",
            ),
            (ban("203.0.113.9"), "22:13:21.500Z ban     203.0.113.9 for 10m, by alice: ssh"),
            (What::Unban { source: "203.0.113.0/24".to_owned() }, "22:13:21.500Z unban   203.0.113.0/24, by alice"),
            (
                What::Backend {
                    map: "web".to_owned(),
                    backend: "192.0.2.11:8443".to_owned(),
                    is_up: false,
                    error: Some("refused".to_owned()),
                },
                "22:13:21.500Z backend_down 192.0.2.11:8443 of web does not answer: refused",
            ),
        ];
        for (what, line) in rows {
            assert_eq!(happening(what).line(Clock::since(0)), line);
        }
    }

    #[test]
    fn json_has_the_keys_of_all_events_and_one_of_its_own() {
        let json = happening(applied(Outcome::Refused, Some("x"))).json(Clock::since(0));
        assert_eq!(json["event"], "apply");
        assert_eq!(json["time"], "2023-11-14T22:13:21.500Z");
        assert_eq!((&json["apply"]["result"], &json["apply"]["error"]), (&"refused".into(), &"x".into()));
        assert_eq!((&json["packet"], &json["rule"], &json["ban"]), (&Value::Null, &Value::Null, &Value::Null));
        let json = happening(ban("203.0.113.9")).json(Clock::since(0));
        assert_eq!((&json["ban"]["seconds"], &json["by"]), (&600.into(), &"alice".into()));
    }

    #[test]
    fn filters() {
        let rows: [(&[&str], bool); 7] = [
            (&[], true),
            (&["ban"], true),
            (&["apply", "unban"], false),
            (&["src=203.0.113.9"], true),
            (&["host=203.0.113.0/24", "ban"], true),
            (&["src=198.51.100.1"], false),
            (&["dport=22"], false),
        ];
        for (texts, expected) in rows {
            let filters: Vec<EventFilter> = texts.iter().map(|text| text.parse().expect(text)).collect();
            assert_eq!(happening(ban("203.0.113.9")).is_wanted(&filters), expected, "{texts:?}");
        }
    }
}
