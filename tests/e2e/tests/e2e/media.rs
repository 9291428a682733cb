//! What volumes owe each other and their initiators: one that hangs holds up no other, and a target
//! is served where it was configured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use e2e::{Daemon, Held, HeldFiles, Setup, pattern, perfctl};
use initiator::{Command, Disk, Error, Login, Session, Ticket};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";
const HUNG: &str = "iqn.2026-11.local.pollux:hung";
const NOT_FOUND: u16 = 0x0203;

fn ask(daemon: &Daemon, words: &[&str]) {
    let mut command = Process::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.stdin(Stdio::null()).output().expect("perfctl beside polluxd");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn disk(portal: SocketAddr, login: &Login) -> Disk {
    Disk::open(Session::open(portal, login).expect("a login"), 0).expect("a disk")
}

fn serve(daemon: &Daemon, file: &Path) {
    let path = file.to_str().expect("a path in UTF-8");
    ask(daemon, &["volume", "create", "hung", "--path", path, "--adopt"]);
    ask(daemon, &["target", "create", HUNG]);
    ask(daemon, &["target", "map", HUNG, "hung"]);
}

/// UNMAP of some blocks.
fn unmap(lun: u16, lba: u64, blocks: u32) -> Command {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend_from_slice(&lba.to_be_bytes());
    list.extend_from_slice(&blocks.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    let mut cdb = [0; 16];
    (cdb[0], cdb[8]) = (0x42, 24);
    Command::write(lun, cdb, &list)
}

/// GET LBA STATUS of the first blocks.
fn lba_status(lun: u16) -> Command {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x12, 24);
    Command::read(lun, cdb, 24)
}

/// The kernel has a bounded number of workers for what it cannot do at once. The writes of a file
/// system that hung held all of them, and flushes and UNMAPs of all others waited with them; a
/// query of the block map held the reactor itself.
#[test]
fn a_file_system_that_hangs_holds_up_no_other() {
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    serve(&daemon, &files.add("hung.img", 64 << 20));
    let mut healthy = disk(daemon.portal(), &Login::normal(DEMO));
    let mut hung: Vec<Disk> = (0..5)
        .map(|n| {
            let name = format!("iqn.2026-11.org.example:host{n}");
            disk(daemon.portal(), &Login::normal(HUNG).as_initiator(&name))
        })
        .collect();
    files.hold(Held::Io);
    let (asks, writers) = hung.split_first_mut().expect("five sessions");
    let mut writes: Vec<Vec<Ticket>> = Vec::new();
    for disk in writers.iter_mut() {
        let write = |lba| disk.write_command(lba, &pattern(4096, 1), false);
        let commands: Vec<Command> = (0..32).map(|n| write(n * 8)).collect();
        let submit = |command| disk.session().submit(command).expect("a write is sent");
        writes.push(commands.into_iter().map(submit).collect());
    }
    let query = asks.session().submit(lba_status(0)).expect("a query is sent");
    files.wait_until_held();

    for round in 0..3 {
        let data = pattern(65_536, round);
        // Each goes to blocks that are not allocated yet.
        let lba = 4096 + u64::from(round) * 1024;
        assert!(healthy.write(lba, &data).expect("a write").is_good());
        assert_eq!(healthy.read(lba, 128).expect("a read").data, data);
        assert!(healthy.synchronize_cache().expect("a flush").is_good());
        let lun = healthy.lun();
        assert!(healthy.session().scsi(unmap(lun, lba, 128)).expect("an UNMAP").is_good());
        assert_eq!(healthy.read(lba, 128).expect("a read").data, vec![0; 65_536]);
        assert!(healthy.session().scsi(lba_status(lun)).expect("a query").is_good());
    }

    files.release();
    for (disk, tickets) in writers.iter_mut().zip(writes) {
        for ticket in tickets {
            assert!(disk.session().collect(ticket).expect("an answer").is_good());
        }
    }
    assert!(asks.session().collect(query).expect("an answer").is_good());
}

/// A target of group 2 was served through a portal of group 1.
#[test]
fn a_target_is_served_through_the_portals_of_its_group_only() {
    let setup = Setup::demo();
    let first = setup.portal();
    // All of 127.0.0.0/8 is this machine.
    let second = SocketAddr::from(([127, 0, 0, 2], first.port()));
    let target = |name: &str, group: u16| {
        format!(
            "[[target]]\nname = \"iqn.2026-11.org.example:{name}\"\nportal_group = {group}\n\
             luns = {{ 0 = \"{name}\" }}\n\
             [[volume]]\nname = \"{name}\"\nkind = \"null\"\nsize = \"1MiB\"\n"
        )
    };
    let config = format!(
        "[node]\nstate_dir = \"STATE\"\ncontrol = \"CONTROL\"\n\
         [[portal]]\naddress = \"PORTAL\"\n\
         [[portal]]\naddress = \"{second}\"\ngroup = 2\n{}{}",
        target("one", 1),
        target("two", 2)
    );
    let daemon = setup.with_config(&config).try_start().expect("a daemon with two portals");
    for (portal, here, elsewhere) in [(first, "one", "two"), (second, "two", "one")] {
        let login = |name: &str| Login::normal(&format!("iqn.2026-11.org.example:{name}"));
        let session = Session::open(portal, &login(here)).expect("a login");
        assert_eq!(
            session.answer("TargetPortalGroupTag"),
            Some(if here == "one" { "1" } else { "2" })
        );
        let refused = Session::open(portal, &login(elsewhere)).err();
        assert!(
            matches!(refused, Some(Error::LoginRefused { status: NOT_FOUND })),
            "{elsewhere} at {portal}: {refused:?}"
        );
        let mut discovery = Session::open(portal, &Login::discovery()).expect("a discovery");
        let found = discovery.send_targets("All").expect("the targets");
        let expected = [
            ("TargetName".to_owned(), "iqn.2026-11.org.example:one".to_owned()),
            ("TargetAddress".to_owned(), format!("{first},1")),
            ("TargetName".to_owned(), "iqn.2026-11.org.example:two".to_owned()),
            ("TargetAddress".to_owned(), format!("{second},2")),
        ];
        assert_eq!(found, expected, "SendTargets at {portal}");
    }
    drop(daemon);
}
