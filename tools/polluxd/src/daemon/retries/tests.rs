//! When volumes that are not served are tried again.

use super::*;
use crate::storage::{Identity, Occasion, try_open};
use units::BlockSize;

const IDENTITY: Identity<'_> = Identity {
    naa_oui: None,
    random: &|bytes| {
        bytes.fill(0x5a);
        Ok(())
    },
};

const ONE_SECOND: Duration = Duration::from_secs(1);

struct World {
    dir: tempfile::TempDir,
    state: StateDir,
    table: VolumeTable,
    retries: Retries,
    start: Instant,
}

impl World {
    /// A daemon that has started with volumes whose files are missing.
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let configs: Vec<_> = (0..count).map(volume).collect();
        for at in 0..count {
            drop(VolumeTable::default().plan(&configs[at..=at], &state, IDENTITY));
            std::fs::remove_file(path_of(&configs[at], &state)).unwrap();
        }
        let table = VolumeTable::default().plan(&configs, &state, IDENTITY).table;
        let (mut retries, start) = (Retries::default(), Instant::now());
        retries.follow(&table, start);
        Self { dir, state, table, retries, start }
    }

    fn at(&self, seconds: u32) -> Instant {
        self.start + ONE_SECOND * seconds
    }

    /// An attempt to open the first volume; whether it was opened.
    fn attempt(&mut self, seconds: u32) -> bool {
        let (config, now) = (volume(0), self.at(seconds));
        assert_eq!(self.retries.begin_due(now), ["v0"]);
        let occasion = Occasion::of_followed(true);
        let open = || try_open(&config, &self.state, IDENTITY, now, &occasion);
        let (outcome, seen) = attempt(&config, &self.state, self.retries.before("v0"), open);
        let Some(why) = outcome.fault() else { return true };
        self.retries.failed("v0", why, seen, now);
        false
    }

    fn image(&self) -> std::path::PathBuf {
        path_of(&volume(0), &self.state)
    }

    fn reason(&self) -> String {
        let reason = self.retries.state("v0", self.start).unwrap().reason;
        reason.replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

fn volume(number: usize) -> VolumeConfig {
    VolumeConfig {
        name: format!("v{number}"),
        kind: VolumeKind::File,
        path: None,
        size_bytes: Some(1 << 20),
        block_size: BlockSize::B512,
        read_only: false,
        write_cache: None,
        adopt: false,
        whole_blocks: true,
    }
}

#[test]
fn a_volume_that_is_not_served_is_tried_every_ten_seconds() {
    let mut world = World::new(1);
    assert_eq!(world.retries.deadline(), Some(world.at(10)));
    assert!(world.retries.begin_due(world.at(9)).is_empty());
    let state = world.retries.state("v0", world.at(4)).unwrap();
    assert_eq!((state.since, state.next), (ONE_SECOND * 4, Some(ONE_SECOND * 6)));
    assert!(!world.attempt(10));
    assert_eq!(world.retries.deadline(), Some(world.at(20)));
    assert!(!world.attempt(20));
    let state = world.retries.state("v0", world.at(25)).unwrap();
    assert_eq!((state.since, state.next), (ONE_SECOND * 25, Some(ONE_SECOND * 5)));
    // Other changes of the configuration neither delay it nor begin its time again.
    let table = world.table.clone();
    world.retries.follow(&table, world.at(26));
    assert_eq!(world.retries.deadline(), Some(world.at(30)));
    assert_eq!(world.retries.state("v0", world.at(30)).unwrap().since, ONE_SECOND * 30);
}

#[test]
fn a_volume_that_is_served_or_gone_is_tried_no_more() {
    let mut world = World::new(1);
    world.retries.follow(&VolumeTable::default(), world.at(1));
    assert_eq!((world.retries.deadline(), world.retries.state("v0", world.at(1))), (None, None));
    // An attempt that was under way has ended.
    let why = NotServed { reason: "late".into(), retry: Retry::Soon };
    world.retries.failed("v0", why, None, world.at(2));
    assert_eq!(world.retries.deadline(), None);
}

#[test]
fn what_the_configuration_forbids_is_not_tried() {
    let mut world = World::new(1);
    let config = VolumeConfig { size_bytes: Some(4096), ..volume(0) };
    let table = VolumeTable::default().plan(&[config], &world.state, IDENTITY).table;
    world.retries.follow(&table, world.at(1));
    assert_eq!(world.retries.deadline(), None);
    assert_eq!(world.retries.state("v0", world.at(1)).unwrap().next, None);
}

/// A backup that is being restored was served when half of it was there.
#[test]
fn a_file_that_comes_back_is_opened_when_it_has_stopped_changing() {
    let mut world = World::new(1);
    assert!(!world.attempt(10));
    std::fs::write(world.image(), vec![1; 1 << 19]).unwrap();
    assert!(!world.attempt(20));
    let unsettled = "DIR/state/volumes/v0.img is being written, as a backup that is being \
                     restored; it is opened when it has not changed for 10 s";
    assert_eq!(world.reason(), unsettled);
    std::fs::write(world.image(), vec![1; 1 << 20]).unwrap();
    assert!(!world.attempt(30));
    assert_eq!(world.reason(), unsettled);
    assert!(world.attempt(40));
}

#[test]
fn a_file_that_was_cut_is_served_when_it_is_whole_again() {
    let mut world = World::new(1);
    std::fs::write(world.image(), vec![1; 4096]).unwrap();
    assert!(!world.attempt(10));
    assert!(!world.attempt(20));
    assert!(world.reason().contains("v0.img was truncated"), "{}", world.reason());
    std::fs::write(world.image(), vec![1; 1 << 20]).unwrap();
    assert!(!world.attempt(30));
    assert!(world.attempt(40));
}

#[test]
fn only_some_volumes_are_tried_at_once() {
    let mut world = World::new(12);
    let first = world.retries.begin_due(world.at(10));
    assert_eq!(first.len(), 8);
    assert!(world.retries.begin_due(world.at(10)).is_empty());
    assert_eq!(world.retries.deadline(), None);
    let why = NotServed { reason: "it hangs".into(), retry: Retry::Soon };
    world.retries.failed(&first[0], why, None, world.at(11));
    world.retries.put_off(&first[1], world.at(11));
    assert_eq!(world.retries.begin_due(world.at(11)).len(), 2);
}
