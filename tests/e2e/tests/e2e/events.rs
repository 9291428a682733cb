//! What an operator is told of I/O errors and sessions, and that nothing waits for whoever reads
//! it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Daemon, HeldFiles, Setup, pattern, perfctl};
use initiator::{Disk, Error, Login, Session};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";
const FULL: &str = "iqn.2026-11.local.pollux:full";
const VOLUME_BYTES: u64 = 16 << 20;

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// What perfctl prints.
fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.stdin(Stdio::null()).output().expect("perfctl beside polluxd");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until perfctl prints these words: what has just ended is counted soon.
fn wait_until_told(daemon: &Daemon, words: &[&str], expected: &str) {
    let until = Instant::now() + TIME_MAX;
    loop {
        let told = asked(daemon, words);
        if told.contains(expected) {
            return;
        }
        assert!(Instant::now() < until, "{expected:?} is not in {told}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn disk(daemon: &Daemon, target: &str) -> Disk {
    let session = Session::open(daemon.portal(), &Login::normal(target)).expect("a login");
    Disk::open(session, 0).expect("a disk")
}

/// A volume on a file system without room, as the only LUN of a target.
fn full_volume(daemon: &Daemon, files: &HeldFiles) -> Disk {
    let path = files.add("full.img", VOLUME_BYTES);
    files.fill_up();
    let path = path.to_str().expect("a path in UTF-8");
    asked(daemon, &["volume", "create", "full", "--path", path, "--adopt"]);
    asked(daemon, &["target", "create", FULL]);
    asked(daemon, &["target", "map", FULL, "full"]);
    disk(daemon, FULL)
}

/// Sense key DATA PROTECT: SPACE ALLOCATION FAILED WRITE PROTECT.
fn fail_writes(disk: &mut Disk, count: u64) {
    for n in 0..count {
        let answer = disk.write(n % 1000 * 8, &pattern(4096, 1)).expect("an answer");
        assert_eq!(answer.sense().map(|sense| sense.key), Some(7), "{answer:?}");
    }
}

fn writes_and_reads(disk: &mut Disk, seed: u8) {
    let data = pattern(65_536, seed);
    assert!(disk.write(0, &data).expect("a write").is_good());
    assert_eq!(disk.read(0, 128).expect("a read").data, data);
}

/// Makes the daemon write more lines than its pipe and its queue hold: each rejected call is one.
fn flood_log(daemon: &Daemon) {
    let socket = UnixStream::connect(daemon.setup().control_socket()).expect("a control socket");
    socket.set_read_timeout(Some(TIME_MAX)).expect("a time limit");
    let mut answers = BufReader::new(&socket).lines();
    let call =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"operation.show\",\"params\":{\"id\":99}}\n";
    for _ in 0..6000 {
        (&socket).write_all(call.as_bytes()).expect("a call");
        let answer = answers.next().expect("an answer").expect("an answer in time");
        assert!(answer.contains("does not exist"), "{answer}");
    }
}

/// Every failed command was a line, which the reactor's thread wrote itself: a pipe that nobody
/// read stopped all volumes, and the first line after it was closed ended the daemon with 101.
#[test]
fn a_log_that_nobody_reads_or_that_is_closed_stops_nothing() {
    let mut daemon = Setup::demo().with_unread_log().start();
    let files = HeldFiles::mount();
    let mut demo = disk(&daemon, DEMO);
    let mut full = full_volume(&daemon, &files);
    fail_writes(&mut full, 2000);
    writes_and_reads(&mut demo, 1);
    flood_log(&daemon);
    fail_writes(&mut full, 10);
    writes_and_reads(&mut demo, 2);
    wait_until_told(&daemon, &["status"], " lines dropped\n");
    assert!(asked(&daemon, &["stats"]).contains(" lines dropped\n"));
    assert!(!asked(&daemon, &["stats", "--json"]).contains("\"log_lines_dropped\":0"));

    daemon.close_log();
    flood_log(&daemon);
    fail_writes(&mut full, 10);
    writes_and_reads(&mut demo, 3);
    writes_and_reads(&mut disk(&daemon, DEMO), 4);
    asked(&daemon, &["status"]);
    daemon.ask_to_end();
    assert!(daemon.wait_for_end().success());
}

/// The end did not come: it waited for the last lines to be read.
#[test]
fn a_log_that_nobody_reads_does_not_delay_the_end() {
    let mut daemon = Setup::demo().with_unread_log().start();
    flood_log(&daemon);
    daemon.ask_to_end();
    assert!(daemon.wait_for_end().success());
}

/// It was 46,000 lines a second without the name of the volume, and counted nowhere.
#[test]
fn a_failing_volume_is_a_line_in_ten_seconds_a_warning_and_a_count() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let mut full = full_volume(&daemon, &files);
    writes_and_reads(&mut disk(&daemon, DEMO), 1);
    assert!(!asked(&daemon, &["status"]).contains("I/O errors"));
    let begun = Instant::now();
    fail_writes(&mut full, 500);
    let line = "I/O error: No space left on device (os error 28) volume=\"full\" \
                operation=\"write\" lba=0 blocks=8 suppressed=0";
    assert!(daemon.says(line), "{}", daemon.said());
    let lines = daemon.said().matches("I/O error").count();
    let lines_max = 1 + usize::try_from(begun.elapsed().as_secs() / 10).expect("a short test");
    assert!(lines <= lines_max, "{lines} lines: {}", daemon.said());

    let warning = "warning        volume full has I/O errors: 500 so far";
    wait_until_told(&daemon, &["status"], warning);
    let counted = r#"{"operation":"write","error":"data-protect","count":500}"#;
    let stats = asked(&daemon, &["stats", "--volume", "full", "--json"]);
    assert!(stats.contains(counted), "{stats}");
    // A command that fails at once is no fast one.
    assert!(!stats.contains(r#"{"operation":"write","count""#), "{stats}");
    let stats = asked(&daemon, &["stats"]);
    let is_counted = |line: &str| line.split_whitespace().eq(["write", "data", "protect", "500"]);
    assert!(stats.lines().any(is_counted), "{stats}");
}

#[test]
fn each_login_logout_refusal_and_lost_session_is_one_line_and_counted() {
    let daemon = Daemon::demo();
    let mut left = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    left.logout().expect("a logout");
    let lost = Login::normal(DEMO).as_initiator("iqn.2026-01.example:lost");
    drop(Session::open(daemon.portal(), &lost).expect("a login"));
    let begun = Instant::now();
    for _ in 0..200 {
        let absent = Login::normal("iqn.2026-11.local.pollux:absent");
        let refused = Session::open(daemon.portal(), &absent);
        assert!(matches!(refused, Err(Error::LoginRefused { .. })), "{refused:?}");
    }
    for expected in [
        r#""logins":2"#,
        r#""ended":{"connection-lost":1,"logout":1}"#,
        r#""refused":{"target-not-found":200}"#,
    ] {
        wait_until_told(&daemon, &["stats", "--json"], expected);
    }
    for line in [
        format!("login initiator=\"{}\" peer=127.0.0.1:", initiator::INITIATOR_NAME),
        "login initiator=\"iqn.2026-01.example:lost\" peer=127.0.0.1:".into(),
        format!("logout initiator=\"{}\" peer=127.0.0.1:", initiator::INITIATOR_NAME),
        "session lost: connection lost initiator=\"iqn.2026-01.example:lost\" peer=127.0.0.1:"
            .into(),
    ] {
        assert!(daemon.says(&line), "{line} is not in {}", daemon.said());
        assert_eq!(daemon.said().matches(&line).count(), 1, "{}", daemon.said());
    }
    assert!(daemon.says("login refused: target not found"), "{}", daemon.said());
    let lines = daemon.said().matches("login refused").count();
    let lines_max = 10 + usize::try_from(begun.elapsed().as_secs()).expect("a short test");
    assert!(lines <= lines_max, "{lines} lines: {}", daemon.said());
    assert!(daemon.said().contains("target=\"iqn.2026-11.local.pollux:absent\""));
}
