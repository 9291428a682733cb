//! What the reactors report, as lines of the log and as warnings.
//!
//! Every event is counted by its reactor; here is only decided what is a line. A disk that fails
//! 46,000 commands a second, or a host that tries a wrong password again and again, must not bury
//! everything else: what happens again and again is a line once in a while, with the number of
//! those left out.

use reactor::{Events, IoFailures};
use shard::{Ending, IoFailure, SessionChange, SessionEvent};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};
use units::VolumeId;
use units::limits::{
    IO_ERROR_LINE_INTERVAL, IO_ERROR_LINES_PER_MINUTE_MAX, IO_ERROR_WARNING_TIME,
    REFUSAL_LINES_MAX, SESSION_LINES_INTERVAL, SESSION_LINES_MAX,
};

/// What happened lately.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    volumes: BTreeMap<VolumeId, Trouble>,
    sessions: BTreeMap<SessionChange, Repeated>,
}

/// The I/O errors of a volume, until some time after the last one.
#[derive(Debug)]
struct Trouble {
    /// The volume's name then: a later one may have its number.
    name: String,
    errors: u64,
    last: IoFailure,
    last_at: Instant,
    lines: Throttle,
    by_errno: BTreeMap<i32, FailureKind>,
}

/// The I/O errors of a volume with one error code.
#[derive(Debug)]
struct FailureKind {
    last: IoFailure,
    repeated: Repeated,
}

/// Events of one kind, of which not all are lines.
#[derive(Debug)]
struct Repeated {
    lines: Throttle,
    suppressed: u64,
}

/// At most so many lines in any time of this length.
#[derive(Debug)]
struct Throttle {
    max: usize,
    time: Duration,
    /// When the last lines were written, oldest first.
    written: VecDeque<Instant>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Io { volume: String, failure: IoFailure, suppressed: u64 },
    Missed(u64),
    Session { event: SessionEvent, suppressed: u64 },
    Suppressed { change: SessionChange, count: u64 },
}

impl EventLog {
    /// Takes in what a reactor has reported.
    pub(super) fn handle(
        &mut self,
        events: Events,
        now: Instant,
        name: impl Fn(VolumeId) -> Option<String>,
    ) {
        for line in self.lines_of(events, now, name) {
            line.log();
        }
    }

    /// Logs what was left out, as soon as it may be a line.
    pub(super) fn log_due(&mut self, now: Instant) {
        for line in self.due_lines(now) {
            line.log();
        }
    }

    /// When [`Self::log_due`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let failures = self.volumes.values().flat_map(|trouble| {
            let kinds = trouble.by_errno.values().map(|kind| &kind.repeated);
            kinds.filter_map(|kind| kind.due(trouble.lines.next()))
        });
        failures.chain(self.sessions.values().filter_map(|kind| kind.due(None))).min()
    }

    /// Sentences about the volumes that had I/O errors a short time ago.
    pub(super) fn warnings(
        &self,
        now: Instant,
        name: impl Fn(VolumeId) -> Option<String>,
    ) -> Vec<String> {
        let recent = self.volumes.iter().filter(|(id, trouble)| {
            now.saturating_duration_since(trouble.last_at) < IO_ERROR_WARNING_TIME
                && name(**id).as_ref() == Some(&trouble.name)
        });
        recent.map(|(_, trouble)| trouble.warning(now)).collect()
    }

    fn lines_of(
        &mut self,
        events: Events,
        now: Instant,
        name: impl Fn(VolumeId) -> Option<String>,
    ) -> Vec<Line> {
        let Events { failures, sessions, missed } = events;
        let mut lines = Vec::new();
        for failures in failures {
            let id = failures.first.volume;
            let name = name(id).unwrap_or_else(|| format!("(deleted volume {})", id.0));
            lines.extend(self.failed(failures, name, now));
        }
        lines.extend(sessions.into_iter().filter_map(|event| self.session(event, now)));
        lines.extend((missed > 0).then_some(Line::Missed(missed)));
        lines
    }

    fn failed(&mut self, failures: IoFailures, name: String, now: Instant) -> Option<Line> {
        let IoFailures { first, count } = failures;
        let trouble = self.volumes.entry(first.volume).or_insert_with(|| Trouble::new(first, now));
        if trouble.name != name {
            *trouble = Trouble { name, ..Trouble::new(first, now) };
        }
        trouble.add(first, count, now)
    }

    fn session(&mut self, event: SessionEvent, now: Instant) -> Option<Line> {
        let repeated =
            self.sessions.entry(event.change).or_insert_with(|| Repeated::of(event.change));
        repeated.add(1, now).map(|suppressed| Line::Session { event, suppressed })
    }

    fn due_lines(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        for trouble in self.volumes.values_mut() {
            lines.extend(trouble.due_lines(now));
        }
        self.volumes.retain(|_, trouble| !trouble.is_over(now));
        for (change, repeated) in &mut self.sessions {
            let count = repeated.suppressed;
            if count > 0 && repeated.lines.admit(now) {
                repeated.suppressed = 0;
                lines.push(Line::Suppressed { change: *change, count });
            }
        }
        lines
    }
}

