//! Vital product data pages (SPC-4 and SBC-3, vital product data parameters).

use units::{len_u8, len_u16, limits};

use crate::inquiry::{DIRECT_ACCESS_BLOCK_DEVICE, NO_DEVICE};
use crate::sense::Sense;
use crate::unit_model::{NaaDesignator, Rotation, UnitModel};

/// One page with its header.
///
/// # Errors
/// INVALID FIELD IN CDB for a page that there is not.
pub(crate) fn page(page: u8, lu: &UnitModel) -> Result<Vec<u8>, Sense> {
    let body = match page {
        SUPPORTED_PAGES => PAGES.to_vec(),
        UNIT_SERIAL_NUMBER => serial(lu).to_vec(),
        DEVICE_IDENTIFICATION => designators(lu),
        EXTENDED_INQUIRY_DATA => extended_inquiry_data(lu),
        BLOCK_LIMITS => block_limits(lu),
        BLOCK_DEVICE_CHARACTERISTICS => block_device_characteristics(lu),
        LOGICAL_BLOCK_PROVISIONING => logical_block_provisioning(lu),
        _ => return Err(NO_SUCH_PAGE),
    };
    Ok(with_header(DIRECT_ACCESS_BLOCK_DEVICE, page, &body))
}

/// What a LUN without a logical unit answers: that it has only the list of its pages.
pub(crate) fn page_without_logical_unit(page: u8) -> Result<Vec<u8>, Sense> {
    match page {
        SUPPORTED_PAGES => Ok(with_header(NO_DEVICE, page, &[SUPPORTED_PAGES])),
        _ => Err(NO_SUCH_PAGE),
    }
}

fn with_header(peripheral: u8, page: u8, body: &[u8]) -> Vec<u8> {
    // Every page is far below 64 KiB: the strings in it are cut, the rest has a fixed size.
    let length = len_u16(body.len());
    let [high, low] = length.to_be_bytes();
    let mut data = vec![peripheral, page, high, low];
    data.extend_from_slice(body);
    data
}

/// The serial number, cut so that it also fits into a designator.
fn serial(lu: &UnitModel) -> &[u8] {
    let serial = lu.identity.serial.as_bytes();
    serial.get(..SERIAL_BYTES_MAX).unwrap_or(serial)
}

/// Device Identification (SPC-4): first what names the logical unit, then what names the port,
/// then what names the target.
fn designators(lu: &UnitModel) -> Vec<u8> {
    let mut list = Vec::new();
    let naa: &[u8] = match &lu.identity.naa {
        NaaDesignator::LocallyAssigned(name) => &with_naa(*name, 0x3),
        NaaDesignator::RegisteredExtended(name) => &with_naa(*name, 0x6),
    };
    designator(&mut list, [BINARY, NAA], naa);
    // Vendor, product and serial number make the vendor specific identifier unique, as
    // SPC-4 recommends.
    let mut t10 = lu.identity.vendor.to_vec();
    t10.extend_from_slice(&lu.identity.product);
    t10.extend_from_slice(serial(lu));
    designator(&mut list, [ASCII, T10_VENDOR_ID], &t10);
    let port = &lu.target_port;
    let relative_port = port.relative_port.to_be_bytes();
    let port_group = port.port_group.to_be_bytes();
    designator(
        &mut list,
        [ISCSI | BINARY, PIV | TARGET_PORT | RELATIVE_TARGET_PORT],
        &[0, 0, relative_port[0], relative_port[1]],
    );
    designator(
        &mut list,
        [ISCSI | BINARY, PIV | TARGET_PORT | TARGET_PORT_GROUP],
        &[0, 0, port_group[0], port_group[1]],
    );
    let port_name = scsi_name(&port.name);
    designator(&mut list, [ISCSI | UTF_8, PIV | TARGET_PORT | SCSI_NAME], &port_name);
    let device_name = scsi_name(&port.device_name);
    designator(&mut list, [ISCSI | UTF_8, PIV | TARGET_DEVICE | SCSI_NAME], &device_name);
    list
}

/// One designation descriptor: PROTOCOL IDENTIFIER and CODE SET, PIV with ASSOCIATION and
/// DESIGNATOR TYPE, then the designator (SPC-4, designation descriptor).
fn designator(list: &mut Vec<u8>, kind: [u8; 2], designator: &[u8]) {
    list.extend_from_slice(&[kind[0], kind[1], 0, len_u8(designator.len())]);
    list.extend_from_slice(designator);
}

/// The name with its NAA field put right.
fn with_naa<const LENGTH: usize>(mut name: [u8; LENGTH], naa: u8) -> [u8; LENGTH] {
    if let Some(first) = name.first_mut() {
        *first = (naa << 4) | (*first & 0x0f);
    }
    name
}

/// A SCSI name string: ends with a null, filled up to a multiple of four bytes (SPC-4, SCSI name
/// string designator format). A name is cut so that this holds within the 252 bytes that fit.
fn scsi_name(name: &str) -> Vec<u8> {
    let mut cut = name.len().min(SCSI_NAME_BYTES_MAX - 1);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut bytes = name.as_bytes().get(..cut).unwrap_or_default().to_vec();
    bytes.resize((cut + 1).next_multiple_of(4), 0);
    bytes
}

