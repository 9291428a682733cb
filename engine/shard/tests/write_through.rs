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
