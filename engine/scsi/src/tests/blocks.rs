//! Commands that move or check logical blocks.

use units::{BlockSize, Lba};

use super::fixture::{
    INVALID_FIELD_IN_CDB, INVALID_OPERATION_CODE, OUT_OF_RANGE, cdb, codes, extent, logical_unit,
    refusal, run,
};
use crate::{AtomicUpdate, Command, MediumAccess, Plan, Transfer, UpdateKind, VerifyBytes, parse};

#[test]
fn read_fields_are_where_the_standard_puts_them() {
    let plain = |lba, blocks| {
        Ok(Command::Read(MediumAccess { extent: extent(lba, blocks), fua: false, dpo: false }))
    };
    assert_eq!(parse(&cdb(&[0x08, 0x1f, 0xff, 0xfe, 7, 0])), plain(0x1f_fffe, 7));
    assert_eq!(parse(&cdb(&[0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0])), plain(0x0102_0304, 0x0506));
    assert_eq!(
        parse(&cdb(&[0xa8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0])),
        plain(0x0102_0304, 0x0506_0708)
    );
    assert_eq!(
        parse(&cdb(&[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0])),
        plain(0x0102_0304_0506_0708, 0x090a_0b0c)
    );
}

#[test]
fn a_six_byte_transfer_length_of_zero_is_256_blocks() {
    let lu = logical_unit();
    let read = Plan::Read { extent: extent(3, 256), fua: false, dpo: false };
    assert_eq!(run(&[0x08, 0, 0, 3, 0, 0], &lu), read);
    let write = Plan::Write { extent: extent(3, 256), fua: false, dpo: false };
    assert_eq!(run(&[0x0a, 0, 0, 3, 0, 0], &lu), write);
}

#[test]
fn fua_and_dpo_reach_the_plan() {
    let lu = logical_unit();
    let write = |flags| run(&[0x2a, flags, 0, 0, 0, 0, 0, 0, 1, 0], &lu);
    let plan = |fua, dpo| Plan::Write { extent: extent(0, 1), fua, dpo };
    assert_eq!(write(0x00), plan(false, false));
    assert_eq!(write(0x08), plan(true, false));
    assert_eq!(write(0x10), plan(false, true));
    // FUA_NV is ignored.
    assert_eq!(write(0x1a), plan(true, true));
}

#[test]
fn protection_fields_must_be_zero() {
    let lu = logical_unit();
    for code in
        [0x28, 0x2a, 0x2e, 0x2f, 0x41, 0x88, 0x89, 0x8a, 0x8e, 0x8f, 0x93, 0xa8, 0xaa, 0xae, 0xaf]
    {
        for protect in [0x20, 0x40, 0x60, 0x80, 0xe0] {
            assert_eq!(refusal(&[code, protect], &lu), INVALID_FIELD_IN_CDB, "{code:02x}");
        }
    }
}

#[test]
fn the_group_number_is_ignored() {
    let lu = logical_unit();
    let read = Plan::Read { extent: extent(0, 1), fua: false, dpo: false };
    assert_eq!(run(&[0x28, 0, 0, 0, 0, 0, 0x1f, 0, 1, 0], &lu), read);
}

#[test]
fn the_last_block_is_inside_and_the_next_is_not() {
    let lu = logical_unit();
    let read = Plan::Read { extent: extent(2047, 1), fua: false, dpo: false };
    assert_eq!(run(&[0x28, 0, 0, 0, 0x07, 0xff, 0, 0, 1, 0], &lu), read);
    for code in [0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35, 0x41] {
        assert_eq!(refusal(&[code, 0, 0, 0, 0x07, 0xff, 0, 0, 2, 0], &lu), OUT_OF_RANGE);
        assert_eq!(refusal(&[code, 0, 0, 0, 0x08, 0x00, 0, 0, 1, 0], &lu), OUT_OF_RANGE);
        assert_eq!(refusal(&[code, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0], &lu), OUT_OF_RANGE);
    }
    assert_eq!(refusal(&[0x08, 0, 0x07, 0xff, 2, 0], &lu), OUT_OF_RANGE);
    assert_eq!(refusal(&[0x0a, 0, 0x07, 0xff, 2, 0], &lu), OUT_OF_RANGE);
}

