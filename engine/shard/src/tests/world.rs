//! One node in memory: its shards, their mail, their buffers, and the volumes.
//!
//! Nothing happens by itself: a test may hold the backend, the wire or the mail, and lets them
//! go on when it likes.

use crate::{
    Action, Actions, Closing, IoResult, Message, OpId, Placement, Progress, SendData, SessionCaps,
    Shard, ShardOptions,
};
use iscsi::Bhs;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use units::{BlockSize, BufId, BufSlice, ConnId, Instant, PoolLayout, ReactorId, SizeClass};
use units::{Key, VolumeId};
use volume::{
    Access, BlockRequest, Capabilities, Catalog, Geometry, LunMapping, Naa, SpaceChange,
    TargetRecord, VolumeRecord, Wwid,
};

pub(super) const TARGET: &str = "iqn.2026-01.example:disks";
pub(super) const VOLUME_BYTES: usize = 4 << 20;
/// The LUN that is mapped without the right to write.
pub(super) const READ_ONLY_LUN: u16 = 9;

/// A PDU that left the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) header: [u8; 48],
    pub(super) data: Vec<u8>,
}

impl Sent {
    pub(super) const fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// Four bytes of the header as a number.
    pub(super) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.header[at..at + 4].try_into().unwrap())
    }
}

/// Where a connection lives now.
pub(super) type Place = (usize, ConnId);

/// A backend operation that has begun.
#[derive(Debug)]
struct Begun {
    op: OpId,
    action: Action,
}

/// What comes on a connection while the data of a PDU waits for its place.
#[derive(Default)]
struct Queued {
    /// The data, once the test has sent it, and whether its digest is right.
    data: Option<(Vec<u8>, bool)>,
    /// Where it goes, once the shard knows.
    placement: Option<Placement>,
    /// Whole PDUs behind it.
    behind: VecDeque<([u8; 48], Vec<u8>)>,
}

/// One core.
struct Core {
    shard: Shard,
    actions: Actions,
    buffers: Vec<Vec<u8>>,
    begun: VecDeque<Begun>,
    /// Buffers whose bytes are still on the wire of a connection.
    on_wire: VecDeque<(ConnId, BufId)>,
    /// Buffers that a connection which was abandoned has let go of.
    freed: Vec<BufId>,
}

pub(super) struct World {
    cores: Vec<Core>,
    pub(super) now: Instant,
    mail: VecDeque<(usize, usize, Message)>,
    pub(super) disks: Vec<Vec<u8>>,
    sent: BTreeMap<(usize, Key), VecDeque<Sent>>,
    /// What statistics were told.
    pub(super) samples: Vec<crate::Sample>,
    /// What an operator is told.
    pub(super) events: Vec<crate::Event>,
    moved: BTreeMap<(usize, Key), Place>,
    closed: Vec<Place>,
    /// PDUs of connections that wait for a place of their data.
    waiting: BTreeMap<(usize, Key), Queued>,
    /// How connections were closed, in the order of `closed`.
    pub(super) closings: Vec<Closing>,
    /// What has moved on each wire.
    pub(super) moved_bytes: u64,
    pub(super) backend_is_held: bool,
    pub(super) wire_is_held: bool,
    pub(super) mail_is_held: bool,
    /// Every look at a socket finds that it has moved bytes.
    pub(super) sockets_move: bool,
}

/// Volumes behind LUN 0 and on, the first also behind a LUN that is read-only.
pub(super) fn catalog(volumes: u16) -> Arc<Catalog> {
    catalog_with(volumes, true)
}

/// Volumes, and a target that maps them or none.
pub(super) fn catalog_with(volumes: u16, mapped: bool) -> Arc<Catalog> {
    let record = |id: u16| VolumeRecord {
        id: VolumeId(id.into()),
        name: format!("volume{id}"),
        wwid: Wwid { naa: Naa::LocallyAssigned([0x30; 8]), serial: format!("serial{id}") },
        geometry: Geometry::of_bytes(VOLUME_BYTES as u64, BlockSize::B512, 512).unwrap(),
        capabilities: Capabilities {
            volatile_write_cache: false,
            unmap: true,
            reads_zero_after_unmap: true,
            unmap_granularity_bytes: 512,
            rotational: false,
        },
        device: None,
        read_only: false,
    };
    let mapping = |id: u16, read_only| LunMapping { volume: VolumeId(id.into()), read_only };
    let mut luns: BTreeMap<_, _> = (0..volumes).map(|id| (id, mapping(id, false))).collect();
    luns.insert(READ_ONLY_LUN, mapping(0, true));
    luns.retain(|_, _| mapped);
    let target = TargetRecord {
        name: TARGET.into(),
        alias: None,
        portal_group_tag: 1,
        relative_port: 1,
        luns,
        access: Access::Any,
        chap: None,
    };
    let volumes = (0..volumes).map(|id| Some(record(id))).collect();
    Arc::new(Catalog::new(1, volumes, vec![target], vec![]).unwrap())
}

