//! Logs must not touch the data path: a full, slow or closed standard error, and a volume that
//! fails every write beside one that is well.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::hostile::{Layout, Neighbour, Place, Scale, alone};
use e2e::{Daemon, HeldFiles, Setup};
use initiator::Disk;

/// LUNs of the second target.
const SECOND: u16 = 0;
const CROWDED: u16 = 1;

/// A daemon with a volume on a file system that has no room left.
struct Scene {
    // Dropped before the daemon, which cannot end while a request of its hangs.
    _files: HeldFiles,
    daemon: Daemon,
}

impl Scene {
    fn start(setup: Setup) -> Option<Self> {
        let files = HeldFiles::mount();
        // A healthy volume, one that is idle, and one whose file system will be full.
        let layout = Layout::with_node("")
            .memory("healthy")
            .target("healthy", &["healthy"])
            .memory("second")
            .file_at("crowded", &files.add("crowded.img", 16 << 20))
            .target("others", &["second", "crowded"]);
        let daemon = layout.start(setup)?;
        files.fill_up();
        Some(Self { _files: files, daemon })
    }

    fn healthy(&self) -> Neighbour {
        Neighbour::log_in(&Place::new(&self.daemon, "healthy", 2))
    }

    fn other(&self, lun: u16) -> Disk {
        Place::new(&self.daemon, "others", 3).disk(lun).expect("a disk")
    }

    /// How many requests the healthy volume serves while a neighbour writes to another volume, a
    /// thousand times a second.
    fn served_beside(&self, lun: u16, time: Duration) -> usize {
        let (mut healthy, mut other) = (self.healthy(), self.other(lun));
        let (is_over, failed) = (AtomicBool::new(false), AtomicU64::new(0));
        let count = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let next = Instant::now() + Duration::from_millis(1);
                    let result = other.write(0, &[0x5a; 4096]).expect("an answer");
                    failed.fetch_add(u64::from(!result.is_good()), Ordering::Relaxed);
                    std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
                }
            });
            let service = healthy.work(time);
            is_over.store(true, Ordering::Relaxed);
            service.count()
        });
        let failed = failed.into_inner();
        assert_eq!(failed > 0, lun == CROWDED, "{failed} writes to LUN {lun} failed");
        count
    }
}

/// The ratio of two phases of one run, so that the speed of the machine does not matter.
#[test]
fn a_full_file_system_and_an_unread_log_leave_a_healthy_volume_its_speed() {
    let _one = alone();
    let Some(mut scene) = Scene::start(Setup::demo().with_unread_log()) else { return };
    scene.daemon.fill_log();
    let scale = Scale::of_this_run();
    let before = scene.served_beside(SECOND, scale.time);
    let beside = scene.served_beside(CROWDED, scale.time);
    println!("{before} requests in {:?}, then {beside} beside failures", scale.time);
    // Without timing it must only go on.
    let percent = if scale.is_full { 80 } else { 1 };
    assert!(beside * 100 >= before * percent, "{beside} of {before} requests");
}

#[test]
fn a_log_that_is_closed_ends_nothing() {
    let _one = alone();
    let Some(mut scene) = Scene::start(Setup::demo().with_unread_log()) else { return };
    scene.daemon.close_log();
    let mut crowded = scene.other(CROWDED);
    for _ in 0..200 {
        assert!(!crowded.write(0, &[0x5a; 4096]).expect("an answer").is_good());
    }
    scene.healthy().work(Duration::from_millis(200));
    scene.daemon.ask_to_end();
    assert!(scene.daemon.wait_for_end().success(), "{}", scene.daemon.said());
}

#[test]
fn a_volume_that_fails_all_writes_is_named_in_a_few_lines() {
    let _one = alone();
    let Some(scene) = Scene::start(Setup::demo()) else { return };
    let (begin, before) = (Instant::now(), scene.daemon.said().len());
    scene.served_beside(CROWDED, Scale::of_this_run().time);
    let until = Instant::now() + LINE_TIME_MAX;
    while !scene.daemon.said().split_off(before).contains("crowded") && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let said = scene.daemon.said().split_off(before);
    // A session that ends without a logout is a line of its own, which says nothing of a volume.
    let is_of_volumes = |line: &&str| line.contains(" WARN ") && !line.contains("session lost");
    let lines: Vec<&str> = said.lines().filter(is_of_volumes).collect();
    assert!(lines.iter().any(|line| line.contains("crowded")), "it is not named:\n{said}");
    let minutes = usize::try_from(begin.elapsed().as_secs() / 60).expect("a short test") + 1;
    let count = lines.len();
    assert!(count <= LINES_PER_MINUTE_MAX * minutes, "{count} lines in {minutes} min:\n{said}");
}

/// One line for a kind of failure each ten seconds, and as many about what follows from it.
const LINES_PER_MINUTE_MAX: usize = 12;

/// How long a line may take to come on a slow machine.
const LINE_TIME_MAX: Duration = Duration::from_secs(20);
