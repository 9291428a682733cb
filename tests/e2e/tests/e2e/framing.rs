//! TCP keeps no boundaries: how bytes are cut must not change an answer (RFC 7143 4.2.3).

use std::collections::HashMap;

use e2e::{Subject, pattern};
use initiator::{Command, Disk, Pace, Pdu, Ticket, cdb, pdu};

/// A PDU without what may differ between two sessions: transfer tags, and the window, which
/// opens when resources become free.
fn comparable(pdu: &Pdu) -> Pdu {
    let mut pdu = pdu.clone();
    if pdu.opcode() == pdu::opcode::R2T || pdu.opcode() == pdu::opcode::DATA_IN {
        let tag = pdu.target_transfer_tag();
        pdu = pdu.with_u32(20, if tag == pdu::TAG_NONE { tag } else { 0 });
    }
    if pdu.opcode() == pdu::opcode::LOGIN_RESPONSE {
        pdu = pdu.with_u16(14, 0);
    }
    // StatSN may start anywhere (RFC 7143 4.2.2.2); the session has checked that it counts.
    pdu.with_u32(24, 0).with_u32(32, 0)
}

/// Login, INQUIRY, a short write, a long write by R2T, a read of both, NOP and logout.
fn dialogue(subject: &Subject, pace: Pace) -> Vec<Pdu> {
    let mut connection = subject.connect();
    connection.set_pace(pace);
    connection.start_record();
    let login = subject.login().with_isid([0x80, 0, 0, 7, 0, 0]);
    let session = initiator::Session::login(connection, &login).expect("a login");
    let mut disk = Disk::open(session, subject.lun).expect("a disk");
    // Unit attentions of a new nexus come once; what follows is the same every time.
    disk.session().connection().take_record();
    disk.session().connection().start_record();
    e2e::inquiry_is_answered(disk.session(), subject.lun);
    let blocks_of_4_kib = 4096 / disk.block_bytes();
    let short = pattern(4096, 1);
    assert!(disk.write(0, &short).expect("a short write").is_good());
    let long = pattern(262_144, 2);
    let command = disk.write_command(u64::from(blocks_of_4_kib), &long, false);
    let command = command.without_unsolicited_data().with_immediate_data_up_to(0);
    let written = disk.session().scsi(command).expect("a long write");
    assert!(written.is_good());
    assert!(written.r2t_count > 0, "without unsolicited data every byte needs an R2T");
    let read = disk.read(0, 65 * blocks_of_4_kib).expect("a read");
    assert_eq!(read.data[..4096], short);
    assert_eq!(read.data[4096..], long);
    let mut session = disk.into_session();
    assert_eq!(session.ping(b"still there?").expect("an answer"), b"still there?");
    assert_eq!(session.logout().expect("a logout"), 0);
    e2e::settle(&session, subject.is_own());
    session.connection().take_record()
}

#[test]
fn one_byte_at_a_time_gets_the_same_answers() {
    let subject = Subject::start();
    let whole = dialogue(&subject, Pace::Whole);
    let dribbled = dialogue(&subject, Pace::SingleBytes);
    assert_eq!(whole.len(), dribbled.len(), "as many PDUs");
    for (whole, dribbled) in whole.iter().zip(&dribbled) {
        assert_eq!(comparable(whole), comparable(dribbled));
    }
}

#[test]
fn a_pdu_cut_in_two_anywhere_is_the_same_pdu() {
    let subject = Subject::start();
    let mut session = subject.session();
    let whole_length = 48 + 12;
    for cut in 1..whole_length {
        let tag = session.new_tag();
        let ping = session.stamp(pdu::nop_out(tag, b"twelve bytes").immediate());
        let bytes = ping.encode(session.connection().digests());
        assert_eq!(bytes.len(), whole_length);
        session.connection().send_bytes(&bytes[..cut]).expect("the first part is sent");
        session.connection().send_bytes(&bytes[cut..]).expect("the second part is sent");
        let answer = session.await_answer(tag, pdu::opcode::NOP_IN).expect("an answer");
        assert_eq!(answer.data, b"twelve bytes", "cut after {cut} bytes");
    }
    subject.finish(session);
}

