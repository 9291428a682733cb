//! The ends of connections and sessions, the clock's ticks, and the shutdown of the node.

use crate::action::{Action, SendData};
use crate::connection::{Connection, Phase};
use crate::message::{Job, Note};
use crate::nexus::{Holder, Nexus};
use crate::session::Session;
use crate::shard::{Shard, Turn};
use crate::task::{Burst, Phase as TaskPhase};
use crate::wait::Then;
use iscsi::TargetTransferTag;
use iscsi::pdu::{AsyncEvent, AsyncMessage, NopIn};
use std::net::IpAddr;
use std::time::Duration;
use units::{ConnId, Instant, Key, Lun, limits};

/// How often the shard looks at its deadlines. None of them is shorter than seconds.
const TICK: Duration = Duration::from_millis(500);

impl Shard {
    /// The tasks of a connection's session, those included that were aborted and are still at the
    /// backend: whoever waits for the session's end waits for them too.
    pub(crate) fn session_tasks(&self, conn: ConnId) -> Vec<Key> {
        self.tasks.iter().filter(|(_, t)| t.conn == Some(conn)).map(|(k, _)| k).collect()
    }

    /// Ends a connection, whatever phase it is in. What is under way at the backend is waited
    /// for before a new session of the same nexus begins.
    pub(crate) fn drop_connection(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get(conn.0) else { return };
        match &connection.phase {
            Phase::Login(_) | Phase::Registering(_) => {
                let address = connection.peer.ip();
                self.login_over(address);
                self.remove_connection(conn, turn);
            }
            Phase::FullFeature(_) => self.end_session(conn, turn),
            Phase::LoggedOut => self.remove_connection(conn, turn),
        }
    }

    /// Ends the session of a connection, and the connection with it.
    pub(crate) fn end_session(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let tasks = self.session_tasks(conn);
        self.take_filling(conn, turn);
        self.abort_tasks(&tasks, turn);
        for &key in &tasks {
            if let Some(task) = self.tasks.get_mut(key) {
                task.conn = None;
                task.aborted = true;
            }
        }
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        if let Phase::FullFeature(session) =
            std::mem::replace(&mut connection.phase, Phase::LoggedOut)
        {
            self.session_over(&session, tasks, turn);
        }
        self.remove_connection(conn, turn);
        self.tell_load(turn);
    }

    /// A session that could not be adopted ends here.
    pub(crate) fn forget_session(&mut self, connection: Connection, turn: &mut Turn<'_>) {
        if let Phase::FullFeature(session) = connection.phase {
            self.session_over(&session, Vec::new(), turn);
        }
    }

    /// What a session leaves behind ends once its tasks are quiet.
    pub(crate) fn session_over(&mut self, session: &Session, tasks: Vec<Key>, turn: &mut Turn<'_>) {
        let Some(nexus) = session.nexus().cloned() else { return };
        let then = Then::SessionOver { nexus, tsih: session.tsih };
        self.when_quiet(tasks, then, turn);
    }

    /// The tasks of a session that is gone are quiet: its reservations end (SPC-2 5.5.1), and the
    /// registrar hears of it.
    pub(crate) fn session_is_over(&mut self, nexus: Nexus, tsih: u16, turn: &mut Turn<'_>) {
        let holder = Holder { nexus, tsih };
        let units = self.units.iter().flatten();
        let reserved: Vec<_> =
            units.filter(|u| u.reserved_by.as_ref() == Some(&holder)).map(|u| u.volume).collect();
        for volume in reserved {
            self.ask_for(volume, None, Job::NexusLost { holder: holder.clone() }, turn);
        }
        let registrar = holder.nexus.registrar(self.reactors);
        self.post(registrar, Note::SessionOver { nexus: holder.nexus, tsih }, turn);
    }

    fn remove_connection(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.take_filling(conn, turn);
        if self.connections.remove(conn.0).is_some() {
            turn.push(Action::Close(conn));
        }
    }

    /// The socket may still write into the buffer of the present PDU: the task gives it up, and
    /// the reactor returns it when that is over.
    fn take_filling(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        let Some(buf) = connection.filling.take() else { return };
        for key in self.session_tasks(conn) {
            let Some(task) = self.tasks.get_mut(key) else { continue };
            let fills = |b: &Option<Burst>| b.as_ref().is_some_and(|b| b.buf == buf);
            let Some(slot) = task.bursts.iter_mut().find(|b| fills(b)) else { continue };
            let second = slot.take().and_then(|b| b.second);
            let finished = task.phase == TaskPhase::Finished;
            turn.push(Action::Return { conn, buf });
            if let Some(second) = second {
                self.give_back(second, turn);
            }
            if finished {
                // It was aborted before, and only this buffer has kept it.
                self.let_go(key, turn);
            }
            return;
        }
    }

