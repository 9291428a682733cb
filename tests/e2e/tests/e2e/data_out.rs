//! Data to the target: immediate, unsolicited and solicited (RFC 7143 4.2.5.2, 11.3, 11.7, 11.8).

use e2e::{Outcome, Subject, pattern};
use initiator::pdu::{self, Pdu, opcode};
use initiator::{Command, CommandResult, Disk, Error, Login, Session, Ticket, cdb};

/// Where these tests write; the blocks around are watched.
const LBA: u64 = 1024;

/// Fills the place of a test and its surroundings with a pattern that must stay.
fn prepare(disk: &mut Disk) -> Vec<u8> {
    let before = pattern(262_144, 0x55);
    let whole = disk.write(LBA, &before).expect("a write");
    assert!(whole.is_good());
    before
}

/// What the disk holds where [`prepare`] has written.
fn content(disk: &mut Disk) -> Vec<u8> {
    let blocks = 262_144 / disk.block_bytes();
    disk.read(LBA, blocks).expect("a read").data
}

/// Sends a WRITE by hand without data; its flags are those of a command that awaits R2T.
fn start_write(session: &mut Session, lun: u16, block_bytes: u32, length: u32) -> u32 {
    let tag = session.new_tag();
    let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
    let cdb = cdb::write_16(LBA, length.div_ceil(block_bytes));
    let command = pdu::scsi_command(flags, lun, length, &cdb).with_u32(16, tag);
    session.send(command).expect("a write is sent");
    tag
}

/// The R2T of a write that was sent by hand.
fn first_r2t(session: &mut Session, tag: u32) -> Pdu {
    session.await_answer(tag, opcode::R2T).expect("an R2T")
}

/// One Data-Out for an R2T: DataSN 0, final, the whole range.
fn whole_answer(r2t: &Pdu, lun: u16, data: &[u8]) -> Pdu {
    let (offset, length) = (r2t.u32_at(40) as usize, r2t.u32_at(44) as usize);
    pdu::data_out(r2t.initiator_task_tag(), r2t.target_transfer_tag(), lun)
        .with_byte(1, pdu::FINAL)
        .with_u32(40, r2t.u32_at(40))
        .with_data(&data[offset..offset + length])
}

/// How a write that was sent by hand ends.
fn outcome(session: &mut Session, tag: u32) -> Outcome {
    let answer = session.await_answer(tag, opcode::SCSI_RESPONSE).map(|response| {
        let sense_bytes = response.data.get(2..).unwrap_or_default().to_vec();
        CommandResult {
            status: response.bhs[3],
            response: response.bhs[2],
            sense_bytes,
            data: Vec::new(),
            residual: initiator::Residual::None,
            r2t_count: 0,
            data_in_count: 0,
            phase_collapse: false,
        }
    });
    Outcome::of(answer)
}

/// Ways to cut one write: terms of the session and what the initiator makes of them.
fn terms() -> Vec<(&'static str, Login, usize)> {
    let base = |name: &str| Login::normal(name);
    // The name is put in by the caller.
    let mut terms = Vec::new();
    for initial_r2t in ["Yes", "No"] {
        for immediate in ["Yes", "No"] {
            for first_burst in ["512", "8192", "65536"] {
                for immediate_max in [0, 512, 1000, usize::MAX] {
                    let login = base("")
                        .key("InitialR2T", initial_r2t)
                        .key("ImmediateData", immediate)
                        .key("FirstBurstLength", first_burst);
                    terms.push((first_burst, login, immediate_max));
                }
            }
        }
    }
    terms
}

#[test]
fn data_arrive_whole_under_all_terms() {
    let subject = Subject::start();
    for (_, login, immediate_max) in terms() {
        let mut mine = subject.login();
        for (key, value) in login.offers() {
            mine = mine.key(key, value);
        }
        let mut disk = subject.disk_with(&mine);
        let block = disk.block_bytes() as usize;
        for (salt, blocks) in (1_u8..).zip([1, 2, 8, 129, 1024]) {
            let data = pattern(blocks * block, salt);
            let command = disk.write_command(LBA, &data, false);
            let command = command.with_immediate_data_up_to(immediate_max);
            let result = disk.session().scsi(command).expect("a write");
            assert!(result.is_good(), "{blocks} blocks under {mine:?}: {result:?}");
            let count = u32::try_from(blocks).expect("a small number");
            assert_eq!(disk.read(LBA, count).expect("a read").data, data, "{mine:?}");
        }
        subject.finish(disk.into_session());
    }
}

