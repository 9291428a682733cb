//! Memory that connections have freed goes back to the kernel.
//!
//! The allocator keeps free pages that lie between pieces in use: a swarm of connections left
//! hundreds of MiB behind. To find them takes milliseconds, in which whoever allocates may wait, so
//! a thread of its own does it, and seldom. The data path allocates nothing.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::{io, thread};

use units::limits::SWEEP_INTERVAL;

/// Asks for a sweep; many requests are one.
#[derive(Clone, Debug)]
pub(crate) struct Sweeps(SyncSender<()>);

impl Sweeps {
    /// Starts the thread that sweeps. It ends with the last of those who ask.
    pub(crate) fn start() -> io::Result<Self> {
        let (sweeps, asked) = Self::new();
        let sweeper = thread::Builder::new().name("sweeper".into());
        sweeper.spawn(move || run(&asked))?;
        Ok(sweeps)
    }

    /// Requests, and where they arrive.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = sync_channel(1);
        (Self(sender), receiver)
    }

    /// Connections have ended.
    pub(crate) fn ask(&self) {
        // One that is not taken yet is enough, and without the thread memory stays.
        let _sent = self.0.try_send(());
    }
}

fn run(asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        // What ends together is swept together.
        let due = uring::now().after(SWEEP_INTERVAL);
        while asked.recv_timeout(due.since(uring::now())).is_ok() {}
        let begin = uring::now();
        uring::allocator::give_back_free_pages();
        tracing::debug!(took = ?uring::now().since(begin), "swept the memory of connections");
    }
}
