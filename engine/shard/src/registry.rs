//! Which sessions there are, on which core, and where the next one goes.
//!
//! Each nexus has a registrar: one shard that every login with that nexus asks. So an older
//! session of the same nexus is always found and ended first (session reinstatement, RFC 7143
//! 6.3.5), whatever core it lives on.

use crate::message::Note;
use crate::nexus::Nexus;
use crate::shard::{Shard, Turn};
use iscsi::pdu::LoginStatus;
use std::collections::{BTreeMap, BTreeSet};
use units::{ConnId, Instant, ReactorId, limits};

/// A shard's part of the registry.
#[derive(Debug)]
pub(crate) struct Registry {
    /// In the order of their names, so that two runs of one history are the same.
    records: BTreeMap<Nexus, Record>,
    /// The session handles of the records.
    handles: BTreeSet<u16>,
    /// Sessions that were displaced before they arrived here from the core of their login.
    doomed: Vec<(Nexus, u16)>,
    sessions: Vec<u32>,
    /// Sessions on their way to a core, which it has not counted yet: logins come in swarms.
    promised: Vec<u32>,
    tsih_count: u16,
}

/// A registered session.
#[derive(Debug)]
struct Record {
    tsih: u16,
    place: ReactorId,
    /// The login that waits for this session to end, and when it has waited enough.
    successor: Option<(Applicant, Instant)>,
}

/// A login that wants its session registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant {
    /// The shard where the login runs.
    pub(crate) reactor: ReactorId,
    /// Its connection there.
    pub(crate) conn: ConnId,
    /// Where the session will live.
    pub(crate) place: ReactorId,
    /// The session that it wants to join with one more connection.
    pub(crate) joins: Option<u16>,
}

impl Registry {
    /// An empty registry of a node with this many reactors.
    pub(crate) fn new(reactors: u8) -> Self {
        Self {
            records: BTreeMap::new(),
            handles: BTreeSet::new(),
            doomed: Vec::new(),
            sessions: vec![0; usize::from(reactors.max(1))],
            promised: vec![0; usize::from(reactors.max(1))],
            tsih_count: 0,
        }
    }

    /// The reactor with the fewest sessions, for one more; `own` wins a draw, which saves a
    /// hand-over.
    pub(crate) fn place_session(&mut self, own: ReactorId) -> ReactorId {
        let load = |r: ReactorId| {
            let at = usize::from(r.0);
            self.sessions[at] + self.promised[at]
        };
        let others = (0_u8..).map(ReactorId).take(self.sessions.len());
        let mut best = own;
        for reactor in others {
            if load(reactor) < load(best) {
                best = reactor;
            }
        }
        self.promised[usize::from(best.0)] += 1;
        best
    }

    /// Another shard tells how many sessions it has.
    pub(crate) fn handle_load(&mut self, from: ReactorId, sessions: u32) {
        if let Some(load) = self.sessions.get_mut(usize::from(from.0)) {
            *load = sessions;
            self.promised[usize::from(from.0)] = 0;
        }
    }

    /// Whether a login waits for its predecessor to end.
    pub(crate) fn has_successors(&self) -> bool {
        self.records.values().any(|r| r.successor.is_some())
    }

    /// When the first login has waited enough for its predecessor to end.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<Nexus> {
        let late = |r: &Record| r.successor.as_ref().is_some_and(|(_, until)| *until <= now);
        self.records.iter().filter(|(_, r)| late(r)).map(|(n, _)| n.clone()).collect()
    }

    /// A session handle that no living session of the node has: the reactors take turns. `None`
    /// where this one has given away all of its share.
    fn new_tsih(&mut self, own: ReactorId) -> Option<u16> {
        let reactors = u16::try_from(self.sessions.len()).unwrap_or(1);
        for _ in 0..=u16::MAX / reactors {
            self.tsih_count = self.tsih_count.wrapping_add(1) % (u16::MAX / reactors);
            let tsih = self.tsih_count * reactors + u16::from(own.0);
            // Zero means "new session" in a login (RFC 7143 11.12.6).
            if tsih != 0 && !self.handles.contains(&tsih) {
                return Some(tsih);
            }
        }
        None
    }
}

impl Shard {
    /// Handles [`Note::Register`].
    pub(crate) fn register(&mut self, applicant: Applicant, nexus: Nexus, turn: &mut Turn<'_>) {
        let until = turn.now.after(limits::REINSTATEMENT_TIME_MAX);
        if let Some(tsih) = applicant.joins {
            // MaxConnections is 1, so no session has room for one more (RFC 7143 11.13.5).
            let exists = self.registry.records.get(&nexus).is_some_and(|r| r.tsih == tsih);
            let status = if exists {
                LoginStatus::TooManyConnections
            } else {
                LoginStatus::SessionDoesNotExist
            };
            return self.refuse(applicant, nexus, status, turn);
        }
        match self.registry.records.get_mut(&nexus) {
            None => self.enrol(applicant, nexus, turn),
            Some(record) if record.successor.is_some() => {
                // Two logins race for one nexus: the later one may try again.
                self.refuse(applicant, nexus, LoginStatus::ServiceUnavailable, turn);
            }
            Some(record) => {
                record.successor = Some((applicant, until));
                let (place, tsih) = (record.place, record.tsih);
                self.schedule_tick(turn.now);
                self.post(place, Note::Displace { nexus, tsih }, turn);
            }
        }
    }

