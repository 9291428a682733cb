//! Volumes over the life of a state directory.

use super::table::Planned;
use super::*;
use crate::config::VolumeConfig;
use crate::state::StateDir;
use control_api::VolumeKind;
use reactor::Store;
use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use units::{BlockSize, VolumeId};
use volume::Naa;

struct World {
    _dir: tempfile::TempDir,
    state: StateDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        Self { _dir: dir, state }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.volume_dir().join(format!("{name}.img"))
    }

    /// What a daemon that starts makes of these volumes.
    fn start(&self, configs: &[VolumeConfig]) -> Planned {
        VolumeTable::default().plan(configs, &self.state, IDENTITY)
    }

    /// Why the only volume is not served, with the state directory's name taken out.
    fn reason(&self, config: &VolumeConfig) -> String {
        let planned = self.start(std::slice::from_ref(config));
        let volume = planned.table.iter().next().unwrap();
        let NotServed { reason, .. } = volume.served.clone().unwrap_err();
        reason.replace(&self.state.path().display().to_string(), "STATE")
    }
}

const IDENTITY: Identity<'_> = Identity {
    naa_oui: None,
    random: &|bytes| {
        bytes.fill(NEXT.replace(NEXT.get() + 1));
        Ok(())
    },
};

thread_local! {
    /// What the next identity consists of. Each test has a thread of its own.
    static NEXT: Cell<u8> = const { Cell::new(0x5a) };
}

fn file(name: &str) -> VolumeConfig {
    VolumeConfig {
        name: name.into(),
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
fn a_new_file_volume_is_made_sparse_with_an_identity_that_stays() {
    let world = World::new();
    let planned = world.start(&[file("a")]);
    let first = planned.table.find("a").unwrap().served.clone().unwrap();
    assert_eq!(first.geometry.bytes(), 1 << 20);
    assert_eq!(
        first.wwid.naa,
        Naa::LocallyAssigned([0x3a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a])
    );
    assert!(first.capabilities.volatile_write_cache);
    assert_eq!(planned.stores.len(), 1);
    assert_eq!(fs::metadata(world.file("a")).unwrap().len(), 1 << 20);
    drop(planned);
    let other = Identity {
        random: &|bytes| {
            bytes.fill(0xff);
            Ok(())
        },
        ..IDENTITY
    };
    let again = VolumeTable::default().plan(&[file("a")], &world.state, other);
    assert_eq!(again.table.find("a").unwrap().served.clone().unwrap().wwid, first.wwid);
}

#[test]
fn a_volume_whose_file_is_gone_is_refused_by_name_and_the_others_are_served() {
    let world = World::new();
    drop(world.start(&[file("a"), file("b")]));
    fs::remove_file(world.file("a")).unwrap();
    let planned = world.start(&[file("a"), file("b")]);
    let NotServed { reason, .. } = planned.table.find("a").unwrap().served.clone().unwrap_err();
    assert_eq!(
        reason.replace(&world.state.path().display().to_string(), "STATE"),
        "STATE/volumes/a.img is missing; check that its file system is mounted, or delete \
         the volume with \"perfctl volume delete\""
    );
    assert!(planned.table.find("b").unwrap().served.is_ok());
    assert!(!world.file("a").exists(), "a lost volume must not come back empty");
    let known = planned.table.find("a").unwrap().known.clone().unwrap();
    assert_eq!(known.size_bytes, 1 << 20);
    let failed: Vec<_> = planned.table.not_served().map(|(name, _)| name).collect();
    assert_eq!(failed, ["a"]);
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    resize(&world.file("a"), 4096);
    assert_eq!(
        world.reason(&file("a")),
        "STATE/volumes/a.img was truncated: it has 4096 bytes, but the volume was created with \
         1048576; restore it from a backup"
    );
}

fn resize(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// It was refused, and the advice was to restore it from a backup.
#[test]
fn a_file_that_has_grown_is_served_with_the_size_that_initiators_know() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    resize(&world.file("a"), 2 << 20);
    let planned = world.start(&[file("a")]);
    let record = planned.table.find("a").unwrap().served.clone().unwrap();
    assert_eq!(record.geometry.bytes(), 1 << 20);
    let Store::File(open) = &planned.stores[0].1 else { panic!("a file") };
    assert_eq!(open.size, 1 << 20, "what the reactors know");
    assert_eq!(fs::metadata(world.file("a")).unwrap().len(), 2 << 20);
}

/// It got a new identity or, where the image was gone too, a new and empty image.
#[test]
fn a_volume_whose_record_is_lost_is_refused() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    fs::remove_file(world.state.record_path("a")).unwrap();
    let lost = "its record STATE/volumes/a.toml is missing. Check that the file system of the \
                state directory is mounted, or restore the record from a backup. To give up the \
                volume's identity and create the volume again, remove STATE/known/a";
    assert_eq!(world.reason(&file("a")), lost);
    fs::remove_file(world.file("a")).unwrap();
    assert_eq!(world.reason(&VolumeConfig { adopt: true, ..file("a") }), lost);
    assert!(!world.file("a").exists());
    fs::remove_file(world.state.mark_path("a")).unwrap();
    assert!(world.start(&[file("a")]).table.find("a").unwrap().served.is_ok());
}

#[test]
fn a_volume_that_an_earlier_version_made_is_marked_at_its_next_start() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    fs::remove_file(world.state.mark_path("a")).unwrap();
    drop(world.start(&[file("a")]));
    assert!(world.state.was_made("a"));
    world.state.forget_record("a").unwrap();
    assert!(!world.state.was_made("a"));
}

