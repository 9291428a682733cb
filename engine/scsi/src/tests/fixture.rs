//! One logical unit of 1 MiB, and shorthand for the way from a CDB to a plan.

use units::{BlockCount, BlockSize, Lba};

use crate::{
    BlockRange, Identity, Limits, ModePages, ModeParameters, NaaDesignator, Plan, Rotation, Sense,
    TargetPort, UnitModel, parse, plan,
};

/// 2048 blocks of 512 bytes, thinly provisioned, with small limits that tests can reach.
pub(super) fn logical_unit() -> UnitModel {
    UnitModel {
        identity: Identity {
            vendor: *b"POLLUX  ",
            product: *b"DISK            ",
            revision: *b"0001",
            serial: "0123456789ab".to_owned(),
            naa: NaaDesignator::RegisteredExtended([
                0x60, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d,
                0x0e, 0x0f,
            ]),
        },
        block_size: BlockSize::B512,
        blocks: BlockCount(2048),
        physical_block_exponent: 3,
        lowest_aligned_lba: 0,
        limits: Limits {
            optimal_transfer_granularity: 8,
            transfer_blocks_max: 1024,
            optimal_transfer_blocks: 512,
            unmap_blocks_max: 1000,
            unmap_descriptors_max: 4,
            unmap_granularity: 8,
            unmap_alignment: Some(0),
            write_same_blocks_max: 256,
            write_same_needs_length: true,
            compare_and_write_blocks_max: 16,
        },
        thin: true,
        reads_zero_after_unmap: true,
        rotation: Rotation::NonRotating,
        read_only: false,
        mode: ModePages {
            current: ModeParameters { write_cache: true, ..ModeParameters::default() },
            default: ModeParameters { write_cache: true, ..ModeParameters::default() },
            write_cache_changeable: true,
        },
        target_port: TargetPort {
            device_name: "iqn.2020-01.example:disk".to_owned(),
            name: "iqn.2020-01.example:disk,t,0x0001".to_owned(),
            relative_port: 1,
            port_group: 2,
        },
    }
}

/// The CDB of these bytes, filled up with zeros.
pub(super) fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

/// What the logical unit does with a CDB.
pub(super) fn run(bytes: &[u8], lu: &UnitModel) -> Plan {
    match parse(&cdb(bytes)) {
        Ok(command) => plan(&command, lu),
        Err(sense) => Plan::CheckCondition(sense),
    }
}

/// The parameter data that answer a CDB.
pub(super) fn data(bytes: &[u8], lu: &UnitModel) -> Vec<u8> {
    let plan = run(bytes, lu);
    let Plan::DataIn(data) = plan else {
        panic!("{bytes:02x?} is answered with {plan:?}");
    };
    data
}

/// Sense key, ASC and ASCQ with which a CDB is refused.
pub(super) fn refusal(bytes: &[u8], lu: &UnitModel) -> (u8, u8, u8) {
    refusal_of(&run(bytes, lu))
}

/// Sense key, ASC and ASCQ of a plan that refuses.
pub(super) fn refusal_of(plan: &Plan) -> (u8, u8, u8) {
    let Plan::CheckCondition(sense) = plan else {
        panic!("not refused but {plan:?}");
    };
    codes(*sense)
}

pub(super) fn codes(sense: Sense) -> (u8, u8, u8) {
    (sense.key as u8, sense.asc, sense.ascq)
}

pub(super) fn extent(lba: u64, blocks: u64) -> BlockRange {
    BlockRange { lba: Lba(lba), blocks: BlockCount(blocks) }
}

pub(super) const INVALID_OPERATION_CODE: (u8, u8, u8) = (0x5, 0x20, 0x00);
pub(super) const OUT_OF_RANGE: (u8, u8, u8) = (0x5, 0x21, 0x00);
pub(super) const INVALID_FIELD_IN_CDB: (u8, u8, u8) = (0x5, 0x24, 0x00);
pub(super) const INVALID_FIELD_IN_LIST: (u8, u8, u8) = (0x5, 0x26, 0x00);
pub(super) const LIST_LENGTH: (u8, u8, u8) = (0x5, 0x1a, 0x00);
