//! One session: a nexus logged in, its command window, its tasks by tag, and what it has yet to
//! be told. A session has one connection (MaxConnections=1), so the two live and end together.

use crate::nexus::{Holder, Nexus};
use iscsi::{CommandWindow, InitiatorTaskTag, Parameters, TargetTransferTag, TextExchange};
use scsi::Sense;
use std::sync::Arc;
use units::{Instant, Key, Serial32, limits};
use volume::TargetRecord;

/// What a session was logged in for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// To find targets: SendTargets and nothing else.
    Discovery,
    /// To use a target.
    Normal {
        /// The I_T nexus.
        nexus: Nexus,
        /// The target as the catalog had it last.
        target: Arc<TargetRecord>,
    },
}

/// A session in its full feature phase.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) purpose: Purpose,
    pub(crate) initiator_name: String,
    pub(crate) isid: [u8; 6],
    pub(crate) tsih: u16,
    pub(crate) cid: u16,
    pub(crate) parameters: Parameters,
    pub(crate) window: CommandWindow,
    pub(crate) immediate_in_flight: u32,
    /// The StatSN of the next response (RFC 7143 4.2.2.2).
    pub(crate) stat_sn: Serial32,
    pub(crate) tags: TaskTags,
    pub(crate) attentions: Attentions,
    pub(crate) text: TextExchange,
    pub(crate) ping: Ping,
    /// The initiator has asked for the end of the session.
    pub(crate) logging_out: bool,
    /// An async message has asked the initiator to log out.
    pub(crate) logout_requested: bool,
    next_transfer_tag: u32,
}

impl Session {
    /// A session that begins now. `stat_sn` is that of the next response, `cmd_sn` that of the
    /// first command.
    pub(crate) fn new(
        request: &iscsi::SessionRequest,
        purpose: Purpose,
        tsih: u16,
        now: Instant,
    ) -> Self {
        let mut attentions = Attentions::default();
        if let Purpose::Normal { target, .. } = &purpose {
            // SAM-5 6.2: a nexus that begins has not seen what came before it.
            attentions.raise_everywhere(
                target.luns.keys().copied(),
                Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
            );
        }
        Self {
            purpose,
            initiator_name: request.initiator_name.clone(),
            isid: request.isid,
            tsih,
            cid: request.cid,
            parameters: request.parameters,
            window: CommandWindow::new(request.exp_cmd_sn, limits::COMMAND_WINDOW_MAX),
            immediate_in_flight: 0,
            stat_sn: request.stat_sn,
            tags: TaskTags::default(),
            attentions,
            text: TextExchange::default(),
            ping: Ping { received_at: now, outstanding: None },
            logging_out: false,
            logout_requested: false,
            next_transfer_tag: 0,
        }
    }

    /// The nexus of a normal session.
    pub(crate) const fn nexus(&self) -> Option<&Nexus> {
        match &self.purpose {
            Purpose::Normal { nexus, .. } => Some(nexus),
            Purpose::Discovery => None,
        }
    }

    /// A normal session as the holder of a reservation.
    pub(crate) fn holder(&self) -> Option<Holder> {
        Some(Holder { nexus: self.nexus()?.clone(), tsih: self.tsih })
    }

    /// The target of a normal session.
    pub(crate) fn target(&self) -> Option<&Arc<TargetRecord>> {
        match &self.purpose {
            Purpose::Normal { target, .. } => Some(target),
            Purpose::Discovery => None,
        }
    }

    /// A transfer tag that this session has not used lately (RFC 7143 11.8.5).
    pub(crate) fn new_transfer_tag(&mut self) -> TargetTransferTag {
        let tag = self.next_transfer_tag;
        self.next_transfer_tag = if tag >= 0xffff_fffe { 0 } else { tag + 1 };
        TargetTransferTag(tag)
    }
}

/// When the initiator was last heard, and the ping that it has yet to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ping {
    pub(crate) received_at: Instant,
    pub(crate) outstanding: Option<(TargetTransferTag, Instant)>,
}

