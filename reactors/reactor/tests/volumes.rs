//! Volumes of every kind behind a node, and volumes that come and go.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod initiator;

use initiator::{
    Fixture, Initiator, VOLUME_BYTES, Wishes, catalog, clear_attention, memory, node_with, options,
    pattern, read_10, transfer_10, write_10,
};
use reactor::file::{OpenOptions, create, open_direct};
use reactor::{PollMode, Store};
use std::path::Path;
use std::time::Duration;
use units::VolumeId;

const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;
const GRACE: Duration = Duration::from_secs(20);
const OPEN: OpenOptions = OpenOptions { read_only: false, buffered_allowed: true };

fn file_store(path: &Path) -> Store {
    create(path, VOLUME_BYTES, false).unwrap();
    Store::File(open_direct(path, OPEN).unwrap())
}

fn file_node(path: &Path, reactors: usize, poll: PollMode) -> Fixture {
    node_with(options(reactors, poll), vec![file_store(path)])
}

fn log_in(fixture: &Fixture, number: u8) -> Initiator {
    let mut initiator = Initiator::log_in(fixture.address, number, Wishes::default());
    clear_attention(&mut initiator, 0);
    initiator
}

#[test]
fn a_file_keeps_what_was_written_to_its_volume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    for poll in [PollMode::Interrupt, PollMode::Adaptive, PollMode::Busy] {
        let fixture = file_node(&path, 2, poll);
        let mut initiator = log_in(&fixture, 1);
        let data = pattern(poll as u8, 512 * 512);
        let written = initiator.execute_write(0, &write_10(64, 512), &data, (8192, 100_000));
        assert_eq!(written.status, GOOD);
        assert!(initiator.execute(0, &read_10(64, 512), 512 * 512).data == data);
        // SYNCHRONIZE CACHE (10) of everything.
        assert_eq!(initiator.execute(0, &transfer_10(0x35, 0, 0), 0).status, GOOD);
        initiator.log_out();
        fixture.node.shutdown(GRACE);
        let kept = std::fs::read(&path).unwrap();
        assert!(kept[64 * 512..576 * 512] == data);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn write_same_and_unmap_leave_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    let fixture = file_node(&path, 1, PollMode::Interrupt);
    let mut initiator = log_in(&fixture, 1);
    let data = pattern(1, 256 * 512);
    initiator.execute_write(0, &write_10(0, 256), &data, (0, 131_072));
    // WRITE SAME (10) of zeros over blocks 8 to 15.
    let same = initiator.execute_write(0, &transfer_10(0x41, 8, 8), &[0; 512], (512, 512));
    assert_eq!(same.status, GOOD, "{same:?}");
    // UNMAP of blocks 64 to 127: one descriptor (SBC-4 5.35).
    let mut list = [0; 24];
    list[..4].copy_from_slice(&[0, 22, 0, 16]);
    list[15] = 64;
    list[19] = 64;
    let mut unmap = [0; 16];
    unmap[0] = 0x42;
    unmap[8] = 24;
    assert_eq!(initiator.execute_write(0, &unmap, &list, (24, 24)).status, GOOD);
    let mut expected = data;
    expected[8 * 512..16 * 512].fill(0);
    expected[64 * 512..128 * 512].fill(0);
    assert!(initiator.execute(0, &read_10(0, 256), 256 * 512).data == expected);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn the_null_volume_reads_as_zeros() {
    let fixture = node_with(options(1, PollMode::Interrupt), vec![Store::Null]);
    let mut initiator = log_in(&fixture, 1);
    let written = initiator.execute_write(0, &write_10(0, 8), &[7; 4096], (4096, 4096));
    assert_eq!(written.status, GOOD);
    assert_eq!(initiator.execute(0, &read_10(0, 8), 4096).data, [0; 4096]);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn a_volume_that_was_added_is_served_and_one_that_was_removed_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    let fixture = node_with(options(2, PollMode::Interrupt), vec![memory()]);
    let mut initiator = log_in(&fixture, 1);
    let store = file_store(&path);
    fixture.node.apply(catalog(2, 2), vec![(VolumeId(1), store)]);
    // A report is answered after what was told before it.
    fixture.node.report();
    clear_attention(&mut initiator, 1);
    let written = initiator.execute_write(1, &write_10(0, 8), &[7; 4096], (4096, 4096));
    assert_eq!(written.status, GOOD);
    assert!(open_direct(&path, OPEN).is_err(), "the volume is locked while it is served");

    fixture.node.apply(catalog(3, 1), vec![]);
    assert_eq!(fixture.node.wait_for_closed(), [VolumeId(1)]);
    assert!(open_direct(&path, OPEN).is_ok(), "the file of a removed volume stays open");
    assert_eq!(initiator.execute(1, &read_10(0, 8), 4096).status, CHECK_CONDITION);
    assert_eq!(std::fs::read(&path).unwrap()[..4096], [7; 4096]);
    clear_attention(&mut initiator, 0);
    assert_eq!(initiator.execute(0, &read_10(0, 8), 4096).status, GOOD);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn a_file_that_has_become_shorter_fails_reads_and_does_not_hang() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    let fixture = file_node(&path, 1, PollMode::Interrupt);
    let mut initiator = log_in(&fixture, 1);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    let read = initiator.execute(0, &read_10(4096, 8), 4096);
    // Fixed format sense with MEDIUM ERROR (SPC-4 4.5.3), behind its two bytes of length.
    assert_eq!((read.status, read.data[2 + 2] & 0x0f), (CHECK_CONDITION, 3), "{read:?}");
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}