impl Trouble {
    fn new(failure: IoFailure, now: Instant) -> Self {
        Self {
            name: String::new(),
            errors: 0,
            last: failure,
            last_at: now,
            lines: Throttle::new(IO_ERROR_LINES_PER_MINUTE_MAX, Duration::from_secs(60)),
            by_errno: BTreeMap::new(),
        }
    }

    fn add(&mut self, failure: IoFailure, count: u64, now: Instant) -> Option<Line> {
        self.errors = self.errors.saturating_add(count);
        (self.last, self.last_at) = (failure, now);
        let kind = self.by_errno.entry(failure.errno).or_insert_with(|| FailureKind {
            last: failure,
            repeated: Repeated::new(1, IO_ERROR_LINE_INTERVAL),
        });
        kind.last = failure;
        if !self.lines.has_room(now) {
            kind.repeated.suppressed += count;
            return None;
        }
        let suppressed = kind.repeated.add(count, now)?;
        self.lines.admit(now);
        Some(Line::Io { volume: self.name.clone(), failure, suppressed })
    }

    fn due_lines(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        for kind in self.by_errno.values_mut() {
            let Repeated { lines: own, suppressed } = &mut kind.repeated;
            if *suppressed > 0 && self.lines.has_room(now) && own.admit(now) {
                self.lines.admit(now);
                // One of them is the line itself.
                let suppressed = std::mem::take(suppressed) - 1;
                let volume = self.name.clone();
                lines.push(Line::Io { volume, failure: kind.last, suppressed });
            }
        }
        lines
    }

    /// Whether neither the log nor a warning has to say more about it.
    fn is_over(&self, now: Instant) -> bool {
        let is_told = self.by_errno.values().all(|kind| kind.repeated.suppressed == 0);
        is_told && now.saturating_duration_since(self.last_at) >= IO_ERROR_WARNING_TIME
    }

    fn warning(&self, now: Instant) -> String {
        let Self { name, errors, last, last_at, .. } = self;
        let ago = now.saturating_duration_since(*last_at).as_secs();
        let error = io::Error::from_raw_os_error(last.errno);
        format!(
            "volume {name} has I/O errors: {errors} so far, the last one {ago} s ago \
             ({}: {error}); run \"perfctl stats --volume {name}\" for the numbers",
            last.operation.name(),
        )
    }
}

impl Repeated {
    const fn new(max: usize, time: Duration) -> Self {
        Self { lines: Throttle::new(max, time), suppressed: 0 }
    }

