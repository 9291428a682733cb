//! A unit whose write cache was switched off promises that GOOD means durable, for every
//! command that changes blocks.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod world;

use world::World;

/// MODE SELECT (6) of the caching page with WCE = 0 (SBC-4 6.5.6).
fn switch_write_cache_off(world: &mut World) {
    let (_, mut page) = world.execute(&[0x1a, 8, 8, 0, 255, 0], 0xc0, &[]);
    assert_eq!((page[4] & 0x3f, page[6] & 4), (8, 4), "the cache is on: {page:?}");
    page[0] = 0;
    page[2] = 0;
    page[4] &= 0x3f;
    page[6] &= !4;
    let length = u8::try_from(page.len()).unwrap();
    let (words, _) = world.execute(&[0x15, 0x10, 0, 0, length, 0], 0xa0, &page);
    assert_eq!(words, ["flush", "PDU 0x21 status 0"]);
}

/// WRITE SAME (10) of zeros over 8 blocks.
const WRITE_SAME: [u8; 10] = [0x41, 0, 0, 0, 0, 8, 0, 0, 8, 0];
/// UNMAP with a list of 24 bytes, and the list: 64 blocks from block 64.
const UNMAP: [u8; 10] = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
const UNMAP_LIST: [u8; 24] =
    [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 64, 0, 0, 0, 0];

/// COMPARE AND WRITE and ORWRITE of block 0, with these flags in byte 1.
fn atomic_updates(flags: u8) -> [([u8; 16], usize); 2] {
    [(0x89, 1024), (0x8b, 512)]
        .map(|(code, bytes)| ([code, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], bytes))
}

/// What follows the read of an atomic update.
fn words_of_update(world: &mut World, cdb: &[u8; 16], bytes: usize) -> Vec<String> {
    assert_eq!(world.execute(cdb, 0xa0, &vec![0; bytes]).0, ["read"]);
    let op = world.reads.pop().unwrap();
    world.shard.handle_io(world::NOW, op, shard::IoResult::Done, &mut world.actions);
    world.carry_out().0
}

#[test]
fn an_atomic_update_is_durable_where_fua_or_the_lack_of_a_write_cache_demands_it() {
    let mut world = World::log_in();
    for (cdb, bytes) in atomic_updates(0x00) {
        let words = words_of_update(&mut world, &cdb, bytes);
        assert_eq!(words, ["combine", "write", "PDU 0x21 status 0"], "{cdb:x?}");
    }
    let durable = ["combine", "durable write", "PDU 0x21 status 0"];
    for (cdb, bytes) in atomic_updates(0x08) {
        assert_eq!(words_of_update(&mut world, &cdb, bytes), durable, "{cdb:x?}");
    }
    switch_write_cache_off(&mut world);
    for (cdb, bytes) in atomic_updates(0x00) {
        assert_eq!(words_of_update(&mut world, &cdb, bytes), durable, "{cdb:x?}");
    }
}

#[test]
fn with_a_write_cache_zeros_and_unmapped_blocks_wait_for_a_flush_command() {
    let mut world = World::log_in();
    let (words, _) = world.execute(&WRITE_SAME, 0xa0, &[0; 512]);
    assert_eq!(words, ["combine", "Zero", "PDU 0x21 status 0"]);
    let (words, _) = world.execute(&UNMAP, 0xa0, &UNMAP_LIST);
    assert_eq!(words, ["Unmap", "PDU 0x21 status 0"]);
}

/// They were answered at once, and after a power failure the old blocks could be back.
#[test]
fn without_a_write_cache_zeros_and_unmapped_blocks_are_durable_before_their_status() {
    let mut world = World::log_in();
    switch_write_cache_off(&mut world);
    let (words, _) = world.execute(&WRITE_SAME, 0xa0, &[0; 512]);
    assert_eq!(words, ["combine", "Zero", "flush", "PDU 0x21 status 0"]);
    let (words, _) = world.execute(&UNMAP, 0xa0, &UNMAP_LIST);
    assert_eq!(words, ["Unmap", "flush", "PDU 0x21 status 0"]);
}
