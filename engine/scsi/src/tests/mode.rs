//! MODE SENSE and MODE SELECT.

use units::BlockCount;

use super::fixture::{
    INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_LIST, LIST_LENGTH, data, logical_unit, refusal,
    refusal_of, run,
};
use crate::{ModeParameters, ModeSelect, ParameterKind, Plan, UnitModel, parameters};

const ERROR_RECOVERY: [u8; 12] = [0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CACHING: [u8; 20] = [0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 12] = [0x0a, 0x0a, 0x22, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
const EXCEPTIONS: [u8; 12] = [0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn select_6(list: &[u8], lu: &UnitModel) -> Plan {
    let length = u16::try_from(list.len()).unwrap();
    let select = ModeSelect { ten_byte: false, parameter_list_length: length };
    parameters(&ParameterKind::ModeSelect(select), list, lu)
}

fn select_10(list: &[u8], lu: &UnitModel) -> Plan {
    let length = u16::try_from(list.len()).unwrap();
    let select = ModeSelect { ten_byte: true, parameter_list_length: length };
    parameters(&ParameterKind::ModeSelect(select), list, lu)
}

fn select_refusal(list: &[u8], lu: &UnitModel) -> (u8, u8, u8) {
    refusal_of(&select_6(list, lu))
}

#[test]
fn all_pages_come_in_ascending_order() {
    let mut expected = vec![67, 0x00, 0x10, 8, 0, 0, 0x08, 0, 0, 0, 0x02, 0];
    expected.extend_from_slice(&ERROR_RECOVERY);
    expected.extend_from_slice(&CACHING);
    expected.extend_from_slice(&CONTROL);
    expected.extend_from_slice(&EXCEPTIONS);
    let lu = logical_unit();
    assert_eq!(data(&[0x1a, 0, 0x3f, 0x00, 255, 0], &lu), expected);
    assert_eq!(data(&[0x1a, 0, 0x3f, 0xff, 255, 0], &lu), expected);
    assert_eq!(data(&[0x1a, 0, 0x3f, 0x00, 4, 0], &lu), expected[..4]);
}

#[test]
fn one_page_comes_without_block_descriptor_if_dbd_says_so() {
    let mut expected = vec![15, 0x00, 0x10, 0];
    expected.extend_from_slice(&CONTROL);
    assert_eq!(data(&[0x1a, 0x08, 0x0a, 0, 255, 0], &logical_unit()), expected);
}

#[test]
fn the_ten_byte_form_has_a_longer_header() {
    let mut expected = vec![0, 26, 0x00, 0x10, 0, 0, 0, 8, 0, 0, 0x08, 0, 0, 0, 0x02, 0];
    expected.extend_from_slice(&EXCEPTIONS);
    assert_eq!(data(&[0x5a, 0, 0x1c, 0, 0, 0, 0, 0, 255, 0], &logical_unit()), expected);
}

#[test]
fn the_long_block_descriptor_comes_if_it_is_accepted() {
    let lu = UnitModel { blocks: BlockCount(0x0102_0304_0506_0708), ..logical_unit() };
    let mut expected = vec![0, 34, 0x00, 0x10, 0x01, 0, 0, 16];
    expected.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x02, 0x00]);
    expected.extend_from_slice(&CONTROL);
    assert_eq!(data(&[0x5a, 0x10, 0x0a, 0, 0, 0, 0, 0, 255, 0], &lu), expected);
    // The short one cannot say so many blocks.
    let short = data(&[0x5a, 0x00, 0x0a, 0, 0, 0, 0, 0, 255, 0], &lu);
    assert_eq!(short[8..16], [0xff, 0xff, 0xff, 0xff, 0, 0, 0x02, 0x00]);
}

#[test]
fn page_control_chooses_the_values() {
    let mut lu = logical_unit();
    lu.mode.current.write_cache = false;
    lu.mode.current.descriptor_sense = true;
    let page = |control: u8, page: u8| data(&[0x1a, 0x08, control | page, 0, 255, 0], &lu);
    assert_eq!(page(0x00, 0x08)[4..7], [0x08, 0x12, 0x00]);
    assert_eq!(page(0x40, 0x08)[4..7], [0x08, 0x12, 0x04]);
    assert_eq!(page(0x80, 0x08)[4..7], [0x08, 0x12, 0x04]);
    assert_eq!(page(0x00, 0x0a)[4..7], [0x0a, 0x0a, 0x26]);
    assert_eq!(page(0x40, 0x0a)[4..], [0x0a, 0x0a, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(page(0x80, 0x0a)[4..7], [0x0a, 0x0a, 0x22]);
    assert_eq!(page(0x40, 0x1c)[4..], [0x1c, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_fixed_write_cache_is_not_changeable() {
    let mut lu = logical_unit();
    lu.mode.write_cache_changeable = false;
    assert_eq!(data(&[0x1a, 0x08, 0x48, 0, 255, 0], &lu)[6], 0x00);
    let mut list = vec![0; 4];
    list.extend_from_slice(&CACHING);
    list[6] = 0x00;
    assert_eq!(select_refusal(&list, &lu), INVALID_FIELD_IN_LIST);
}

#[test]
fn saved_values_do_not_exist() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x1a, 0, 0xff, 0, 255, 0], &lu), (0x5, 0x39, 0x00));
    assert_eq!(refusal(&[0x5a, 0, 0xc8, 0, 0, 0, 0, 0, 255, 0], &lu), (0x5, 0x39, 0x00));
}

#[test]
fn other_pages_and_subpages_do_not_exist() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x1a, 0, 0x02, 0, 255, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x1a, 0, 0x0a, 0x01, 255, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x1a, 0, 0x3f, 0x01, 255, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(data(&[0x1a, 0x08, 0x0a, 0xff, 255, 0], &lu)[4..], CONTROL);
}

#[test]
fn wp_tells_of_both_kinds_of_write_protection() {
    let parameter = |lu: &UnitModel| data(&[0x1a, 0, 0x3f, 0, 255, 0], lu)[2];
    let mut lu = logical_unit();
    assert_eq!(parameter(&lu), 0x10);
    lu.read_only = true;
    assert_eq!(parameter(&lu), 0x90);
    lu.read_only = false;
    lu.mode.current.software_write_protect = true;
    assert_eq!(parameter(&lu), 0x90);
}

#[test]
fn mode_select_asks_for_its_parameter_list() {
    let lu = logical_unit();
    let select = ModeSelect { ten_byte: false, parameter_list_length: 16 };
    let asks = Plan::Parameters { length: 16, kind: ParameterKind::ModeSelect(select) };
    assert_eq!(run(&[0x15, 0x10, 0, 0, 16, 0], &lu), asks);
    assert_eq!(run(&[0x15, 0x10, 0, 0, 0, 0], &lu), Plan::Good);
    // No PF, SP, RTD, and 8193 bytes.
    assert_eq!(refusal(&[0x15, 0x00, 0, 0, 16, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x15, 0x11, 0, 0, 16, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x15, 0x12, 0, 0, 16, 0], &lu), INVALID_FIELD_IN_CDB);
    let too_long = [0x55, 0x10, 0, 0, 0, 0, 0, 0x20, 0x01, 0];
    assert_eq!(refusal(&too_long, &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn mode_select_changes_what_may_change() {
    let lu = logical_unit();
    let mut list = vec![0; 4];
    list.extend_from_slice(&CACHING);
    list.extend_from_slice(&CONTROL);
    assert_eq!(select_6(&list, &lu), Plan::Good);
    list[6] = 0x00; // WCE
    list[26] |= 0x04; // D_SENSE
    list[28] |= 0x08; // SWP
    let changed =
        ModeParameters { write_cache: false, descriptor_sense: true, software_write_protect: true };
    assert_eq!(select_6(&list, &lu), Plan::ModeChange(changed));
}

#[test]
fn mode_select_takes_back_what_mode_sense_gave() {
    let mut lu = logical_unit();
    lu.mode.current.descriptor_sense = true;
    let sensed = data(&[0x1a, 0, 0x3f, 0, 255, 0], &lu);
    assert_eq!(select_6(&sensed, &lu), Plan::Good);
    let sensed = data(&[0x5a, 0x10, 0x3f, 0, 0, 0, 0, 0, 255, 0], &lu);
    assert_eq!(select_10(&sensed, &lu), Plan::Good);
    let without_descriptor = data(&[0x5a, 0x18, 0x3f, 0, 0, 0, 0, 0, 255, 0], &lu);
    assert_eq!(select_10(&without_descriptor, &lu), Plan::Good);
}

#[test]
fn mode_select_refuses_to_change_what_is_fixed() {
    let lu = logical_unit();
    let mut list = vec![0; 4];
    list.extend_from_slice(&CONTROL);
    for at in 6..16 {
        for bit in 0..8 {
            let changeable = matches!((at, bit), (6, 2) | (8, 3));
            let mut list = list.clone();
            list[at] ^= 1 << bit;
            if changeable {
                assert!(matches!(select_6(&list, &lu), Plan::ModeChange(_)));
            } else {
                assert_eq!(select_refusal(&list, &lu), INVALID_FIELD_IN_LIST, "{at} {bit}");
            }
        }
    }
}

#[test]
fn the_field_pointer_shows_at_what_is_fixed() {
    let mut list = vec![0; 4];
    list.extend_from_slice(&CONTROL);
    list[9] ^= 0x40;
    let Plan::CheckCondition(sense) = select_6(&list, &logical_unit()) else { panic!() };
    assert_eq!(sense, crate::Sense::invalid_field_in_parameter_list(9, None));
}

#[test]
fn mode_select_refuses_pages_that_do_not_exist() {
    let lu = logical_unit();
    // An unknown page, the subpage format, and a wrong length.
    assert_eq!(select_refusal(&[0, 0, 0, 0, 0x02, 0x0e], &lu), INVALID_FIELD_IN_LIST);
    assert_eq!(select_refusal(&[0, 0, 0, 0, 0x4a, 0x01], &lu), INVALID_FIELD_IN_LIST);
    assert_eq!(select_refusal(&[0, 0, 0, 0, 0x0a, 0x0b], &lu), INVALID_FIELD_IN_LIST);
    // A medium type, and a block descriptor of a length that there is not.
    assert_eq!(select_refusal(&[0, 1, 0, 0], &lu), INVALID_FIELD_IN_LIST);
    assert_eq!(select_refusal(&[0, 0, 0, 7], &lu), INVALID_FIELD_IN_LIST);
}

#[test]
fn a_list_that_ends_in_the_middle_is_a_length_error() {
    let lu = logical_unit();
    let mut list = vec![0, 0, 0, 8, 0, 0, 0x08, 0, 0, 0, 0x02, 0];
    list.extend_from_slice(&CONTROL);
    for length in 1..list.len() {
        // The header alone says that a descriptor follows; behind the descriptor the list may
        // end, and behind the page too.
        if length != 12 {
            assert_eq!(select_refusal(&list[..length], &lu), LIST_LENGTH, "{length}");
        }
    }
    assert_eq!(select_6(&list[..12], &lu), Plan::Good);
    assert_eq!(select_6(&list, &lu), Plan::Good);
}

#[test]
fn a_block_descriptor_cannot_resize_the_unit() {
    let lu = logical_unit();
    assert_eq!(select_6(&[0, 0, 0, 8, 0, 0, 0x00, 0, 0, 0, 0x02, 0], &lu), Plan::Good);
    let blocks = [0, 0, 0, 8, 0, 0, 0x04, 0, 0, 0, 0x02, 0];
    assert_eq!(select_refusal(&blocks, &lu), INVALID_FIELD_IN_LIST);
    let block_length = [0, 0, 0, 8, 0, 0, 0x08, 0, 0, 0, 0x10, 0];
    assert_eq!(select_refusal(&block_length, &lu), INVALID_FIELD_IN_LIST);
}
