//! What holds for all bytes that an initiator can send.

use proptest::array::uniform16;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, proptest};
use proptest::sample::select;
use units::BlockSize;

use super::fixture::logical_unit;
use crate::{
    BlockRange, Command, Limits, ModeSelect, ParameterKind, Plan, Transfer, UnitModel, cdb_formats,
    parameters, parse, plan, plan_without_logical_unit,
};

/// CDBs of listed commands, in which all other bits are arbitrary.
fn listed_cdbs() -> impl Strategy<Value = [u8; 16]> {
    let codes: Vec<_> =
        cdb_formats().iter().map(|one| (one.operation_code(), one.service_action)).collect();
    (select(codes), uniform16(any::<u8>())).prop_map(|((code, service_action), mut cdb)| {
        cdb[0] = code;
        if let Some(service_action) = service_action {
            cdb[1] = (cdb[1] & 0xe0) | service_action;
        }
        cdb
    })
}

/// The extent that a plan lets the executor touch.
fn extents(plan: &Plan) -> Vec<BlockRange> {
    match plan {
        Plan::AtomicUpdate { extent, .. }
        | Plan::Read { extent, .. }
        | Plan::SynchronizeCache { extent, .. }
        | Plan::Verify { extent, .. }
        | Plan::Write { extent, .. }
        | Plan::WriteAndVerify { extent, .. }
        | Plan::WriteSame { extent, .. } => vec![*extent],
        Plan::Unmap(extents) => extents.clone(),
        Plan::CheckCondition(_)
        | Plan::DataIn(_)
        | Plan::GetLbaStatus { .. }
        | Plan::Good
        | Plan::ModeChange(_)
        | Plan::Parameters { .. }
        | Plan::Release
        | Plan::ReportLuns { .. }
        | Plan::RequestSense { .. }
        | Plan::Reserve => Vec::new(),
    }
}

fn stays_inside(plan: &Plan, lu: &UnitModel) -> bool {
    extents(plan).iter().all(|extent| extent.blocks.0 != 0 && lu.contains(*extent))
}

proptest! {
    #[test]
    fn no_plan_leaves_the_logical_unit(cdb in listed_cdbs(), blocks in any::<u64>()) {
        let lu = UnitModel {
            blocks: units::BlockCount(blocks),
            limits: Limits::new(BlockSize::B512, 3),
            ..logical_unit()
        };
        if let Ok(command) = parse(&cdb) {
            let plan = plan(&command, &lu);
            prop_assert!(stays_inside(&plan, &lu), "{plan:?}");
            // Without a logical unit nothing touches a medium at all.
            let absent = plan_without_logical_unit(&command);
            prop_assert!(extents(&absent).is_empty());
        }
    }

    #[test]
    fn no_cdb_makes_the_parser_panic(cdb in uniform16(any::<u8>())) {
        let _ = parse(&cdb);
    }

    #[test]
    fn parameter_data_keep_to_the_allocation_length(cdb in listed_cdbs()) {
        let lu = logical_unit();
        if let Ok(command) = parse(&cdb)
            && let Plan::DataIn(data) = plan(&command, &lu)
        {
            let length = data.len() as u64;
            match command.transfer(lu.block_size) {
                Transfer::In(bytes) => prop_assert!(length <= bytes),
                Transfer::None | Transfer::Out(_) => prop_assert!(length == 0),
            }
        }
    }

    #[test]
    fn no_parameter_list_leaves_the_logical_unit(
        list in vec(any::<u8>(), 0..200),
        ten_byte in any::<bool>(),
    ) {
        let lu = logical_unit();
        let plan = parameters(&ParameterKind::Unmap, &list, &lu);
        prop_assert!(stays_inside(&plan, &lu), "{plan:?}");
        let select = ModeSelect { ten_byte, parameter_list_length: 200 };
        let plan = parameters(&ParameterKind::ModeSelect(select), &list, &lu);
        prop_assert!(matches!(
            plan,
            Plan::Good | Plan::ModeChange(_) | Plan::CheckCondition(_)
        ));
    }
}

#[test]
fn a_command_is_a_copy_of_a_few_words() {
    const fn copies<T: Copy>() -> usize {
        size_of::<T>()
    }
    assert!(copies::<Command>() <= 40, "{}", copies::<Command>());
    assert!(size_of::<Plan>() <= 48, "{}", size_of::<Plan>());
}

#[test]
fn the_limits_of_both_block_sizes_fit_their_fields() {
    let small = Limits::new(BlockSize::B512, 3);
    assert_eq!(small.transfer_blocks_max, 65_536);
    assert_eq!(small.unmap_blocks_max, 1_048_576);
    assert_eq!(small.write_same_blocks_max, 65_536);
    assert_eq!(small.compare_and_write_blocks_max, 255);
    assert_eq!(small.optimal_transfer_granularity, 8);
    let large = Limits::new(BlockSize::B4096, 0);
    assert_eq!(large.transfer_blocks_max, 8192);
    assert_eq!(large.compare_and_write_blocks_max, 32);
    assert_eq!(large.unmap_granularity, 1);
}