/// The tasks of a session by initiator task tag. There are at most a window's worth, so two
/// flat lists beat a hash: the tags of a full window fill eight cache lines.
#[derive(Debug, Default)]
pub(crate) struct TaskTags {
    tags: Vec<InitiatorTaskTag>,
    keys: Vec<Key>,
}

impl TaskTags {
    /// The task of a tag.
    pub(crate) fn find(&self, tag: InitiatorTaskTag) -> Option<Key> {
        self.tags.iter().position(|&t| t == tag).map(|place| self.keys[place])
    }

    /// Adds a task; its tag must not be there yet.
    pub(crate) fn insert(&mut self, tag: InitiatorTaskTag, key: Key) {
        debug_assert!(self.find(tag).is_none(), "a duplicate tag is rejected before");
        self.tags.push(tag);
        self.keys.push(key);
    }

    /// Removes a task.
    pub(crate) fn remove(&mut self, tag: InitiatorTaskTag, key: Key) {
        let found = self.tags.iter().zip(&self.keys).position(|(&t, &k)| t == tag && k == key);
        if let Some(place) = found {
            self.tags.swap_remove(place);
            self.keys.swap_remove(place);
        }
    }

    /// All tasks.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

/// The unit attentions that a nexus has yet to be told, oldest first (SAM-5 5.14).
#[derive(Debug, Default)]
pub(crate) struct Attentions {
    pending: Vec<(u16, Sense)>,
}

impl Attentions {
    /// Whether there is none: the one check that the data path makes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds one for a logical unit, unless it is there already.
    pub(crate) fn raise(&mut self, lun: u16, sense: Sense) {
        let of_lun = self.pending.iter().filter(|(l, _)| *l == lun);
        if of_lun.clone().any(|(_, s)| *s == sense) {
            return;
        }
        if of_lun.count() >= limits::UNIT_ATTENTIONS_MAX {
            // 29h/00h says that any of the others may have happened (SAM-5 5.14.3).
            self.pending.retain(|(l, _)| *l != lun);
            self.pending.push((lun, Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED));
            return;
        }
        self.pending.push((lun, sense));
    }

    /// Adds the same one for several logical units.
    pub(crate) fn raise_everywhere(&mut self, luns: impl Iterator<Item = u16>, sense: Sense) {
        for lun in luns {
            self.raise(lun, sense);
        }
    }

    /// Takes the oldest one of a logical unit.
    pub(crate) fn take(&mut self, lun: u16) -> Option<Sense> {
        let place = self.pending.iter().position(|(l, _)| *l == lun)?;
        Some(self.pending.remove(place).1)
    }

    /// REPORT LUNS tells what this one was about, on every logical unit (SPC-4 6.33).
    pub(crate) fn clear(&mut self, sense: Sense) {
        self.pending.retain(|(_, s)| *s != sense);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attentions_come_out_oldest_first_and_only_once() {
        let mut a = Attentions::default();
        a.raise(1, Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED);
        a.raise(1, Sense::MODE_PARAMETERS_CHANGED);
        a.raise(1, Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED);
        assert_eq!(a.take(0), None);
        assert_eq!(a.take(1), Some(Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED));
        assert_eq!(a.take(1), Some(Sense::MODE_PARAMETERS_CHANGED));
        assert_eq!(a.take(1), None);
    }

    #[test]
    fn a_tag_finds_its_task_until_it_is_removed() {
        let mut tags = TaskTags::default();
        let key = Key { index: 3, generation: 9 };
        tags.insert(InitiatorTaskTag(7), key);
        assert_eq!(tags.find(InitiatorTaskTag(7)), Some(key));
        tags.remove(InitiatorTaskTag(7), Key { index: 3, generation: 8 });
        assert_eq!(tags.find(InitiatorTaskTag(7)), Some(key));
        tags.remove(InitiatorTaskTag(7), key);
        assert_eq!(tags.find(InitiatorTaskTag(7)), None);
    }
}
