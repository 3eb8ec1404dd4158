//! `cargo xtask setup`: finds what building and testing needs, installs what is missing, says what it found.

use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    shell,
    toolchain::{Compiler, LINKER_VERSION, PREBUILT_PACKAGES, Toolchain, find_linker},
};

/// What the machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Building `rampart`.
    Builds,
    /// Building it, and running tests and demo.
    Tests,
}

/// Programs that tests and demo run, and the Debian packages they come in.
const TOOLS: &[(&str, &str)] = &[
    ("nft", "nftables"),
    ("iptables-restore-translate", "iptables"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ethtool", "ethtool"),
    ("strace", "strace"),
    ("iperf3", "iperf3"),
    ("tcpdump", "tcpdump"),
    ("nc.openbsd", "netcat-openbsd"),
    ("ping", "iputils-ping"),
    ("traceroute", "traceroute"),
    ("promtool", "prometheus"),
    ("tshark", "tshark"),
    ("curl", "curl"),
    ("tmux", "tmux"),
    ("dropbear", "dropbear-bin"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
    ("prometheus", "prometheus"),
    ("chromium", "chromium"),
    ("fail2ban-server", "fail2ban"),
    ("nmap", "nmap"),
    ("hping3", "hping3"),
];

/// Finds or installs everything, and returns the eBPF toolchain.
pub(crate) fn run(purpose: For) -> Result<Toolchain> {
    let mut packages = compiler_packages();
    if purpose == For::Tests {
        packages.extend(tool_packages());
    }
    packages.dedup();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    ensure_linker()?;
    Toolchain::find().map_err(|missing| anyhow!("{missing}"))
}

/// Says which compiler there is, or returns the packages that bring one.
fn compiler_packages() -> Vec<&'static str> {
    match Compiler::find() {
        Ok(compiler) => {
            found(&format!("eBPF compiler: {compiler}"));
            Vec::new()
        }
        Err(reasons) => {
            missing(&format!("eBPF compiler: {}", reasons.join("; ")), &PREBUILT_PACKAGES.join(", "));
            PREBUILT_PACKAGES.to_vec()
        }
    }
}

/// Says which tools there are and returns the packages of the others.
fn tool_packages() -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (tool, package) in TOOLS {
        if let Some(path) = shell::which(tool) {
            found(&format!("{tool}: {}", path.display()));
        } else {
            missing(tool, package);
            packages.push(*package);
        }
    }
    packages
}

/// Installs Debian packages, or fails with the command that would.
fn install_packages(packages: &[&str]) -> Result<()> {
    // `--no-remove`: Debian's rustc-web replaces its rustc, and that is not ours to decide.
    let options = ["install", "-y", "--no-install-recommends", "--no-remove"];
    let by_hand = format!("apt-get update && apt-get {} {}", options.join(" "), packages.join(" "));
    if shell::which("apt-get").is_none() {
        bail!(
            "this is not Debian or Ubuntu: install by hand what these packages bring there: {}\n{}",
            packages.join(" "),
            Toolchain::find().err().map(|missing| missing.to_string()).unwrap_or_default()
        );
    }
    if !shell::is_root() {
        bail!("packages are missing and only root can install them; run\n    {by_hand}");
    }
    // A source that cannot be reached fails the update and may be one that nothing is needed from.
    if let Err(error) = shell::run(apt_get().arg("update")) {
        eprintln!("going on without: {error:#}");
    }
    shell::run(apt_get().args(options).args(packages)).with_context(|| format!("to do it by hand:\n    {by_hand}"))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // No service is started by being installed (`invoke-rc.d` asks for the runlevel).
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

/// Finds bpf-linker or has cargo build it: about a minute and a half, once.
fn ensure_linker() -> Result<()> {
    match find_linker() {
        Ok(path) => found(&format!("bpf-linker {LINKER_VERSION}: {}", path.display())),
        Err(reason) => {
            missing(&format!("bpf-linker: {reason}"), "cargo install");
            shell::run(&mut shell::cargo(&["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"]))?;
        }
    }
    Ok(())
}

fn found(what: &str) {
    println!("found       {what}");
}

fn missing(what: &str, from: &str) {
    println!("installing  {what} (from {from})");
}
