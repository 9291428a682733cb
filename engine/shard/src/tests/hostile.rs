//! Initiators that keep no rule, a backend that ends in any order, catalogs that come and go: the
//! shard keeps its invariants, counts its responses, and comes to rest.

mod events;
mod peer;

use super::initiator::UNASKED;
use super::world::{TARGET, VOLUME_BYTES, World, catalog};
use crate::IoResult;
use events::{CORES, Event, Pdu, SESSIONS, event};
use peer::Peer;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use units::{BlockSize, SizeClass};
use volume::{Catalog, Geometry};

const KEYS: [&str; 4] = [
    UNASKED,
    "InitialR2T=Yes\0ImmediateData=No\0MaxOutstandingR2T=4\0\
     MaxBurstLength=1024\0FirstBurstLength=1024\0",
    "InitialR2T=No\0ImmediateData=Yes\0FirstBurstLength=512\0\
     MaxBurstLength=262144\0MaxOutstandingR2T=8\0",
    "InitialR2T=No\0ImmediateData=No\0FirstBurstLength=262144\0\
     MaxBurstLength=262144\0MaxRecvDataSegmentLength=512\0",
];

/// Everything; the second volume gone; nothing mapped; the first volume half as large.
fn catalogs() -> [Arc<Catalog>; 4] {
    let all = catalog(2);
    let half = Geometry::of_bytes(VOLUME_BYTES as u64 / 2, BlockSize::B512, 512).unwrap();
    let mut small: Vec<_> = all.volumes().cloned().map(Some).collect();
    small[0].as_mut().unwrap().geometry = half;
    let targets = all.targets().to_vec();
    let shrunk = Catalog::new(2, small, targets, vec![]).unwrap();
    [all, catalog(1), super::world::catalog_with(2, false), Arc::new(shrunk)]
}

struct Run {
    world: World,
    peers: Vec<Option<Peer>>,
    catalogs: [Arc<Catalog>; 4],
}

impl Run {
    fn new(large: u32) -> Self {
        let classes =
            vec![SizeClass { bytes: 4096, count: 2 }, SizeClass { bytes: 262_144, count: large }];
        let mut world = World::with_pool(u8::try_from(CORES).unwrap(), classes);
        (world.backend_is_held, world.wire_is_held, world.mail_is_held) = (true, true, true);
        let peers = (0..SESSIONS).map(|_| None).collect();
        let mut this = Self { world, peers, catalogs: catalogs() };
        for session in 0..SESSIONS {
            this.log_in(session, session % CORES, session);
        }
        this
    }

    fn log_in(&mut self, session: usize, core: usize, keys: usize) {
        let Some(place) = self.world.accept(core) else { return };
        let name = ["a", "b", "c", "d"][session];
        let text = format!(
            "InitiatorName=iqn.2026-01.example:{name}\0TargetName={TARGET}\0SessionType=Normal\0{}",
            KEYS[keys]
        );
        let header = super::initiator::login_header(text.len());
        self.world.receive(place, header, text.as_bytes());
        self.peers[session] = Some(Peer {
            place,
            cmd_sn: 0xffff_fff0,
            tag: 16,
            open: None,
            r2ts: Vec::new(),
            waiting: BTreeSet::new(),
            stat_sn: None,
            max_cmd_sn: None,
        });
        for _ in 0..8 {
            self.world.deliver_one();
        }
        for _ in 0..3 {
            let cdb = [0; 16];
            let pdu = Pdu::Command {
                cdb,
                lun: 0,
                wrong: 0,
                is_final: true,
                immediate: false,
                data: 0,
                old_tag: false,
            };
            self.pdu(session, &pdu, true);
        }
    }

    /// The peer of a session that has logged in and has not been closed.
    fn peer(&mut self, session: usize) -> Option<&mut Peer> {
        let Self { world, peers, .. } = self;
        let peer = peers[session].as_mut()?;
        peer.take(world);
        (!world.is_closed(peer.place) && peer.stat_sn.is_some()).then_some(peer)
    }

    fn pdu(&mut self, session: usize, pdu: &Pdu, whole: bool) {
        let Some(peer) = self.peer(session) else { return };
        let place = peer.place;
        if peer.open.is_some() || self.world.is_waiting(place) {
            return;
        }
        let Some(peer) = self.peer(session) else { return };
        let (header, len) = peer.header(pdu);
        let placement = self.world.receive_header(place, header);
        if let Some(peer) = &mut self.peers[session] {
            peer.open = Some((placement, len));
        }
        if whole {
            self.rest(session, true);
        }
    }

    fn rest(&mut self, session: usize, digest_ok: bool) {
        let Some(peer) = self.peer(session) else { return };
        let Some((placement, len)) = peer.open.take() else { return };
        let place = peer.place;
        let data = vec![0x5a; len as usize];
        self.world.receive_data(place, placement, &data, digest_ok || len == 0);
    }

    fn serve(&mut self, session: usize) {
        let Some(peer) = self.peer(session) else { return };
        let place = peer.place;
        if peer.open.is_some() || peer.r2ts.is_empty() || self.world.is_waiting(place) {
            return;
        }
        let Some(peer) = self.peer(session) else { return };
        let (tag, transfer, offset, len) = peer.r2ts.remove(0);
        let data = vec![0x5a; len as usize];
        let part = super::initiator::Part { offset, data_sn: 0, is_final: true, data: &data };
        let header = super::initiator::Initiator::data_out_header(tag, transfer, &part);
        self.world.receive(place, header, &data);
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::LogIn { session, core, keys } => self.log_in(session, core, keys),
            Event::Pdu { session, ref pdu, whole } => self.pdu(session, pdu, whole),
            Event::Rest { session, digest_ok } => self.rest(session, digest_ok),
            Event::Serve { session } => self.serve(session),
            Event::Lose { session } => {
                if let Some(peer) = self.peers[session].take()
                    && !self.world.is_closed(peer.place)
                {
                    self.world.lose(peer.place);
                }
            }
            Event::EndOne { core, place, how } => {
                let result = match how {
                    0 => Some(IoResult::Failed(5)),
                    1 => Some(IoResult::NoSpace),
                    _ => None,
                };
                self.world.end_one(core, place, result);
            }
            Event::TakeOff { core } => self.world.take_one_off_wire(core),
            Event::Deliver => self.world.deliver_one(),
            Event::Catalog { core, which } => {
                let catalog = self.catalogs[which].clone();
                self.world.switch_catalog_of(core, &catalog);
            }
            Event::Pass { millis } => self.world.pass(Duration::from_millis(millis)),
        }
    }

    /// All goes on, and then all connections are lost: nothing is left.
    fn end(mut self) {
        self.world.release_mail();
        self.world.release_backend();
        self.world.release_wire();
        for session in 0..SESSIONS {
            self.rest(session, true);
            while let Some(place) =
                self.peer(session).filter(|p| !p.r2ts.is_empty()).map(|p| p.place)
            {
                if self.world.is_waiting(place) {
                    // Its data waits for a buffer that only later data would free.
                    self.world.pass(units::limits::PLACE_TIME_MAX);
                }
                self.serve(session);
            }
        }
        for peer in std::mem::take(&mut self.peers).into_iter().flatten() {
            if !self.world.is_closed(peer.place) {
                self.world.lose(peer.place);
            }
        }
        self.world.pass(Duration::from_secs(60));
        self.world.assert_at_rest();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_comes_in_whatever_order_the_shards_come_to_rest(
        large in 1_u32..5,
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut run = Run::new(large);
        for event in &events {
            run.step(event);
        }
        run.end();
    }
}
