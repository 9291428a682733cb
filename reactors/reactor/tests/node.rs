//! A whole node in this process, and initiators over loopback TCP.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod initiator;

use initiator::{
    Fixture, Initiator, Wishes, clear_attention, inquiry, memory_node, pattern, read_10, write_10,
};
use std::io::Read;
use std::time::Duration;

const GOOD: u8 = 0;
const GRACE: Duration = Duration::from_secs(20);

fn write_and_read_back(initiator: &mut Initiator, lba: u32, seed: u8) {
    clear_attention(initiator, 0);
    // 8 KiB come with the command, the rest is asked for.
    let data = pattern(seed, 300 * 512);
    let written = initiator.execute_write(0, &write_10(lba, 300), &data, (8192, 65_536));
    assert_eq!(written.status, GOOD, "{written:?}");
    let read = initiator.execute(0, &read_10(lba, 300), 300 * 512);
    assert_eq!(read.status, GOOD);
    assert!(read.data == data, "what was written is read back");
}

/// The sum over all reactors once `settled` says that it is as expected; a hang fails the test.
fn settle(fixture: &Fixture, what: &str, settled: impl Fn(&[reactor::ReactorReport]) -> bool) {
    let until = std::time::Instant::now() + GRACE;
    while !settled(&fixture.node.report()) {
        assert!(std::time::Instant::now() < until, "{what}: {:?}", fixture.node.report());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn inquiry_names_the_device_type_and_vendor() {
    let fixture = memory_node(1);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    let answer = initiator.execute(0, &inquiry(), 96);
    assert_eq!((answer.status, answer.data[0]), (GOOD, 0x00));
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn what_was_written_is_read_back() {
    let fixture = memory_node(1);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    write_and_read_back(&mut initiator, 100, 0x5a);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn digests_cover_both_directions() {
    let fixture = memory_node(1);
    let wishes = Wishes { digests: true, ..Wishes::default() };
    let mut initiator = Initiator::log_in(fixture.address, 1, wishes);
    write_and_read_back(&mut initiator, 0, 0x11);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn a_stream_that_comes_byte_by_byte_is_understood() {
    let fixture = memory_node(1);
    let wishes = Wishes { digests: true, ..Wishes::default() };
    let mut initiator = Initiator::log_in_with(fixture.address, 1, wishes, true);
    clear_attention(&mut initiator, 0);
    let data = pattern(3, 2048);
    let written = initiator.execute_write(0, &write_10(8, 4), &data, (1000, 511));
    assert_eq!(written.status, GOOD);
    assert_eq!(initiator.execute(0, &read_10(8, 4), 2048).data, data);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn sessions_spread_over_two_reactors_and_share_the_data() {
    let fixture = memory_node(2);
    let wishes = |n: u8| Wishes { digests: n % 2 == 1, ..Wishes::default() };
    let mut initiators: Vec<Initiator> =
        (0..8).map(|n| Initiator::log_in(fixture.address, n, wishes(n))).collect();
    for (n, initiator) in (0_u8..).zip(&mut initiators) {
        write_and_read_back(initiator, u32::from(n) * 400, n);
    }
    for (n, initiator) in (0_u8..).zip(initiators.iter_mut().rev()) {
        let read = initiator.execute(0, &read_10(u32::from(n) * 400, 300), 300 * 512);
        assert!(read.data == pattern(n, 300 * 512));
    }
    let sessions: Vec<usize> = fixture.node.report().iter().map(|r| r.sessions.len()).collect();
    // How many where depends on when each reactor hears of the other's sessions.
    assert_eq!(sessions.iter().sum::<usize>(), 8);
    assert!(sessions.iter().all(|&n| n > 0), "{sessions:?}");
    for initiator in initiators {
        initiator.log_out();
    }
    fixture.node.shutdown(GRACE);
}

#[test]
fn commands_that_come_in_one_segment_are_all_answered() {
    let fixture = memory_node(1);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    write_and_read_back(&mut initiator, 0, 0x77);
    let expected = pattern(0x77, 300 * 512);
    let mut bytes = Vec::new();
    for n in 0..32 {
        let header = initiator.command(0, &read_10(n * 8, 8), 0xc0, 4096);
        bytes.extend_from_slice(&initiator.pdu_bytes(header, &[]));
    }
    initiator.write(&bytes);
    for n in 0..32 {
        let outcome = initiator.outcome();
        assert!(outcome.data == expected[n * 4096..(n + 1) * 4096]);
    }
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

/// The last PDU of a transfer could leave the send list exactly full, and its buffer was then
/// booked on the next list, which was empty and could not be sent: the buffer stayed lent and
/// the reactor spun.
#[test]
fn a_transfer_in_more_pdus_than_one_send_holds_comes_whole() {
    let fixture = memory_node(1);
    for (n, data_in_max) in (1_u8..).zip([512, 516, 1000, 1024, 2048]) {
        let wishes = Wishes { data_in_max, ..Wishes::default() };
        let mut initiator = Initiator::log_in(fixture.address, n, wishes);
        clear_attention(&mut initiator, 0);
        let data = pattern(n, 512 * 512);
        initiator.execute_write(0, &write_10(0, 512), &data, (8192, 262_144));
        for blocks in [255, 256, 257, 511, 512] {
            let read = initiator.execute(0, &read_10(0, blocks), u32::from(blocks) * 512);
            assert!(read.data == data[..usize::from(blocks) * 512]);
            settle(&fixture, "buffers come back", |r| r[0].buffers_in_use == 0);
        }
        initiator.log_out();
    }
    fixture.node.shutdown(GRACE);
}

#[test]
fn long_data_segments_are_received_without_a_copy() {
    let fixture = memory_node(1);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    clear_attention(&mut initiator, 0);
    let data = pattern(9, 512 * 512);
    let before = fixture.node.report()[0].snapshot.counters().bytes_copied;
    let rounds = 16;
    for _ in 0..rounds {
        let written = initiator.execute_write(0, &write_10(0, 512), &data, (0, 262_144));
        assert_eq!(written.status, GOOD);
    }
    let copied = fixture.node.report()[0].snapshot.counters().bytes_copied - before;
    // One copy goes into the memory volume. What came along with a header was copied besides,
    // a receive buffer of 64 KiB at most.
    assert!(copied >= rounds * 262_144, "{copied}");
    assert!(copied <= rounds * (262_144 + 65_536), "{copied}");
    assert!(initiator.execute(0, &read_10(0, 512), 262_144).data == data);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn a_peer_that_vanishes_in_the_middle_of_a_transfer_leaves_nothing_behind() {
    let fixture = memory_node(2);
    for n in 0..8 {
        let mut initiator = Initiator::log_in(fixture.address, n, Wishes::default());
        clear_attention(&mut initiator, 0);
        // A long read that nobody takes, and a write of which only a part comes.
        let read = initiator.command(0, &read_10(0, 4096), 0xc0, 4096 * 512);
        initiator.send(read, &[]);
        let header = initiator.command(0, &write_10(0, 128), 0xa0, 65_536);
        let bytes = initiator.pdu_bytes(header, &pattern(0, 65_536));
        initiator.write(&bytes[..1000 + 8000 * usize::from(n)]);
        drop(initiator);
    }
    settle(&fixture, "everything is given back", |reports| {
        reports.iter().all(|r| r.is_idle && r.buffers_in_use == 0 && r.connections == 0)
    });
    let mut initiator = Initiator::log_in(fixture.address, 9, Wishes::default());
    write_and_read_back(&mut initiator, 0, 1);
    initiator.log_out();
    fixture.node.shutdown(GRACE);
}

#[test]
fn an_initiator_that_does_not_read_does_not_hold_up_others() {
    let fixture = memory_node(1);
    let mut deaf = Initiator::log_in(fixture.address, 1, Wishes::default());
    clear_attention(&mut deaf, 0);
    let mut expected = 0;
    for _ in 0..64 {
        let header = deaf.command(0, &read_10(0, 1024), 0xc0, 1024 * 512);
        deaf.send(header, &[]);
        expected += 1024 * 512;
    }
    let mut other = Initiator::log_in(fixture.address, 2, Wishes::default());
    clear_attention(&mut other, 0);
    assert_eq!(other.execute(0, &inquiry(), 96).status, GOOD);
    other.log_out();
    // Commands that are under way together may send their Data-In by turns.
    let (mut received, mut ended) = (0, 0);
    while ended < 64 {
        let pdu = deaf.receive();
        assert_eq!(pdu.opcode(), 0x25);
        received += pdu.data.len();
        if pdu.header[1] & 1 != 0 {
            assert_eq!(pdu.header[3], GOOD);
            ended += 1;
        }
    }
    assert_eq!(received, expected);
    deaf.log_out();
    settle(&fixture, "buffers come back", |r| r[0].buffers_in_use == 0);
    fixture.node.shutdown(GRACE);
}

/// A session that was on its way to another reactor just then was not asked.
#[test]
fn shutdown_asks_for_a_logout_and_ends_when_it_has_come() {
    let fixture = memory_node(2);
    let mut initiators: Vec<Initiator> =
        (0..3).map(|n| Initiator::log_in(fixture.address, n, Wishes::default())).collect();
    let address = fixture.address;
    let stop = std::thread::spawn(move || fixture.node.shutdown(GRACE));
    for initiator in &mut initiators {
        let asked = initiator.receive();
        // Async Message, event 1: the target asks for a logout (RFC 7143 11.9.1).
        assert_eq!((asked.opcode(), asked.header[36]), (0x32, 1));
    }
    for initiator in initiators {
        initiator.log_out();
    }
    stop.join().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_node_that_is_dropped_ends_its_reactors_and_connections() {
    let fixture = memory_node(2);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    drop(fixture.node);
    assert!(std::net::TcpStream::connect(fixture.address).is_err());
    // The end of the stream, or a reset.
    assert!(matches!(initiator.stream.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn a_data_segment_longer_than_declared_is_rejected_and_the_connection_closed() {
    let fixture = memory_node(1);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    let mut header = initiator.command(0, &write_10(0, 1), 0xa0, 512);
    // 0x40004 bytes: four more than the 262144 that the target declares.
    header[5..8].copy_from_slice(&[0x04, 0x00, 0x04]);
    initiator.write(&header);
    let reject = initiator.receive();
    assert_eq!(reject.opcode(), 0x3f, "Reject");
    assert_eq!(initiator.stream.read(&mut [0; 1]).unwrap(), 0, "closed");
    settle(&fixture, "the connection ends", |r| r[0].connections == 0);
    fixture.node.shutdown(GRACE);
}