    /// One login fewer from this address.
    pub(crate) fn login_over(&mut self, address: IpAddr) {
        if let Some(count) = self.half_open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.half_open.remove(&address);
            }
        }
    }

    /// Makes sure that the deadlines are looked at.
    pub(crate) fn schedule_tick(&mut self, now: Instant) {
        self.ticked.reserve(self.connections.len());
        if self.next_tick.is_none() {
            self.next_tick = Some(now.after(TICK));
        }
    }

    /// Looks at all deadlines.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        self.refuse_overdue_logins(turn);
        let mut conns = std::mem::take(&mut self.ticked);
        conns.extend(self.connections.iter().map(|(k, _)| ConnId(k)));
        for conn in conns.drain(..) {
            self.check_deadlines(conn, turn);
        }
        self.ticked = conns;
        self.next_tick = None;
        let busy = !self.connections.is_empty() || !self.tasks.is_empty();
        if busy || self.registry.has_successors() {
            self.schedule_tick(turn.now);
        }
    }

    fn check_deadlines(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get(conn.0) else { return };
        let overdue = connection.deadline <= turn.now;
        match &connection.phase {
            Phase::Login(_) | Phase::LoggedOut if overdue => self.drop_connection(conn, turn),
            // The registrar answers in bounded time.
            Phase::Login(_) | Phase::LoggedOut | Phase::Registering(_) => {}
            Phase::FullFeature(session) if session.logout_requested && overdue => {
                self.drop_connection(conn, turn);
            }
            Phase::FullFeature(session) => {
                let ping = session.ping;
                let silent = turn.now.since(ping.received_at);
                let unanswered = ping.outstanding.is_some_and(|(_, sent)| {
                    turn.now.since(sent) >= limits::NOP_IN_ANSWER_TIME_MAX
                        && silent >= limits::NOP_IN_ANSWER_TIME_MAX
                });
                if unanswered {
                    self.drop_connection(conn, turn);
                } else if silent >= limits::NOP_IN_INTERVAL && ping.outstanding.is_none() {
                    self.send_ping(conn, turn);
                }
            }
        }
    }

    /// A NOP-In that asks for an answer (RFC 7143 11.19). It carries the next StatSN and does
    /// not use it up.
    fn send_ping(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Some(session) = self.session_mut(conn) else { return };
        let tag = session.new_transfer_tag();
        session.ping.outstanding = Some((tag, now));
        let mut header = [0; 48];
        NopIn {
            data_segment_length: 0,
            lun: Lun::ZERO,
            initiator_task_tag: iscsi::InitiatorTaskTag::RESERVED,
            target_transfer_tag: tag,
            stat_sn: session.stat_sn,
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
        }
        .emit(&mut header);
        turn.push(Action::Send { conn, header, data: SendData::None, sample: None });
    }

    /// Asks all initiators to log out, and drops who cannot be asked.
    pub(crate) fn begin_shutdown(&mut self, turn: &mut Turn<'_>) {
        self.shutting_down = true;
        let conns: Vec<ConnId> = self.connections.iter().map(|(k, _)| ConnId(k)).collect();
        for conn in conns {
            let normal = self.session_mut(conn).is_some_and(|s| s.nexus().is_some());
            if normal {
                self.request_logout(conn, turn);
            } else {
                self.drop_connection(conn, turn);
            }
        }
    }

    /// Async message 1: the target asks for a logout within Parameter3 seconds (RFC 7143
    /// 11.9.1).
    pub(crate) fn request_logout(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        let deadline = turn.now.after(limits::ASYNC_LOGOUT_TIME);
        let Some(connection) = self.connections.get_mut(conn.0) else { return };
        connection.deadline = deadline;
        let Some(session) = connection.session_mut() else { return };
        session.logout_requested = true;
        let mut header = [0; 48];
        AsyncMessage {
            event: AsyncEvent::LogoutRequest,
            vendor_code: 0,
            data_segment_length: 0,
            lun: Lun::ZERO,
            stat_sn: session.stat_sn.take_next(),
            exp_cmd_sn: session.window.exp_cmd_sn(),
            max_cmd_sn: session.window.max_cmd_sn(),
            parameter1: 0,
            parameter2: 0,
            parameter3: u16::try_from(limits::ASYNC_LOGOUT_TIME.as_secs()).unwrap_or(u16::MAX),
        }
        .emit(&mut header);
        turn.push(Action::Send { conn, header, data: SendData::None, sample: None });
        let _ = TargetTransferTag::RESERVED;
        self.schedule_tick(turn.now);
    }
}
