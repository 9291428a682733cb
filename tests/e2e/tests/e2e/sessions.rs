//! Discovery, logout, reinstatement and task management (RFC 7143 sections 4.3, 6.3, 11.5, 11.14).

use e2e::{Outcome, Subject, inquiry_is_answered, pattern};
use initiator::pdu::{self, Pdu, opcode};
use initiator::{Command, Error, Login, Session, cdb};

/// TMF function codes (RFC 7143 11.5.1).
const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;
const TASK_REASSIGN: u8 = 8;

#[test]
fn discovery_lists_the_target_with_the_portal_that_was_asked() {
    let subject = Subject::start();
    for which in ["All", &subject.target.clone()] {
        let mut session = subject.session_with(&Login::discovery());
        let pairs = session.send_targets(which).expect("an answer");
        assert_eq!(pairs[0], ("TargetName".to_owned(), subject.target.clone()));
        let address = format!("{},1", subject.portal);
        assert!(pairs.contains(&("TargetAddress".to_owned(), address)), "{pairs:?}");
        subject.finish(session);
    }
}

#[test]
fn discovery_of_an_unknown_target_lists_nothing() {
    let subject = Subject::start();
    let mut session = subject.session_with(&Login::discovery());
    let pairs = session.send_targets("iqn.2026-11.local.pollux:no-such-target");
    assert_eq!(pairs.expect("an answer"), [], "RFC 7143 appendix C");
    subject.finish(session);
}

#[test]
fn a_normal_session_may_ask_for_its_own_target() {
    let subject = Subject::start();
    let mut session = subject.session();
    let pairs = session.send_targets("").expect("an answer");
    assert!(pairs.contains(&("TargetName".to_owned(), subject.target.clone())), "{pairs:?}");
    subject.finish(session);
}

#[test]
fn a_discovery_session_takes_no_scsi_commands() {
    let subject = Subject::start();
    let mut session = subject.session_with(&Login::discovery());
    let command = Command::read(subject.lun, cdb::inquiry(36), 36);
    let outcome = Outcome::of(session.scsi(command));
    assert!(outcome.is_refusal(), "{outcome:?} (RFC 7143 4.3)");
    subject.assert_serves();
}

/// Logs out for a reason and connection; gives the response code.
fn logout_response(session: &mut Session, reason: u8, connection_id: u16) -> u8 {
    let tag = session.new_tag();
    let request = pdu::logout_request(reason, connection_id).with_u32(16, tag);
    session.exchange(request, opcode::LOGOUT_RESPONSE).expect("a Logout Response").bhs[2]
}

#[test]
fn logout_ends_the_session_or_its_only_connection() {
    let subject = Subject::start();
    for (reason, connection_id) in [(0, 1), (0, 99), (1, 1)] {
        let mut session = subject.session();
        let response = logout_response(&mut session, reason, connection_id);
        assert_eq!(response, 0, "reason {reason}, CID {connection_id} (RFC 7143 11.15.1)");
        session.connection().drain_until_closed().expect("the target closes the connection");
    }
}

#[test]
fn logout_of_an_unknown_connection_is_answered_1() {
    let subject = Subject::start();
    let mut session = subject.session();
    assert_eq!(logout_response(&mut session, 1, 99), 1, "CID not found (RFC 7143 11.15.1)");
    assert_eq!(session.ping(b"alive").expect("an answer"), b"alive");
    subject.finish(session);
}

#[test]
fn logout_for_recovery_is_answered_2() {
    let subject = Subject::start();
    let mut session = subject.session();
    assert_eq!(logout_response(&mut session, 2, 1), 2, "recovery is not supported at level 0");
    subject.assert_serves();
}

