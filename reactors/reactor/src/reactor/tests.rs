//! A reactor without its thread, to see what it does when the kernel or the shard goes wrong.

mod turn_end;

use super::*;
use crate::backend::{EIO, Store, with_zero_buffer};
use crate::mailbox::PostOffice;
use crate::token::token_of;
use shard::{SendData, ShardOptions};
use std::io::{Read, Write};
use units::{BufSlice, PoolLayout, SizeClass};
use uring::file::{OpenOptions, create, open_direct};
use uring::{DriverOptions, Errno};

fn layout() -> PoolLayout {
    PoolLayout::new(vec![SizeClass { bytes: 4096, count: 4 }])
}

fn reactor() -> Reactor {
    reactor_with(DriverOptions::new(with_zero_buffer(&layout())))
}

fn reactor_with(driver: DriverOptions) -> Reactor {
    let mut options = NodeOptions::new(vec![0]);
    options.layout = layout();
    let (driver, _) = Driver::new(&driver).unwrap();
    let office = PostOffice::new(1);
    let doorbell = Arc::new(Doorbell::new(driver.waker()));
    let shard = Shard::new(
        ShardOptions {
            id: ReactorId(0),
            reactors: 1,
            layout: layout(),
            login_time_max: limits::LOGIN_TIME_MAX,
            entropy: Box::new(|bytes: &mut [u8]| bytes.fill(7)),
        },
        Arc::default(),
    );
    Reactor::new(Parts {
        id: ReactorId(0),
        options: Arc::new(options),
        driver,
        shard,
        inboxes: office.inboxes(0),
        outboxes: office.outboxes(0, vec![Arc::clone(&doorbell)]),
        doorbell,
        commands: Arc::new(ArrayQueue::new(1)),
        warnings: Vec::new(),
    })
}

const OP: OpId = OpId { task: Key { index: 0, generation: 0 }, part: 0 };
const VOLUME: VolumeId = VolumeId(0);
const FAILED: Option<(OpId, IoResult)> = Some((OP, IoResult::Failed(EIO)));

/// Two reactors that share a volume in a file.
fn two_with_a_file(directory: &std::path::Path) -> (Reactor, Reactor) {
    let path = directory.join("volume");
    create(&path, 1 << 20, false).unwrap();
    let open = OpenOptions { read_only: false, buffered_allowed: true };
    let store: SharedStore = Store::File(open_direct(&path, open).unwrap()).into();
    let (mut one, mut two) = (reactor(), reactor());
    one.take_stores(vec![(VOLUME, store.clone())]);
    two.take_stores(vec![(VOLUME, store)]);
    (one, two)
}

/// The kernel tells of a failed flush once. The flush after it was answered with GOOD, though
/// what was written before the first one might be lost.
#[test]
fn after_a_flush_has_failed_no_reactor_calls_the_volume_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (mut one, mut two) = two_with_a_file(directory.path());
    one.flush(OP, VOLUME);
    let key = one.ios.iter().next().unwrap().0;
    one.io_ended(token_of(key), Err(Errno(EIO)));
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    for reactor in [&mut one, &mut two] {
        reactor.flush(OP, VOLUME);
        assert_eq!(reactor.done.pop_back(), FAILED);
        reactor.write(OP, VOLUME, 0, (slice, true));
        assert_eq!(reactor.done.pop_back(), FAILED);
        // A write that promises nothing is the disk's to judge.
        reactor.write(OP, VOLUME, 0, (slice, false));
        assert_eq!(reactor.done.pop_back(), None);
    }
}

#[test]
fn a_failed_read_or_write_says_nothing_about_other_data() {
    let directory = tempfile::tempdir().unwrap();
    let (mut one, _) = two_with_a_file(directory.path());
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    one.read(OP, VOLUME, 0, (slice, false));
    let key = one.ios.iter().next().unwrap().0;
    one.transferred(token_of(key), Err(Errno(EIO)));
    one.flush(OP, VOLUME);
    assert_eq!(one.done.pop_back(), None);
}

