//! Builds the eBPF program, so that the `rampart` binary carries it inside itself.
//!
//! Sets `RAMPART_EBPF_OBJECT` (path of the object) and `RAMPART_EBPF_TOOLCHAIN` (what built it). Where no eBPF
//! toolchain is found, a debug build goes on with an empty object and says what is missing; a release build fails.

#[path = "build/frames.rs"]
mod frames;
#[path = "build/job.rs"]
mod job;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use job::{DENY_WARNINGS, Job};
use toolchain::Toolchain;

/// Set to anything, it makes a debug build go without the eBPF program, for who works on something else.
const SKIP: &str = "RAMPART_EBPF_SKIP";

fn main() -> ExitCode {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let workspace = package.parent().expect("the package is in a workspace").to_owned();
    watch(&workspace);
    match run(&workspace, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Names what the object depends on.
fn watch(workspace: &Path) {
    for crate_name in ["firewall-ebpf", "firewall-common"] {
        for part in ["src", "Cargo.toml"] {
            rerun_if_changed(&workspace.join(crate_name).join(part));
        }
    }
    for part in ["Cargo.toml", "Cargo.lock", "firewall-user/build.rs", "firewall-user/build"] {
        rerun_if_changed(&workspace.join(part));
    }
    for variable in [DENY_WARNINGS, SKIP] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
}

fn run(workspace: &Path, out: &Path) -> Result<(), String> {
    let object = out.join("rampart-ebpf.o");
    println!("cargo::rustc-env=RAMPART_EBPF_OBJECT={}", object.display());
    let toolchain = if env::var_os(SKIP).is_some() { Err(format!("{SKIP} is set")) } else { find() };
    let description = match toolchain {
        Ok(toolchain) => {
            let debug_log = env::var_os("CARGO_FEATURE_DEBUG_LOG").is_some();
            build(&toolchain, &Job { workspace: workspace.to_owned(), target: out.join("ebpf"), debug_log }, &object)?;
            toolchain.to_string()
        }
        Err(reason) => {
            go_without(&reason, out, &object)?;
            "none: built without the eBPF program".to_owned()
        }
    };
    println!("cargo::rustc-env=RAMPART_EBPF_TOOLCHAIN={description}");
    Ok(())
}

fn find() -> Result<Toolchain, String> {
    let toolchain = Toolchain::find().map_err(|missing| missing.to_string())?;
    rerun_if_changed(&toolchain.compiler.rustc);
    rerun_if_changed(&toolchain.linker);
    Ok(toolchain)
}

/// Leaves an empty object and says why; in a release build, fails.
fn go_without(reason: &str, out: &Path, object: &Path) -> Result<(), String> {
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        return Err(format!("{reason}\na release build of rampart carries the eBPF program, so it stops here"));
    }
    reason.lines().for_each(warn);
    warn("going on without it: this rampart can check rulesets and load none");
    // A path that is never there: look again at the next build.
    rerun_if_changed(&out.join("toolchain-missing"));
    fs::write(object, []).map_err(|error| format!("{}: {error}", object.display()))
}

/// Builds the object and passes the compiler's warnings on: cargo hides what a build script prints.
fn build(toolchain: &Toolchain, job: &Job, object: &Path) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let mut command = job.command(toolchain).map_err(|error| failed("preparing the eBPF build", &error))?;
    let output =
        command.arg("--quiet").output().map_err(|error| failed("starting cargo for the eBPF program", &error))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("building the eBPF program failed ({toolchain})\n{messages}"));
    }
    messages.lines().filter(|line| !line.is_empty()).for_each(warn);
    let mut bytes = fs::read(job.object()).map_err(|error| failed("reading the eBPF object", &error))?;
    frames::whole(&mut bytes).map_err(|problem| format!("the eBPF object: {problem}"))?;
    fs::write(object, bytes).map_err(|error| failed("writing the eBPF object", &error))
}

fn warn(line: impl AsRef<str>) {
    println!("cargo::warning={}", line.as_ref());
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