#[test]
fn commands_after_a_logout_are_not_answered() {
    let subject = Subject::start();
    let mut session = subject.session();
    let logout_tag = session.new_tag();
    let ping_tag = session.new_tag();
    let logout = session.stamp(pdu::logout_request(0, 1).with_u32(16, logout_tag));
    let ping = session.stamp(pdu::nop_out(ping_tag, b"late").immediate());
    let mut bytes = logout.encode(pdu::Digests::default());
    bytes.extend_from_slice(&ping.encode(pdu::Digests::default()));
    session.connection().send_bytes(&bytes).expect("both are sent");
    let answers = session.connection().drain_until_closed().expect("the target closes");
    let [answer] = &answers[..] else { panic!("one Logout Response, not {answers:?}") };
    assert_eq!(answer.opcode(), opcode::LOGOUT_RESPONSE);
    subject.assert_serves();
}

#[test]
fn a_login_with_the_same_isid_takes_over_from_the_old_session() {
    let subject = Subject::start();
    let login = subject.login().with_isid([0x80, 1, 2, 3, 0, 4]);
    let mut old = subject.session_with(&login);
    inquiry_is_answered(&mut old, subject.lun);
    let mut new = subject.session_with(&login);
    old.connection().drain_until_closed().expect("the old connection is closed (6.3.5)");
    assert_ne!(new.tsih(), old.tsih(), "a handle is not used again at once");
    new.ping(b"new").expect("an answer");
    subject.finish(new);
}

#[test]
fn reinstatement_stops_writes_of_the_old_session() {
    let subject = Subject::start();
    let login = subject.login().with_isid([0x80, 1, 2, 3, 0, 5]);
    let mut old = subject.disk_with(&login);
    let (lun, blocks) = (old.lun(), 8192 / old.block_bytes());
    let tag = old.session().new_tag();
    let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
    let command = pdu::scsi_command(flags, lun, 8192, &cdb::write_16(500, blocks));
    old.session().send(command.with_u32(16, tag)).expect("a write is sent");
    let r2t = old.session().await_answer(tag, opcode::R2T).expect("an R2T");
    let mut new = subject.disk_with(&login);
    let content = pattern(8192, 41);
    assert!(new.write(500, &content).expect("a write").is_good());
    let late = pdu::data_out(tag, r2t.target_transfer_tag(), lun)
        .with_byte(1, pdu::FINAL)
        .with_data(&pattern(8192, 42));
    // The connection is gone, or will be; either way the data must not arrive.
    let _ = old.session().connection().send(&late);
    old.session().connection().drain_until_closed().expect("the old connection is closed");
    assert_eq!(new.read(500, blocks).expect("a read").data, content);
    subject.finish(new.into_session());
}

#[test]
fn another_isid_is_another_session() {
    let subject = Subject::start();
    let mut first = subject.session();
    let mut second = subject.session();
    assert_ne!(first.tsih(), second.tsih());
    for session in [&mut first, &mut second] {
        session.ping(b"both").expect("an answer");
    }
    subject.finish(first);
    subject.finish(second);
}

#[test]
fn thirty_two_sessions_work_side_by_side() {
    let subject = Subject::start();
    let mut disks = (0..32).map(|_| subject.disk()).collect::<Vec<_>>();
    for (disk, salt) in disks.iter_mut().zip(0_u8..) {
        let data = pattern(16_384, salt);
        assert!(disk.write(u64::from(salt) * 64, &data).expect("a write").is_good());
    }
    let blocks = 16_384 / disks[0].block_bytes();
    for (disk, salt) in disks.iter_mut().rev().zip(0_u8..) {
        let read = disk.read(u64::from(salt) * 64, blocks).expect("a read");
        assert_eq!(read.data, pattern(16_384, salt), "what another session wrote");
    }
    for disk in disks {
        subject.finish(disk.into_session());
    }
}

/// A write that waits for its data, as something to abort.
fn waiting_write(session: &mut Session, lun: u16, blocks: u32) -> (u32, u32, Pdu) {
    let tag = session.new_tag();
    let cmd_sn = session.next_cmd_sn();
    let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
    let command = pdu::scsi_command(flags, lun, 8192, &cdb::write_16(600, blocks));
    session.send(command.with_u32(16, tag)).expect("a write is sent");
    let r2t = session.await_answer(tag, opcode::R2T).expect("an R2T");
    (tag, cmd_sn, r2t)
}

