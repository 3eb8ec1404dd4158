//! `rampart import`.

use anyhow::Result;
use serde_json::json;

use super::{Session, Status, complain, print, ruleset};
use crate::{
    cli::args::Import,
    compile::SCHEMA,
    import::{self, Family, Translated},
    language::{self, Severity},
};

pub(super) fn run(session: &Session<'_>, arguments: &Import) -> Result<Status> {
    let Import { file, ip6, keep_going } = arguments;
    let saved = match ruleset::text(file)? {
        Ok(saved) => saved,
        Err(unread) => {
            ruleset::refuse(session, file, &unread)?;
            return Ok(Status::No);
        }
    };
    let family = if *ip6 { Family::Ipv6 } else { Family::Ipv4 };
    let name = ruleset::name(file);
    let Translated { text, problems } = import::translate(&name, &saved, family)?;
    let mut status = Status::Done;
    if problems.has_errors() {
        ruleset::refuse(session, file, &problems)?;
        status = Status::No;
    }
    // What was translated may still be nothing that can be applied here: told about the translation, which is what there is.
    if !text.is_empty()
        && let Err(problems) = language::parse_text(&format!("{name} (translated)"), &text, &ruleset::options())
    {
        match status {
            Status::Done => ruleset::refuse(session, file, &problems)?,
            Status::No | Status::Usage | Status::Refused => complain(&problems.render(session.is_coloured())),
        }
        status = Status::No;
    }
    if status == Status::Done {
        let warnings = ruleset::listed(&problems, Severity::Warning);
        session.answer(
            || json!({ "schema": SCHEMA, "ok": true, "file": name, "errors": [], "warnings": warnings, "ruleset": text }),
            || text.clone(),
        )?;
    } else if *keep_going && !session.global.json {
        print(&text)?;
    }
    Ok(status)
}
