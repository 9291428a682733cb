//! The wires between initiators and nodes: bytes on their way in both directions, cut anywhere,
//! stalled, broken.

use crate::run::{Event, Run};

/// Bytes in one direction, in order.
#[derive(Debug, Default)]
struct Pipe {
    bytes: Vec<u8>,
    /// Up to here they have been taken.
    taken: usize,
}

impl Pipe {
    fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.clear();
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let from = self.taken;
        self.taken += count;
        self.bytes[from..self.taken].to_vec()
    }

    const fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all bytes but the first.
    fn truncate(&mut self, count: usize) {
        self.bytes.truncate(self.taken + count);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.taken = 0;
    }
}

/// One TCP connection as the network sees it.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The initiator's session that it belongs to.
    pub(crate) session: usize,
    /// The node that it leads to, and the seat there that accepts it.
    pub(crate) node: usize,
    pub(crate) seat: usize,
    /// Bytes on their way to the node.
    up: Pipe,
    up_due: bool,
    /// The node takes bytes.
    up_open: bool,
    /// Nothing more comes from the initiator.
    pub(crate) up_closed: bool,
    /// Bytes on their way to the initiator.
    down: Pipe,
    down_due: bool,
    /// Nothing more comes from the node.
    pub(crate) down_closed: bool,
    /// Until when nothing moves.
    stalled_until: u64,
    /// How the initiator reads.
    pace: Pace,
    /// Bytes that it has read.
    read: u64,
}

/// How an initiator reads what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once; then the network has room for everything.
    Normal,
    /// A few bytes now and then.
    Slow,
    /// Not at all.
    Stopped,
}

/// All wires that there ever were.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    list: Vec<Wire>,
}

/// What reaches an initiator.
pub(crate) struct Delivery {
    pub(crate) session: usize,
    pub(crate) bytes: Vec<u8>,
    /// The node has closed the connection, and these were its last bytes.
    pub(crate) ends: bool,
}

impl Wires {
    /// A new connection of a session to a seat of a node; the node hears of it soon.
    pub(crate) fn connect(
        &mut self,
        session: usize,
        node: usize,
        seat: usize,
        run: &mut Run,
    ) -> usize {
        self.list.push(Wire {
            session,
            node,
            seat,
            up: Pipe::default(),
            up_due: false,
            up_open: false,
            up_closed: false,
            down: Pipe::default(),
            down_due: false,
            down_closed: false,
            stalled_until: 0,
            pace: Pace::Normal,
            read: 0,
        });
        let wire = self.list.len() - 1;
        let delay = run.short_delay();
        run.after(delay, Event::Knock { wire });
        wire
    }

    pub(crate) fn get(&self, wire: usize) -> &Wire {
        &self.list[wire]
    }

    /// Puts bytes on their way to the node.
    pub(crate) fn send_up(&mut self, wire: usize, bytes: &[u8], run: &mut Run) {
        if !self.list[wire].up_closed {
            self.list[wire].up.push(bytes);
            self.schedule_up(wire, run);
        }
    }

    /// Puts bytes on their way to the initiator.
    pub(crate) fn send_down(&mut self, wire: usize, bytes: &[u8], run: &mut Run) {
        if !self.list[wire].up_closed {
            self.list[wire].down.push(bytes);
            self.schedule_down(wire, run);
        }
    }

    /// The node reads from the connection from now on, or stops.
    pub(crate) fn set_reading(&mut self, wire: usize, reads: bool, run: &mut Run) {
        self.list[wire].up_open = reads;
        self.schedule_up(wire, run);
    }

    fn schedule_up(&mut self, wire: usize, run: &mut Run) {
        let state = &mut self.list[wire];
        if !state.up_due && !state.up.is_empty() && state.up_open {
            let delay = state.delay(run);
            state.up_due = true;
            run.after(delay, Event::Up { wire });
        }
    }

    fn schedule_down(&mut self, wire: usize, run: &mut Run) {
        let state = &mut self.list[wire];
        let waits = !state.down.is_empty() || state.down_closed;
        if !state.down_due && waits && state.pace != Pace::Stopped {
            let pause = if state.pace == Pace::Slow { SLOW_PAUSE_NS } else { 0 };
            let delay = state.delay(run).max(pause);
            state.down_due = true;
            run.after(delay, Event::Down { wire });
        }
    }

    /// Some bytes reach the node, at most so many; none where it does not read any more.
    pub(crate) fn deliver_up(&mut self, wire: usize, most: usize, run: &mut Run) -> Vec<u8> {
        let state = &mut self.list[wire];
        state.up_due = false;
        if !state.up_open {
            return Vec::new();
        }
        let count = cut_of(state.up.len(), run).min(most);
        let bytes = state.up.take(count);
        self.schedule_up(wire, run);
        bytes
    }

