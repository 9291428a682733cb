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
    /// Ranges held by COMPARE AND WRITE: no job holds one that overlaps.
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

    /// The holder of a range gives it back.
    pub(crate) fn release_range(&mut self, holder: Ticket) {
        self.held.release(ticket_key(holder));
    }
}
