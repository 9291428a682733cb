//! A small initiator that lays out every PDU by hand (RFC 7143 11), and a node to talk to.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use iscsi::digest::{DataDigest, header_digest};
use reactor::{MemoryStore, Node, NodeOptions, PollMode, ReactorReport, Store, affinity, socket};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use units::{BlockSize, PoolLayout, SizeClass, VolumeId};
use volume::{
    Access, Capabilities, Catalog, Geometry, LunMapping, Naa, TargetRecord, VolumeRecord, Wwid,
};

pub(crate) const TARGET: &str = "iqn.2026-11.example:disk";
pub(crate) const VOLUME_BYTES: u64 = 16 << 20;

/// A running node and where it listens.
pub(crate) struct Fixture {
    pub(crate) node: WaitingNode,
    pub(crate) address: SocketAddr,
}

/// A node whose caller has nothing to do but to wait for it.
pub(crate) struct WaitingNode {
    node: RefCell<Node>,
    alarm: Receiver<()>,
}

/// How long a reactor may take for anything on a slow machine.
const ALARM_TIME_MAX: Duration = Duration::from_secs(60);

impl WaitingNode {
    pub(crate) fn apply(&self, catalog: Arc<Catalog>, opened: Vec<(VolumeId, Store)>) {
        self.node.borrow_mut().apply(catalog, opened);
    }

    /// A report of every reactor, given after all that it was told before.
    pub(crate) fn report(&self) -> Vec<ReactorReport> {
        let round = self.node.borrow_mut().request_reports();
        self.wait_until(ALARM_TIME_MAX, |node| node.has_all_reports(round));
        self.node.borrow().known_reports().into_iter().cloned().collect()
    }

    /// Waits for the end of all sessions, and ends the node.
    pub(crate) fn shutdown(self, grace: Duration) {
        self.node.borrow_mut().begin_shutdown();
        if !grace.is_zero() {
            self.wait_until(grace, Node::is_drained);
        }
    }

    /// The volumes that are closed, once there are any.
    pub(crate) fn wait_for_closed(&self) -> Vec<VolumeId> {
        let mut closed = Vec::new();
        while closed.is_empty() {
            self.alarm.recv_timeout(ALARM_TIME_MAX).unwrap();
            closed = self.node.borrow_mut().handle_notices().iter().map(|v| v.id).collect();
        }
        closed
    }

    fn wait_until(&self, grace: Duration, is_so: impl Fn(&Node) -> bool) {
        let until = Instant::now() + grace;
        while !is_so(&self.node.borrow()) {
            let left = until.saturating_duration_since(Instant::now());
            self.alarm.recv_timeout(left).unwrap();
            self.node.borrow_mut().handle_notices();
        }
    }
}

/// A pool that is small enough to be made in no time, and large enough for every test.
pub(crate) fn layout() -> PoolLayout {
    PoolLayout::new(vec![
        SizeClass { bytes: 4096, count: 64 },
        SizeClass { bytes: 65_536, count: 16 },
        SizeClass { bytes: 262_144, count: 16 },
    ])
}

pub(crate) fn options(reactors: usize, poll: PollMode) -> NodeOptions {
    let cores = affinity::cores();
    let mut options = NodeOptions::new(cores.iter().copied().cycle().take(reactors).collect());
    options.layout = layout();
    options.poll = poll;
    options
}

/// A node of so many reactors with these volumes as LUNs 0, 1, ... of one target.
pub(crate) fn node_with(options: NodeOptions, stores: Vec<Store>) -> Fixture {
    let listener = socket::listen("127.0.0.1:0".parse().unwrap(), 128).unwrap();
    node_at(listener, options, stores)
}

/// A node with one reactor and a memory volume, whose sockets hold so little that the kernel takes
/// a long READ in parts.
pub(crate) fn narrow_node() -> Fixture {
    let listener = socket::listen("127.0.0.1:0".parse().unwrap(), 128).unwrap();
    socket::set_buffers(&listener, 16 << 10).unwrap();
    node_at(listener, options(1, PollMode::Interrupt), vec![memory()])
}

