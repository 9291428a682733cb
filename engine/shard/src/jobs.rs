//! Jobs on logical units: changes that every core must have made before they count.
//!
//! The home of a logical unit takes them one at a time, tells every shard to carry out the one
//! at hand, and answers the asker when all have. With one reactor the same path runs within a
//! single call.

use crate::logical_unit::{Decision, LogicalUnit, ask, ticket_key};
use crate::message::{Job, Note, Outcome, Ticket};
use crate::nexus::Nexus;
use crate::shard::{Shard, Turn};
use crate::task::{Fault, Phase, Task, Work};
use crate::wait::Then;
use scsi::Sense;
use units::{Key, ReactorId, VolumeId};

impl Shard {
    /// Asks the home of a logical unit for a job; the answer comes to `task`.
    pub(crate) fn ask_for(
        &mut self,
        volume: VolumeId,
        task: Option<Key>,
        job: Job,
        turn: &mut Turn<'_>,
    ) {
        if let Some(asker) = task.and_then(|key| self.tasks.get_mut(key)) {
            asker.jobs_in_flight += 1;
        }
        let ticket = task.map(|task| Ticket { reactor: self.id, task });
        self.post(self.home_of(volume), ask(volume, ticket, job), turn);
    }

    /// Handles [`Note::Ask`] at the home.
    pub(crate) fn job_asked(
        &mut self,
        volume: VolumeId,
        ticket: Option<Ticket>,
        job: Job,
        turn: &mut Turn<'_>,
    ) {
        let Some(unit) = self.unit_mut(volume) else {
            // The volume has gone; nobody holds anything of it any more.
            if let Some(ticket) = ticket {
                let note = Note::Answer { ticket, outcome: Outcome::Done };
                self.post(ticket.reactor, note, turn);
            }
            return;
        };
        unit.home.enqueue(ticket, job);
        self.poll_home(volume, turn);
    }

    /// Handles [`Note::Cancel`] at the home.
    pub(crate) fn job_cancelled(&mut self, volume: VolumeId, ticket: Ticket, turn: &mut Turn<'_>) {
        let Some(unit) = self.unit_mut(volume) else { return };
        if unit.home.cancel(ticket) {
            let note = Note::Answer { ticket, outcome: Outcome::Done };
            self.post(ticket.reactor, note, turn);
            self.poll_home(volume, turn);
        }
    }

    /// Starts the jobs that may start. A job may end within the call that starts it; the next
    /// one is then started by the loop that is at work already, not inside of it, so that a
    /// queue of any length needs the stack of one job.
    fn poll_home(&mut self, volume: VolumeId, turn: &mut Turn<'_>) {
        let shards = self.reactors.max(1);
        let is_polled = |unit: &mut LogicalUnit| std::mem::replace(&mut unit.home.is_polled, true);
        if self.unit_mut(volume).is_none_or(is_polled) {
            return;
        }
        loop {
            let Some(unit) = self.unit_mut(volume) else { return };
            match unit.home.poll(unit.reserved_by.as_ref(), shards) {
                None => {
                    unit.home.is_polled = false;
                    return;
                }
                Some(Decision::Reply { ticket, outcome }) => {
                    self.post(ticket.reactor, Note::Answer { ticket, outcome }, turn);
                }
                Some(Decision::Broadcast { number, job }) => {
                    for other in self.others() {
                        self.post(other, Note::Do { volume, number, job: job.clone() }, turn);
                    }
                    self.perform(volume, number, job, turn);
                }
            }
        }
    }

    /// Handles [`Note::Do`]: carries out a job on this core.
    pub(crate) fn perform(&mut self, volume: VolumeId, number: u64, job: Job, turn: &mut Turn<'_>) {
        let waits_for = match job {
            Job::ClearTaskSet { by, asker } => self.clear_task_set(volume, &by, asker, turn),
            Job::HoldRange { extent, holder } => {
                if let Some(unit) = self.unit_mut(volume) {
                    unit.held.hold(extent, ticket_key(holder));
                }
                let writes = |t: &Task| t.writes_into(volume, extent);
                self.tasks.iter().filter(|(_, t)| writes(t)).map(|(k, _)| k).collect()
            }
            Job::Mode { by, parameters } => {
                if let Some(unit) = self.unit_mut(volume) {
                    unit.unit.mode.current = parameters;
                }
                self.raise(volume, Sense::MODE_PARAMETERS_CHANGED, Some(&by));
                Vec::new()
            }
            Job::NexusLost { holder } => {
                if let Some(unit) = self.unit_mut(volume)
                    && unit.reserved_by.as_ref() == Some(&holder)
                {
                    unit.reserved_by = None;
                }
                Vec::new()
            }
            Job::Release { by } => {
                if let Some(unit) = self.unit_mut(volume)
                    && unit.reserved_by.as_ref().is_some_and(|holder| holder.nexus == by)
                {
                    unit.reserved_by = None;
                }
                Vec::new()
            }
            Job::Reserve { by } => {
                if let Some(unit) = self.unit_mut(volume) {
                    unit.reserved_by = Some(by);
                }
                Vec::new()
            }
            Job::Reset { asker } => self.reset_unit(volume, asker, turn),
        };
        self.when_quiet(waits_for, Then::JobDone { volume, number }, turn);
    }

    /// This core has carried out a job.
    pub(crate) fn report_done(&mut self, volume: VolumeId, number: u64, turn: &mut Turn<'_>) {
        self.post(self.home_of(volume), Note::Done { volume, number }, turn);
    }

