//! Data in all the forms that RFC 7143 knows, and its residuals.

use super::initiator::{
    DATA_IN, Initiator, Order, Part, R2T, SCSI_RESPONSE, UNASKED, read_10, write_10,
};
use super::world::World;

const UNDERFLOW: u8 = 0x02;
const OVERFLOW: u8 = 0x04;
const UNASKED_TAG: u32 = 0xffff_ffff;

fn session(keys: &str) -> (World, Initiator) {
    let mut world = World::new(1);
    let initiator = Initiator::log_in(&mut world, 0, "a", keys);
    (world, initiator)
}

/// Serves R2Ts of a write until its response comes.
fn serve(
    world: &mut World,
    initiator: &Initiator,
    tag: u32,
    data: &[u8],
) -> super::initiator::Answer {
    loop {
        let answer = initiator.answer(world);
        if answer.opcodes().contains(&SCSI_RESPONSE) {
            return answer;
        }
        assert!(!answer.sent.is_empty(), "neither an R2T nor a response");
        for (transfer, offset, len) in answer.r2ts() {
            let piece = &data[offset as usize..(offset + len) as usize];
            let part = Part { offset, data_sn: 0, is_final: true, data: piece };
            initiator.data_out(world, tag, transfer, &part);
        }
    }
}

#[test]
fn a_read_ends_with_its_status_in_the_last_data_in() {
    let (mut world, mut initiator) = session("");
    world.disks[0][512..1024].fill(0x5a);
    let answer = initiator.run(&mut world, read_10(1, 1));
    assert_eq!(answer.opcodes(), [DATA_IN]);
    assert_eq!((answer.status(), answer.residual()), (0, (0, 0)));
    assert_eq!(answer.data(), [0x5a; 512]);
    world.assert_at_rest();
}

#[test]
fn a_long_read_is_cut_at_the_initiators_segment_length_and_at_max_burst_length() {
    let keys = "MaxRecvDataSegmentLength=65536\0MaxBurstLength=131072\0";
    let (mut world, mut initiator) = session(keys);
    for (place, byte) in world.disks[0].iter_mut().enumerate() {
        *byte = u8::try_from(place / 512 % 251).unwrap();
    }
    let answer = initiator.run(&mut world, read_10(0, 1024));
    assert_eq!(answer.opcodes(), [DATA_IN; 8]);
    let finals: Vec<bool> = answer.sent.iter().map(|s| s.header[1] & 0x80 != 0).collect();
    assert_eq!(finals, [false, true, false, true, false, true, false, true]);
    let numbers: Vec<u32> = answer.sent.iter().map(|s| s.word(36)).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(answer.data(), world.disks[0][..524_288]);
    world.assert_at_rest();
}

#[test]
fn residuals_compare_the_cdb_with_what_the_initiator_expects() {
    let (mut world, mut initiator) = session("");
    let more = initiator.run(&mut world, Order { expected: 1536, ..read_10(0, 1) });
    assert_eq!((more.residual(), more.data().len()), ((UNDERFLOW, 1024), 512));
    let less = initiator.run(&mut world, Order { expected: 700, ..read_10(0, 4) });
    assert_eq!((less.residual(), less.data().len()), ((OVERFLOW, 1348), 700));
    let none = initiator.run(&mut world, Order { expected: 0, ..read_10(0, 4) });
    assert_eq!((none.residual(), none.opcodes()), ((OVERFLOW, 2048), vec![SCSI_RESPONSE]));
    let huge = initiator.run(&mut world, Order { expected: u32::MAX, ..read_10(0, 1) });
    assert_eq!((huge.residual(), huge.data().len()), ((UNDERFLOW, 0xffff_fdff), 512));
    let empty = initiator.run(&mut world, Order { expected: 512, ..read_10(0, 0) });
    assert_eq!((empty.residual(), empty.status()), ((UNDERFLOW, 512), 0));
    world.assert_at_rest();
}

#[test]
fn a_write_takes_immediate_data() {
    let (mut world, mut initiator) = session(UNASKED);
    let answer = initiator.run(&mut world, write_10(3, 8).with(&[7; 4096]));
    assert_eq!((answer.opcodes(), answer.status()), (vec![SCSI_RESPONSE], 0));
    assert_eq!(world.disks[0][3 * 512..11 * 512], [7; 4096]);
    world.assert_at_rest();
}