#[test]
fn long_transfers_go_in_bursts() {
    let subject = Subject::start();
    for (max_burst, outstanding) in [("512", "1"), ("16384", "1"), ("16384", "8"), ("262144", "4")]
    {
        let login = subject
            .login()
            .key("FirstBurstLength", "512")
            .key("MaxBurstLength", max_burst)
            .key("MaxOutstandingR2T", outstanding)
            .key("MaxRecvDataSegmentLength", "4096");
        let mut disk = subject.disk_with(&login);
        let data = pattern(1 << 20, 21);
        assert!(disk.write(LBA, &data).expect("a write").is_good());
        let blocks = (1 << 20) / disk.block_bytes();
        // The session checks the length of each burst and segment.
        let read = disk.read(LBA, blocks).expect("a read");
        assert_eq!(read.data, data, "MaxBurstLength={max_burst}");
        subject.finish(disk.into_session());
    }
}

#[test]
fn many_writes_in_flight_all_arrive() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let block = disk.block_bytes();
    let piece = 65_536_u32;
    let mut tickets: Vec<Ticket> = Vec::new();
    for index in 0..64_u8 {
        let lba = LBA + u64::from(index) * u64::from(piece / block);
        let command = disk.write_command(lba, &pattern(piece as usize, index), false);
        // Every other one waits for R2T, so that sequences of several tasks interleave.
        let command = if index % 2 == 0 {
            command.without_unsolicited_data().with_immediate_data_up_to(0)
        } else {
            command
        };
        tickets.push(disk.session().submit(command).expect("a write is sent"));
    }
    for ticket in tickets {
        assert!(disk.session().collect(ticket).expect("an answer").is_good());
    }
    for index in 0..64_u8 {
        let lba = LBA + u64::from(index) * u64::from(piece / block);
        let read = disk.read(lba, piece / block).expect("a read");
        assert_eq!(read.data, pattern(piece as usize, index), "piece {index}");
    }
    subject.finish(disk.into_session());
}

#[test]
fn no_more_r2ts_are_outstanding_than_agreed() {
    let subject = Subject::start();
    for (offer, most) in [("1", 1), ("2", 2), ("8", 8)] {
        let login = subject
            .login()
            .key("MaxOutstandingR2T", offer)
            .key("FirstBurstLength", "4096")
            .key("MaxBurstLength", "4096");
        let mut disk = subject.disk_with(&login);
        let (lun, block) = (disk.lun(), disk.block_bytes());
        let data = pattern(131_072, 22);
        let session = disk.session();
        let tag = start_write(session, lun, block, 131_072);
        let mut waiting = vec![first_r2t(session, tag)];
        let mut answered = 0;
        while answered < 32 {
            // Whatever the target sends by itself comes before the answer to this ping.
            session.ping(b"all out?").expect("an answer");
            while session.has_answer(tag) && answered + waiting.len() < 32 {
                waiting.push(first_r2t(session, tag));
            }
            let agreed = session.negotiated().max_outstanding_r2t as usize;
            assert!(agreed <= most, "MaxOutstandingR2T is a minimum (RFC 7143 13.17)");
            assert!(waiting.len() <= agreed, "{} R2Ts are outstanding", waiting.len());
            if waiting.is_empty() {
                waiting.push(first_r2t(session, tag));
            }
            let r2t = waiting.remove(0);
            let number = u32::try_from(answered).expect("a small number");
            assert_eq!(r2t.u32_at(36), number, "R2TSN (RFC 7143 11.8.3)");
            let answer = whole_answer(&r2t, lun, &data);
            session.connection().send(&answer).expect("data are sent");
            answered += 1;
        }
        assert_eq!(outcome(session, tag), Outcome::Good);
        assert_eq!(content(&mut disk)[..131_072], data);
        subject.finish(disk.into_session());
    }
}

/// One way to break the rules about an R2T's answer, and what the target may make of it.
struct Breach {
    name: &'static str,
    spoil: fn(Pdu) -> Pdu,
    /// Whether the task must fail. A stray PDU may be rejected by itself and the task go on.
    may_go_on: bool,
}