#[test]
fn a_range_that_passes_64_bits_is_out_of_range() {
    let lu = logical_unit();
    for code in [0x88, 0x8a, 0x8e, 0x8f, 0x90, 0x91, 0x93] {
        let mut bytes = [0xff_u8; 16];
        (bytes[0], bytes[1], bytes[14], bytes[15]) = (code, 0, 0, 0);
        assert_eq!(refusal(&bytes, &lu), OUT_OF_RANGE, "{code:02x}");
    }
}

#[test]
fn zero_blocks_are_good_up_to_the_capacity_and_out_of_range_behind_it() {
    let lu = logical_unit();
    for code in [0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35] {
        assert_eq!(run(&[code, 0, 0, 0, 0x08, 0x00, 0, 0, 0, 0], &lu), Plan::Good, "{code:02x}");
        assert_eq!(refusal(&[code, 0, 0, 0, 0x08, 0x01, 0, 0, 0, 0], &lu), OUT_OF_RANGE);
        assert_eq!(refusal(&[code, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], &lu), OUT_OF_RANGE);
    }
    for code in [0x28, 0x2a, 0x2e, 0x2f, 0x34] {
        assert_eq!(run(&[code, 0, 0, 0, 0, 0, 0, 0, 0, 0], &lu), Plan::Good, "{code:02x}");
    }
}

#[test]
fn a_transfer_may_be_as_long_as_block_limits_says() {
    let lu = logical_unit();
    for code in [0x28, 0x2a, 0x2e, 0x2f] {
        let longest = [code, 0, 0, 0, 0, 0, 0, 0x04, 0x00, 0];
        assert!(!matches!(run(&longest, &lu), Plan::CheckCondition(_)), "{code:02x}");
        let longer = [code, 0, 0, 0, 0, 0, 0, 0x04, 0x01, 0];
        assert_eq!(refusal(&longer, &lu), INVALID_FIELD_IN_CDB, "{code:02x}");
    }
}

#[test]
fn the_range_is_checked_before_the_length() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x28, 0, 0, 0, 0x07, 0xff, 0, 0xff, 0xff, 0], &lu), OUT_OF_RANGE);
}

