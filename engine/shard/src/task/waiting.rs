//! What waits until tasks have nothing under way any more.

use crate::session::nexus::Nexus;
use crate::task::Task;
use crate::task::tasks::Tasks;
use crate::turn::Turn;
use crate::wake::Wake;
use iscsi::pdu::TaskManagementOutcome;
use units::{ConnId, Key, Mutant, VolumeId};

/// Something to do once a set of tasks is quiet.
#[derive(Debug)]
pub(crate) struct Wait {
    tasks: Vec<Key>,
    then: Then,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Then {
    /// Answer a task management function.
    AnswerManagement { task: Key, outcome: TaskManagementOutcome },
    /// Reset the logical units of a target.
    ResetTarget { task: Key },
    /// Answer a logout and close.
    AnswerLogout { conn: ConnId, request: iscsi::pdu::LogoutRequest },
    /// End the reservations of a session that is gone, and tell the registrar.
    SessionOver { nexus: Nexus, tsih: u16 },
    /// Report to the home of a logical unit that a job is done here.
    JobDone { volume: VolumeId, number: u64 },
}

impl Then {
    /// Whether it has to wait for a task. Aborts and the ends of sessions wait for the jobs that
    /// the task has asked for too: they must not change a logical unit afterwards. Jobs do not
    /// wait for jobs, because one may be queued behind the other.
    #[allow(clippy::missing_const_for_fn, reason = "it is not one in a build with mutants")]
    fn waits_for(&self, task: &Task) -> bool {
        match self {
            Self::AnswerManagement { .. } if Mutant::TaskQuietTooEarly.is_active() => false,
            Self::SessionOver { .. } if Mutant::SessionOverTooEarly.is_active() => false,
            Self::AnswerLogout { .. }
            | Self::AnswerManagement { .. }
            | Self::ResetTarget { .. }
            | Self::SessionOver { .. } => !task.is_still(),
            Self::JobDone { .. } => task.has_operation(),
        }
    }
}

impl Tasks {
    /// Does `then` as soon as `tasks` are quiet.
    pub(crate) fn when_quiet(&mut self, tasks: &[Key], then: Then, turn: &mut Turn<'_>) {
        let waits = |key: &Key| self.get(*key).is_some_and(|task| then.waits_for(task));
        let tasks: Vec<Key> = tasks.iter().copied().filter(waits).collect();
        if tasks.is_empty() {
            turn.wake(Wake::Quiet(then));
        } else {
            self.waits.push(Wait { tasks, then });
        }
    }

    /// Handles [`Wake::TaskQuiet`].
    pub(crate) fn handle_quiet(&mut self, key: Key, turn: &mut Turn<'_>) {
        let mut waits = std::mem::take(&mut self.waits);
        for wait in &mut waits {
            let then = &wait.then;
            wait.tasks.retain(|&k| k != key || self.get(k).is_some_and(|t| then.waits_for(t)));
        }
        for wait in waits {
            if wait.tasks.is_empty() {
                turn.wake(Wake::Quiet(wait.then));
            } else {
                self.waits.push(wait);
            }
        }
    }
}
