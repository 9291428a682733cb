//! The sessions of the node: which core each is on, and where the next one goes.
//!
//! Each initiator name has a registrar: one shard that every login of it asks. So an older session
//! of the same nexus is always found and ended first (session reinstatement, RFC 7143 6.3.5),
//! whatever core it lives on, and all sessions of an initiator are counted.

use crate::message::Note;
use crate::session::census::{Census, SessionCaps, Source};
use crate::session::nexus::Nexus;
use crate::turn::Turn;
use iscsi::pdu::LoginStatus;
use std::collections::{BTreeMap, BTreeSet};
use units::{ConnId, Instant, ReactorId, limits};

/// A shard's part of the registry.
#[derive(Debug)]
pub(crate) struct Registry {
    /// In the order of their names, so that two runs of one history are the same.
    records: BTreeMap<Nexus, Record>,
    /// The sessions of the records and the discovery sessions, counted.
    census: Census,
    /// The session handles of the records.
    handles: BTreeSet<u16>,
    /// Sessions that were displaced before they arrived here from the core of their login.
    doomed: Vec<Doomed>,
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
    source: Source,
    /// The login that waits for this session to end.
    successor: Option<Successor>,
}

/// A login that waits for its predecessor to end.
#[derive(Clone, Copy, Debug)]
struct Successor {
    applicant: Applicant,
    /// When it has waited enough.
    until: Instant,
}

/// A session that was displaced before it arrived.
#[derive(Debug)]
struct Doomed {
    nexus: Nexus,
    tsih: u16,
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
    /// Where it comes from.
    pub(crate) source: Source,
    /// The session that it wants to join with one more connection.
    pub(crate) joins: Option<u16>,
}

/// A registrar's answer to a login for a discovery session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiscoveryEntered {
    /// Its connection.
    pub(crate) conn: ConnId,
    /// Where it comes from.
    pub(crate) source: Source,
    /// The session's TSIH, or why there is none.
    pub(crate) outcome: Result<u16, LoginStatus>,
}