/// What a client sends in this test: commands as far as the window reaches, and pings.
#[derive(Debug)]
enum Sent {
    Ping { tag: u32, data: Vec<u8> },
    Read { ticket: Ticket, lba: u64 },
    Ready { ticket: Ticket },
}

/// The bytes of 1000 PDUs, none of which needs the answer to another.
fn thousand_pdus(disk: &mut Disk) -> (Vec<Sent>, Vec<u8>) {
    let (mut sent, mut bytes) = (Vec::new(), Vec::new());
    for index in 0_u32..1000 {
        let takes_a_slot = index % 8 == 0 && disk.session().window_is_open();
        let (what, wire) = if takes_a_slot && index % 16 == 0 {
            let lba = u64::from(index);
            let command = disk.read_command(lba, 1);
            let (ticket, wire) = disk.session().submit_later(command);
            (Sent::Read { ticket, lba }, wire)
        } else if takes_a_slot {
            let command = Command::without_data(disk.lun(), cdb::test_unit_ready());
            let (ticket, wire) = disk.session().submit_later(command);
            (Sent::Ready { ticket }, wire)
        } else {
            let tag = disk.session().new_tag();
            let data = index.to_be_bytes().to_vec();
            let ping = disk.session().stamp(pdu::nop_out(tag, &data).immediate());
            let wire = ping.encode(disk.session().connection().digests());
            (Sent::Ping { tag, data }, wire)
        };
        sent.push(what);
        bytes.extend_from_slice(&wire);
    }
    (sent, bytes)
}

/// Waits for every answer and compares it with the one that a single request gets.
fn compare_answers(disk: &mut Disk, sent: Vec<Sent>, contents: &HashMap<u64, Vec<u8>>) {
    for what in sent {
        match what {
            Sent::Ping { tag, data } => {
                let answer = disk.session().await_answer(tag, pdu::opcode::NOP_IN);
                assert_eq!(answer.expect("the answer to a ping").data, data);
            }
            Sent::Read { ticket, lba } => {
                let result = disk.session().collect(ticket).expect("the answer to a read");
                assert!(result.is_good());
                assert_eq!(&result.data, &contents[&lba], "block {lba}");
            }
            Sent::Ready { ticket } => {
                assert!(disk.session().collect(ticket).expect("an answer").is_good());
            }
        }
    }
}

#[test]
fn a_thousand_pdus_in_one_segment_get_the_same_answers() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let block_bytes = disk.block_bytes() as usize;
    let data = pattern(1024 * block_bytes, 3);
    for (index, chunk) in data.chunks(128 * block_bytes).enumerate() {
        assert!(disk.write(index as u64 * 128, chunk).expect("a write").is_good());
    }
    let mut contents = HashMap::new();
    for lba in (0..1000).step_by(16) {
        let alone = disk.read(lba, 1).expect("a read").data;
        let start = usize::try_from(lba).expect("a small number") * block_bytes;
        assert_eq!(alone, data[start..start + block_bytes]);
        contents.insert(lba, alone);
    }
    let (sent, bytes) = thousand_pdus(&mut disk);
    assert!(bytes.len() < 65_483, "it fits into one segment of loopback");
    disk.session().connection().send_bytes(&bytes).expect("all is sent in one write");
    compare_answers(&mut disk, sent, &contents);
    subject.finish(disk.into_session());
}

/// The same, but each PDU in eight segments: the target sees 8000 arrivals.
#[test]
fn a_thousand_pdus_in_small_pieces_get_the_same_answers() {
    let subject = Subject::start();
    let mut disk = subject.disk();
    let mut contents = HashMap::new();
    for lba in (0..1000).step_by(16) {
        contents.insert(lba, disk.read(lba, 1).expect("a read").data);
    }
    let (sent, bytes) = thousand_pdus(&mut disk);
    for piece in bytes.chunks(7) {
        disk.session().connection().send_bytes(piece).expect("a piece is sent");
    }
    compare_answers(&mut disk, sent, &contents);
    subject.finish(disk.into_session());
}
