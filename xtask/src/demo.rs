//! `cargo xtask demo`: rampart at work between two network namespaces, and on a router between two others.
//!
//! Every attempt has an outcome that the ruleset promises; the demo fails when another one is seen.

mod attempts;
mod routers;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use firewall_tests::{
    command::{Background, Rampart},
    sockets::{Outcome, PATIENTLY, Talk},
    topology::{Pair, SERVER},
};

use crate::{
    build,
    setup::{self, For},
    shell,
};
use attempts::{ATTEMPTS, Attempt, Servers};

/// How long to wait for the events of what has already happened.
const EVENTS: Duration = Duration::from_secs(2);

pub(crate) fn run() -> Result<()> {
    shell::need_root("making network namespaces and loading programs into the kernel", "cargo xtask demo")?;
    setup::run(For::Tests)?;
    build::rampart(false)?;

    let pair = Pair::new();
    let servers = Servers::start(&pair);
    let rampart = Rampart::on(&pair.server);
    picture(&pair);
    apply(&rampart)?;
    let monitor = rampart.start(&["monitor"]);
    let mut unexpected = traffic(&pair, ATTEMPTS);
    let mut login = log_in(&pair)?;
    events(&monitor);
    for verb in ["list", "conns", "counters", "status"] {
        show(&rampart, &[verb])?;
    }
    without_us(monitor, &mut login)?;
    unexpected += stop(&pair, &rampart)?;
    drop(servers);
    unexpected += routers::show()?;
    ensure!(unexpected == 0, "{unexpected} attempts did not end as the ruleset promises");
    println!("\nEvery attempt ended as the ruleset promises.");
    Ok(())
}

/// The ruleset of the demo.
fn ruleset() -> PathBuf {
    shell::root().join("examples/demo.nft")
}

fn title(text: &str) {
    println!("\n== {text}\n");
}

fn picture(pair: &Pair) {
    title("Two hosts on one wire, each a network namespace of its own");
    println!("   client 192.0.2.1      eth0 ------ eth0   server 192.0.2.2");
    println!("          2001:db8:1::1                            2001:db8:1::2, rampart is here");
    println!("   namespaces: {} and {}", pair.client.name(), pair.server.name());
}

fn apply(rampart: &Rampart) -> Result<()> {
    title("The rules, in the language of nftables");
    let rules = fs::read_to_string(ruleset()).context("reading the demo's ruleset")?;
    rules.lines().for_each(|line| println!("   {line}"));
    title("Put in force");
    show(rampart, &["apply", &ruleset().to_string_lossy()])
}

/// Runs a command of rampart's and shows it with what it prints.
fn show(rampart: &Rampart, arguments: &[&str]) -> Result<()> {
    run_shown(rampart, arguments)?;
    println!();
    Ok(())
}

/// The same, without a line behind it.
fn run_shown(rampart: &Rampart, arguments: &[&str]) -> Result<()> {
    let output = rampart.run(arguments);
    println!("$ rampart {}", arguments.join(" ").replace(&format!("{}/", shell::root().display()), ""));
    output.stdout.lines().chain(output.stderr.lines()).for_each(|line| println!("   {line}"));
    if output.status != 0 {
        bail!("`{}` failed with exit status {}", output.line, output.status);
    }
    Ok(())
}

/// Makes the attempts and returns how many ended otherwise than promised.
fn traffic(pair: &Pair, attempts: &[Attempt]) -> usize {
    title("Traffic, as the one who tried saw it");
    let mut unexpected = 0;
    for attempt in attempts {
        let seen = attempt.make(pair);
        println!("   {attempt:<45} {:<14} {}", attempts::word(seen), attempt.why);
        if seen != attempt.promised {
            println!("   ^ the ruleset promises: {}", attempts::word(attempt.promised));
            unexpected += 1;
        }
    }
    unexpected
}

/// Opens a connection that stays for the rest of the demo.
fn log_in(pair: &Pair) -> Result<Talk> {
    let opened = Talk::open(&pair.client, (SERVER, 22), PATIENTLY);
    opened.map_err(|outcome| anyhow!("a connection to port 22 that stays open: {}", attempts::word(outcome)))
}

fn events(monitor: &Background) {
    title("Events, as `rampart monitor` printed them meanwhile");
    for line in monitor.lines_until(EVENTS, |line| line.contains("no mail")) {
        println!("   {line}");
    }
}

/// Kills the only process of rampart's and shows that this changes nothing.
fn without_us(monitor: Background, login: &mut Talk) -> Result<()> {
    title("No process of rampart's runs any more");
    drop(monitor);
    let outcome = login.echo(PATIENTLY);
    println!("   a message over the log-in opened before: {}", attempts::word(outcome));
    ensure!(outcome == Outcome::Connected, "an open connection does not outlive rampart's processes");
    Ok(())
}

/// Takes everything away and shows that what was dropped now arrives.
fn stop(pair: &Pair, rampart: &Rampart) -> Result<usize> {
    title("Stopped");
    show(rampart, &["stop"])?;
    Ok(traffic(pair, attempts::UNPROTECTED))
}
