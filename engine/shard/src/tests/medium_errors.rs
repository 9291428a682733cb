//! Which block a medium error names. Initiators take all blocks of the command before it as read or
//! written (Linux completes them), so a wrong one loses data.

use super::initiator::{Initiator, Order, Part, UNASKED, read_10, write_10};
use super::world::World;
use crate::{Event, IoFailure, IoResult, Operation};
use units::VolumeId;

const EIO: IoResult = IoResult::Failed(5);
const WRITE_ERROR: (u8, u8, u8) = (0x03, 0x0c, 0x00);
const READ_ERROR: (u8, u8, u8) = (0x03, 0x11, 0x00);

fn session(keys: &str) -> (World, Initiator) {
    let mut world = World::new(1);
    let initiator = Initiator::log_in(&mut world, 0, "a", keys);
    world.events.clear();
    world.backend_is_held = true;
    (world, initiator)
}

/// The sense of a command after the operations under way end with these results, in the order of
/// their blocks.
fn ended(world: &mut World, initiator: &Initiator, results: &[Option<IoResult>]) -> Ended {
    for result in results {
        world.end_one(0, 0, *result);
    }
    let answer = initiator.answer(world);
    Ended { sense: answer.sense(), information: answer.information() }
}

#[derive(Debug, PartialEq, Eq)]
struct Ended {
    sense: (u8, u8, u8),
    information: Option<u32>,
}

fn failed(operation: Operation, lba: u64, blocks: u64) -> Event {
    Event::IoFailed(IoFailure { volume: VolumeId(0), operation, lba, blocks, errno: 5 })
}

#[test]
fn a_read_error_names_the_first_block_of_the_burst_that_failed() {
    let (mut world, mut initiator) = session(UNASKED);
    initiator.start(&mut world, read_10(16, 1024));
    let end = ended(&mut world, &initiator, &[None, Some(EIO)]);
    assert_eq!(end, Ended { sense: READ_ERROR, information: Some(528) });
    initiator.start(&mut world, read_10(16, 1024));
    world.end_one(0, 1, Some(EIO));
    // The burst before it was read, though it is not sent any more.
    let end = ended(&mut world, &initiator, &[None]);
    assert_eq!(end, Ended { sense: READ_ERROR, information: Some(528) });
    world.assert_at_rest();
}

#[test]
fn of_several_errors_the_one_of_the_lowest_block_is_reported() {
    for order in [[Some(EIO), Some(EIO)], [None, Some(EIO)]] {
        let (mut world, mut initiator) = session(UNASKED);
        initiator.start(&mut world, read_10(16, 1024));
        world.end_one(0, 1, order[0]);
        let end = ended(&mut world, &initiator, &[order[1]]);
        assert_eq!(end, Ended { sense: READ_ERROR, information: Some(16) });
    }
}

/// A write of two bursts, of which each has its R2T; both are at the medium.
fn write_of_two_bursts(world: &mut World, initiator: &mut Initiator) {
    let tag = initiator.start(world, write_10(0, 1024));
    for (transfer, offset, len) in initiator.answer(world).r2ts() {
        let data = vec![7; len as usize];
        let part = Part { offset, data_sn: 0, is_final: true, data: &data };
        initiator.data_out(world, tag, transfer, &part);
    }
    assert_eq!(world.operations(), 2);
}

const TWO_R2TS: &str = "InitialR2T=Yes\0ImmediateData=No\0MaxOutstandingR2T=4\0\
                        MaxBurstLength=262144\0MaxRecvDataSegmentLength=262144\0";

#[test]
fn a_write_error_names_the_first_block_of_the_burst_that_failed() {
    for ends_first in [0, 1] {
        let (mut world, mut initiator) = session(TWO_R2TS);
        write_of_two_bursts(&mut world, &mut initiator);
        world.end_one(0, ends_first, (ends_first == 1).then_some(EIO));
        let end = ended(&mut world, &initiator, &[(ends_first == 0).then_some(EIO)]);
        assert_eq!(end, Ended { sense: WRITE_ERROR, information: Some(512) });
        assert_eq!(world.events, [failed(Operation::Write, 512, 512)]);
        assert_eq!(world.disks[0][..262_144], [7; 262_144]);
        world.assert_at_rest();
    }
}