impl Registry {
    /// An empty registry of a node with this many reactors.
    pub(crate) fn new(reactors: u8, caps: SessionCaps) -> Self {
        Self {
            records: BTreeMap::new(),
            census: Census::new(caps),
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

    /// A session handle that no living session of the node has: the reactors take turns. `None`
    /// where this one has given away all of its share.
    fn new_tsih(&mut self, own: ReactorId) -> Option<u16> {
        let Ok(reactors) = u16::try_from(self.sessions.len()) else {
            unreachable!("a node has at most 64 reactors")
        };
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

impl Registry {
    /// Handles [`Note::Register`].
    pub(crate) fn handle_register(
        &mut self,
        applicant: Applicant,
        nexus: Nexus,
        turn: &mut Turn<'_>,
    ) {
        let until = turn.now.after(limits::REINSTATEMENT_TIME_MAX);
        if let Some(tsih) = applicant.joins {
            // MaxConnections is 1, so no session has room for one more (RFC 7143 11.13.5).
            let exists = self.records.get(&nexus).is_some_and(|r| r.tsih == tsih);
            let status = if exists {
                LoginStatus::TooManyConnections
            } else {
                LoginStatus::SessionDoesNotExist
            };
            return refuse(applicant, nexus, status, turn);
        }
        match self.records.get_mut(&nexus) {
            None => self.enrol(applicant, nexus, turn),
            Some(record) if record.successor.is_some() => {
                // Two logins race for one nexus: the later one may try again.
                refuse(applicant, nexus, LoginStatus::ServiceUnavailable, turn);
            }
            Some(record) => {
                record.successor = Some(Successor { applicant, until });
                let (place, tsih) = (record.place, record.tsih);
                turn.post(place, Note::Displace { nexus, tsih });
            }
        }
    }

    fn enrol(&mut self, applicant: Applicant, nexus: Nexus, turn: &mut Turn<'_>) {
        let name = &nexus.name().initiator_name;
        let has_room = self.census.has_room(name, applicant.source);
        let Some(tsih) = has_room.then(|| self.new_tsih(turn.cores.own)).flatten() else {
            return refuse(applicant, nexus, LoginStatus::OutOfResources, turn);
        };
        let is_new = self.handles.insert(tsih);
        assert!(is_new, "a session handle is given away once");
        self.census.enter(name, applicant.source);
        let Applicant { place, source, .. } = applicant;
        let record = Record { tsih, place, source, successor: None };
        let before = self.records.insert(nexus.clone(), record);
        assert!(before.is_none(), "a nexus has one session at a time");
        let note = Note::Registered { conn: applicant.conn, nexus, outcome: Ok(tsih) };
        turn.post(applicant.reactor, note);
    }

    /// Handles [`Note::SessionOver`]: the session is gone.
    pub(crate) fn handle_session_over(&mut self, nexus: &Nexus, tsih: u16, turn: &mut Turn<'_>) {
        // Its successor may have been refused and come again: then the record is another one's.
        if self.records.get(nexus).is_none_or(|r| r.tsih != tsih) {
            return;
        }
        let Some(record) = self.records.remove(nexus) else { unreachable!("it is there") };
        let was_given = self.handles.remove(&tsih);
        assert!(was_given, "a registered session has a handle of its registrar");
        self.census.leave(&nexus.name().initiator_name, record.source);
        if let Some(Successor { applicant, .. }) = record.successor {
            self.enrol(applicant, nexus.clone(), turn);
        }
    }

    /// Handles [`Note::EnterDiscovery`].
    pub(crate) fn handle_enter_discovery(
        &mut self,
        from: ReactorId,
        conn: ConnId,
        source: Source,
        turn: &mut Turn<'_>,
    ) {
        let outcome = if self.census.try_enter_discovery(source) {
            // It names nothing that a later login could ask for; it only must not be zero.
            Ok(self.new_tsih(turn.cores.own).unwrap_or(1))
        } else {
            Err(LoginStatus::OutOfResources)
        };
        let entered = DiscoveryEntered { conn, source, outcome };
        turn.post(from, Note::DiscoveryEntered(entered));
    }

    /// Handles [`Note::DiscoveryOver`].
    pub(crate) fn handle_discovery_over(&mut self, source: Source) {
        self.census.leave_discovery(source);
    }

    /// A session is to end that has not arrived on this core yet.
    pub(crate) fn doom(&mut self, nexus: Nexus, tsih: u16) {
        self.doomed.push(Doomed { nexus, tsih });
        if self.doomed.len() > limits::DOOMED_SESSIONS_MAX {
            self.doomed.remove(0);
        }
    }

    /// Whether a session that arrives here is to end at once.
    pub(crate) fn take_doomed(&mut self, nexus: &Nexus, tsih: u16) -> bool {
        let found = self.doomed.iter().position(|d| d.nexus == *nexus && d.tsih == tsih);
        found.map(|place| self.doomed.swap_remove(place)).is_some()
    }

    /// Tells the other shards how many sessions this one has.
    pub(crate) fn report_load(&mut self, sessions: u32, turn: &mut Turn<'_>) {
        let own = usize::from(turn.cores.own.0);
        self.promised[own] = 0;
        if std::mem::replace(&mut self.sessions[own], sessions) != sessions {
            for other in turn.cores.others() {
                turn.post(other, Note::Load { sessions });
            }
        }
    }

    /// Refuses the logins that have waited too long for their predecessor to end.
    pub(crate) fn refuse_overdue(&mut self, turn: &mut Turn<'_>) {
        for (nexus, record) in &mut self.records {
            let overdue = record.successor.take_if(|successor| successor.until <= turn.now);
            if let Some(Successor { applicant, .. }) = overdue {
                refuse(applicant, nexus.clone(), LoginStatus::ServiceUnavailable, turn);
            }
        }
    }

    /// Asserts what holds between two calls: for debug builds and tests.
    pub(crate) fn self_check(&self) {
        assert_eq!(self.handles.len(), self.records.len(), "each session has one handle");
        let is_given = |record: &Record| self.handles.contains(&record.tsih);
        assert!(self.records.values().all(is_given), "a session has a handle that is free");
        assert!(self.doomed.len() <= limits::DOOMED_SESSIONS_MAX, "doomed sessions are bounded");
        self.census.self_check(self.records.len());
    }
}

fn refuse(applicant: Applicant, nexus: Nexus, status: LoginStatus, turn: &mut Turn<'_>) {
    let outcome = Err(status);
    let note = Note::Registered { conn: applicant.conn, nexus, outcome };
    turn.post(applicant.reactor, note);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::parts::{Queues, key, nexus, nexus_of};
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    /// The search for a free handle went on until there was one. A reactor that had given all
    /// of its share away, which 64 reactors have after 1024 sessions, never came back from it.
    #[test]
    fn handles_are_unique_and_run_out() {
        let mut registry = Registry::new(64, SessionCaps::default());
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
        let mut registry = Registry::new(1, SessionCaps::default());
        while let Some(tsih) = registry.new_tsih(ReactorId(0)) {
            assert!(tsih != 0 && registry.handles.insert(tsih));
        }
        assert_eq!(registry.handles.len(), 65_534);
    }

    const NODE: u8 = 2;

    const fn applicant(conn: u32) -> Applicant {
        let reactor = ReactorId(1);
        let source = Source::of(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Applicant { reactor, conn: ConnId(key(conn)), place: ReactorId(1), source, joins: None }
    }

    /// What the logins were told: the connection, and the handle of the new session.
    fn registered(queues: &mut Queues) -> Vec<(u32, Result<u16, LoginStatus>)> {
        let told = |(to, note)| {
            let Note::Registered { conn, outcome, .. } = note else { panic!("{note:?}") };
            assert_eq!(to, 1, "the login runs on that core");
            (conn.0.index, outcome)
        };
        queues.notes().into_iter().map(told).collect()
    }

    fn displaced(queues: &mut Queues) -> Vec<u16> {
        let told = |(to, note)| {
            let Note::Displace { tsih, .. } = note else { panic!("{note:?}") };
            assert_eq!(to, 1, "the session lives on that core");
            tsih
        };
        queues.notes().into_iter().map(told).collect()
    }

    #[test]
    fn a_second_login_of_a_nexus_waits_for_the_end_of_the_first() {
        let (mut registry, mut queues) =
            (Registry::new(NODE, SessionCaps::default()), Queues::new(0, NODE));
        registry.handle_register(applicant(1), nexus("a"), &mut queues.turn());
        assert_eq!(registered(&mut queues), [(1, Ok(2))]);
        registry.handle_register(applicant(2), nexus("a"), &mut queues.turn());
        assert_eq!(displaced(&mut queues), [2]);
        assert!(registry.has_successors());
        registry.handle_session_over(&nexus("a"), 4, &mut queues.turn());
        assert_eq!(registered(&mut queues), [], "the end of another session");
        registry.handle_session_over(&nexus("a"), 2, &mut queues.turn());
        assert_eq!(registered(&mut queues), [(2, Ok(4))]);
        assert!(!registry.has_successors());
    }

    #[test]
    fn a_third_login_of_a_nexus_is_refused_while_the_second_waits() {
        let (mut registry, mut queues) =
            (Registry::new(NODE, SessionCaps::default()), Queues::new(0, NODE));
        registry.handle_register(applicant(1), nexus("a"), &mut queues.turn());
        registry.handle_register(applicant(2), nexus("a"), &mut queues.turn());
        queues.notes();
        registry.handle_register(applicant(3), nexus("a"), &mut queues.turn());
        assert_eq!(registered(&mut queues), [(3, Err(LoginStatus::ServiceUnavailable))]);
        registry.handle_register(applicant(4), nexus("b"), &mut queues.turn());
        assert_eq!(registered(&mut queues), [(4, Ok(4))], "another nexus is free");
    }

    #[test]
    fn a_login_that_waits_too_long_is_refused_and_may_come_again() {
        let (mut registry, mut queues) =
            (Registry::new(NODE, SessionCaps::default()), Queues::new(0, NODE));
        registry.handle_register(applicant(1), nexus("a"), &mut queues.turn());
        registry.handle_register(applicant(2), nexus("a"), &mut queues.turn());
        queues.notes();
        queues.now = queues.now.after(Duration::from_millis(9_999));
        registry.refuse_overdue(&mut queues.turn());
        assert_eq!(registered(&mut queues), []);
        queues.now = queues.now.after(Duration::from_millis(1));
        registry.refuse_overdue(&mut queues.turn());
        assert_eq!(registered(&mut queues), [(2, Err(LoginStatus::ServiceUnavailable))]);
        registry.handle_register(applicant(3), nexus("a"), &mut queues.turn());
        assert_eq!(displaced(&mut queues), [2]);
    }

    #[test]
    fn no_connection_joins_a_session() {
        let (mut registry, mut queues) =
            (Registry::new(NODE, SessionCaps::default()), Queues::new(0, NODE));
        registry.handle_register(applicant(1), nexus("a"), &mut queues.turn());
        queues.notes();
        for (tsih, status) in
            [(2, LoginStatus::TooManyConnections), (3, LoginStatus::SessionDoesNotExist)]
        {
            let joins = Applicant { joins: Some(tsih), ..applicant(2) };
            registry.handle_register(joins, nexus("a"), &mut queues.turn());
            assert_eq!(registered(&mut queues), [(2, Err(status))]);
        }
    }

    /// Sessions had no cap at all.
    #[test]
    fn an_initiator_that_has_its_share_of_sessions_is_refused_until_one_ends() {
        let caps = SessionCaps { per_address: 9, per_initiator: 1 };
        let (mut registry, mut queues) = (Registry::new(NODE, caps), Queues::new(0, NODE));
        let second = nexus_of("a", [0x80, 0, 0, 0, 0, 2]);
        registry.handle_register(applicant(1), nexus("a"), &mut queues.turn());
        assert_eq!(registered(&mut queues), [(1, Ok(2))]);
        registry.handle_register(applicant(2), second.clone(), &mut queues.turn());
        assert_eq!(registered(&mut queues), [(2, Err(LoginStatus::OutOfResources))]);
        registry.handle_register(applicant(3), nexus("a"), &mut queues.turn());
        assert_eq!(displaced(&mut queues), [2], "the same nexus takes its own place");
        registry.handle_session_over(&nexus("a"), 2, &mut queues.turn());
        assert_eq!(registered(&mut queues), [(3, Ok(4))]);
        registry.handle_session_over(&nexus("a"), 4, &mut queues.turn());
        registry.handle_register(applicant(4), second, &mut queues.turn());
        assert_eq!(registered(&mut queues), [(4, Ok(6))]);
    }

    #[test]
    fn a_session_that_was_displaced_before_it_arrived_ends_once() {
        let mut registry = Registry::new(NODE, SessionCaps::default());
        registry.doom(nexus("a"), 2);
        assert!(!registry.take_doomed(&nexus("a"), 4));
        assert!(!registry.take_doomed(&nexus("b"), 2));
        assert!(registry.take_doomed(&nexus("a"), 2));
        assert!(!registry.take_doomed(&nexus("a"), 2));
    }

    #[test]
    fn sessions_go_where_the_fewest_are_or_are_on_their_way_to() {
        let mut registry = Registry::new(3, SessionCaps::default());
        let own = ReactorId(1);
        assert_eq!(registry.place_session(own), ReactorId(1), "it wins a draw");
        assert_eq!(registry.place_session(own), ReactorId(0));
        assert_eq!(registry.place_session(own), ReactorId(2));
        registry.handle_load(ReactorId(0), 5);
        registry.handle_load(ReactorId(2), 0);
        assert_eq!(registry.place_session(own), ReactorId(2));
    }
}
