//! The queue from the reactors to the control thread.
//!
//! A notice is never lost and never waits for its reader: what does not fit into the queue stays
//! with its reactor and goes first in a later turn. The alarm wakes the control thread, once for
//! all the notices of a turn.

use crate::events::Events;
use crate::report::ReactorReport;
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use units::{ReactorId, VolumeId, limits};

/// Wakes the control thread from any thread; more than one call before it wakes is one.
pub type Alarm = Arc<dyn Fn() + Send + Sync>;

/// What a reactor reports to the control thread.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The reactor has nothing of this volume open any more.
    Closed(VolumeId),
    /// The reactor has taken commands: there is room for more.
    CommandsTaken(ReactorId),
    /// The reactor is ending, and whether it has nothing left to end.
    Drained { reactor: ReactorId, is_drained: bool },
    /// What an operator is to be told.
    Events(Box<Events>),
    /// The answer to the question of this round.
    Report { round: u64, report: Box<ReactorReport> },
}

/// The reading end.
pub(crate) struct Notices {
    queue: Arc<ArrayQueue<Notice>>,
    alarm: Alarm,
}

/// One reactor's writing end.
pub(crate) struct ControlLink {
    queue: Arc<ArrayQueue<Notice>>,
    backlog: VecDeque<Notice>,
    alarm: Alarm,
    /// A notice was queued since the alarm last rang.
    unannounced: bool,
}

impl Notices {
    /// An empty queue whose reader is woken by `alarm`.
    pub(crate) fn new(alarm: Alarm) -> Self {
        Self { queue: Arc::new(ArrayQueue::new(limits::CONTROL_NOTICES_MAX)), alarm }
    }

    /// A writing end for one more reactor.
    pub(crate) fn link(&self) -> ControlLink {
        ControlLink {
            queue: Arc::clone(&self.queue),
            backlog: VecDeque::new(),
            alarm: Arc::clone(&self.alarm),
            unannounced: false,
        }
    }

    /// The oldest notice.
    pub(crate) fn take(&self) -> Option<Notice> {
        self.queue.pop()
    }
}

impl ControlLink {
    /// Queues a notice behind all earlier ones of this reactor; [`Self::deliver`] sends it.
    pub(crate) fn post(&mut self, notice: Notice) {
        self.backlog.push_back(notice);
    }

    /// Sends what fits, and wakes the reader: once per turn.
    pub(crate) fn deliver(&mut self) {
        while let Some(notice) = self.backlog.pop_front() {
            self.unannounced = true;
            if let Err(notice) = self.queue.push(notice) {
                self.backlog.push_front(notice);
                break;
            }
        }
        if self.unannounced {
            self.unannounced = false;
            (self.alarm)();
        }
    }

    /// Notices wait for room: the reactor must not sleep for long.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counted() -> (Notices, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let alarm = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        (Notices::new(alarm), count)
    }

    #[test]
    fn notices_beyond_the_queue_wait_and_arrive_in_order() {
        let (notices, _) = counted();
        let mut link = notices.link();
        let total = u32::try_from(3 * limits::CONTROL_NOTICES_MAX).unwrap();
        for n in 0..total {
            link.post(Notice::Closed(VolumeId(n)));
        }
        link.deliver();
        assert!(link.has_backlog());
        let mut seen = Vec::new();
        while seen.len() < units::len_usize(total) {
            while let Some(notice) = notices.take() {
                let Notice::Closed(volume) = notice else { panic!("{notice:?}") };
                seen.push(volume.0);
            }
            link.deliver();
        }
        assert_eq!(seen, (0..total).collect::<Vec<_>>());
        assert!(!link.has_backlog());
    }

    #[test]
    fn the_alarm_rings_once_for_all_the_notices_of_a_turn() {
        let (notices, count) = counted();
        let mut link = notices.link();
        link.deliver();
        assert_eq!(count.load(Ordering::Relaxed), 0);
        link.post(Notice::CommandsTaken(ReactorId(0)));
        link.post(Notice::Drained { reactor: ReactorId(0), is_drained: true });
        link.deliver();
        link.deliver();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
