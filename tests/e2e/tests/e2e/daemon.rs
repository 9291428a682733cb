//! The daemon as a process: how it starts, what it says, what it keeps, how it ends.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;

use e2e::{Daemon, Outcome, Setup, inquiry_is_answered, pattern};
use initiator::pdu::{self, opcode};
use initiator::{Command, Disk, Login, Session, cdb};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";

fn disk(portal: SocketAddr, target: &str, lun: u16) -> Disk {
    let session = Session::open(portal, &Login::normal(target)).expect("a login");
    Disk::open(session, lun).expect("a disk")
}

#[test]
fn the_embedded_default_prints_how_to_connect_and_to_watch() {
    let daemon = Daemon::demo();
    let said = daemon.said();
    let portal = daemon.portal();
    for line in [
        format!("iscsiadm -m discovery -t sendtargets -p {portal}"),
        format!("iscsiadm -m node -T {DEMO} -p {portal} --login"),
        format!("iscsi-ls -s iscsi://{portal}"),
        format!("iscsi://{portal}/{DEMO}/0"),
        "qemu".to_owned(),
        "perfctl".to_owned(),
        daemon.setup().state_directory().display().to_string(),
    ] {
        assert!(said.contains(&line), "{line:?} is missing in:\n{said}");
    }
}

#[test]
fn the_demo_volume_is_a_sparse_file_of_one_gibibyte() {
    let daemon = Daemon::demo();
    let mut disk = disk(daemon.portal(), DEMO, 0);
    assert_eq!(disk.blocks() * u64::from(disk.block_bytes()), 1 << 30);
    assert!(disk.read(0, 64).expect("a read").data.iter().all(|byte| *byte == 0));
    let volumes = daemon.setup().state_directory().join("volumes");
    let file = std::fs::read_dir(&volumes)
        .expect("the volumes' directory")
        .filter_map(Result::ok)
        .find(|entry| entry.metadata().is_ok_and(|data| data.len() == 1 << 30))
        .expect("a file of 1 GiB");
    let stored = std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("its metadata"));
    assert!(stored * 512 < 16 << 20, "{stored} sectors are stored of an empty volume");
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let first = Daemon::demo();
    let (status, said) = Setup::demo().at(first.portal()).run_to_end();
    assert!(!status.success(), "the second daemon cannot serve");
    for word in [first.portal().to_string().as_str(), "in use", "--listen"] {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
    inquiry_is_answered(disk(first.portal(), DEMO, 0).session(), 0);
}

#[test]
fn a_state_directory_has_one_daemon() {
    let first = Daemon::demo();
    let (status, said) = first.setup().clone().at(Setup::demo().portal()).run_to_end();
    assert!(!status.success(), "the second daemon cannot have the state");
    let directory = first.setup().state_directory().display().to_string();
    assert!(said.contains(&directory), "{directory} is missing in:\n{said}");
    inquiry_is_answered(disk(first.portal(), DEMO, 0).session(), 0);
}

#[test]
fn content_and_name_survive_a_clean_end_and_a_crash() {
    let mut daemon = Daemon::demo();
    let portal = daemon.portal();
    let data = pattern(1 << 20, 71);
    let mut before = disk(portal, DEMO, 0);
    assert!(before.write(4096, &data).expect("a write").is_good());
    assert!(before.synchronize_cache().expect("an answer").is_good());
    let device_id = |disk: &mut Disk| {
        let command = Command::read(0, cdb::inquiry_page(0x83, 252), 252);
        disk.session().scsi(command).expect("page 83h").data
    };
    let name = device_id(&mut before);
    before.into_session().logout().expect("a logout");
    daemon.ask_to_end();
    assert!(daemon.wait_for_end().success());
    for _ in 0..2 {
        daemon.kill_and_restart();
        let mut after = disk(portal, DEMO, 0);
        assert_eq!(after.read(4096, 2048).expect("a read").data, data);
        assert_eq!(device_id(&mut after), name, "the device keeps its name (SPC-4 7.8.6)");
    }
}

/// The kernel takes a killed process's ring apart after the process is gone, and the ring holds
/// the volumes' files and their locks until then: a daemon that comes back at once must wait for
/// them, or it would be ready without its volumes. Another portal, because the old one may be
/// held as well.
#[test]
fn a_daemon_that_comes_back_at_once_after_a_crash_serves_its_volumes() {
    let mut daemon = Daemon::demo();
    for life in 1..=5 {
        inquiry_is_answered(disk(daemon.portal(), DEMO, 0).session(), 0);
        let setup = daemon.setup().clone().at(Setup::demo().portal());
        daemon.kill();
        daemon = setup.start();
        let said = daemon.said();
        assert!(!said.contains("not served"), "life {life}:\n{said}");
    }
}

#[test]
fn sigterm_asks_for_logout_and_ends_with_success() {
    let mut daemon = Daemon::demo();
    let mut session = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    inquiry_is_answered(&mut session, 0);
    daemon.ask_to_end();
    let message = session.await_opcode(opcode::ASYNC_MESSAGE).expect("an Asynchronous Message");
    assert_eq!(message.bhs[36], 1, "the target requests logout (RFC 7143 11.9.1)");
    assert_eq!(message.initiator_task_tag(), pdu::TAG_NONE, "RFC 7143 11.9");
    assert!((1..=60).contains(&message.u16_at(42)), "Parameter3 is the time to log out");
    assert_eq!(session.logout().expect("a logout"), 0);
    assert!(daemon.wait_for_end().success());
    assert!(session.violations().is_empty(), "{:?}", session.violations());
}

