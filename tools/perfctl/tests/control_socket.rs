//! The requests that perfctl sends. What it prints is in the snapshots, `tests/snapshots.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::JoinHandle;

/// Answers each request of one connection with the next of these lines, then closes it. Returns
/// the requests.
fn answer_with(socket: &Path, answers: &[&str]) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    let answers: Vec<String> = answers.iter().map(|a| (*a).to_owned()).collect();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut requests = Vec::new();
        for answer in answers {
            let Some(Ok(request)) = lines.next() else { break };
            requests.push(request);
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
        requests
    })
}

fn perfctl(socket: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perfctl"))
        .arg("--control")
        .arg(socket)
        .args(args)
        .output()
        .unwrap()
}

/// Runs perfctl with these responses. Returns the exit code, stdout, stderr and the requests.
fn run(args: &[&str], answers: &[&str]) -> (i32, String, String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let daemon = answer_with(&socket, answers);
    let output = perfctl(&socket, args);
    let shown = socket.display().to_string();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&shown, "control.sock");
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
        daemon.join().unwrap(),
    )
}

#[test]
fn a_list_is_requested_and_printed() {
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"sessions":[]}}"#.to_owned() + "\n";
    let (code, out, err, requests) = run(&["session", "list"], &[&answer]);
    assert_eq!((code, &*out, &*err), (0, "no sessions\n", ""));
    assert_eq!(requests, [r#"{"id":1,"jsonrpc":"2.0","method":"session.list","params":{}}"#]);
}

#[test]
fn a_rejection_is_exit_code_1_with_message_and_hint() {
    let answer = concat!(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32003,"message":"volume a is mapped","#,
        r#""data":{"object":"a","hint":"Unmap it first."}}}"#,
        "\n"
    );
    let (code, out, err, requests) = run(&["volume", "delete", "a"], &[answer]);
    assert_eq!(code, 1);
    assert_eq!(out, "");
    assert_eq!(err, "perfctl: volume a is mapped\nUnmap it first.\n");
    assert_eq!(
        requests,
        [concat!(
            r#"{"id":1,"jsonrpc":"2.0","method":"volume.delete","#,
            r#""params":{"name":"a","remove_file":false}}"#
        )]
    );
}

#[test]
fn an_invalid_response_is_exit_code_3() {
    for answer in ["hello\n", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"sessions\":5}}\n"] {
        let (code, _, err, _) = run(&["session", "list"], &[answer]);
        assert_eq!(code, 3);
        assert!(err.starts_with("perfctl: invalid response from polluxd: "), "{err}");
    }
}

#[test]
fn a_histogram_file_that_cannot_be_created_is_reported_before_any_request() {
    let (code, out, err, requests) = run(&["stats", "--hdr", "/nowhere/a.hlog"], &["unused"]);
    assert_eq!((code, &*out, requests.len()), (1, "", 0));
    assert!(err.starts_with("perfctl: cannot write /nowhere/a.hlog: "), "{err}");
}

#[test]
fn watching_requests_differences_on_one_connection() {
    let stats = |id, period: u64| {
        let result = format!(r#"{{"period_ns":{period},"volumes":[],"reactors":[]}}"#);
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#) + "\n"
    };
    let answers = [stats(1, 5_000_000_000), stats(2, 1_000_000_000)];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let (code, out, err, requests) = run(&["stats", "--watch", "1", "--count", "1"], &answers);
    assert_eq!((code, &*err), (0, ""));
    assert!(out.starts_with("\ninterval 1.00s\n"), "{out}");
    let asked = r#""jsonrpc":"2.0","method":"stats","params":{"since_last":true}}"#;
    assert_eq!(requests, [format!("{{\"id\":1,{asked}"), format!("{{\"id\":2,{asked}")]);
}

/// A response to the call of this number.
fn response(id: u32, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#) + "\n"
}

/// What `operation.wait` answers of a deletion.
fn deletion(state: &str) -> String {
    let head = r#""id":3,"method":"volume.delete","subject":"a","duration_ms":70"#;
    format!("{{{head},{state}}}")
}

#[test]
fn an_operation_is_followed_to_its_outcome() {
    let running = deletion(r#""state":"running","step":"removing /srv/a.img""#);
    let done = r#""state":"done","result":{"name":"a","file_left":null}"#;
    let answers = [
        response(1, r#"{"operation":3}"#),
        response(2, &running),
        response(3, &running),
        response(4, &deletion(done)),
    ];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let (code, out, err, requests) = run(&["volume", "delete", "a"], &answers);
    assert_eq!((code, &*out, &*err), (0, "volume a deleted\n", ""));
    let wait = r#""jsonrpc":"2.0","method":"operation.wait","params":{"id":3}}"#;
    let waits: Vec<_> = (2..5).map(|id| format!("{{\"id\":{id},{wait}")).collect();
    assert_eq!(requests[1..], waits);
}

#[test]
fn a_failed_operation_fails_as_the_call_would_have() {
    let error = r#"{"code":-32006,"message":"volume a is stuck","data":{"hint":"Pull it."}}"#;
    let failed = deletion(&format!(r#""state":"failed","error":{error}"#));
    let answers = [response(1, r#"{"operation":3}"#), response(2, &failed)];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let (code, out, err, _) = run(&["volume", "delete", "a"], &answers);
    assert_eq!((code, &*out), (1, ""));
    assert_eq!(err, "perfctl: volume a is stuck\nPull it.\n");
}

#[test]
fn an_operation_that_nobody_waits_for_is_printed_by_its_number() {
    let answer = response(1, r#"{"operation":3}"#);
    let (code, out, err, requests) = run(&["volume", "delete", "a", "--no-wait"], &[&answer]);
    assert_eq!((code, &*err, requests.len()), (0, "", 1));
    assert_eq!(
        out,
        "operation 3 is in progress; run \"perfctl operation wait 3\" to wait for it\n"
    );
    let (code, out, _, _) = run(&["volume", "delete", "a", "--no-wait", "--json"], &[&answer]);
    assert_eq!((code, &*out), (0, "{\"operation\":3}\n"));
}

/// What systemd runs as `ExecReload`: its exit status is that of the reload.
#[test]
fn a_reload_ends_with_its_operation_and_fails_with_it() {
    let info = |state: &str| {
        let head = r#""id":3,"method":"config.apply","subject":"/p.toml","duration_ms":70"#;
        format!("{{{head},{state}}}")
    };
    let done = r#""state":"done","result":{"changes":[],"warnings":[],"generation":2}"#;
    let answers = [response(1, r#"{"operation":3}"#), response(2, &info(done))];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let (code, out, _, requests) = run(&["reload"], &answers);
    assert_eq!((code, &*out), (0, "Configuration valid, no changes.\n"));
    let asked = r#""method":"config.apply","params":{"check_only":false}}"#;
    assert_eq!(requests[0], format!("{{\"id\":1,\"jsonrpc\":\"2.0\",{asked}"));
    let failed = r#""state":"failed","error":{"code":-32005,"message":"/p.toml has errors"}"#;
    let answers = [response(1, r#"{"operation":3}"#), response(2, &info(failed))];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let (code, out, err, _) = run(&["reload"], &answers);
    assert_eq!((code, &*out, &*err), (1, "", "perfctl: /p.toml has errors\n"));
}

#[test]
fn the_reason_for_a_closed_connection_is_printed() {
    let why = r#"{"code":-32007,"message":"this connection was idle for the longest time"}"#;
    let goodbye = format!(r#"{{"jsonrpc":"2.0","id":null,"error":{why}}}"#) + "\n";
    let stats = response(1, r#"{"period_ns":1,"volumes":[],"reactors":[]}"#);
    let (code, _, err, _) = run(&["stats", "--watch", "1"], &[&(stats + &goodbye)]);
    assert_eq!((code, &*err), (1, "perfctl: this connection was idle for the longest time\n"));
}
