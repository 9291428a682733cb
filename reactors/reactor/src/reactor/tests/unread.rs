//! Connections that end while their peers do not read.

use super::left_data::{catalog, command, logged_in, pdu};
use super::*;
use std::net::TcpStream;

/// A session whose socket takes nothing more, with two reads whose data waits behind that. They are
/// at the disk when the socket is filled: a reactor does not look at further commands of a
/// connection for which so much waits. The PDU `behind` them comes with them.
fn deaf(reactor: &mut Reactor, behind: &[u8]) -> (ConnId, TcpStream) {
    let (key, mut peer) = logged_in(reactor, "deaf");
    let conn = reactor.streams.get(key).unwrap().link.id;
    let mut commands = Vec::new();
    for (cmd_sn, lba) in [(2, 0), (3, 8)] {
        let cdb = [0x28, 0, 0, 0, 0, lba, 0, 0, 8, 0];
        commands.extend(pdu(command(0xc0, cmd_sn, &cdb, 4096), &[]));
    }
    commands.extend(behind);
    peer.write_all(&commands).unwrap();
    turn_until(reactor, "the reads have buffers", |r| r.shard.buffers_in_use() == 2);
    let data = SendData::Bytes(vec![0; 4 << 20]);
    reactor.actions.push(Action::Send { conn, header: [0x20; 48], data, sample: None });
    reactor.run_actions();
    (conn, peer)
}

/// A reactor with a session's volume in a file.
fn serving_file(directory: &std::path::Path) -> Reactor {
    let mut reactor = reactor();
    take_file(&mut reactor, directory, VOLUME);
    let now = reactor.now;
    reactor.shard.handle_catalog(now, catalog(), &mut reactor.actions);
    reactor.run_actions();
    reactor
}

fn is_over(reactor: &Reactor) -> bool {
    reactor.streams.is_empty() && reactor.shard.buffers_in_use() == 0
}

/// A session that was dropped kept its buffers until its peer read them, or for the 90 s after
/// which the kernel gave the connection up.
#[test]
fn a_session_that_is_dropped_gives_its_buffers_back_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut reactor = serving_file(directory.path());
    let (conn, _peer) = deaf(&mut reactor, &[]);
    let now = reactor.now;
    reactor.shard.handle_closed(now, conn, &mut reactor.actions);
    reactor.run_actions();
    turn_until(&mut reactor, "its buffers are back", is_over);
}

#[test]
fn a_peer_that_logs_out_and_does_not_read_the_response_has_a_limited_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut reactor = serving_file(directory.path());
    let mut logout = [0; 48];
    logout[..2].copy_from_slice(&[0x46, 0x80]);
    logout[27] = 4;
    let (conn, _peer) = deaf(&mut reactor, &pdu(logout, &[]));
    turn_until(&mut reactor, "the shard is done with it", |r| r.names.find(conn).is_none());
    assert_eq!(reactor.streams.count(), 1, "its logout response waits to leave");
    assert!(!reactor.end_overdue_drains(), "it has time for that");
    reactor.now = uring::now().after(limits::DRAIN_TIME_MAX);
    assert!(reactor.end_overdue_drains());
    turn_until(&mut reactor, "its buffers are back", is_over);
}

/// What they had stayed with the allocator.
#[test]
fn a_connection_that_has_ended_asks_for_one_sweep() {
    let mut reactor = reactor();
    let (sweeps, asked) = Sweeps::new();
    reactor.sweeps = sweeps;
    let peers: Vec<TcpStream> = (0..3).map(|_| connect(&mut reactor).1).collect();
    assert!(asked.try_recv().is_err());
    drop(peers);
    turn_until(&mut reactor, "the connections are gone", |r| r.streams.is_empty());
    turn_until(&mut reactor, "a sweep is asked for", |r| !r.connections_ended);
    assert_eq!(asked.try_iter().count(), 1);
}
