//! The table of CDB formats: parsing and REPORT SUPPORTED OPERATION CODES.

use super::fixture::{
    INVALID_FIELD_IN_CDB, INVALID_OPERATION_CODE, cdb, codes, data, logical_unit, refusal,
};
use crate::{cdb_formats, parse};

/// Operation code, service action and CDB length of everything that Pollux supports.
const SUPPORTED: [(u8, Option<u8>, usize); 42] = [
    (0x00, None, 6),
    (0x03, None, 6),
    (0x08, None, 6),
    (0x0a, None, 6),
    (0x12, None, 6),
    (0x15, None, 6),
    (0x16, None, 6),
    (0x17, None, 6),
    (0x1a, None, 6),
    (0x1b, None, 6),
    (0x1d, None, 6),
    (0x25, None, 10),
    (0x28, None, 10),
    (0x2a, None, 10),
    (0x2e, None, 10),
    (0x2f, None, 10),
    (0x34, None, 10),
    (0x35, None, 10),
    (0x41, None, 10),
    (0x42, None, 10),
    (0x55, None, 10),
    (0x56, None, 10),
    (0x57, None, 10),
    (0x5a, None, 10),
    (0x88, None, 16),
    (0x89, None, 16),
    (0x8a, None, 16),
    (0x8b, None, 16),
    (0x8e, None, 16),
    (0x8f, None, 16),
    (0x90, None, 16),
    (0x91, None, 16),
    (0x93, None, 16),
    (0x9e, Some(0x10), 16),
    (0x9e, Some(0x12), 16),
    (0xa0, None, 12),
    (0xa3, Some(0x0c), 12),
    (0xa3, Some(0x0d), 12),
    (0xa8, None, 12),
    (0xaa, None, 12),
    (0xae, None, 12),
    (0xaf, None, 12),
];

/// REPORT SUPPORTED OPERATION CODES.
fn rsoc(options: u8, code: u8, service_action: u16) -> [u8; 12] {
    let [high, low] = service_action.to_be_bytes();
    [0xa3, 0x0c, options, code, high, low, 0, 0, 0xff, 0xff, 0, 0]
}

#[test]
fn the_table_lists_what_is_supported() {
    let table: Vec<_> = cdb_formats()
        .iter()
        .map(|one| (one.operation_code(), one.service_action, one.usage().len()))
        .collect();
    assert_eq!(table, SUPPORTED);
}

#[test]
fn every_listed_command_parses() {
    for (code, service_action, _) in SUPPORTED {
        let parsed = parse(&cdb(&[code, service_action.unwrap_or(0)]));
        assert!(parsed.is_ok(), "{code:02x} {service_action:02x?}: {parsed:?}");
    }
}

#[test]
fn every_other_operation_code_is_invalid() {
    for code in 0..=u8::MAX {
        if SUPPORTED.iter().any(|&(listed, ..)| listed == code) {
            continue;
        }
        for byte in [0x00, 0x0c, 0x10, 0xff] {
            let sense = parse(&cdb(&[code, byte, byte])).unwrap_err();
            assert_eq!(codes(sense), INVALID_OPERATION_CODE, "{code:02x}");
        }
    }
}

#[test]
fn every_other_service_action_is_an_invalid_field() {
    for code in [0x9e, 0xa3] {
        for action in 0..32 {
            if !SUPPORTED.contains(&(code, Some(action), if code == 0x9e { 16 } else { 12 })) {
                let sense = parse(&cdb(&[code, action])).unwrap_err();
                assert_eq!(codes(sense), INVALID_FIELD_IN_CDB, "{code:02x} {action:02x}");
            }
        }
    }
}

#[test]
fn naca_is_refused_in_the_last_byte_of_every_cdb() {
    for (code, service_action, length) in SUPPORTED {
        let mut bytes = cdb(&[code, service_action.unwrap_or(0)]);
        bytes[length - 1] = 0x04;
        let sense = parse(&bytes).unwrap_err();
        assert_eq!(codes(sense), INVALID_FIELD_IN_CDB, "{code:02x}");
        let field = sense.field.unwrap();
        assert_eq!((usize::from(field.byte), field.bit), (length - 1, Some(2)), "{code:02x}");
    }
}

/// What the usage data leave out has no effect: flipping such a bit parses to the same command.
#[test]
fn bits_outside_of_the_usage_data_are_not_looked_at() {
    for operation in cdb_formats() {
        let usage = operation.usage();
        let plain = cdb(&[usage[0], operation.service_action.unwrap_or(0)]);
        for (at, mask) in usage.iter().enumerate().skip(1) {
            for bit in (0..8).filter(|bit| mask & (1 << bit) == 0) {
                let service_action_bit = at == 1 && bit < 5 && operation.service_action.is_some();
                if !service_action_bit {
                    let mut flipped = plain;
                    flipped[at] ^= 1 << bit;
                    assert_eq!(parse(&flipped), parse(&plain), "{usage:02x?} {at} {bit}");
                }
            }
        }
    }
}

