//! What a host and an operator learn of an operation that the storage has failed.

use std::process::{Command as Process, Stdio};

use e2e::{Daemon, Held, HeldFiles, perfctl};
use initiator::{Command, CommandResult, Disk, Login, Session, cdb};

const VOLUME_BYTES: u64 = 16 << 20;

/// What perfctl prints.
fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let mut command = Process::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.stdin(Stdio::null()).output().expect("perfctl beside polluxd");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A new volume of this name, as the only LUN of a target.
fn disk_of(daemon: &Daemon, files: &HeldFiles, name: &str) -> Disk {
    let path = files.add(name, VOLUME_BYTES);
    let path = path.to_str().expect("a path in UTF-8");
    let target = format!("iqn.2026-11.local.pollux:{name}");
    asked(daemon, &["volume", "create", name, "--path", path, "--adopt"]);
    asked(daemon, &["target", "create", &target]);
    asked(daemon, &["target", "map", &target, name]);
    let session = Session::open(daemon.portal(), &Login::normal(&target)).expect("a login");
    Disk::open(session, 0).expect("a disk")
}

/// Makes the file system fail a command.
fn fail(files: &HeldFiles, disk: &mut Disk, command: Command) -> CommandResult {
    files.hold(Held::Io);
    let ticket = disk.session().submit(command).expect("a command is sent");
    files.wait_until_held();
    files.fail();
    disk.session().collect(ticket).expect("an answer")
}

/// Sense key, additional sense code and, if it is valid, INFORMATION of fixed format sense.
fn sense(answer: &CommandResult) -> (u8, u8, Option<u32>) {
    let bytes = &answer.sense_bytes;
    let information = bytes[3..7].try_into().expect("four bytes");
    let is_valid = bytes[0] & 0x80 != 0;
    (bytes[2] & 0x0f, bytes[12], is_valid.then_some(u32::from_be_bytes(information)))
}

fn unmap(lun: u16, lba: u8, blocks: u8) -> Command {
    let mut list = [0; 24];
    (list[1], list[3], list[15], list[19]) = (22, 16, lba, blocks);
    Command::write(lun, cdb::unmap(24), &list)
}

/// No block was named to hosts. A line tells of all failures of one volume with one error code, so
/// that each kind of operation has a volume of its own here.
#[test]
fn an_operation_that_fails_names_its_volume_and_block() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let line_of = |volume: &str, operation: &str, place: &str| {
        let line = format!(
            "I/O error: Input/output error (os error 5) volume=\"{volume}\" \
             operation=\"{operation}\"{place} suppressed=0"
        );
        assert!(daemon.says(&line), "{line} is not in {}", daemon.said());
    };
    let mut disk = disk_of(&daemon, &files, "r");
    let command = disk.read_command(16, 8);
    assert_eq!(sense(&fail(&files, &mut disk, command)), (3, 0x11, Some(16)));
    line_of("r", "read", " lba=16 blocks=8");
    let mut disk = disk_of(&daemon, &files, "w");
    let command = disk.write_command(32, &[7; 4096], false);
    assert_eq!(sense(&fail(&files, &mut disk, command)), (3, 0x0c, Some(32)));
    line_of("w", "write", " lba=32 blocks=8");
    let mut disk = disk_of(&daemon, &files, "u");
    let command = unmap(disk.lun(), 64, 8);
    assert_eq!(sense(&fail(&files, &mut disk, command)), (3, 0x0c, Some(64)));
    line_of("u", "space", " lba=64 blocks=8");
}

/// It was a line with the number of the volume, and nothing else said that the volume was not
/// durable any more.
#[test]
fn a_flush_that_fails_is_a_warning_with_the_name_of_the_volume() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let mut disk = disk_of(&daemon, &files, "f");
    let command = Command::without_data(disk.lun(), cdb::synchronize_cache_10());
    assert_eq!(sense(&fail(&files, &mut disk, command)), (3, 0x0c, None));
    let path = files.path("f");
    let warning = format!("volume f: a flush of {} failed, so that writes", path.display());
    assert!(daemon.says(&warning), "{}", daemon.said());
    assert!(asked(&daemon, &["status"]).contains(&warning));
    let line = "volume=\"f\" operation=\"flush\" suppressed=0";
    assert!(daemon.said().contains(line), "{}", daemon.said());
    assert_eq!(daemon.said().matches(&warning).count(), 1);
}
