//! READ CAPACITY, REPORT LUNS, reservations and what needs no data.

use units::{BlockCount, Lun};

use super::fixture::{INVALID_FIELD_IN_CDB, OUT_OF_RANGE, cdb, data, logical_unit, refusal, run};
use crate::{Access, Command, Plan, UnitModel, parse, report_luns};

#[test]
fn read_capacity_10_tells_the_last_block_and_the_block_length() {
    assert_eq!(data(&[0x25], &logical_unit()), [0, 0, 0x07, 0xff, 0, 0, 0x02, 0x00]);
}

#[test]
fn read_capacity_10_saturates() {
    let capacity = |blocks| {
        let lu = UnitModel { blocks: BlockCount(blocks), ..logical_unit() };
        data(&[0x25], &lu)[..4].to_vec()
    };
    assert_eq!(capacity(0xffff_ffff), [0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(capacity(0x1_0000_0000), [0xff, 0xff, 0xff, 0xff]);
    assert_eq!(capacity(0x1_0000_0001), [0xff, 0xff, 0xff, 0xff]);
    assert_eq!(capacity(0), [0, 0, 0, 0]);
}

#[test]
fn the_address_of_read_capacity_10_needs_pmi() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0], &lu), INVALID_FIELD_IN_CDB);
    let partial = data(&[0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0], &lu);
    assert_eq!(partial, [0, 0, 0x07, 0xff, 0, 0, 0x02, 0x00]);
    assert_eq!(refusal(&[0x25, 0, 0, 0, 8, 0, 0, 0, 1, 0], &lu), OUT_OF_RANGE);
}

#[test]
fn read_capacity_16_follows_the_table() {
    let mut lu = UnitModel {
        blocks: BlockCount(0x0102_0304_0506_0708),
        lowest_aligned_lba: 7,
        ..logical_unit()
    };
    let bytes = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let mut expected = vec![1, 2, 3, 4, 5, 6, 7, 7, 0, 0, 0x02, 0x00, 0x00, 0x03, 0xc0, 0x07];
    expected.resize(32, 0);
    assert_eq!(data(&bytes, &lu), expected);
    lu.reads_zero_after_unmap = false;
    assert_eq!(data(&bytes, &lu)[14..16], [0x80, 0x07]);
    lu.thin = false;
    lu.reads_zero_after_unmap = true;
    assert_eq!(data(&bytes, &lu)[14..16], [0x00, 0x07]);
}

#[test]
fn read_capacity_16_is_cut_to_any_allocation_length() {
    let lu = logical_unit();
    for length in 0..32_u8 {
        let bytes = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
        assert_eq!(data(&bytes, &lu).len(), usize::from(length));
    }
}

#[test]
fn report_luns_lists_the_luns() {
    let luns = [Lun(0), Lun(0x0005_0000_0000_0000), Lun(0x4100_0000_0000_0000)];
    let expected = [
        0, 0, 0, 24, 0, 0, 0, 0, // header
        0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0x41, 0, 0, 0, 0, 0, 0, 0,
    ];
    for select_report in [0x00, 0x02, 0x11] {
        assert_eq!(report_luns(select_report, &luns, 32), Ok(expected.to_vec()));
    }
    assert_eq!(report_luns(0, &luns, 16), Ok(expected[..16].to_vec()));
}

#[test]
fn report_luns_has_no_well_known_nor_administrative_units() {
    for select_report in [0x01, 0x10, 0x12] {
        assert_eq!(report_luns(select_report, &[Lun(0)], 64), Ok(vec![0; 8]));
    }
    for reserved in [0x03, 0x0f, 0x13, 0xff] {
        assert!(report_luns(reserved, &[Lun(0)], 64).is_err());
    }
}

#[test]
fn report_luns_is_left_to_the_executor() {
    let plan = Plan::ReportLuns { select_report: 2, allocation_length: 0x0102_0304 };
    assert_eq!(run(&[0xa0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 0, 0], &logical_unit()), plan);
}

#[test]
fn a_whole_unit_can_be_reserved_and_released() {
    let lu = logical_unit();
    for (code, plan) in
        [(0x16, Plan::Reserve), (0x56, Plan::Reserve), (0x17, Plan::Release), (0x57, Plan::Release)]
    {
        assert_eq!(run(&[code], &lu), plan);
        // An extent, and a third party.
        assert_eq!(refusal(&[code, 0x01], &lu), INVALID_FIELD_IN_CDB);
        assert_eq!(refusal(&[code, 0x10], &lu), INVALID_FIELD_IN_CDB);
    }
    assert_eq!(refusal(&[0x56, 0x02], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn test_unit_ready_and_the_default_self_test_are_good() {
    let lu = logical_unit();
    assert_eq!(run(&[0x00], &lu), Plan::Good);
    assert_eq!(run(&[0x1d, 0x04], &lu), Plan::Good);
    // A self-test code, and a parameter list.
    assert_eq!(refusal(&[0x1d, 0x20], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x1d, 0x10, 0, 0, 1, 0], &lu), INVALID_FIELD_IN_CDB);
}

/// Each operation with its class and whether RESERVE of another nexus lets it pass.
const ACCESS: [(&[u8], Access, bool); 28] = [
    (&[0x00], Access::Always, false),
    (&[0x03], Access::Always, true),
    (&[0x08], Access::Read, false),
    (&[0x0a], Access::Write, false),
    (&[0x12], Access::Always, true),
    (&[0x15], Access::Write, false),
    (&[0x16], Access::Reservation, false),
    (&[0x17], Access::Reservation, true),
    (&[0x1a], Access::Read, false),
    (&[0x1b, 0, 0, 0, 0x00], Access::Write, false),
    (&[0x1b, 0, 0, 0, 0x01], Access::Always, true),
    (&[0x1b, 0, 0, 0, 0x11], Access::Write, false),
    (&[0x1d], Access::Write, false),
    (&[0x25], Access::Always, true),
    (&[0x28], Access::Read, false),
    (&[0x2a], Access::Write, false),
    (&[0x2e], Access::Write, false),
    (&[0x2f], Access::Read, false),
    (&[0x34], Access::Read, false),
    (&[0x35], Access::Write, false),
    (&[0x41], Access::Write, false),
    (&[0x42], Access::Write, false),
    (&[0x89], Access::Write, false),
    (&[0x9e, 0x10], Access::Always, true),
    (&[0x9e, 0x12], Access::Read, false),
    (&[0xa0], Access::Always, true),
    (&[0xa3, 0x0c], Access::Read, false),
    (&[0xa3, 0x0d], Access::Read, false),
];

#[test]
fn reservations_see_every_command_in_its_class() {
    for (bytes, access, allowed_while_reserved) in ACCESS {
        let command: Command = parse(&cdb(bytes)).unwrap();
        assert_eq!(command.access(), access, "{bytes:02x?}");
        assert_eq!(command.allowed_while_reserved(), allowed_while_reserved, "{bytes:02x?}");
    }
}
