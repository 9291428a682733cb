//! What a reactor reports of itself, and the questions that make it do so.

use crate::stats::Snapshot;
use shard::SessionInfo;
use units::ReactorId;

/// What a reactor says of itself.
#[derive(Clone, Debug)]
pub struct ReactorReport {
    /// Which reactor.
    pub reactor: ReactorId,
    /// Its core.
    pub core: usize,
    /// Its statistics since it began.
    pub snapshot: Snapshot,
    /// Its sessions.
    pub sessions: Vec<SessionInfo>,
    /// Its connections, logins included.
    pub connections: u32,
    /// Buffers of its pool that are lent.
    pub buffers_in_use: u32,
    /// Buffers of its pool.
    pub buffers_total: u32,
    /// Nothing is under way and nobody is connected.
    pub is_idle: bool,
    /// What was missing when it was set up, in sentences.
    pub warnings: Vec<String>,
}

/// A question to all reactors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportRound(pub(crate) u64);

/// The questions to one reactor: at most one is on its way, however many are asked.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// The round of the question that is on its way.
    asked: Option<u64>,
    /// The newest round that the question on its way came too early for.
    wanted: Option<u64>,
    last: Option<(u64, ReactorReport)>,
}

impl Questions {
    /// Notes a question; returns whether it is to be sent now.
    pub(crate) fn ask(&mut self, round: u64) -> bool {
        if self.asked.is_some() {
            self.wanted = Some(round);
            return false;
        }
        self.asked = Some(round);
        true
    }

    /// Takes an answer; returns the round to ask for next.
    pub(crate) fn answered(&mut self, round: u64, report: ReactorReport) -> Option<u64> {
        assert_eq!(self.asked, Some(round), "an answer to a question that is not on its way");
        self.asked = self.wanted.take();
        self.last = Some((round, report));
        self.asked
    }

    /// The last answer, if it is of this round or a later one.
    pub(crate) fn answer(&self, round: u64) -> Option<&ReactorReport> {
        self.last.as_ref().filter(|(of, _)| *of >= round).map(|(_, report)| report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ReactorReport {
        ReactorReport {
            reactor: ReactorId(0),
            core: 0,
            snapshot: Snapshot::default(),
            sessions: Vec::new(),
            connections: 0,
            buffers_in_use: 0,
            buffers_total: 0,
            is_idle: true,
            warnings: Vec::new(),
        }
    }

    /// Statistics that were asked for again and again filled the queue of a reactor that hung.
    #[test]
    fn a_reactor_that_does_not_answer_is_asked_once() {
        let mut questions = Questions::default();
        assert!(questions.ask(1));
        assert!((2..1000).all(|round| !questions.ask(round)));
        // What was asked after the first question was sent is not answered by its answer.
        assert_eq!(questions.answered(1, report()), Some(999));
        assert!(questions.answer(1).is_some());
        assert!(questions.answer(2).is_none());
        assert_eq!(questions.answered(999, report()), None);
        assert!(questions.answer(999).is_some());
        assert!(questions.ask(1000));
    }
}
