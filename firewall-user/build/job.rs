//! Builds the eBPF object with the toolchain that was found.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::toolchain::{Core, TARGET, Toolchain};

/// Set to anything, it makes a warning in the eBPF program an error.
pub(crate) const DENY_WARNINGS: &str = "RAMPART_EBPF_DENY_WARNINGS";

/// Package and binary.
const PACKAGE: &str = "firewall-ebpf";
const BINARY: &str = "rampart-ebpf";

/// Variables that steer the cargo around us and would steer the one inside as well, by how their names begin.
/// What only says where things are (`CARGO_HOME`, registries, `RUSTUP_HOME`) stays, and so does the job server.
const LEAKS: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_ENCODED_RUST",
    "CARGO_FEATURE_",
    "CARGO_INCREMENTAL",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "CLIPPY_",
    "DEP_",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// One build of the eBPF program.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The workspace's root.
    pub(crate) workspace: PathBuf,
    /// A target directory of its own: cargo holds a lock on the one around us.
    pub(crate) target: PathBuf,
    /// With the program's own debugging output.
    pub(crate) debug_log: bool,
}

impl Job {
    /// Where the object is once [`Job::command`] succeeded.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join(TARGET).join("release").join(BINARY)
    }

    /// The command that builds the object.
    pub(crate) fn command(&self, toolchain: &Toolchain) -> io::Result<Command> {
        let compiler = &toolchain.compiler;
        let mut command = Command::new(&compiler.cargo);
        for (name, _) in env::vars_os() {
            if LEAKS.iter().any(|leak| name.to_string_lossy().starts_with(leak)) {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&self.workspace)
            .args(["build", "--release", "--target", TARGET, "--package", PACKAGE, "--bin", BINARY])
            .arg("--target-dir")
            .arg(&self.target)
            .env("RUSTC", &compiler.rustc)
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain))
            .env("LD_LIBRARY_PATH", self.llvm_directory(&compiler.llvm)?);
        if self.debug_log {
            command.args(["--features", "debug-log"]);
        }
        match compiler.core {
            Core::FromSource => command.args(["-Z", "build-std=core"]),
            // The prebuilt `core` is of a stable compiler; the target and aya-ebpf use unstable features.
            Core::Prebuilt => command.env("RUSTC_BOOTSTRAP", "1"),
        };
        Ok(command)
    }

    /// A directory with nothing in it but the compiler's LLVM: bpf-linker takes the first libLLVM it meets in
    /// `LD_LIBRARY_PATH`, and where several versions lie side by side that may be one that cannot read the bitcode.
    fn llvm_directory(&self, llvm: &Path) -> io::Result<PathBuf> {
        let directory = self.target.join("llvm");
        let link = directory.join("libLLVM.so");
        fs::create_dir_all(&directory)?;
        if fs::read_link(&link).is_ok_and(|target| target == llvm) {
            return Ok(directory);
        }
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(llvm, &link)?,
        }
        Ok(directory)
    }
}

/// Compiler flags, in cargo's encoding. `v3` is what Linux 5.1 and later take: 32-bit instructions and jumps.
fn flags(toolchain: &Toolchain) -> String {
    let linker = format!("linker={}", toolchain.linker.display());
    let mut flags = Vec::new();
    for flag in [&linker, "debuginfo=2", "link-arg=--btf", "target-cpu=v3"] {
        flags.extend(["-C", flag]);
    }
    if env::var_os(DENY_WARNINGS).is_some() {
        flags.extend(["-D", "warnings"]);
    }
    flags.join("\u{1f}")
}
