//! Tasks of a volume that is taken away while they wait for something.
#![allow(missing_docs)]

mod world;

use shard::IoResult;
use world::{NOW, World, catalog};

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
