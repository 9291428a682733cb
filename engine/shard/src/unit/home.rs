//! The jobs of a logical unit at its home: one at a time, so that all cores see them in the same
//! order.

use crate::message::{Job, Outcome, Ticket};
use crate::session::nexus::Holder;
use crate::unit::medium::{TicketKey, ticket_key};
use crate::unit::obstacles::Standing;
use std::collections::VecDeque;
use units::Mutant;
use volume::RangeSet;

/// The home of a logical unit.
#[derive(Debug, Default)]
pub(crate) struct Home {
    queue: VecDeque<Order>,
    running: Option<Running>,
    /// Ranges held by atomic updates: no job holds one that overlaps.
    held: RangeSet<TicketKey>,
    number: u64,
}

/// A job that waits for its turn.
#[derive(Debug)]
struct Order {
    /// The task that asked, if one did.
    ticket: Option<Ticket>,
    job: Job,
}

#[derive(Debug)]
struct Running {
    ticket: Option<Ticket>,
    /// Shards that have not answered yet.
    missing: u8,
}

/// What the home of a logical unit decided.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Every shard carries out this job.
    Broadcast { number: u64, job: Job },
    /// The asker gets this answer at once.
    Reply { ticket: Ticket, outcome: Outcome },
}

impl Home {
    /// A job has been asked for.
    pub(crate) fn enqueue(&mut self, ticket: Option<Ticket>, job: Job) {
        self.queue.push_back(Order { ticket, job });
    }

    /// Forgets the job of an asker, unless it has begun; returns whether there was one.
    pub(crate) fn cancel(&mut self, asker: Ticket) -> bool {
        if Mutant::CancelledJobPerformed.is_active() {
            return self.queue.iter().any(|order| order.ticket == Some(asker));
        }
        let before = self.queue.len();
        self.queue.retain(|order| order.ticket != Some(asker));
        self.queue.len() != before
    }

    /// Starts the next job, if none runs and no held range is in its way. Call again until `None`.
    pub(crate) fn poll(&mut self, standing: &Standing, shards: u8) -> Option<Decision> {
        if self.running.is_some() && !Mutant::HomeRunsTwoJobs.is_active() {
            return None;
        }
        let Order { job, .. } = self.queue.front()?;
        if let Job::HoldRange { range, .. } = job
            && self.held.overlaps(*range)
        {
            return None;
        }
        let Order { ticket, job } = self.queue.pop_front()?;
        if let Job::Reserve { by: Holder { nexus: by, .. } } | Job::Release { by } = &job
            && standing.is_reserved_from(by)
        {
            // A RELEASE by somebody else does nothing and is no error (SPC-2 7.16.1).
            let outcome = if matches!(job, Job::Release { .. }) {
                Outcome::Done
            } else {
                Outcome::ReservationConflict
            };
            return ticket.map(|ticket| Decision::Reply { ticket, outcome });
        }
        if let Job::HoldRange { range, holder } = &job {
            self.held.hold(*range, ticket_key(*holder));
        }
        self.number += 1;
        self.running = Some(Running { ticket, missing: shards });
        Some(Decision::Broadcast { number: self.number, job })
    }

    /// A shard has carried out job `number`. Returns the asker once all have.
    pub(crate) fn handle_done(&mut self, number: u64) -> Option<Ticket> {
        if Mutant::HomeRunsTwoJobs.is_active() && number != self.number {
            return None;
        }
        assert_eq!(number, self.number, "a shard answers the job that runs");
        let Some(running) = &mut self.running else {
            unreachable!("job {number} was answered by more shards than there are")
        };
        running.missing -= 1;
        if running.missing > 0 {
            return None;
        }
        self.running.take().and_then(|r| r.ticket)
    }

