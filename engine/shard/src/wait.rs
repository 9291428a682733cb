//! What waits until tasks have nothing under way at the backend any more.

use crate::nexus::Nexus;
use crate::shard::{Shard, Turn};
use crate::task::Task;
use iscsi::pdu::TaskManagementOutcome;
use units::{ConnId, Key, VolumeId};

/// Something to do once a set of tasks is quiet.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) tasks: Vec<Key>,
    pub(crate) then: Then,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Then {
    /// Answer a task management function.
    AnswerManagement { task: Key, outcome: TaskManagementOutcome },
    /// Reset the logical units of a target.
    ResetTarget { conn: ConnId, task: Key },
    /// Answer a logout and close.
    AnswerLogout { conn: ConnId, request: iscsi::pdu::LogoutRequest },
    /// End the reservations of a session that is gone, and tell the registrar.
    SessionOver { nexus: Nexus, tsih: u16 },
    /// Tell the home of a logical unit that a job is done here.
    JobDone { volume: VolumeId, number: u64 },
}

impl Then {
    /// Whether it has to wait for a task. Aborts and the ends of sessions wait for the jobs that
    /// the task has asked for too: they must not change a logical unit afterwards. Jobs do not
    /// wait for jobs, because one may be queued behind the other.
    const fn waits_for(&self, task: &Task) -> bool {
        let jobs = match self {
            Self::AnswerLogout { .. }
            | Self::AnswerManagement { .. }
            | Self::ResetTarget { .. }
            | Self::SessionOver { .. } => task.jobs_in_flight > 0,
            Self::JobDone { .. } => false,
        };
        task.io_in_flight > 0 || jobs
    }
}

impl Shard {
    /// Does `then` as soon as `tasks` are quiet; at once if they are.
    pub(crate) fn when_quiet(&mut self, tasks: Vec<Key>, then: Then, turn: &mut Turn<'_>) {
        let tasks: Vec<Key> = tasks
            .into_iter()
            .filter(|&key| self.tasks.get(key).is_some_and(|t| then.waits_for(t)))
            .collect();
        if tasks.is_empty() {
            self.quiet(then, turn);
        } else {
            self.waits.push(Wait { tasks, then });
        }
    }

    /// A task has nothing under way any more.
    pub(crate) fn task_is_quiet(&mut self, key: Key, turn: &mut Turn<'_>) {
        if self.waits.is_empty() {
            return;
        }
        let task = self.tasks.get(key);
        for wait in &mut self.waits {
            let then = &wait.then;
            wait.tasks.retain(|&k| k != key || task.is_some_and(|t| then.waits_for(t)));
        }
        while let Some(place) = self.waits.iter().position(|w| w.tasks.is_empty()) {
            let wait = self.waits.remove(place);
            self.quiet(wait.then, turn);
        }
    }

    fn quiet(&mut self, then: Then, turn: &mut Turn<'_>) {
        match then {
            Then::AnswerManagement { task, outcome } => {
                self.answer_management(task, outcome, turn);
            }
            Then::ResetTarget { conn, task } => self.reset_units(conn, task, turn),
            Then::AnswerLogout { conn, request } => self.answer_logout(conn, &request, turn),
            Then::SessionOver { nexus, tsih } => self.session_is_over(nexus, tsih, turn),
            Then::JobDone { volume, number } => self.report_done(volume, number, turn),
        }
    }
}
