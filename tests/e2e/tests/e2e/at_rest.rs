//! What happens to the files of volumes behind the daemon's back, and what it makes of them.

use std::process::{Command, Output, Stdio};

use e2e::{Daemon, Setup, pattern, perfctl};
use initiator::{Disk, Login, Session};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

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

fn pid(daemon: &Daemon) -> Pid {
    i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).expect("a pid")
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

#[test]
fn a_limit_of_file_sizes_fails_the_write_and_not_the_daemon() {
    let mut daemon = Setup::demo().start();
    let mut disk = disk(&daemon, 0);
    let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
    prlimit(Some(pid(&daemon)), Resource::Fsize, limit).expect("a lower limit");
    let data = pattern(65_536, 2);
    assert!(disk.write(0, &data).expect("a write below the limit").is_good());
    let beyond = disk.write((4 << 20) / 512, &data).expect("an answer");
    assert!(!beyond.is_good(), "{beyond:?}");
    assert_eq!(disk.read(0, 128).expect("a read").data, data);
    daemon.ask_to_end();
    assert!(daemon.wait_for_end().success());
}

#[test]
fn signals_for_users_do_not_end_the_daemon() {
    let mut daemon = Setup::demo().start();
    let mut disk = disk(&daemon, 0);
    for signal in [Signal::USR1, Signal::USR2, Signal::XFSZ] {
        kill_process(pid(&daemon), signal).expect("the daemon runs");
        asked(&daemon, &["status"]);
    }
    assert!(disk.read(0, 128).expect("a read").is_good());
    daemon.ask_to_end();
    assert!(daemon.wait_for_end().success());
}

/// Nobody knew until the next start, when the data was gone.
#[test]
fn a_file_that_is_deleted_or_truncated_is_noticed_while_it_is_served() {
    let daemon = Daemon::demo();
    asked(&daemon, &["volume", "create", "a", "--size", "1MiB"]);
    let volumes = daemon.setup().state_directory().join("volumes");
    assert!(!asked(&daemon, &["status"]).contains("while it is served"));
    let file = std::fs::OpenOptions::new().write(true).open(volumes.join("a.img"));
    file.and_then(|file| file.set_len(4096)).expect("a file gets another size");
    std::fs::remove_file(volumes.join("demo.img")).expect("a file is removed");
    let deleted = "demo.img was deleted while it is served. Its data is lost when polluxd ends";
    let truncated = "a.img was truncated to 4096 bytes while it is served";
    for words in [deleted, truncated] {
        assert!(daemon.says(words), "{words:?} in:\n{}", daemon.said());
        assert!(asked(&daemon, &["status"]).contains(words));
    }
    // A volume that is deleted on purpose is no reason to warn.
    asked(&daemon, &["volume", "delete", "a", "--remove-file"]);
    assert!(!asked(&daemon, &["status"]).contains("a.img"));
    assert_eq!(daemon.said().matches(deleted).count(), 1);
}