#[test]
fn sigterm_ends_the_daemon_though_nobody_logs_out() {
    let mut daemon = Daemon::demo();
    let mut disks = (0..4).map(|_| disk(daemon.portal(), DEMO, 0)).collect::<Vec<_>>();
    let half_open = initiator::Connection::open(daemon.portal()).expect("a connection");
    daemon.ask_to_end();
    assert!(daemon.wait_for_end().success());
    for disk in &mut disks {
        disk.session().connection().discard_until_closed().expect("the connection is closed");
    }
    drop(half_open);
}

#[test]
fn sigterm_under_load_answers_what_it_has_taken() {
    let mut daemon = Daemon::demo();
    let mut disk = disk(daemon.portal(), DEMO, 0);
    let mut acknowledged = Vec::new();
    let mut tickets = Vec::new();
    for number in 0..64_u8 {
        let data = pattern(65_536, number);
        let command = disk.write_command(u64::from(number) * 128, &data, true);
        tickets.push((number, disk.session().submit(command).expect("a write is sent")));
    }
    daemon.ask_to_end();
    for (number, ticket) in tickets {
        match disk.session().collect(ticket) {
            Ok(result) if result.is_good() => acknowledged.push(number),
            Ok(result) => panic!("write {number} was answered {result:?}"),
            Err(error) => assert!(error.is_closed(), "write {number}: {error}"),
        }
    }
    assert!(daemon.wait_for_end().success());
    daemon.kill_and_restart();
    let mut after = self::disk(daemon.portal(), DEMO, 0);
    for number in acknowledged {
        let read = after.read(u64::from(number) * 128, 128).expect("a read");
        assert_eq!(read.data, pattern(65_536, number), "write {number} was acknowledged");
    }
}

const VOLUMES: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"

[[portal]]
address = "PORTAL"

[[volume]]
name = "healthy"
kind = "file"
size = "16MiB"

[[volume]]
name = "missing"
kind = "file"
size = "16MiB"

[[volume]]
name = "shortened"
kind = "file"
size = "16MiB"

[[volume]]
name = "lengthened"
kind = "file"
size = "16MiB"

[[target]]
name = "iqn.2026-11.local.pollux:four"
luns = { 0 = "healthy", 1 = "missing", 2 = "shortened", 3 = "lengthened" }
"#;

/// The file of a volume: the one in the state directory with the volume's name.
fn volume_file(state: &Path, name: &str) -> std::path::PathBuf {
    let volumes = state.join("volumes");
    let entries = std::fs::read_dir(&volumes).expect("the volumes' directory");
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .find(|path| {
            let is_file = path.metadata().is_ok_and(|data| data.len() == 16 << 20);
            is_file && path.file_stem().is_some_and(|stem| stem == name)
        })
        .unwrap_or_else(|| panic!("no file of volume {name} in {}", volumes.display()))
}

#[test]
fn bad_volume_files_are_refused_by_name_and_the_others_are_served() {
    let target = "iqn.2026-11.local.pollux:four";
    let mut daemon = Setup::demo().with_config(VOLUMES).start();
    let data = pattern(65_536, 72);
    for lun in 0..4 {
        let mut disk = disk(daemon.portal(), target, lun);
        assert!(disk.write(0, &data).expect("a write").is_good());
        assert!(disk.synchronize_cache().expect("an answer").is_good());
    }
    daemon.kill();
    let state = daemon.setup().state_directory();
    std::fs::remove_file(volume_file(&state, "missing")).expect("a file is removed");
    for (name, length) in [("shortened", 15 << 20), ("lengthened", 17 << 20)] {
        let file = OpenOptions::new().write(true).open(volume_file(&state, name));
        file.and_then(|file| file.set_len(length)).expect("a file gets another size");
    }
    daemon.kill_and_restart();
    for name in ["missing", "shortened"] {
        let words = format!("volume {name} is not served");
        assert!(daemon.says(&words), "{words:?} in:\n{}", daemon.said());
    }
    let words = "volume lengthened: ";
    assert!(daemon.says(words), "{words:?} in:\n{}", daemon.said());
    // What has grown has the data and the size that its initiators know.
    let mut grown = disk(daemon.portal(), target, 3);
    assert_eq!(grown.read(0, 128).expect("a read").data, data);
    assert_eq!(grown.blocks(), 32_768);
    let mut disk = disk(daemon.portal(), target, 0);
    assert_eq!(disk.read(0, 128).expect("a read").data, data);
    for lun in 1..3 {
        let ready = Command::without_data(lun, cdb::test_unit_ready());
        let outcome = Outcome::of(disk.session().scsi(ready));
        assert!(outcome.is_refusal(), "LUN {lun} is served: {outcome:?}");
    }
    // Nothing that was there has been touched.
    assert!(!state.join("volumes/missing.img").exists(), "a lost file is not made anew");
}

#[test]
fn a_configuration_with_a_fault_is_refused_with_file_line_and_key() {
    let broken = VOLUMES.replacen("kind", "knid", 1);
    let setup = Setup::demo().with_config(&broken);
    let (status, said) = setup.run_to_end();
    assert!(!status.success());
    // The text begins with an empty line, and the first volume's kind is in the eleventh.
    for word in ["polluxd.toml:11", "knid", "kind"] {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}
