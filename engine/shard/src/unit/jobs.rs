//! What this core does for a job of a logical unit ([`Note::Do`]).
//!
//! [`Note::Do`]: crate::message::Note::Do

use crate::message::{Duty, Job, Ticket};
use crate::session::nexus::Nexus;
use crate::session::sessions::Sessions;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::waiting::Then;
use crate::turn::Turn;
use crate::wake::Wake;
use scsi::Sense;
use units::{Key, VolumeId};

/// Carries out a job on this core. [`Wake::JobDone`] follows, at once or when tasks are quiet.
pub(crate) fn perform(
    duty: Duty,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    let Duty { volume, number, job } = duty;
    let Some(unit) = neighbours.units.get_mut(volume) else {
        // The catalog that brings the volume has not reached this core: no session here uses it.
        return turn.wake(Wake::JobDone { volume, number });
    };
    match job {
        Job::HoldRange { range, holder } => unit.medium.hold(range, holder, number, turn),
        Job::Reset { asker } => {
            unit.reset();
            let cleared = tasks.of_unit(volume, own_key(asker, turn));
            tasks.abort(&cleared, neighbours, turn);
            // Every nexus is told, the one that asked too.
            raise(volume, Sense::BUS_DEVICE_RESET_FUNCTION_OCCURRED, None, neighbours.sessions);
            tasks.when_quiet(&cleared, Then::JobDone { volume, number }, turn);
        }
        Job::Mode { by, parameters } => {
            unit.model.mode.current = parameters;
            raise(volume, Sense::MODE_PARAMETERS_CHANGED, Some(&by), neighbours.sessions);
            turn.wake(Wake::JobDone { volume, number });
        }
        Job::NexusLost { holder } => {
            unit.standing.release_of_session(&holder);
            turn.wake(Wake::JobDone { volume, number });
        }
        Job::Release { by } => {
            unit.standing.release(&by);
            turn.wake(Wake::JobDone { volume, number });
        }
        Job::Reserve { by } => {
            unit.standing.reserve(by);
            turn.wake(Wake::JobDone { volume, number });
        }
    }
}

/// The task that asked for a job, where it is one of this core.
fn own_key(asker: Ticket, turn: &Turn<'_>) -> Option<Key> {
    (asker.reactor == turn.cores.own).then_some(asker.task)
}

/// Raises a unit attention for every nexus on this core that has the volume, but `by`.
fn raise(volume: VolumeId, sense: Sense, by: Option<&Nexus>, sessions: &mut Sessions) {
    for session in sessions.iter_mut() {
        if by.is_none() || session.nexus() != by {
            session.raise_at(volume, sense);
        }
    }
}
