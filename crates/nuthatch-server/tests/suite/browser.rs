//! Chromium without a window, driven over its debugging pipe: messages of JSON, each with a zero byte at
//! its end, on two FIFOs that become the browser's files 3 and 4.

use crate::harness::PATIENCE;
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page. It ends when it is dropped.
pub(crate) struct Browser {
    child: Child,
    commands: File,
    messages: Receiver<Json>,
    last_id: u64,
    session: String,
    /// What the page reported since it was opened, and nobody has looked at.
    events: VecDeque<Json>,
    _profile: TempDir,
}

impl Browser {
    /// The browser of this machine. Without one the test says so and is skipped, and fails where the
    /// variable `CI` says that everything must be tested.
    pub(crate) fn start() -> Option<Self> {
        let Some(name) = std::env::var("CHROMIUM").ok().or_else(installed) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI needs Chromium for the dashboard's test"
            );
            eprintln!("SKIPPED: no Chromium is installed, so the dashboard is not tested");
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        let pipes = ["commands", "messages"].map(|name| profile.path().join(name));
        for pipe in &pipes {
            let made = Command::new("mkfifo").arg(pipe).status();
            assert!(made.expect("mkfifo").success());
        }
        let child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<\"$COMMANDS\" 4>\"$MESSAGES\"",
                &name,
            ])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!(
                "--user-data-dir={}",
                profile.path().join("profile").display()
            ))
            .env("COMMANDS", &pipes[0])
            .env("MESSAGES", &pipes[1])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let commands = OpenOptions::new()
            .write(true)
            .open(&pipes[0])
            .expect("a pipe");
        let replies = BufReader::new(File::open(&pipes[1]).expect("a pipe"));
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in replies.split(0) {
                let Ok(bytes) = message else { return };
                let message = serde_json::from_slice(&bytes).expect("the browser sends JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            last_id: 0,
            session: String::new(),
            events: VecDeque::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Asks the browser, and waits for its reply.
    pub(crate) fn call(&mut self, method: &str, params: Json) -> Json {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser lives");
        loop {
            let mut message = self.next_message(method);
            if message["id"] != self.last_id {
                self.events.push_back(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {}", message["error"]);
            return message["result"].take();
        }
    }

    fn next_message(&self, what: &str) -> Json {
        let message = self.messages.recv_timeout(PATIENCE);
        message.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The value of an expression of the page's language.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Json {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut reply = self.call("Runtime.evaluate", params);
        assert!(reply["exceptionDetails"].is_null(), "{expression}: {reply}");
        reply["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.evaluate(expression) != json!(true) {
            let passed = begun.elapsed();
            assert!(
                passed < PATIENCE,
                "{expression} did not come true; {}",
                self.report()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the page shows and what it has complained of.
    fn report(&mut self) -> String {
        let complaints =
            ["Log.entryAdded", "Runtime.exceptionThrown"].map(|method| self.take_events(method));
        let shown = self.evaluate("document.body.innerText");
        format!("complaints {complaints:?}, shown {shown}")
    }

    /// What the page has reported by events of this name, since the last time that it was asked.
    pub(crate) fn take_events(&mut self, method: &str) -> Vec<Json> {
        // A question that is answered comes after all that was reported before it.
        self.evaluate("0");
        let all = std::mem::take(&mut self.events);
        let (wanted, others) = all.into_iter().partition(|event| event["method"] == method);
        self.events = others;
        Vec::from(wanted)
    }

    /// Presses and releases a key.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "code": key}),
            );
        }
    }

    /// A window of this size, light or dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A picture of the whole page, PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let reply = self.call("Page.captureScreenshot", params);
        let mut png = Vec::new();
        let text = reply["data"].as_str().expect("a picture");
        assert!(nuthatch_wire::memcached::base64::decode(
            text.as_bytes(),
            &mut png
        ));
        png
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn installed() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    NAMES.iter().find(is_there).map(|name| (*name).to_owned())
}
