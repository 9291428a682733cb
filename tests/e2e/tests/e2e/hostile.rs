//! Attacks on one daemon, and a neighbour that must not notice them: each of its requests is
//! answered in time, it can log in, and the daemon's memory stays within its bound.
//!
//! Each attack goes on for as long as the neighbour works. Here the figures are small; with
//! `POLLUX_HOSTILE=full` they are those of docs/TUNING.md (`tests/run hostile`).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use e2e::hostile::{
    Attack, HostileLife, Neighbour, Place, Scale, Service, alone, discovery_sessions,
    large_writes_held, memory_of, pings_never_read, reads_at, reads_never_read, write_at,
    writes_held, writes_without_data,
};
use e2e::{Daemon, Held, HeldFiles, Setup, Subject, allow_open_files};
use initiator::{Command, CommandResult, Disk, Error, cdb};

/// Two volumes on one reactor, so that the attack and the neighbour share all that there is.
const TWO_VOLUMES: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"
cores = [0]

[[portal]]
address = "PORTAL"

[[volume]]
name = "attacked"
kind = "memory"
size = "16MiB"

[[volume]]
name = "neighbour"
kind = "memory"
size = "16MiB"

[[target]]
name = "iqn.2026-11.local.pollux:attacked"
luns = { 0 = "attacked" }

[[target]]
name = "iqn.2026-11.local.pollux:neighbour"
luns = { 0 = "neighbour" }
"#;

/// A daemon under attack.
struct Scene {
    daemon: Daemon,
    scale: Scale,
}

impl Scene {
    /// `None` where the environment names another target.
    fn start(config: &str) -> Option<Self> {
        if Subject::is_foreign() {
            println!("skipped: this fact is about polluxd, and E2E_PORTAL names another target");
            return None;
        }
        let daemon = Setup::demo().with_config(config).start();
        Some(Self { daemon, scale: Scale::of_this_run() })
    }

    fn place(&self, target: &str, last_byte: u8) -> Place {
        Place {
            portal: self.daemon.portal(),
            target: format!("iqn.2026-11.local.pollux:{target}"),
            from: Ipv4Addr::new(127, 0, 0, last_byte),
        }
    }

    /// Where attacks come from, and to.
    fn attacked(&self) -> Place {
        self.place("attacked", 66)
    }

    /// Lets the neighbour work while `count` lives of a hostile initiator go on, and holds it to
    /// the scale.
    fn assert_is_not_noticed(&self, count: usize, life: impl HostileLife) -> Service {
        let mut neighbour = Neighbour::log_in(&self.place("neighbour", 2));
        let attack = Attack::begin(count, &self.attacked(), life);
        let service = neighbour.work(self.scale.time);
        let memory = memory_of(self.daemon.pid());
        drop(attack);
        service.assert_is_good(&self.scale);
        let connections = count.max(CONNECTIONS) as u64;
        let bound = MEMORY_BYTES_MAX + connections * DATA_CONNECTION_BYTES_MAX;
        println!("memory: {} MiB, at most {} MiB", memory >> 20, bound >> 20);
        assert!(memory <= bound, "{memory} bytes of memory");
        service
    }
}

/// The bound of docs/TUNING.md for one reactor with the default buffers and 32 MiB of memory
/// volumes, and for each connection; an attack with one may open some at a time.
const MEMORY_BYTES_MAX: u64 = (64 + 66 + 16 + 32) << 20;
const DATA_CONNECTION_BYTES_MAX: u64 = 6 * (1 << 20) / 10;
const CONNECTIONS: usize = 64;

#[test]
fn reads_that_nobody_reads_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(TWO_VOLUMES) else { return };
    scene.assert_is_not_noticed(1, reads_never_read(128));
}

#[test]
fn reads_that_are_read_slowly_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(TWO_VOLUMES) else { return };
    scene.assert_is_not_noticed(1, reads_at(10_000, 128));
}

#[test]
fn writes_whose_data_never_come_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(TWO_VOLUMES) else { return };
    scene.assert_is_not_noticed(26, writes_without_data(128));
}

/// One host with many sessions had one buffer with each of them, until there was none.
#[test]
fn many_sessions_of_a_host_whose_data_never_come_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(TWO_VOLUMES) else { return };
    let sessions = scene.scale.pick(150, 40);
    scene.assert_is_not_noticed(sessions, writes_without_data(40));
}

#[test]
fn many_sessions_of_a_host_whose_data_come_slowly_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(TWO_VOLUMES) else { return };
    let sessions = scene.scale.pick(200, 150);
    scene.assert_is_not_noticed(sessions, write_at(6000));
}

/// The neighbour has an address of its own: the attack comes from one.
#[test]
fn discovery_sessions_without_end_are_not_noticed() {
    let _one = alone();
    allow_open_files(DISCOVERY_SESSIONS as u64 + 256);
    let Some(scene) = Scene::start(TWO_VOLUMES) else { return };
    scene.assert_is_not_noticed(1, discovery_sessions(DISCOVERY_SESSIONS));
}

/// As many as a reactor has connections: fewer leave room for others on any daemon.
const DISCOVERY_SESSIONS: usize = 4096;

/// A volume on a file system that will hang, and beside the neighbour's volume one on a file
/// system that is well.
const HUNG: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"
cores = [0]

[[portal]]
address = "PORTAL"

