//! One storage node: its reactors, its media, and its side of the connections.
//!
//! A reactor is played by a [`Seat`]. Its decisions about bytes are those of production
//! (`shard::wire`): where a data segment goes, where the bytes of a buffer are, in which order
//! PDUs leave. A node knows nothing of initiators but what their wires bring.

mod actions;
mod arrivals;
mod disk;
mod media;
mod pool;
mod seat;
mod socket;

use crate::rng::{byte, size};
use crate::run::{Event, Run};
use crate::scene::{Outside, Scene};
use media::Media;
use seat::Seat;
use shard::{Actions, HandedOver, Message, Shard};
use socket::{Departure, Socket};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use units::{BufId, ConnId, Instant, ReactorId};
use volume::Catalog;

/// Something that happens inside a node.
pub(crate) enum NodeEvent {
    /// A seat gets a catalog.
    Catalog { seat: usize, catalog: Arc<Catalog>, generation: u64 },
    /// A receive straight into a buffer is cancelled.
    DirectCancelled { wire: usize },
    /// Half of a backend operation takes effect.
    IoHalf { io: u64 },
    /// A backend operation ends.
    IoEnd { io: u64 },
    /// The kernel takes what a connection has to send, or goes on with it.
    Leave { wire: usize },
    /// A message reaches a seat.
    Mail { from: usize, to: usize },
    /// A connection arrives at another seat.
    Move { wire: usize, to: usize, state: Box<HandedOver> },
    /// A connection goes on parsing what it has received.
    Parse { wire: usize },
    /// A shard learns whether a connection moves bytes.
    Probed { seat: usize, conn: ConnId },
    /// A buffer goes back to its shard.
    Return { seat: usize, buf: BufId },
    /// The send of a connection that was abandoned is cancelled.
    SendCancelled { wire: usize },
    /// The node shuts down.
    Shutdown { seat: usize },
    /// A seat's timer.
    Timer { seat: usize },
}

/// Samples of commands, from the shard to the statistics.
#[derive(Clone, Copy, Debug, Default)]
struct Samples {
    /// Handed over by the shard.
    queued: u64,
    /// Learned when their PDU had left.
    learned: u64,
    /// Dropped with their connection.
    dropped: u64,
}

/// One storage node.
pub(crate) struct Node {
    number: usize,
    /// Counts the power cuts: what was to happen before one does not.
    power: u32,
    seats: Vec<Seat>,
    mail: BTreeMap<(usize, usize), VecDeque<Message>>,
    mail_last: BTreeMap<(usize, usize), u64>,
    media: Media,
    /// By wire.
    sockets: BTreeMap<usize, Socket>,
    samples: Samples,
}

impl Node {
    /// A node that has just been switched on.
    pub(crate) fn new(number: usize, scene: &mut Scene) -> Self {
        let mut node = Self {
            number,
            power: 0,
            seats: Vec::new(),
            mail: BTreeMap::new(),
            mail_last: BTreeMap::new(),
            media: Media::new(&scene.run.plan),
            sockets: BTreeMap::new(),
            samples: Samples::default(),
        };
        node.boot(scene);
        node
    }

    fn boot(&mut self, scene: &mut Scene) {
        let catalog = scene.admin.catalog();
        let reactors = scene.run.plan.reactors;
        self.seats =
            (0..reactors).map(|id| Seat::new(id, Arc::clone(&catalog), &mut scene.run)).collect();
    }

    /// Something will happen in the node, unless its power fails before.
    fn after(&self, delay: u64, event: NodeEvent, run: &mut Run) {
        run.after(delay, Event::Node { node: self.number, power: self.power, event });
    }

