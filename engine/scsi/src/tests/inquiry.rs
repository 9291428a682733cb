//! Standard INQUIRY data and vital product data pages.

use super::fixture::{INVALID_FIELD_IN_CDB, cdb, data, logical_unit, refusal};
use crate::{Inquiry, NaaDesignator, Plan, Rotation, inquiry, parse, plan_without_logical_unit};

fn page(page: u8, lu: &crate::UnitModel) -> Vec<u8> {
    data(&[0x12, 0x01, page, 0xff, 0xff, 0], lu)
}

#[test]
fn standard_data_follow_the_table() {
    let mut expected = vec![0x00, 0x00, 0x06, 0x12, 91, 0x00, 0x00, 0x02];
    expected.extend_from_slice(b"POLLUX  DISK            0001");
    expected.extend_from_slice(&[0; 22]);
    // SAM-5, iSCSI, SPC-4, SBC-3
    expected.extend_from_slice(&[0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0]);
    expected.extend_from_slice(&[0; 30]);
    assert_eq!(data(&[0x12, 0, 0, 0xff, 0xff, 0], &logical_unit()), expected);
}

#[test]
fn standard_data_are_cut_to_an_allocation_length_of_16_bits() {
    let lu = logical_unit();
    assert_eq!(data(&[0x12, 0, 0, 0, 5, 0], &lu), [0x00, 0x00, 0x06, 0x12, 91]);
    assert_eq!(data(&[0x12, 0, 0, 0, 0, 0], &lu), []);
    assert_eq!(data(&[0x12, 0, 0, 1, 0, 0], &lu).len(), 96);
}

#[test]
fn a_page_code_needs_evpd_and_cmddt_is_gone() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x12, 0x00, 0x01, 0, 255, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x12, 0x02, 0x00, 0, 255, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x12, 0x01, 0x85, 0, 255, 0], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn an_absent_logical_unit_answers_inquiry_with_its_qualifier() {
    let standard = Inquiry { page: None, allocation_length: 36 };
    let answer = inquiry(&standard, None).unwrap();
    assert_eq!(answer[..8], [0x7f, 0x00, 0x06, 0x12, 91, 0x00, 0x00, 0x02]);
    assert_eq!(answer[8..], *b"                            ");
    let pages = Inquiry { page: Some(0x00), allocation_length: 255 };
    assert_eq!(inquiry(&pages, None).unwrap(), [0x7f, 0x00, 0, 1, 0x00]);
    let identification = Inquiry { page: Some(0x83), allocation_length: 255 };
    assert!(inquiry(&identification, None).is_err());
}

#[test]
fn an_absent_logical_unit_answers_three_commands_and_refuses_the_others() {
    let absent = |bytes: &[u8]| plan_without_logical_unit(&parse(&cdb(bytes)).unwrap());
    let Plan::DataIn(answer) = absent(&[0x12, 0, 0, 0, 1, 0]) else { panic!() };
    assert_eq!(answer, [0x7f]);
    let Plan::DataIn(sense) = absent(&[0x03, 0, 0, 0, 18, 0]) else { panic!() };
    assert_eq!(sense[..3], [0x70, 0, 0x05]);
    assert_eq!(sense[12..14], [0x25, 0x00]);
    let luns = Plan::ReportLuns { select_report: 2, allocation_length: 16 };
    assert_eq!(absent(&[0xa0, 0, 2, 0, 0, 0, 0, 0, 0, 16, 0, 0]), luns);
    for code in [0x00, 0x08, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x42, 0x16, 0x17] {
        let Plan::CheckCondition(sense) = absent(&[code]) else { panic!("{code:02x}") };
        assert_eq!((sense.key as u8, sense.asc, sense.ascq), (0x5, 0x25, 0x00), "{code:02x}");
    }
}

#[test]
fn supported_pages_are_in_ascending_order() {
    let expected = [0x00, 0x00, 0, 7, 0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2];
    assert_eq!(page(0x00, &logical_unit()), expected);
}

#[test]
fn every_supported_page_can_be_read() {
    let lu = logical_unit();
    for code in page(0x00, &lu).split_off(4) {
        let page = page(code, &lu);
        assert_eq!(page[1], code);
        assert_eq!(usize::from(u16::from_be_bytes([page[2], page[3]])), page.len() - 4);
    }
}

#[test]
fn the_serial_number_page_holds_the_serial_number() {
    let mut lu = logical_unit();
    assert_eq!(page(0x80, &lu), b"\x00\x80\x00\x0c0123456789ab");
    lu.identity.serial = "x".repeat(300);
    assert_eq!(page(0x80, &lu).len(), 4 + 220);
}

