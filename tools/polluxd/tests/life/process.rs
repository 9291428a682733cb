//! A daemon under test, with a state directory of its own.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A directory for one test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The daemon's command line: its state here, any free port, little memory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polluxd"));
        command.args(["--listen", "127.0.0.1:0", "--buffers", "4KiB:64,256KiB:16"]);
        command.arg("--state-dir").arg(self.state()).args(args);
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Starts a daemon and waits until it serves.
    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        self.start_with(args, |_| {})
    }

    /// The same after a change to its command.
    pub(crate) fn start_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.command(args);
        change(&mut command);
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("ready") {
            if stdout.read_line(&mut said).unwrap() == 0 {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
                panic!("polluxd ended: {:?}\n{said}{log}", child.wait());
            }
        }
        let control = UnixStream::connect(self.state().join("control.sock")).unwrap();
        control.set_read_timeout(Some(TIME_MAX)).unwrap();
        Daemon { child, control: BufReader::new(control), _stdout: stdout, said }
    }

    /// Runs a daemon that is expected to end by itself.
    pub(crate) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }
}

/// A daemon that serves, and a connection to its control socket.
pub(crate) struct Daemon {
    child: Child,
    control: BufReader<UnixStream>,
    /// Kept open, so that the daemon can write to it.
    _stdout: BufReader<std::process::ChildStdout>,
    /// What it said until it was ready.
    pub(crate) said: String,
}

impl Daemon {
    /// Sends a line and gives back the answer.
    pub(crate) fn exchange(&mut self, line: &str) -> Value {
        self.control.get_mut().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.control.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }

    /// The outcome of a call, of its operation where it began one.
    fn call_any(&mut self, method: &str, params: &Value) -> Value {
        let answer = self.call_once(method, params);
        let operation = answer["result"]["operation"].clone();
        if operation.is_null() {
            return answer;
        }
        loop {
            let info =
                self.call_once("operation.wait", &json!({"id": operation}))["result"].clone();
            if ["done", "failed"].iter().any(|state| info["state"] == *state) {
                return info;
            }
        }
    }

    /// What the daemon answers first: the outcome, or an operation.
    pub(crate) fn call_once(&mut self, method: &str, params: &Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let answer = self.exchange(&format!("{request}\n"));
        assert_eq!(answer["id"], 7);
        answer
    }

    /// Makes a call that must work.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        let answer = self.call_any(method, params);
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    /// Makes a call that must fail: its code and sentence.
    pub(crate) fn refused(&mut self, method: &str, params: &Value) -> (i64, String) {
        let answer = self.call_any(method, params);
        let error = &answer["error"];
        let code = error["code"].as_i64().unwrap_or_else(|| panic!("{answer}"));
        (code, error["message"].as_str().unwrap().to_owned())
    }

    /// Asks for the status until it is as expected.
    pub(crate) fn wait_for_status(&mut self, is_expected: impl Fn(&Value) -> bool) -> Value {
        self.wait_for("status", is_expected)
    }

    /// Asks until the answer is as expected.
    pub(crate) fn wait_for(&mut self, method: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TIME_MAX;
        loop {
            let answer = self.call(method, &json!({}));
            if is_expected(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        // The control connection ends with the process.
        let mut rest = Vec::new();
        let _ = self.control.read_to_end(&mut rest);
        self.child.wait().unwrap()
    }

    /// Ends it cleanly.
    pub(crate) fn end(mut self) {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