    /// Something happens that was due after so many power cuts.
    pub(crate) fn handle(&mut self, power: u32, event: NodeEvent, out: &mut Outside) {
        if power != self.power {
            return;
        }
        match event {
            NodeEvent::Catalog { seat, catalog, generation } => {
                let latest = out.scene.admin.latest(catalog, generation);
                self.call(seat, out, |shard, now, actions| {
                    shard.handle_catalog(now, latest, actions);
                });
                out.scene.admin.is_served(generation, &mut out.scene.ledger);
            }
            NodeEvent::DirectCancelled { wire } => self.direct_cancelled(wire, out),
            NodeEvent::IoHalf { io } => self.media.half(io, &mut self.seats, &mut out.scene.run),
            NodeEvent::IoEnd { io } => self.io_ends(io, out),
            NodeEvent::Leave { wire } => self.leave(wire, out),
            NodeEvent::Mail { from, to } => self.mail_arrives(from, to, out),
            NodeEvent::Move { wire, to, state } => self.adopt(wire, to, *state, out),
            NodeEvent::Parse { wire } => self.parse(wire, out),
            NodeEvent::Probed { seat, conn } => {
                let wire = self.seats[seat].conns.get(&conn);
                let socket = wire.and_then(|wire| self.sockets.get(wire));
                let wires = &out.scene.wires;
                // It may have been closed meanwhile.
                let Some(progress) = socket.map(|socket| socket.progress(wires)) else { return };
                self.call(seat, out, |shard, now, actions| {
                    shard.handle_progress(now, conn, progress, actions);
                });
            }
            NodeEvent::Return { seat, buf } => {
                self.call(seat, out, |shard, now, actions| {
                    shard.handle_buffer_returned(now, buf, actions);
                });
            }
            NodeEvent::SendCancelled { wire } => self.send_cancelled(wire, out),
            NodeEvent::Shutdown { seat } => {
                self.call(seat, out, |shard, now, actions| shard.handle_shutdown(now, actions));
            }
            NodeEvent::Timer { seat } => {
                if self.seats[seat].is_due(out.scene.run.now) {
                    self.call(seat, out, |shard, now, actions| shard.handle_timeout(now, actions));
                }
            }
        }
    }

    /// Calls a shard, and carries out what it wants before anything else happens.
    fn call<R>(
        &mut self,
        seat: usize,
        out: &mut Outside,
        call: impl FnOnce(&mut Shard, Instant, &mut Actions) -> R,
    ) -> R {
        let now = Instant(out.scene.run.now);
        let result = self.seats[seat].call(now, call);
        loop {
            if let Some(action) = self.seats[seat].next_action() {
                self.carry_out(seat, action, out);
            } else if let Some((op, result)) = self.seats[seat].done.pop_front() {
                self.seats[seat].call(now, |shard, now, actions| {
                    shard.handle_io(now, op, result, actions);
                });
            } else {
                break;
            }
        }
        if let Some(due) = self.seats[seat].new_timer() {
            let delay = due.saturating_sub(out.scene.run.now);
            self.after(delay, NodeEvent::Timer { seat }, &mut out.scene.run);
        }
        result
    }

    fn io_ends(&mut self, io: u64, out: &mut Outside) {
        let Some(ended) = self.media.end(io, &mut self.seats, &mut out.scene.run) else { return };
        self.call(ended.seat, out, |shard, now, actions| {
            shard.handle_io(now, ended.op, ended.result, actions);
        });
    }

    fn post(&mut self, from: usize, to: usize, message: Message, run: &mut Run) {
        let delay = run.short_delay();
        let last = self.mail_last.entry((from, to)).or_insert(0);
        *last = (run.now + delay).max(*last);
        let delay = *last - run.now;
        self.mail.entry((from, to)).or_default().push_back(message);
        self.after(delay, NodeEvent::Mail { from, to }, run);
    }

    fn mail_arrives(&mut self, from: usize, to: usize, out: &mut Outside) {
        let queue = self.mail.get_mut(&(from, to)).expect("a message was posted");
        let message = queue.pop_front().expect("each message has an event");
        out.scene.run.trace(|| format!("seat {to}: from {from}: {message:?}"));
        let sender = ReactorId(byte(from));
        self.call(to, out, |shard, now, actions| {
            shard.handle_message(now, sender, message, actions);
        });
    }