    /// Whether no job waits or runs, and no range is held.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.running.is_none() && self.held.is_empty()
    }

    /// Asserts what holds between two calls: for debug builds and tests.
    pub(crate) fn self_check(&self, is_home: bool) {
        assert!(is_home || self.is_quiet(), "jobs are queued at the home only: {self:?}");
        assert!(
            self.running.as_ref().is_none_or(|running| running.missing > 0),
            "a job ends with its last shard: {self:?}"
        );
        // A shard may be on its way to answer, and a held range to be released.
        assert!(
            self.queue.is_empty() || self.running.is_some() || !self.held.is_empty(),
            "nobody starts the jobs that wait: {self:?}"
        );
    }

    /// The holder of a range gives it back.
    pub(crate) fn release_range(&mut self, holder: Ticket) {
        self.held.release(ticket_key(holder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::parts::{key, nexus};
    use units::ReactorId;
    use volume::ByteRange;

    const fn ticket(task: u32) -> Ticket {
        Ticket { reactor: ReactorId(1), task: key(task) }
    }

    fn holder(name: &str) -> Holder {
        Holder { nexus: nexus(name), tsih: 1 }
    }

    fn hold(offset: u64, task: u32) -> Job {
        Job::HoldRange { range: ByteRange { offset, len: 4096 }, holder: ticket(task) }
    }

    fn reset(task: u32) -> Job {
        Job::Reset { asker: ticket(task) }
    }

    /// The number of the job that starts.
    fn begun(home: &mut Home, shards: u8) -> Option<u64> {
        match home.poll(&Standing::default(), shards)? {
            Decision::Broadcast { number, .. } => Some(number),
            Decision::Reply { .. } => panic!("nothing is reserved"),
        }
    }

    #[test]
    fn a_job_runs_alone_until_every_shard_has_carried_it_out() {
        let mut home = Home::default();
        home.enqueue(Some(ticket(1)), reset(1));
        home.enqueue(Some(ticket(2)), reset(2));
        assert_eq!(begun(&mut home, 2), Some(1));
        assert_eq!(begun(&mut home, 2), None);
        assert_eq!(home.handle_done(1), None);
        assert_eq!(begun(&mut home, 2), None);
        assert_eq!(home.handle_done(1), Some(ticket(1)));
        assert_eq!(begun(&mut home, 2), Some(2));
    }

    #[test]
    #[should_panic(expected = "more shards than there are")]
    fn a_shard_that_reports_a_job_twice_is_a_mistake() {
        let mut home = Home::default();
        home.enqueue(None, reset(1));
        begun(&mut home, 1);
        home.handle_done(1);
        home.handle_done(1);
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_answered_to_nobody() {
        let mut home = Home::default();
        home.enqueue(None, Job::NexusLost { holder: holder("a") });
        assert_eq!(begun(&mut home, 1), Some(1));
        assert_eq!(home.handle_done(1), None);
        assert_eq!(begun(&mut home, 1), None);
    }

    #[test]
    fn only_a_job_that_has_not_begun_can_be_cancelled() {
        let mut home = Home::default();
        home.enqueue(Some(ticket(1)), reset(1));
        home.enqueue(Some(ticket(2)), reset(2));
        home.enqueue(Some(ticket(3)), reset(3));
        assert_eq!(begun(&mut home, 1), Some(1));
        assert!(!home.cancel(ticket(1)));
        assert!(home.cancel(ticket(2)));
        assert!(!home.cancel(ticket(2)));
        assert_eq!(home.handle_done(1), Some(ticket(1)));
        assert_eq!(begun(&mut home, 1), Some(2));
        assert_eq!(home.handle_done(2), Some(ticket(3)));
    }

    #[test]
    fn a_range_is_held_by_one_job_at_a_time_and_jobs_behind_it_keep_their_order() {
        let mut home = Home::default();
        home.enqueue(Some(ticket(1)), hold(0, 1));
        home.enqueue(Some(ticket(2)), hold(4096, 2));
        home.enqueue(Some(ticket(3)), hold(2048, 3));
        home.enqueue(Some(ticket(4)), reset(4));
        assert_eq!(begun(&mut home, 1), Some(1));
        assert_eq!(home.handle_done(1), Some(ticket(1)));
        assert_eq!(begun(&mut home, 1), Some(2), "it lies beside the range that is held");
        assert_eq!(home.handle_done(2), Some(ticket(2)));
        assert_eq!(begun(&mut home, 1), None);
        home.release_range(ticket(1));
        assert_eq!(begun(&mut home, 1), None, "it overlaps both");
        home.release_range(ticket(2));
        assert_eq!(begun(&mut home, 1), Some(3));
        assert_eq!(home.handle_done(3), Some(ticket(3)));
        assert_eq!(begun(&mut home, 1), Some(4));
    }

    #[test]
    fn reserve_and_release_against_anothers_reservation_are_answered_at_once() {
        let (mut home, mut standing) = (Home::default(), Standing::default());
        standing.reserve(holder("a"));
        home.enqueue(Some(ticket(1)), Job::Reserve { by: holder("b") });
        home.enqueue(Some(ticket(2)), Job::Release { by: nexus("b") });
        home.enqueue(Some(ticket(3)), Job::Release { by: nexus("a") });
        let mut replies = Vec::new();
        while let Some(Decision::Reply { ticket, outcome }) = home.poll(&standing, 1) {
            replies.push((ticket.task.index, outcome));
            if replies.len() == 2 {
                break;
            }
        }
        assert_eq!(replies, [(1, Outcome::ReservationConflict), (2, Outcome::Done)]);
        let last = home.poll(&standing, 1);
        assert!(
            matches!(last, Some(Decision::Broadcast { number: 1, job: Job::Release { .. } })),
            "{last:?}"
        );
    }
}