/// Data-Out that the R2T did not ask for (RFC 7143 11.7, 7.9; checklist of sense codes 11.4.7.2).
fn breaches() -> Vec<Breach> {
    let breach = |name, spoil, may_go_on| Breach { name, spoil, may_go_on };
    vec![
        breach("offset beyond the R2T", |pdu| pdu.with_u32(40, 0x0010_0000), false),
        breach("offset before the end of memory", |pdu| pdu.with_u32(40, 0xffff_fe00), false),
        breach("offset in the middle", |pdu| pdu.with_u32(40, 512), false),
        breach("DataSN that does not begin at 0", |pdu| pdu.with_u32(36, 3), false),
        breach("more data than asked for", |pdu| pdu.with_data(&[0xee; 16_384]), false),
        breach("final too early", |pdu| pdu.with_data(&[0xee; 512]), false),
        breach("no data at all", |pdu| pdu.with_data(&[]), false),
        breach("unknown transfer tag", |pdu| pdu.with_u32(20, 0x0bad_cafe), true),
        breach("unsolicited in an R2T's place", |pdu| pdu.with_u32(20, pdu::TAG_NONE), true),
        breach("unknown task tag", |pdu| pdu.with_u32(16, 0x0bad_beef), true),
        breach("another LUN", |pdu| pdu.with_lun(99), true),
    ]
}

#[test]
fn data_out_against_the_rules_never_become_a_good_write() {
    let subject = Subject::start();
    for breach in breaches() {
        let mut disk = subject.disk();
        let before = prepare(&mut disk);
        let (lun, block) = (disk.lun(), disk.block_bytes());
        let session = disk.session();
        let tag = start_write(session, lun, block, 8192);
        let r2t = first_r2t(session, tag);
        let good = whole_answer(&r2t, lun, &pattern(8192, 0xaa));
        let bad = whole_answer(&r2t, lun, &pattern(8192, 0xbb));
        session.connection().send(&(breach.spoil)(bad)).expect("data are sent");
        let ended = session.ping(b"what now?").err();
        let mut fate = ended.map(|error| Outcome::of(Err(error)));
        if fate.is_none() && session.has_answer(tag) {
            fate = Some(outcome(session, tag));
        }
        if fate.is_none() && breach.may_go_on {
            // The stray PDU was dropped or rejected; the task waits for its data still.
            session.connection().send(&good).expect("data are sent");
            while !session.has_answer(tag) {
                session.pump().expect("the write is answered");
            }
            for reject in session.take_rejects() {
                assert!(matches!(reject.bhs[2], 0x04 | 0x09), "reason {:#04x}", reject.bhs[2]);
            }
            assert_eq!(outcome(session, tag), Outcome::Good, "{}", breach.name);
            let written = content(&mut disk);
            let is_right = written[..8192] == pattern(8192, 0xaa);
            assert!(is_right, "{}: data of the stray PDU were written", breach.name);
        } else {
            let fate = fate.unwrap_or_else(|| outcome(session, tag));
            assert!(fate.is_refusal(), "{}: {fate:?}", breach.name);
            let mut disk = subject.disk();
            let after = content(&mut disk);
            assert_eq!(after[8192..], before[8192..], "{}: blocks beside changed", breach.name);
            subject.finish(disk.into_session());
        }
    }
    subject.assert_serves();
}

/// The same faults leave the session usable if the target keeps it.
#[test]
fn a_session_that_survives_bad_data_out_goes_on() {
    let subject = Subject::start();
    for breach in breaches() {
        let mut disk = subject.disk();
        let (lun, block) = (disk.lun(), disk.block_bytes());
        let session = disk.session();
        let tag = start_write(session, lun, block, 8192);
        let r2t = first_r2t(session, tag);
        let good = whole_answer(&r2t, lun, &pattern(8192, 0xaa));
        session.connection().send(&(breach.spoil)(good)).expect("data are sent");
        if session.ping(b"still there?").is_ok() {
            let command = Command::read(lun, cdb::read_16(0, 1), block);
            let result = session.scsi(command);
            assert!(result.is_ok_and(|result| result.is_good()), "{}", breach.name);
        }
    }
    subject.assert_serves();
}

