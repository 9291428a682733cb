//! How long `perfctl status` and a neighbour's I/O take while a volume is created, a large file of
//! many extents is deleted and another file does not open. The long run has the figures that an
//! operator counts on; every run has the same steps with a small file.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Daemon, Held, HeldFiles, number_from_environment, pattern, perfctl};
use initiator::{Disk, Login, Session};
use rustix::fs::{FallocateFlags, fallocate};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";

/// Allocated space between two holes of the deleted file, and the hole.
const EXTENT_BYTES: u64 = 96 << 10;
const HOLE_BYTES: u64 = 4 << 10;

/// Extents of the deleted file: the long run asks for 100,000, which are 10 GiB.
const EXTENTS: u64 = 1000;

/// How long a call may take, unless the long run says 100 ms: more than any busy machine needs.
const STATUS_MS_MAX: u64 = 10_000;

/// How long the held file does not open: the long run asks for 15 s.
const HELD_SECONDS: u64 = 1;

fn perfctl_says(daemon: &Daemon, words: &[&str]) -> String {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.stdin(Stdio::null()).output().expect("perfctl beside polluxd");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text in UTF-8")
}

/// A preallocated file with a hole behind each extent. Its parts are unwritten, which does not
/// matter: the file system frees each of them.
fn fragmented_file(path: &Path, extents: u64) {
    let file = File::create(path).expect("a file");
    let step = EXTENT_BYTES + HOLE_BYTES;
    fallocate(&file, FallocateFlags::empty(), 0, extents * step).expect("space for the file");
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for extent in 0..extents {
        fallocate(&file, hole, extent * step + EXTENT_BYTES, HOLE_BYTES).expect("a hole");
    }
    file.sync_all().expect("the file is written");
}

/// The longest of many calls, and of many pairs of a 4 KiB write and a read.
#[derive(Debug, Default)]
struct Longest {
    calls: u32,
    status: Duration,
    io: Duration,
}

impl Longest {
    fn measure(&mut self, daemon: &Daemon, disk: &mut Disk) {
        let begin = Instant::now();
        perfctl_says(daemon, &["status"]);
        self.status = self.status.max(begin.elapsed());
        let begin = Instant::now();
        let data = pattern(4096, self.calls.to_le_bytes()[0]);
        assert!(disk.write(0, &data).expect("a write").is_good());
        assert_eq!(disk.read(0, 8).expect("a read").data, data);
        self.io = self.io.max(begin.elapsed());
        self.calls += 1;
    }
}

#[test]
fn status_and_io_go_on_while_a_large_file_is_deleted_and_another_does_not_open() {
    let extents = number_from_environment("POLLUX_EXTENTS", EXTENTS);
    let status_ms_max = number_from_environment("POLLUX_STATUS_MS_MAX", STATUS_MS_MAX);
    let held = number_from_environment("POLLUX_HELD_SECONDS", HELD_SECONDS);
    let daemon = Daemon::demo();
    let session = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    let mut disk = Disk::open(session, 0).expect("a disk");
    let old = daemon.setup().state_directory().join("old.img");
    fragmented_file(&old, extents);
    let old_path = old.to_str().expect("a path in UTF-8");
    perfctl_says(&daemon, &["volume", "create", "old", "--path", old_path]);

    let files = HeldFiles::mount();
    let slow = files.add("slow.img", 1 << 20);
    files.hold(Held::Open);
    let slow_path = slow.to_str().expect("a path in UTF-8");
    perfctl_says(
        &daemon,
        &["volume", "create", "slow", "--path", slow_path, "--adopt", "--no-wait"],
    );
    files.wait_until_held();
    let begin = Instant::now();
    let words = ["volume", "delete", "old", "--remove-file", "--no-wait", "--json"];
    // An operation where the deletion takes its time, as one of 10 GiB does.
    let delete = perfctl_says(&daemon, &words);
    let delete = delete.trim().strip_prefix("{\"operation\":").and_then(|d| d.strip_suffix('}'));
    perfctl_says(&daemon, &["volume", "create", "new", "--size", "1GiB", "--no-wait"]);

    let mut longest = Longest::default();
    let mut removed = None;
    while begin.elapsed() < Duration::from_secs(held) || removed.is_none() {
        longest.measure(&daemon, &mut disk);
        let is_removed = delete.is_none_or(|id| {
            perfctl_says(&daemon, &["operation", "show", id]).contains("\ndone\n")
        });
        if is_removed && removed.is_none() {
            removed = Some(begin.elapsed());
        }
    }
    files.release();
    println!("{extents} extents removed after {removed:?}; {longest:?}");
    assert!(longest.status <= Duration::from_millis(status_ms_max), "{longest:?}");
    assert!(!old.exists(), "the file is removed");
}