/// A new volume showed the bytes of an old one.
#[test]
fn a_new_volume_does_not_take_over_data_unless_it_is_told_to() {
    let world = World::new();
    fs::write(world.file("a"), vec![7; 1 << 20]).unwrap();
    let refused = "STATE/volumes/a.img already holds data. To serve this data, set adopt = true \
                   (perfctl volume create: --adopt); otherwise erase or remove it, or choose \
                   another path";
    assert_eq!(world.reason(&file("a")), refused);
    assert_eq!(world.reason(&VolumeConfig { size_bytes: None, ..file("a") }), refused);
    assert!(world.state.record("a").unwrap().is_none());
    assert!(!world.state.was_made("a"));
    let adopting = VolumeConfig { adopt: true, ..file("a") };
    assert!(world.start(&[adopting]).table.find("a").unwrap().served.is_ok());
    // From then on, it is the volume's own.
    assert!(world.start(&[file("a")]).table.find("a").unwrap().served.is_ok());
    assert_eq!(fs::read(world.file("a")).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn a_blank_file_is_taken_without_being_told_to() {
    let world = World::new();
    fs::write(world.file("a"), "").unwrap();
    resize(&world.file("a"), 1 << 20);
    assert!(world.start(&[file("a")]).table.find("a").unwrap().served.is_ok());
}

#[test]
fn a_read_only_volume_is_made_for_the_data_that_is_there() {
    let world = World::new();
    fs::write(world.file("a"), vec![7; 1 << 20]).unwrap();
    let config = VolumeConfig { read_only: true, ..file("a") };
    assert!(world.start(&[config]).table.find("a").unwrap().served.is_ok());
}

#[test]
fn what_initiators_rely_on_cannot_be_configured_away() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    assert_eq!(
        world.reason(&VolumeConfig { size_bytes: Some(4096), ..file("a") }),
        "size is 4096 bytes, but the volume was created with 1048576 and cannot be resized; set \
         size = 1048576 or remove the key"
    );
    assert_eq!(
        world.reason(&VolumeConfig { block_size: BlockSize::B4096, ..file("a") }),
        "block_size is 4096, but the volume was created with 512 and cannot change; set \
         block_size = 512"
    );
    let block = VolumeConfig { kind: VolumeKind::Block, path: Some("/x".into()), ..file("a") };
    assert_eq!(
        world.reason(&block),
        "kind is block, but the volume was created as file and cannot change; use another name \
         for a new volume"
    );
}

#[test]
fn a_file_that_is_adopted_is_taken_as_it_is() {
    let world = World::new();
    let path = world.state.path().join("image");
    fs::write(&path, vec![7; 8192]).unwrap();
    let found =
        VolumeConfig { path: Some(path.clone()), size_bytes: None, adopt: true, ..file("a") };
    let other = VolumeConfig { size_bytes: Some(4096), ..found.clone() };
    assert_eq!(
        world.reason(&other),
        "STATE/image exists with 8192 bytes, but size is 4096; remove the key size to use the \
         volume as it is"
    );
    let planned = world.start(&[found]);
    let record = planned.table.find("a").unwrap().served.clone().unwrap();
    assert_eq!(record.geometry.blocks.0, 16);
    assert_eq!(fs::read(&path).unwrap(), vec![7; 8192]);
}

#[test]
fn a_volume_that_was_moved_keeps_its_identity() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    let moved = world.state.path().join("moved.img");
    fs::rename(world.file("a"), &moved).unwrap();
    let other = Identity {
        random: &|bytes| {
            bytes.fill(0xff);
            Ok(())
        },
        ..IDENTITY
    };
    let config = VolumeConfig { path: Some(moved.clone()), ..file("a") };
    let planned = VolumeTable::default().plan(&[config], &world.state, other);
    let record = planned.table.find("a").unwrap().served.clone().unwrap();
    assert_eq!(record.wwid.serial, "5a5a5a5a5a5a5a5a");
    assert_eq!(world.state.record("a").unwrap().unwrap().path, moved);
}

