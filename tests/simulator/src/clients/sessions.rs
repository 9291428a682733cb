//! How sessions begin and end.

use super::command::Pending;
use super::hear::Pdu;
use super::offer::apply_answers;
use super::session::{Beginning, Phase, Session};
use super::{Change, Clients, Kind};
use crate::admin::TARGET_NAME;
use crate::ledger::{End, ResetState};
use crate::rng::word;
use crate::run::Stage;
use crate::scene::Scene;
use iscsi::pdu::{LoginResponse, LoginStatus, Stage as LoginStage};

impl Clients {
    /// Begins a new session; an older one of the same initiator is to be displaced by it.
    pub(super) fn log_in(&mut self, initiator: usize, scene: &mut Scene) {
        let run = &mut scene.run;
        let cmd_sn = 0xffff_fff0_u32.wrapping_add(word(run.rng.below(32)));
        let number = self.sessions.len();
        let node = run.rng.place(run.plan.nodes);
        let seat = run.rng.place(run.plan.reactors.into());
        let wire = scene.wires.connect(number, node, seat, run);
        scene.ledger.reservations_may_end();
        let beginning = Beginning { number, initiator, wire, cmd_sn, now: run.now };
        self.sessions.push(Session::new(&beginning));
        self.initiators[initiator].current = Some(number);
        run.trace(|| format!("initiator {initiator} begins session {number}"));
        let name = format!("InitiatorName=iqn.2025-01.example:initiator{initiator}");
        let mut keys = vec![name, format!("TargetName={TARGET_NAME}"), "SessionType=Normal".into()];
        let session = &mut self.sessions[number];
        if run.rng.chance(400) {
            keys.push("AuthMethod=None".into());
            session.send_login(LoginStage::SecurityNegotiation, &keys, scene);
        } else {
            keys.extend(session.operational_keys(scene));
            session.send_login(LoginStage::LoginOperationalNegotiation, &keys, scene);
        }
    }

    /// The answer to a login request.
    pub(super) fn login_answered(
        &mut self,
        session: usize,
        pdu: &Pdu,
        scene: &mut Scene,
    ) -> Result<(), String> {
        let response =
            LoginResponse::parse(&pdu.bhs).map_err(|f| format!("login response: {f}"))?;
        if response.status != LoginStatus::Success {
            return self.login_refused(session, response.status, scene);
        }
        let state = &mut self.sessions[session];
        if state.stat_sn.is_some_and(|sn| sn != response.stat_sn.0) {
            return Err(format!("session {session}: StatSN in {response:?}"));
        }
        state.stat_sn = Some(response.stat_sn.0.wrapping_add(1));
        state.login_text.extend_from_slice(&pdu.data);
        if !response.transit {
            return Err(format!("login does not go on: {response:?}"));
        }
        if response.next_stage == LoginStage::LoginOperationalNegotiation {
            let keys = state.operational_keys(scene);
            state.send_login(LoginStage::LoginOperationalNegotiation, &keys, scene);
            return Ok(());
        }
        self.logged_in(session, &response, scene)
    }

    fn login_refused(
        &mut self,
        session: usize,
        status: LoginStatus,
        scene: &mut Scene,
    ) -> Result<(), String> {
        let run = &mut scene.run;
        let allowed = status == LoginStatus::ServiceUnavailable || run.stage == Stage::Farewell;
        let initiator = self.sessions[session].initiator;
        let allowed = allowed || self.initiators[initiator].hostility.is_some();
        let again = run.now + run.rng.between(1_000_000, RETRY_NS_MAX);
        self.initiators[initiator].not_before = again;
        self.session_over(session, scene);
        if allowed {
            Ok(())
        } else {
            Err(format!("session {session}: login is refused: {status:?}"))
        }
    }

    fn logged_in(
        &mut self,
        session: usize,
        response: &LoginResponse,
        scene: &mut Scene,
    ) -> Result<(), String> {
        let state = &mut self.sessions[session];
        let text = String::from_utf8_lossy(&state.login_text).into_owned();
        apply_answers(&mut state.terms, &text)?;
        let terms = state.terms;
        state.phase = Phase::Full;
        state.exp_cmd_sn = response.exp_cmd_sn.0;
        state.max_cmd_sn = response.max_cmd_sn.0;
        state.deframer.set_digests(terms.header_digest, terms.data_digest);
        state.deframer.set_max_data_segment_length(terms.segment_max);
        scene.run.trace(|| format!("session {session} is open: {terms:?}"));
        if state.exp_cmd_sn != state.cmd_sn || response.tsih == 0 {
            return Err(format!("session {session} begins with {response:?}"));
        }
        // A LUN that comes and goes takes its attentions with it.
        if scene.run.plan.faults.catalog == 0 {
            state.attentions.begin(scene.run.plan.volumes.len());
        }
        scene.run.report.logins += 1;
        self.fence_older_sessions(session, scene);
        Ok(())
    }

