//! The operations that are under way, and the last ones that have ended.

use super::Claims;
use control_api::{OperationInfo, OperationState, RpcError};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;
use units::limits::{OPERATIONS_KEPT_MAX, OPERATIONS_MAX};

/// The number of an operation. A later operation has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OperationId(pub(crate) u64);

/// How far an operation is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Progress {
    /// An earlier operation must end, or release what it claims, first.
    Waiting,
    /// It does this.
    Running(String),
    /// It has ended, with what the call that began it answers.
    Ended(Result<Value, RpcError>),
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// The method that began it.
    pub(crate) method: &'static str,
    /// The volume, target or file.
    pub(crate) subject: String,
    /// How far it is.
    pub(crate) progress: Progress,
    claims: Claims,
    accepted_at: Instant,
    ended_at: Option<Instant>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.subject)?;
        match &self.progress {
            Progress::Waiting => f.write_str(": waiting for an earlier operation"),
            Progress::Running(step) => write!(f, ": {step}"),
            Progress::Ended(Ok(_)) => f.write_str(": done"),
            Progress::Ended(Err(error)) => write!(f, ": {error}"),
        }
    }
}

impl Operation {
    /// What the control interface shows of it.
    pub(crate) fn info(&self, id: OperationId, now: Instant) -> OperationInfo {
        let duration = self.ended_at.unwrap_or(now).saturating_duration_since(self.accepted_at);
        OperationInfo {
            id: id.0,
            method: self.method.into(),
            subject: self.subject.clone(),
            // 2^64 ms are longer than any machine runs.
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            state: match &self.progress {
                Progress::Waiting => OperationState::Waiting,
                Progress::Running(step) => OperationState::Running { step: step.clone() },
                Progress::Ended(Ok(result)) => OperationState::Done { result: result.clone() },
                Progress::Ended(Err(error)) => OperationState::Failed { error: error.clone() },
            },
        }
    }
}

/// All operations that are known.
#[derive(Debug, Default)]
pub(crate) struct OperationTable {
    last: u64,
    under_way: BTreeMap<OperationId, Operation>,
    ended: BTreeMap<OperationId, Operation>,
    /// Those that have ended, in the order of their ends.
    ends: VecDeque<OperationId>,
}

impl OperationTable {
    /// Takes in a new operation, which waits; `None` where too many are under way.
    pub(crate) fn accept(
        &mut self,
        method: &'static str,
        subject: String,
        claims: Claims,
        now: Instant,
    ) -> Option<OperationId> {
        if self.under_way.len() >= OPERATIONS_MAX {
            return None;
        }
        self.last += 1;
        let id = OperationId(self.last);
        let progress = Progress::Waiting;
        let operation =
            Operation { method, subject, progress, claims, accepted_at: now, ended_at: None };
        self.under_way.insert(id, operation);
        Some(id)
    }

    /// The operations that wait for no other one any more, oldest first. The caller runs them.
    pub(crate) fn startable(&self) -> Vec<OperationId> {
        // One that has read its file claims what others, accepted later, may be at work on.
        let is_free = |id: OperationId, claims: &Claims| {
            let goes_first = |other: OperationId, o: &Operation| {
                other < id || (other > id && o.progress != Progress::Waiting)
            };
            let mut before = self.under_way.iter().filter(|(other, o)| goes_first(**other, o));
            !before.any(|(_, other)| other.claims.conflict(claims))
        };
        let waiting = self.under_way.iter().filter(|(_, o)| o.progress == Progress::Waiting);
        waiting.filter(|(id, o)| is_free(**id, &o.claims)).map(|(id, _)| *id).collect()
    }

    /// Whether an operation waits for others.
    pub(crate) fn is_waiting(&self, id: OperationId) -> bool {
        self.under_way.get(&id).is_some_and(|operation| operation.progress == Progress::Waiting)
    }

    /// Notes what an operation does now.
    pub(crate) fn run(&mut self, id: OperationId, step: impl Into<String>) {
        self.under_way_mut(id).progress = Progress::Running(step.into());
    }