fn node_at(listener: OwnedFd, options: NodeOptions, stores: Vec<Store>) -> Fixture {
    let volumes = u16::try_from(stores.len()).unwrap();
    let address = socket::local_address(&listener).unwrap();
    let opened = (0..).map(VolumeId).zip(stores).collect();
    let (ring, alarm) = channel();
    // Nobody listens any more when the test has what it wanted.
    let ring = Arc::new(move || ring.send(()).unwrap_or(()));
    let catalog = catalog(1, volumes);
    let (node, _) = Node::start(options, vec![listener], catalog, opened, ring).unwrap();
    Fixture { node: WaitingNode { node: RefCell::new(node), alarm }, address }
}

/// A node with one memory volume.
pub(crate) fn memory_node(reactors: usize) -> Fixture {
    node_with(options(reactors, PollMode::Interrupt), vec![memory()])
}

pub(crate) fn memory() -> Store {
    Store::Memory { store: MemoryStore::new(VOLUME_BYTES).unwrap().0, whole_blocks: true }
}

/// A catalog of one target, with so many volumes as its LUNs.
pub(crate) fn catalog(generation: u64, volumes: u16) -> Arc<Catalog> {
    let records = (0..volumes).map(|n| Some(record(VolumeId(n.into())))).collect();
    let luns: BTreeMap<u16, LunMapping> = (0..volumes)
        .map(|n| (n, LunMapping { volume: VolumeId(n.into()), read_only: false }))
        .collect();
    let target = TargetRecord {
        name: TARGET.into(),
        alias: None,
        portal_group_tag: 1,
        relative_port: 1,
        luns,
        access: Access::Any,
        chap: None,
    };
    Arc::new(Catalog::new(generation, records, vec![target], vec![]).unwrap())
}

fn record(id: VolumeId) -> VolumeRecord {
    VolumeRecord {
        id,
        name: format!("volume{}", id.0),
        wwid: Wwid {
            naa: Naa::LocallyAssigned([0x30, 0, 0, 0, 0, 0, 0, u8::try_from(id.0).unwrap()]),
            serial: format!("SERIAL{}", id.0),
        },
        geometry: Geometry::of_bytes(VOLUME_BYTES, BlockSize::B512, 4096).unwrap(),
        capabilities: Capabilities {
            volatile_write_cache: true,
            unmap: true,
            reads_zero_after_unmap: true,
            unmap_granularity_bytes: 4096,
            rotational: false,
        },
        device: None,
        read_only: false,
    }
}

/// How a session is negotiated.
#[derive(Clone, Copy)]
pub(crate) struct Wishes {
    pub(crate) digests: bool,
    /// Sent as MaxRecvDataSegmentLength.
    pub(crate) data_in_max: u32,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { digests: false, data_in_max: 262_144 }
    }
}

/// One PDU as it came in.
#[derive(Debug)]
pub(crate) struct Pdu {
    pub(crate) header: [u8; 48],
    pub(crate) data: Vec<u8>,
}

impl Pdu {
    pub(crate) fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.header[at..at + 4].try_into().unwrap())
    }
}

/// What a command ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: u8,
    pub(crate) data: Vec<u8>,
}

/// One session of one connection.
pub(crate) struct Initiator {
    pub(crate) stream: TcpStream,
    digests: bool,
    cmd_sn: u32,
    exp_stat_sn: u32,
    next_tag: u32,
    /// Write PDUs byte by byte.
    pub(crate) dribbles: bool,
}

impl Initiator {
    pub(crate) fn log_in(address: SocketAddr, number: u8, wishes: Wishes) -> Self {
        Self::log_in_with(address, number, wishes, false)
    }