    /// A new session of an initiator is open: nothing of the older ones happens any more.
    fn fence_older_sessions(&mut self, session: usize, scene: &mut Scene) {
        let initiator = self.sessions[session].initiator;
        let now = scene.run.tick();
        for op in self.ops_before(session, scene) {
            scene.ledger.close(op, End::Unknown, now);
        }
        for old in 0..session {
            if self.sessions[old].initiator == initiator {
                self.session_over(old, scene);
            }
        }
        for change in std::mem::take(&mut self.initiators[initiator].unresolved) {
            match change {
                Change::Holder(volume) => scene.ledger.units[volume].holder.end(None),
                Change::WriteCache(volume) => scene.ledger.units[volume].write_cache.end(None),
                Change::Reset(volume) => {
                    let state = ResetState::Doubtful;
                    scene.ledger.end_reset(volume, state);
                }
            }
        }
    }

    /// The commands of the sessions that a new one of the same initiator displaces.
    pub(crate) fn ops_before(&self, session: usize, scene: &Scene) -> Vec<u64> {
        let initiator = self.sessions[session].initiator;
        scene.ledger.ops_of(|s| s < session && self.sessions[s].initiator == initiator)
    }

    /// The initiator's side of a session ends by itself: what it had under way is in doubt.
    pub(super) fn break_off(&mut self, session: usize, scene: &mut Scene) {
        scene.run.trace(|| format!("session {session} is broken off"));
        scene.wires.cut(self.sessions[session].wire, &mut scene.run);
        self.session_over(session, scene);
    }

    /// A session is over for its initiator; its writes may still be under way.
    pub(super) fn session_over(&mut self, session: usize, scene: &mut Scene) {
        let state = &mut self.sessions[session];
        if state.phase == Phase::Over {
            return;
        }
        let initiator = &mut self.initiators[state.initiator];
        if state.phase == Phase::Login {
            scene.wires.forget_up(state.wire);
            initiator.haunted_until = scene.run.now + LATE_LOGIN_NS;
        }
        state.phase = Phase::Over;
        for pending in std::mem::take(&mut state.pending).values() {
            let changes = changes_of(pending, scene.ledger.units.len());
            initiator.unresolved.extend(changes);
        }
        scene.ledger.reservations_may_end();
        scene.wires.cut(state.wire, &mut scene.run);
        if initiator.current == Some(session) {
            initiator.current = None;
        }
    }

    /// A node has lost its power: its sessions are over, and nothing of them is in doubt.
    pub(crate) fn lose_sessions(&mut self, lost: &[usize]) {
        for &session in lost {
            let state = &mut self.sessions[session];
            state.phase = Phase::Over;
            state.pending.clear();
            let initiator = &mut self.initiators[state.initiator];
            initiator.unresolved.clear();
            if initiator.current == Some(session) {
                initiator.current = None;
            }
        }
    }
}

/// What a request without an answer may still change.
fn changes_of(pending: &Pending, volumes: usize) -> Vec<Change> {
    match pending {
        Pending::Command(command) => match command.kind {
            Kind::Reserve | Kind::Release => vec![Change::Holder(command.volume)],
            Kind::Mode { .. } => vec![Change::WriteCache(command.volume)],
            Kind::CompareAndWrite
            | Kind::Flush
            | Kind::Inquiry
            | Kind::OrWrite
            | Kind::Read
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { .. }
            | Kind::Write
            | Kind::WriteAndVerify
            | Kind::WriteSame => Vec::new(),
        },
        Pending::Management(management) => {
            let resets = (0..volumes).filter(|&volume| management.resets(volume));
            resets.map(Change::Reset).collect()
        }
        Pending::Logout | Pending::Nop(_) | Pending::Text => Vec::new(),
    }
}

/// How long the shards may be busy with a login that was given up.
const LATE_LOGIN_NS: u64 = 20_000_000;

/// How long an initiator waits at most until it tries to log in again.
const RETRY_NS_MAX: u64 = 2_000_000_000;
