//! Command descriptor blocks of SPC-4 and SBC-3, byte by byte.

/// TEST UNIT READY (SPC-4 6.47).
pub fn test_unit_ready() -> [u8; 16] {
    [0; 16]
}

/// REQUEST SENSE (SPC-4 6.39).
pub fn request_sense(allocation_length: u8) -> [u8; 16] {
    block(&[0x03, 0, 0, 0, allocation_length, 0])
}

/// INQUIRY for standard data (SPC-4 6.4).
pub fn inquiry(allocation_length: u16) -> [u8; 16] {
    let [high, low] = allocation_length.to_be_bytes();
    block(&[0x12, 0, 0, high, low, 0])
}

/// INQUIRY for a vital product data page (SPC-4 6.4).
pub fn inquiry_page(page_code: u8, allocation_length: u16) -> [u8; 16] {
    let [high, low] = allocation_length.to_be_bytes();
    block(&[0x12, 0x01, page_code, high, low, 0])
}

/// REPORT LUNS of all logical units (SPC-4 6.33).
pub fn report_luns(allocation_length: u32) -> [u8; 16] {
    let mut cdb = block(&[0xa0]);
    cdb[6..10].copy_from_slice(&allocation_length.to_be_bytes());
    cdb
}

/// READ CAPACITY (16) (SBC-3 5.16).
pub fn read_capacity_16(allocation_length: u32) -> [u8; 16] {
    let mut cdb = block(&[0x9e, 0x10]);
    cdb[10..14].copy_from_slice(&allocation_length.to_be_bytes());
    cdb
}

/// READ (10) (SBC-3 5.11).
pub fn read_10(lba: u32, blocks: u16) -> [u8; 16] {
    ten(0x28, 0, lba, blocks)
}

/// READ (16) (SBC-3 5.13).
pub fn read_16(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x88, 0, lba, blocks)
}

/// WRITE (10) (SBC-3 5.29).
pub fn write_10(lba: u32, blocks: u16) -> [u8; 16] {
    ten(0x2a, 0, lba, blocks)
}

/// WRITE (16) (SBC-3 5.31).
pub fn write_16(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x8a, 0, lba, blocks)
}

/// WRITE (16) with FUA: GOOD means that the data are on the medium (SBC-3 5.31).
pub fn write_16_fua(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x8a, 0x08, lba, blocks)
}

/// SYNCHRONIZE CACHE (10) of the whole medium (SBC-3 5.23).
pub fn synchronize_cache_10() -> [u8; 16] {
    ten(0x35, 0, 0, 0)
}

/// SYNCHRONIZE CACHE (16) of a range; a count of 0 reaches to the end (SBC-3 5.24).
pub fn synchronize_cache_16(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x91, 0, lba, blocks)
}

/// UNMAP with a parameter list of so many bytes (SBC-3 5.30).
pub fn unmap(list_length: u16) -> [u8; 16] {
    let [high, low] = list_length.to_be_bytes();
    block(&[0x42, 0, 0, 0, 0, 0, 0, high, low])
}

fn block(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

fn ten(operation_code: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 16] {
    let mut cdb = block(&[operation_code, flags]);
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn sixteen(operation_code: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = block(&[operation_code, flags]);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_16_with_fua_is_these_bytes() {
        assert_eq!(
            write_16_fua(0x0102_0304_0506_0708, 9),
            [0x8a, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0]
        );
    }

    #[test]
    fn read_10_is_these_bytes() {
        assert_eq!(read_10(0x0102_0304, 8)[..10], [0x28, 0, 1, 2, 3, 4, 0, 0, 8, 0]);
    }
}
