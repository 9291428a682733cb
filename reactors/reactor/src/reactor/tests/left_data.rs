//! Data segments that are left in their receive buffers, and what becomes of them.

use super::*;
use crate::buffers::Payload;
use crate::streams::Pending;
use shard::Combination;
use std::collections::BTreeMap;
use std::net::TcpStream;
use units::BlockSize;
use uring::MemoryStore;
use volume::{
    Access, Capabilities, Catalog, Geometry, LunMapping, Naa, TargetRecord, VolumeRecord, Wwid,
};

pub(super) fn catalog() -> Arc<Catalog> {
    let volume = VolumeRecord {
        id: VOLUME,
        name: "volume".into(),
        wwid: Wwid {
            naa: Naa::LocallyAssigned([0x30, 0, 0, 0, 0, 0, 0, 1]),
            serial: "SERIAL".into(),
        },
        geometry: Geometry::of_bytes(1 << 20, BlockSize::B512, 4096).unwrap(),
        capabilities: Capabilities {
            volatile_write_cache: true,
            unmap: true,
            reads_zero_after_unmap: true,
            unmap_granularity_bytes: 4096,
            rotational: false,
        },
        device: None,
        read_only: false,
    };
    let luns = BTreeMap::from([(0, LunMapping { volume: VOLUME, read_only: false })]);
    let target = TargetRecord {
        name: "iqn.2026-11.example:disk".into(),
        alias: None,
        portal_group_tag: 1,
        relative_port: 1,
        luns,
        access: Access::Any,
        chap: None,
    };
    Arc::new(Catalog::new(1, vec![Some(volume)], vec![target], vec![]).unwrap())
}

pub(super) fn serving() -> (Reactor, Arc<MemoryStore>) {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    let now = reactor.now;
    reactor.shard.handle_catalog(now, catalog(), &mut reactor.actions);
    reactor.run_actions();
    (reactor, store)
}

pub(super) fn pdu(mut header: [u8; 48], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    header[5..8].copy_from_slice(&length[1..]);
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Turns until a whole PDU has come.
fn answer(reactor: &mut Reactor, peer: &mut TcpStream) -> [u8; 48] {
    peer.set_nonblocking(true).unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let until = uring::now().after(Duration::from_secs(10));
    loop {
        assert!(uring::now() < until, "an answer");
        reactor.turn();
        if let Ok(n) = peer.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..n]);
        }
        if let Some(header) = bytes.first_chunk::<48>() {
            let data = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
            if bytes.len() == 48 + data.next_multiple_of(4) {
                peer.set_nonblocking(false).unwrap();
                return *header;
            }
        }
    }
}

pub(super) fn command(flags: u8, cmd_sn: u32, cdb: &[u8], expected: u32) -> [u8; 48] {
    let mut header = [0; 48];
    header[..2].copy_from_slice(&[0x01, flags | 1]);
    header[16..20].copy_from_slice(&cmd_sn.to_be_bytes());
    header[20..24].copy_from_slice(&expected.to_be_bytes());
    header[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
    header[32..32 + cdb.len()].copy_from_slice(cdb);
    header
}

pub(super) fn logged_in(reactor: &mut Reactor, name: &str) -> (Key, TcpStream) {
    let (conn, mut peer) = connect(reactor);
    let key = reactor.names.find(conn).unwrap();
    let text = format!(
        "InitiatorName=iqn.2026-11.example:{name}\0TargetName=iqn.2026-11.example:disk\0\
         SessionType=Normal\0ImmediateData=Yes\0FirstBurstLength=65536\0"
    );
    let mut header = [0; 48];
    header[..2].copy_from_slice(&[0x43, 0x87]);
    header[8] = 0x80;
    header[13] = name.as_bytes()[0];
    header[24..28].copy_from_slice(&1_u32.to_be_bytes());
    peer.write_all(&pdu(header, text.as_bytes())).unwrap();
    let response = answer(reactor, &mut peer);
    assert_eq!((response[0], response[36]), (0x23, 0), "logged in");
    // Takes the unit attention of the new session.
    peer.write_all(&pdu(command(0x80, 1, &[0; 6], 0), &[])).unwrap();
    assert_eq!(answer(reactor, &mut peer)[3], 2);
    (key, peer)
}

fn write_of_block(lba: u8, byte: u8) -> Vec<u8> {
    let cdb = [0x2a, 0, 0, 0, 0, lba, 0, 0, 1, 0];
    pdu(command(0xa0, 2, &cdb, 512), &[byte; 512])
}

/// An answer to no ping.
fn nop() -> Vec<u8> {
    let mut header = [0; 48];
    header[..2].copy_from_slice(&[0x40, 0x80]);
    header[16..20].copy_from_slice(&[0xff; 4]);
    header[24..28].copy_from_slice(&2_u32.to_be_bytes());
    pdu(header, &[])
}

/// Receives without looking at what has come.
fn receive_only(reactor: &mut Reactor, key: Key, bytes: usize) {
    let until = uring::now().after(Duration::from_secs(10));
    loop {
        if let Some(Pending::Buffer(buffer, _)) = &reactor.streams.get(key).unwrap().stream.pending
        {
            let received = reactor.buffers.ring.received(buffer).len();
            assert_eq!(received, bytes, "loopback does not cut it");
            return;
        }
        assert!(uring::now() < until, "the bytes are here");
        reactor.enter(Wait::AtMost(Duration::from_millis(10)));
        reactor.reap();
    }
}

/// A turn's share of PDUs, the last of which is a WRITE.
fn a_share_that_ends_in_a_write() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..255).flat_map(|_| nop()).collect();
    bytes.extend(write_of_block(0, 7));
    bytes
}

