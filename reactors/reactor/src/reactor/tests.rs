//! A reactor without its thread, to see what it does when the kernel or the shard goes wrong.

mod left_data;
mod unread;

use super::*;
use crate::backends::{Request, Store, with_zero_buffer};
use crate::control_link::Notices;
use crate::initiator_link::Agreed;
use crate::mailbox::PostOffice;
use crate::streams::Connection;
use shard::{Action, SendData, SessionCaps, ShardOptions};
use std::io::{Read, Write};
use units::{BufSlice, ConnId, Key, PoolLayout, SizeClass, VolumeId, limits};
use uring::DriverOptions;
use uring::file::{OpenOptions, create, open_direct};
use volume::BlockRequest;

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
            caps: SessionCaps::default(),
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
        control: Notices::new(Arc::new(|| {})).link(),
        sweeps: Sweeps::new().0,
        warnings: Vec::new(),
    })
}

const OP: OpId = OpId { task: Key { index: 0, generation: 0 }, part: 0 };
const VOLUME: VolumeId = VolumeId(0);

/// Takes a volume in a file in.
fn take_file(reactor: &mut Reactor, directory: &std::path::Path, volume: VolumeId) {
    let path = directory.join("volume");
    create(&path, 1 << 20, false).unwrap();
    let open = OpenOptions { read_only: false, buffered_allowed: true };
    let store = Store::File(open_direct(&path, open).unwrap()).into();
    reactor.backends.take_stores(vec![(volume, store)], &mut reactor.buffers);
}

/// Begins a read of the start of a volume.
fn read(reactor: &mut Reactor, volume: VolumeId, into: BufSlice, only_to_send: bool) {
    let request = BlockRequest::Read { offset: 0, into, only_to_send };
    reactor.backends.submit(Request { op: OP, volume, request }, &mut reactor.buffers);
}

/// Queues a Data-In PDU.
fn send(reactor: &mut Reactor, conn: ConnId, slice: BufSlice) {
    let data = SendData::Buffer { slice, last: false };
    reactor.actions.push(Action::Send { conn, header: [0x25; 48], data, sample: None });
    reactor.run_actions();
}

fn connection(reactor: &mut Reactor, conn: ConnId) -> &mut Connection<InitiatorLink> {
    let key = reactor.names.find(conn).unwrap();
    reactor.streams.get_mut(key).unwrap()
}

fn expect_data_digests(reactor: &mut Reactor, conn: ConnId) {
    let agreed = Agreed { header_digest: false, data_digest: true, max_data_segment_length: 8192 };
    connection(reactor, conn).link.enter_full_feature_phase(agreed);
}

