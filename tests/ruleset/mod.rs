//! Files beside what is expected of them, and the kernel's `nft` in a network namespace of its own.
#![allow(dead_code, reason = "each test uses its part")]

use std::{env, fs, path::PathBuf, process::Command};

use firewall_user::language::Options;

/// A ruleset file.
pub(crate) struct Case {
    /// Its name without the ending.
    pub(crate) name: String,
    /// Its path from the package's folder, which is where tests run.
    pub(crate) path: String,
}

impl Case {
    /// The file of the same name with another ending.
    pub(crate) fn beside(&self, ending: &str) -> String {
        let stem = self.path.rsplit_once('.').map_or(&*self.path, |(stem, _)| stem);
        format!("{stem}.{ending}")
    }
}

/// The ruleset files of a folder, sorted.
pub(crate) fn files(folder: &str) -> Vec<Case> {
    files_ending(folder, "nft")
}

/// The files of a folder with this ending, sorted.
pub(crate) fn files_ending(folder: &str, ending: &str) -> Vec<Case> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    assert!(!paths.is_empty(), "{folder} has no ruleset");
    let name = |path: &PathBuf| path.file_stem().expect("a file").to_string_lossy().into_owned();
    paths.into_iter().map(|path| Case { name: name(&path), path: path.to_string_lossy().into_owned() }).collect()
}

/// A file's text.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares with an expected file, or writes it when asked to.
pub(crate) fn expect(path: &str, found: &str) {
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, found).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{path} (UPDATE_EXPECT=1 writes it anew)");
}

/// Every network namespace has `lo`, as number 1; the tests know no other interface.
pub(crate) fn options() -> Options<'static> {
    Options { interface: &|name| (name == "lo").then_some(1), include_directories: vec![PathBuf::from("/etc")] }
}

/// Runs a shell command in a new network namespace: its output, or its complaint.
pub(crate) fn in_own_namespace(command: &str) -> Result<String, String> {
    let done = Command::new("unshare").args(["-n", "sh", "-c", command]).output().expect("unshare is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// Files with what nft has and the kernel that is asked was perhaps built without.
const NOT_IN_EVERY_KERNEL: &[&str] = &["flowtables"];

/// Does nft say that the kernel was built without what the file wants? It knows no other word for it.
pub(crate) fn kernel_lacks(file: &Case, answer: &Result<String, String>) -> bool {
    let lacks = |message: &String| message.contains("Could not process rule: No such file or directory");
    NOT_IN_EVERY_KERNEL.contains(&&*file.name) && answer.as_ref().is_err_and(lacks)
}
