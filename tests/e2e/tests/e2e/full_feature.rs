//! Commands, numbering and requests in the full feature phase (RFC 7143 sections 4.2 and 11).

use std::time::Duration;

use e2e::{Outcome, Subject, inquiry_is_answered, pattern};
use initiator::pdu::{self, Pdu, opcode};
use initiator::{Command, Error, Residual, Session, cdb};

/// A NOP-Out that takes a place in the window.
fn numbered_ping(session: &mut Session) -> (u32, Pdu) {
    let tag = session.new_tag();
    (tag, pdu::nop_out(tag, b"numbered"))
}

/// Asserts that the session still answers.
fn assert_alive(session: &mut Session) {
    assert_eq!(session.ping(b"alive").expect("an answer to a ping"), b"alive");
}

#[test]
fn cmd_sn_outside_the_window_is_ignored() {
    let subject = Subject::start();
    let mut session = subject.session();
    assert_alive(&mut session);
    let wrong =
        [session.exp_cmd_sn().wrapping_sub(1), session.max_cmd_sn().wrapping_add(1), 0x7000_0000];
    let mut ignored = Vec::new();
    for cmd_sn in wrong {
        let (tag, ping) = numbered_ping(&mut session);
        session.connection().send(&ping.with_u32(24, cmd_sn)).expect("a ping is sent");
        ignored.push(tag);
    }
    let (tag, ping) = numbered_ping(&mut session);
    session.send(ping).expect("a ping with the right number is sent");
    session.await_answer(tag, opcode::NOP_IN).expect("its answer");
    for tag in ignored {
        // An immediate ping later than all: had there been an answer, it would be here.
        assert_alive(&mut session);
        let answered = session.has_answer(tag);
        assert!(!answered, "CmdSN outside the window is ignored (RFC 7143 4.2.2.1)");
    }
    subject.finish(session);
}

#[test]
fn cmd_sn_counts_across_zero() {
    let subject = Subject::start();
    let login = subject.login().with_first_cmd_sn(0xffff_fff0);
    let mut disk = subject.disk_with(&login);
    for round in 0..16_u8 {
        let data = pattern(4096, round);
        assert!(disk.write(0, &data).expect("a write").is_good());
        let blocks = 4096 / disk.block_bytes();
        assert_eq!(disk.read(0, blocks).expect("a read").data, data);
    }
    assert!(disk.session().next_cmd_sn() < 0x100, "the number has passed zero");
    subject.finish(disk.into_session());
}

#[test]
fn the_window_has_room_for_more_than_one_command() {
    let subject = Subject::start();
    let session = subject.session();
    let room = session.max_cmd_sn().wrapping_sub(session.next_cmd_sn());
    assert!((1..0x8000_0000).contains(&room), "room for {room} more commands");
    subject.finish(session);
}

#[test]
fn many_commands_in_flight_are_all_answered() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let mut tickets = Vec::new();
    for index in 0..1000_u32 {
        let command = disk.read_command(u64::from(index % 64), 1);
        tickets.push(disk.session().submit(command).expect("a command is sent"));
    }
    for ticket in tickets {
        assert!(disk.session().collect(ticket).expect("an answer").is_good());
    }
    subject.finish(disk.into_session());
}

#[test]
fn immediate_commands_take_no_number() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let lun = disk.lun();
    let before = disk.session().exp_cmd_sn();
    for _ in 0..5 {
        let command = Command::without_data(lun, cdb::test_unit_ready()).delivered_immediately();
        assert!(disk.session().scsi(command).expect("an answer").is_good());
    }
    assert_eq!(disk.session().exp_cmd_sn(), before, "ExpCmdSN stays (RFC 7143 4.2.2.1)");
    subject.finish(disk.into_session());
}

#[test]
fn an_immediate_command_may_carry_any_number_near_the_window() {
    let subject = Subject::start();
    let mut session = subject.session();
    let tag = session.new_tag();
    let ping = pdu::nop_out(tag, b"late").immediate();
    let number = session.next_cmd_sn().wrapping_add(1);
    session.connection().send(&ping.with_u32(24, number)).expect("a ping is sent");
    session.await_answer(tag, opcode::NOP_IN).expect("its answer");
    subject.finish(session);
}