/// Eight buffers of 4 KiB and eight of 256 KiB.
fn plenty() -> Vec<SizeClass> {
    vec![SizeClass { bytes: 4096, count: 8 }, SizeClass { bytes: 262_144, count: 8 }]
}

impl World {
    pub(super) fn new(reactors: u8) -> Self {
        Self::with_pool(reactors, plenty())
    }

    pub(super) fn with_pool(reactors: u8, classes: Vec<SizeClass>) -> Self {
        let core = |id: u8| {
            let layout = PoolLayout::new(classes.clone());
            let buffers = layout
                .classes()
                .iter()
                .flat_map(|c| (0..c.count).map(|_| vec![0xee; c.bytes as usize]))
                .collect();
            let options = ShardOptions {
                id: ReactorId(id),
                reactors,
                layout,
                caps: SessionCaps::default(),
                login_time_max: Duration::from_secs(15),
                entropy: Box::new(|bytes: &mut [u8]| bytes.fill(7)),
            };
            Core {
                shard: Shard::new(options, catalog(2)),
                actions: Actions::default(),
                buffers,
                begun: VecDeque::new(),
                on_wire: VecDeque::new(),
                freed: Vec::new(),
            }
        };
        Self {
            cores: (0..reactors).map(core).collect(),
            now: Instant(1_000_000_000),
            mail: VecDeque::new(),
            disks: vec![vec![0; VOLUME_BYTES]; 2],
            sent: BTreeMap::new(),
            samples: Vec::new(),
            events: Vec::new(),
            moved: BTreeMap::new(),
            closed: Vec::new(),
            waiting: BTreeMap::new(),
            closings: Vec::new(),
            moved_bytes: 0,
            backend_is_held: false,
            wire_is_held: false,
            mail_is_held: false,
            sockets_move: false,
        }
    }

    pub(super) fn shard(&self, core: usize) -> &Shard {
        &self.cores[core].shard
    }

    pub(super) fn accept(&mut self, core: usize) -> Option<Place> {
        self.accept_from(core, "192.0.2.1:40000")
    }

    pub(super) fn accept_from(&mut self, core: usize, peer: &str) -> Option<Place> {
        let peer = peer.parse().unwrap();
        let local = "192.0.2.2:3260".parse().unwrap();
        let conn = self.cores[core].shard.accept(self.now, peer, local)?;
        Some((core, conn))
    }

    /// Follows a connection to the core that it was handed to.
    pub(super) fn locate(&self, mut place: Place) -> Place {
        while let Some(&next) = self.moved.get(&(place.0, place.1.0)) {
            place = next;
        }
        place
    }

    pub(super) fn is_closed(&self, place: Place) -> bool {
        self.closed.contains(&self.locate(place))
    }

    /// One whole PDU comes in.
    pub(super) fn receive(&mut self, place: Place, header: [u8; 48], data: &[u8]) {
        let (core, conn) = self.locate(place);
        if let Some(queued) = self.waiting.get_mut(&(core, conn.0)) {
            return queued.behind.push_back((header, data.to_vec()));
        }
        let placement = self.receive_header(place, header);
        self.receive_data(place, placement, data, true);
    }

    /// Whether the data of a PDU waits for its place.
    pub(super) fn is_waiting(&self, place: Place) -> bool {
        let (core, conn) = self.locate(place);
        self.waiting.contains_key(&(core, conn.0))
    }

    /// The header of a PDU comes in, its data segment is still on its way.
    pub(super) fn receive_header(&mut self, place: Place, header: [u8; 48]) -> Placement {
        let (core, conn) = self.locate(place);
        let Core { shard, actions, .. } = &mut self.cores[core];
        let placement = shard.handle_header(self.now, conn, &Bhs::new(header), actions);
        if placement == Placement::Wait {
            self.waiting.insert((core, conn.0), Queued::default());
        }
        self.run();
        placement
    }