/// The bytes of any file were shown as those of the volume.
#[test]
fn a_volume_that_was_moved_is_not_taken_for_another_file_unless_it_is_told_to() {
    let world = World::new();
    drop(world.start(&[file("a")]));
    let other = world.state.path().join("other.img");
    fs::write(&other, vec![7; 1 << 20]).unwrap();
    let config = VolumeConfig { path: Some(other.clone()), ..file("a") };
    assert_eq!(
        world.reason(&config),
        "STATE/other.img holds data and is not the file that the volume had, \
         STATE/volumes/a.img. To serve this data as the volume, set adopt = true (perfctl volume \
         create: --adopt)"
    );
    let adopting = VolumeConfig { adopt: true, ..config };
    assert!(world.start(&[adopting]).table.find("a").unwrap().served.is_ok());
    assert_eq!(world.state.record("a").unwrap().unwrap().path, other);
}

/// A host took the two for two paths to one disk.
#[test]
fn two_volumes_never_have_one_identity() {
    let world = World::new();
    drop(world.start(&[file("a"), file("b")]));
    let identity = world.state.record("a").unwrap().unwrap().wwid;
    let record = world.state.record("b").unwrap().unwrap();
    world.state.keep_record(&crate::state::Record { wwid: identity, ..record }).unwrap();
    let planned = world.start(&[file("a"), file("b")]);
    assert!(planned.table.find("a").unwrap().served.is_ok());
    let reason = planned.table.find("b").unwrap().served.clone().unwrap_err().to_string();
    assert_eq!(
        reason.replace(&world.state.path().display().to_string(), "STATE"),
        "its record STATE/volumes/b.toml has the identity (WWID) of volume a, which is served; \
         restore the record from a backup"
    );
    assert_eq!(planned.stores.len(), 1);
}

#[test]
fn a_volume_needs_a_size_to_be_made() {
    let world = World::new();
    assert_eq!(
        world.reason(&VolumeConfig { size_bytes: None, ..file("a") }),
        "STATE/volumes/a.img does not exist, and no size is given to create it; set a size, for \
         example 10GiB"
    );
}

#[test]
fn a_file_that_is_served_cannot_be_served_twice() {
    let world = World::new();
    let first = world.start(&[file("a")]);
    let again = VolumeConfig { path: Some(world.file("a")), size_bytes: None, ..file("b") };
    assert!(world.start(&[again]).table.find("b").unwrap().served.is_err());
    drop(first);
}