/// A WRITE of `length` bytes that waits for R2T, sent by hand; gives its tag and the first R2T.
fn write_that_waits(session: &mut Session, lun: u16, blocks: u32, length: u32) -> (u32, Pdu) {
    let tag = session.new_tag();
    let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
    let command =
        pdu::scsi_command(flags, lun, length, &cdb::write_16(0, blocks)).with_u32(16, tag);
    session.send(command).expect("a write is sent");
    let r2t = session.await_answer(tag, opcode::R2T).expect("an R2T");
    (tag, r2t)
}

/// Sends the data that an R2T asks for in segments of 8 KiB.
fn answer_r2t(session: &mut Session, lun: u16, r2t: &Pdu, data: &[u8]) {
    let (offset, length) = (r2t.u32_at(40), r2t.u32_at(44));
    let mut sent = 0;
    for data_sn in 0.. {
        let piece = (length - sent).min(8192);
        let from = (offset + sent) as usize;
        sent += piece;
        let last = if sent == length { pdu::FINAL } else { 0 };
        let data_out = pdu::data_out(r2t.initiator_task_tag(), r2t.target_transfer_tag(), lun)
            .with_byte(1, last)
            .with_u32(36, data_sn)
            .with_u32(40, offset + sent - piece)
            .with_data(&data[from..from + piece as usize]);
        session.connection().send(&data_out).expect("data are sent");
        if sent == length {
            return;
        }
    }
}

#[test]
fn a_task_tag_in_use_is_rejected_with_07() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block_bytes) = (disk.lun(), disk.block_bytes());
    let session = disk.session();
    let (tag, r2t) = write_that_waits(session, lun, 8192 / block_bytes, 8192);
    let command = pdu::scsi_command(pdu::FINAL, lun, 0, &cdb::test_unit_ready());
    session.send(command.with_u32(16, tag)).expect("a command with the same tag is sent");
    let reject = session.await_opcode(opcode::REJECT).expect("a Reject");
    assert_eq!(reject.bhs[2], 0x07, "task in progress (RFC 7143 11.17.1)");
    assert_eq!(reject.data.len(), 48, "the header of the bad PDU and nothing else");
    assert_eq!(reject.data[0], 0x01);
    answer_r2t(session, lun, &r2t, &pattern(8192, 4));
    let response = session.await_answer(tag, opcode::SCSI_RESPONSE).expect("the write ends");
    assert_eq!(response.bhs[3], 0, "the first task goes on as if nothing had been");
    inquiry_is_answered(session, lun);
    subject.finish(disk.into_session());
}

#[test]
fn the_reserved_task_tag_is_no_tag_of_a_command() {
    let subject = Subject::start();
    let mut session = subject.session();
    let command = pdu::scsi_command(pdu::FINAL, subject.lun, 0, &cdb::test_unit_ready());
    session.send(command.with_u32(16, pdu::TAG_NONE)).expect("a command is sent");
    let reject = session.await_opcode(opcode::REJECT);
    match reject {
        Ok(reject) => {
            assert!(matches!(reject.bhs[2], 0x04 | 0x09), "reason {:#04x}", reject.bhs[2])
        }
        Err(error) => assert!(error.is_closed(), "{error}"),
    }
    subject.assert_serves();
}

#[test]
fn a_ping_brings_its_data_back() {
    let subject = Subject::start();
    let mut session = subject.session();
    for length in [0, 1, 2, 3, 4, 511, 4096, 8192] {
        let data = pattern(length, 5);
        assert_eq!(session.ping(&data).expect("an answer"), data, "{length} bytes");
    }
    let (tag, ping) = numbered_ping(&mut session);
    session.send(ping).expect("a numbered ping is sent");
    let answer = session.await_answer(tag, opcode::NOP_IN).expect("its answer");
    assert_eq!(answer.target_transfer_tag(), pdu::TAG_NONE, "RFC 7143 11.19.3");
    subject.finish(session);
}

#[test]
fn a_ping_without_tag_is_not_answered() {
    let subject = Subject::start();
    let mut session = subject.session();
    let before = session.exp_stat_sn();
    session.send(pdu::nop_out(pdu::TAG_NONE, b"quiet").immediate()).expect("a NOP-Out is sent");
    assert_alive(&mut session);
    assert_eq!(session.exp_stat_sn(), before.wrapping_add(1), "one answer, that of the second");
    subject.finish(session);
}