    /// Some bytes reach the initiator, or the end of the connection does.
    pub(crate) fn deliver_down(&mut self, wire: usize, run: &mut Run) -> Option<Delivery> {
        let state = &mut self.list[wire];
        state.down_due = false;
        if state.up_closed || state.pace == Pace::Stopped {
            return None;
        }
        let most = if state.pace == Pace::Slow { SLOW_BYTES } else { usize::MAX };
        let count = cut_of(state.down.len(), run).min(most);
        let bytes = state.down.take(count);
        state.read += count as u64;
        let ends = state.down_closed && state.down.is_empty();
        let session = state.session;
        if !ends {
            self.schedule_down(wire, run);
        }
        Some(Delivery { session, bytes, ends })
    }

    /// The initiator's side is gone: what is on its way may arrive, or a part of it, or nothing.
    pub(crate) fn cut(&mut self, wire: usize, run: &mut Run) {
        let state = &mut self.list[wire];
        if state.up_closed {
            return;
        }
        state.up_closed = true;
        state.stalled_until = 0;
        let arrive = run.rng.place(state.up.len() + 1);
        let arrive = run.rng.pick(&[0, arrive, state.up.len()]);
        state.up.truncate(arrive);
        state.down.clear();
        let delay = run.rng.below(3_000_000);
        run.after(delay, Event::Closed { wire });
    }

    /// The initiator reads like this from now on.
    pub(crate) fn set_pace(&mut self, wire: usize, pace: Pace) {
        self.list[wire].pace = pace;
    }

    /// Bytes that the initiator has read.
    pub(crate) fn bytes_read(&self, wire: usize) -> u64 {
        self.list[wire].read
    }

    /// Whether a sender at the node's side has to wait until the initiator reads.
    pub(crate) fn is_full(&self, wire: usize) -> bool {
        let state = &self.list[wire];
        !state.up_closed && state.pace != Pace::Normal && state.down.len() >= UNREAD_BYTES_MAX
    }

    /// The initiator takes back what it has sent: it is in doubt whether any of it arrived.
    pub(crate) fn forget_up(&mut self, wire: usize) {
        self.list[wire].up.clear();
    }

    /// Whether bytes are on their way to the node still.
    pub(crate) fn has_up(&self, wire: usize) -> bool {
        !self.list[wire].up.is_empty()
    }

    /// The node has closed its side.
    pub(crate) fn close_down(&mut self, wire: usize, run: &mut Run) {
        let state = &mut self.list[wire];
        state.down_closed = true;
        state.up_open = false;
        state.up.clear();
        self.schedule_down(wire, run);
    }

    /// The power of a node has failed: its connections are gone without a word.
    pub(crate) fn lose_node(&mut self, node: usize) -> Vec<usize> {
        let mut lost = Vec::new();
        for state in self.list.iter_mut().filter(|w| w.node == node) {
            lost.push(state.session);
            state.up_closed = true;
            state.up_open = false;
            state.down_closed = true;
            state.up.clear();
            state.down.clear();
        }
        lost
    }

    /// How long a sender at the node's side waits until bytes move.
    pub(crate) fn stall_left(&self, wire: usize, now: u64) -> u64 {
        let state = &self.list[wire];
        // A broken connection holds nothing up.
        if state.up_closed { 0 } else { state.stalled_until.saturating_sub(now) }
    }

    pub(crate) fn end_stalls(&mut self) {
        for wire in &mut self.list {
            wire.stalled_until = 0;
        }
    }

    pub(crate) fn all_closed(&self) -> bool {
        self.list.iter().all(|w| w.down_closed)
    }

    /// What has not ended.
    pub(crate) fn outstanding(&self) -> String {
        let open = self.list.iter().enumerate().filter(|(_, w)| !w.down_closed);
        open.map(|(number, w)| {
            let (up, down) = (w.up.len(), w.down.len());
            format!("\n  wire {number} of session {} up {up} down {down}", w.session)
        })
        .collect()
    }
}

impl Wire {
    fn delay(&mut self, run: &mut Run) -> u64 {
        if run.is_chaos() && run.rng.chance(run.plan.faults.stall) {
            self.stalled_until = run.now + run.rng.between(1_000_000, 8_000_000_000);
        }
        run.short_delay().max(self.stalled_until.saturating_sub(run.now))
    }
}

/// How many of `waiting` bytes arrive at once.
fn cut_of(waiting: usize, run: &mut Run) -> usize {
    let dribbles = run.plan.faults.dribble && run.rng.chance(300);
    let most = if dribbles && waiting < 4096 {
        run.rng.pick(&DRIBBLE)
    } else {
        run.rng.pick(&[512, 4096, 65_536, 1 << 20, 1 << 20])
    };
    waiting.min(most)
}

/// Bytes that the network and the kernels at its ends hold for an initiator that does not read.
const UNREAD_BYTES_MAX: usize = 1 << 18;

/// What a slow initiator reads at a time, and how long it does nothing in between.
const SLOW_BYTES: usize = 1000;
const SLOW_PAUSE_NS: u64 = 100_000_000;

/// Pieces that end in and beside headers.
const DRIBBLE: [usize; 4] = [1, 3, 47, 49];
