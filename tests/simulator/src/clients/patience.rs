//! How long initiators that keep the rules wait while others attack: every request must be
//! answered, and every login succeed, within [`crate::plan::Plan::wait_ns_max`].

use super::command::Pending;
use super::session::Phase;
use super::{Clients, Session};
use crate::run::Stage;
use crate::scene::Scene;

/// What an initiator waits for, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    waits: Waits,
    /// In nanoseconds.
    since: u64,
}

/// What an initiator waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waits {
    #[default]
    Nothing,
    /// A session.
    Login,
    /// The answer to the oldest of its requests that must be answered.
    Answer { session: usize, tag: u32 },
}

/// Fails where an initiator has waited too long. A request that is not the oldest becomes it, so
/// that looking at the oldest one finds all that are never answered.
pub(super) fn check(clients: &mut Clients, initiator: usize, scene: &mut Scene) {
    let Some(most) = scene.run.plan.wait_ns_max() else { return };
    let waits = waits_of(clients, initiator, scene);
    let now = scene.run.now;
    let patience = &mut clients.initiators[initiator].patience;
    if patience.waits != waits || waits == Waits::Nothing {
        *patience = Patience { waits, since: now };
        return;
    }
    let waited = now - patience.since;
    scene.run.report.wait_ns_max = scene.run.report.wait_ns_max.max(waited);
    if waited > most {
        let (attacks, ms) = (scene.run.plan.hostile.clone(), most / 1_000_000);
        scene.run.fail_stuck(|| {
            let waiter = format!("initiator {initiator} waits longer than {ms} ms");
            format!("{waiter} for {waits:?} while {attacks:?} attack")
        });
    }
}

fn waits_of(clients: &Clients, initiator: usize, scene: &Scene) -> Waits {
    let Some(number) = clients.initiators[initiator].current else {
        let ends = scene.run.stage >= Stage::Farewell;
        return if ends { Waits::Nothing } else { Waits::Login };
    };
    let session = &clients.sessions[number];
    match session.phase {
        Phase::Login => Waits::Login,
        Phase::Full | Phase::LoggingOut => match oldest(session) {
            Some(tag) => Waits::Answer { session: number, tag },
            None => Waits::Nothing,
        },
        Phase::Over => Waits::Nothing,
    }
}

/// The oldest request that must be answered: not one that a reset may have ended without a word.
fn oldest(session: &Session) -> Option<u32> {
    let must = |pending: &Pending| match pending {
        Pending::Command(command) => !command.maybe_aborted,
        Pending::Logout | Pending::Management(_) | Pending::Nop(_) | Pending::Text => true,
    };
    session.pending.iter().find(|(_, pending)| must(pending)).map(|(&tag, _)| tag)
}
