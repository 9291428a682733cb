//! MODE SELECT (SPC-4): all of the list is checked before anything changes.

use crate::command::ModeSelect;
use crate::mode::ModeParameters;
use crate::mode::pages::Page;
use crate::mode::sense::{MEDIUM_TYPE, long_descriptor, short_descriptor};
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// The mode parameters that are in force once `list` has been carried out.
///
/// # Errors
/// PARAMETER LIST LENGTH ERROR where the list ends in the middle of something, INVALID FIELD IN
/// PARAMETER LIST for a page that there is not and for a value that may not change.
pub(crate) fn select(
    select: &ModeSelect,
    list: &[u8],
    lu: &UnitModel,
) -> Result<ModeParameters, Sense> {
    let mut reader = Reader { list, at: 0 };
    let mut parameters = lu.mode.current;
    if list.is_empty() {
        return Ok(parameters);
    }
    let descriptor_length = header(select, &mut reader)?;
    block_descriptor(&mut reader, descriptor_length, lu)?;
    while !reader.is_at_end() {
        page(&mut reader, lu, &mut parameters)?;
    }
    Ok(parameters)
}

/// What a block descriptor looks like, by the header.
struct DescriptorLength {
    bytes: usize,
    long_lba: bool,
}

/// The mode parameter header (SPC-4). MODE DATA LENGTH and the device-specific parameter are
/// reserved here: initiators send back what MODE SENSE told them.
fn header(select: &ModeSelect, reader: &mut Reader<'_>) -> Result<DescriptorLength, Sense> {
    let (medium_type_at, medium_type, length_at, length) = if select.ten_byte {
        let [_, _, medium_type, _, long_lba, _, high, low] = reader.array::<8>()?;
        let bytes = usize::from(u16::from_be_bytes([high, low]));
        (2, medium_type, 6, DescriptorLength { bytes, long_lba: long_lba & 0x01 != 0 })
    } else {
        let [_, medium_type, _, bytes] = reader.array::<4>()?;
        (1, medium_type, 3, DescriptorLength { bytes: bytes.into(), long_lba: false })
    };
    if medium_type != MEDIUM_TYPE {
        return Err(Sense::invalid_field_in_parameter_list(medium_type_at, None));
    }
    let one_descriptor = if length.long_lba { 16 } else { 8 };
    if length.bytes != 0 && length.bytes != one_descriptor {
        return Err(Sense::invalid_field_in_parameter_list(length_at, None));
    }
    Ok(length)
}

/// A block descriptor cannot change anything: a number of blocks of zero means "as it is" (SBC-3,
/// block descriptors), and FFFFFFFFh is what MODE SENSE says of a large unit.
fn block_descriptor(
    reader: &mut Reader<'_>,
    length: DescriptorLength,
    lu: &UnitModel,
) -> Result<(), Sense> {
    let at = reader.field_pointer();
    let unchanged = if length.bytes == 0 {
        true
    } else if length.long_lba {
        let descriptor = reader.array::<16>()?;
        let ours = long_descriptor(lu);
        let blocks_zero = descriptor[..8] == [0; 8];
        (blocks_zero || descriptor[..8] == ours[..8]) && descriptor[12..] == ours[12..]
    } else {
        let descriptor = reader.array::<8>()?;
        let ours = short_descriptor(lu);
        let blocks_zero = descriptor[..4] == [0; 4];
        (blocks_zero || descriptor[..4] == ours[..4]) && descriptor[5..] == ours[5..]
    };
    if unchanged { Ok(()) } else { Err(Sense::invalid_field_in_parameter_list(at, None)) }
}

/// One page: its length must be ours, and only changeable bits may differ from the current values
/// (SPC-4, MODE SELECT).
fn page(
    reader: &mut Reader<'_>,
    lu: &UnitModel,
    parameters: &mut ModeParameters,
) -> Result<(), Sense> {
    let at = reader.field_pointer();
    let [code, length] = reader.peek::<2>()?;
    if code & SPF != 0 {
        return Err(Sense::invalid_field_in_parameter_list(at, Some(6)));
    }
    let Some(page) = Page::from_code(code & 0x3f) else {
        return Err(Sense::invalid_field_in_parameter_list(at, Some(5)));
    };
    let current = page.bytes(&lu.mode.current);
    let changeable = page.mask(&lu.mode.changeable());
    if usize::from(length) + 2 != current.len() {
        return Err(Sense::invalid_field_in_parameter_list(at + 1, None));
    }
    let bytes = reader.slice(current.len())?;
    // The first two bytes are the header, in which PS is reserved.
    let fixed = bytes.iter().zip(&current).zip(&changeable).zip(at..).skip(2);
    for (((new, old), mask), at) in fixed {
        if (new ^ old) & !mask != 0 {
            return Err(Sense::invalid_field_in_parameter_list(at, None));
        }
    }
    page.apply(bytes, parameters);
    Ok(())
}

/// A parameter list and the place in it.
struct Reader<'a> {
    list: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn is_at_end(&self) -> bool {
        self.at >= self.list.len()
    }

    /// The place as a field pointer.
    fn field_pointer(&self) -> u16 {
        // A parameter list has at most 65535 bytes: PARAMETER LIST LENGTH has 16 bits.
        u16::try_from(self.at).unwrap_or(u16::MAX)
    }

    fn peek<const LENGTH: usize>(&self) -> Result<[u8; LENGTH], Sense> {
        let rest = self.list.get(self.at..).unwrap_or_default();
        rest.first_chunk().copied().ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Sense> {
        let array = self.peek()?;
        self.at += LENGTH;
        Ok(array)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Sense> {
        let rest = self.list.get(self.at..).unwrap_or_default();
        let slice = rest.get(..length).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        self.at += length;
        Ok(slice)
    }
}

/// SPF: the subpage format.
const SPF: u8 = 0x40;
