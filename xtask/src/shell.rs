//! Running other programs, and saying so.

use std::{
    env,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Variables that describe the cargo run which started us; a cargo that we start must not see them, or it would
/// rebuild what depends on them.
const OURS: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PRIMARY_PACKAGE", "CARGO_BIN_", "CARGO_CRATE_"];

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in a workspace").to_owned()
}

/// The cargo that started us, in the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if OURS.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(root());
    command
}

/// Shows a command, runs it and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = show(command);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Prints a command as one would type it, and gives that line back.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = [program].into_iter().chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    let line = words.join(" ");
    eprintln!("$ {line}");
    line
}

/// The program of that name on the search path, or where administrators' programs are.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administrators).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Are we root?
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

/// Fails unless we are root, with what to type instead.
pub(crate) fn need_root(why: &str, command: &str) -> Result<()> {
    if !is_root() {
        bail!("{why} needs root: run `sudo --preserve-env=PATH,HOME {command}`");
    }
    Ok(())
}