    /// An operation claims more than it was accepted with, and waits for what is at work on it.
    pub(crate) fn claim(&mut self, id: OperationId, claims: Claims) {
        let operation = self.under_way_mut(id);
        operation.claims = claims;
        operation.progress = Progress::Waiting;
    }

    /// What comes after an operation need not wait for it any more, though it goes on.
    pub(crate) fn release(&mut self, id: OperationId) {
        self.under_way_mut(id).claims = Claims::Nothing;
    }

    /// Notes the end of an operation. The one that ended first may be forgotten.
    pub(crate) fn end(&mut self, id: OperationId, result: Result<Value, RpcError>, now: Instant) {
        let Some(mut operation) = self.under_way.remove(&id) else {
            unreachable!("operation {} ends, but is not under way", id.0)
        };
        operation.progress = Progress::Ended(result);
        operation.ended_at = Some(now);
        self.ended.insert(id, operation);
        self.ends.push_back(id);
        if self.ends.len() > OPERATIONS_KEPT_MAX
            && let Some(first) = self.ends.pop_front()
        {
            self.ended.remove(&first);
        }
    }

    /// Drops an operation whose end concerns nobody.
    pub(crate) fn forget(&mut self, id: OperationId) {
        let Some(_) = self.under_way.remove(&id) else {
            unreachable!("operation {} is dropped, but is not under way", id.0)
        };
    }

    /// An operation; `None` for one that never was, or that ended long ago.
    pub(crate) fn get(&self, id: OperationId) -> Option<&Operation> {
        self.under_way.get(&id).or_else(|| self.ended.get(&id))
    }

    /// Those that are under way or wait, oldest first.
    pub(crate) fn under_way(&self) -> impl ExactSizeIterator<Item = (OperationId, &Operation)> {
        self.under_way.iter().map(|(id, operation)| (*id, operation))
    }

    /// All that are known, oldest first.
    pub(crate) fn infos(&self, now: Instant) -> Vec<OperationInfo> {
        let all = self.ended.iter().chain(&self.under_way);
        let mut infos: Vec<_> = all.map(|(id, operation)| operation.info(*id, now)).collect();
        infos.sort_by_key(|info| info.id);
        infos
    }

    fn under_way_mut(&mut self, id: OperationId) -> &mut Operation {
        let Some(operation) = self.under_way.get_mut(&id) else {
            unreachable!("operation {} is not under way", id.0)
        };
        operation
    }
}

#[cfg(test)]
mod tests {
    use super::super::Object;
    use super::*;
    use control_api::ErrorCode;
    use std::time::Duration;

    fn volume(name: &str) -> Claims {
        Claims::on([Object::Volume(name.into())])
    }

    fn accept(table: &mut OperationTable, claims: Claims) -> OperationId {
        table.accept("volume.create", "a".into(), claims, Instant::now()).unwrap()
    }

    #[test]
    fn operations_on_one_volume_run_in_the_order_in_which_they_were_accepted() {
        let mut table = OperationTable::default();
        let create = accept(&mut table, volume("a"));
        let other = accept(&mut table, volume("b"));
        let delete = accept(&mut table, volume("a"));
        assert_eq!(table.startable(), [create, other]);
        table.run(create, "opening /dev/a");
        table.run(other, "opening /dev/b");
        assert_eq!(table.startable(), []);
        table.end(other, Ok(Value::Null), Instant::now());
        assert_eq!(table.startable(), []);
        table.end(create, Ok(Value::Null), Instant::now());
        assert_eq!(table.startable(), [delete]);
    }

    #[test]
    fn a_configuration_waits_for_all_before_it_and_holds_up_all_after_it() {
        let mut table = OperationTable::default();
        let create = accept(&mut table, volume("a"));
        let apply = accept(&mut table, Claims::Everything);
        let after = accept(&mut table, volume("b"));
        let check = accept(&mut table, Claims::Nothing);
        assert_eq!(table.startable(), [create, check]);
        table.end(create, Ok(Value::Null), Instant::now());
        assert_eq!(table.startable(), [apply, check]);
        table.end(apply, Ok(Value::Null), Instant::now());
        assert_eq!(table.startable(), [after, check]);
    }