/// The burst before the one that failed was not written either, and was never to be.
#[test]
fn no_block_is_named_where_one_before_it_was_not_written() {
    let (mut world, mut initiator) = session(TWO_R2TS);
    write_of_two_bursts(&mut world, &mut initiator);
    world.end_one(0, 1, Some(EIO));
    world.end_one(0, 0, Some(IoResult::NoSpace));
    let answer = initiator.answer(&mut world);
    assert_eq!((answer.sense(), answer.information()), (WRITE_ERROR, None));

    let (mut world, mut initiator) = session(TWO_R2TS);
    let tag = initiator.start(&mut world, write_10(0, 1024));
    let r2ts = initiator.answer(&mut world).r2ts();
    let (transfer, offset, len) = r2ts[1];
    let data = vec![7; len as usize];
    let part = Part { offset, data_sn: 0, is_final: true, data: &data };
    initiator.data_out(&mut world, tag, transfer, &part);
    world.end_one(0, 0, Some(EIO));
    let answer = initiator.answer(&mut world);
    assert_eq!((answer.sense(), answer.information()), (WRITE_ERROR, None));
    assert_eq!(world.events.pop(), Some(failed(Operation::Write, 512, 512)));
}

#[test]
fn a_flush_that_fails_names_no_block() {
    let (mut world, mut initiator) = session(UNASKED);
    initiator.start(&mut world, Order::none(&[0x35, 0, 0, 0, 0, 8, 0, 0, 8, 0]));
    let end = ended(&mut world, &initiator, &[Some(EIO)]);
    assert_eq!(end, Ended { sense: WRITE_ERROR, information: None });
    assert_eq!(world.events, [failed(Operation::Flush, 0, 0)]);
}

#[test]
fn a_query_of_the_map_that_fails_names_no_block() {
    let (mut world, mut initiator) = session(UNASKED);
    let cdb = [0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 24, 0, 0];
    initiator.start(&mut world, Order::reads(&cdb, 24));
    let end = ended(&mut world, &initiator, &[Some(EIO)]);
    assert_eq!(end, Ended { sense: READ_ERROR, information: None });
    assert_eq!(world.events, [failed(Operation::Other, 0, 0)]);
}

#[test]
fn commands_that_work_in_chunks_name_the_chunk_that_failed() {
    // VERIFY (10) without data, and WRITE SAME (10) of a block that is not all zeros.
    let verify = Order::none(&[0x2f, 0, 0, 0, 0, 16, 0, 4, 0, 0]);
    let same = Order::writes(&[0x41, 0, 0, 0, 0, 16, 0, 4, 0, 0], 512).with(&[3; 512]);
    // Its block is compared with zeros first.
    let cases = [
        (verify, vec![None, Some(EIO)], READ_ERROR, Operation::Compare),
        (same, vec![None, None, Some(EIO)], WRITE_ERROR, Operation::Space),
    ];
    for (order, results, sense, operation) in cases {
        let (mut world, mut initiator) = session(UNASKED);
        initiator.start(&mut world, order);
        let end = ended(&mut world, &initiator, &results);
        assert_eq!(end, Ended { sense, information: Some(528) });
        assert_eq!(world.events, [failed(operation, 528, 512)]);
        world.assert_at_rest();
    }
}

#[test]
fn an_unmap_names_the_extent_that_failed() {
    let (mut world, mut initiator) = session(UNASKED);
    let mut list = vec![0, 38, 0, 32, 0, 0, 0, 0];
    for (lba, blocks) in [(4_u64, 8_u32), (64, 16)] {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0];
    initiator.start(&mut world, Order::writes(&cdb, 40).with(&list));
    let end = ended(&mut world, &initiator, &[None, Some(EIO)]);
    assert_eq!(end, Ended { sense: WRITE_ERROR, information: Some(64) });
    assert_eq!(world.events, [failed(Operation::Space, 64, 16)]);
}
