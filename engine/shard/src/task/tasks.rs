//! The tasks of one core, the buffers that are lent to them, and what waits for them to end.

use crate::action::{Action, IoResult, Placement};
use crate::message::{Note, Outcome};
use crate::operation::OpId;
use crate::session::connection::{Connection, Incoming, Inlet};
use crate::session::sessions::Sessions;
use crate::session::{Session, pings};
use crate::task::admission::{self, Admitted};
use crate::task::completion::operation_ended;
use crate::task::data_out::{self, Part, Stray};
use crate::task::lender::Lender;
use crate::task::placing;
use crate::task::respond;
use crate::task::waiting::Wait;
use crate::task::work::{Planned, Work};
use crate::task::{Fault, Phase, Reach, Request, Task};
use crate::task::{bursts, order, steps};
use crate::turn::Turn;
use crate::unit::units::Units;
use crate::wake::Wake;
use iscsi::Bhs;
use iscsi::pdu::{DataOut as DataOutPdu, ScsiCommand, TaskAttribute};
use units::{BufId, ConnId, Instant, Key, PoolLayout, Slab, VolumeId, limits};

/// The tasks of this core.
#[derive(Debug)]
pub(crate) struct Tasks {
    table: Slab<Task>,
    pub(crate) lender: Lender,
    pub(crate) waits: Vec<Wait>,
    arrivals: u64,
}

/// A SCSI Command PDU. What is rare reads it from its header again: then most of the command need
/// not leave the processor's registers where it is nothing special.
pub(crate) struct Arrived<'a> {
    pub(crate) bhs: &'a Bhs,
    pub(crate) command: ScsiCommand,
}

/// The owners in which a task finds its session and its logical unit.
pub(crate) struct Neighbours<'a> {
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) units: &'a mut Units,
}

