//! The queue from the control thread to one reactor.
//!
//! A command is never lost, never reordered, and sending one never waits: what does not fit into
//! the queue stays here until the reactor says that it has taken some.

use crate::backends::SharedStore;
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use units::{ConnId, VolumeId, limits};
use volume::Catalog;

/// What the control thread tells a reactor.
#[derive(Debug)]
pub(crate) enum Command {
    /// Switch to this catalog. `opened` has its new volumes, `gone` those that it drops.
    Apply { catalog: Arc<Catalog>, opened: Vec<(VolumeId, SharedStore)>, gone: Vec<VolumeId> },
    /// End the session of this connection.
    DropSession(ConnId),
    /// Accept on these sockets.
    Listen(Vec<OwnedFd>),
    /// Report, with the number of this question.
    Report(u64),
    /// Accept no more, and ask initiators to log out.
    Shutdown,
    /// End at once.
    Stop,
}

/// The control thread's end of the queue.
#[derive(Debug)]
pub(crate) struct Commands {
    queue: Arc<ArrayQueue<Command>>,
    /// Commands that wait for room, in order.
    unsent: VecDeque<Command>,
}

impl Commands {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        let queue = Arc::new(ArrayQueue::new(limits::REACTOR_COMMANDS_MAX));
        Self { queue, unsent: VecDeque::new() }
    }

    /// The reactor's end.
    pub(crate) fn reader(&self) -> Arc<ArrayQueue<Command>> {
        Arc::clone(&self.queue)
    }

    /// Puts a command behind all earlier ones.
    pub(crate) fn send(&mut self, command: Command) {
        if self.unsent.is_empty() {
            if let Err(command) = self.queue.push(command) {
                self.unsent.push_back(command);
            }
            return;
        }
        let Some(last) = self.unsent.back_mut() else { unreachable!("checked above") };
        if let Some(command) = merge(last, command) {
            self.unsent.push_back(command);
        }
    }

    /// Sends what fits now; returns whether anything did.
    pub(crate) fn retry(&mut self) -> bool {
        let mut sent = false;
        while let Some(command) = self.unsent.pop_front() {
            if let Err(command) = self.queue.push(command) {
                self.unsent.push_front(command);
                break;
            }
            sent = true;
        }
        sent
    }

    /// Ends the reactor at once: whatever it has not taken yet no longer matters.
    pub(crate) fn stop(&mut self) {
        self.unsent.clear();
        // Where the queue is full, the oldest command makes room.
        drop(self.queue.force_push(Command::Stop));
    }
}

/// Makes one command of two, so that a reactor which hangs costs bounded memory while catalogs
/// change; gives the second back where each is needed.
fn merge(last: &mut Command, next: Command) -> Option<Command> {
    match (last, next) {
        (
            Command::Apply { catalog, opened, gone },
            Command::Apply { catalog: newer, opened: more_opened, gone: more_gone },
        ) => {
            *catalog = newer;
            opened.extend(more_opened);
            gone.extend(more_gone);
            // Nobody needs to open what is gone again.
            opened.retain(|(id, _)| !gone.contains(id));
            None
        }
        (Command::DropSession(conn), Command::DropSession(again)) if *conn == again => None,
        (
            Command::Apply { .. }
            | Command::DropSession(_)
            | Command::Listen(_)
            | Command::Report(_)
            | Command::Shutdown
            | Command::Stop,
            next,
        ) => Some(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volume::Portal;

    /// What an ordinary queue held of them, the rest was lost: a reactor that hung for a while went
    /// on with an old catalog.
    #[test]
    fn a_reactor_that_does_not_read_for_a_while_gets_every_command_in_order() {
        let mut commands = Commands::new();
        let reader = commands.reader();
        let total = 5 * u64::try_from(limits::REACTOR_COMMANDS_MAX).unwrap();
        for n in 0..total {
            commands.send(Command::Report(n));
        }
        commands.send(Command::Shutdown);
        let mut taken = Vec::new();
        loop {
            while let Some(command) = reader.pop() {
                taken.push(command);
            }
            if !commands.retry() {
                break;
            }
        }
        assert!(matches!(taken.pop(), Some(Command::Shutdown)));
        assert_eq!(taken.len(), usize::try_from(total).unwrap());
        for (expected, command) in (0..).zip(&taken) {
            assert!(matches!(command, Command::Report(n) if *n == expected), "{command:?}");
        }
    }

    #[test]
    fn catalogs_that_wait_become_the_newest_with_all_that_changed() {
        let mut commands = Commands::new();
        let reader = commands.reader();
        for n in 0..limits::REACTOR_COMMANDS_MAX {
            commands.send(Command::Report(u64::try_from(n).unwrap()));
        }
        for (generation, opened, gone) in [(2, 1, 0), (3, 2, 1), (4, 3, 2)] {
            let portals: Vec<Portal> = Vec::new();
            let catalog = Catalog::new(generation, Vec::new(), Vec::new(), portals).unwrap();
            commands.send(Command::Apply {
                catalog: Arc::new(catalog),
                opened: vec![(VolumeId(opened), SharedStore::Null)],
                gone: vec![VolumeId(gone)],
            });
        }
        assert_eq!(commands.unsent.len(), 1);
        while reader.pop().is_some() {}
        assert!(commands.retry());
        let Some(Command::Apply { catalog, opened, gone }) = reader.pop() else { panic!() };
        assert_eq!(catalog.generation(), 4);
        assert_eq!(opened.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [3]);
        assert_eq!(gone, [VolumeId(0), VolumeId(1), VolumeId(2)]);
    }

    #[test]
    fn the_end_reaches_a_reactor_whose_queue_is_full() {
        let mut commands = Commands::new();
        let reader = commands.reader();
        for n in 0..1000 {
            commands.send(Command::Report(n));
        }
        commands.stop();
        let last = std::iter::from_fn(|| reader.pop()).last();
        assert!(matches!(last, Some(Command::Stop)));
        assert!(!commands.retry());
    }
}