    fn enrol(&mut self, applicant: Applicant, nexus: Nexus, turn: &mut Turn<'_>) {
        let Some(tsih) = self.registry.new_tsih(self.id) else {
            return self.refuse(applicant, nexus, LoginStatus::OutOfResources, turn);
        };
        self.registry.handles.insert(tsih);
        let record = Record { tsih, place: applicant.place, successor: None };
        self.registry.records.insert(nexus.clone(), record);
        let note = Note::Registered { conn: applicant.conn, nexus, outcome: Ok(tsih) };
        self.post(applicant.reactor, note, turn);
    }

    fn refuse(
        &mut self,
        applicant: Applicant,
        nexus: Nexus,
        status: LoginStatus,
        turn: &mut Turn<'_>,
    ) {
        let outcome = Err(status);
        let note = Note::Registered { conn: applicant.conn, nexus, outcome };
        self.post(applicant.reactor, note, turn);
    }

    /// Handles [`Note::SessionOver`]: the session is gone.
    pub(crate) fn unregister(&mut self, nexus: &Nexus, tsih: u16, turn: &mut Turn<'_>) {
        if self.registry.records.get(nexus).is_none_or(|r| r.tsih != tsih) {
            return;
        }
        let record = self.registry.records.remove(nexus);
        self.registry.handles.remove(&tsih);
        if let Some((applicant, _)) = record.and_then(|r| r.successor) {
            self.enrol(applicant, nexus.clone(), turn);
        }
    }

    /// Handles [`Note::Displace`]: ends the session. The registrar hears of it once nothing of
    /// it is under way at the backend, so that no write of it lands after one of its successor.
    pub(crate) fn displace(&mut self, nexus: Nexus, tsih: u16, turn: &mut Turn<'_>) {
        let found = self.connections.iter().find_map(|(key, c)| {
            let session = c.session()?;
            (session.tsih == tsih && session.nexus() == Some(&nexus)).then_some(ConnId(key))
        });
        match found {
            Some(conn) => self.end_session(conn, turn),
            None => {
                self.registry.doomed.push((nexus, tsih));
                if self.registry.doomed.len() > limits::DOOMED_SESSIONS_MAX {
                    self.registry.doomed.remove(0);
                }
            }
        }
    }

    /// A session has arrived on this core or begins here.
    pub(crate) fn session_located(&mut self, conn: ConnId, turn: &mut Turn<'_>) {
        self.tell_load(turn);
        let Some(session) = self.connections.get(conn.0).and_then(|c| c.session()) else {
            return;
        };
        let Some(nexus) = session.nexus().cloned() else { return };
        let tsih = session.tsih;
        let doomed = &mut self.registry.doomed;
        if let Some(place) = doomed.iter().position(|(n, t)| *n == nexus && *t == tsih) {
            doomed.swap_remove(place);
            self.end_session(conn, turn);
        }
    }

    /// Tells the other shards how many sessions this one has.
    pub(crate) fn tell_load(&mut self, turn: &mut Turn<'_>) {
        let count = self.connections.iter().filter(|(_, c)| c.session().is_some()).count();
        let sessions = u32::try_from(count).unwrap_or(u32::MAX);
        self.registry.promised[usize::from(self.id.0)] = 0;
        if self.registry.sessions[usize::from(self.id.0)] == sessions {
            return;
        }
        self.registry.sessions[usize::from(self.id.0)] = sessions;
        for other in self.others() {
            self.post(other, Note::Load { sessions }, turn);
        }
    }

    /// Refuses the logins that have waited too long for their predecessor to end.
    pub(crate) fn refuse_overdue_logins(&mut self, turn: &mut Turn<'_>) {
        for nexus in self.registry.overdue(turn.now) {
            let record = self.registry.records.get_mut(&nexus);
            if let Some((applicant, _)) = record.and_then(|r| r.successor.take()) {
                self.refuse(applicant, nexus, LoginStatus::ServiceUnavailable, turn);
            }
        }
    }

    /// A handle for a discovery session, which no registrar knows.
    pub(crate) fn discovery_tsih(&mut self) -> u16 {
        // It names nothing that a later login could ask for; it only must not be zero.
        self.registry.new_tsih(self.id).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search for a free handle went on until there was one. A reactor that had given all
    /// of its share away, which 64 reactors have after 1024 sessions, never came back from it.
    #[test]
    fn handles_are_unique_and_run_out() {
        let mut registry = Registry::new(64);
        while let Some(tsih) = registry.new_tsih(ReactorId(63)) {
            assert!(tsih != 0 && registry.handles.insert(tsih));
            assert_eq!(tsih % 64, 63);
        }
        assert_eq!(registry.handles.len(), 1023);
        registry.handles.remove(&127);
        assert_eq!(registry.new_tsih(ReactorId(63)), Some(127));
    }

    #[test]
    fn a_single_reactor_has_all_handles() {
        let mut registry = Registry::new(1);
        while let Some(tsih) = registry.new_tsih(ReactorId(0)) {
            assert!(tsih != 0 && registry.handles.insert(tsih));
        }
        assert_eq!(registry.handles.len(), 65_534);
    }
}
