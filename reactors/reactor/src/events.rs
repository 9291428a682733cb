//! Events of a reactor on their way to the control thread, which writes the log: I/O that failed,
//! and sessions that began or ended.
//!
//! A disk that fails every command must not cost more than one that works: failures of one kind
//! are one entry with a count, the queue is bounded, and it is handed over a few times a second.

use shard::{Event, IoFailure, SessionEvent};
use units::{Instant, limits};

/// The events of one reactor since it reported the last ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Failed operations, one entry for each volume and error code.
    pub failures: Vec<IoFailures>,
    /// Sessions that began or ended, and refused logins, in their order.
    pub sessions: Vec<SessionEvent>,
    /// Events for which there was no room.
    pub missed: u64,
}

/// Failed operations of one volume with one error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoFailures {
    /// The first of them.
    pub first: IoFailure,
    /// How many there are.
    pub count: u64,
}

/// Events that wait to be handed over.
#[derive(Debug)]
pub(crate) struct EventQueue {
    waiting: Events,
    next_at: Instant,
}

impl Events {
    const fn is_empty(&self) -> bool {
        self.failures.is_empty() && self.sessions.is_empty() && self.missed == 0
    }

    fn add_failure(&mut self, failure: IoFailure) {
        let is_like = |known: &IoFailures| {
            known.first.volume == failure.volume && known.first.errno == failure.errno
        };
        if let Some(known) = self.failures.iter_mut().find(|known| is_like(known)) {
            known.count += 1;
        } else if self.failures.len() < limits::IO_FAILURE_KINDS_MAX {
            self.failures.push(IoFailures { first: failure, count: 1 });
        } else {
            self.missed += 1;
        }
    }
}

impl EventQueue {
    pub(crate) fn new(now: Instant) -> Self {
        Self { waiting: Events::default(), next_at: now }
    }

    /// Queues an event, or counts it where there is no room.
    pub(crate) fn add(&mut self, event: Event) {
        match event {
            Event::IoFailed(failure) => self.waiting.add_failure(failure),
            Event::Session(event) => {
                if self.waiting.sessions.len() < limits::SESSION_EVENTS_WAITING_MAX {
                    self.waiting.sessions.push(*event);
                } else {
                    self.waiting.missed += 1;
                }
            }
        }
    }

    /// The events that are due: all that wait, unless others were handed over just now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Box<Events>> {
        if self.waiting.is_empty() || now < self.next_at {
            return None;
        }
        self.next_at = now.after(limits::EVENTS_INTERVAL);
        self.take()
    }

    /// All events that wait.
    pub(crate) fn take(&mut self) -> Option<Box<Events>> {
        (!self.waiting.is_empty()).then(|| Box::new(std::mem::take(&mut self.waiting)))
    }

    /// When [`Self::take_due`] has something.
    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { Some(self.next_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shard::{Ending, Operation, SessionChange};
    use std::time::Duration;
    use units::VolumeId;

    const fn failed(volume: u32, errno: i32, lba: u64) -> IoFailure {
        let volume = VolumeId(volume);
        IoFailure { volume, operation: Operation::Write, lba, blocks: 8, errno }
    }

    fn ended() -> Event {
        Event::Session(Box::new(SessionEvent {
            change: SessionChange::Ended(Ending::PeerGone),
            initiator: None,
            target: None,
            peer: "192.0.2.1:40000".parse().unwrap(),
            detail: None,
        }))
    }

    #[test]
    fn failures_of_one_volume_and_error_are_one_entry() {
        let mut queue = EventQueue::new(Instant(0));
        for lba in 0..46_000 {
            queue.add(Event::IoFailed(failed(3, 28, lba)));
        }
        queue.add(Event::IoFailed(failed(3, 5, 7)));
        queue.add(Event::IoFailed(failed(4, 28, 9)));
        let events = queue.take_due(Instant(0)).unwrap();
        let expected = [
            IoFailures { first: failed(3, 28, 0), count: 46_000 },
            IoFailures { first: failed(3, 5, 7), count: 1 },
            IoFailures { first: failed(4, 28, 9), count: 1 },
        ];
        assert_eq!(events.failures, expected);
        assert_eq!((events.sessions.len(), events.missed), (0, 0));
    }

    #[test]
    fn the_first_event_is_due_at_once_and_those_behind_it_after_a_pause() {
        let mut queue = EventQueue::new(Instant(5));
        assert_eq!((queue.poll_timeout(), queue.take_due(Instant(5))), (None, None));
        queue.add(ended());
        assert_eq!(queue.take_due(Instant(5)).unwrap().sessions.len(), 1);
        queue.add(ended());
        assert_eq!(queue.take_due(Instant(6)), None);
        let due = Instant(5).after(Duration::from_millis(100));
        assert_eq!(queue.poll_timeout(), Some(due));
        assert_eq!(queue.take_due(due).unwrap().sessions.len(), 1);
    }

    #[test]
    fn events_without_room_are_counted() {
        let mut queue = EventQueue::new(Instant(0));
        for _ in 0..limits::SESSION_EVENTS_WAITING_MAX + 7 {
            queue.add(ended());
        }
        for volume in 0..100 {
            queue.add(Event::IoFailed(failed(volume, 5, 0)));
        }
        let events = queue.take().unwrap();
        assert_eq!((events.sessions.len(), events.failures.len()), (1024, 64));
        assert_eq!(events.missed, 7 + 36);
    }
}
