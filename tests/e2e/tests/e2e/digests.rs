//! Header and data digests (RFC 7143 13.1 and 7.8).

use e2e::{Outcome, Subject, inquiry_is_answered, pattern};
use initiator::pdu::{self, Digests, opcode};
use initiator::{Command, cdb};

/// Sense that tells of a failed data digest: ABORTED COMMAND, PROTOCOL SERVICE CRC ERROR
/// (RFC 7143 11.4.7.2).
const CRC_ERROR: Outcome = Outcome::Failed(initiator::Sense { key: 0x0b, code: 0x4705 });

#[test]
fn all_kinds_of_pdus_carry_digests() {
    let subject = Subject::start();
    for (header, data) in [(true, false), (false, true), (true, true)] {
        let mut disk = subject.disk_with(&subject.login().with_digests(header, data));
        assert_eq!(disk.session().negotiated().digests, Digests { header, data });
        inquiry_is_answered(disk.session(), subject.lun);
        for length in [512, 4096, 65_536, 262_144, 1 << 20] {
            let content = pattern(length, 31);
            assert!(disk.write(64, &content).expect("a write").is_good());
            let blocks = u32::try_from(length).expect("a small number") / disk.block_bytes();
            assert_eq!(disk.read(64, blocks).expect("a read").data, content);
        }
        for length in 0..9 {
            // Lengths that need padding: the digest covers it (RFC 7143 11.2.3).
            let ping = pattern(length, 32);
            assert_eq!(disk.session().ping(&ping).expect("an answer"), ping);
        }
        let outcome = Outcome::of(disk.read(u64::MAX, 1));
        assert_eq!(outcome, Outcome::failed(5, 0x2100), "sense data carry digests, too");
        subject.finish(disk.into_session());
    }
}

#[test]
fn a_wrong_header_digest_ends_the_connection() {
    let subject = Subject::start();
    for bit in [0, 7, 8, 24, 383] {
        let mut session = subject.session_with(&subject.login().with_digests(true, false));
        let tag = session.new_tag();
        let ping = session.stamp(pdu::nop_out(tag, b"ping").immediate());
        let mut bytes = ping.encode(session.connection().digests());
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        session.connection().send_bytes(&bytes).expect("the bytes are sent");
        // Lengths in a damaged header mean nothing, so that the next header cannot be found.
        let answers = session.connection().drain_until_closed().expect("the target closes");
        let answered = answers.iter().any(|pdu| pdu.opcode() == opcode::NOP_IN);
        assert!(!answered, "bit {bit} of the header is wrong, and yet there is an answer");
    }
    subject.assert_serves();
}

#[test]
fn a_wrong_data_digest_is_rejected_with_02_and_nothing_is_written() {
    let subject = Subject::start();
    let mut disk = subject.disk_with(&subject.login().with_digests(true, true));
    let before = pattern(4096, 33);
    assert!(disk.write(300, &before).expect("a write").is_good());
    let command = disk.write_command(300, &pattern(4096, 34), false);
    let (ticket, mut bytes) = disk.session().submit_later(command);
    bytes[48 + 4 + 100] ^= 1;
    disk.session().connection().send_bytes(&bytes).expect("a damaged write is sent");
    let outcome = Outcome::of(disk.session().collect(ticket));
    let allowed = [Outcome::Rejected(0x02), CRC_ERROR, Outcome::Closed];
    assert!(allowed.contains(&outcome), "{outcome:?} (RFC 7143 7.8)");
    let mut disk = subject.disk();
    let blocks = 4096 / disk.block_bytes();
    assert_eq!(disk.read(300, blocks).expect("a read").data, before);
    subject.finish(disk.into_session());
}

#[test]
fn a_wrong_data_digest_in_data_out_fails_the_write() {
    let subject = Subject::start();
    let mut disk = subject.disk_with(&subject.login().with_digests(true, true));
    let before = pattern(8192, 35);
    assert!(disk.write(400, &before).expect("a write").is_good());
    let (lun, blocks) = (disk.lun(), 8192 / disk.block_bytes());
    let session = disk.session();
    let tag = session.new_tag();
    let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
    let command = pdu::scsi_command(flags, lun, 8192, &cdb::write_16(400, blocks));
    session.send(command.with_u32(16, tag)).expect("a write is sent");
    let r2t = session.await_answer(tag, opcode::R2T).expect("an R2T");
    let mut bytes = pdu::data_out(tag, r2t.target_transfer_tag(), lun)
        .with_byte(1, pdu::FINAL)
        .with_data(&pattern(8192, 36))
        .encode(session.connection().digests());
    bytes[52 + 5000] ^= 0x10;
    session.connection().send_bytes(&bytes).expect("damaged data are sent");
    match session.await_opcode(opcode::REJECT) {
        Ok(reject) => {
            assert_eq!(reject.bhs[2], 0x02, "Data (payload) digest error (RFC 7143 11.17.1)");
            let response = session.await_answer(tag, opcode::SCSI_RESPONSE);
            let status = response.map(|pdu| pdu.bhs[3]);
            assert!(status.is_ok_and(|status| status == 2), "the task is not left waiting");
        }
        Err(error) => assert!(error.is_closed(), "{error}"),
    }
    let mut disk = subject.disk();
    assert_eq!(disk.read(400, blocks).expect("a read").data, before);
    subject.finish(disk.into_session());
}

#[test]
fn a_wrong_data_digest_of_a_ping_is_rejected_and_the_session_goes_on() {
    let subject = Subject::start();
    let mut session = subject.session_with(&subject.login().with_digests(false, true));
    let tag = session.new_tag();
    let ping = session.stamp(pdu::nop_out(tag, b"ping").immediate());
    let mut bytes = ping.encode(session.connection().digests());
    bytes[48] ^= 1;
    session.connection().send_bytes(&bytes).expect("the bytes are sent");
    match session.await_opcode(opcode::REJECT) {
        Ok(reject) => {
            assert_eq!(reject.bhs[2], 0x02);
            assert_eq!(session.ping(b"next").expect("an answer"), b"next");
        }
        Err(error) => assert!(error.is_closed(), "{error}"),
    }
    subject.assert_serves();
}

#[test]
fn digests_begin_after_the_login_and_not_before() {
    let subject = Subject::start();
    let login = subject.login().with_digests(true, true).through_security();
    let mut session = subject.session_with(&login);
    let result = session.scsi(Command::read(subject.lun, cdb::inquiry(36), 36));
    assert!(result.expect("INQUIRY data").is_good());
    subject.finish(session);
}
