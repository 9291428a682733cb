//! The stages of a run, and the promise that all that was begun ends.

use crate::link::Side;
use crate::rng::size;
use crate::session::Phase;
use crate::world::{Event, Stage, World};

impl World {
    /// Whether the run goes on to its next stage.
    pub(crate) fn check_stage(&mut self) {
        let done = match self.stage {
            Stage::Chaos => self.initiators.iter().all(|i| i.acts_left == 0),
            Stage::Drain => self.all_settled(),
            Stage::Audit => self.audit.is_none(),
            Stage::Farewell => self.all_closed() && self.all_idle(),
            Stage::Over => return,
        };
        if done {
            self.next_stage();
        } else if self.now - self.stage_began > STAGE_TIME_MAX && self.stage != Stage::Chaos {
            self.fail(|w| format!("{:?} does not end: {}", w.stage, w.outstanding()));
        } else if self.report.events > EVENTS_MAX {
            self.fail(|w| format!("too much happens in {:?}: {}", w.stage, w.outstanding()));
        }
    }

    fn next_stage(&mut self) {
        self.stage = match self.stage {
            Stage::Chaos => Stage::Drain,
            Stage::Drain => Stage::Audit,
            Stage::Audit => Stage::Farewell,
            Stage::Farewell | Stage::Over => Stage::Over,
        };
        self.stage_began = self.now;
        self.trace(|w| format!("stage {:?}", w.stage));
        match self.stage {
            Stage::Drain => self.stalls_end(),
            Stage::Farewell if self.plan.shutdown => {
                for seat in 0..self.seats.len() {
                    let delay = self.rng.below(1_000_000);
                    self.after(delay, Event::Shutdown { seat });
                }
            }
            Stage::Over => self.report.virtual_ns = self.now,
            Stage::Audit | Stage::Chaos | Stage::Farewell => {}
        }
    }

    fn stalls_end(&mut self) {
        for link in &mut self.links {
            link.stalled_until = 0;
        }
    }

    fn all_settled(&self) -> bool {
        self.initiators.iter().all(|i| i.current.is_some_and(|s| self.sessions[s].settled))
    }

    fn all_closed(&self) -> bool {
        let over = self.sessions.iter().all(|s| s.phase == Phase::Over);
        over && self.links.iter().all(|l| l.side == Side::Gone)
    }

    fn all_idle(&self) -> bool {
        let quiet = self.ios.is_empty() && self.mail.values().all(|m| m.is_empty());
        quiet && self.seats.iter().all(|s| s.shard.is_idle() && s.shard.buffers_in_use() == 0)
    }

    /// What has not ended.
    pub(crate) fn outstanding(&self) -> String {
        let mut text = String::new();
        for (number, session) in self.sessions.iter().enumerate() {
            if session.phase != Phase::Over {
                let tags: Vec<String> = session
                    .pending
                    .iter()
                    .take(8)
                    .map(|(tag, pending)| format!("{tag:x} {pending:.300?}"))
                    .collect();
                text += &format!(
                    "\n  session {number} of initiator {} {:?} settled {} window {:x}..{:x} next \
                     {:x}: {tags:?}",
                    session.initiator,
                    session.phase,
                    session.settled,
                    session.exp_cmd_sn,
                    session.max_cmd_sn,
                    session.cmd_sn
                );
            }
        }
        for (number, link) in self.links.iter().enumerate() {
            if link.side != Side::Gone {
                text += &format!(
                    "\n  link {number} {:?} up {} down {} queue {}",
                    link.side,
                    link.up.len(),
                    link.down.len(),
                    link.queue.len()
                );
            }
        }
        for (number, seat) in self.seats.iter().enumerate() {
            text += &format!(
                "\n  seat {number}: idle {}, {} buffers in use",
                seat.shard.is_idle(),
                seat.shard.buffers_in_use()
            );
        }
        for io in self.ios.values().take(size(8_u64)) {
            text += &format!("\n  {}", io.describe());
        }
        text
    }
}

/// How long a stage may last: longer than any operation hangs, and any timer of the target.
const STAGE_TIME_MAX: u64 = 150_000_000_000;
/// How much may happen in a run.
const EVENTS_MAX: u64 = 3_000_000;