#[test]
fn a_write_takes_immediate_then_unsolicited_then_solicited_data() {
    let (mut world, mut initiator) = session(UNASKED);
    let data: Vec<u8> = (0..512 * 1024_u32).map(|i| u8::try_from(i / 512 % 250).unwrap()).collect();
    let tag = initiator.start(&mut world, write_10(0, 1024).with(&data[..4096]).goes_on());
    assert_eq!(initiator.answer(&mut world).opcodes(), [], "no R2T before the end of unasked data");
    let (one, two) = (&data[4096..40_000], &data[40_000..65_536]);
    let part = Part { offset: 4096, data_sn: 0, is_final: false, data: one };
    initiator.data_out(&mut world, tag, UNASKED_TAG, &part);
    let part = Part { offset: 40_000, data_sn: 1, is_final: true, data: two };
    initiator.data_out(&mut world, tag, UNASKED_TAG, &part);
    let answer = serve(&mut world, &initiator, tag, &data);
    // RFC 7143 11.4.8: two R2Ts were sent.
    assert_eq!((answer.status(), answer.sent.last().unwrap().word(36)), (0, 2));
    assert_eq!(world.disks[0][..524_288], data);
    world.assert_at_rest();
}

#[test]
fn r2ts_are_cut_at_max_burst_length_and_several_may_be_outstanding() {
    let keys = "InitialR2T=Yes\0ImmediateData=No\0MaxBurstLength=65536\0MaxOutstandingR2T=4\0";
    let (mut world, mut initiator) = session(keys);
    let data: Vec<u8> = (0..512 * 512_u32).map(|i| u8::try_from(i / 512 % 250).unwrap()).collect();
    let tag = initiator.start(&mut world, write_10(0, 512));
    let answer = initiator.answer(&mut world);
    assert_eq!(answer.opcodes(), [R2T; 4]);
    let asked: Vec<_> = answer.r2ts().iter().map(|r| (r.1, r.2)).collect();
    assert_eq!(asked, [(0, 65_536), (65_536, 65_536), (131_072, 65_536), (196_608, 65_536)]);
    for (transfer, offset, len) in answer.r2ts() {
        let piece = &data[offset as usize..(offset + len) as usize];
        let part = Part { offset, data_sn: 0, is_final: true, data: piece };
        initiator.data_out(&mut world, tag, transfer, &part);
    }
    assert_eq!(initiator.answer(&mut world).status(), 0);
    assert_eq!(world.disks[0][..262_144], data);
    world.assert_at_rest();
}

#[test]
fn a_write_of_less_than_its_cdb_writes_the_blocks_that_are_sent() {
    let (mut world, mut initiator) = session(UNASKED);
    let order = Order { expected: 1024, ..write_10(0, 4).with(&[9; 1024]) };
    let answer = initiator.run(&mut world, order);
    assert_eq!((answer.status(), answer.residual()), (0, (OVERFLOW, 1024)));
    assert_eq!(world.disks[0][1022..1026], [9, 9, 0, 0]);
    world.assert_at_rest();
}

/// The bytes of the last, incomplete block were dropped, and the command was answered with GOOD.
#[test]
fn data_that_ends_inside_a_block_is_refused_before_anything_changes() {
    let (mut world, mut initiator) = session(UNASKED);
    let verify = |cdb: [u8; 10], expected| Order::writes(&cdb, expected);
    let orders = [
        write_10(0, 4),
        // WRITE AND VERIFY (10) and VERIFY (10), both with BYTCHK.
        verify([0x2e, 2, 0, 0, 0, 0, 0, 0, 4, 0], 2048),
        verify([0x2f, 2, 0, 0, 0, 0, 0, 0, 4, 0], 2048),
    ];
    for order in orders {
        for (sent, residual) in [(1, 2047), (200, 1848), (511, 1537), (700, 1348), (2047, 1)] {
            let data = vec![9; sent];
            let expected = u32::try_from(sent).unwrap();
            let answer = initiator.run(&mut world, Order { expected, ..order.clone().with(&data) });
            assert_eq!(answer.opcodes(), [SCSI_RESPONSE], "{order:?} of {sent} bytes");
            // INVALID FIELD IN COMMAND INFORMATION UNIT (SPC-4).
            assert_eq!(answer.sense(), (0x05, 0x0e, 0x03), "{order:?} of {sent} bytes");
            assert_eq!(answer.residual(), (OVERFLOW, residual));
        }
    }
    assert_eq!(world.disks[0][..2048], [0; 2048]);
    world.assert_at_rest();
}

#[test]
fn no_data_is_asked_for_that_would_end_inside_a_block() {
    let (mut world, mut initiator) = session("InitialR2T=Yes\0ImmediateData=No\0");
    let answer = initiator.run(&mut world, Order { expected: 262_145, ..write_10(0, 1024) });
    assert_eq!(answer.opcodes(), [SCSI_RESPONSE]);
    assert_eq!(answer.sense(), (0x05, 0x0e, 0x03));
    world.assert_at_rest();
}

