//! Sense data in both formats.

use units::Lba;

use super::fixture::{logical_unit, run};
use crate::{FieldPointer, Plan, Sense, SenseFormat, request_sense};

fn fixed(sense: Sense) -> Vec<u8> {
    sense.data(SenseFormat::Fixed).as_bytes().to_vec()
}

fn descriptor(sense: Sense) -> Vec<u8> {
    sense.data(SenseFormat::Descriptor).as_bytes().to_vec()
}

#[test]
fn fixed_format_has_18_bytes() {
    assert_eq!(
        fixed(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE),
        [0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0x00, 0, 0, 0, 0]
    );
}

#[test]
fn fixed_format_carries_information_of_32_bits() {
    assert_eq!(
        fixed(Sense::miscompare(0x0102_0304)),
        [0xf0, 0, 0x0e, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x1d, 0x00, 0, 0, 0, 0]
    );
}

#[test]
fn information_of_more_than_32_bits_is_not_valid_in_fixed_format() {
    assert_eq!(
        fixed(Sense::unrecovered_read_error(Lba(0x1_0000_0000))),
        [0x70, 0, 0x03, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0x00, 0, 0, 0, 0]
    );
}

#[test]
fn fixed_format_points_at_a_bit_of_the_cdb() {
    assert_eq!(
        fixed(Sense::invalid_field_in_cdb(1, Some(7))),
        [0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0x00, 0, 0xcf, 0, 1]
    );
}

#[test]
fn fixed_format_points_at_a_byte_of_the_parameter_list() {
    assert_eq!(
        fixed(Sense::invalid_field_in_parameter_list(0x0102, None)),
        [0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x26, 0x00, 0, 0x80, 1, 2]
    );
}

#[test]
fn descriptor_format_without_descriptors_is_its_header() {
    let sense = Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED;
    assert_eq!(descriptor(sense), [0x72, 0x06, 0x29, 0x00, 0, 0, 0, 0]);
}

#[test]
fn descriptor_format_carries_information_of_64_bits() {
    assert_eq!(
        descriptor(Sense::unrecovered_read_error(Lba(0x0102_0304_0506_0708))),
        [0x72, 0x03, 0x11, 0, 0, 0, 0, 12, 0x00, 0x0a, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[test]
fn descriptor_format_carries_a_field_pointer() {
    assert_eq!(
        descriptor(Sense::INVALID_COMMAND_OPERATION_CODE),
        [0x72, 0x05, 0x20, 0, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0xc0, 0, 0, 0]
    );
}

#[test]
fn descriptor_format_carries_both_descriptors() {
    let field = Some(FieldPointer { in_cdb: true, byte: 2, bit: None });
    let sense = Sense { field, ..Sense::INVALID_FIELD_IN_CDB.with_information(9) };
    assert_eq!(
        descriptor(sense),
        [
            0x72, 0x05, 0x24, 0, 0, 0, 0, 20, // header
            0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 9, // information
            0x02, 0x06, 0, 0, 0xc0, 0, 2, 0, // sense key specific
        ]
    );
}

#[test]
fn a_write_error_carries_its_lba() {
    let sense = Sense::write_error(Lba(0x0102_0304));
    assert_eq!(fixed(sense), [0xf0, 0, 0x03, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x0c, 0x00, 0, 0, 0, 0]);
    assert_eq!(
        descriptor(sense),
        [0x72, 0x03, 0x0c, 0, 0, 0, 0, 12, 0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 1, 2, 3, 4]
    );
}

#[test]
fn a_write_error_past_32_bits_has_its_lba_in_descriptor_format_only() {
    let sense = Sense::write_error(Lba(0x0102_0304_0506_0708));
    assert_eq!(fixed(sense), [0x70, 0, 0x03, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0c, 0x00, 0, 0, 0, 0]);
    assert_eq!(
        descriptor(sense),
        [0x72, 0x03, 0x0c, 0, 0, 0, 0, 12, 0x00, 0x0a, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[test]
fn a_read_error_carries_its_lba() {
    let sense = Sense::unrecovered_read_error(Lba(0));
    assert_eq!(fixed(sense), [0xf0, 0, 0x03, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0x00, 0, 0, 0, 0]);
    assert_eq!(
        descriptor(sense),
        [0x72, 0x03, 0x11, 0, 0, 0, 0, 12, 0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn medium_errors_without_a_block_have_no_information() {
    assert_eq!(descriptor(Sense::WRITE_ERROR), [0x72, 0x03, 0x0c, 0x00, 0, 0, 0, 0]);
    assert_eq!(
        fixed(Sense::UNRECOVERED_READ_ERROR),
        [0x70, 0, 0x03, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0x00, 0, 0, 0, 0]
    );
}

#[test]
fn request_sense_without_a_condition_says_so() {
    assert_eq!(
        request_sense(SenseFormat::Fixed, None, 252),
        [0x70, 0, 0x00, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(request_sense(SenseFormat::Descriptor, None, 252), [0x72, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn request_sense_is_cut_to_the_allocation_length() {
    let pending = Some(Sense::CAPACITY_DATA_HAS_CHANGED);
    assert_eq!(request_sense(SenseFormat::Descriptor, pending, 4), [0x72, 0x06, 0x2a, 0x09]);
    assert_eq!(request_sense(SenseFormat::Fixed, pending, 0), []);
}

#[test]
fn desc_chooses_the_format_of_request_sense() {
    let lu = logical_unit();
    assert_eq!(
        run(&[0x03, 0x00, 0, 0, 18, 0], &lu),
        Plan::RequestSense { format: SenseFormat::Fixed, allocation_length: 18 }
    );
    assert_eq!(
        run(&[0x03, 0x01, 0, 0, 252, 0], &lu),
        Plan::RequestSense { format: SenseFormat::Descriptor, allocation_length: 252 }
    );
}

#[test]
fn d_sense_chooses_the_format_of_autosense() {
    let mut lu = logical_unit();
    assert_eq!(lu.sense_format(), SenseFormat::Fixed);
    lu.mode.current.descriptor_sense = true;
    assert_eq!(lu.sense_format(), SenseFormat::Descriptor);
}