#[test]
fn device_identification_names_unit_port_and_target() {
    let mut expected = vec![0x00, 0x83, 0x00, 176];
    // The logical unit: NAA 6, then vendor with product and serial number.
    expected.extend_from_slice(&[0x01, 0x03, 0, 16]);
    expected.extend_from_slice(&[0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    expected.extend_from_slice(&[0x02, 0x01, 0, 36]);
    expected.extend_from_slice(b"POLLUX  DISK            0123456789ab");
    // The port: relative identifier, group, name.
    expected.extend_from_slice(&[0x51, 0x94, 0, 4, 0, 0, 0, 1]);
    expected.extend_from_slice(&[0x51, 0x95, 0, 4, 0, 0, 0, 2]);
    expected.extend_from_slice(&[0x53, 0x98, 0, 36]);
    expected.extend_from_slice(b"iqn.2020-01.example:disk,t,0x0001\0\0\0");
    // The target.
    expected.extend_from_slice(&[0x53, 0xa8, 0, 28]);
    expected.extend_from_slice(b"iqn.2020-01.example:disk\0\0\0\0");
    expected[3] = u8::try_from(expected.len() - 4).unwrap();
    assert_eq!(page(0x83, &logical_unit()), expected);
}

#[test]
fn the_naa_field_of_a_designator_is_always_right() {
    let mut lu = logical_unit();
    lu.identity.naa = NaaDesignator::LocallyAssigned([0xff, 1, 2, 3, 4, 5, 6, 7]);
    let locally = [0x01, 0x03, 0, 8, 0x3f, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(page(0x83, &lu)[4..16], locally);
    lu.identity.naa = NaaDesignator::RegisteredExtended([0; 16]);
    assert_eq!(page(0x83, &lu)[8], 0x60);
}

#[test]
fn a_name_that_is_too_long_is_cut_before_its_null() {
    let mut lu = logical_unit();
    lu.target_port.device_name = "ä".repeat(200);
    let page = page(0x83, &lu);
    let designator = &page[page.len() - 256..];
    assert_eq!(designator[..4], [0x53, 0xa8, 0, 252]);
    // 125 letters of two bytes; a half letter would not be UTF-8.
    assert!(std::str::from_utf8(&designator[4..254]).is_ok());
    assert_eq!(designator[254..], [0, 0]);
}

#[test]
fn extended_inquiry_data_tell_of_a_volatile_cache() {
    let mut lu = logical_unit();
    assert_eq!(page(0x86, &lu)[..8], [0x00, 0x86, 0, 0x3c, 0x00, 0x07, 0x01, 0x00]);
    lu.mode.write_cache_changeable = false;
    lu.mode.current.write_cache = false;
    lu.mode.default.write_cache = false;
    assert_eq!(page(0x86, &lu)[..8], [0x00, 0x86, 0, 0x3c, 0x00, 0x07, 0x00, 0x00]);
}

#[test]
fn block_limits_follow_the_table() {
    let mut expected = vec![
        0x00, 0xb0, 0x00, 0x3c, // header
        0x01, 16, 0, 8, // WSNZ, compare and write, granularity
        0, 0, 0x04, 0x00, // maximum transfer
        0, 0, 0x02, 0x00, // optimal transfer
        0, 0, 0, 0, // maximum prefetch
        0, 0, 0x03, 0xe8, // maximum unmap blocks
        0, 0, 0, 4, // maximum unmap descriptors
        0, 0, 0, 8, // optimal unmap granularity
        0x80, 0, 0, 0, // UGAVALID and alignment
        0, 0, 0, 0, 0, 0, 0x01, 0x00, // maximum write same
    ];
    expected.resize(64, 0);
    assert_eq!(page(0xb0, &logical_unit()), expected);
}

#[test]
fn block_limits_of_a_fully_provisioned_unit_are_silent_about_unmap() {
    let mut lu = logical_unit();
    lu.thin = false;
    assert_eq!(page(0xb0, &lu)[20..36], [0; 16]);
}

#[test]
fn block_device_characteristics_tell_the_rotation() {
    let mut lu = logical_unit();
    assert_eq!(page(0xb1, &lu).len(), 64);
    assert_eq!(page(0xb1, &lu)[..8], [0x00, 0xb1, 0, 0x3c, 0x00, 0x01, 0, 0]);
    lu.rotation = Rotation::PerMinute(7200);
    assert_eq!(page(0xb1, &lu)[4..6], [0x1c, 0x20]);
    lu.rotation = Rotation::NotReported;
    assert_eq!(page(0xb1, &lu)[4..6], [0, 0]);
}

#[test]
fn logical_block_provisioning_follows_the_unit() {
    let mut lu = logical_unit();
    assert_eq!(page(0xb2, &lu), [0x00, 0xb2, 0, 4, 0x00, 0xe4, 0x02, 0x00]);
    lu.reads_zero_after_unmap = false;
    assert_eq!(page(0xb2, &lu), [0x00, 0xb2, 0, 4, 0x00, 0xe0, 0x02, 0x00]);
    lu.thin = false;
    assert_eq!(page(0xb2, &lu), [0x00, 0xb2, 0, 4, 0x00, 0x00, 0x00, 0x00]);
}