    /// The data segment of a PDU comes in, and with it the end of the PDU.
    pub(super) fn receive_data(
        &mut self,
        place: Place,
        placement: Placement,
        data: &[u8],
        digest_ok: bool,
    ) {
        let (core, conn) = self.locate(place);
        if placement == Placement::Wait {
            // The connection may have been closed.
            let Some(queued) = self.waiting.get_mut(&(core, conn.0)) else { return };
            queued.data = Some((data.to_vec(), digest_ok));
            return self.run();
        }
        let Core { shard, actions, buffers, .. } = &mut self.cores[core];
        match placement {
            Placement::Wait => unreachable!("it is kept above"),
            Placement::Buffer(slice) => {
                assert_eq!(slice.len as usize, data.len(), "a slice is as long as the segment");
                bytes_of(buffers, slice).copy_from_slice(data);
            }
            Placement::Engine => shard.handle_segment(conn, data),
            Placement::Discard => {}
        }
        shard.handle_pdu_end(self.now, conn, digest_ok, actions);
        self.run();
    }

    pub(super) fn lose(&mut self, place: Place) {
        let (core, conn) = self.locate(place);
        let Core { shard, actions, .. } = &mut self.cores[core];
        shard.handle_closed(self.now, conn, actions);
        self.run();
    }

    pub(super) fn drop_session(&mut self, place: Place) {
        let (core, conn) = self.locate(place);
        let Core { shard, actions, .. } = &mut self.cores[core];
        shard.handle_drop(self.now, conn, actions);
        self.run();
    }

    pub(super) fn switch_catalog(&mut self, catalog: &Arc<Catalog>) {
        for Core { shard, actions, .. } in &mut self.cores {
            shard.handle_catalog(self.now, catalog.clone(), actions);
        }
        self.run();
    }

    pub(super) fn shut_down(&mut self) {
        for Core { shard, actions, .. } in &mut self.cores {
            shard.handle_shutdown(self.now, actions);
        }
        self.run();
    }

