//! What all parts of a run share: its plan, its source of chance, its clock with everything that
//! is due, and the first promise that was broken.

use crate::ledger::Tick;
use crate::node::NodeEvent;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::{Report, Settings};
use std::collections::BTreeMap;

/// Something that will happen.
pub(crate) enum Event {
    /// An initiator does something.
    Act { initiator: usize },
    /// The administrator does something.
    Administer,
    /// An initiator's side of a connection is gone, and the target notices.
    Closed { wire: usize },
    /// The power of a node fails.
    Crash { node: usize },
    /// Bytes reach an initiator.
    Down { wire: usize },
    /// A connection request reaches its node.
    Knock { wire: usize },
    /// Something inside a node, unless its power fails before: `power` counts its power cuts.
    Node { node: usize, power: u32, event: NodeEvent },
    /// Bytes reach a node.
    Up { wire: usize },
}

/// The stages of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Initiators and faults do what they like.
    Chaos,
    /// Nothing new begins and nothing fails; all that is under way must end.
    Drain,
    /// One initiator reads everything.
    Audit,
    /// All sessions end.
    Farewell,
    /// All is over and checked.
    Over,
}

/// What all parts of a run share.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    /// Nanoseconds since the beginning.
    pub(crate) now: u64,
    tick: Tick,
    order: u64,
    due: BTreeMap<(u64, u64), Event>,
    pub(crate) stage: Stage,
    pub(crate) stage_began: u64,
    failure: Option<Failure>,
    tracing: bool,
    pub(crate) report: Report,
}

/// The first promise that was broken.
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Something did not end: the report lists all that is outstanding.
    pub(crate) is_stuck: bool,
}

impl Run {
    pub(crate) fn new(seed: u64, settings: Settings) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng, settings.canary);
        // Chance of its own, so that the other seeds are what they are without it.
        let mut attacks = Rng::new(!seed);
        if settings.canary.is_none() && attacks.chance(HOSTILE_SEEDS) {
            plan.make_it_hostile(&mut attacks);
        }
        if settings.canary.is_none() {
            plan.add_rare_commands(&mut Rng::new(seed ^ RARE_COMMANDS));
        }
        let run = Self {
            plan,
            rng,
            now: 1,
            tick: 1,
            order: 0,
            due: BTreeMap::new(),
            stage: Stage::Chaos,
            stage_began: 0,
            failure: None,
            tracing: settings.trace,
            report: Report::default(),
        };
        run.trace(|| format!("{:?}", run.plan));
        run
    }

    /// The next moment in the order of everything.
    pub(crate) const fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// Something will happen after a delay in nanoseconds.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.due.insert((self.now + delay, self.order), event);
    }

    /// The next event, and the clock with it; `None` where nothing is due any more.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let ((at, _), event) = self.due.pop_first()?;
        assert!(at >= self.now, "time goes on");
        self.now = at;
        self.report.events += 1;
        Some(event)
    }

    /// A delay of the order of a network or a reactor's turn.
    pub(crate) fn short_delay(&mut self) -> u64 {
        if self.rng.chance(30) {
            return self.rng.below(2_000_000);
        }
        self.rng.below(20_000)
    }

    /// A promise was broken. The first one ends the run.
    pub(crate) fn fail(&mut self, text: impl FnOnce() -> String) {
        self.note(text, false);
    }

    /// Something does not end. The first failure ends the run.
    pub(crate) fn fail_stuck(&mut self, text: impl FnOnce() -> String) {
        self.note(text, true);
    }

    fn note(&mut self, text: impl FnOnce() -> String, is_stuck: bool) {
        if self.failure.is_none() {
            let text = text();
            self.trace(|| format!("FAILURE: {text}"));
            self.failure = Some(Failure { text, is_stuck });
        }
    }

    /// Fails where a check did.
    pub(crate) fn check(&mut self, result: Result<(), String>) {
        if let Err(text) = result {
            self.fail(|| text);
        }
    }

    pub(crate) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) const fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Prints what happens, in a run that is traced.
    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>13} {}", self.now, text());
        }
    }

    /// Whether faults are injected still.
    pub(crate) fn is_chaos(&self) -> bool {
        self.stage == Stage::Chaos
    }
}

/// Tells the chance of rare commands from that of all else.
const RARE_COMMANDS: u64 = 0x5eed << 32;

/// Seeds with hostile initiators, in a thousand.
const HOSTILE_SEEDS: u64 = 200;