/// The refusal was an assertion that release builds leave out: the old bytes of the buffer were
/// written to the volume, or taken for zeros.
#[test]
fn a_buffer_that_could_not_be_filled_is_neither_written_nor_compared() {
    let directory = tempfile::tempdir().unwrap();
    let (mut reactor, _) = two_with_a_file(directory.path());
    let slice = |buf| BufSlice { buf: BufId(buf), offset: 0, len: 4096 };
    // The kernel writes to both of them.
    reactor.read(OP, VOLUME, 0, (slice(0), false));
    reactor.read(OP, VOLUME, 0, (slice(1), false));
    reactor.replicate(BufSlice { len: 512, ..slice(2) }, slice(0));
    reactor.write(OP, VOLUME, 0, (slice(0), false));
    assert_eq!(reactor.done.pop_back(), FAILED);
    reactor.zero_fill(slice(1));
    while reactor.ios.iter().next().is_some() {
        reactor.enter(Wait::AtMost(Duration::from_secs(1)));
        reactor.reap();
    }
    reactor.compare(OP, slice(2), slice(1));
    assert_eq!(reactor.done.pop_back(), FAILED);
    // Filled anew, they are as good as any other.
    reactor.zero_fill(slice(1));
    reactor.compare(OP, slice(2), slice(1));
    assert_eq!(reactor.done.pop_back(), Some((OP, IoResult::Done)));
}

/// A connection of the reactor, and its other end.
fn connect(reactor: &mut Reactor) -> (ConnId, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // Only a hang reaches it.
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    reactor.accepted(listener.accept().unwrap().0.into());
    let conn = reactor.by_conn.iter().flatten().last().unwrap().0;
    (conn, peer)
}

/// Makes turns until something is so.
fn turn_until(reactor: &mut Reactor, what: &str, is_so: impl Fn(&Reactor) -> bool) {
    let until = uring::now().after(Duration::from_secs(20));
    while !is_so(reactor) {
        assert!(uring::now() < until, "{what}");
        reactor.turn();
    }
}

/// A connection that did not read its responses kept its receive buffer. As many of those as
/// there are buffers, and nobody else was served any more.
#[test]
fn connections_that_are_backed_up_hold_no_receive_buffers() {
    let mut options = DriverOptions::new(with_zero_buffer(&layout()));
    options.recv_buffer_count = 1;
    let mut reactor = reactor_with(options);
    let (deaf, mut deaf_peer) = connect(&mut reactor);
    let (_, mut other_peer) = connect(&mut reactor);
    reactor.turn();
    let Reactor { driver, connections, by_conn, .. } = &mut reactor;
    let key = by_conn.iter().flatten().find(|(conn, _)| *conn == deaf).unwrap().1;
    let connection = connections.get_mut(key).unwrap();
    while !connection.is_backed_up() {
        let meaning = crate::connection::Meaning::default();
        connection.batches.push_back(crate::connection::Batch { gather: driver.gather(), meaning });
    }
    // As if the kernel had one more, which the peer does not take.
    connection.sending = Some(crate::connection::Meaning::default());
    let mut header = [0; 48];
    header[0] = 0x43;
    deaf_peer.write_all(&header).unwrap();
    turn_until(&mut reactor, "the bytes of the deaf one are here", |r| {
        r.connections.get(key).unwrap().pending.is_some()
    });
    other_peer.write_all(&header).unwrap();
    turn_until(&mut reactor, "the other one is served", |r| r.recorder.counters.pdus_received > 0);
    // Nothing of the deaf one is lost.
    let connection = reactor.connections.get_mut(key).unwrap();
    connection.batches.clear();
    reactor.list(key);
    turn_until(&mut reactor, "it is served later", |r| r.recorder.counters.pdus_received > 1);
}

/// The PDU went out without the digest that the peer expected, which took the next header's
/// first bytes for it.
#[test]
fn a_connection_ends_where_a_data_digest_cannot_be_made() {
    let directory = tempfile::tempdir().unwrap();
    let (mut reactor, _) = two_with_a_file(directory.path());
    let (conn, mut peer) = connect(&mut reactor);
    reactor.connection_mut(conn).unwrap().data_digest = true;
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    reactor.read(OP, VOLUME, 0, (slice, false));
    let data = SendData::Buffer { slice, last: false };
    reactor.queue_pdu(conn, &[0x25; 48], data, None);
    reactor.turn();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed without a byte");
}