    pub(crate) fn log_in_with(
        address: SocketAddr,
        number: u8,
        wishes: Wishes,
        dribbles: bool,
    ) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // Only a hang reaches it: then the test fails rather than the whole run.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut this =
            Self { stream, digests: false, cmd_sn: 1, exp_stat_sn: 0, next_tag: 1, dribbles };
        let digest = if wishes.digests { "CRC32C" } else { "None" };
        let keys = [
            format!("InitiatorName=iqn.2026-11.example:host{number}"),
            format!("TargetName={TARGET}"),
            "SessionType=Normal".into(),
            format!("HeaderDigest={digest}"),
            format!("DataDigest={digest}"),
            format!("MaxRecvDataSegmentLength={}", wishes.data_in_max),
            "MaxBurstLength=262144".into(),
            "FirstBurstLength=65536".into(),
            "InitialR2T=No".into(),
            "ImmediateData=Yes".into(),
        ];
        let text: Vec<u8> = keys.iter().flat_map(|k| k.bytes().chain([0])).collect();
        let mut header = [0; 48];
        // Login request, immediate; transit from operational negotiation to full feature phase.
        header[0] = 0x43;
        header[1] = 0x87;
        header[8..14].copy_from_slice(&[0x80, 0, 0, 0, 0, number]);
        header[24..28].copy_from_slice(&1_u32.to_be_bytes());
        this.send(header, &text);
        let response = this.receive();
        assert_eq!(response.opcode(), 0x23, "login response");
        assert_eq!((response.header[36], response.header[37]), (0, 0), "login status");
        assert_eq!(response.header[1] & 0x83, 0x83, "transit to full feature phase");
        this.digests = wishes.digests;
        this
    }

    /// Sends one PDU; the data segment length is filled in.
    pub(crate) fn send(&mut self, header: [u8; 48], data: &[u8]) {
        let bytes = self.pdu_bytes(header, data);
        self.write(&bytes);
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.dribbles {
            for byte in bytes {
                self.stream.write_all(&[*byte]).unwrap();
            }
        } else {
            self.stream.write_all(bytes).unwrap();
        }
    }

    pub(crate) fn pdu_bytes(&self, mut header: [u8; 48], data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        header[5..8].copy_from_slice(&length[1..]);
        let mut bytes = header.to_vec();
        if self.digests {
            bytes.extend_from_slice(&header_digest(&header, &[]));
        }
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        if self.digests && !data.is_empty() {
            bytes.extend_from_slice(&digest_of(data));
        }
        bytes
    }

    pub(crate) fn receive(&mut self) -> Pdu {
        let mut header = [0; 48];
        self.stream.read_exact(&mut header).unwrap();
        if self.digests {
            assert_eq!(self.read_digest(), header_digest(&header, &[]), "header digest");
        }
        assert_eq!(header[4], 0, "the target sends no additional header segments");
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut data).unwrap();
        assert!(data[length..].iter().all(|&b| b == 0), "padding is zeros");
        data.truncate(length);
        if self.digests && length > 0 {
            assert_eq!(self.read_digest(), digest_of(&data), "data digest");
        }
        let pdu = Pdu { header, data };
        let has_status = pdu.opcode() != 0x25 || header[1] & 1 != 0;
        // R2T and a NOP-In that asks carry a StatSN without using it up.
        if has_status && pdu.opcode() != 0x31 && pdu.word(16) != u32::MAX {
            self.exp_stat_sn = pdu.word(24).wrapping_add(1);
        }
        pdu
    }

    fn read_digest(&mut self) -> [u8; 4] {
        let mut digest = [0; 4];
        self.stream.read_exact(&mut digest).unwrap();
        digest
    }

    /// A SCSI Command PDU; `flags` are F, R and W.
    pub(crate) fn command(&mut self, lun: u8, cdb: &[u8], flags: u8, length: u32) -> [u8; 48] {
        let mut header = [0; 48];
        header[0] = 0x01;
        header[1] = flags | 1;
        header[9] = lun;
        header[16..20].copy_from_slice(&self.next_tag.to_be_bytes());
        header[20..24].copy_from_slice(&length.to_be_bytes());
        header[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        header[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
        header[32..32 + cdb.len()].copy_from_slice(cdb);
        self.next_tag += 1;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        header
    }

    /// A command that reads at most `length` bytes, or none.
    pub(crate) fn execute(&mut self, lun: u8, cdb: &[u8], length: u32) -> Outcome {
        let flags = if length > 0 { 0xc0 } else { 0x80 };
        let header = self.command(lun, cdb, flags, length);
        self.send(header, &[]);
        self.outcome()
    }

    /// Collects Data-In until the command's status.
    pub(crate) fn outcome(&mut self) -> Outcome {
        let mut data = Vec::new();
        loop {
            let pdu = self.receive();
            match pdu.opcode() {
                0x25 => {
                    assert_eq!(pdu.word(40) as usize, data.len(), "buffer offset");
                    data.extend_from_slice(&pdu.data);
                    if pdu.header[1] & 1 != 0 {
                        return Outcome { status: pdu.header[3], data };
                    }
                }
                0x21 => {
                    assert_eq!(pdu.header[2], 0, "the target completed the command");
                    if pdu.header[3] != 0 {
                        data = pdu.data;
                    }
                    return Outcome { status: pdu.header[3], data };
                }
                other => panic!("PDU {other:#x} while a command is under way"),
            }
        }
    }

    /// A command that writes: `immediate` bytes come with it, the rest as it is asked for, in
    /// PDUs of at most `piece` bytes.
    pub(crate) fn execute_write(
        &mut self,
        lun: u8,
        cdb: &[u8],
        data: &[u8],
        (immediate, piece): (usize, usize),
    ) -> Outcome {
        let length = u32::try_from(data.len()).unwrap();
        let header = self.command(lun, cdb, 0xa0, length);
        self.send(header, &data[..immediate]);
        loop {
            let pdu = self.receive();
            if pdu.opcode() != 0x31 {
                assert_eq!(pdu.opcode(), 0x21, "SCSI response");
                return Outcome { status: pdu.header[3], data: pdu.data };
            }
            let (offset, wanted) = (pdu.word(40) as usize, pdu.word(44) as usize);
            self.data_out(&pdu, &header, &data[offset..offset + wanted], piece);
        }
    }

    fn data_out(&mut self, r2t: &Pdu, command: &[u8; 48], burst: &[u8], piece: usize) {
        let mut offset = r2t.word(40);
        let pieces = burst.chunks(piece);
        let last = pieces.len() - 1;
        for (n, bytes) in pieces.enumerate() {
            let mut header = [0; 48];
            header[0] = 0x05;
            header[1] = if n == last { 0x80 } else { 0 };
            header[8..20].copy_from_slice(&command[8..20]);
            header[20..24].copy_from_slice(&r2t.header[20..24]);
            header[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
            header[36..40].copy_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
            header[40..44].copy_from_slice(&offset.to_be_bytes());
            self.send(header, bytes);
            offset += u32::try_from(bytes.len()).unwrap();
        }
    }

    pub(crate) fn log_out(mut self) {
        let mut header = [0; 48];
        header[0] = 0x46;
        header[1] = 0x80;
        header[16..20].copy_from_slice(&self.next_tag.to_be_bytes());
        header[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        header[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
        self.send(header, &[]);
        let response = self.receive();
        assert_eq!((response.opcode(), response.header[2]), (0x26, 0), "logout response");
    }
}

pub(crate) fn digest_of(data: &[u8]) -> [u8; 4] {
    let mut digest = DataDigest::new();
    digest.update(data);
    digest.pad();
    digest.wire()
}

pub(crate) fn inquiry() -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x12;
    cdb[4] = 96;
    cdb
}

pub(crate) fn read_10(lba: u32, blocks: u16) -> [u8; 16] {
    transfer_10(0x28, lba, blocks)
}

pub(crate) fn write_10(lba: u32, blocks: u16) -> [u8; 16] {
    transfer_10(0x2a, lba, blocks)
}

pub(crate) fn transfer_10(code: u8, lba: u32, blocks: u16) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = code;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// Bytes that tell their place, and differ by `seed`.
pub(crate) fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 251 + n * 7).to_le_bytes()[0] ^ seed).collect()
}

/// A session's first command meets the unit attention of its beginning (SAM-5 5.14).
pub(crate) fn clear_attention(initiator: &mut Initiator, lun: u8) {
    let test_unit_ready = [0; 16];
    for _ in 0..8 {
        if initiator.execute(lun, &test_unit_ready, 0).status == 0 {
            return;
        }
    }
    panic!("unit attentions do not end");
}