    /// The kernel goes on with what a connection has to send.
    fn leave(&mut self, wire: usize, out: &mut Outside) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        if out.scene.wires.is_full(wire) {
            socket.leave_due = false;
            if socket.waits_too_long(out.scene.run.now) {
                out.scene.wires.cut(wire, &mut out.scene.run);
            }
            return self.schedule_leave(wire, &mut out.scene);
        }
        let seat = socket.seat;
        let departure = socket.leave(&mut self.seats[seat], &self.media, &mut out.scene);
        if let Departure::Left(meaning) = departure {
            self.samples.learned += meaning.samples.iter().map(|(_, count)| count).sum::<u64>();
            for &buf in &meaning.returns {
                self.return_soon(seat, buf, &mut out.scene.run);
            }
            if let Some(socket) = self.sockets.get_mut(&wire) {
                socket.outbound.recycle(meaning);
            }
        }
        self.schedule_leave(wire, &mut out.scene);
        self.end_if_flushed(wire, out);
        // It may have been backed up.
        self.schedule_parse(wire, &mut out.scene.run);
    }

    /// Has the kernel look at what a connection has to send.
    fn schedule_leave(&mut self, wire: usize, scene: &mut Scene) {
        let Some(socket) = self.sockets.get_mut(&wire) else { return };
        if socket.leave_due || socket.is_flushed() {
            return;
        }
        socket.leave_due = true;
        let stall = scene.wires.stall_left(wire, scene.run.now);
        let look_again = if scene.wires.is_full(wire) { LOOK_AGAIN_NS } else { 0 };
        let delay = scene.run.short_delay().max(stall).max(look_again);
        self.after(delay, NodeEvent::Leave { wire }, &mut scene.run);
    }

    /// A buffer goes back to its shard soon; nobody may use it any more.
    fn return_soon(&mut self, seat: usize, buf: BufId, run: &mut Run) {
        let result = self.seats[seat].pool.give_back(buf);
        run.check(result);
        let delay = run.short_delay();
        self.after(delay, NodeEvent::Return { seat, buf }, run);
    }

    /// Every seat gets a new catalog, each in its own time.
    pub(crate) fn announce(&self, catalog: &Arc<Catalog>, generation: u64, run: &mut Run) {
        for seat in 0..self.seats.len() {
            let delay = run.rng.below(300_000);
            let catalog = Arc::clone(catalog);
            self.after(delay, NodeEvent::Catalog { seat, catalog, generation }, run);
        }
    }

    /// Every seat shuts down, each in its own time.
    pub(crate) fn shut_down(&self, run: &mut Run) {
        for seat in 0..self.seats.len() {
            let delay = run.rng.below(1_000_000);
            self.after(delay, NodeEvent::Shutdown { seat }, run);
        }
    }

    /// The power fails: the node forgets everything but its media, and begins again.
    pub(crate) fn lose_power(&mut self, out: &mut Outside) {
        let Outside { clients, scene } = out;
        scene.run.trace(|| format!("the power of node {} fails", self.number));
        scene.run.report.crashes += 1;
        self.power += 1;
        self.mail.clear();
        self.mail_last.clear();
        self.sockets.clear();
        self.samples = Samples::default();
        self.media.lose_power(&mut self.seats, scene);
        scene.ledger.power_failed();
        let lost = scene.wires.lose_node(self.number);
        clients.lose_sessions(&lost);
        scene.admin.settle();
        for volume in 0..scene.run.plan.volumes.len() {
            let (mapped, sectors) = (scene.admin.is_mapped(volume), scene.admin.sectors(volume));
            scene.ledger.unit_begins(volume, mapped, sectors);
        }
        self.boot(scene);
    }

    /// Whether nothing is under way, and every buffer is home.
    pub(crate) fn is_idle(&self) -> bool {
        let quiet = self.media.is_idle() && self.mail.values().all(VecDeque::is_empty);
        quiet && self.sockets.is_empty() && self.seats.iter().all(Seat::is_idle)
    }

    /// Every sample has reached the statistics, or was dropped with its connection.
    pub(crate) fn check_samples(&self) -> Result<(), String> {
        let Samples { queued, learned, dropped } = self.samples;
        if queued == learned + dropped {
            return Ok(());
        }
        Err(format!("of {queued} samples {learned} were learned and {dropped} dropped"))
    }

    /// What has not ended.
    pub(crate) fn outstanding(&self) -> String {
        let mut text = String::new();
        for (wire, socket) in &self.sockets {
            text += &format!("\n  socket of wire {wire}: {}", socket.describe());
        }
        for (number, seat) in self.seats.iter().enumerate() {
            text += &format!("\n  seat {number}: {}", seat.describe());
        }
        text + &self.media.outstanding()
    }

    /// A reactor by the place that it has among the node's.
    fn place_of(reactor: ReactorId) -> usize {
        size(reactor.0)
    }
}

/// How often a sender looks whether an initiator that does not read has begun to.
const LOOK_AGAIN_NS: u64 = 100_000_000;
