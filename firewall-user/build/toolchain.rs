//! Finds what builds the eBPF program: a Rust compiler that can target `bpfel-unknown-none`, and bpf-linker.
//!
//! Shared by `build.rs`, which needs it, and by `cargo xtask setup`, which installs it: one opinion of what is enough.
//! Only the standard library is used, so that a build script stays quick to build.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The target of the eBPF program.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The bpf-linker this project is built with.
pub(crate) const LINKER_VERSION: &str = "0.10.3";

/// The LLVM that version of bpf-linker is written against. It loads that library when it runs, from the compiler.
pub(crate) const LINKER_LLVM: &str = "22";

/// Debian's compiler (for the browsers it ships) that carries `core` for the BPF targets.
pub(crate) const PREBUILT_RUSTC: &str = "/usr/bin/rustc";

/// The packages that bring [`PREBUILT_RUSTC`] and its `core`.
pub(crate) const PREBUILT_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Everything that is needed, found.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// What compiles.
    pub(crate) compiler: Compiler,
    /// What links: path of bpf-linker.
    pub(crate) linker: PathBuf,
}

/// A compiler for the BPF target.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// The cargo to drive it with.
    pub(crate) cargo: PathBuf,
    /// The compiler itself, not rustup's stand-in for it.
    pub(crate) rustc: PathBuf,
    /// Its version, `1.96.0` for example.
    pub(crate) version: String,
    /// Its LLVM, which bpf-linker loads.
    pub(crate) llvm: PathBuf,
    /// Where its `core` comes from.
    pub(crate) core: Core,
}

/// Where `core` for the BPF target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// Built on the way, from rust-src.
    FromSource,
    /// Shipped with the compiler.
    Prebuilt,
}

/// What was not found, and why each candidate was not taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    /// Reasons, one for each compiler looked at; empty when one was found.
    pub(crate) compiler: Vec<String>,
    /// Why there is no bpf-linker; `None` when it was found.
    pub(crate) linker: Option<String>,
}

impl Toolchain {
    /// Looks for a toolchain on this machine.
    pub(crate) fn find() -> Result<Self, Missing> {
        match (Compiler::find(), find_linker()) {
            (Ok(compiler), Ok(linker)) => Ok(Self { compiler, linker }),
            (compiler, linker) => Err(Missing { compiler: compiler.err().unwrap_or_default(), linker: linker.err() }),
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, bpf-linker {LINKER_VERSION}", self.compiler)
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::FromSource => "core built from rust-src",
            Core::Prebuilt => "core for BPF already built",
        };
        write!(f, "rustc {} at {} ({core})", self.version, self.rustc.display())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the eBPF program cannot be built here:")?;
        for reason in self.compiler.iter().chain(&self.linker) {
            writeln!(f, "  - {reason}")?;
        }
        writeln!(f, "run `cargo xtask setup` as root on Debian or Ubuntu, or install it yourself:")?;
        write!(f, "    {}", self.commands().join("\n    "))
    }
}

impl Missing {
    /// The commands that would bring what is missing.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        if !self.compiler.is_empty() {
            let packages = PREBUILT_PACKAGES.join(" ");
            commands.push(format!("apt-get install -y --no-install-recommends {packages}    # Debian, or"));
            commands.push("rustup toolchain install nightly --component rust-src    # anywhere".to_owned());
        }
        if self.linker.is_some() {
            commands.push(format!("cargo install bpf-linker --version {LINKER_VERSION} --locked"));
        }
        commands
    }
}

impl Compiler {
    /// A rustup nightly with rust-src, else a compiler that already carries `core`; else why neither will do.
    pub(crate) fn find() -> Result<Self, Vec<String>> {
        Self::nightly().or_else(|nightly| Self::prebuilt().map_err(|prebuilt| vec![nightly, prebuilt]))
    }