/// What the usage data show has an effect: flipping such a bit changes the command, or is
/// refused. Two bits show it only together with others: the self-test of SEND DIAGNOSTIC, and
/// PF of MODE SELECT, which an empty parameter list does not need.
#[test]
fn bits_inside_of_the_usage_data_are_looked_at() {
    for operation in cdb_formats() {
        let usage = operation.usage();
        let plain = cdb(&[usage[0], operation.service_action.unwrap_or(0)]);
        for (at, mask) in usage.iter().enumerate().skip(1) {
            for bit in (0..8).filter(|bit| mask & (1 << bit) != 0) {
                let mut flipped = plain;
                flipped[at] ^= 1 << bit;
                let alone = !matches!((usage[0], at, bit), (0x1d, 1, 2) | (0x15 | 0x55, 1, 4));
                if alone {
                    assert_ne!(parse(&flipped), parse(&plain), "{usage:02x?} {at} {bit}");
                }
            }
        }
    }
}

#[test]
fn all_commands_are_reported_with_eight_bytes_each() {
    let answer = data(&rsoc(0x00, 0, 0), &logical_unit());
    assert_eq!(answer.len(), 4 + 42 * 8);
    assert_eq!(answer[..4], [0, 0, 0x01, 0x50]);
    assert_eq!(answer[4..12], [0x00, 0, 0, 0, 0, 0x00, 0, 6]);
    let service_action = [0x9e, 0, 0, 0x12, 0, 0x01, 0, 16];
    assert!(answer[4..].chunks(8).any(|descriptor| descriptor == service_action));
    assert_eq!(data(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0], &logical_unit()), answer[..5]);
}

#[test]
fn timeouts_are_reported_on_demand() {
    let lu = logical_unit();
    let answer = data(&rsoc(0x80, 0, 0), &lu);
    assert_eq!(answer.len(), 4 + 42 * 20);
    let first = [0x00, 0, 0, 0, 0, 0x02, 0, 6, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer[4..24], first);
    let with_action = [0xa3, 0, 0, 0x0d, 0, 0x03, 0, 12, 0, 0x0a];
    assert!(answer[4..].chunks(20).any(|descriptor| descriptor[..10] == with_action));
    let one = data(&rsoc(0x81, 0x00, 0), &lu);
    assert_eq!(one[..4], [0, 0x83, 0, 6]);
    assert_eq!(one[4..], [0, 0, 0, 0, 0, 0x04, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn one_command_is_reported_with_its_usage_data() {
    let lu = logical_unit();
    let write_10 = [0, 0x03, 0, 10, 0x2a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0x00, 0xff, 0xff, 0x04];
    assert_eq!(data(&rsoc(0x01, 0x2a, 0), &lu), write_10);
    assert_eq!(data(&rsoc(0x03, 0x2a, 0), &lu), write_10);
    let report_itself =
        [0, 0x03, 0, 12, 0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x04];
    assert_eq!(data(&rsoc(0x02, 0xa3, 0x0c), &lu), report_itself);
    assert_eq!(data(&rsoc(0x03, 0xa3, 0x0c), &lu), report_itself);
}

#[test]
fn what_there_is_not_is_reported_as_not_supported() {
    let lu = logical_unit();
    let not_supported = [0, 0x01, 0, 0];
    assert_eq!(data(&rsoc(0x01, 0x48, 0), &lu), not_supported);
    assert_eq!(data(&rsoc(0x02, 0x9e, 0x11), &lu), not_supported);
    assert_eq!(data(&rsoc(0x02, 0x9e, 0x0110), &lu), not_supported);
    assert_eq!(data(&rsoc(0x03, 0x9e, 0x11), &lu), not_supported);
    assert_eq!(data(&rsoc(0x03, 0x28, 0x01), &lu), not_supported);
}

#[test]
fn reporting_options_must_fit_the_operation_code() {
    let lu = logical_unit();
    assert_eq!(refusal(&rsoc(0x01, 0x9e, 0x10), &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&rsoc(0x02, 0x28, 0), &lu), INVALID_FIELD_IN_CDB);
    for reserved in 4..8 {
        assert_eq!(refusal(&rsoc(reserved, 0x28, 0), &lu), INVALID_FIELD_IN_CDB);
    }
}

#[test]
fn commands_that_the_unit_lacks_are_not_reported() {
    let mut lu = logical_unit();
    lu.thin = false;
    lu.limits.compare_and_write_blocks_max = 0;
    assert_eq!(data(&rsoc(0x00, 0, 0), &lu).len(), 4 + 40 * 8);
    assert_eq!(data(&rsoc(0x01, 0x42, 0), &lu), [0, 0x01, 0, 0]);
    assert_eq!(data(&rsoc(0x01, 0x89, 0), &lu), [0, 0x01, 0, 0]);
}

#[test]
fn task_management_functions_are_reported_short_and_extended() {
    let lu = logical_unit();
    let short = data(&[0xa3, 0x0d, 0x00, 0, 0, 0, 0, 0, 0, 255, 0, 0], &lu);
    assert_eq!(short, [0xda, 0, 0, 0]);
    let extended = data(&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 255, 0, 0], &lu);
    assert_eq!(extended, [0xda, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let cut = data(&[0xa3, 0x0d, 0x00, 0, 0, 0, 0, 0, 0, 2, 0, 0], &lu);
    assert_eq!(cut, [0xda, 0]);
}
