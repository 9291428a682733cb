//! The command-line tool against a daemon that works: what it draws, writes and measures.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use e2e::{Daemon, Program, perfctl};
use initiator::{Disk, Login, Session};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

fn run(daemon: &Daemon, words: &[&str]) -> Output {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    command.stdin(Stdio::null()).output().expect("perfctl beside polluxd")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_some(daemon: &Daemon) {
    let session = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    let mut disk = Disk::open(session, 0).expect("a disk");
    for block in 0..100 {
        disk.read(block, 8).expect("a read");
    }
}

#[test]
fn latency_is_written_as_a_log_and_drawn() {
    let daemon = Daemon::demo();
    read_some(&daemon);
    let directory = tempfile::tempdir().expect("a directory");
    let (log, plot) = (directory.path().join("a.hlog"), directory.path().join("a.svg"));
    let paths = [&log, &plot].map(|path| path.to_str().expect("a path in UTF-8"));
    let ran = run(&daemon, &["stats", "--hdr", paths[0], "--svg", paths[1]]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("volume demo: "), "{}", text(&ran.stdout));
    let log = std::fs::read_to_string(log).expect("a log");
    // Every histogram in V2 compressed form begins with these letters in base64.
    let is_read = |line: &str| line.starts_with("Tag=demo/read,0.000,") && line.contains(",HISTF");
    assert_eq!(log.lines().filter(|line| is_read(line)).count(), 1, "{log}");
    let plot = std::fs::read_to_string(plot).expect("a plot");
    assert!(plot.contains(">demo read: 100 commands, p50 "), "{plot}");
}

/// What a program on a terminal of its own draws, as it comes.
struct Screen {
    chunks: Receiver<Vec<u8>>,
    drawn: String,
}

impl Screen {
    fn wait_for(&mut self, words: &str) {
        let until = Instant::now() + TIME_MAX;
        while !self.drawn.contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            let chunk = self.chunks.recv_timeout(left);
            self.drawn += &text(&chunk.unwrap_or_else(|e| panic!("{e}: {:?}", self.drawn)));
        }
    }
}

#[test]
fn top_draws_the_volume_and_gives_the_terminal_back_on_q() {
    if Program::find("script", None).is_none() {
        return;
    }
    let daemon = Daemon::demo();
    let (binary, control) = (perfctl(), daemon.setup().control_socket());
    let top = format!(
        "stty cols 90 rows 20; exec {} --control {} top",
        binary.display(),
        control.display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &top, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script can be started");
    let (sender, chunks) = channel();
    let mut stdout = child.stdout.take().expect("its output");
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut chunk) {
            // Nobody listens any more when the test has what it wanted.
            let _sent = sender.send(chunk[..length].to_vec());
        }
    });
    let mut screen = Screen { chunks, drawn: String::new() };
    screen.wait_for("demo ");
    assert!(screen.drawn.contains("reactor") && screen.drawn.contains("busy"));
    child.stdin.take().expect("its input").write_all(b"q").expect("a key");
    // The first screen comes back.
    screen.wait_for("\x1b[?1049l");
    assert!(child.wait().expect("its end").success());
}

#[test]
fn bench_reads_from_the_only_lun_by_default() {
    let daemon = Daemon::demo();
    let ran = run(&daemon, &["bench", "--duration", "0.5", "--depth", "4"]);
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{err}");
    let portal = daemon.portal();
    // The time that follows is measured.
    let head = format!("4KiB random read, QD4 on demo ({DEMO} LUN 0 at {portal}), ");
    assert!(out.starts_with(&head), "{out}");
    assert!(out.contains("\nread ") && !out.contains("\nwrite "), "{out}");
}

#[test]
fn bench_writes_only_on_request_and_only_to_unused_volumes() {
    let daemon = Daemon::demo();
    let ran = run(&daemon, &["bench", "demo", "--read-percent", "50"]);
    assert_eq!(ran.status.code(), Some(2), "{}", text(&ran.stderr));
    let short = ["bench", "demo", "--duration", "0.3", "--depth", "4", "--json"];
    let writing = [&short[..], &["--write"]].concat();
    let session = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    let ran = run(&daemon, &writing);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stderr).contains("use --force"), "{}", text(&ran.stderr));
    let reading = run(&daemon, &short);
    assert!(reading.status.success(), "{}", text(&reading.stderr));
    assert!(text(&reading.stdout).contains(r#""load":"4KiB random read, QD4""#));
    let forced = run(&daemon, &[&writing[..], &["--force"]].concat());
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    assert!(text(&forced.stdout).contains(r#""load":"4KiB random write, QD4""#));
    drop(session);
}

/// Runs perfctl with this text on its standard input.
fn run_with_input(daemon: &Daemon, words: &[&str], input: &str) -> Output {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("perfctl beside polluxd");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("a secret");
    child.wait_with_output().expect("its end")
}

#[test]
fn chap_that_perfctl_sets_is_asked_of_new_logins_also_after_a_restart() {
    let Some(inquiry) = Program::find("iscsi-inq", None) else { return };
    let mut daemon = Daemon::demo();
    let words = ["target", "set", DEMO, "--chap-name", "alice", "--chap-secret-file", "-"];
    let ran = run_with_input(&daemon, &words, "correcthorsebattery\n");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("portal group 1, CHAP, any"), "{}", text(&ran.stdout));
    for _ in 0..2 {
        let url = |user: &str| format!("iscsi://{user}{}/{DEMO}/0", daemon.portal());
        let with_chap = inquiry.run_well(&[&url("alice%correcthorsebattery@")]);
        assert!(with_chap.contains("DIRECT_ACCESS"), "{with_chap}");
        assert!(!inquiry.run(&[&url("")]).0);
        assert!(!inquiry.run(&[&url("alice%batteryhorsecorrect@")]).0);
        for words in [&["status"][..], &["target", "list"], &["operation", "list", "--json"]] {
            let ran = run(&daemon, words);
            assert!(ran.status.success(), "{}", text(&ran.stderr));
            assert!(!text(&ran.stdout).contains("horse"), "{}", text(&ran.stdout));
        }
        assert!(!daemon.said().contains("horse"), "{}", daemon.said());
        daemon.kill_and_restart();
    }
    let ran = run(&daemon, &["target", "set", DEMO, "--no-chap"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    inquiry.run_well(&[&format!("iscsi://{}/{DEMO}/0", daemon.portal())]);
}

#[test]
fn the_systemd_of_this_machine_understands_all_of_the_unit() {
    let Some(analyze) = Program::find("systemd-analyze", None) else { return };
    let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let unit = std::fs::read_to_string(tree.join("tools/polluxd/polluxd.service"));
    let binaries = std::path::absolute(perfctl()).expect("a path");
    let binaries = binaries.parent().expect("its directory");
    let unit = unit.expect("the unit").replace("/usr/bin", &binaries.display().to_string());
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("polluxd.service");
    std::fs::write(&path, unit).expect("a file");
    let said = analyze.run_well(&["verify", path.to_str().expect("a path in UTF-8")]);
    assert_eq!(said, "");
}
