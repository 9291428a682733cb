//! A daemon that has no file descriptor left.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{Daemon, Setup, pattern, perfctl};
use initiator::{Disk, Login, Session};

const TARGET: &str = "iqn.2026-11.local.pollux:memory";

const CONFIG: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"

[[portal]]
address = "PORTAL"

[[volume]]
name = "memory"
kind = "memory"
size = "1MiB"

[[target]]
name = "iqn.2026-11.local.pollux:memory"
luns = { 0 = "memory" }
"#;

/// Enough for the daemon to start, and fewer than the test opens connections.
const DESCRIPTORS: u64 = 64;

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

fn login(daemon: &Daemon, number: usize) -> Option<Session> {
    let name = format!("iqn.2026-11.example:host{number}");
    Session::open(daemon.portal(), &Login::normal(TARGET).as_initiator(&name)).ok()
}

/// What perfctl prints where it succeeds.
fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.stdin(Stdio::null()).output().expect("perfctl beside polluxd");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// They hung, and so did perfctl; later perfctl was told to end sessions, which it could not.
#[test]
fn clients_are_answered_and_sessions_go_on_when_no_descriptor_is_left() {
    let daemon = Setup::demo().with_config(CONFIG).with_open_files(DESCRIPTORS).start();
    // A login that meets the shortage is answered: its connection is closed.
    let mut sessions: Vec<Session> = (0..64).map_while(|n| login(&daemon, n)).collect();
    assert!((1..64).contains(&sessions.len()), "{} sessions", sessions.len());
    let words = "connections closed: no file descriptor is left";
    assert!(daemon.says(words), "{words:?} in:\n{}", daemon.said());
    assert!(asked(&daemon, &["status"]).contains("memory"));
    // A client that asks for nothing has the last descriptor for some seconds only.
    let mut silent = UnixStream::connect(daemon.setup().control_socket()).expect("a connection");
    silent.set_read_timeout(Some(TIME_MAX)).expect("a socket");
    let mut told = String::new();
    silent.read_to_string(&mut told).expect("an answer");
    assert!(told.contains("polluxd has no file descriptor left"), "{told}");
    let list = asked(&daemon, &["session", "list", "--json"]);
    let dropped = list.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
    asked(&daemon, &["session", "drop", dropped.expect("a session")]);
    let session = sessions.pop().expect("one at least");
    let mut disk = Disk::open(session, 0).expect("a disk");
    let data = pattern(4096, 1);
    assert!(disk.write(0, &data).expect("a write").is_good());
    assert_eq!(disk.read(0, 8).expect("a read").data, data);
    // Each connection that goes leaves a descriptor.
    drop(sessions);
    let again = (0..1000).find_map(|number| {
        let session = login(&daemon, number);
        if session.is_none() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        session
    });
    assert!(again.is_some(), "nobody can log in any more");
}
