//! Tasks of a volume that is taken away while they wait for something.
#![allow(missing_docs)]

mod world;

use shard::IoResult;
use units::VolumeId;
use world::{NOW, World, catalog, catalog_of};

/// COMPARE AND WRITE of block 0.
const COMPARE_AND_WRITE: [u8; 16] = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
/// WRITE (10) of block 0.
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// What a removed unit's tasks waited for was forgotten with the unit: they never ended, were
/// never answered and kept their buffers.
#[test]
fn tasks_that_wait_for_a_range_of_a_removed_volume_end() {
    let mut world = World::log_in();
    let (words, _) = world.execute(&COMPARE_AND_WRITE, 0xa0, &[0; 1024]);
    assert_eq!(words, ["read"], "it holds its range");
    let (words, _) = world.execute(&COMPARE_AND_WRITE, 0xa0, &[0; 1024]);
    assert!(words.is_empty(), "it waits for the home to hold the range: {words:?}");
    let (words, _) = world.execute(&WRITE, 0xa0, &[0; 512]);
    assert!(words.is_empty(), "it waits for the range: {words:?}");
    world.shard.handle_catalog(NOW, catalog(2, false), &mut world.actions);
    world.carry_out();
    while let Some(op) = world.reads.pop() {
        world.shard.handle_io(NOW, op, IoResult::Failed(5), &mut world.actions);
        world.carry_out();
    }
    assert!(world.shard.buffers_in_use() == 0, "all tasks have ended");
}

/// A place of the catalog that is used again: what is left of its old volume is none of the new
/// one's, and ends as it would have without it.
#[test]
fn a_volume_at_the_place_of_a_removed_one_has_nothing_of_it() {
    let mut world = World::log_in();
    let (words, _) = world.execute(&COMPARE_AND_WRITE, 0xa0, &[0; 1024]);
    assert_eq!(words, ["read"], "it holds its range");
    let (words, _) = world.execute(&WRITE, 0xa0, &[0; 512]);
    assert!(words.is_empty(), "it waits for the range: {words:?}");
    world.shard.handle_catalog(NOW, catalog(2, false), &mut world.actions);
    let second = VolumeId(0).successor();
    assert_eq!(second.map(VolumeId::place), Some(0));
    world.shard.handle_catalog(NOW, catalog_of(3, second), &mut world.actions);
    world.carry_out();
    // The unit attention: the LUNs have changed.
    let (words, _) = world.execute(&[0; 6], 0x80, &[]);
    assert_eq!(words, ["PDU 0x21 status 2"]);
    let (words, _) = world.execute(&WRITE, 0xa0, &[0; 512]);
    assert_eq!(words, ["write", "PDU 0x21 status 0"], "no range of the old volume is in its way");
    while let Some(op) = world.reads.pop() {
        world.shard.handle_io(NOW, op, IoResult::Failed(5), &mut world.actions);
        world.carry_out();
    }
    assert!(world.shard.buffers_in_use() == 0, "all tasks have ended");
    // What the old one left is forgotten with the next catalog, and the new one goes on.
    world.shard.handle_catalog(NOW, catalog_of(4, second), &mut world.actions);
    let (words, _) = world.execute(&WRITE, 0xa0, &[0; 512]);
    assert_eq!(words, ["write", "PDU 0x21 status 0"]);
}