    /// While its file did not open, every change waited for it.
    #[test]
    fn an_operation_that_reads_holds_up_nothing_and_runs_alone_once_it_has_read() {
        let mut table = OperationTable::default();
        let apply = accept(&mut table, Claims::Nothing);
        table.run(apply, "reading /mnt/p.toml");
        let running = accept(&mut table, volume("a"));
        assert_eq!(table.startable(), [running]);
        table.run(running, "opening /dev/a");
        table.claim(apply, Claims::Everything);
        let after = accept(&mut table, volume("b"));
        assert_eq!(table.startable(), []);
        table.end(running, Ok(Value::Null), Instant::now());
        assert_eq!(table.startable(), [apply]);
        table.run(apply, "writing the configuration");
        assert_eq!(table.startable(), []);
        table.end(apply, Ok(Value::Null), Instant::now());
        assert_eq!(table.startable(), [after]);
    }

    #[test]
    fn a_released_name_is_free_while_the_operation_goes_on() {
        let mut table = OperationTable::default();
        let delete = accept(&mut table, volume("a"));
        let create = accept(&mut table, volume("a"));
        table.run(delete, "releasing the name");
        assert_eq!(table.startable(), []);
        table.release(delete);
        assert_eq!(table.startable(), [create]);
        assert_eq!(table.under_way().len(), 2);
    }

    #[test]
    fn ended_operations_are_kept_but_not_for_ever() {
        let mut table = OperationTable::default();
        let ids: Vec<_> = (0..OPERATIONS_KEPT_MAX + 1)
            .map(|_| {
                let id = accept(&mut table, volume("a"));
                table.end(id, Ok(Value::Null), Instant::now());
                id
            })
            .collect();
        assert!(table.get(ids[0]).is_none());
        assert!(ids[1..].iter().all(|id| table.get(*id).is_some()));
        assert_eq!(table.infos(Instant::now()).len(), OPERATIONS_KEPT_MAX);
    }

    /// The one that began first went first, however late it ended: nobody learned of its end.
    #[test]
    fn an_operation_that_took_long_is_known_when_it_ends_after_many_others() {
        let mut table = OperationTable::default();
        let long = accept(&mut table, volume("long"));
        let others: Vec<_> = (0..OPERATIONS_KEPT_MAX)
            .map(|_| {
                let id = accept(&mut table, volume("a"));
                table.end(id, Ok(Value::Null), Instant::now());
                id
            })
            .collect();
        table.end(long, Ok(Value::Null), Instant::now());
        assert!(table.get(long).is_some());
        assert!(table.get(others[0]).is_none());
        assert!(table.get(others[1]).is_some());
    }

    #[test]
    fn no_more_operations_are_accepted_than_the_limit_says() {
        let mut table = OperationTable::default();
        let first = accept(&mut table, volume("a"));
        for _ in 1..OPERATIONS_MAX {
            accept(&mut table, volume("a"));
        }
        let now = Instant::now();
        assert_eq!(table.accept("volume.create", "a".into(), volume("a"), now), None);
        table.end(first, Ok(Value::Null), now);
        let next = table.accept("volume.create", "a".into(), volume("a"), now).unwrap();
        assert_eq!(next, OperationId(u64::try_from(OPERATIONS_MAX).unwrap() + 1));
    }

    #[test]
    fn the_time_of_an_operation_ends_with_it() {
        let mut table = OperationTable::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let id = table.accept("volume.delete", "a".into(), volume("a"), begin).unwrap();
        assert_eq!(table.infos(at(20))[0].duration_ms, 20);
        let error = RpcError::new(ErrorCode::Busy, "mapped");
        table.end(id, Err(error.clone()), at(30));
        let info = table.get(id).unwrap().info(id, at(90));
        assert_eq!(info.duration_ms, 30);
        assert_eq!(info.state, OperationState::Failed { error });
    }
}
