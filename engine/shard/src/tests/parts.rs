//! Single parts of a shard for their unit tests: the queues of a turn, a session, a unit.

use super::world::{TARGET, catalog};
use crate::action::{Action, Actions};
use crate::message::Note;
use crate::session::nexus::{Nexus, NexusName};
use crate::session::{Purpose, Session};
use crate::turn::{Cores, Turn};
use crate::unit::Unit;
use crate::wake::{Wake, Wakes};
use iscsi::{Parameters, SessionRequest, SessionType};
use std::sync::Arc;
use units::{ConnId, Instant, Key, ReactorId, Serial32, VolumeId};
use volume::Catalog;

/// The queues of a shard, for turns without the shard.
pub(crate) struct Queues {
    pub(crate) actions: Actions,
    pub(crate) wakes: Wakes,
    pub(crate) cores: Cores,
    pub(crate) now: Instant,
}

impl Queues {
    /// Empty queues of reactor `own` of a node with `count`.
    pub(crate) fn new(own: u8, count: u8) -> Self {
        Self {
            actions: Actions::default(),
            wakes: Wakes::default(),
            cores: Cores { own: ReactorId(own), count },
            now: Instant(1_000_000_000),
        }
    }

    pub(crate) fn turn(&mut self) -> Turn<'_> {
        let Self { actions, wakes, cores, now } = self;
        Turn { now: *now, actions, wakes, cores: *cores }
    }

    /// The wakes since the last time.
    pub(crate) fn wakes(&mut self) -> Vec<Wake> {
        std::iter::from_fn(|| self.wakes.pop()).collect()
    }

    /// The notes that were posted since the last time, with the reactors that get them. Those to
    /// this reactor come first.
    pub(crate) fn notes(&mut self) -> Vec<(u8, Note)> {
        let own = self.cores.own.0;
        let mut notes = Vec::new();
        while let Some(wake) = self.wakes.pop() {
            let Wake::Note(note) = wake else { panic!("{wake:?} is no note") };
            notes.push((own, note));
        }
        while let Some(action) = self.actions.pop() {
            let Action::Post { to, message } = action else { panic!("{action:?} is no message") };
            notes.push((to.0, message.0));
        }
        notes
    }
}

/// A key that names nothing.
pub(crate) const fn key(index: u32) -> Key {
    Key { index, generation: 7 }
}

/// Two volumes.
pub(crate) fn two_volumes() -> Arc<Catalog> {
    catalog(2)
}

/// The nexus of an initiator and the target of the scenarios.
pub(crate) fn nexus(name: &str) -> Nexus {
    nexus_of(name, [0x80, 0, 0, 0, 0, 1])
}

/// The nexus of a port of an initiator.
pub(crate) fn nexus_of(name: &str, isid: [u8; 6]) -> Nexus {
    Nexus::new(NexusName {
        initiator_name: format!("iqn.2026-01.example:{name}"),
        isid,
        target_name: TARGET.into(),
        portal_group_tag: 1,
    })
}

/// A normal session that has just begun.
pub(crate) fn session(name: &str) -> Session {
    let nexus = nexus(name);
    let request = SessionRequest {
        initiator_name: nexus.name().initiator_name.clone(),
        initiator_alias: None,
        isid: nexus.name().isid,
        tsih: 0,
        cid: 0,
        session_type: SessionType::Normal { target_name: TARGET.into(), portal_group_tag: 1 },
        parameters: Parameters::default(),
        exp_cmd_sn: Serial32(1),
        stat_sn: Serial32(1),
    };
    let target = Arc::new(catalog(2).targets()[0].clone());
    let purpose = Purpose::Normal { nexus, target };
    Session::new(&request, purpose, 1, ConnId(key(0)), Instant(0))
}

/// The unit of a volume of the scenarios, as after a power on.
pub(crate) fn unit(volume: u16) -> Unit {
    Unit::new(catalog(2).volume(VolumeId(volume.into())).unwrap())
}
