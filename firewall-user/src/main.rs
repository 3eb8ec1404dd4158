//! The `rampart` command.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::{ColorChoice, CommandFactory, FromArgMatches};
use firewall_user::{
    cli::Cli,
    commands::{self, Status},
};

fn main() -> ExitCode {
    match arguments() {
        Ok(cli) => run(&cli),
        Err(error) => {
            // Help and version go to standard output; a reader that has gone is no failure.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Status::Usage as u8))
        }
    }
}

fn arguments() -> Result<Cli, clap::Error> {
    let plain = std::env::args_os().any(|argument| argument == "--no-color" || argument == "--no-colour");
    let color = if plain { ColorChoice::Never } else { ColorChoice::Auto };
    let matches = Cli::command().color(color).try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

fn run(cli: &Cli) -> ExitCode {
    let terminal = commands::Terminal {
        stdout: io::stdout().is_terminal(),
        stderr: io::stderr().is_terminal(),
        colour: !cli.global.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let status = commands::run(cli, terminal).unwrap_or_else(|error| {
        let status = commands::status_of(&error);
        if status != Status::Done {
            complain(cli.verb.name(), &error);
        }
        status
    });
    ExitCode::from(status as u8)
}

/// The error and its causes on one line; a cause that the error already names is not named again.
fn complain(verb: &str, error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "rampart: {verb}: {}", text.trim_end().replace('\n', " "));
}
