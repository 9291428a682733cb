//! The logical units of one core, and the jobs that change them on every core.
//!
//! A job (RESERVE, a mode change, a held range, a reset) is asked for at the home of its logical
//! unit. The home takes jobs one at a time, has every shard carry out the running one, and answers
//! the asker when all have. With one reactor the same steps run within a single call.

use crate::message::{Duty, Job, Note, Outcome, Ticket};
use crate::turn::{Cores, Turn};
use crate::unit::Unit;
use crate::unit::home::Decision;
use crate::wake::Wake;
use units::{ReactorId, VolumeId};
use volume::Catalog;

/// The logical units of this core, by volume.
#[derive(Debug, Default)]
pub(crate) struct Units {
    /// By the place of the volume.
    units: Vec<Option<Box<Unit>>>,
    /// Units of volumes that are gone and whose places others have. They stay for the tasks and
    /// jobs that are left of them.
    leaving: Vec<Unit>,
}

impl Units {
    /// The logical unit of a volume.
    #[inline]
    pub(crate) fn get(&self, volume: VolumeId) -> Option<&Unit> {
        let unit = self.units.get(volume.place())?.as_deref()?;
        if unit.volume == volume { Some(unit) } else { self.find_leaving(volume) }
    }

    #[cold]
    fn find_leaving(&self, volume: VolumeId) -> Option<&Unit> {
        self.leaving.iter().find(|unit| unit.volume == volume)
    }

    /// The logical unit of a volume, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, volume: VolumeId) -> Option<&mut Unit> {
        let unit = self.units.get_mut(volume.place())?.as_deref_mut()?;
        if unit.volume == volume {
            return Some(unit);
        }
        self.leaving.iter_mut().find(|unit| unit.volume == volume)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter_map(Option::as_deref).chain(&self.leaving)
    }

    /// Follows a new catalog: units come, go or change size. Returns the volumes whose size did.
    pub(crate) fn follow(&mut self, catalog: &Catalog) -> Vec<VolumeId> {
        for unit in self.units.iter_mut().flatten() {
            if catalog.volume(unit.volume).is_none() {
                // Tasks of a unit that is gone end by themselves: the backing store is closed only
                // when they have. So the unit stays, for its jobs and for tasks that wait.
                unit.standing.remove();
            }
        }
        let mut resized = Vec::new();
        for record in catalog.volumes() {
            let place = record.id.place();
            if self.units.len() <= place {
                self.units.resize_with(place + 1, || None);
            }
            match &mut self.units[place] {
                Some(known) if known.volume == record.id => {
                    if known.refresh(record) {
                        resized.push(record.id);
                    }
                }
                place => {
                    let before = place.replace(Box::new(Unit::new(record)));
                    self.leaving.extend(before.map(|unit| *unit));
                }
            }
        }
        resized
    }

    /// Forgets the units that have lost their places and have nothing left to do.
    pub(crate) fn forget_left(&mut self, has_tasks: impl Fn(VolumeId) -> bool) {
        let is_needed = |unit: &Unit| {
            !unit.medium.is_quiet() || !unit.home.is_quiet() || has_tasks(unit.volume)
        };
        self.leaving.retain(is_needed);
    }

    /// Handles [`Note::Ask`] at the home.
    pub(crate) fn handle_ask(
        &mut self,
        volume: VolumeId,
        ticket: Option<Ticket>,
        job: Job,
        turn: &mut Turn<'_>,
    ) {
        debug_assert_eq!(turn.cores.home_of(volume), turn.cores.own, "asked at the home");
        let Some(unit) = self.get_mut(volume) else {
            // The volume has gone; nobody holds anything of it any more.
            return answer(ticket, Outcome::Done, turn);
        };
        unit.home.enqueue(ticket, job);
        turn.wake(Wake::HomeReady(volume));
    }

    /// Handles [`Note::Cancel`] at the home.
    pub(crate) fn handle_cancel(&mut self, volume: VolumeId, ticket: Ticket, turn: &mut Turn<'_>) {
        debug_assert_eq!(turn.cores.home_of(volume), turn.cores.own, "asked at the home");
        // The volume may have gone, and the job may have begun: then its end answers the asker.
        if self.get_mut(volume).is_some_and(|unit| unit.home.cancel(ticket)) {
            answer(Some(ticket), Outcome::Done, turn);
            turn.wake(Wake::HomeReady(volume));
        }
    }

    /// Starts the jobs of a home that may start.
    pub(crate) fn poll_home(&mut self, volume: VolumeId, turn: &mut Turn<'_>) {
        debug_assert_eq!(turn.cores.home_of(volume), turn.cores.own, "jobs start at the home");
        // The volume may have gone before its first job.
        let Some(unit) = self.get_mut(volume) else { return };
        while let Some(decision) = unit.home.poll(&unit.standing, turn.cores.count) {
            match decision {
                Decision::Reply { ticket, outcome } => answer(Some(ticket), outcome, turn),
                Decision::Broadcast { number, job } => {
                    let duty = Duty { volume, number, job };
                    for other in turn.cores.others() {
                        turn.post(other, Note::Do(duty.clone()));
                    }
                    turn.post(turn.cores.own, Note::Do(duty));
                }
            }
        }
    }

    /// Handles [`Note::Done`] at the home.
    pub(crate) fn handle_done(&mut self, volume: VolumeId, number: u64, turn: &mut Turn<'_>) {
        debug_assert_eq!(turn.cores.home_of(volume), turn.cores.own, "jobs end at the home");
        let Some(unit) = self.get_mut(volume) else {
            unreachable!("a unit goes when no job of it runs: {volume:?}")
        };
        let ticket = unit.home.handle_done(number);
        answer(ticket, Outcome::Done, turn);
        turn.wake(Wake::HomeReady(volume));
    }

    /// Handles [`Note::ReleaseRange`]: at the home it goes on to all shards.
    pub(crate) fn handle_release(
        &mut self,
        from: ReactorId,
        volume: VolumeId,
        holder: Ticket,
        turn: &mut Turn<'_>,
    ) {
        let own = turn.cores.own;
        let at_home = turn.cores.home_of(volume) == own && from == holder.reactor;
        // This core may not have the volume yet; then nothing waits for the range here.
        let Some(unit) = self.get_mut(volume) else { return };
        unit.medium.release(holder, turn);
        if at_home {
            unit.home.release_range(holder);
            for other in turn.cores.others() {
                turn.post(other, Note::ReleaseRange { volume, holder });
            }
            turn.wake(Wake::HomeReady(volume));
        }
    }

    /// Asserts the invariants of every door: for debug builds and tests.
    pub(crate) fn self_check(&self, cores: Cores) {
        for (place, unit) in self.units.iter().enumerate() {
            let Some(unit) = unit else { continue };
            assert_eq!(unit.volume.place(), place, "a unit stands at its volume's place");
        }
        for unit in self.iter() {
            unit.medium.self_check(cores.own);
            unit.home.self_check(cores.home_of(unit.volume) == cores.own);
        }
    }
}

/// Answers who asked for a job, if anybody did.
fn answer(ticket: Option<Ticket>, outcome: Outcome, turn: &mut Turn<'_>) {
    if let Some(ticket) = ticket {
        turn.post(ticket.reactor, Note::Answer { ticket, outcome });
    }
}