#[test]
fn an_aborted_write_sends_no_response_and_takes_no_data() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, blocks) = (disk.lun(), 8192 / disk.block_bytes());
    let before = pattern(8192, 43);
    assert!(disk.write(600, &before).expect("a write").is_good());
    let session = disk.session();
    let (tag, cmd_sn, r2t) = waiting_write(session, lun, blocks);
    let request_tag = session.new_tag();
    let request =
        pdu::task_management(ABORT_TASK, lun, tag).with_u32(16, request_tag).with_u32(32, cmd_sn);
    let response = session.exchange(request, opcode::TASK_MANAGEMENT_RESPONSE);
    assert_eq!(response.expect("a response").bhs[2], 0, "function complete (RFC 7143 11.6.1)");
    let late = pdu::data_out(tag, r2t.target_transfer_tag(), lun)
        .with_byte(1, pdu::FINAL)
        .with_data(&pattern(8192, 44));
    session.connection().send(&late).expect("late data are sent");
    session.ping(b"alive").expect("an answer");
    assert!(!session.has_answer(tag), "an aborted task has no response (SAM-5 8.7)");
    assert_eq!(disk.read(600, blocks).expect("a read").data, before);
    subject.finish(disk.into_session());
}

#[test]
fn aborting_an_unknown_task_is_answered_1() {
    let subject = Subject::start();
    let mut session = subject.session();
    let tag = session.new_tag();
    // RefCmdSN lies before the window: the task had its response already (RFC 7143 11.6.1).
    let request = pdu::task_management(ABORT_TASK, subject.lun, 0x0bad_cafe)
        .with_u32(16, tag)
        .with_u32(32, session.exp_cmd_sn().wrapping_sub(10));
    let response = session.exchange(request, opcode::TASK_MANAGEMENT_RESPONSE);
    assert_eq!(response.expect("a response").bhs[2], 1, "task does not exist");
    subject.finish(session);
}

#[test]
fn resets_and_task_sets_are_complete_and_the_unit_goes_on() {
    let subject = Subject::start();
    for function in [ABORT_TASK_SET, 4, LOGICAL_UNIT_RESET, TARGET_WARM_RESET] {
        let mut disk = subject.disk();
        let (lun, blocks) = (disk.lun(), 8192 / disk.block_bytes());
        let session = disk.session();
        let (tag, _, _) = waiting_write(session, lun, blocks);
        let response = session.task_management(function, lun, None).expect("a response");
        assert_eq!(response, 0, "function {function} is complete (RFC 7143 11.6.1)");
        session.ping(b"alive").expect("an answer");
        assert!(!session.has_answer(tag), "function {function} took the task with it");
        // A reset leaves a unit attention; it is taken once, then the unit works.
        let mut disk = initiator::Disk::open(disk.into_session(), lun).expect("the disk answers");
        assert!(disk.read(0, 8).expect("a read").is_good(), "after function {function}");
        subject.finish(disk.into_session());
    }
}

#[test]
fn management_of_an_unknown_lun_is_answered_2() {
    let subject = Subject::start();
    let mut session = subject.session();
    let response = session.task_management(LOGICAL_UNIT_RESET, 99, None).expect("a response");
    assert_eq!(response, 2, "LUN does not exist (RFC 7143 11.6.1)");
    subject.finish(session);
}

#[test]
fn management_that_is_not_offered_says_so() {
    let subject = Subject::start();
    let mut session = subject.session();
    let response = session.task_management(TASK_REASSIGN, subject.lun, None);
    assert!(matches!(response, Ok(4 | 5)), "{response:?} (RFC 7143 11.6.1)");
    let response = session.task_management(0x7f, subject.lun, None);
    match response {
        Ok(code) => assert!(matches!(code, 5 | 255), "function 7fh is answered {code}"),
        Err(Error::Rejected { .. }) => {}
        Err(error) => panic!("function 7fh: {error}"),
    }
    subject.finish(session);
}