    /// Time goes by, with all the ticks that the shards ask for.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let due = self.cores.iter().filter_map(|c| c.shard.poll_timeout()).min();
            let Some(due) = due.filter(|&due| due <= end) else { break };
            self.now = self.now.max(due);
            for Core { shard, actions, .. } in &mut self.cores {
                if shard.poll_timeout().is_some_and(|at| at <= self.now) {
                    shard.handle_timeout(self.now, actions);
                }
            }
            self.run();
        }
        self.now = end;
    }

    /// What has left on a connection since it was last asked.
    pub(super) fn sent(&mut self, place: Place) -> Vec<Sent> {
        let (core, conn) = self.locate(place);
        self.sent.remove(&(core, conn.0)).unwrap_or_default().into()
    }

    /// How many backend operations are under way.
    pub(super) fn operations(&self) -> usize {
        self.cores.iter().map(|c| c.begun.len()).sum()
    }

    /// The backend ends everything that is under way, and what follows from it.
    pub(super) fn release_backend(&mut self) {
        self.backend_is_held = false;
        self.run();
    }

    /// The peers take what is on the wire.
    pub(super) fn release_wire(&mut self) {
        self.wire_is_held = false;
        self.run();
    }

    /// The peer takes one more PDU that carries a buffer.
    pub(super) fn take_one_off_wire(&mut self, core: usize) {
        let Some((_, buf)) = self.cores[core].on_wire.pop_front() else { return };
        let Core { shard, actions, .. } = &mut self.cores[core];
        shard.handle_buffer_returned(self.now, buf, actions);
        self.run();
    }

    /// One operation of the backend ends, out of those under way on a core: as it should, or with
    /// `result`.
    pub(super) fn end_one(&mut self, core: usize, place: usize, result: Option<IoResult>) {
        let count = self.cores[core].begun.len();
        let Some(place) = place.checked_rem(count) else { return };
        let begun = self.cores[core].begun.remove(place).unwrap();
        let done = self.carry_out(core, &begun.action);
        let is_request = matches!(begun.action, Action::Io { .. });
        let result = result.filter(|_| is_request).unwrap_or(done);
        let Core { shard, actions, .. } = &mut self.cores[core];
        shard.handle_io(self.now, begun.op, result, actions);
        self.run();
    }

    /// The oldest message between the cores arrives.
    pub(super) fn deliver_one(&mut self) {
        if let Some(letter) = self.mail.pop_front() {
            self.deliver(letter);
            self.run();
        }
    }

    /// One core learns of a catalog.
    pub(super) fn switch_catalog_of(&mut self, core: usize, catalog: &Arc<Catalog>) {
        let Core { shard, actions, .. } = &mut self.cores[core];
        shard.handle_catalog(self.now, catalog.clone(), actions);
        self.run();
    }

    pub(super) fn release_mail(&mut self) {
        self.mail_is_held = false;
        self.run();
    }

    /// Nothing is lent, and no task is left.
    pub(super) fn assert_at_rest(&self) {
        for core in &self.cores {
            assert_eq!(core.shard.buffers_in_use(), 0, "a buffer was not given back");
            core.shard.assert_at_rest();
        }
    }

    /// Carries out everything that nothing holds.
    fn run(&mut self) {
        loop {
            let mut idle = true;
            for core in 0..self.cores.len() {
                while let Some(action) = self.cores[core].actions.pop() {
                    self.carry(core, action);
                    idle = false;
                }
                if !self.backend_is_held && !self.cores[core].begun.is_empty() {
                    let begun = self.cores[core].begun.pop_front().unwrap();
                    let result = self.carry_out(core, &begun.action);
                    let Core { shard, actions, .. } = &mut self.cores[core];
                    shard.handle_io(self.now, begun.op, result, actions);
                    idle = false;
                }
                let wire = &mut self.cores[core].on_wire;
                let taken = if self.wire_is_held { None } else { wire.pop_front() };
                let left = taken.map(|(_, buf)| buf);
                if let Some(buf) = self.cores[core].freed.pop().or(left) {
                    let Core { shard, actions, .. } = &mut self.cores[core];
                    shard.handle_buffer_returned(self.now, buf, actions);
                    idle = false;
                }
            }
            if !self.mail_is_held
                && let Some(letter) = self.mail.pop_front()
            {
                self.deliver(letter);
                idle = false;
            }
            idle &= !self.go_on();
            if idle {
                return;
            }
        }
    }

    /// Goes on with a connection whose data has come and has a place by now.
    fn go_on(&mut self) -> bool {
        let mut list = self.waiting.iter();
        let found = list.find(|(_, q)| q.data.is_some() && q.placement.is_some());
        let Some((&(core, key), _)) = found else { return false };
        let Some(Queued { data: Some((data, digest_ok)), placement: Some(placement), behind }) =
            self.waiting.remove(&(core, key))
        else {
            unreachable!("it has just been found")
        };
        let place = (core, ConnId(key));
        self.receive_data(place, placement, &data, digest_ok);
        for (header, data) in behind {
            self.receive(place, header, &data);
        }
        true
    }

    fn deliver(&mut self, (from, to, message): (usize, usize, Message)) {
        let from = ReactorId(u8::try_from(from).unwrap());
        let Core { shard, actions, .. } = &mut self.cores[to];
        shard.handle_message(self.now, from, message, actions);
    }

    fn carry(&mut self, core: usize, action: Action) {
        match action {
            Action::Close { conn, closing } => {
                self.closed.push((core, conn));
                self.closings.push(closing);
                self.waiting.remove(&(core, conn.0));
                if closing == Closing::Abandon {
                    let Core { on_wire, freed, .. } = &mut self.cores[core];
                    freed.extend(on_wire.iter().filter(|w| w.0 == conn).map(|w| w.1));
                    on_wire.retain(|w| w.0 != conn);
                }
            }
            Action::EnterFullFeaturePhase { .. } => {}
            Action::HandOver { conn, to, state } => self.hand_over((core, conn), to, *state),
            Action::Post { to, message } => {
                self.mail.push_back((core, usize::from(to.0), *message));
            }
            Action::Place { conn, placement } => {
                let queued = self.waiting.get_mut(&(core, conn.0));
                queued.expect("only data that waits is placed").placement = Some(placement);
            }
            // What is on the wire does not move before the test takes it off, or says so.
            Action::Probe(conn) => {
                self.moved_bytes += u64::from(self.sockets_move);
                let Core { shard, actions, on_wire, .. } = &mut self.cores[core];
                let is_due = on_wire.iter().any(|w| w.0 == conn);
                let progress = Progress { bytes: self.moved_bytes, is_due };
                shard.handle_progress(self.now, conn, progress, actions);
            }
            Action::Replicate { block, into } => {
                let buffers = &mut self.cores[core].buffers;
                let block = bytes_of(buffers, block).to_vec();
                let filled = bytes_of(buffers, into);
                filled.chunks_mut(block.len()).for_each(|c| c.copy_from_slice(&block));
            }
            Action::Report(event) => self.events.push(*event),
            Action::Return { conn, buf } => self.cores[core].on_wire.push_back((conn, buf)),
            Action::Send { conn, header, data, sample } => {
                self.samples.extend(sample);
                self.send((core, conn), header, data);
            }
            Action::ZeroFill(slice) => bytes_of(&mut self.cores[core].buffers, slice).fill(0),
            Action::Combine { op, .. } | Action::Io { op, .. } => {
                self.cores[core].begun.push_back(Begun { op, action })
            }
        }
    }

    fn hand_over(&mut self, from: Place, to: ReactorId, state: crate::HandedOver) {
        let to = usize::from(to.0);
        let Core { shard, actions, .. } = &mut self.cores[to];
        match shard.adopt(self.now, state, actions) {
            Some(conn) => {
                self.moved.insert((from.0, from.1.0), (to, conn));
                let login = self.sent.remove(&(from.0, from.1.0)).unwrap_or_default();
                self.sent.insert((to, conn.0), login);
            }
            None => self.closed.push(from),
        }
    }

    fn send(&mut self, (core, conn): Place, header: [u8; 48], data: SendData) {
        let data = match data {
            SendData::None => Vec::new(),
            SendData::Bytes(bytes) => bytes,
            SendData::Buffer { slice, last } => {
                if last {
                    self.cores[core].on_wire.push_back((conn, slice.buf));
                }
                bytes_of(&mut self.cores[core].buffers, slice).to_vec()
            }
        };
        let [_, high, middle, low] = header[4..8].try_into().unwrap();
        let announced = u32::from_be_bytes([0, high, middle, low]) as usize;
        assert_eq!(announced, data.len(), "a header counts its data segment");
        self.sent.entry((core, conn.0)).or_default().push_back(Sent { header, data });
    }

    /// Does what a backend does, on bytes in memory.
    fn carry_out(&mut self, core: usize, action: &Action) -> IoResult {
        let buffers = &mut self.cores[core].buffers;
        match *action {
            Action::Combine { by, first, second, .. } => {
                let first = bytes_of(buffers, first).to_vec();
                by.apply(&first, bytes_of(buffers, second))
            }
            Action::Io { volume, request, .. } => {
                perform(buffers, &mut self.disks, volume, request)
            }
            Action::Close { .. }
            | Action::EnterFullFeaturePhase { .. }
            | Action::HandOver { .. }
            | Action::Place { .. }
            | Action::Post { .. }
            | Action::Probe(_)
            | Action::Replicate { .. }
            | Action::Report(_)
            | Action::Return { .. }
            | Action::Send { .. }
            | Action::ZeroFill(_) => unreachable!("no operation of the backend"),
        }
    }
}