/// Extended INQUIRY Data (SPC-4).
fn extended_inquiry_data(lu: &UnitModel) -> Vec<u8> {
    let mut body = vec![0; LONG_PAGE_BYTES];
    body[1] = 0x07; // HEADSUP, ORDSUP, SIMPSUP: task attributes
    body[2] = u8::from(lu.mode.has_volatile_cache()); // V_SUP
    body
}

/// Block Limits (SBC-3). Bytes are counted without the four of the header.
fn block_limits(lu: &UnitModel) -> Vec<u8> {
    let limits = &lu.limits;
    // Only a unit with UNMAP reports its limits.
    let unmap = |value: u32| if lu.thin { value } else { 0 };
    let alignment = limits.unmap_alignment.map_or(0, |blocks| UGAVALID | (blocks & !UGAVALID));
    let mut body = vec![u8::from(limits.write_same_needs_length)];
    body.push(limits.compare_and_write_blocks_max);
    body.extend_from_slice(&limits.optimal_transfer_granularity.to_be_bytes());
    body.extend_from_slice(&limits.transfer_blocks_max.to_be_bytes());
    body.extend_from_slice(&limits.optimal_transfer_blocks.to_be_bytes());
    body.extend_from_slice(&[0; 4]); // MAXIMUM PREFETCH LENGTH: no limit
    body.extend_from_slice(&unmap(limits.unmap_blocks_max).to_be_bytes());
    body.extend_from_slice(&unmap(limits.unmap_descriptors_max).to_be_bytes());
    body.extend_from_slice(&unmap(limits.unmap_granularity).to_be_bytes());
    body.extend_from_slice(&unmap(alignment).to_be_bytes());
    body.extend_from_slice(&limits.write_same_blocks_max.to_be_bytes());
    body.resize(LONG_PAGE_BYTES, 0);
    body
}

/// Block Device Characteristics (SBC-3).
fn block_device_characteristics(lu: &UnitModel) -> Vec<u8> {
    let rate: u16 = match lu.rotation {
        Rotation::NotReported => 0x0000,
        Rotation::NonRotating => 0x0001,
        Rotation::PerMinute(rate) => rate,
    };
    let mut body = rate.to_be_bytes().to_vec();
    body.resize(LONG_PAGE_BYTES, 0);
    body
}

/// Logical Block Provisioning (SBC-3).
fn logical_block_provisioning(lu: &UnitModel) -> Vec<u8> {
    if !lu.thin {
        return vec![0; 4]; // PROVISIONING TYPE 000b: fully provisioned
    }
    let lbprz = u8::from(lu.reads_zero_after_unmap) << 2;
    // LBPU, LBPWS, LBPWS10; PROVISIONING TYPE 010b: thin
    vec![0x00, 0xe0 | lbprz, 0x02, 0x00]
}

const NO_SUCH_PAGE: Sense = Sense::invalid_field_in_cdb(2, None);

/// The page codes, ascending as SPC-4 wants them.
const PAGES: [u8; 7] = [
    SUPPORTED_PAGES,
    UNIT_SERIAL_NUMBER,
    DEVICE_IDENTIFICATION,
    EXTENDED_INQUIRY_DATA,
    BLOCK_LIMITS,
    BLOCK_DEVICE_CHARACTERISTICS,
    LOGICAL_BLOCK_PROVISIONING,
];
const SUPPORTED_PAGES: u8 = 0x00;
const UNIT_SERIAL_NUMBER: u8 = 0x80;
const DEVICE_IDENTIFICATION: u8 = 0x83;
const EXTENDED_INQUIRY_DATA: u8 = 0x86;
const BLOCK_LIMITS: u8 = 0xb0;
const BLOCK_DEVICE_CHARACTERISTICS: u8 = 0xb1;
const LOGICAL_BLOCK_PROVISIONING: u8 = 0xb2;

/// PROTOCOL IDENTIFIER of iSCSI (SPC-4), in the upper half of the first byte.
const ISCSI: u8 = 0x50;
/// CODE SET (SPC-4).
const BINARY: u8 = 0x01;
const ASCII: u8 = 0x02;
const UTF_8: u8 = 0x03;
/// PIV: the protocol identifier is valid.
const PIV: u8 = 0x80;
/// ASSOCIATION (SPC-4); that with the logical unit is zero.
const TARGET_PORT: u8 = 0x10;
const TARGET_DEVICE: u8 = 0x20;
/// DESIGNATOR TYPE (SPC-4).
const T10_VENDOR_ID: u8 = 0x01;
const NAA: u8 = 0x03;
const RELATIVE_TARGET_PORT: u8 = 0x04;
const TARGET_PORT_GROUP: u8 = 0x05;
const SCSI_NAME: u8 = 0x08;

/// A designator of vendor, product and serial number has at most 255 bytes.
const SERIAL_BYTES_MAX: usize = 220;
/// The greatest multiple of four that the length byte of a designator can say.
const SCSI_NAME_BYTES_MAX: usize = 252;
// A name of the longest kind fits, with the portal group tag behind it.
const _: () = assert!(limits::ISCSI_NAME_BYTES_MAX + ",t,0xffff\0".len() <= SCSI_NAME_BYTES_MAX);

/// UGAVALID in front of the UNMAP GRANULARITY ALIGNMENT.
const UGAVALID: u32 = 1 << 31;
/// PAGE LENGTH 003Ch of the pages 86h, B0h and B1h.
const LONG_PAGE_BYTES: usize = 0x3c;
