//! A reactor as a node plays it: a shard with its pool, its timer and its connections.

use super::pool::{Pool, Use};
use super::socket::Socket;
use crate::rng::Rng;
use crate::run::Run;
use shard::wire::{Contents, Unplaced};
use shard::{Action, Actions, IoResult, OpId, SessionCaps, Shard, ShardOptions};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use units::{ConnId, Instant, ReactorId, limits};
use volume::Catalog;

/// Bytes in the receive buffer of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) wire: usize,
    /// Bytes from the start of the receive buffer.
    pub(super) start: usize,
}

/// One reactor.
pub(super) struct Seat {
    pub(super) shard: Shard,
    actions: Actions,
    pub(super) pool: Pool,
    /// Where the bytes of its buffers are.
    pub(super) contents: Contents<Source>,
    /// Operations that ended without the kernel.
    pub(super) done: VecDeque<(OpId, IoResult)>,
    /// The wires of its connections.
    pub(super) conns: BTreeMap<ConnId, usize>,
    timer: Option<u64>,
}

impl Seat {
    pub(super) fn new(id: u8, catalog: Arc<Catalog>, run: &mut Run) -> Self {
        let mut entropy = Rng::new(run.rng.next());
        let options = ShardOptions {
            id: ReactorId(id),
            reactors: run.plan.reactors,
            layout: run.plan.layout(),
            caps: SessionCaps::default(),
            login_time_max: limits::LOGIN_TIME_MAX,
            entropy: Box::new(move |bytes: &mut [u8]| bytes.fill_with(|| entropy.byte())),
        };
        Self {
            shard: Shard::new(options, catalog),
            actions: Actions::default(),
            pool: Pool::new(run.plan.layout()),
            contents: Contents::default(),
            done: VecDeque::new(),
            conns: BTreeMap::new(),
            timer: None,
        }
    }

    /// Calls the shard. What it wants then waits in [`Self::next_action`].
    pub(super) fn call<R>(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut Shard, Instant, &mut Actions) -> R,
    ) -> R {
        call(&mut self.shard, now, &mut self.actions)
    }

    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop()
    }

    /// When the shard wants to be called, if that is another moment than before.
    pub(super) fn new_timer(&mut self) -> Option<u64> {
        let due = self.shard.poll_timeout().map(|t| t.0);
        if due == self.timer {
            return None;
        }
        self.timer = due;
        due
    }

    /// Whether the timer has come; it is used up then.
    pub(super) fn is_due(&mut self, now: u64) -> bool {
        self.timer.take_if(|due| *due <= now).is_some()
    }

    /// Copies a data segment from the receive buffer to where it belongs.
    pub(super) fn place(
        &mut self,
        unplaced: Option<Unplaced<Source>>,
        sockets: &BTreeMap<usize, Socket>,
        run: &mut Run,
    ) {
        let Some(Unplaced { slice, source }) = unplaced else { return };
        let received = sockets.get(&source.wire).and_then(|s| s.received(source.start, slice.len));
        let Some(bytes) = received else {
            return run.fail(|| format!("the receive buffer of {slice:?} at {source:?} is gone"));
        };
        let result = self.pool.fill(slice, bytes);
        run.check(result);
    }

    /// Whether bytes of a buffer may be used so just now.
    pub(super) fn check(&self, slice: units::BufSlice, kind: Use, run: &mut Run) {
        let result = self.pool.check(slice, kind);
        run.check(result);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.shard.is_idle() && self.shard.buffers_in_use() == 0 && self.done.is_empty()
    }

    pub(super) fn describe(&self) -> String {
        let (idle, buffers) = (self.shard.is_idle(), self.shard.buffers_in_use());
        format!("idle {idle}, {buffers} buffers in use")
    }
}