    fn nightly() -> Result<Self, String> {
        let rustup = |program: &str| {
            output(Command::new("rustup").args(["which", "--toolchain", "nightly", program]))
                .map(PathBuf::from)
                .ok_or_else(|| "rustup has no nightly toolchain".to_owned())
        };
        let rustc = rustup("rustc")?;
        if !sysroot(&rustc)?.join("lib/rustlib/src/rust/library/core").is_dir() {
            return Err("rustup's nightly toolchain is without the component rust-src".to_owned());
        }
        Self::new(rustup("cargo")?, rustc, Core::FromSource)
    }

    fn prebuilt() -> Result<Self, String> {
        let rustc = PathBuf::from(PREBUILT_RUSTC);
        if !rustc.exists() {
            return Err(format!("there is no {PREBUILT_RUSTC} (Debian's {})", PREBUILT_PACKAGES[0]));
        }
        let core = sysroot(&rustc)?.join("lib/rustlib").join(TARGET);
        if !core.is_dir() {
            return Err(format!("{PREBUILT_RUSTC} is without core for {TARGET}: no {}", core.display()));
        }
        // Cargo names itself to what it runs. That is the program proper, where `cargo` may be rustup's stand-in,
        // which puts its own LLVM in front of ours.
        let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        Self::new(cargo, rustc, Core::Prebuilt)
    }

    fn new(cargo: PathBuf, rustc: PathBuf, core: Core) -> Result<Self, String> {
        let told = output(Command::new(&rustc).arg("-vV")).unwrap_or_default();
        let line = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        let llvm = line("LLVM version:");
        if llvm.split('.').next() != Some(LINKER_LLVM) {
            return Err(format!(
                "{} has LLVM {llvm}, and bpf-linker {LINKER_VERSION} needs LLVM {LINKER_LLVM}",
                rustc.display()
            ));
        }
        let llvm = find_llvm(&sysroot(&rustc)?)
            .ok_or_else(|| format!("{} has no libLLVM.so.{LINKER_LLVM} beside it", rustc.display()))?;
        Ok(Self { cargo, version: line("release:").to_owned(), rustc, llvm, core })
    }
}

/// The bpf-linker of the right version: on the search path, or where `cargo install` puts it.
pub(crate) fn find_linker() -> Result<PathBuf, String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let candidates = env::split_paths(&path).chain(home.map(|home| home.join("bin")));
    let mut other = None;
    for linker in candidates.map(|directory| directory.join("bpf-linker")).filter(|linker| linker.is_file()) {
        let version = output(Command::new(&linker).arg("--version")).unwrap_or_default();
        if version.split_whitespace().nth(1) == Some(LINKER_VERSION) {
            return Ok(linker);
        }
        other.get_or_insert(format!("{} is `{version}`, {LINKER_VERSION} is needed", linker.display()));
    }
    Err(other.unwrap_or_else(|| "there is no bpf-linker on the search path or in cargo's bin directory".to_owned()))
}

fn sysroot(rustc: &Path) -> Result<PathBuf, String> {
    output(Command::new(rustc).args(["--print", "sysroot"]))
        .map(PathBuf::from)
        .ok_or_else(|| format!("{} does not run", rustc.display()))
}

/// `libLLVM.so.22.1` or the like, in the sysroot's `lib` or (Debian) in that of the architecture.
fn find_llvm(sysroot: &Path) -> Option<PathBuf> {
    let library = |directory: PathBuf| {
        let wanted = format!("libLLVM.so.{LINKER_LLVM}");
        entries(&directory).find(|path| file_name(path).starts_with(&wanted))
    };
    let lib = sysroot.join("lib");
    let of_architecture = entries(&lib).filter(|path| file_name(path).ends_with("-linux-gnu"));
    [lib.clone(), sysroot.join("lib64")].into_iter().chain(of_architecture).find_map(library)
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a command prints, when it can be run and succeeds. rustup must not install anything because it was asked.
fn output(command: &mut Command) -> Option<String> {
    let output = command.env("RUSTUP_AUTO_INSTALL", "0").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
