//! Attacks on one daemon, and a neighbour that must not notice them: each of its requests is
//! answered in time, it can log in, and the daemon's memory stays within its bound.
//!
//! Each attack goes on for as long as the neighbour works. Here the figures are small; with
//! `POLLUX_HOSTILE=full` they are those of docs/TUNING.md (`tests/run hostile`).

use std::time::{Duration, Instant};

use e2e::hostile::{
    Attack, HostileLife, Layout, Neighbour, Place, Scale, Service, alone, discovery_sessions,
    large_writes_held, memory_of, pings_never_read, reads_at, reads_never_read, requests_cut_short,
    write_at, writes_held, writes_without_data,
};
use e2e::{Daemon, Held, HeldFiles, Setup, allow_open_files};
use initiator::{Command, CommandResult, Disk, Error, cdb};

/// The volume that is attacked and that of the neighbour, with further lines of `[node]`.
fn two_volumes(keys: &str) -> Layout {
    Layout::with_node(keys)
        .memory("attacked")
        .target("attacked", &["attacked"])
        .memory("neighbour")
        .target("neighbour", &["neighbour"])
}

/// A daemon under attack.
struct Scene {
    daemon: Daemon,
    scale: Scale,
}

impl Scene {
    /// `None` where the environment names another target.
    fn start(layout: &Layout) -> Option<Self> {
        let daemon = layout.start(Setup::demo())?;
        Some(Self { daemon, scale: Scale::of_this_run() })
    }

    /// Where attacks come from, and to.
    fn attacked(&self) -> Place {
        Place::new(&self.daemon, "attacked", 66)
    }

    /// Where the neighbour comes from, and to.
    fn neighbour(&self) -> Place {
        Place::new(&self.daemon, "neighbour", 2)
    }

    /// Lets the neighbour work while `count` lives of a hostile initiator go on, and holds it to
    /// the scale.
    fn assert_is_not_noticed(&self, count: usize, life: impl HostileLife) -> Service {
        let mut neighbour = Neighbour::log_in(&self.neighbour());
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
    let Some(scene) = Scene::start(&two_volumes("")) else { return };
    scene.assert_is_not_noticed(1, reads_never_read(128));
}

#[test]
fn reads_that_are_read_slowly_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(&two_volumes("")) else { return };
    scene.assert_is_not_noticed(1, reads_at(10_000, 128));
}

#[test]
fn writes_whose_data_never_come_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(&two_volumes("")) else { return };
    scene.assert_is_not_noticed(26, writes_without_data(128));
}

/// One host with many sessions had one buffer with each of them, until there was none.
#[test]
fn many_sessions_of_a_host_whose_data_never_come_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(&two_volumes("")) else { return };
    let sessions = scene.scale.pick(150, 40);
    scene.assert_is_not_noticed(sessions, writes_without_data(40));
}

#[test]
fn many_sessions_of_a_host_whose_data_come_slowly_are_not_noticed() {
    let _one = alone();
    let Some(scene) = Scene::start(&two_volumes("")) else { return };
    let sessions = scene.scale.pick(200, 150);
    scene.assert_is_not_noticed(sessions, write_at(6000));
}

/// The neighbour has an address of its own: the attack comes from one.
#[test]
fn discovery_sessions_without_end_are_not_noticed() {
    let _one = alone();
    allow_open_files(DISCOVERY_SESSIONS as u64 + 256);
    let Some(scene) = Scene::start(&two_volumes("")) else { return };
    scene.assert_is_not_noticed(1, discovery_sessions(DISCOVERY_SESSIONS));
}

/// As many as a reactor has connections: fewer leave room for others on any daemon.
const DISCOVERY_SESSIONS: usize = 4096;

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
    // Beside the neighbour's volume one on a file system that is well.
    let layout = Layout::with_node("")
        .file_at("attacked", &path)
        .target("attacked", &["attacked"])
        .memory("neighbour")
        .file("well")
        .target("neighbour", &["neighbour", "well"]);
    let Some(scene) = Scene::start(&layout) else { return };
    // It is dropped before the daemon, which cannot end while its requests hang.
    let files = files;
    let place = scene.neighbour();
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

#[test]
fn pings_whose_answers_nobody_reads_take_bounded_memory_and_give_it_back() {
    let connection_bytes_max = 3 * MIB / 10;
    assert_memory_is_bounded_and_comes_back(connection_bytes_max, pings_never_read(4096));
}

/// The lists stayed in the allocator, in pieces between others that were still in use.
#[test]
fn requests_that_are_cut_short_take_bounded_memory_and_give_it_back() {
    let lists = Scale::of_this_run().pick(120, 30);
    assert_memory_is_bounded_and_comes_back(3 * MIB / 2, requests_cut_short(lists));
}

/// Repeats an attack, and holds the daemon to the bound of docs/TUNING.md for each connection, and
/// to what it may keep of all of them.
fn assert_memory_is_bounded_and_comes_back(connection_bytes_max: u64, life: impl HostileLife) {
    let _one = alone();
    let Some(scene) = Scene::start(&two_volumes(FEW_BUFFERS)) else { return };
    let connections = scene.scale.pick(150, 60);
    // The memory is that of a daemon in use.
    let mut neighbour = Neighbour::log_in(&scene.neighbour());
    neighbour.work(Duration::from_millis(500));
    let kept_bytes_max = memory_of(scene.daemon.pid()) + KEPT_BYTES_MAX;
    let bound = kept_bytes_max + connections as u64 * connection_bytes_max;
    for round in 1..=2 {
        let attack = Attack::begin(connections, &scene.attacked(), life.clone());
        let service = neighbour.work(scene.scale.time);
        let during = memory_of(scene.daemon.pid());
        drop(attack);
        service.assert_is_good(&scene.scale);
        let [mib, at_most] = [during, bound].map(|bytes| bytes / MIB);
        println!("round {round}: {mib} MiB with {connections} connections, at most {at_most}");
        assert!(during <= bound, "{mib} MiB with {connections} connections, at most {at_most}");
        assert_comes_back(scene.daemon.pid(), kept_bytes_max);
    }
}

fn assert_comes_back(pid: u32, bytes_max: u64) {
    let begin = Instant::now();
    loop {
        let memory = memory_of(pid);
        let ([mib, at_most], took) = ([memory, bytes_max].map(|b| b / MIB), begin.elapsed());
        if memory <= bytes_max {
            println!("{mib} MiB {took:?} after the last connection, at most {at_most}");
            return;
        }
        assert!(took < GIVE_BACK_TIME_MAX, "{mib} MiB when all are gone, at most {at_most}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

const MIB: u64 = 1 << 20;

/// What a daemon may keep of connections that are gone (docs/TUNING.md); and the receive buffers of
/// the reactor, which take their 16 MiB when they are first used.
const KEPT_BYTES_MAX: u64 = (12 + 16) * MIB;

/// How long a daemon on a slow machine may take to give back what connections had that are gone.
const GIVE_BACK_TIME_MAX: Duration = Duration::from_secs(60);
