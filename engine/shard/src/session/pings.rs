//! Pings: a silent initiator is asked whether it is still there (NOP-In, RFC 7143 11.19).

use crate::session::{Ping, Session};
use crate::turn::Turn;
use iscsi::InitiatorTaskTag;
use iscsi::pdu::NopIn;
use units::{Instant, Lun, limits};

/// What the silence of an initiator calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Ping,
    /// The end of the session: the ping was not answered.
    End,
}

impl Ping {
    /// What is due at `now`.
    pub(crate) fn due(&self, now: Instant) -> Due {
        let silent = now.since(self.received_at);
        match self.outstanding {
            Some((_, sent)) => {
                let waited = now.since(sent).min(silent);
                if waited >= limits::NOP_IN_ANSWER_TIME_MAX { Due::End } else { Due::Nothing }
            }
            None if silent >= limits::NOP_IN_INTERVAL => Due::Ping,
            None => Due::Nothing,
        }
    }
}

/// Sends a NOP-In that asks for an answer. It carries the next StatSN and does not use it up.
pub(crate) fn send(session: &mut Session, turn: &mut Turn<'_>) {
    let tag = session.new_transfer_tag();
    session.ping.outstanding = Some((tag, turn.now));
    let stamp = session.stamp_without_status();
    let mut header = [0; 48];
    NopIn {
        data_segment_length: 0,
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag::RESERVED,
        target_transfer_tag: tag,
        stat_sn: stamp.stat_sn,
        exp_cmd_sn: stamp.exp_cmd_sn,
        max_cmd_sn: stamp.max_cmd_sn,
    }
    .emit(&mut header);
    session.send(header, Vec::new(), turn);
}
