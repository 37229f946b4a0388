//! A headless browser, for the tests of the pages.

use crate::programs::within;
use asynchat::Channel;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{Join, join};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Chromium with an empty page. Its messages over a pipe end in NUL.
pub(crate) struct Browser {
    pub(crate) channel: Channel<Join<ChildStdout, ChildStdin>>,
    session: Option<String>,
    id: u64,
    _profile: tempfile::TempDir,
    _child: Child,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1", "sh"])
            .args(["chromium", "--headless", "--remote-debugging-pipe", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-dev-shm-usage", "--window-size=720,480"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let io = join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
        let channel = Channel::builder().terminator("\0").max_length(64 << 20).build(io);
        let (session, id) = (None, 0);
        let mut browser = Browser { channel, session, id, _profile: profile, _child: child };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Calls a method of the DevTools protocol.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let mut message = json!({ "id": self.id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.channel.push(format!("{message}\0"));
        loop {
            let frame = within(self.channel.receive("\0")).await.expect("the browser is there");
            let mut answer: Value = serde_json::from_slice(&frame).unwrap();
            // Others are events.
            if answer["id"] == self.id {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].take();
            }
        }
    }

    /// Returns the result of a script in the page, or the value of its promise.
    pub(crate) async fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({ "expression": script, "awaitPromise": true });
        self.call("Runtime.evaluate", parameters).await["result"]["value"].take()
    }
}
