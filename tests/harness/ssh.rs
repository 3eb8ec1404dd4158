//! An SSH server with a key of its own, and the one client that it lets in.

use std::{
    fs,
    net::{IpAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    command::{self, Background, Scratch},
    netns::Namespace,
};

const PORT: u16 = 22;

/// The server `dropbear`; it goes away with the value.
pub struct Ssh {
    files: Scratch,
    _server: Background,
}

impl Ssh {
    /// Starts it in a namespace. It listens at every address.
    pub fn serve(namespace: &Namespace) -> Self {
        let files = Scratch::new();
        make_key(&files, "host");
        let public = make_key(&files, "client");
        fs::create_dir_all(files.path().join(".ssh")).expect("a directory");
        files.write(".ssh/authorized_keys", public + "\n");
        // Its owner's alone, or the server does not believe it.
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
        // The server finds keys where its user's home is, in a view of files that nobody else has.
        let (home, host, id) = (files.path().display(), path(&files, "host"), path(&files, "pid"));
        let script = format!("mount --bind {home} /root && exec dropbear -F -E -s -r {host} -p {PORT} -P {id}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let server = namespace.run(|| Background::start(command));
        Self { files, _server: server }
    }

    /// What a command on the server prints, with `input` for it to read.
    #[track_caller]
    pub fn run(&self, from: &Namespace, to: impl Into<IpAddr>, line: &str, input: &str) -> String {
        let (key, to) = (path(&self.files, "client"), to.into().to_string());
        let arguments = ["-y", "-y", "-i", &key, "-l", "root", &to, line];
        command::run(Some(from), "dbclient", &arguments, input).success().stdout
    }

    /// Waits until it can be reached.
    #[track_caller]
    pub fn wait(&self, from: &Namespace, at: impl Into<IpAddr>) {
        wait_for_listener(from, at, PORT);
    }
}

/// Waits until somebody listens.
#[track_caller]
pub fn wait_for_listener(from: &Namespace, at: impl Into<IpAddr>, port: u16) {
    let (at, deadline) = (at.into(), Instant::now() + Duration::from_mins(1));
    while from.run(|| TcpStream::connect((at, port))).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn path(files: &Scratch, name: &str) -> String {
    files.path().join(name).to_string_lossy().into_owned()
}

/// Makes a pair of keys, and gives the public one.
fn make_key(files: &Scratch, name: &str) -> String {
    let made = command::run(None, "dropbearkey", &["-t", "ed25519", "-f", &path(files, name)], "").success().stdout;
    made.lines().find(|line| line.starts_with("ssh-")).map(str::to_owned).expect("a public key")
}