#[test]
fn an_unknown_opcode_is_rejected_with_05_and_its_header() {
    let subject = Subject::start();
    let mut session = subject.session();
    for unknown in [0x07, 0x0f, 0x11, 0x1b, 0x1f] {
        let tag = session.new_tag();
        let odd = session.stamp(Pdu::new(unknown).immediate().with_u32(16, tag).with_data(b"odd"));
        session.connection().send(&odd).expect("an odd PDU is sent");
        let reject = session.await_opcode(opcode::REJECT).expect("a Reject");
        assert_eq!(reject.bhs[2], 0x05, "command not supported (RFC 7143 11.17.1)");
        assert_eq!(reject.initiator_task_tag(), pdu::TAG_NONE, "RFC 7143 11.17");
        assert_eq!(reject.data, odd.bhs, "the header of the bad PDU");
        assert_alive(&mut session);
    }
    subject.finish(session);
}

#[test]
fn a_snack_is_rejected_because_recovery_is_at_level_0() {
    let subject = Subject::start();
    let mut session = subject.session();
    for kind in [0, 1, 2, 3] {
        let snack = pdu::snack_request(kind, pdu::TAG_NONE, pdu::TAG_NONE);
        session.send(snack.immediate()).expect("a SNACK is sent");
        let reject = session.await_opcode(opcode::REJECT).expect("a Reject");
        assert!(
            matches!(reject.bhs[2], 0x03..=0x05),
            "SNACK type {kind} is rejected with {:#04x} (RFC 7143 11.16, 11.17.1)",
            reject.bhs[2]
        );
        assert_alive(&mut session);
    }
    subject.finish(session);
}

#[test]
fn residuals_tell_what_did_not_fit() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block) = (disk.lun(), disk.block_bytes());
    let session = disk.session();
    let inquiry = Command::read(lun, cdb::inquiry(36), 4096);
    let result = session.scsi(inquiry).expect("an answer");
    assert_eq!((result.status, result.data.len()), (0, 36));
    assert_eq!(result.residual, Residual::Underflow(4060), "RFC 7143 11.4.5.1");
    let long = Command::read(lun, cdb::read_10(0, 1), 10_000);
    let result = session.scsi(long).expect("an answer");
    assert_eq!((result.status, result.data.len()), (0, block as usize));
    assert_eq!(result.residual, Residual::Underflow(10_000 - block));
    let short = Command::read(lun, cdb::read_10(0, 2), block);
    let result = session.scsi(short).expect("an answer");
    assert_eq!((result.status, result.data.len()), (0, block as usize));
    assert_eq!(result.residual, Residual::Overflow(block));
    let partial = Command::read(lun, cdb::read_10(0, 1), 200);
    let result = session.scsi(partial).expect("an answer");
    assert_eq!((result.status, result.data.len()), (0, 200));
    assert_eq!(result.residual, Residual::Overflow(block - 200));
    let exact = Command::read(lun, cdb::read_10(0, 1), block);
    assert_eq!(session.scsi(exact).expect("an answer").residual, Residual::None);
    subject.finish(disk.into_session());
}

#[test]
fn residuals_of_writes_tell_what_was_not_taken() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block) = (disk.lun(), disk.block_bytes() as usize);
    let untouched = pattern(4 * block, 6);
    assert!(disk.write(100, &untouched).expect("a write").is_good());
    let two = Command::write(lun, cdb::write_10(100, 1), &pattern(2 * block, 7));
    let result = disk.session().scsi(two).expect("an answer");
    assert_eq!(result.status, 0);
    assert_eq!(result.residual, Residual::Underflow(disk.block_bytes()), "one block was enough");
    let read = disk.read(100, 4).expect("a read").data;
    assert_eq!(read[..block], pattern(2 * block, 7)[..block]);
    assert_eq!(read[block..], untouched[block..], "the second block is not written");
    let too_short = Command::write(lun, cdb::write_10(100, 2), &pattern(block, 8));
    let result = disk.session().scsi(too_short).expect("an answer");
    assert_eq!(result.residual, Residual::Overflow(disk.block_bytes()));
    let read = disk.read(100, 4).expect("a read").data;
    assert_eq!(read[block..], untouched[block..], "no byte is written that was not sent");
    subject.finish(disk.into_session());
}