#[test]
fn a_write_to_memory_takes_its_data_from_the_receive_buffer() {
    let (mut reactor, store) = serving();
    let (_, mut peer) = logged_in(&mut reactor, "one");
    peer.write_all(&write_of_block(0, 7)).unwrap();
    assert_eq!(answer(&mut reactor, &mut peer)[..4], [0x21, 0x80, 0, 0], "GOOD");
    assert_eq!(store.compare(0, &[7; 512]), Ok(None));
    assert_eq!(reactor.buffers.bytes_copied(), 512);
}

#[test]
fn what_needs_the_data_again_has_it_in_its_buffer() {
    let (mut reactor, store) = serving();
    let (_, mut peer) = logged_in(&mut reactor, "one");
    // WRITE AND VERIFY with BYTCHK = 1 compares the medium with the data.
    let cdb = [0x2e, 0x02, 0, 0, 0, 0, 0, 0, 1, 0];
    peer.write_all(&pdu(command(0xa0, 2, &cdb, 512), &[7; 512])).unwrap();
    assert_eq!(answer(&mut reactor, &mut peer)[..4], [0x21, 0x80, 0, 0], "GOOD");
    assert_eq!(store.compare(0, &[7; 512]), Ok(None));
    // To its buffer, to the volume, and back to the second buffer.
    assert_eq!(reactor.buffers.bytes_copied(), 3 * 512);
}

#[test]
fn a_data_segment_is_in_its_buffer_when_its_receive_buffer_goes() {
    let mut reactor = reactor();
    let (conn, mut peer) = connect(&mut reactor);
    let key = reactor.names.find(conn).unwrap();
    reactor.turn();
    peer.write_all(&[7; 4196]).unwrap();
    receive_only(&mut reactor, key, 4196);
    let pending = reactor.streams.get_mut(key).unwrap().stream.pending.take();
    let Some(Pending::Buffer(buffer, _)) = pending else { unreachable!("it was received") };
    let slice = |buf| BufSlice { buf: BufId(buf), offset: 0, len: 4096 };
    let source = buffer.slice(100, 4096).unwrap();
    reactor.buffers.leave(slice(0), source);
    reactor.buffers.recycle(buffer);
    assert!(reactor.buffers.fill(slice(1), Payload::Bytes(&[7; 4096])));
    let (by, volumes) = (Combination::Compare, &reactor.backends.volumes);
    let result = reactor.buffers.combine(by, slice(0), slice(1), volumes);
    assert_eq!(result, IoResult::Done);
}

/// The buffer kept what it held before, and that was written to the volume with status GOOD.
#[test]
fn a_data_segment_at_the_end_of_a_share_is_not_displaced_by_that_of_another_connection() {
    let (mut reactor, store) = serving();
    let (one, mut one_peer) = logged_in(&mut reactor, "one");
    let (two, mut two_peer) = logged_in(&mut reactor, "two");
    // Until all that was sent is known to have left: they are looked at in this order.
    let quiet = |r: &Reactor| {
        !r.streams.is_any_listed() && r.streams.iter().all(|(_, c)| c.stream.out.is_flushed())
    };
    turn_until(&mut reactor, "nothing is left to do", quiet);
    let share = a_share_that_ends_in_a_write();
    one_peer.write_all(&share).unwrap();
    receive_only(&mut reactor, one, share.len());
    let other = write_of_block(8, 9);
    two_peer.write_all(&other).unwrap();
    receive_only(&mut reactor, two, other.len());
    assert_eq!(answer(&mut reactor, &mut two_peer)[..4], [0x21, 0x80, 0, 0], "GOOD");
    assert_eq!(answer(&mut reactor, &mut one_peer)[..4], [0x21, 0x80, 0, 0], "GOOD");
    assert_eq!(store.compare(8 * 512, &[9; 512]), Ok(None));
    assert_eq!(store.compare(0, &[7; 512]), Ok(None), "what was written is on the volume");
}

/// Its bytes moved to memory of their own before the data segment was copied, and the write failed.
#[test]
fn a_connection_that_is_set_aside_keeps_its_data_segment() {
    let (mut reactor, store) = serving();
    let (one, mut one_peer) = logged_in(&mut reactor, "one");
    let conn = reactor.streams.get(one).unwrap().link.id;
    let write = write_of_block(0, 7);
    let (first, rest) = write.split_at(100);
    one_peer.write_all(first).unwrap();
    receive_only(&mut reactor, one, first.len());
    reactor.serve_listed();
    // As if other tasks of it had ended meanwhile, and the peer did not read.
    back_up(&mut reactor, conn);
    one_peer.write_all(rest).unwrap();
    receive_only(&mut reactor, one, rest.len());
    reactor.serve_listed();
    let pending = &reactor.streams.get(one).unwrap().stream.pending;
    assert!(matches!(pending, Some(Pending::Bytes(bytes, 0)) if bytes.len() == rest.len()));
    unblock(&mut reactor, conn);
    let answer = answer(&mut reactor, &mut one_peer);
    assert_eq!(answer[..4], [0x21, 0x80, 0, 0], "GOOD");
    assert_eq!(store.compare(0, &[7; 512]), Ok(None));
}
