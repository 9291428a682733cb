//! Snapshots of everything that perfctl prints: help texts, errors, and results of a fake daemon.
//!
//! The snapshots are `tests/cmd/*.trycmd`. To record them again:
//! `TRYCMD=overwrite cargo test -p perfctl --test snapshots`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// What the fake daemon knows: the response to each method with these parameters.
const RESPONSES: &str = include_str!("cmd/responses.json");

#[test]
fn help_errors_and_results_are_as_recorded() {
    let sockets = tempfile::tempdir().unwrap();
    let socket = |name: &str| sockets.path().join(name);
    listen(&socket("control.sock"), |stream| respond(&stream));
    // Closes the connection during a call, as a daemon that ends.
    listen(&socket("closing.sock"), |stream| drop(read_request(&stream)));
    listen(&socket("garbage.sock"), |stream| {
        read_request(&stream);
        send(&stream, "hello");
    });
    std::fs::write(socket("secret"), "correct horse\n").unwrap();
    // A socket left behind by a killed daemon.
    drop(UnixListener::bind(socket("stale.sock")).unwrap());
    // The only test of this binary, so no other thread depends on the working directory. Relative
    // socket paths keep the snapshots independent of the machine.
    std::env::set_current_dir(sockets.path()).unwrap();
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/*.trycmd");
    trycmd::TestCases::new()
        .case(snapshots)
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .insert_var("[VERSION]", env!("CARGO_PKG_VERSION"))
        .unwrap();
}

/// Serves each connection to a socket in a thread of its own, until the test process ends.
fn listen(path: &Path, serve: impl Fn(UnixStream) + Clone + Send + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// Answers all requests of one connection.
fn respond(stream: &UnixStream) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap();
        let mut response = response_to(&request);
        response["jsonrpc"] = json!("2.0");
        response["id"] = request["id"].clone();
        send(stream, &response.to_string());
    }
}

fn read_request(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// The `result` or `error` of the first entry with this method whose parameters all match.
fn response_to(request: &Value) -> Value {
    let entries: Vec<Value> = serde_json::from_str(RESPONSES).unwrap();
    let matches = |entry: &Value| {
        let params = entry["params"].as_object();
        entry["method"] == request["method"]
            && params.is_none_or(|params| params.iter().all(|(k, v)| request["params"][k] == *v))
    };
    let entry = entries.iter().find(|entry| matches(entry));
    let entry = entry.unwrap_or_else(|| panic!("no response to {request}"));
    ["result", "error"].into_iter().filter_map(|k| Some((k, entry.get(k)?.clone()))).collect()
}

fn send(mut stream: &UnixStream, line: &str) {
    // perfctl may have closed the connection: its output then shows why.
    let _ = stream.write_all(format!("{line}\n").as_bytes());
}