#[test]
fn a_write_of_a_part_of_a_block_is_refused_and_changes_nothing() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block) = (disk.lun(), disk.block_bytes() as usize);
    let untouched = pattern(4 * block, 6);
    assert!(disk.write(100, &untouched).expect("a write").is_good());
    for bytes in [1, block - 1, block + 1, 2 * block + 200] {
        let part = Command::write(lun, cdb::write_10(100, 4), &pattern(bytes, 8));
        let result = disk.session().scsi(part).expect("an answer");
        let sense = result.sense().expect("sense data");
        assert_eq!((sense.key, sense.code), (0x05, 0x0e03), "{bytes} bytes");
        let missing = u32::try_from(4 * block - bytes).expect("a small number");
        assert_eq!(result.residual, Residual::Overflow(missing), "{bytes} bytes");
    }
    assert_eq!(disk.read(100, 4).expect("a read").data, untouched);
    subject.finish(disk.into_session());
}

#[test]
fn a_command_that_wants_data_without_expected_length_overflows() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block) = (disk.lun(), disk.block_bytes());
    let command = Command::read(lun, cdb::read_10(0, 1), 1).announcing(0);
    let result = disk.session().scsi(command).expect("an answer");
    assert_eq!((result.data.len(), result.residual), (0, Residual::Overflow(block)));
    subject.finish(disk.into_session());
}

#[test]
fn transfers_of_length_zero_move_nothing() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let lun = disk.lun();
    let session = disk.session();
    for cdb in [cdb::read_10(0, 0), cdb::read_16(0, 0), cdb::write_10(0, 0), cdb::write_16(0, 0)] {
        let result = session.scsi(Command::without_data(lun, cdb)).expect("an answer");
        assert!(result.is_good() && result.data.is_empty(), "{cdb:02x?}: {result:?}");
        assert_eq!(result.residual, Residual::None);
    }
    let reads = session.scsi(Command::read(lun, cdb::read_10(0, 0), 512)).expect("an answer");
    assert!(reads.is_good() && reads.data.is_empty());
    assert_eq!(reads.residual, Residual::Underflow(512));
    subject.finish(disk.into_session());
}

#[test]
fn a_direction_that_the_cdb_does_not_have_moves_nothing() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block) = (disk.lun(), disk.block_bytes());
    let kept = pattern(block as usize, 10);
    assert!(disk.write(200, &kept).expect("a write").is_good());
    let write_flag = Command::write(lun, cdb::read_10(200, 1), &pattern(block as usize, 11));
    let outcome = Outcome::of(disk.session().scsi(write_flag));
    assert!(outcome.is_refusal(), "READ with the W bit is {outcome:?}");
    let read_flag = Command::read(lun, cdb::write_10(200, 1), block);
    let outcome = Outcome::of(disk.session().scsi(read_flag));
    assert!(outcome.is_refusal(), "WRITE with the R bit is {outcome:?}");
    assert_eq!(disk.read(200, 1).expect("a read").data, kept);
    subject.finish(disk.into_session());
}

#[test]
fn an_unknown_lun_answers_inquiry_and_refuses_the_rest() {
    let subject = Subject::start();
    let mut session = subject.session();
    for lun in [77, 255, 256, 16_383] {
        let ready = Command::without_data(lun, cdb::test_unit_ready());
        let outcome = Outcome::of(session.scsi(ready));
        assert_eq!(outcome, Outcome::failed(5, 0x2500), "LUN {lun} (SPC-4 6.4.2, SAM-5 5.8)");
        let result = session.scsi(Command::read(lun, cdb::inquiry(36), 36)).expect("INQUIRY data");
        assert!(result.is_good(), "INQUIRY of LUN {lun}: {result:?}");
        assert_eq!(result.data[0], 0x7f, "no device can be connected here (SPC-4 6.4.2)");
    }
    subject.finish(session);
}

#[test]
fn an_unknown_operation_code_is_refused_with_2000() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let lun = disk.lun();
    for operation_code in [0x02, 0xc0, 0xff] {
        let mut cdb = [0; 16];
        cdb[0] = operation_code;
        let outcome = Outcome::of(disk.session().scsi(Command::without_data(lun, cdb)));
        assert_eq!(outcome, Outcome::failed(5, 0x2000), "operation code {operation_code:#04x}");
    }
    subject.finish(disk.into_session());
}

