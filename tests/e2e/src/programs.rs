//! Other initiators: found, run with a time limit, or skipped with a reason.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Timeout of a program on a slow machine.
pub fn limit_of_a_program() -> Duration {
    Duration::from_secs(180)
}

/// A program that exists on this machine.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Looks for a program, first in the environment under `variable`, then in the PATH. If it
    /// is missing, the reason is printed; with `POLLUX_REQUIRE_TOOLS=1` that is a failure.
    pub fn find(name: &str, variable: Option<&str>) -> Option<Self> {
        let named = variable.and_then(std::env::var_os).map(PathBuf::from);
        let found = named.or_else(|| {
            let directories = std::env::var_os("PATH").unwrap_or_default();
            let places = std::env::split_paths(&directories).collect::<Vec<_>>();
            places.into_iter().map(|place| place.join(name)).find(|path| path.is_file())
        });
        if found.as_ref().is_some_and(|path| path.is_file()) {
            return found.map(|path| Self { path });
        }
        let hint = variable.map_or_else(String::new, |name| format!(", and {name} is not set"));
        Self::skip(&format!("{name} is not installed{hint}"));
        None
    }

    /// The program that an environment variable names.
    pub fn named_by(variable: &str) -> Option<Self> {
        let path = std::env::var_os(variable).map(PathBuf::from);
        match path.filter(|path| path.is_file()) {
            Some(path) => Some(Self { path }),
            None => {
                Self::skip(&format!("{variable} is not set to a program"));
                None
            }
        }
    }

    /// Reports that a test is skipped, or fails it if skipping is not permitted.
    pub fn skip(reason: &str) {
        let required = std::env::var("POLLUX_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
        assert!(!required, "POLLUX_REQUIRE_TOOLS=1 forbids skipping: {reason}");
        println!("skipped: {reason}");
    }

    /// Starts the program; its output is discarded.
    pub fn start(&self, arguments: &[String]) -> Child {
        let mut command = Command::new(&self.path);
        command.current_dir(std::env::temp_dir()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|cause| panic!("{}: {cause}", self.path.display()))
    }

    /// Runs the program; returns whether it succeeded, and both its streams.
    pub fn run(&self, arguments: &[&str]) -> (bool, String) {
        let arguments = arguments.iter().map(OsString::from).collect::<Vec<_>>();
        let mut command = Command::new(&self.path);
        // Files that the program leaves do not belong into the tree.
        command.current_dir(std::env::temp_dir()).args(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|cause| panic!("{}: {cause}", self.path.display()));
        let streams = [child.stdout.take().map(read_all), child.stderr.take().map(read_all)];
        let mut text = String::new();
        for stream in streams.into_iter().flatten() {
            if let Ok(part) = stream.recv_timeout(limit_of_a_program()) {
                text.push_str(&part);
            } else {
                // It may have ended in this moment; either way it is gone afterwards.
                let _ = child.kill();
                let _ = child.wait();
                let limit = limit_of_a_program();
                panic!("{} {arguments:?} ran longer than {limit:?}", self.path.display());
            }
        }
        let succeeded = child.wait().is_ok_and(|status| status.success());
        (succeeded, text)
    }

    /// Runs the program and asserts that it succeeds.
    pub fn run_well(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.run(arguments);
        assert!(succeeded, "{} {arguments:?} failed; its output:\n{text}", self.path.display());
        text
    }
}

fn read_all(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
