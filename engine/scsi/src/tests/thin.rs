//! UNMAP, WRITE SAME and GET LBA STATUS.

use super::fixture::{
    INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_LIST, INVALID_OPERATION_CODE, LIST_LENGTH, OUT_OF_RANGE,
    extent, logical_unit, refusal, refusal_of, run,
};
use crate::{
    LbaStatus, ParameterKind, Plan, Provisioning, UnitModel, lba_status_data,
    lba_status_descriptors_max, parameters,
};

/// An UNMAP parameter list, with the lengths that belong to it.
fn list(descriptors: &[(u64, u32)]) -> Vec<u8> {
    let bytes = u16::try_from(descriptors.len() * 16).unwrap();
    let mut list = (bytes + 6).to_be_bytes().to_vec();
    list.extend_from_slice(&bytes.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for (lba, blocks) in descriptors {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

fn unmap(list: &[u8], lu: &UnitModel) -> Plan {
    parameters(&ParameterKind::Unmap, list, lu)
}

fn unmap_refusal(list: &[u8], lu: &UnitModel) -> (u8, u8, u8) {
    refusal_of(&unmap(list, lu))
}

#[test]
fn unmap_asks_for_its_parameter_list() {
    let lu = logical_unit();
    let bytes = |length| [0x42, 0, 0, 0, 0, 0, 0, 0, length, 0];
    let asks = Plan::Parameters { length: 24, kind: ParameterKind::Unmap };
    assert_eq!(run(&bytes(24), &lu), asks);
    assert_eq!(run(&bytes(0), &lu), Plan::Good);
    assert_eq!(refusal(&bytes(7), &lu), LIST_LENGTH);
    // 8193 bytes, and ANCHOR.
    assert_eq!(refusal(&[0x42, 0, 0, 0, 0, 0, 0, 0x20, 0x01, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn a_fully_provisioned_unit_has_no_unmap() {
    let mut lu = logical_unit();
    lu.thin = false;
    assert_eq!(refusal(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &lu), INVALID_OPERATION_CODE);
}

#[test]
fn an_unmap_descriptor_is_read_byte_by_byte() {
    let lu = UnitModel { blocks: units::BlockCount(u64::MAX), ..logical_unit() };
    let bytes = [
        0, 22, 0, 16, 0, 0, 0, 0, // header
        1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 2, 1, 0xff, 0xff, 0xff, 0xff, // one descriptor
    ];
    assert_eq!(unmap(&bytes, &lu), Plan::Unmap(vec![extent(0x0102_0304_0506_0708, 0x0201)]));
}

#[test]
fn unmap_keeps_the_order_and_drops_what_is_empty() {
    let lu = logical_unit();
    assert_eq!(
        unmap(&list(&[(100, 8), (2048, 0), (0, 1)]), &lu),
        Plan::Unmap(vec![extent(100, 8), extent(0, 1)])
    );
    assert_eq!(unmap(&list(&[(5, 0)]), &lu), Plan::Good);
    assert_eq!(unmap(&list(&[]), &lu), Plan::Good);
}

#[test]
fn unmap_is_refused_past_the_end_and_past_its_limits() {
    let lu = logical_unit();
    assert_eq!(unmap_refusal(&list(&[(0, 1), (2047, 2)]), &lu), OUT_OF_RANGE);
    assert_eq!(unmap_refusal(&list(&[(u64::MAX, 1)]), &lu), OUT_OF_RANGE);
    // The limits are 1000 blocks and 4 descriptors.
    assert!(matches!(unmap(&list(&[(0, 500), (500, 500)]), &lu), Plan::Unmap(_)));
    assert_eq!(unmap_refusal(&list(&[(0, 500), (500, 501)]), &lu), INVALID_FIELD_IN_LIST);
    assert!(matches!(unmap(&list(&[(0, 1); 4]), &lu), Plan::Unmap(_)));
    assert_eq!(unmap_refusal(&list(&[(0, 1); 5]), &lu), INVALID_FIELD_IN_LIST);
}

#[test]
fn a_list_shorter_than_its_header_is_a_length_error() {
    let lu = logical_unit();
    for length in 0..8 {
        assert_eq!(unmap_refusal(&list(&[(0, 1)])[..length], &lu), LIST_LENGTH, "{length}");
    }
}

#[test]
fn a_descriptor_that_is_cut_off_is_ignored() {
    let lu = logical_unit();
    let full = list(&[(0, 1), (8, 1)]);
    assert_eq!(unmap(&full[..39], &lu), Plan::Unmap(vec![extent(0, 1)]));
    assert_eq!(unmap(&full[..8], &lu), Plan::Good);
    // The same by UNMAP BLOCK DESCRIPTOR DATA LENGTH, which need not be a multiple of 16.
    let mut announced_less = full;
    announced_less[3] = 17;
    assert_eq!(unmap(&announced_less, &lu), Plan::Unmap(vec![extent(0, 1)]));
}

#[test]
fn write_same_reaches_the_plan_with_its_flags() {
    let lu = logical_unit();
    let plan = |unmap, no_data_out| Plan::WriteSame { extent: extent(9, 3), unmap, no_data_out };
    let ten = |flags| run(&[0x41, flags, 0, 0, 0, 9, 0, 0, 3, 0], &lu);
    assert_eq!(ten(0x00), plan(false, false));
    assert_eq!(ten(0x08), plan(true, false));
    let sixteen = |flags| run(&[0x93, flags, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0], &lu);
    assert_eq!(sixteen(0x00), plan(false, false));
    assert_eq!(sixteen(0x01), plan(false, true));
    assert_eq!(sixteen(0x09), plan(true, true));
}

#[test]
fn write_same_refuses_what_it_cannot_do() {
    let mut lu = logical_unit();
    // ANCHOR with and without UNMAP, PBDATA, LBDATA.
    for flags in [0x10, 0x18, 0x04, 0x02] {
        let bytes = [0x41, flags, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(refusal(&bytes, &lu), INVALID_FIELD_IN_CDB, "{flags:02x}");
    }
    lu.thin = false;
    assert_eq!(refusal(&[0x41, 0x08, 0, 0, 0, 0, 0, 0, 1, 0], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn write_same_keeps_to_its_limit() {
    let lu = logical_unit();
    let plan = Plan::WriteSame { extent: extent(0, 256), unmap: false, no_data_out: false };
    assert_eq!(run(&[0x41, 0, 0, 0, 0, 0, 0, 1, 0, 0], &lu), plan);
    assert_eq!(refusal(&[0x41, 0, 0, 0, 0, 0, 0, 1, 1, 0], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn write_same_of_zero_blocks_is_an_error_if_block_limits_says_so() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x41], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x93], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn write_same_of_zero_blocks_otherwise_reaches_to_the_end() {
    let mut lu = logical_unit();
    lu.limits.write_same_needs_length = false;
    let plan = Plan::WriteSame { extent: extent(2046, 2), unmap: true, no_data_out: false };
    assert_eq!(run(&[0x41, 0x08, 0, 0, 7, 0xfe, 0, 0, 0, 0], &lu), plan);
    // From the first block on it would be more than the 256 blocks of the limit.
    assert_eq!(refusal(&[0x41, 0x08], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x41, 0, 0, 0, 8, 1, 0, 0, 0, 0], &lu), OUT_OF_RANGE);
}

#[test]
fn lba_status_data_follow_the_table() {
    let runs = [
        LbaStatus { extent: extent(8, 16), provisioning: Provisioning::Mapped },
        LbaStatus { extent: extent(24, 0x0102), provisioning: Provisioning::Deallocated },
    ];
    assert_eq!(
        lba_status_data(&runs, 100),
        [
            0, 0, 0, 36, 0, 0, 0, 0, // header
            0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0, 0, // mapped
            0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 1, 2, 1, 0, 0, 0, // deallocated
        ]
    );
    // One descriptor fits into 24 bytes.
    assert_eq!(lba_status_data(&runs, 24)[..8], [0, 0, 0, 20, 0, 0, 0, 0]);
    assert_eq!(lba_status_data(&runs, 24).len(), 24);
    assert_eq!(lba_status_data(&runs, 3), [0, 0, 0]);
}

#[test]
fn a_run_of_more_than_32_bits_ends_the_list() {
    let runs = [
        LbaStatus { extent: extent(0, 0x1_0000_0000), provisioning: Provisioning::Mapped },
        LbaStatus { extent: extent(0x1_0000_0000, 1), provisioning: Provisioning::Deallocated },
    ];
    assert_eq!(
        lba_status_data(&runs, 100),
        [0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]
    );
}

#[test]
fn the_number_of_lba_status_descriptors_is_bounded() {
    assert_eq!(lba_status_descriptors_max(0), 1);
    assert_eq!(lba_status_descriptors_max(24), 1);
    assert_eq!(lba_status_descriptors_max(25), 2);
    assert_eq!(lba_status_descriptors_max(40), 2);
    assert_eq!(lba_status_descriptors_max(u32::MAX), 256);
}