#[test]
fn a_write_of_more_than_its_cdb_drops_the_rest() {
    let (mut world, mut initiator) = session(UNASKED);
    let order = Order { expected: 8192, ..write_10(0, 1).with(&[9; 300]).goes_on() };
    let tag = initiator.start(&mut world, order);
    let part = Part { offset: 300, data_sn: 0, is_final: false, data: &[9; 4000] };
    initiator.data_out(&mut world, tag, UNASKED_TAG, &part);
    let part = Part { offset: 4300, data_sn: 1, is_final: true, data: &[9; 3892] };
    initiator.data_out(&mut world, tag, UNASKED_TAG, &part);
    let answer = initiator.answer(&mut world);
    assert_eq!((answer.status(), answer.residual()), (0, (UNDERFLOW, 7680)));
    assert_eq!(world.disks[0][511..513], [9, 0]);
    world.assert_at_rest();
}

#[test]
fn data_out_at_a_wrong_place_fails_the_command_and_writes_nothing() {
    let (mut world, mut initiator) = session("InitialR2T=Yes\0ImmediateData=No\0");
    let tag = initiator.start(&mut world, write_10(0, 8));
    let (transfer, ..) = initiator.answer(&mut world).r2ts()[0];
    let part = Part { offset: 512, data_sn: 0, is_final: true, data: &[1; 512] };
    initiator.data_out(&mut world, tag, transfer, &part);
    // DATA OFFSET ERROR (SPC-4).
    assert_eq!(initiator.answer(&mut world).sense(), (0x0b, 0x4b, 0x05));
    assert_eq!(world.disks[0][512], 0);
    world.assert_at_rest();
}

#[test]
fn a_bad_data_digest_is_rejected_and_fails_the_command() {
    let (mut world, mut initiator) = session(UNASKED);
    let order = write_10(0, 1).with(&[1; 512]);
    let (_, header) = initiator.header(&order);
    let placement = world.receive_header(initiator.place, header);
    world.receive_data(initiator.place, placement, &[1; 512], false);
    let answer = initiator.answer(&mut world);
    assert_eq!((answer.opcodes(), answer.sense()), (vec![0x3f, 0x21], (0x0b, 0x47, 0x05)));
    assert_eq!(world.disks[0][0], 0);
    world.assert_at_rest();
}

#[test]
fn write_same_repeats_its_block() {
    let (mut world, mut initiator) = session(UNASKED);
    let cdb = [0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
    let answer = initiator.run(&mut world, Order::writes(&cdb, 512).with(&[3; 512]));
    assert_eq!((answer.status(), world.disks[0][524_287], world.disks[0][524_288]), (0, 3, 0));
    let answer = initiator.run(&mut world, Order::writes(&cdb, 512).with(&[0; 512]));
    assert_eq!((answer.status(), world.disks[0][0]), (0, 0));
    world.assert_at_rest();
}

#[test]
fn unmap_gives_its_blocks_back() {
    let (mut world, mut initiator) = session(UNASKED);
    world.disks[0][..2048].fill(8);
    let list = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let answer = initiator.run(&mut world, Order::writes(&cdb, 24).with(&list));
    assert_eq!(answer.status(), 0);
    assert_eq!(world.disks[0][511..514], [8, 0, 0]);
    assert_eq!(world.disks[0][1535..1538], [0, 8, 8]);
    world.assert_at_rest();
}

/// All but the first 4 bytes of a descriptor were missing, and the command was GOOD.
#[test]
fn a_parameter_list_that_is_not_sent_as_a_whole_is_refused() {
    let (mut world, mut initiator) = session(UNASKED);
    world.disks[0][..2048].fill(8);
    let list = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0];
    let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let answer = initiator.run(&mut world, Order::writes(&cdb, 12).with(&list));
    assert_eq!(answer.sense(), (0x05, 0x0e, 0x03));
    assert_eq!(world.disks[0][..2048], [8; 2048]);
    world.assert_at_rest();
}

/// A read was answered with data, and data of a write was asked for.
#[test]
fn a_command_without_a_flag_for_its_data_is_refused() {
    let (mut world, mut initiator) = session(UNASKED);
    for order in [read_10(0, 2), write_10(0, 2)] {
        let answer = initiator.run(&mut world, Order { read: false, write: false, ..order });
        assert_eq!((answer.opcodes(), answer.sense()), (vec![SCSI_RESPONSE], (0x05, 0x24, 0x00)));
    }
    world.assert_at_rest();
}

/// Without room for data there is no Data-In that could carry the status, and INQUIRY was never
/// answered.
#[test]
fn an_answer_that_the_initiator_has_no_room_for_is_an_overflow() {
    let (mut world, mut initiator) = session(UNASKED);
    let answer = initiator.run(&mut world, Order::reads(&[0x12, 0, 0, 0, 36, 0], 0));
    assert_eq!((answer.opcodes(), answer.status()), (vec![SCSI_RESPONSE], 0));
    assert_eq!(answer.residual(), (OVERFLOW, 36));
    world.assert_at_rest();
}
