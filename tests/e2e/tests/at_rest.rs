//! What happens to the files of volumes behind the daemon's back, and what it makes of them.

use std::process::{Command, Output, Stdio};

use e2e::{Daemon, pattern, perfctl};
use initiator::{Disk, Login, Session};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";

fn run(daemon: &Daemon, words: &[&str]) -> Output {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    command.stdin(Stdio::null()).output().expect("perfctl beside polluxd")
}

/// What perfctl prints where it succeeds.
fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let output = run(daemon, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What perfctl prints where it fails.
fn refused(daemon: &Daemon, words: &[&str]) -> String {
    let output = run(daemon, words);
    assert!(!output.status.success(), "{words:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn disk(daemon: &Daemon, lun: u16) -> Disk {
    let session = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    Disk::open(session, lun).expect("a disk")
}

/// A new volume of the name and size of a deleted one showed the deleted one's bytes.
#[test]
fn a_new_volume_does_not_show_the_bytes_of_a_deleted_one() {
    let daemon = Daemon::demo();
    let create = ["volume", "create", "a", "--size", "1MiB"];
    asked(&daemon, &create);
    asked(&daemon, &["target", "map", DEMO, "a"]);
    let secret = pattern(65_536, 1);
    assert!(disk(&daemon, 1).write(0, &secret).expect("a write").is_good());
    asked(&daemon, &["target", "unmap", DEMO, "1"]);
    asked(&daemon, &["volume", "delete", "a"]);
    let said = refused(&daemon, &create);
    assert!(said.contains("a.img already holds data. To serve this data, "), "{said}");
    asked(&daemon, &[&create[..], &["--adopt"]].concat());
    asked(&daemon, &["target", "map", DEMO, "a"]);
    assert_eq!(disk(&daemon, 1).read(0, 128).expect("a read").data, secret);
}
