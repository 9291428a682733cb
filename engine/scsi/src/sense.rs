//! Sense data: why a command ended with CHECK CONDITION (SPC-4, sense data).
//!
//! A [`Sense`] is a value; [`SenseData`] is its wire form in one of the two formats. Both live
//! on the stack. The conditions that Pollux reports are named in `sense_codes`.

/// The sense keys of SPC-4 that Pollux reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// The medium failed, or the data on it is wrong.
    MediumError = 0x3,
    /// A non-recoverable failure of the hardware or its emulation.
    HardwareError = 0x4,
    /// The CDB or its parameter list asks for something illegal.
    IllegalRequest = 0x5,
    /// An event that was not yet reported to the initiator.
    UnitAttention = 0x6,
    /// The medium may not be written.
    DataProtect = 0x7,
    /// The device server aborted the command; it may be sent again.
    AbortedCommand = 0xb,
    /// The data of the initiator differ from the data on the medium.
    Miscompare = 0xe,
}

/// Which field of a CDB or a parameter list is in error (SPC-4, field pointer sense key specific
/// data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// Whether the field is in the CDB (C/D); otherwise it is in the parameter list.
    pub in_cdb: bool,
    /// The first byte of the field.
    pub byte: u16,
    /// The most significant bit of the field, if the field is smaller than a byte.
    pub bit: Option<u8>,
}

/// One reason for CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// The class of the condition.
    pub key: SenseKey,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
    /// INFORMATION: the first LBA in error, or the offset of a miscompare in bytes.
    pub information: Option<u64>,
    /// The field in error of an illegal request.
    pub field: Option<FieldPointer>,
}

/// The two formats of sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseFormat {
    /// Response code 72h (SPC-4, descriptor format sense data), chosen by D_SENSE or
    /// DESC.
    Descriptor,
    /// Response code 70h (SPC-4, fixed format sense data).
    Fixed,
}

/// Sense data as they go to the initiator, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenseData {
    bytes: [u8; SENSE_BYTES_MAX],
    length: usize,
}

impl SenseData {
    /// The bytes to send: at most 28, and so below the 252 that SPC-4 allows.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl Sense {
    /// A condition with nothing but its codes.
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, information: None, field: None }
    }

    /// The same condition with its INFORMATION field.
    #[must_use]
    pub const fn with_information(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// The wire form of the condition.
    pub fn data(&self, format: SenseFormat) -> SenseData {
        match format {
            SenseFormat::Descriptor => self.descriptor_format(),
            SenseFormat::Fixed => self.fixed_format(),
        }
    }

    /// SPC-4, fixed format sense data. An INFORMATION value that needs more than 32 bits cannot be
    /// reported here, so VALID stays zero for it.
    fn fixed_format(&self) -> SenseData {
        let information = self.information.and_then(|wide| u32::try_from(wide).ok());
        let mut bytes = [0; SENSE_BYTES_MAX];
        bytes[0] = 0x70 | (u8::from(information.is_some()) << 7);
        bytes[2] = self.key as u8;
        bytes[3..7].copy_from_slice(&information.unwrap_or(0).to_be_bytes());
        bytes[7] = 10; // ADDITIONAL SENSE LENGTH: what follows byte 7
        bytes[12] = self.asc;
        bytes[13] = self.ascq;
        bytes[15..18].copy_from_slice(&self.sense_key_specific());
        SenseData { bytes, length: 18 }
    }

    /// SPC-4, descriptor format sense data, with an information descriptor and a sense key
    /// specific descriptor where there is something to put into them.
    fn descriptor_format(&self) -> SenseData {
        let mut bytes = [0; SENSE_BYTES_MAX];
        bytes[0] = 0x72;
        bytes[1] = self.key as u8;
        bytes[2] = self.asc;
        bytes[3] = self.ascq;
        let mut length = 8;
        if let Some(information) = self.information {
            bytes[8..11].copy_from_slice(&[0x00, 0x0a, 0x80]);
            bytes[12..20].copy_from_slice(&information.to_be_bytes());
            length = 20;
        }
        if self.field.is_some() {
            let descriptor = if length == 8 { &mut bytes[8..16] } else { &mut bytes[20..28] };
            descriptor[..2].copy_from_slice(&[0x02, 0x06]);
            descriptor[4..7].copy_from_slice(&self.sense_key_specific());
            length += 8;
        }
        bytes[7] = units::len_u8(length - 8); // ADDITIONAL SENSE LENGTH: what follows byte 7
        SenseData { bytes, length }
    }

    /// The three bytes of the field pointer, or zeros, in which SKSV is zero too.
    fn sense_key_specific(&self) -> [u8; 3] {
        let Some(field) = self.field else { return [0; 3] };
        let bit = field.bit.map_or(0, |bit| 0x08 | (bit & 0x07));
        let [high, low] = field.byte.to_be_bytes();
        [0x80 | (u8::from(field.in_cdb) << 6) | bit, high, low]
    }
}

/// The parameter data of REQUEST SENSE (SPC-4), cut to the allocation length.
///
/// `pending` is what waits for the nexus: a unit attention, which the caller clears, or
/// LOGICAL UNIT NOT SUPPORTED for an absent logical unit. Without one the answer is NO SENSE.
pub fn request_sense(
    format: SenseFormat,
    pending: Option<Sense>,
    allocation_length: u8,
) -> Vec<u8> {
    let sense = pending.unwrap_or(Sense::NO_ADDITIONAL_SENSE_INFORMATION);
    let data = sense.data(format);
    data.as_bytes().iter().take(usize::from(allocation_length)).copied().collect()
}

/// Descriptor format with both descriptors: header 8, information 12, sense key specific 8.
const SENSE_BYTES_MAX: usize = 28;