#[test]
fn byte_check_says_what_verify_compares() {
    let lu = logical_unit();
    let verify = |byte| run(&[0x2f, byte, 0, 0, 0, 0, 0, 0, 4, 0], &lu);
    let plan = |bytes, dpo| Plan::Verify { extent: extent(0, 4), bytes, dpo };
    assert_eq!(verify(0x00), plan(VerifyBytes::None, false));
    assert_eq!(verify(0x02), plan(VerifyBytes::Compare, false));
    assert_eq!(verify(0x16), plan(VerifyBytes::CompareOneBlock, true));
    assert_eq!(refusal(&[0x2f, 0x04, 0, 0, 0, 0, 0, 0, 4, 0], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn write_and_verify_compares_with_nothing_or_with_everything() {
    let lu = logical_unit();
    let plan = |bytes| Plan::WriteAndVerify { extent: extent(0, 4), bytes, dpo: false };
    assert_eq!(run(&[0x2e, 0x00, 0, 0, 0, 0, 0, 0, 4, 0], &lu), plan(VerifyBytes::None));
    assert_eq!(run(&[0x2e, 0x02, 0, 0, 0, 0, 0, 0, 4, 0], &lu), plan(VerifyBytes::Compare));
    assert_eq!(refusal(&[0x2e, 0x04, 0, 0, 0, 0, 0, 0, 4, 0], &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&[0x2e, 0x06, 0, 0, 0, 0, 0, 0, 4, 0], &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn compare_and_write_keeps_to_its_limit() {
    let mut lu = logical_unit();
    let bytes = |blocks| [0x89, 0x08, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, blocks, 0, 0];
    let kind = UpdateKind::CompareAndWrite;
    let longest = Plan::AtomicUpdate { kind, extent: extent(1, 16), fua: true, dpo: false };
    assert_eq!(run(&bytes(16), &lu), longest);
    assert_eq!(refusal(&bytes(17), &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(run(&bytes(0), &lu), Plan::Good);
    let behind_the_last = [0x89, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0, 0, 2, 0, 0];
    assert_eq!(refusal(&behind_the_last, &lu), OUT_OF_RANGE);
    lu.limits.compare_and_write_blocks_max = 0;
    assert_eq!(refusal(&bytes(1), &lu), INVALID_OPERATION_CODE);
}

#[test]
fn or_write_fields_are_those_of_write_16() {
    let or_write = |extent, fua, dpo| {
        let access = MediumAccess { extent, fua, dpo };
        Ok(Command::AtomicUpdate(AtomicUpdate { kind: UpdateKind::OrWrite, access }))
    };
    assert_eq!(
        parse(&cdb(&[0x8b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0])),
        or_write(extent(0x0102_0304_0506_0708, 0x090a_0b0c), false, false)
    );
    let flags = |byte| parse(&cdb(&[0x8b, byte, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]));
    assert_eq!(flags(0x10), or_write(extent(1, 2), false, true));
    assert_eq!(flags(0x08), or_write(extent(1, 2), true, false));
    assert_eq!(flags(0x20).map_err(codes), Err(INVALID_FIELD_IN_CDB));
}

#[test]
fn or_write_takes_at_most_one_burst() {
    let mut lu = logical_unit();
    let bytes = |blocks: u16| {
        let [high, low] = blocks.to_be_bytes();
        [0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, high, low, 0, 0]
    };
    let plan =
        |extent| Plan::AtomicUpdate { kind: UpdateKind::OrWrite, extent, fua: true, dpo: false };
    assert_eq!(run(&bytes(512), &lu), plan(extent(1, 512)));
    assert_eq!(refusal(&bytes(513), &lu), INVALID_FIELD_IN_CDB);
    assert_eq!(refusal(&bytes(2048), &lu), OUT_OF_RANGE);
    assert_eq!(run(&bytes(0), &lu), Plan::Good);
    lu.block_size = BlockSize::B4096;
    assert_eq!(run(&bytes(64), &lu), plan(extent(1, 64)));
    assert_eq!(refusal(&bytes(65), &lu), INVALID_FIELD_IN_CDB);
}

#[test]
fn writes_to_a_read_only_unit_are_refused() {
    let mut lu = logical_unit();
    lu.read_only = true;
    for code in [0x0a, 0x2a, 0x2e, 0x41, 0x42, 0x89, 0x8a, 0x8b, 0x8e, 0x93, 0xaa, 0xae] {
        assert_eq!(refusal(&[code], &lu), (0x7, 0x27, 0x00), "{code:02x}");
    }
    for code in [0x28, 0x2f] {
        assert_eq!(run(&[code], &lu), Plan::Good, "{code:02x}");
    }
}

#[test]
fn software_write_protect_has_a_code_of_its_own() {
    let mut lu = logical_unit();
    lu.mode.current.software_write_protect = true;
    assert_eq!(refusal(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &lu), (0x7, 0x27, 0x02));
}

#[test]
fn synchronize_cache_of_zero_blocks_reaches_to_the_end() {
    let lu = logical_unit();
    let flush = |extent, immediate| Plan::SynchronizeCache { extent, immediate };
    assert_eq!(run(&[0x35], &lu), flush(extent(0, 2048), false));
    assert_eq!(run(&[0x35, 0x02, 0, 0, 0, 9, 0, 0, 0, 0], &lu), flush(extent(9, 2039), true));
    assert_eq!(run(&[0x35, 0, 0, 0, 0, 9, 0, 0, 3, 0], &lu), flush(extent(9, 3), false));
    let sixteen = [0x91, 0x02, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0];
    assert_eq!(run(&sixteen, &lu), flush(extent(9, 3), true));
}

#[test]
fn pre_fetch_does_not_promise_that_the_blocks_are_cached() {
    let lu = logical_unit();
    for flags in [0x00, 0x02] {
        assert_eq!(run(&[0x34, flags, 0, 0, 0, 0, 3, 0, 1, 0], &lu), Plan::Good);
    }
    assert_eq!(run(&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0], &lu), Plan::Good);
}

#[test]
fn stopping_the_unit_flushes_its_cache() {
    let lu = logical_unit();
    let flush = |immediate| Plan::SynchronizeCache { extent: extent(0, 2048), immediate };
    assert_eq!(run(&[0x1b, 0, 0, 0, 0x00, 0], &lu), flush(false));
    assert_eq!(run(&[0x1b, 1, 0, 0, 0x00, 0], &lu), flush(true));
    // NO_FLUSH, and START.
    assert_eq!(run(&[0x1b, 0, 0, 0, 0x04, 0], &lu), Plan::Good);
    assert_eq!(run(&[0x1b, 0, 0, 0, 0x01, 0], &lu), Plan::Good);
}

#[test]
fn a_fixed_medium_is_not_ejected_nor_put_to_sleep() {
    let lu = logical_unit();
    assert_eq!(refusal(&[0x1b, 0, 0, 0, 0x02, 0], &lu), INVALID_FIELD_IN_CDB);
    for power_condition in [0x2, 0x3, 0x4, 0x5, 0x6, 0x8, 0x9, 0xa, 0xb, 0xc, 0xf] {
        let bytes = [0x1b, 0, 0, 0, power_condition << 4, 0];
        assert_eq!(refusal(&bytes, &lu), INVALID_FIELD_IN_CDB, "{power_condition:x}");
    }
    // ACTIVE and LU_CONTROL: START and LOEJ are ignored.
    assert_eq!(run(&[0x1b, 0, 0, 0, 0x12, 0], &lu), Plan::Good);
    assert_eq!(run(&[0x1b, 0, 0, 0, 0x72, 0], &lu), Plan::Good);
}

#[test]
fn get_lba_status_starts_at_a_block() {
    let lu = logical_unit();
    let bytes = |lba: u16| {
        let [high, low] = lba.to_be_bytes();
        [0x9e, 0x12, 0, 0, 0, 0, 0, 0, high, low, 0, 0, 0, 24, 0, 0]
    };
    let plan = Plan::GetLbaStatus { lba: Lba(2047), allocation_length: 24 };
    assert_eq!(run(&bytes(2047), &lu), plan);
    assert_eq!(refusal(&bytes(2048), &lu), OUT_OF_RANGE);
    assert_eq!(refusal(&bytes(2049), &lu), OUT_OF_RANGE);
}

#[test]
fn the_transfer_of_a_command_is_what_its_cdb_says() {
    let transfer = |bytes: &[u8]| match parse(&cdb(bytes)) {
        Ok(command) => command.transfer(BlockSize::B4096),
        Err(sense) => panic!("{bytes:02x?} is refused with {sense:?}"),
    };
    assert_eq!(transfer(&[0x00]), Transfer::None);
    assert_eq!(transfer(&[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0]), Transfer::In(8192));
    assert_eq!(transfer(&[0x28]), Transfer::None);
    assert_eq!(transfer(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0]), Transfer::Out(8192));
    assert_eq!(transfer(&[0x0a]), Transfer::Out(1_048_576));
    // VERIFY with BYTCHK 00b, 01b and 11b.
    assert_eq!(transfer(&[0x2f, 0x00, 0, 0, 0, 0, 0, 0, 2, 0]), Transfer::None);
    assert_eq!(transfer(&[0x2f, 0x02, 0, 0, 0, 0, 0, 0, 2, 0]), Transfer::Out(8192));
    assert_eq!(transfer(&[0x2f, 0x06, 0, 0, 0, 0, 0, 0, 2, 0]), Transfer::Out(4096));
    // COMPARE AND WRITE sends twice the blocks.
    let compare_and_write = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(transfer(&compare_and_write), Transfer::Out(16384));
    assert_eq!(transfer(&[0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]), Transfer::Out(8192));
    // WRITE SAME sends one block, or none with NDOB.
    let write_same = |flags| [0x93, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(transfer(&write_same(0x00)), Transfer::Out(4096));
    assert_eq!(transfer(&write_same(0x01)), Transfer::None);
    assert_eq!(transfer(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]), Transfer::Out(24));
    assert_eq!(transfer(&[0x55, 0x10, 0, 0, 0, 0, 0, 1, 2, 0]), Transfer::Out(258));
    assert_eq!(transfer(&[0x12, 0, 0, 1, 2, 0]), Transfer::In(258));
    assert_eq!(transfer(&[0x25]), Transfer::In(8));
    assert_eq!(transfer(&[0xa0, 0, 0, 0, 0, 0, 0, 1, 0, 0]), Transfer::In(65536));
    // The greatest transfer there is: 2^32 - 1 blocks.
    let greatest = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(transfer(&greatest), Transfer::In(17_592_186_040_320));
}