/// The place kept the file of the volume before, and the new volume's data would have gone there.
#[test]
fn a_volume_whose_file_finds_no_room_does_not_get_that_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let (mut reactor, _) = two_with_a_file(directory.path());
    let path = directory.path().join("other");
    create(&path, 1 << 20, false).unwrap();
    let open = OpenOptions { read_only: false, buffered_allowed: true };
    let store: SharedStore = Store::File(open_direct(&path, open).unwrap()).into();
    let SharedStore::File { fd, .. } = &store else { unreachable!("made two lines above") };
    while reactor.driver.add_file(Arc::clone(fd)).is_ok() {}
    reactor.take_stores(vec![(VOLUME, store)]);
    reactor.flush(OP, VOLUME);
    assert_eq!(reactor.done.pop_back(), FAILED);
}

/// A listener that the ring had no room for just then was never listened on again.
#[test]
fn accepting_is_tried_again_when_the_ring_has_room() {
    let mut options = DriverOptions::new(with_zero_buffer(&layout()));
    // The waker's, and one more.
    options.operations = 2;
    let mut reactor = reactor_with(options);
    reactor.enter(Wait::No);
    let (_, peer) = connect(&mut reactor);
    reactor.turn();
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = uring::socket::listen(address, 8).unwrap();
    let address = uring::socket::local_address(&listener).unwrap();
    reactor.listen(vec![listener]);
    drop(peer);
    turn_until(&mut reactor, "the connection has ended", |r| r.connections.is_empty());
    let _peer = std::net::TcpStream::connect(address).unwrap();
    turn_until(&mut reactor, "the next one is accepted", |r| r.connections.len() == 1);
}

fn memory_volume(reactor: &mut Reactor) -> Arc<uring::MemoryStore> {
    let (store, _) = uring::MemoryStore::new(1 << 20).unwrap();
    reactor.take_stores(vec![(VOLUME, Store::Memory(Arc::clone(&store)).into())]);
    store
}

/// What a connection would send for a read of `VOLUME` at 4096 that is only sent.
fn sent_for_a_read_in_place(reactor: &mut Reactor, retire: bool, digest: bool) -> Vec<u8> {
    let (conn, mut peer) = connect(reactor);
    reactor.connection_mut(conn).unwrap().data_digest = digest;
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 8 };
    reactor.read(OP, VOLUME, 4096, (slice, true));
    assert_eq!(reactor.done.pop_back(), Some((OP, IoResult::Done)));
    if retire {
        reactor.volumes.clear();
    }
    reactor.queue_pdu(conn, &[0x25; 48], SendData::Buffer { slice, last: true }, None);
    reactor.turn();
    let mut sent = Vec::new();
    peer.set_nonblocking(false).unwrap();
    let expected = if retire { 0 } else { 56 + if digest { 4 } else { 0 } };
    sent.resize(expected, 0);
    peer.read_exact(&mut sent).unwrap();
    if retire {
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed without a byte");
    }
    sent
}

#[test]
fn a_read_that_is_only_sent_leaves_from_the_volume() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    store.write_bytes(4096, b"12345678").unwrap();
    let sent = sent_for_a_read_in_place(&mut reactor, false, false);
    assert_eq!(&sent[48..], b"12345678");
    assert_eq!(reactor.recorder.counters.bytes_copied, 0);
}

/// Between the digest and the send another command may change the volume.
#[test]
fn under_a_data_digest_the_bytes_are_copied_first() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    store.write_bytes(4096, b"12345678").unwrap();
    let sent = sent_for_a_read_in_place(&mut reactor, false, true);
    // CRC32C of "12345678", least significant byte first.
    assert_eq!(&sent[48..], [b"12345678".as_slice(), &[0x9a, 0x80, 0x87, 0x60]].concat());
}