#[test]
fn blocks_beyond_the_end_are_refused_with_2100() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let end = disk.blocks();
    let block = disk.block_bytes() as usize;
    for lba in [end, end - 1, u64::MAX, u64::MAX - 1] {
        let outcome = Outcome::of(disk.read(lba, 2));
        assert_eq!(outcome, Outcome::failed(5, 0x2100), "read of 2 blocks at {lba}");
        let outcome = Outcome::of(disk.write(lba, &pattern(2 * block, 12)));
        assert_eq!(outcome, Outcome::failed(5, 0x2100), "write of 2 blocks at {lba}");
    }
    assert!(disk.read(end - 1, 1).expect("the last block").is_good());
    subject.finish(disk.into_session());
}

#[test]
fn nonsense_in_additional_headers_does_no_harm() {
    let subject = Subject::start();
    // AHSLength (2 bytes), AHSType, then content (RFC 7143 11.2.2).
    let segments: [&[u8]; 6] = [
        &[0, 1, 0x3f, 0],
        &[0xff, 0xff, 0x01, 0],
        &[0, 0, 0, 0],
        &[0, 17, 0x01, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        &[0, 5, 0x02, 0, 0, 0, 2, 0],
        &[0x41; 1020],
    ];
    for ahs in segments {
        let mut disk = subject.disk();
        let lun = disk.lun();
        let session = disk.session();
        let tag = session.new_tag();
        let command = pdu::scsi_command(pdu::FINAL, lun, 0, &cdb::test_unit_ready());
        session.send(command.with_u32(16, tag).with_ahs(ahs)).expect("a command is sent");
        match session.await_answer(tag, opcode::SCSI_RESPONSE) {
            Ok(_) | Err(Error::Rejected { .. }) => assert_alive(session),
            Err(error) => assert!(error.is_closed(), "AHS {ahs:02x?}: {error}"),
        }
    }
    subject.assert_serves();
}

#[test]
fn data_beyond_the_declared_length_end_in_reject_or_close() {
    let subject = Subject::start();
    let mut session = subject.session();
    let tag = session.new_tag();
    // Four bytes are declared; the 60 that follow are read as a PDU of opcode 3eh.
    let mut bytes =
        session.stamp(pdu::nop_out(tag, b"ping").immediate()).encode(pdu::Digests::default());
    bytes.extend_from_slice(&[0x3e; 60]);
    session.connection().send_bytes(&bytes).expect("the bytes are sent");
    session.connection().finish_sending().expect("and no more");
    session.connection().discard_until_closed().expect("the target closes the connection");
    subject.assert_serves();
}

#[test]
fn a_data_segment_beyond_what_the_target_declared_is_not_taken() {
    let subject = Subject::start();
    for length in [1_u32 << 20, 0x00ff_ffff] {
        let mut session = subject.session();
        let declared = session.negotiated().target_segment_max;
        if length <= declared {
            continue;
        }
        let tag = session.new_tag();
        let mut ping = session.stamp(pdu::nop_out(tag, b"").immediate());
        ping.bhs[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        session.connection().send(&ping).expect("the header is sent, and no data");
        match session.await_answer(tag, opcode::NOP_IN) {
            Err(Error::Rejected { .. } | Error::Closed) => {}
            Err(error) => panic!("the target waits for {length} bytes: {error}"),
            Ok(answer) => panic!("the target answered without the data: {answer:02x?}"),
        }
    }
    subject.assert_serves();
}

#[test]
fn text_that_is_unknown_is_not_understood() {
    let subject = Subject::start();
    let mut session = subject.session();
    let answer = session.text(b"X-local.pollux.colour=blue\0").expect("an answer");
    assert_eq!(answer, b"X-local.pollux.colour=NotUnderstood\0");
    assert_alive(&mut session);
    subject.finish(session);
}

#[test]
fn silence_follows_where_nothing_was_asked() {
    let subject = Subject::start();
    let mut session = subject.session();
    // A target that talks by itself within a blink would break initiators that count StatSN.
    assert!(session.is_silent_for(Duration::from_millis(200)).expect("the connection holds"));
    subject.finish(session);
}