    const fn of(change: SessionChange) -> Self {
        let max = match change {
            SessionChange::Refused(_) => REFUSAL_LINES_MAX,
            SessionChange::LoggedIn | SessionChange::Ended(_) => SESSION_LINES_MAX,
        };
        Self::new(max, SESSION_LINES_INTERVAL)
    }

    /// Some more of them. If they are a line, returns how many were left out before.
    fn add(&mut self, count: u64, now: Instant) -> Option<u64> {
        if self.lines.admit(now) {
            // The line shows one of them.
            assert!(count > 0, "a line reports at least one event");
            return Some(std::mem::replace(&mut self.suppressed, count - 1));
        }
        self.suppressed = self.suppressed.saturating_add(count);
        None
    }

    /// When those left out may be a line, if no line of the whole may come before `whole`. What
    /// may be a line now has become one.
    fn due(&self, whole: Option<Instant>) -> Option<Instant> {
        if self.suppressed == 0 { None } else { self.lines.next().max(whole) }
    }
}

impl Throttle {
    const fn new(max: usize, time: Duration) -> Self {
        Self { max, time, written: VecDeque::new() }
    }

    fn has_room(&mut self, now: Instant) -> bool {
        while self.written.front().is_some_and(|at| *at + self.time <= now) {
            self.written.pop_front();
        }
        self.written.len() < self.max
    }

    /// Counts a line, if there may be one now.
    fn admit(&mut self, now: Instant) -> bool {
        let has_room = self.has_room(now);
        if has_room {
            self.written.push_back(now);
        }
        has_room
    }

    /// When there may be a line again; `None` where there may be one already.
    fn next(&self) -> Option<Instant> {
        let is_full = self.written.len() >= self.max;
        self.written.front().filter(|_| is_full).map(|at| *at + self.time)
    }
}

impl Line {
    fn log(self) {
        match self {
            Self::Io { volume, failure, suppressed } => {
                let IoFailure { operation, lba, blocks, errno, volume: _ } = failure;
                let (operation, error) = (operation.name(), io::Error::from_raw_os_error(errno));
                // A flush is about no block.
                let (lba, blocks) = ((blocks > 0).then_some(lba), (blocks > 0).then_some(blocks));
                tracing::warn!(volume, operation, lba, blocks, suppressed, "I/O error: {error}");
            }
            Self::Missed(count) => {
                tracing::warn!(count, "events were too many to be logged one by one");
            }
            Self::Session { event, suppressed } => log_session(&event, suppressed),
            Self::Suppressed { change, count } => {
                let (what, reason) = describe(change);
                tracing::warn!(suppressed = count, "{what} not logged one by one: {reason}");
            }
        }
    }
}

fn describe(change: SessionChange) -> (&'static str, &'static str) {
    match change {
        SessionChange::LoggedIn => ("logins", "login"),
        SessionChange::Ended(ending) => ("ends of sessions", ending.sentence()),
        SessionChange::Refused(refusal) => ("refused logins", refusal.sentence()),
    }
}

/// Names that a peer did not give, or not as valid names, are left out.
fn log_session(event: &SessionEvent, suppressed: u64) {
    let SessionEvent { change, initiator, target, peer, detail } = event;
    let (initiator, target) = (initiator.as_deref(), target.as_deref());
    let suppressed = (suppressed > 0).then_some(suppressed);
    match change {
        SessionChange::LoggedIn => {
            tracing::info!(initiator, %peer, target, suppressed, "login");
        }
        SessionChange::Ended(Ending::LoggedOut) => {
            tracing::info!(initiator, %peer, target, suppressed, "logout");
        }
        SessionChange::Ended(ending) => {
            let reason = ending.sentence();
            tracing::warn!(initiator, %peer, target, suppressed, "session lost: {reason}");
        }
        SessionChange::Refused(refusal) => {
            let reason = detail.as_deref().unwrap_or_else(|| refusal.sentence());
            tracing::warn!(initiator, %peer, target, suppressed, "login refused: {reason}");
        }
    }
}

#[cfg(test)]
mod tests;