#[test]
fn a_file_is_no_block_device() {
    let world = World::new();
    fs::write(world.state.path().join("image"), vec![0; 8192]).unwrap();
    let config = VolumeConfig {
        kind: VolumeKind::Block,
        path: Some(world.state.path().join("image")),
        size_bytes: None,
        ..file("a")
    };
    assert_eq!(world.reason(&config), "STATE/image is not a block device; use kind = \"file\"");
    let gone = VolumeConfig { path: Some("/dev/pollux-none".into()), ..config };
    assert!(world.reason(&gone).starts_with("/dev/pollux-none is missing; "));
    assert!(!Path::new("/dev/pollux-none").exists());
}

#[test]
fn a_memory_volume_is_another_one_after_each_start() {
    let world = World::new();
    let config = VolumeConfig { kind: VolumeKind::Memory, ..file("m") };
    let planned = world.start(std::slice::from_ref(&config));
    assert!(planned.table.find("m").unwrap().served.is_ok());
    assert!(world.state.record("m").unwrap().is_none());
}

#[test]
fn reactors_are_told_whether_reads_of_a_memory_volume_see_whole_blocks() {
    let world = World::new();
    for told in [true, false] {
        let memory = VolumeConfig { kind: VolumeKind::Memory, whole_blocks: told, ..file("m") };
        let planned = world.start(&[memory]);
        let [(_, Store::Memory { whole_blocks, .. })] = planned.stores[..] else {
            unreachable!("one memory volume")
        };
        assert_eq!(whole_blocks, told);
    }
}

#[test]
fn running_volumes_go_on_and_places_are_used_again_once_they_are_closed() {
    let world = World::new();
    let first = world.start(&[file("a"), file("b")]);
    // The reactors hold the stores of what goes on.
    let second = first.table.plan(&[file("b")], &world.state, IDENTITY);
    assert!(second.stores.is_empty());
    let id = |planned: &Planned, name: &str| {
        planned.table.find(name).unwrap().served.clone().unwrap().id
    };
    assert_eq!(id(&second, "b"), VolumeId(1));
    drop(first);
    let third = second.table.plan(&[file("a"), file("b")], &world.state, IDENTITY);
    assert_eq!((id(&third, "a"), id(&third, "b")), (VolumeId(2), VolumeId(1)));
    let places: Vec<_> = third.table.places().iter().map(Option::is_some).collect();
    assert_eq!(places, [false, true, true]);
    // All reactors have closed the first volume a.
    let mut freed = third.table.clone();
    freed.free(&[VolumeId(0)]);
    let fourth = freed.plan(&[file("a"), file("b"), file("c"), file("d")], &world.state, IDENTITY);
    assert_eq!((id(&fourth, "c"), id(&fourth, "d")), (VolumeId(4096), VolumeId(3)));
    let places: Vec<_> = fourth.table.places().iter().map(Option::is_some).collect();
    assert_eq!(places, [true, true, true, true]);
}

#[test]
fn a_contradiction_to_what_runs_is_found_before_anything_is_touched() {
    let world = World::new();
    let running = world.start(&[file("a")]);
    let config = VolumeConfig { size_bytes: Some(2 << 20), ..file("a") };
    let (name, fault) = running.table.contradiction(&[file("new"), config]).unwrap();
    assert_eq!(name, "a");
    assert!(matches!(
        fault,
        VolumeFault::SizeChanged { recorded: 1_048_576, configured: 2_097_152 }
    ));
    assert!(running.table.contradiction(&[file("a")]).is_none());
    assert!(!world.file("new").exists());
}

#[test]
fn keys_that_need_a_start_are_named() {
    let world = World::new();
    let running = world.start(&[file("a")]);
    let config = VolumeConfig { read_only: true, ..file("a") };
    let planned = running.table.plan(&[config], &world.state, IDENTITY);
    assert_eq!(planned.warnings, ["volume a: read_only takes effect after a restart of polluxd"]);
    let memory = VolumeConfig { kind: VolumeKind::Memory, ..file("m") };
    let running = world.start(std::slice::from_ref(&memory));
    let config = VolumeConfig { whole_blocks: false, ..memory };
    let planned = running.table.plan(&[config], &world.state, IDENTITY);
    assert_eq!(
        planned.warnings,
        ["volume m: whole_blocks takes effect after a restart of polluxd"]
    );
}
