//! A world in memory that drives whole shards, and checks every promise that they make.
//!
//! One seed determines a run: the sizes, the faults, what initiators do, and the order in which
//! everything arrives. The shards and the deframer are those of production; reactors, media,
//! wires and initiators are played here. The history of every sector, every number on the wire
//! and every use of a buffer is checked on the way.

mod admin;
mod campaign;
mod clients;
mod framing;
mod ledger;
mod node;
mod plan;
mod rng;
mod run;
mod scene;
mod sectors;
mod tap;
mod wires;
mod world;

pub use campaign::{Campaign, Outcome, attempt};

use std::ops::AddAssign;

/// A deliberate fault of the world, which the checkers must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// A response reaches its initiator twice.
    AnswerComesTwice,
    /// Some responses never reach their initiators.
    AnswerIsLost,
    /// Flushes end well and do nothing.
    FlushIsDropped,
    /// Some writes go to other sectors.
    WriteGoesAstray,
    /// Some writes end well and do nothing.
    WriteIsLost,
}

/// How runs are made, beside their seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// A deliberate fault of the world.
    pub canary: Option<Canary>,
    /// Print everything that happens.
    pub trace: bool,
}

/// What happened in runs that kept all promises: whether they tried what they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are all that there is to say")]
pub struct Report {
    pub events: u64,
    pub virtual_ns: u64,
    pub logins: u64,
    pub logouts: u64,
    pub reinstatements: u64,
    pub commands: u64,
    pub good: u64,
    pub replaced: u64,
    pub management: u64,
    pub aborted: u64,
    pub garbage: u64,
    pub crashes: u64,
    pub attacks: u64,
    pub wait_ns_max: u64,
}

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken, for people.
pub fn run(seed: u64, settings: Settings) -> Result<Report, String> {
    world::World::new(seed, settings).run()
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.virtual_ns += other.virtual_ns;
        self.logins += other.logins;
        self.logouts += other.logouts;
        self.reinstatements += other.reinstatements;
        self.commands += other.commands;
        self.good += other.good;
        self.replaced += other.replaced;
        self.management += other.management;
        self.aborted += other.aborted;
        self.garbage += other.garbage;
        self.crashes += other.crashes;
        self.attacks += other.attacks;
        self.wait_ns_max = self.wait_ns_max.max(other.wait_ns_max);
    }
}
