//! What a connection has unplaced when its share of a turn is used up.

use super::*;
use crate::connection::{Batch, Meaning, Pending};
use std::collections::BTreeMap;
use std::net::TcpStream;
use units::BlockSize;
use uring::MemoryStore;
use volume::{
    Access, Capabilities, Catalog, Geometry, LunMapping, Naa, TargetRecord, VolumeRecord, Wwid,
};

fn catalog() -> Arc<Catalog> {
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

fn serving() -> (Reactor, Arc<MemoryStore>) {
    let mut reactor = reactor();
    let store = memory_volume(&mut reactor);
    let now = reactor.now;
    reactor.shard.handle_catalog(now, catalog(), &mut reactor.actions);
    reactor.run_actions();
    (reactor, store)
}

fn pdu(mut header: [u8; 48], data: &[u8]) -> Vec<u8> {
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

fn command(flags: u8, cmd_sn: u32, cdb: &[u8], expected: u32) -> [u8; 48] {
    let mut header = [0; 48];
    header[..2].copy_from_slice(&[0x01, flags | 1]);
    header[16..20].copy_from_slice(&cmd_sn.to_be_bytes());
    header[20..24].copy_from_slice(&expected.to_be_bytes());
    header[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
    header[32..32 + cdb.len()].copy_from_slice(cdb);
    header
}

fn logged_in(reactor: &mut Reactor, name: &str) -> (Key, TcpStream) {
    let (conn, mut peer) = connect(reactor);
    let key = reactor.key_of(conn).unwrap();
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

/// An answer to no ping, which uses up two pieces of a turn.
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
        if let Some(Pending::Buffer(buffer, _)) = &reactor.connections.get(key).unwrap().pending {
            assert_eq!(reactor.driver.received(buffer).len(), bytes, "loopback does not cut it");
            return;
        }
        assert!(uring::now() < until, "the bytes are here");
        reactor.enter(Wait::AtMost(Duration::from_millis(10)));
        reactor.reap();
    }
}

/// 383 PDUs of two pieces, and a header and a data segment: 768 pieces, a turn's share. The end
/// of the last PDU is looked at in the next turn.
fn a_share_that_ends_behind_a_data_segment() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..383).flat_map(|_| nop()).collect();
    bytes.extend(write_of_block(0, 7));
    bytes
}

/// The buffer kept what it held before, and that was written to the volume with status GOOD.
#[test]
fn a_data_segment_at_the_end_of_a_share_is_not_displaced_by_that_of_another_connection() {
    let (mut reactor, store) = serving();
    let (one, mut one_peer) = logged_in(&mut reactor, "one");
    let (two, mut two_peer) = logged_in(&mut reactor, "two");
    // Until all that was sent is known to have left: they are looked at in this order.
    let quiet = |r: &Reactor| r.listed.is_empty() && r.connections.iter().all(|c| c.1.is_flushed());
    turn_until(&mut reactor, "nothing is left to do", quiet);
    let share = a_share_that_ends_behind_a_data_segment();
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
    let share = a_share_that_ends_behind_a_data_segment();
    one_peer.write_all(&share).unwrap();
    receive_only(&mut reactor, one, share.len());
    reactor.serve_listed();
    // As if other tasks of it had ended meanwhile, and the peer did not read.
    let Reactor { driver, connections, .. } = &mut reactor;
    let connection = connections.get_mut(one).unwrap();
    connection.sending = Some(Meaning::default());
    while !connection.is_backed_up() {
        let meaning = Meaning::default();
        connection.batches.push_back(Batch { gather: driver.gather(), meaning });
    }
    reactor.serve_listed();
    let connection = reactor.connections.get_mut(one).unwrap();
    connection.batches.clear();
    connection.sending = None;
    reactor.list(one);
    let answer = answer(&mut reactor, &mut one_peer);
    assert_eq!(answer[..4], [0x21, 0x80, 0, 0], "GOOD");
    assert_eq!(store.compare(0, &[7; 512]), Ok(None));
    assert!(reactor.spoiled.is_empty());
}
