//! The one list of operation codes: what is parsed, and what REPORT SUPPORTED OPERATION CODES
//! reports.

use crate::command::Command;
use crate::parse;
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// One command in one of its CDB sizes.
#[derive(Debug)]
pub struct CdbFormat {
    /// SERVICE ACTION, for operation codes that have service actions.
    pub service_action: Option<u8>,
    /// Turns a CDB of this operation into the command.
    pub(crate) parse: Parse,
    usage: [u8; 16],
    cdb_bytes: usize,
}

/// What turns a CDB into a command once its operation is known.
pub(crate) type Parse = fn(&[u8; 16]) -> Result<Command, Sense>;

impl CdbFormat {
    /// OPERATION CODE.
    pub const fn operation_code(&self) -> u8 {
        self.usage[0]
    }

    /// CDB USAGE DATA (SPC-4): the operation code and the service action as they are, and ones in
    /// all bits that are looked at. Its length is that of the CDB.
    pub fn usage(&self) -> &[u8] {
        self.usage.get(..self.cdb_bytes).unwrap_or(&self.usage)
    }

    /// Whether the logical unit has the command: UNMAP needs thin provisioning, COMPARE AND
    /// WRITE a limit that is not zero.
    pub fn is_supported(&self, lu: &UnitModel) -> bool {
        match self.operation_code() {
            UNMAP => lu.thin,
            COMPARE_AND_WRITE => lu.limits.compare_and_write_blocks_max != 0,
            _ => true,
        }
    }
}

/// All CDB formats, ascending by operation code and service action.
pub fn cdb_formats() -> &'static [CdbFormat] {
    &TABLE
}

/// The commands of one operation code; none if it is not supported.
pub(crate) fn with_operation_code(code: u8) -> &'static [CdbFormat] {
    let [start, end] = RANGES[usize::from(code)];
    TABLE.get(usize::from(start)..usize::from(end)).unwrap_or_default()
}

/// Usage data as hexadecimal text. In byte 1: the protection field E0h and the NACA bit 04h of
/// the last byte are looked at to refuse what is not zero; GROUP NUMBER, FUA_NV, RARC and
/// SYNC_NV are ignored, so they are zero here.
const FORMATS: [CdbFormat; 42] = [
    plain("00 00000000 04", parse::test_unit_ready),
    plain("03 01 0000 ff 04", parse::request_sense),
    plain("08 1fffff ff 04", parse::read_6),
    plain("0a 1fffff ff 04", parse::write_6),
    plain("12 03 ff ffff 04", parse::inquiry),
    plain("15 13 0000 ff 04", parse::mode_select_6),
    plain("16 11 000000 04", parse::reserve_6),
    plain("17 11 000000 04", parse::release_6),
    plain("1a 08 ff ff ff 04", parse::mode_sense_6),
    plain("1b 01 0000 f7 04", parse::start_stop_unit),
    plain("1d e4 00 ffff 04", parse::send_diagnostic),
    plain("25 00 ffffffff 0000 01 04", parse::read_capacity_10),
    plain("28 f8 ffffffff 00 ffff 04", parse::read_10),
    plain("2a f8 ffffffff 00 ffff 04", parse::write_10),
    plain("2e f6 ffffffff 00 ffff 04", parse::write_and_verify_10),
    plain("2f f6 ffffffff 00 ffff 04", parse::verify_10),
    plain("34 02 ffffffff 00 ffff 04", parse::pre_fetch_10),
    plain("35 02 ffffffff 00 ffff 04", parse::synchronize_cache_10),
    plain("41 fe ffffffff 00 ffff 04", parse::write_same_10),
    plain("42 01 00000000 00 ffff 04", parse::unmap),
    plain("55 13 0000000000 ffff 04", parse::mode_select_10),
    plain("56 13 0000000000 0000 04", parse::reserve_10),
    plain("57 13 0000000000 0000 04", parse::release_10),
    plain("5a 18 ff ff 000000 ffff 04", parse::mode_sense_10),
    plain("88 f8 ffffffffffffffff ffffffff 00 04", parse::read_16),
    plain("89 f8 ffffffffffffffff 000000 ff 00 04", parse::compare_and_write),
    plain("8a f8 ffffffffffffffff ffffffff 00 04", parse::write_16),
    plain("8b f8 ffffffffffffffff ffffffff 00 04", parse::or_write),
    plain("8e f6 ffffffffffffffff ffffffff 00 04", parse::write_and_verify_16),
    plain("8f f6 ffffffffffffffff ffffffff 00 04", parse::verify_16),
    plain("90 02 ffffffffffffffff ffffffff 00 04", parse::pre_fetch_16),
    plain("91 02 ffffffffffffffff ffffffff 00 04", parse::synchronize_cache_16),
    plain("93 ff ffffffffffffffff ffffffff 00 04", parse::write_same_16),
    action("9e 10 0000000000000000 ffffffff 00 04", parse::read_capacity_16),
    action("9e 12 ffffffffffffffff ffffffff ff 04", parse::get_lba_status),
    plain("a0 00 ff 000000 ffffffff 00 04", parse::report_luns),
    action("a3 0c 87 ff ffff ffffffff 00 04", parse::report_supported_operation_codes),
    action("a3 0d 80 000000 ffffffff 00 04", parse::report_supported_task_management_functions),
    plain("a8 f8 ffffffff ffffffff 00 04", parse::read_12),
    plain("aa f8 ffffffff ffffffff 00 04", parse::write_12),
    plain("ae f6 ffffffff ffffffff 00 04", parse::write_and_verify_12),
    plain("af f6 ffffffff ffffffff 00 04", parse::verify_12),
];

/// Where the commands of each operation code are: from the first index up to the second.
static RANGES: [[u8; 2]; 256] = ranges();

static TABLE: [CdbFormat; FORMATS.len()] = FORMATS;

const fn ranges() -> [[u8; 2]; 256] {
    let mut ranges = [[0; 2]; 256];
    let mut index = 0_u8;
    while (index as usize) < FORMATS.len() {
        let range = &mut ranges[FORMATS[index as usize].usage[0] as usize];
        if range[1] == 0 {
            range[0] = index;
        }
        range[1] = index + 1;
        index += 1;
    }
    ranges
}

const UNMAP: u8 = 0x42;
const COMPARE_AND_WRITE: u8 = 0x89;

/// An operation code without service actions.
const fn plain(usage: &str, parse: Parse) -> CdbFormat {
    let (usage, cdb_bytes) = from_hexadecimal(usage);
    CdbFormat { service_action: None, parse, usage, cdb_bytes }
}

/// An operation code with the service action that byte 1 of the usage data names.
const fn action(usage: &str, parse: Parse) -> CdbFormat {
    let (usage, cdb_bytes) = from_hexadecimal(usage);
    CdbFormat { service_action: Some(usage[1]), parse, usage, cdb_bytes }
}

/// The bytes of hexadecimal text with spaces, and how many there are. Wrong text does not
/// compile, because all of it is constant.
const fn from_hexadecimal(text: &str) -> ([u8; 16], usize) {
    let text = text.as_bytes();
    let mut bytes = [0; 16];
    let (mut at, mut digits) = (0, 0);
    while at < text.len() {
        let digit = match text[at] {
            b' ' => None,
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => panic!("usage data are lower case hexadecimal digits"),
        };
        if let Some(digit) = digit {
            bytes[digits / 2] = (bytes[digits / 2] << 4) | digit;
            digits += 1;
        }
        at += 1;
    }
    assert!(matches!(digits, 12 | 20 | 24 | 32), "a CDB has 6, 10, 12 or 16 bytes");
    (bytes, digits / 2)
}
