//! CDBs and parameter lists, as far as the device server goes without data.

use scsi::{
    BlockRange, Identity, Limits, ModePages, ModeParameters, NaaDesignator, ParameterKind, Plan,
    Rotation, TargetPort, UnitModel,
};
use units::{BlockCount, BlockSize};

/// Parses a CDB, and plans it for a small unit, a large one and none.
pub(crate) fn plans(data: &[u8]) {
    let Some(cdb) = data.first_chunk::<16>() else { return };
    let Ok(command) = scsi::parse(cdb) else { return };
    scsi::plan_without_logical_unit(&command);
    for lu in logical_units() {
        check(&scsi::plan(&command, &lu), &lu);
    }
}

/// A CDB that announces a parameter list, then a list that need not be what it announces.
pub(crate) fn parameter_lists(data: &[u8]) {
    let Some((cdb, list)) = data.split_first_chunk::<16>() else { return };
    for lu in logical_units() {
        let planned = scsi::parse(cdb).map(|command| scsi::plan(&command, &lu));
        let kind = match planned {
            Ok(Plan::Parameters { kind, .. }) => kind,
            _ => ParameterKind::Unmap,
        };
        check(&scsi::parameters(&kind, list, &lu), &lu);
    }
}

/// Every extent of a plan is inside of the logical unit and not empty.
fn check(plan: &Plan, lu: &UnitModel) {
    let inside = |extent: &BlockRange| {
        assert!(extent.blocks.0 > 0, "an empty extent in {plan:?}");
        assert!(lu.contains(*extent), "an extent outside of the unit in {plan:?}");
    };
    match plan {
        Plan::AtomicUpdate { extent, .. }
        | Plan::Read { extent, .. }
        | Plan::Verify { extent, .. }
        | Plan::Write { extent, .. }
        | Plan::WriteAndVerify { extent, .. }
        | Plan::WriteSame { extent, .. } => inside(extent),
        Plan::Unmap(extents) => extents.iter().for_each(inside),
        Plan::DataIn(bytes) => assert!(bytes.len() <= 1 << 20, "data-in of {}", bytes.len()),
        _ => {}
    }
}

fn logical_units() -> [UnitModel; 2] {
    let small = logical_unit(BlockSize::B512, 8);
    let mut large = logical_unit(BlockSize::B4096, 1 << 40);
    large.thin = true;
    large.reads_zero_after_unmap = true;
    [small, large]
}

fn logical_unit(block_size: BlockSize, blocks: u64) -> UnitModel {
    let mode = ModeParameters { write_cache: true, ..ModeParameters::default() };
    UnitModel {
        identity: Identity {
            vendor: *b"POLLUX  ",
            product: *b"FUZZ            ",
            revision: *b"0001",
            serial: "serial".to_owned(),
            naa: NaaDesignator::LocallyAssigned([0x31; 8]),
        },
        block_size,
        blocks: BlockCount(blocks),
        physical_block_exponent: 0,
        lowest_aligned_lba: 0,
        limits: Limits::new(block_size, 0),
        thin: false,
        reads_zero_after_unmap: false,
        rotation: Rotation::NonRotating,
        read_only: false,
        mode: ModePages { current: mode, default: mode, write_cache_changeable: true },
        target_port: TargetPort {
            device_name: "iqn.2026-11.example:fuzz".to_owned(),
            name: "iqn.2026-11.example:fuzz,t,0x0001".to_owned(),
            relative_port: 1,
            port_group: 1,
        },
    }
}
