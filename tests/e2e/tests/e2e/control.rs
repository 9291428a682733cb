//! The control socket while files and devices do not answer. What hangs is held back by the test
//! itself, for as long as it wants: nothing here depends on how fast anything is.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};

use e2e::{Daemon, Held, HeldFiles, pattern, perfctl};
use initiator::{Disk, Login, Session};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";
const NEW: &str = "iqn.2026-11.local.pollux:new";
const VOLUME_BYTES: u64 = 16 << 20;

fn command(daemon: &Daemon, words: &[&str]) -> Command {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    command.stdin(Stdio::null());
    command
}

fn run(daemon: &Daemon, words: &[&str]) -> Output {
    command(daemon, words).output().expect("perfctl beside polluxd")
}

/// What perfctl prints where it succeeds.
fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let output = run(daemon, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Begins an operation that does not end; gives its number.
fn begun(daemon: &Daemon, words: &[&str]) -> String {
    let said = asked(daemon, &[words, &["--no-wait", "--json"]].concat());
    let id = said.trim().strip_prefix("{\"operation\":").and_then(|rest| rest.strip_suffix('}'));
    id.unwrap_or_else(|| panic!("{words:?} is not in progress: {said}")).to_owned()
}

fn disk(daemon: &Daemon, target: &str) -> Disk {
    let session = Session::open(daemon.portal(), &Login::normal(target)).expect("a login");
    Disk::open(session, 0).expect("a disk")
}

fn writes_and_reads(disk: &mut Disk, seed: u8) {
    let data = pattern(65_536, seed);
    assert!(disk.write(0, &data).expect("a write").is_good());
    assert_eq!(disk.read(0, 128).expect("a read").data, data);
}

fn utf8(path: &std::path::Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A volume whose file is removed, but not yet.
fn hanging_deletion(daemon: &Daemon, files: &HeldFiles) -> String {
    let path = files.add("old.img", VOLUME_BYTES);
    // Files of FUSE count as data, because it cannot tell.
    asked(daemon, &["volume", "create", "old", "--adopt", "--path", utf8(&path)]);
    files.hold(Held::Unlink);
    let id = begun(daemon, &["volume", "delete", "old", "--remove-file"]);
    files.wait_until_held();
    id
}

/// A volume whose file does not open.
fn hanging_open(daemon: &Daemon, files: &HeldFiles) -> String {
    let path = files.add("slow.img", VOLUME_BYTES);
    files.hold(Held::Open);
    let id = begun(daemon, &["volume", "create", "slow", "--adopt", "--path", utf8(&path)]);
    files.wait_until_held();
    id
}

#[test]
fn status_is_answered_and_io_goes_on_while_files_are_opened_made_and_removed() {
    let daemon = Daemon::demo();
    let [opened, made, removed] = [(); 3].map(|()| HeldFiles::mount());
    let mut demo = disk(&daemon, DEMO);
    let delete = hanging_deletion(&daemon, &removed);
    let open = hanging_open(&daemon, &opened);
    made.hold(Held::Create);
    let path = made.path("new.img");
    let words = ["volume", "create", "made", "--size", "16MiB", "--path", utf8(&path)];
    let create = begun(&daemon, &words);
    made.wait_until_held();

    let status = asked(&daemon, &["status"]);
    assert!(status.contains("operations     3 in progress"), "{status}");
    let list = asked(&daemon, &["operation", "list"]);
    let slow = opened.path("slow.img");
    assert!(list.contains(&format!("opening {}", utf8(&slow))), "{list}");
    assert!(list.contains("removing "), "{list}");
    asked(&daemon, &["stats"]);
    assert!(asked(&daemon, &["session", "list"]).contains(DEMO));
    writes_and_reads(&mut demo, 1);

    // Nothing else waits for what hangs: neither other volumes nor the name of the deleted one.
    asked(&daemon, &["volume", "create", "old", "--size", "1MiB"]);
    asked(&daemon, &["target", "create", NEW]);
    asked(&daemon, &["target", "map", NEW, "old"]);
    writes_and_reads(&mut disk(&daemon, NEW), 2);
    // But what is about the same volume does, in the order in which it came.
    let map = begun(&daemon, &["target", "map", NEW, "slow"]);
    let list = asked(&daemon, &["operation", "show", &map]);
    assert!(list.contains("waiting for an earlier operation"), "{list}");
    writes_and_reads(&mut demo, 3);

    for files in [&opened, &made, &removed] {
        files.release();
    }
    for id in [&delete, &open, &create, &map] {
        let ended = asked(&daemon, &["operation", "wait", id]);
        assert!(ended.contains("\ndone\n"), "{ended}");
    }
    assert_eq!(removed.names(), [] as [&str; 0]);
    assert_eq!(made.names(), ["new.img"]);
    let status = asked(&daemon, &["status"]);
    assert!(status.contains("operations     none in progress"), "{status}");
    assert_eq!(status.matches(" served ").count(), 4, "{status}");
    writes_and_reads(&mut demo, 4);
}

#[test]
fn a_failed_operation_says_what_the_call_would_have() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let path = files.add("slow.img", VOLUME_BYTES);
    files.hold(Held::Open);
    let words = ["volume", "create", "slow", "--adopt", "--path", utf8(&path)];
    let mut child: Child =
        command(&daemon, &words).stderr(Stdio::piped()).spawn().expect("perfctl beside polluxd");
    files.wait_until_held();
    files.fail();
    assert_eq!(child.wait().expect("its end").code(), Some(1));
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("its errors");
    std::io::Read::read_to_string(&mut stderr, &mut said).expect("its errors in UTF-8");
    let sentence = format!("volume slow cannot be served: cannot open volume {}", utf8(&path));
    assert!(said.contains(&sentence), "{said}");
    assert!(!asked(&daemon, &["volume", "list"]).contains("slow"));
}

#[test]
fn a_deletion_that_a_crash_interrupts_is_finished_by_the_next_start() {
    let mut daemon = Daemon::demo();
    let files = HeldFiles::mount();
    hanging_deletion(&daemon, &files);
    let pid = i32::try_from(daemon.pid()).ok().and_then(rustix::process::Pid::from_raw);
    let killed = rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL);
    killed.expect("the daemon runs");
    // A thread in the middle of a request keeps the process until the request is answered.
    files.fail();
    let left = files.names();
    assert_eq!(left.len(), 1, "{left:?}");
    daemon.kill_and_restart();
    let ended = asked(&daemon, &["operation", "wait", "1"]);
    assert!(ended.contains("volume.delete old") && ended.contains("\ndone\n"), "{ended}");
    assert_eq!(files.names(), [] as [&str; 0]);
    let volumes = daemon.setup().state_directory().join("volumes");
    let entries = std::fs::read_dir(volumes).expect("the volumes' directory");
    let mut names: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["demo.img", "demo.toml"]);
}