[[volume]]
name = "attacked"
kind = "file"
path = "HUNG"
adopt = true
size = "16MiB"

[[volume]]
name = "neighbour"
kind = "memory"
size = "16MiB"

[[volume]]
name = "well"
kind = "file"
size = "16MiB"

[[target]]
name = "iqn.2026-11.local.pollux:attacked"
luns = { 0 = "attacked" }

[[target]]
name = "iqn.2026-11.local.pollux:neighbour"
luns = { 0 = "neighbour", 1 = "well" }
"#;

/// What needs a thread of the kernel must not wait for those that the hung file system keeps.
#[test]
fn a_file_system_that_hangs_is_not_noticed() {
    assert_that_a_hang_is_not_noticed(1, writes_held(0, 128));
}

/// Their data held all large buffers: each session had half of what those before it had left.
#[test]
fn large_writes_of_many_sessions_to_a_file_system_that_hangs_are_not_noticed() {
    assert_that_a_hang_is_not_noticed(12, large_writes_held(40, false));
}

/// What its earlier sessions had was charged to nobody.
#[test]
fn a_host_that_comes_again_and_again_to_a_file_system_that_hangs_is_not_noticed() {
    assert_that_a_hang_is_not_noticed(2, large_writes_held(40, true));
}

fn assert_that_a_hang_is_not_noticed(count: usize, life: impl HostileLife) {
    let _one = alone();
    let files = HeldFiles::mount();
    let path = files.add("hung.img", 16 << 20);
    let config = HUNG.replace("HUNG", path.to_str().expect("a path in UTF-8"));
    let Some(scene) = Scene::start(&config) else { return };
    // It is dropped before the daemon, which cannot end while its requests hang.
    let files = files;
    let place = scene.place("neighbour", 2);
    let mut neighbour = Neighbour::log_in(&place);
    let mut well = place.disk(1).expect("the disk on the file system that is well");
    files.hold(Held::Io);
    // One after the other: each takes what those before it have left.
    let begin = |_| Attack::begin(1, &scene.attacked(), life.clone());
    let _attacks: Vec<Attack> = (0..count).map(begin).collect();
    files.wait_until_held();
    let mut others = Service::default();
    let service = neighbour.work_and(scene.scale.time, || {
        let flushed = others.time("flush", || well.synchronize_cache());
        assert!(flushed.is_good(), "{flushed:?}");
        let unmapped = others.time("unmap", || unmap(&mut well));
        assert!(unmapped.is_good(), "{unmapped:?}");
    });
    files.release();
    service.assert_is_good(&scene.scale);
    // A disk may take its time for a flush; a hung one takes for ever.
    others.assert_is_within(FLUSH_TIME_MAX);
}

/// How long a flush or an UNMAP of a file may take on a slow machine.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(10);

/// Unmaps the first 64 KiB.
fn unmap(disk: &mut Disk) -> Result<CommandResult, Error> {
    let mut list = [0; 24];
    list[1] = 22;
    list[3] = 16;
    list[16..20].copy_from_slice(&(65_536 / disk.block_bytes()).to_be_bytes());
    let command = Command::write(disk.lun(), cdb::unmap(24), &list);
    disk.session().scsi(command)
}

/// Few buffers, so that the memory of the connections shows beside them.
const FEW_BUFFERS: &str = "buffers = \"4KiB:256,64KiB:16,256KiB:16\"";

/// The neighbour works before it, and the memory is that of a daemon in use.
#[test]
fn pings_whose_answers_nobody_reads_take_bounded_memory_and_give_it_back() {
    let _one = alone();
    let config = TWO_VOLUMES.replace("cores = [0]", &format!("cores = [0]\n{FEW_BUFFERS}"));
    let Some(scene) = Scene::start(&config) else { return };
    let connections = scene.scale.pick(150, 60);
    let mut neighbour = Neighbour::log_in(&scene.place("neighbour", 2));
    neighbour.work(Duration::from_millis(500));
    let before = memory_of(scene.daemon.pid());
    let attack = Attack::begin(connections, &scene.attacked(), pings_never_read(4096));
    let service = neighbour.work(scene.scale.time);
    let during = memory_of(scene.daemon.pid());
    drop(attack);
    service.assert_is_good(&scene.scale);
    let bound = before + SLACK_BYTES + connections as u64 * CONNECTION_BYTES_MAX;
    let (mib, at_most) = (during >> 20, bound >> 20);
    assert!(during <= bound, "{mib} MiB with {connections} connections, at most {at_most}");
    let until = Instant::now() + GIVE_BACK_TIME_MAX;
    while memory_of(scene.daemon.pid()) > before + SLACK_BYTES {
        let now = memory_of(scene.daemon.pid()) >> 20;
        let then = before >> 20;
        assert!(Instant::now() < until, "{now} MiB when the connections are gone, {then} before");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// The bound of docs/TUNING.md for a connection with answers of up to 4 KiB: 0.3 MiB.
const CONNECTION_BYTES_MAX: u64 = 3 * (1 << 20) / 10;

/// What an allocator keeps, and what work of the neighbour adds; and the receive buffers of the
/// reactor, which take their 16 MiB when they are first used.
const SLACK_BYTES: u64 = (12 + 16) << 20;

/// How long a daemon on a slow machine may take to give back what connections had that are gone.
const GIVE_BACK_TIME_MAX: Duration = Duration::from_secs(60);
