//! A daemon that has no file descriptor left.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use e2e::{Daemon, Setup, pattern};
use initiator::{Disk, Login, Session};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

const TARGET: &str = "iqn.2026-11.local.pollux:memory";

/// Connections that do not log in keep their descriptors for long.
const CONFIG: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"
login_timeout_s = 300

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

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

fn disk(daemon: &Daemon) -> Disk {
    let session = Session::open(daemon.portal(), &Login::normal(TARGET)).expect("a login");
    Disk::open(session, 0).expect("a disk")
}

/// Leaves a daemon so few descriptors.
fn leave(daemon: &Daemon, free: u64) {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("its files");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let highest = names.max().expect("it has some");
    let limit = Rlimit { current: Some(highest + 1 + free), maximum: Some(highest + 1 + free) };
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Nofile, limit).expect("a lower limit");
}

/// Whether the peer has closed a connection.
fn is_closed(mut connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).expect("a socket");
    match connection.read(&mut [0; 1]) {
        Ok(0) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
        Ok(_) => false,
    }
}

/// They hung, and so did perfctl.
#[test]
fn clients_are_answered_and_sessions_go_on_when_no_descriptor_is_left() {
    let daemon = Setup::demo().with_config(CONFIG).start();
    let mut disk = disk(&daemon);
    leave(&daemon, 2);
    let connections: Vec<TcpStream> =
        (0..14).map(|_| TcpStream::connect(daemon.portal()).expect("a connection")).collect();
    let words = "connections closed: no file descriptor is left";
    assert!(daemon.says(words), "{words:?} in:\n{}", daemon.said());
    assert!(connections.iter().any(is_closed), "nobody was told");
    let mut client = UnixStream::connect(daemon.setup().control_socket()).expect("a connection");
    client.set_read_timeout(Some(TIME_MAX)).expect("a socket");
    let mut told = String::new();
    client.read_to_string(&mut told).expect("an answer");
    assert!(told.contains("polluxd has no file descriptor left"), "{told}");
    let data = pattern(4096, 1);
    assert!(disk.write(0, &data).expect("a write").is_good());
    assert_eq!(disk.read(0, 8).expect("a read").data, data);
    // It recovers. Each connection that goes leaves a descriptor.
    drop(connections);
    let again = (0..1000).find_map(|_| {
        let login = Session::open(daemon.portal(), &Login::normal(TARGET)).ok();
        if login.is_none() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        login
    });
    assert!(again.is_some(), "nobody can log in any more");
}