#[test]
fn sigterm_ends_the_daemon_and_names_what_is_under_way() {
    let mut daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let id = hanging_open(&daemon, &files);
    daemon.ask_to_end();
    let path = files.path("slow.img");
    let words = format!(
        "stopping while this is in progress: volume.create slow: opening {} operation={id}",
        utf8(&path)
    );
    assert!(daemon.says(&words), "{}", daemon.said());
    // The kernel keeps a process whose thread is in the middle of a request.
    files.fail();
    assert!(daemon.wait_for_end().success());
}

/// The administrator was locked out for as long as 32 programs said nothing.
#[test]
fn silent_clients_do_not_lock_the_administrator_out() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let id = hanging_open(&daemon, &files);
    // Whoever waits for an operation gets an answer, however many others come.
    let waiting = waiting(&daemon, &id);
    let silent: Vec<_> = (0..100).map(|_| connect(&daemon)).collect();
    assert!(asked(&daemon, &["status"]).contains("operations     1 in progress"));
    files.release();
    asked(&daemon, &["operation", "wait", &id]);
    let mut answer = String::new();
    BufReader::new(waiting).read_line(&mut answer).expect("an answer");
    assert!(answer.contains("\"result\":{"), "{answer}");
    drop(silent);
}

/// One slow operation and a script that waits for it kept everybody out, `perfctl status` too.
#[test]
fn clients_that_wait_for_an_operation_do_not_lock_the_administrator_out() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let id = hanging_open(&daemon, &files);
    let mut command = command(&daemon, &["operation", "wait", &id]);
    let follower = command.stdout(Stdio::piped()).spawn().expect("perfctl beside polluxd");
    let waiting: Vec<_> = (0..40).map(|_| waiting(&daemon, &id)).collect();
    assert!(asked(&daemon, &["status"]).contains("operations     1 in progress"));
    // Whoever had to go was told how far the operation is.
    let mut answer = String::new();
    let mut first = BufReader::new(&waiting[0]);
    first.read_line(&mut answer).expect("an answer");
    assert!(answer.contains("\"state\":\"running\""), "{answer}");
    answer.clear();
    first.read_line(&mut answer).expect("a reason");
    assert!(answer.contains("this connection was idle for the longest time"), "{answer}");
    files.release();
    let output = follower.wait_with_output().expect("perfctl");
    assert!(text(&output.stdout).contains("\ndone\n"), "{output:?}");
}

/// A connection that waits for an operation.
fn waiting(daemon: &Daemon, id: &str) -> UnixStream {
    let mut waiting = connect(daemon);
    let params = format!("\"params\":{{\"id\":{id}}}");
    let ask = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"operation.wait\",{params}}}\n");
    waiting.write_all(ask.as_bytes()).expect("a request");
    waiting
}

fn connect(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(daemon.setup().control_socket()).expect("the control socket")
}