fn bytes_of(buffers: &mut [Vec<u8>], slice: BufSlice) -> &mut [u8] {
    let from = slice.offset as usize;
    &mut buffers[slice.buf.0 as usize][from..from + slice.len as usize]
}

fn run_of(disks: &mut [Vec<u8>], volume: VolumeId, offset: u64, len: u64) -> &mut [u8] {
    let from = usize::try_from(offset).unwrap();
    &mut disks[volume.place()][from..from + usize::try_from(len).unwrap()]
}

/// Carries out a request to a medium of bytes.
fn perform(
    buffers: &mut [Vec<u8>],
    disks: &mut [Vec<u8>],
    volume: VolumeId,
    request: BlockRequest,
) -> IoResult {
    match request {
        BlockRequest::Read { offset, into, .. } => {
            let disk = run_of(disks, volume, offset, into.len.into());
            bytes_of(buffers, into).copy_from_slice(disk);
        }
        BlockRequest::Write { offset, from, .. } => {
            let disk = run_of(disks, volume, offset, from.len.into());
            disk.copy_from_slice(bytes_of(buffers, from));
        }
        BlockRequest::Space { range, change: SpaceChange::Unmap | SpaceChange::Zero } => {
            run_of(disks, volume, range.offset, range.len).fill(0);
        }
        BlockRequest::MapQuery(range) => {
            return IoResult::Mapped { len: range.len, allocated: true };
        }
        BlockRequest::Flush => {}
    }
    IoResult::Done
}