    /// Handles [`Note::Done`] at the home.
    pub(crate) fn job_done(&mut self, volume: VolumeId, number: u64, turn: &mut Turn<'_>) {
        let Some(unit) = self.unit_mut(volume) else { return };
        if let Some(ticket) = unit.home.handle_done(number) {
            let note = Note::Answer { ticket, outcome: Outcome::Done };
            self.post(ticket.reactor, note, turn);
        }
        self.poll_home(volume, turn);
    }

    /// Handles [`Note::Answer`]: the job that `task` asked for has ended.
    pub(crate) fn job_answered(&mut self, key: Key, outcome: Outcome, turn: &mut Turn<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.jobs_in_flight -= 1;
        if matches!(task.work, Work::Management) {
            self.management_job_ended(key, turn);
            return;
        }
        match outcome {
            Outcome::Done => {}
            Outcome::ReservationConflict => task.fail(Fault::ReservationConflict),
        }
        if matches!(task.work, Work::CompareAndWrite { .. }) {
            task.holds_range = true;
        }
        self.continue_after(key, turn);
    }

    /// Gives a range back that a task of this core held.
    pub(crate) fn release_range(&mut self, volume: VolumeId, key: Key, turn: &mut Turn<'_>) {
        let holder = Ticket { reactor: self.id, task: key };
        self.post(self.home_of(volume), Note::ReleaseRange { volume, holder }, turn);
    }

    /// Handles [`Note::ReleaseRange`]: at the home it goes on to all shards.
    pub(crate) fn range_released(
        &mut self,
        from: ReactorId,
        volume: VolumeId,
        holder: Ticket,
        turn: &mut Turn<'_>,
    ) {
        let home = self.home_of(volume);
        let at_home = home == self.id && from == holder.reactor;
        let Some(unit) = self.unit_mut(volume) else { return };
        unit.held.release(ticket_key(holder));
        let waiting = std::mem::take(&mut unit.waiting);
        if at_home {
            unit.home.release_range(holder);
            for other in self.others() {
                self.post(other, Note::ReleaseRange { volume, holder }, turn);
            }
        }
        for key in waiting {
            self.resume(key, turn);
        }
        if at_home {
            self.poll_home(volume, turn);
        }
    }

    /// Raises a unit attention for every nexus on this core that has the volume, but `by`.
    fn raise(&mut self, volume: VolumeId, sense: Sense, by: Option<&Nexus>) {
        for (_, connection) in self.connections.iter_mut() {
            let Some(session) = connection.session_mut() else { continue };
            if by.is_some() && session.nexus() == by {
                continue;
            }
            let Some(target) = session.target().cloned() else { continue };
            let luns = target.luns.iter().filter(|(_, m)| m.volume == volume).map(|(&l, _)| l);
            session.attentions.raise_everywhere(luns, sense);
        }
    }

    fn clear_task_set(
        &mut self,
        volume: VolumeId,
        by: &Nexus,
        asker: Ticket,
        turn: &mut Turn<'_>,
    ) -> Vec<Key> {
        let tasks = self.tasks_of_unit(volume, asker);
        let others: Vec<_> = tasks
            .iter()
            .filter_map(|&k| self.tasks.get(k).filter(|t| t.phase != Phase::Finished)?.conn)
            .filter(|c| self.connections.get(c.0).and_then(|c| c.session()?.nexus()) != Some(by))
            .collect();
        for conn in others {
            if let Some(session) = self.connections.get_mut(conn.0).and_then(|c| c.session_mut())
                && let Some(target) = session.target().cloned()
            {
                let luns = target.luns.iter().filter(|(_, m)| m.volume == volume).map(|(&l, _)| l);
                session
                    .attentions
                    .raise_everywhere(luns, Sense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
            }
        }
        self.abort_tasks(&tasks, turn);
        tasks
    }

    /// LOGICAL UNIT RESET on this core (SAM-5 6.3.3): tasks end, the reservation and the mode
    /// parameters go back to their defaults, and every nexus is told, the one that asked too.
    fn reset_unit(&mut self, volume: VolumeId, asker: Ticket, turn: &mut Turn<'_>) -> Vec<Key> {
        let tasks = self.tasks_of_unit(volume, asker);
        self.abort_tasks(&tasks, turn);
        if let Some(unit) = self.unit_mut(volume) {
            unit.reserved_by = None;
            unit.unit.mode.current = unit.unit.mode.default;
        }
        self.raise(volume, Sense::BUS_DEVICE_RESET_FUNCTION_OCCURRED, None);
        tasks
    }

    /// The tasks at a volume's logical unit, but for task management, those included that were
    /// aborted before and are still at the backend: a reset is done when they are quiet too. Tasks
    /// of the session that asks
    /// which came after its request are none of it (RFC 7143 4.2.3.3): the initiator has sent
    /// them in the belief that they will be carried out.
    fn tasks_of_unit(&self, volume: VolumeId, asker: Ticket) -> Vec<Key> {
        let request = self.tasks.get(asker.task).filter(|_| asker.reactor == self.id);
        let is_later =
            |t: &Task| request.is_some_and(|r| r.conn == t.conn && r.arrival < t.arrival);
        let ends = |t: &Task| {
            t.volume == Some(volume) && !is_later(t) && !matches!(t.work, Work::Management)
        };
        self.tasks.iter().filter(|(_, t)| ends(t)).map(|(key, _)| key).collect()
    }
}
