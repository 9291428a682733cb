//! Pings: a silent initiator is asked whether it is still there (NOP-In, RFC 7143 11.19).

use crate::session::{Ping, Session};
use crate::turn::Turn;
use iscsi::pdu::NopIn;
use iscsi::{InitiatorTaskTag, TargetTransferTag};
use units::{Instant, Lun, limits};

/// What the silence of an initiator calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Ping,
    /// A look at the socket: the ping is not answered yet, and the answer may be behind much else.
    Probe,
    /// The end of the session: the ping was not answered.
    End,
}

impl Ping {
    /// What is due at `now`.
    pub(crate) fn due(&self, now: Instant) -> Due {
        let silent = now.since(self.alive_at);
        match self.outstanding {
            Some((_, sent)) => {
                let waited = now.since(sent).min(silent);
                if waited >= limits::NOP_IN_ANSWER_TIME_MAX { Due::End } else { Due::Probe }
            }
            None if silent >= limits::NOP_IN_INTERVAL => Due::Ping,
            None => Due::Nothing,
        }
    }
}

/// Sends a NOP-In that asks for an answer. It carries the next StatSN and does not use it up.
pub(crate) fn send(session: &mut Session, turn: &mut Turn<'_>) {
    debug_assert!(session.ping.outstanding.is_none(), "one ping at a time");
    let tag = session.new_transfer_tag();
    session.ping.outstanding = Some((tag, turn.now));
    send_nop_in(session, tag, turn);
}

/// Sends a NOP-In that asks for no answer: the command window was closed, and no response says that
/// it is open again (RFC 7143 11.19).
#[cold]
pub(crate) fn announce_window(session: &Session, turn: &mut Turn<'_>) {
    send_nop_in(session, TargetTransferTag::RESERVED, turn);
}

fn send_nop_in(session: &Session, tag: TargetTransferTag, turn: &mut Turn<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_due_follows_from_the_silence_and_the_ping_that_is_open() {
        // Seconds: last heard, ping sent, now.
        let rows = [
            (100, None, 100, Due::Nothing),
            (100, None, 109, Due::Nothing),
            (100, None, 110, Due::Ping),
            (100, None, 500, Due::Ping),
            (100, Some(110), 110, Due::Probe),
            (100, Some(110), 129, Due::Probe),
            (100, Some(110), 130, Due::End),
            // Other PDUs came behind the ping: the initiator lives, whatever it answers.
            (115, Some(110), 130, Due::Probe),
            (115, Some(110), 134, Due::Probe),
            (115, Some(110), 135, Due::End),
            // A clock that other cores have read later.
            (100, None, 99, Due::Nothing),
        ];
        for (heard, sent, now, due) in rows {
            let outstanding = sent.map(|sent| (TargetTransferTag(7), at(sent)));
            let ping = Ping { alive_at: at(heard), outstanding };
            assert_eq!(ping.due(at(now)), due, "heard {heard}, pinged {sent:?}, now {now}");
        }
    }
}