#[test]
fn immediate_data_against_the_terms_are_not_written() {
    let subject = Subject::start();
    let terms = [
        ("beyond the expected length", subject.login(), 1024, 4096),
        ("beyond FirstBurstLength", subject.login().key("FirstBurstLength", "512"), 4096, 4096),
        ("where none were agreed", subject.login().key("ImmediateData", "No"), 4096, 4096),
    ];
    for (what, login, expected, sent) in terms {
        let mut disk = subject.disk_with(&login);
        let before = prepare(&mut disk);
        let (lun, block) = (disk.lun(), disk.block_bytes());
        let session = disk.session();
        let tag = session.new_tag();
        let cdb = cdb::write_16(LBA, expected / block);
        let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
        let command = pdu::scsi_command(flags, lun, expected, &cdb)
            .with_u32(16, tag)
            .with_data(&pattern(sent, 0xaa));
        session.send(command).expect("a write is sent");
        let fate = outcome(session, tag);
        assert!(fate.is_refusal(), "immediate data {what}: {fate:?}");
        if fate != Outcome::Closed {
            assert_eq!(session.ping(b"in step?").expect("an answer"), b"in step?", "{what}");
        }
        let mut disk = subject.disk();
        assert_eq!(content(&mut disk)[4096..], before[4096..], "{what}");
        subject.finish(disk.into_session());
    }
}

#[test]
fn unsolicited_data_where_none_were_agreed_fail_the_write() {
    let subject = Subject::start();
    let login = subject.login().key("InitialR2T", "Yes");
    let mut disk = subject.disk_with(&login);
    let before = prepare(&mut disk);
    let (lun, block) = (disk.lun(), disk.block_bytes());
    let session = disk.session();
    let tag = session.new_tag();
    let cdb = cdb::write_16(LBA, 4096 / block);
    // Without F the command says that Data-Out follow by themselves (RFC 7143 11.3.1).
    let command = pdu::scsi_command(pdu::WRITE | pdu::SIMPLE, lun, 4096, &cdb);
    session.send(command.with_u32(16, tag)).expect("a write is sent");
    let data = pdu::data_out(tag, pdu::TAG_NONE, lun)
        .with_byte(1, pdu::FINAL)
        .with_data(&pattern(4096, 0xaa));
    session.connection().send(&data).expect("data are sent");
    let fate = outcome(session, tag);
    assert!(fate.is_refusal(), "{fate:?}");
    let mut disk = subject.disk();
    assert_eq!(content(&mut disk), before);
    subject.finish(disk.into_session());
}

#[test]
fn data_for_no_task_do_no_harm() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let before = prepare(&mut disk);
    let lun = disk.lun();
    for transfer_tag in [pdu::TAG_NONE, 0, 1, 0x1234_5678] {
        let tag = disk.session().new_tag();
        let data = pdu::data_out(tag, transfer_tag, lun)
            .with_byte(1, pdu::FINAL)
            .with_data(&pattern(4096, 0xaa));
        disk.session().connection().send(&data).expect("data are sent");
        match disk.session().ping(b"alive") {
            Ok(_) => {}
            Err(Error::Closed) => {
                disk = subject.disk();
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(content(&mut disk), before);
    subject.finish(disk.into_session());
}

#[test]
fn a_write_that_waits_for_data_holds_up_no_other() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let (lun, block) = (disk.lun(), disk.block_bytes());
    let session = disk.session();
    let tag = start_write(session, lun, block, 8192);
    let r2t = first_r2t(session, tag);
    for _ in 0..200 {
        let command = Command::read(lun, cdb::read_16(0, 8), 8 * block);
        assert!(session.scsi(command).expect("a read").is_good());
    }
    let answer = whole_answer(&r2t, lun, &pattern(8192, 23));
    session.connection().send(&answer).expect("data are sent");
    assert_eq!(outcome(session, tag), Outcome::Good);
    assert_eq!(content(&mut disk)[..8192], pattern(8192, 23));
    subject.finish(disk.into_session());
}

#[test]
fn a_connection_that_dies_in_the_middle_of_data_leaves_the_rest_untouched() {
    let subject = Subject::start();
    let mut watcher = subject.disk();
    let before = prepare(&mut watcher);
    for sent in [1, 47, 48, 49, 512, 4096, 8191] {
        let mut disk = subject.disk();
        let (lun, block) = (disk.lun(), disk.block_bytes());
        let session = disk.session();
        let tag = start_write(session, lun, block, 8192);
        let r2t = first_r2t(session, tag);
        let bytes = whole_answer(&r2t, lun, &pattern(8192, 0xaa)).encode(pdu::Digests::default());
        session.connection().send_bytes(&bytes[..sent]).expect("a part is sent");
        session.connection().finish_sending().expect("and no more");
        session.connection().discard_until_closed().expect("the target closes too");
    }
    assert_eq!(content(&mut watcher), before, "a write without all its data is no write");
    subject.finish(watcher.into_session());
}
