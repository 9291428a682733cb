//! One shard and one session without a network or a disk.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use iscsi::Bhs;
use shard::{
    Action, Actions, IoResult, OpId, Placement, SendData, SessionCaps, Shard, ShardOptions,
};
use std::sync::Arc;
use std::time::Duration;
use units::{BlockSize, ConnId, Instant, PoolLayout, ReactorId, SizeClass, VolumeId};
use volume::{
    Access, BlockRequest, Capabilities, Catalog, Geometry, LunMapping, Naa, TargetRecord,
    VolumeRecord, Wwid,
};

pub(crate) const NOW: Instant = Instant(1);

/// One target; with or without its only volume.
pub(crate) fn catalog(generation: u64, with_volume: bool) -> Arc<Catalog> {
    catalog_of(generation, with_volume.then_some(VolumeId(0)))
}

/// One target, with this volume or none.
pub(crate) fn catalog_of(generation: u64, id: Option<VolumeId>) -> Arc<Catalog> {
    let volume = |id| VolumeRecord {
        id,
        name: "volume".into(),
        wwid: Wwid {
            naa: Naa::LocallyAssigned([0x30, 0, 0, 0, 0, 0, 0, 1]),
            serial: "SERIAL".into(),
        },
        geometry: Geometry::of_bytes(16 << 20, BlockSize::B512, 4096).unwrap(),
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
    let target = TargetRecord {
        name: "iqn.2026-11.example:disk".into(),
        alias: None,
        portal_group_tag: 1,
        relative_port: 1,
        luns: id.map(|volume| (0, LunMapping { volume, read_only: false })).into_iter().collect(),
        access: Access::Any,
        chap: None,
    };
    let volumes = vec![id.map(volume)];
    Arc::new(Catalog::new(generation, volumes, vec![target], vec![]).unwrap())
}

/// One session, and a backend that does everything at once but reads.
pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) actions: Actions,
    /// Reads that have not ended.
    pub(crate) reads: Vec<OpId>,
    conn: ConnId,
    commands: u32,
}

impl World {
    pub(crate) fn log_in() -> Self {
        let layout = PoolLayout::new(vec![SizeClass { bytes: 262_144, count: 16 }]);
        let options = ShardOptions {
            id: ReactorId(0),
            reactors: 1,
            layout,
            caps: SessionCaps::default(),
            login_time_max: Duration::from_secs(15),
            entropy: Box::new(|bytes: &mut [u8]| bytes.fill(7)),
        };
        let mut shard = Shard::new(options, catalog(1, true));
        let address = "127.0.0.1:3260".parse().unwrap();
        let conn = shard.accept(NOW, address, address).unwrap();
        let mut this =
            Self { shard, actions: Actions::default(), reads: Vec::new(), conn, commands: 0 };
        let text = "InitiatorName=iqn.2026-11.example:host\0\
                    TargetName=iqn.2026-11.example:disk\0SessionType=Normal\0";
        let mut header = [0; 48];
        header[..2].copy_from_slice(&[0x43, 0x87]);
        header[8] = 0x80;
        this.pdu(header, text.as_bytes());
        // The unit attentions of a new session.
        for _ in 0..4 {
            this.execute(&[0; 6], 0x80, &[]);
        }
        this
    }

    /// Everything that the shard asks for because of a PDU, in words, and the data it sends.
    fn pdu(&mut self, mut header: [u8; 48], data: &[u8]) -> (Vec<String>, Vec<u8>) {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        header[5..8].copy_from_slice(&length[1..]);
        let bhs = Bhs::new(header);
        let placement = self.shard.handle_header(NOW, self.conn, &bhs, &mut self.actions);
        if placement == Placement::Engine {
            self.shard.handle_segment(self.conn, data);
        }
        self.shard.handle_pdu_end(NOW, self.conn, true, &mut self.actions);
        self.carry_out()
    }

    /// Carries out what the shard asks for; tells it in words, and the data that was sent.
    pub(crate) fn carry_out(&mut self) -> (Vec<String>, Vec<u8>) {
        let (mut words, mut sent) = (Vec::new(), Vec::new());
        while let Some(action) = self.actions.pop() {
            match action {
                Action::Combine { op, .. } => self.done("combine", op, &mut words),
                Action::Io { op, request, .. } => match request {
                    BlockRequest::Flush => self.done("flush", op, &mut words),
                    BlockRequest::MapQuery(_) => {}
                    BlockRequest::Read { .. } => {
                        words.push("read".to_owned());
                        self.reads.push(op);
                    }
                    BlockRequest::Space { change, .. } => {
                        self.done(&format!("{change:?}"), op, &mut words);
                    }
                    BlockRequest::Write { durable, .. } => {
                        let what = if durable { "durable write" } else { "write" };
                        self.done(what, op, &mut words);
                    }
                },
                Action::Send { header, data, .. } => {
                    words.push(format!("PDU {:#04x} status {}", header[0], header[3]));
                    if let SendData::Bytes(bytes) = data {
                        sent = bytes;
                    }
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
                | Action::ZeroFill(_) => {}
            }
        }
        (words, sent)
    }

    fn done(&mut self, what: &str, op: OpId, words: &mut Vec<String>) {
        words.push(what.to_owned());
        self.shard.handle_io(NOW, op, IoResult::Done, &mut self.actions);
    }

    /// `flags` are F, R and W (RFC 7143 11.3.1). All data is immediate.
    pub(crate) fn execute(&mut self, cdb: &[u8], flags: u8, data: &[u8]) -> (Vec<String>, Vec<u8>) {
        let mut header = [0; 48];
        header[..2].copy_from_slice(&[0x01, flags | 1]);
        header[16..20].copy_from_slice(&(self.commands + 1).to_be_bytes());
        let length = if flags & 0x40 != 0 { 255 } else { u32::try_from(data.len()).unwrap() };
        header[20..24].copy_from_slice(&length.to_be_bytes());
        header[24..28].copy_from_slice(&self.commands.to_be_bytes());
        header[32..32 + cdb.len()].copy_from_slice(cdb);
        self.commands += 1;
        self.pdu(header, data)
    }
}
