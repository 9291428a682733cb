//! Calls: answered at once from what the control thread knows, or later when the reactors have
//! reported or an operation has ended.

use super::apply::Checked;
use super::change::Edit;
use super::sessions::{count as session_count, drop_session, ending, sessions};
use super::statistics::stats;
use super::{Daemon, StatsMark, json};
use crate::operation::{Claims, OperationId, Progress};
use control_api::{
    Call, ConfigApplied, ErrorCode, OperationInfo, Operations, RpcError, SessionDrop,
    ShutdownStarted, Started, StatsQuery,
};
use reactor::{ReactorReport, ReportRound};
use serde_json::Value;
use std::time::Instant;
use units::limits::{CONTROL_ANSWER_TIME, OPERATION_WAIT_TIME_MAX, REPORT_TIME_MAX};

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It is answered.
    Now(Outcome),
    /// It is answered when something has happened, or at a time at the latest.
    Later(Awaited),
}

/// The answer to a call, and what the control thread must do beyond sending it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The answer.
    pub(crate) answer: Result<Value, RpcError>,
    /// The daemon is to end.
    pub(crate) shutdown: bool,
}

/// A call that is answered later.
#[derive(Debug)]
pub(crate) struct Awaited {
    method: &'static str,
    event: Event,
    /// When it is answered at the latest.
    pub(crate) until: Instant,
}

impl Awaited {
    /// Whether the call is about an operation that goes on without it.
    pub(crate) const fn only_follows(&self) -> bool {
        match self.event {
            Event::End(_) => true,
            Event::Outcome(_) | Event::Reports(..) => false,
        }
    }
}

/// What a call waits for.
#[derive(Debug)]
enum Event {
    /// The outcome of the operation that the call began.
    Outcome(OperationId),
    /// The end of an operation that it follows.
    End(OperationId),
    /// Reports of all reactors.
    Reports(ReportRound, Question),
}

/// An operation that waits for the reports of the reactors.
#[derive(Debug)]
pub(super) struct Reporting {
    round: ReportRound,
    question: Question,
    until: Instant,
}

/// A call that the reports of the reactors answer.
#[derive(Clone, Debug)]
enum Question {
    /// The sessions that a configuration would end; an operation from its begin on.
    Check(Box<Checked>),
    Drop(SessionDrop),
    Sessions,
    Shutdown,
    Stats(StatsQuery),
    Status,
}

impl Daemon {
    /// Begins a call. Never waits.
    pub(crate) fn call(&mut self, call: Call) -> Reply {
        let method = call.name();
        let begun = match call {
            Call::ConfigApply(params) => self.operations.begin_apply(&params),
            Call::LunMap(params) => self.operations.begin_edit(Edit::LunMap(params)),
            Call::LunUnmap(params) => self.operations.begin_edit(Edit::LunUnmap(params)),
            Call::OperationCancel(params) => {
                let info = self.cancel(OperationId(params.id));
                return self.now(method, info.and_then(|info| json(&info)));
            }
            Call::OperationList(_) => return self.now(method, self.operation_list()),
            Call::OperationShow(params) => {
                let info = self.operation(OperationId(params.id));
                return self.now(method, info.and_then(|info| json(&info)));
            }
            Call::OperationWait(params) => {
                return self.later(method, Event::End(OperationId(params.id)));
            }
            Call::SessionDrop(params) => return self.ask(method, Question::Drop(params)),
            Call::SessionList(_) => return self.ask(method, Question::Sessions),
            Call::Shutdown(_) => return self.ask(method, Question::Shutdown),
            Call::StatsQuery(params) => return self.ask(method, Question::Stats(params)),
            Call::StatusQuery(_) => return self.ask(method, Question::Status),
            Call::TargetCreate(params) => self.operations.begin_edit(Edit::TargetCreate(params)),
            Call::TargetDelete(params) => self.operations.begin_edit(Edit::TargetDelete(params)),
            Call::TargetSet(params) => self.operations.begin_edit(Edit::TargetSet(params)),
            Call::TargetList(_) => {
                return self.now(method, json(&self.operations.followed().targets()));
            }
            Call::VolumeCreate(params) => self.operations.begin_edit(Edit::VolumeCreate(params)),
            Call::VolumeDelete(params) => self.operations.begin_edit(Edit::VolumeDelete(params)),
            Call::VolumeList(_) => {
                let volumes = self.operations.volume_list(Instant::now());
                return self.now(method, json(&volumes));
            }
        };
        match begun {
            Ok(id) => self.later(method, Event::Outcome(id)),
            Err(error) => self.now(method, Err(error)),
        }
    }

    fn now(&self, method: &'static str, answer: Result<Value, RpcError>) -> Reply {
        log_rejection(method, &answer);
        Reply::Now(Outcome { answer, shutdown: false })
    }

    fn later(&self, method: &'static str, event: Event) -> Reply {
        let time = match event {
            Event::Outcome(_) | Event::Reports(..) => CONTROL_ANSWER_TIME,
            Event::End(_) => OPERATION_WAIT_TIME_MAX,
        };
        Reply::Later(Awaited { method, event, until: Instant::now() + time })
    }

    fn ask(&mut self, method: &'static str, question: Question) -> Reply {
        let round = self.node.request_reports();
        self.later(method, Event::Reports(round, question))
    }

