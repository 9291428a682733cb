//! What reactors send each other: one bounded queue per direction of a pair, one doorbell per
//! reactor.
//!
//! Mail is never lost, never reordered between a pair, and posting never blocks: what does not
//! fit into the queue waits in a backlog of the sender, and a sender with a long backlog is
//! [congested](Outboxes::congested) and takes no new work from its initiators. The doorbell is
//! rung only for a reader that sleeps, once for all the mail of a turn.

mod doorbell;

use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use units::{ReactorId, len_u8, limits};

pub(crate) use doorbell::Doorbell;
#[cfg(test)]
use doorbell::Flag;

/// Wakes the thread that sleeps behind a [`Doorbell`].
pub(crate) trait Bell {
    /// Makes the sleeper return from its sleep, or from the next one where it has not begun.
    fn wake(&self);
}

/// Both ends of every pair of reactors, to be taken by their threads.
pub(crate) struct PostOffice<M> {
    /// `queues[from][to]`.
    queues: Vec<Vec<Arc<ArrayQueue<M>>>>,
}

impl<M> PostOffice<M> {
    /// Queues between every two of `reactors`.
    pub(crate) fn new(reactors: usize) -> Self {
        let queue = || Arc::new(ArrayQueue::new(limits::MAILBOX_MESSAGES_MAX));
        let row = || (0..reactors).map(|_| queue()).collect();
        Self { queues: (0..reactors).map(|_| row()).collect() }
    }

    /// The ends that reactor `at` reads from.
    pub(crate) fn inboxes(&self, at: usize) -> Inboxes<M> {
        let queues = self.queues.iter().filter_map(|row| row.get(at)).cloned().collect();
        Inboxes { queues }
    }

    /// The ends that reactor `at` writes to.
    pub(crate) fn outboxes<B: Bell>(
        &self,
        at: usize,
        doorbells: Vec<Arc<Doorbell<B>>>,
    ) -> Outboxes<M, B> {
        let queues = self.queues.get(at).map(Vec::as_slice).unwrap_or_default();
        let boxes = queues
            .iter()
            .zip(doorbells)
            .map(|(queue, doorbell)| Outbox {
                queue: Arc::clone(queue),
                backlog: VecDeque::new(),
                doorbell,
                unannounced: false,
            })
            .collect();
        Outboxes { boxes }
    }
}

/// Where one reactor reads its mail.
pub(crate) struct Inboxes<M> {
    queues: Vec<Arc<ArrayQueue<M>>>,
}

impl<M> Inboxes<M> {
    /// The oldest mail of `from`.
    pub(crate) fn take(&self, from: ReactorId) -> Option<M> {
        self.queues.get(usize::from(from.0))?.pop()
    }

    /// Every reactor that can send mail here.
    pub(crate) fn senders(&self) -> impl Iterator<Item = ReactorId> + use<M> {
        let count = len_u8(self.queues.len());
        (0..count).map(ReactorId)
    }

    /// Whether no mail waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|q| q.is_empty())
    }
}

struct Outbox<M, B> {
    queue: Arc<ArrayQueue<M>>,
    backlog: VecDeque<M>,
    doorbell: Arc<Doorbell<B>>,
    /// Mail was posted since the doorbell was last rung.
    unannounced: bool,
}

impl<M, B: Bell> Outbox<M, B> {
    fn post(&mut self, mail: M) {
        self.unannounced = true;
        if self.backlog.is_empty() {
            if let Err(mail) = self.queue.push(mail) {
                self.backlog.push_back(mail);
            }
        } else {
            // Behind the backlog, or it would overtake it.
            self.backlog.push_back(mail);
        }
    }

    fn retry(&mut self) {
        while let Some(mail) = self.backlog.pop_front() {
            self.unannounced = true;
            if let Err(mail) = self.queue.push(mail) {
                self.backlog.push_front(mail);
                return;
            }
        }
    }
}

/// Where one reactor posts mail for the others.
pub(crate) struct Outboxes<M, B> {
    boxes: Vec<Outbox<M, B>>,
}

impl<M, B: Bell> Outboxes<M, B> {
    /// Puts mail behind all that was posted to the same reactor before; gives it back where
    /// there is no such reactor.
    pub(crate) fn post(&mut self, to: ReactorId, mail: M) -> Result<(), M> {
        match self.boxes.get_mut(usize::from(to.0)) {
            Some(outbox) => {
                outbox.post(mail);
                Ok(())
            }
            None => Err(mail),
        }
    }

    /// Moves what fits from the backlogs, and rings for readers that sleep: once per turn.
    pub(crate) fn deliver(&mut self) {
        for outbox in &mut self.boxes {
            outbox.retry();
            if outbox.unannounced {
                outbox.unannounced = false;
                outbox.doorbell.ring();
            }
        }
    }

    /// A backlog is as long as a queue: the reactor should take no new commands now.
    pub(crate) fn congested(&self) -> bool {
        self.boxes.iter().any(|b| b.backlog.len() >= limits::MAILBOX_MESSAGES_MAX)
    }

    /// Mail waits in a backlog: the reactor must not sleep for long.
    pub(crate) fn has_backlog(&self) -> bool {
        self.boxes.iter().any(|b| !b.backlog.is_empty())
    }
}

#[cfg(test)]
mod tests;
