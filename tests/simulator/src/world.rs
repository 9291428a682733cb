//! The world of one seed: what there is, the clock, and the order in which things happen.

use crate::admin::Admin;
use crate::backend::Io;
use crate::disk::Disk;
use crate::history::{History, Span, Tick};
use crate::initiator::Initiator;
use crate::link::Link;
use crate::plan::Plan;
use crate::rng::{Rng, size};
use crate::seat::Seat;
use crate::sectors::Mark;
use crate::session::Session;
use crate::settled::Settled;
use crate::units_state::UnitState;
use crate::{Canary, Report};
use shard::{HandedOver, Message};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use volume::Catalog;

/// Something that will happen.
pub(crate) enum Event {
    /// An initiator does something.
    Act { initiator: usize },
    /// A seat gets a catalog.
    Catalog { seat: usize, catalog: Arc<Catalog>, generation: u64 },
    /// An initiator's side of a connection is gone, and the target notices.
    Closed { link: usize },
    /// The administrator does something.
    Administer,
    /// The power fails.
    Crash,
    /// Bytes reach an initiator.
    Down { link: usize },
    /// Half of a backend operation takes effect.
    IoHalf { io: u64 },
    /// A backend operation ends.
    IoEnd { io: u64 },
    /// An initiator knocks.
    Knock { link: usize },
    /// A message reaches a seat.
    Mail { from: usize, to: usize },
    /// A connection arrives at another seat.
    Move { link: usize, to: usize, state: Box<HandedOver> },
    /// The next of what a connection has to send leaves.
    Leave { link: usize },
    /// A buffer goes back to its shard.
    Return { seat: usize, buf: units::BufId },
    /// The node shuts down.
    Shutdown { seat: usize },
    /// A seat's timer.
    Timer { seat: usize },
    /// Bytes reach the target.
    Up { link: usize },
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Initiators and faults do what they like.
    Chaos,
    /// Nothing new begins, and no fault; all that is under way must end.
    Drain,
    /// One initiator reads everything.
    Audit,
    /// All sessions end.
    Farewell,
    /// All is over and checked.
    Over,
}

/// A command that has not ended for certain.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) session: usize,
    pub(crate) tag: u32,
    pub(crate) volume: usize,
    pub(crate) immediate: bool,
    pub(crate) begun: Tick,
    /// Its header has reached the target.
    pub(crate) delivered: bool,
    pub(crate) writes: Vec<(Span, u64)>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    /// Nanoseconds since the beginning.
    pub(crate) now: u64,
    tick: Tick,
    order: u64,
    events: BTreeMap<(u64, u64), (u32, Event)>,
    /// Counts the power cuts: what was to happen at the node before one does not.
    pub(crate) power: u32,
    pub(crate) stage: Stage,
    pub(crate) stage_began: u64,
    pub(crate) seats: Vec<Seat>,
    pub(crate) mail: BTreeMap<(usize, usize), VecDeque<Message>>,
    pub(crate) mail_last: BTreeMap<(usize, usize), u64>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) ios: BTreeMap<u64, Io>,
    pub(crate) links: Vec<Link>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) initiators: Vec<Initiator>,
    pub(crate) history: History,
    pub(crate) units: Vec<UnitState>,
    pub(crate) admin: Admin,
    /// Of each write: whether nothing of it may reach a medium any more.
    pub(crate) ended: Vec<bool>,
    /// The commands that have not ended for certain, by their numbers.
    pub(crate) live: BTreeMap<u64, Live>,
    /// Resets under way, by volume.
    pub(crate) resets_open: Vec<u32>,
    /// What one of the initiators has seen last in each sector.
    pub(crate) initiators_saw: Vec<Vec<Mark>>,
    /// What the audit reads next.
    pub(crate) audit: Option<(usize, u64)>,
    /// The audit has met a reservation.
    pub(crate) audit_conflicts: bool,
    pub(crate) failure: Option<String>,
    pub(crate) tracing: bool,
    pub(crate) report: Report,
}

