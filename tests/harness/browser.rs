//! A real browser without a window: Chromium, told what to do over a pair of pipes (the `DevTools` protocol).

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};

use crate::{command::Scratch, netns::Namespace};

/// How long an answer of the browser, or something on the page, may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    answers: Receiver<Value>,
    session: Option<String>,
    next: u64,
    _files: Scratch,
}

impl Browser {
    /// Starts it in a namespace and opens a page.
    #[track_caller]
    pub fn open(namespace: &Namespace, address: &str) -> Self {
        let files = Scratch::new();
        let pipe = |name: &str| {
            let path = files.path().join(name);
            mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
            // Both ends, so that opening does not wait.
            (OpenOptions::new().read(true).write(true).open(&path).expect("a pipe"), path)
        };
        let ((to, to_path), (from, from_path)) = (pipe("to"), pipe("from"));
        let mut command = Command::new("sh");
        // The browser reads descriptor 3 and writes descriptor 4.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
                      --window-size=1100,1500 --user-data-dir=\"$3\" --remote-debugging-pipe about:blank 3<\"$1\" 4>\"$2\"";
        command.args(["-c", script, "sh"]).args([&to_path, &from_path]).arg(files.path().join("profile"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = namespace.run(|| command.spawn()).expect("sh");
        let (sender, answers) = channel();
        thread::spawn(move || {
            for message in BufReader::new(from).split(0).map_while(Result::ok) {
                if serde_json::from_slice(&message).is_ok_and(|value| sender.send(value).is_err()) {
                    break;
                }
            }
        });
        let mut browser = Self { child, to, answers, session: None, next: 0, _files: files };
        let target = browser.ask("Target.createTarget", &json!({ "url": address }))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser reads");
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(answer) = self.answers.recv_timeout(left) else {
                panic!("{method}: no answer from chromium (`cargo xtask setup` installs it)");
            };
            if answer["id"] == self.next {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// What can be read on the page.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.value("document.body?.innerText ?? ''").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says what is wanted, and returns all it says.
    #[track_caller]
    pub fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < end, "{what}: not to be seen on\n{text}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A picture of the page, as PNG.
    #[track_caller]
    pub fn picture(&mut self, path: &Path) {
        let answer = self.ask("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        let digits = answer["data"].as_str().expect("a picture").to_owned();
        let coded = path.with_extension("base64");
        fs::write(&coded, digits).expect("written");
        let output = Command::new("base64").arg("-d").arg(&coded).output().expect("base64 (coreutils)");
        fs::write(path, output.stdout).expect("written");
        drop(fs::remove_file(coded));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its children when it is asked; killed, when it does not.
        drop(self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0"));
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            thread::sleep(Duration::from_millis(50));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