/// A connection of the reactor, and its other end.
fn connect(reactor: &mut Reactor) -> (ConnId, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Small ones, so that little fills them.
    uring::socket::set_buffers(&listener, 16 << 10).unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // Only a hang reaches it.
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    reactor.accepted(listener.accept().unwrap().0.into());
    let conn = reactor.streams.iter().last().unwrap().1.link.id;
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

/// Makes a connection look as if the kernel had one parcel, which the peer does not take, and so
/// many waited that nothing more is read.
fn back_up(reactor: &mut Reactor, conn: ConnId) {
    let key = reactor.names.find(conn).unwrap();
    let Reactor { streams, buffers, .. } = reactor;
    let stream = &mut streams.get_mut(key).unwrap().stream;
    stream.out.batch(|_| true, || buffers.ring.parcel());
    assert!(stream.out.take_next().is_some());
    while !stream.is_backed_up() {
        stream.out.batch(|_| true, || buffers.ring.parcel());
    }
}

/// Takes that back.
fn unblock(reactor: &mut Reactor, conn: ConnId) {
    let stream = &mut connection(reactor, conn).stream;
    stream.out.left();
    while stream.out.abandon().is_some() {}
    let key = reactor.names.find(conn).unwrap();
    reactor.streams.list(key);
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
    back_up(&mut reactor, deaf);
    let mut header = [0; 48];
    header[0] = 0x43;
    deaf_peer.write_all(&header).unwrap();
    let key = reactor.names.find(deaf).unwrap();
    turn_until(&mut reactor, "the bytes of the deaf one are here", |r| {
        r.streams.get(key).unwrap().stream.pending.is_some()
    });
    other_peer.write_all(&header).unwrap();
    turn_until(&mut reactor, "the other one is served", |r| r.recorder.counters.pdus_received > 0);
    // Nothing of the deaf one is lost.
    unblock(&mut reactor, deaf);
    turn_until(&mut reactor, "it is served later", |r| r.recorder.counters.pdus_received > 1);
}

/// The PDU went out without the digest that the peer expected, which took the next header's
/// first bytes for it.
#[test]
fn a_connection_ends_where_a_data_digest_cannot_be_made() {
    let directory = tempfile::tempdir().unwrap();
    let mut reactor = reactor();
    take_file(&mut reactor, directory.path(), VOLUME);
    let (conn, mut peer) = connect(&mut reactor);
    expect_data_digests(&mut reactor, conn);
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    read(&mut reactor, VOLUME, slice, false);
    send(&mut reactor, conn, slice);
    reactor.turn();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed without a byte");
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
    let now = reactor.now;
    reactor.listeners.listen(vec![listener], now, &mut reactor.buffers.ring);
    drop(peer);
    turn_until(&mut reactor, "the connection has ended", |r| r.streams.is_empty());
    let _peer = std::net::TcpStream::connect(address).unwrap();
    turn_until(&mut reactor, "the next one is accepted", |r| r.streams.count() == 1);
}

fn memory_volume(reactor: &mut Reactor) -> Arc<uring::MemoryStore> {
    let (store, _) = uring::MemoryStore::new(1 << 20).unwrap();
    let shared = Store::Memory { store: Arc::clone(&store), whole_blocks: true }.into();
    reactor.backends.take_stores(vec![(VOLUME, shared)], &mut reactor.buffers);
    store
}

/// What a connection sends for a read of 8 bytes of `VOLUME` that is only sent.
fn sent_for_a_read_in_place(reactor: &mut Reactor, digest: bool) -> Vec<u8> {
    let (conn, mut peer) = connect(reactor);
    if digest {
        expect_data_digests(reactor, conn);
    }
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 8 };
    read(reactor, VOLUME, slice, true);
    send(reactor, conn, slice);
    reactor.turn();
    let mut sent = vec![0; if digest { 60 } else { 56 }];
    peer.read_exact(&mut sent).unwrap();
    sent
}

#[test]
fn a_read_that_is_only_sent_leaves_from_the_volume() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    store.write_bytes(0, b"12345678").unwrap();
    let sent = sent_for_a_read_in_place(&mut reactor, false);
    assert_eq!(&sent[48..], b"12345678");
    assert_eq!(reactor.buffers.bytes_copied(), 0);
}

/// Between the digest and the send another command may change the volume.
#[test]
fn under_a_data_digest_the_bytes_are_copied_first() {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    store.write_bytes(0, b"12345678").unwrap();
    let sent = sent_for_a_read_in_place(&mut reactor, true);
    // CRC32C of "12345678", least significant byte first.
    assert_eq!(&sent[48..], [b"12345678".as_slice(), &[0x9a, 0x80, 0x87, 0x60]].concat());
    assert_eq!(reactor.buffers.bytes_copied(), 8);
}

#[test]
fn bytes_of_a_volume_that_is_gone_end_the_connection() {
    let mut reactor = reactor();
    memory_volume(&mut reactor);
    let (conn, mut peer) = connect(&mut reactor);
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 8 };
    read(&mut reactor, VOLUME, slice, true);
    reactor.backends.retire(&[VOLUME], |_| {});
    send(&mut reactor, conn, slice);
    reactor.turn();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed without a byte");
}

/// Where the copy failed, the bytes left from the volume after all, and without the digest that
/// the peer expected behind them.
#[test]
fn a_connection_ends_where_bytes_in_place_cannot_be_copied_for_their_digest() {
    let directory = tempfile::tempdir().unwrap();
    let mut reactor = reactor();
    memory_volume(&mut reactor);
    let file = VolumeId(VOLUME.0 + 1);
    take_file(&mut reactor, directory.path(), file);
    let (conn, mut peer) = connect(&mut reactor);
    expect_data_digests(&mut reactor, conn);
    let slice = BufSlice { buf: BufId(0), offset: 0, len: 4096 };
    // The kernel has the buffer.
    read(&mut reactor, file, slice, false);
    read(&mut reactor, VOLUME, slice, true);
    send(&mut reactor, conn, slice);
    reactor.turn();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed without a byte");
}