impl World {
    pub(crate) fn new(seed: u64, canary: Option<Canary>, tracing: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng, canary);
        let disks = plan.volumes.iter().map(|v| Disk::new(v.sectors, v.volatile)).collect();
        let mut history = History::default();
        for volume in &plan.volumes {
            history.add_volume(volume.sectors);
        }
        let units = plan.volumes.iter().map(UnitState::new).collect();
        let admin = Admin::new(&plan);
        let initiators = (0..plan.initiators).map(|i| Initiator::new(i, plan.acts)).collect();
        let mut world = Self {
            plan,
            rng,
            now: 1,
            tick: 1,
            order: 0,
            events: BTreeMap::new(),
            power: 0,
            stage: Stage::Chaos,
            stage_began: 0,
            seats: Vec::new(),
            mail: BTreeMap::new(),
            mail_last: BTreeMap::new(),
            disks,
            ios: BTreeMap::new(),
            links: Vec::new(),
            sessions: Vec::new(),
            initiators,
            history,
            units,
            admin,
            ended: vec![false],
            live: BTreeMap::new(),
            resets_open: Vec::new(),
            initiators_saw: Vec::new(),
            audit: Some((0, 0)),
            audit_conflicts: false,
            failure: None,
            tracing,
            report: Report::default(),
        };
        world.resets_open = vec![0; world.plan.volumes.len()];
        world.initiators_saw =
            world.plan.volumes.iter().map(|v| vec![Mark::ZERO; size(v.sectors)]).collect();
        world.trace(|w| format!("{:?}", w.plan));
        world.boot();
        world.plan_the_run();
        world
    }

    fn plan_the_run(&mut self) {
        for initiator in 0..self.plan.initiators {
            let delay = self.rng.below(1_000_000);
            self.after(delay, Event::Act { initiator });
        }
        let length = self.plan.acts * 100_000;
        for _ in 0..self.plan.faults.crashes {
            let delay = self.rng.below(length);
            self.after_power(delay, Event::Crash);
        }
        for _ in 0..self.plan.faults.catalog {
            let delay = self.rng.below(length);
            self.after_power(delay, Event::Administer);
        }
    }

    /// Runs to the end; says what went wrong.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while self.failure.is_none() && self.stage != Stage::Over {
            let Some(((at, _), (power, event))) = self.events.pop_first() else {
                self.fail(|w| format!("nothing happens any more: {}", w.outstanding()));
                break;
            };
            assert!(at >= self.now, "time goes on");
            self.now = at;
            self.report.events += 1;
            if power == self.power || power == ANY_POWER {
                self.happen(event);
            }
            self.check_stage();
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act { initiator } => self.act(initiator),
            Event::Administer => self.administer(),
            Event::Catalog { seat, catalog, generation } => {
                self.catalog_arrives(seat, catalog, generation);
            }
            Event::Closed { link } => self.peer_closed(link),
            Event::Crash => self.crash(),
            Event::Down { link } => self.bytes_down(link),
            Event::IoHalf { io } => self.io_half(io),
            Event::IoEnd { io } => self.io_end(io),
            Event::Knock { link } => self.knock(link),
            Event::Leave { link } => self.leave(link),
            Event::Mail { from, to } => self.mail_arrives(from, to),
            Event::Move { link, to, state } => self.link_arrives(link, to, *state),
            Event::Return { seat, buf } => self.buffer_returns(seat, buf),
            Event::Shutdown { seat } => {
                self.shard(seat, |shard, now, actions| shard.handle_shutdown(now, actions));
            }
            Event::Timer { seat } => self.timer(seat),
            Event::Up { link } => self.bytes_up(link),
        }
    }

    /// The next moment in the order of everything.
    pub(crate) const fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// Something will happen, unless the power fails before.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), (self.power, event));
    }

    /// Something will happen whatever comes.
    pub(crate) fn after_power(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), (ANY_POWER, event));
    }

    /// The first thing that goes wrong ends the run.
    pub(crate) fn fail(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.failure.is_none() {
            let text = text(self);
            self.trace(|_| format!("FAILURE: {text}"));
            self.failure = Some(text);
        }
    }

    /// Fails where a check did.
    pub(crate) fn check(&mut self, result: Result<(), String>) {
        if let Err(text) = result {
            self.fail(|_| text);
        }
    }

    /// Tells what happens, if somebody listens.
    pub(crate) fn trace(&self, text: impl FnOnce(&Self) -> String) {
        if self.tracing {
            println!("{:>13} {}", self.now, text(self));
        }
    }

    /// A delay of the order of a network or a reactor's turn.
    pub(crate) fn short_delay(&mut self) -> u64 {
        if self.rng.chance(30) {
            return self.rng.below(2_000_000);
        }
        self.rng.below(20_000)
    }

    /// The node begins, or begins again.
    pub(crate) fn boot(&mut self) {
        self.seats = (0..self.plan.reactors).map(|id| self.new_seat(id)).collect();
    }

    /// The power fails: the node forgets everything but its media.
    fn crash(&mut self) {
        if self.stage != Stage::Chaos {
            return;
        }
        self.trace(|_| "the power fails".into());
        self.report.crashes += 1;
        self.power += 1;
        self.half_written();
        self.ios.clear();
        self.mail.clear();
        self.mail_last.clear();
        let now = self.tick();
        for volume in 0..self.disks.len() {
            self.disks[volume].crash(&mut self.rng);
            let result = self.history.crashed(volume, self.disks[volume].contents(), now);
            self.check(result);
        }
        self.ended.fill(true);
        self.resets_open.fill(0);
        self.everybody_loses_the_connection();
        self.admin.settle();
        self.units = self.plan.volumes.iter().map(UnitState::new).collect();
        for volume in 0..self.units.len() {
            self.units[volume].mapped = Settled::new(self.admin.is_mapped(volume));
            self.units[volume].sectors = Settled::new(self.admin.sectors(volume));
        }
        self.boot();
        for initiator in 0..self.initiators.len() {
            let delay = self.rng.below(3_000_000);
            self.after(delay, Event::Act { initiator });
        }
    }
}

/// The mark of what happens whatever the power does.
const ANY_POWER: u32 = u32::MAX;