    /// The answer to a call that had to wait, if there is one now. `mark` is where the caller's
    /// connection keeps what its last statistics were.
    pub(crate) fn settle(
        &mut self,
        awaited: &Awaited,
        now: Instant,
        mark: &mut Option<StatsMark>,
    ) -> Option<Outcome> {
        let is_late = now >= awaited.until;
        let mut shutdown = false;
        let answer = match &awaited.event {
            // The end of an operation was logged when it came.
            Event::Outcome(id) => {
                return match self.operations.table.get(*id).map(|operation| &operation.progress) {
                    Some(Progress::Ended(result)) => Some(result.clone()),
                    Some(_) if !is_late => None,
                    Some(_) | None => Some(json(&Started { operation: id.0 })),
                }
                .map(|answer| Outcome { answer, shutdown: false });
            }
            Event::End(id) => {
                let info = self.operation(*id);
                let goes_on =
                    self.operations.table.under_way().any(|(under_way, _)| under_way == *id);
                if goes_on && !is_late {
                    return None;
                }
                info.and_then(|info| json(&info))
            }
            Event::Reports(round, question) => {
                if !self.node.has_all_reports(*round) {
                    if !is_late {
                        return None;
                    }
                    if let Some(id) = self.report_later(awaited.method, *round, question, now) {
                        let answer = json(&Started { operation: id.0 });
                        return Some(Outcome { answer, shutdown });
                    }
                }
                shutdown = matches!(question, Question::Shutdown);
                self.reported(question, mark)
            }
        };
        log_rejection(awaited.method, &answer);
        Some(Outcome { answer, shutdown })
    }

    /// A reactor is busy. Its sessions are waited for, as an operation; of all else, what it
    /// last reported is good enough.
    fn report_later(
        &mut self,
        method: &'static str,
        round: ReportRound,
        question: &Question,
        now: Instant,
    ) -> Option<OperationId> {
        match question {
            Question::Check(_) | Question::Shutdown | Question::Stats(_) | Question::Status => {
                return None;
            }
            Question::Drop(_) | Question::Sessions => {}
        }
        let id =
            self.operations.table.accept(method, "of all reactors".into(), Claims::Nothing, now)?;
        self.operations.table.run(id, "waiting for a busy reactor");
        let until = now + REPORT_TIME_MAX;
        self.reporting.insert(id, Reporting { round, question: question.clone(), until });
        Some(id)
    }

    /// Asks the reactors for the sessions that a configuration would end which was only checked.
    pub(super) fn report_of_checked(&mut self, now: Instant) {
        for (id, checked) in self.operations.take_checked() {
            let round = self.node.request_reports();
            let question = Question::Check(checked);
            self.reporting.insert(id, Reporting { round, question, until: now + REPORT_TIME_MAX });
        }
    }

    /// Ends the operations whose reports have come, or have taken too long.
    pub(super) fn handle_reports(&mut self, now: Instant) {
        let is_due = |reporting: &Reporting| {
            now >= reporting.until || self.node.has_all_reports(reporting.round)
        };
        let due = self.reporting.iter().filter(|(_, reporting)| is_due(reporting));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(reporting) = self.reporting.remove(&id) else { unreachable!("listed above") };
            // Of these questions, none is about what has changed since the last one.
            let result = self.reported(&reporting.question, &mut None);
            match reporting.question {
                Question::Check(_) => self.operations.end(id, result),
                Question::Drop(_)
                | Question::Sessions
                | Question::Shutdown
                | Question::Stats(_)
                | Question::Status => self.operations.table.end(id, result, now),
            }
        }
    }

    /// When something is to be done although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let reports = self.reporting.values().map(|reporting| reporting.until);
        let others = [self.ends_at, self.operations.deadline(), self.events.deadline()];
        reports.chain(others.into_iter().flatten()).min()
    }

    fn reported(
        &mut self,
        question: &Question,
        mark: &mut Option<StatsMark>,
    ) -> Result<Value, RpcError> {
        if let Question::Drop(params) = question {
            return json(&drop_session(&mut self.node, params)?);
        }
        let reports: Vec<&ReactorReport> = self.node.known_reports();
        match question {
            Question::Check(checked) => {
                let ending_sessions = ending(&reports, &checked.targets);
                json(&ConfigApplied { ending_sessions, ..checked.applied.clone() })
            }
            Question::Drop(_) => unreachable!("handled above"),
            Question::Sessions => json(&sessions(&reports)),
            Question::Shutdown => json(&ShutdownStarted { sessions: session_count(&reports) }),
            Question::Stats(query) => {
                let followed = self.operations.followed();
                json(&stats(followed, self.started_at, query, &reports, mark)?)
            }
            Question::Status => json(&self.status(&reports)),
        }
    }

    fn cancel(&mut self, id: OperationId) -> Result<OperationInfo, RpcError> {
        self.operation(id)?;
        self.operations.cancel(id)?;
        self.operation(id)
    }

    fn operation(&self, id: OperationId) -> Result<OperationInfo, RpcError> {
        let operation = self.operations.table.get(id).map(|o| o.info(id, Instant::now()));
        operation.ok_or_else(|| {
            let sentence = format!("operation {} does not exist or ended long ago", id.0);
            RpcError::new(ErrorCode::NotFound, sentence)
                .on(id.0.to_string())
                .hint("Run \"perfctl operation list\" to see the known operations.")
        })
    }

    fn operation_list(&self) -> Result<Value, RpcError> {
        json(&Operations { operations: self.operations.table.infos(Instant::now()) })
    }
}

fn log_rejection(method: &'static str, answer: &Result<Value, RpcError>) {
    if let Err(error) = answer {
        tracing::info!(method, %error, "rejected");
    }
}