#[test]
fn what_a_volume_held_that_is_gone_is_not_sent() {
    let mut reactor = reactor();
    memory_volume(&mut reactor);
    sent_for_a_read_in_place(&mut reactor, true, false);
}

/// Where the copy failed, the bytes left from the volume after all, and without the digest that
/// the peer expected behind them.
#[test]
fn a_connection_ends_where_bytes_in_place_cannot_be_copied_for_their_digest() {
    let directory = tempfile::tempdir().unwrap();
    let (mut reactor, _) = two_with_a_file(directory.path());
    let (store, _) = uring::MemoryStore::new(1 << 20).unwrap();
    let memory = VolumeId(VOLUME.0 + 1);
    reactor.take_stores(vec![(memory, Store::Memory(store).into())]);
    let (conn, mut peer) = connect(&mut reactor);
    reactor.connection_mut(conn).unwrap().data_digest = true;
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    // The kernel has the buffer.
    reactor.read(OP, VOLUME, 0, (slice, false));
    reactor.read(OP, memory, 0, (slice, true));
    let data = SendData::Buffer { slice, last: false };
    reactor.queue_pdu(conn, &[0x25; 48], data, None);
    reactor.turn();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed without a byte");
}

/// A connection with a data segment of 4096 bytes of 7 that is whole in its receive buffer.
fn with_unplaced(reactor: &mut Reactor) -> BufSlice {
    let (conn, mut peer) = connect(reactor);
    let key = reactor.key_of(conn).unwrap();
    reactor.turn();
    peer.write_all(&[7; 4196]).unwrap();
    let until = uring::now().after(Duration::from_secs(20));
    let is_whole = |r: &Reactor| match &r.connections.get(key).unwrap().pending {
        Some(crate::connection::Pending::Buffer(buffer, _)) => {
            assert_eq!(r.driver.received(buffer).len(), 4196, "loopback does not cut it");
            true
        }
        Some(crate::connection::Pending::Bytes(..)) | None => false,
    };
    while !is_whole(reactor) {
        assert!(uring::now() < until, "the bytes are here");
        reactor.enter(Wait::AtMost(Duration::from_millis(10)));
        reactor.reap();
    }
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    reactor.unplaced = Some(crate::unplaced::Unplaced { key, slice, start: 100 });
    slice
}

#[test]
fn a_last_write_to_memory_takes_its_data_from_the_receive_buffer() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    let slice = with_unplaced(&mut reactor);
    let other = BufSlice { len: 512, ..slice };
    assert!(!reactor.write_unplaced(OP, VOLUME, 0, other), "it is not all of the segment");
    assert!(reactor.write_unplaced(OP, VOLUME, 8192, slice));
    assert_eq!(reactor.done.pop_back(), Some((OP, IoResult::Done)));
    assert_eq!(store.compare(8192, &[7; 4096]), Ok(None));
    assert_eq!(reactor.recorder.counters.bytes_copied, 4096);
    assert!(reactor.unplaced.is_none());
}

#[test]
fn everything_else_finds_the_data_in_its_buffer() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    let slice = with_unplaced(&mut reactor);
    // WRITE AND VERIFY needs the data again after it has been written.
    reactor.write(OP, VOLUME, 0, (slice, false));
    assert_eq!(reactor.done.pop_back(), Some((OP, IoResult::Done)));
    assert_eq!(store.compare(0, &[7; 4096]), Ok(None));
    assert_eq!(reactor.driver.pool().bytes(slice).unwrap(), [7; 4096]);
}

#[test]
fn data_of_a_connection_that_is_gone_is_neither_written_nor_mistaken() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    let slice = with_unplaced(&mut reactor);
    let key = reactor.unplaced.unwrap().key;
    reactor.connections.get_mut(key).unwrap().pending = None;
    assert!(!reactor.write_unplaced(OP, VOLUME, 0, slice));
    reactor.write(OP, VOLUME, 0, (slice, false));
    assert_eq!(reactor.done.pop_back(), FAILED);
    assert_eq!(store.compare(0, &[0; 4096]), Ok(None));
}