impl Tasks {
    /// No task, and all buffers of a pool.
    pub(crate) fn new(layout: &PoolLayout) -> Self {
        Self {
            table: Slab::new(limits::TASKS_PER_REACTOR_MAX),
            lender: Lender::new(layout),
            waits: Vec::new(),
            arrivals: 0,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Task> {
        self.table.get(key)
    }

    /// A task of which the caller knows that it lives.
    pub(crate) fn get_mut(&mut self, key: Key) -> &mut Task {
        match self.table.get_mut(key) {
            Some(task) => task,
            None => unreachable!("a tag names a task that lives"),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The tasks that `is_one` chooses.
    pub(crate) fn which(&self, is_one: impl Fn(Key, &Task) -> bool) -> Vec<Key> {
        self.table.iter().filter(|&(key, task)| is_one(key, task)).map(|(key, _)| key).collect()
    }

    /// The tasks of a connection's session, those included that were aborted and are still at the
    /// medium: whoever waits for the session's end waits for them too.
    pub(crate) fn of_connection(&self, conn: ConnId) -> Vec<Key> {
        self.which(|_, task| task.conn == Some(conn))
    }

    /// Whether there is no room for one more task.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// Books a task, for which there is room.
    #[inline(always)]
    pub(crate) fn insert(&mut self, make: impl FnOnce() -> Task) -> Key {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let Some((key, task)) = self.table.insert_with(make) else {
            unreachable!("the caller has looked for room")
        };
        task.arrival = arrival;
        key
    }

    /// Books a task for a command that is not [`Plain`](admission::Plain).
    #[cold]
    fn insert_other(
        &mut self,
        bhs: &Bhs,
        session: &mut Session,
        units: &Units,
        now: Instant,
    ) -> Key {
        let command = parsed_again(bhs);
        let Admitted { volume, planned } = admission::admit(session, units, &command);
        self.insert(|| Task::new(Request::of(session.conn, &command), volume, planned, now))
    }

    /// A SCSI Command PDU that has its place in the window and a new tag: becomes a task. A command
    /// that brings no data starts here and now; for others the placement says where data goes.
    #[inline]
    pub(crate) fn handle_command(
        &mut self,
        inlet: Inlet<'_>,
        arrived: Arrived<'_>,
        units: &mut Units,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let Inlet { session, incoming } = inlet;
        let Arrived { bhs, command } = arrived;
        if self.is_full() {
            return refuse_for_want_of_room(bhs, session, turn);
        }
        // Both make a task in the same way; the first is small enough to be made where it stays.
        let now = turn.now;
        let (key, unit) = match admission::plain(session, units, &command) {
            Some((plain, unit)) => {
                let request = Request::of(session.conn, &command);
                let make = || Task::new(request, Some(plain.volume), plain.planned(), now);
                (self.insert(make), Some(unit))
            }
            None => {
                let key = self.insert_other(bhs, session, units, now);
                let volume = self.get_mut(key).volume;
                (key, volume.and_then(|volume| units.get_mut(volume)))
            }
        };
        let tag_place = session.tags.insert(command.initiator_task_tag, key);
        let is_simple =
            matches!(command.attribute, TaskAttribute::Simple | TaskAttribute::Untagged);
        if !is_simple || !session.order.is_empty() {
            order::join(self, key, command.attribute, session);
        }
        let Some(task) = self.table.get_mut(key) else { unreachable!("it has just been booked") };
        task.tag_place = tag_place;
        let mut reach = Reach { key, session: Some(session), unit, lender: &mut self.lender, turn };
        let placement = data_out::expect(task, &command, &mut reach);
        let immediate_len = command.data_segment_length;
        if immediate_len > 0 {
            let part = Part::Command { immediate_len };
            *incoming = Incoming::for_task(key, part, placement);
            return placement;
        }
        bursts::advance(task, &mut reach);
        if task.phase == Phase::Finished && task.is_still() {
            task.let_go(&mut reach);
            self.forget(key, turn);
        }
        placement
    }

    /// Lets `act` work on a task with all that it may touch, and forgets the task if that was its
    /// end. `None` where the task is gone.
    #[inline]
    pub(crate) fn visit<R>(
        &mut self,
        key: Key,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut Task, &mut Reach<'_, '_>) -> R,
    ) -> Option<R> {
        let task = self.table.get_mut(key)?;
        let connection = task.conn.and_then(|conn| neighbours.sessions.get_mut(conn));
        let (session, filling) = match connection {
            Some(connection) => (connection.phase.session_mut(), connection.filling),
            None => (None, None),
        };
        let unit = task.volume.and_then(|volume| neighbours.units.get_mut(volume));
        let mut reach = Reach { key, session, unit, lender: &mut self.lender, turn };
        let result = act(task, &mut reach);
        // The socket may still write into a buffer that is being filled.
        let is_over = task.phase == Phase::Finished
            && task.is_still()
            && !filling.is_some_and(|buf| task.has_buffer(buf));
        if is_over {
            task.let_go(&mut reach);
            self.forget(key, turn);
        } else if !self.waits.is_empty() {
            turn.wake(Wake::TaskQuiet(key));
        }
        Some(result)
    }

    #[inline]
    fn forget(&mut self, key: Key, turn: &mut Turn<'_>) {
        debug_assert!(self.get(key).is_some_and(|t| t.phase == Phase::Finished), "it has ended");
        self.table.discard(key);
        if !self.waits.is_empty() {
            turn.wake(Wake::TaskQuiet(key));
        }
    }

    /// A part of a parameter list. The task may be gone.
    pub(crate) fn handle_parameters(&mut self, key: Key, bytes: &[u8]) {
        if let Some(task) = self.table.get_mut(key) {
            data_out::parameter_bytes(task, bytes);
        }
    }

    /// The header of a Data-Out PDU (RFC 7143 11.7).
    pub(crate) fn handle_data_out(
        &mut self,
        inlet: Inlet<'_>,
        pdu: &DataOutPdu,
        units: &mut Units,
        turn: &mut Turn<'_>,
    ) -> Result<Placement, Stray> {
        let Inlet { session, incoming } = inlet;
        // Data of a task that has ended meanwhile is dropped without a word.
        let Some(key) = session.tags.find(pdu.initiator_task_tag) else {
            return Ok(Placement::Discard);
        };
        let Some(task) = self.table.get_mut(key) else {
            unreachable!("a tag names a task that lives")
        };
        let unit = task.volume.and_then(|volume| units.get_mut(volume));
        let mut reach = Reach { key, session: Some(session), unit, lender: &mut self.lender, turn };
        let placement = data_out::header(task, pdu, &mut reach)?;
        *incoming = Incoming::for_task(key, pdu.into(), placement);
        Ok(placement)
    }

    /// A PDU for a task has come to its end. The task may be gone.
    #[inline]
    pub(crate) fn handle_part(
        &mut self,
        key: Key,
        part: Part,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.visit(key, neighbours, turn, |task, reach| {
            data_out::received(task, part, reach);
        });
    }

    /// A backend operation has ended.
    #[inline]
    pub(crate) fn handle_io(
        &mut self,
        op: OpId,
        result: IoResult,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        let part = usize::from(op.part);
        let found = self.visit(op.task, neighbours, turn, |task, reach| {
            operation_ended(task, part, result, reach);
        });
        assert!(found.is_some(), "{op:?}: a task lives until its last operation has ended");
    }

    /// What a task waited for may be there. It may be gone.
    pub(crate) fn resume(
        &mut self,
        key: Key,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.visit(key, neighbours, turn, bursts::resume);
    }

    /// Handles [`Wake::RangeFree`]. The task may be gone.
    pub(crate) fn handle_range_free(
        &mut self,
        key: Key,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        self.visit(key, neighbours, turn, |task, reach| {
            task.stop_waiting_for_range();
            bursts::resume(task, reach);
        });
    }

    /// The bytes of a buffer have left: it is free, and the task that sent them may read on.
    #[inline]
    pub(crate) fn handle_buffer_returned(&mut self, buf: BufId, turn: &mut Turn<'_>) {
        let sender = self.lender.give_back(buf, turn);
        // The task may be gone: an aborted one does not wait for the wire.
        if let Some(key) = sender
            && let Some(task) = self.table.get_mut(key)
        {
            assert!(task.on_wire > 0, "a buffer left the wire twice");
            task.on_wire -= 1;
            turn.wake(Wake::TaskMayProceed(key));
        }
    }

    /// Handles [`Wake::BufferFree`]: tasks that wait for a buffer go on, in the order that the
    /// lender says. Large needs come first, because small ones are met by all buffers.
    pub(crate) fn feed_hungry(&mut self, neighbours: &mut Neighbours<'_>, turn: &mut Turn<'_>) {
        self.lender.begin_serving();
        placing::serve_waiting(self, neighbours, turn);
        for class in (0..self.lender.classes()).rev() {
            while let Some(key) = self.lender.next_hungry(class) {
                let Some(task) = self.table.get_mut(key) else {
                    unreachable!("a task that ends leaves the lender's queue")
                };
                task.waits_for_buffer = None;
                let lent = self.lender.lent_count();
                self.resume(key, neighbours, turn);
                if let Some(waiting) = self.table.get(key).and_then(|t| t.waits_for_buffer) {
                    let got_some = self.lender.lent_count() > lent;
                    self.lender.keep_place(waiting, got_some);
                }
                self.lender.end_serving();
            }
        }
    }

    /// A period of the sessions' shares ends.
    pub(crate) fn end_share_period(&mut self) {
        self.lender.end_period();
    }

    /// Handles [`Note::Answer`]: a job that the task asked for has ended.
    pub(crate) fn handle_answer(
        &mut self,
        key: Key,
        outcome: Outcome,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        let found = self.visit(key, neighbours, turn, |task, reach| {
            task.end_job();
            assert!(!task.holds_range, "a range is held once for a task");
            if outcome == Outcome::ReservationConflict {
                task.fail(Fault::ReservationConflict);
            }
            task.holds_range |= task.work.holds_range();
            if matches!(task.work, Work::Management) {
                crate::task::management::job_ended(task, reach);
            } else if task.phase != Phase::Finished {
                steps::proceed(task, reach);
            }
        });
        assert!(found.is_some(), "a task lives until its last job has ended");
    }

    /// Ends tasks without a response: no more data is asked for or taken, and what is at the medium
    /// is only waited for.
    pub(crate) fn abort(
        &mut self,
        tasks: &[Key],
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        for &key in tasks {
            self.visit(key, neighbours, turn, abort_one);
        }
    }

    /// The session of tasks ends: they are aborted, and belong to no connection any more.
    pub(crate) fn disown(
        &mut self,
        tasks: &[Key],
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        for &key in tasks {
            self.visit(key, neighbours, turn, |task, reach| {
                abort_one(task, reach);
                assert!(
                    task.phase == Phase::Finished || matches!(task.work, Work::Management),
                    "only a task management function outlives its session"
                );
                task.conn = None;
                task.aborted = true;
            });
        }
    }

    /// The buffer that a connection was filling goes back to the reactor, which returns it when the
    /// socket has let go of it.
    pub(crate) fn give_up_filling(
        &mut self,
        conn: ConnId,
        buf: BufId,
        neighbours: &mut Neighbours<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(&key) = self.which(|_, task| task.has_buffer(buf)).first() else {
            unreachable!("a buffer that is filled is lent to a task")
        };
        self.visit(key, neighbours, turn, |task, reach| {
            let part = task.bursts.find(|burst| burst.buf == buf);
            let burst = part.and_then(|part| task.bursts.take(part));
            reach.turn.push(Action::Return { conn, buf });
            if let Some(second) = burst.and_then(|burst| burst.second) {
                reach.lender.give_back(second, reach.turn);
            }
        });
    }

    /// The tasks at a volume's logical unit, but for task management, those included that were
    /// aborted before and are still at the medium: a reset is done when they are quiet too. Tasks
    /// of the session that asks which came after its request are none of it (RFC 7143 4.2.3.3): the
    /// initiator has sent them in the belief that they will be carried out.
    pub(crate) fn of_unit(&self, volume: VolumeId, asker: Option<Key>) -> Vec<Key> {
        let request = asker.and_then(|key| self.get(key));
        self.which(|_, task| {
            let is_later = request.is_some_and(|r| r.conn == task.conn && r.arrival < task.arrival);
            task.volume == Some(volume) && !is_later && !matches!(task.work, Work::Management)
        })
    }

    /// Asserts what holds for every task between two calls, and that its neighbours know of it: for
    /// debug builds and tests.
    pub(crate) fn self_check(&self, sessions: &Sessions, units: &Units) {
        self.lender.self_check();
        let (mut buffers, mut waiting, mut unplaced) = (0, 0, 0);
        for (key, task) in self.table.iter() {
            task.self_check();
            buffers += task.bursts.count();
            let waits = task.waits_for_buffer;
            let is_known = waits.is_none_or(|waiting| self.lender.is_waiting(key, waiting));
            assert!(is_known, "a queue and its task differ");
            waiting += usize::from(waits.is_some());
            unplaced += usize::from(task.unplaced.is_some());
            let door = task.volume.and_then(|volume| units.get(volume));
            assert!(
                !task.waits_for_range() || door.is_some_and(|unit| unit.medium.has_waiter(key)),
                "the door has forgotten a task that waits: {task:?}"
            );
            if task.phase != Phase::Finished
                && let Some(conn) = task.conn
            {
                let session = sessions.get(conn).and_then(Connection::session);
                let named = session.and_then(|session| session.tags.find(task.tag));
                assert_eq!(named, Some(key), "a task is found by its tag until it ends");
                assert!(
                    !task.is_dormant || session.is_some_and(|session| session.order.has(key)),
                    "nobody wakes this dormant task: {task:?}"
                );
            }
        }
        assert!(buffers <= self.lender.lent_count(), "every burst has a lent buffer");
        assert_eq!(waiting, self.lender.waiting_count(), "a queue and its tasks differ");
        assert_eq!(unplaced, self.lender.waiting_for_place(), "data that waits is counted");
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// A command that was parsed before.
fn parsed_again(bhs: &Bhs) -> ScsiCommand {
    match ScsiCommand::parse(bhs) {
        Ok(command) => command,
        Err(fault) => unreachable!("it was a command before: {fault}"),
    }
}

/// Answers a command for whose task the table has no room.
#[cold]
fn refuse_for_want_of_room(bhs: &Bhs, session: &mut Session, turn: &mut Turn<'_>) -> Placement {
    let command = parsed_again(bhs);
    session.retire(command.immediate);
    let request = Request::of(session.conn, &command);
    let unbooked = Task::new(request, None, Planned::fails(Fault::TaskSetFull), turn.now);
    respond::refuse(&unbooked, session, turn);
    Placement::Discard
}

/// Ends one task without a response. A task management function is not aborted.
fn abort_one(task: &mut Task, reach: &mut Reach<'_, '_>) {
    if task.phase == Phase::Finished || matches!(task.work, Work::Management) {
        return;
    }
    task.aborted = true;
    task.phase = Phase::Finished;
    let window_was_closed = reach.session.as_deref().is_some_and(Session::window_is_closed);
    task.untag(reach);
    if window_was_closed
        && let Some(session) = reach.session.as_deref()
        && !session.window_is_closed()
        && !session.logging_out
    {
        // No response comes, and what answers the abort may wait for a disk that hangs.
        pings::announce_window(session, reach.turn);
    }
    // It may live on until its operations end.
    task.stop_waiting_for_buffer(reach);
    placing::drop_waiting(task, reach);
    if let Some(volume) = task.volume
        && task.has_job()
    {
        let home = reach.turn.cores.home_of(volume);
        reach.turn.post(home, Note::Cancel { volume, ticket: reach.ticket() });
    }
}
