//! How an initiator logs in, and what it makes of the answers.

use crate::admin::TARGET_NAME;
use crate::rng::{Rng, size, word};
use crate::session::{Phase, Session, Terms};
use crate::world::{Stage, World};
use iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage as LoginStage};
use iscsi::{Bhs, InitiatorTaskTag};
use units::Serial32;

impl World {
    /// Begins a new session; an older one of the same initiator is to be displaced by it.
    pub(crate) fn log_in(&mut self, initiator: usize) {
        let cmd_sn = 0xffff_fff0_u32.wrapping_add(word(self.rng.below(32)));
        let session = self.sessions.len();
        let link = self.connect(session);
        self.reservations_may_end();
        self.sessions.push(Session::new(initiator, link, cmd_sn, self.now));
        self.initiators[initiator].current = Some(session);
        self.trace(|_| format!("initiator {initiator} begins session {session}"));
        let name = format!("InitiatorName=iqn.2025-01.example:initiator{initiator}");
        let names = [name, format!("TargetName={TARGET_NAME}"), "SessionType=Normal".into()];
        if self.rng.chance(400) {
            let mut keys = names.to_vec();
            keys.push("AuthMethod=None".into());
            let to = LoginStage::LoginOperationalNegotiation;
            self.send_login(session, LoginStage::SecurityNegotiation, to, &keys);
            return;
        }
        let mut keys = names.to_vec();
        keys.extend(self.operational_keys(session));
        let stage = LoginStage::LoginOperationalNegotiation;
        self.send_login(session, stage, LoginStage::FullFeaturePhase, &keys);
    }

    fn operational_keys(&mut self, session: usize) -> Vec<String> {
        let big = self.plan.weights.big > 0;
        let (offer, keys) = draw_offer(&mut self.rng, big);
        self.sessions[session].terms = offer;
        keys
    }

    fn send_login(&mut self, session: usize, from: LoginStage, to: LoginStage, keys: &[String]) {
        let mut text = Vec::new();
        for key in keys {
            text.extend_from_slice(key.as_bytes());
            text.push(0);
        }
        let state = &self.sessions[session];
        let number = u8::try_from(state.initiator).unwrap_or(0);
        let mut header = [0; 48];
        LoginRequest {
            transit: true,
            continues: false,
            current_stage: from,
            next_stage: to,
            version_max: 0,
            version_min: 0,
            data_segment_length: word(text.len()),
            isid: [0x80, 0, 0, 0, 0, number],
            tsih: 0,
            initiator_task_tag: InitiatorTaskTag(1),
            cid: 7,
            cmd_sn: Serial32(state.cmd_sn),
            exp_stat_sn: Serial32(state.stat_sn.unwrap_or(0)),
        }
        .emit(&mut header);
        self.send_pdu(session, &header, &text, false);
    }

    /// The answer to a login request.
    pub(crate) fn login_answered(&mut self, session: usize, bhs: &Bhs, text: &[u8]) {
        let response = match LoginResponse::parse(bhs) {
            Ok(response) => response,
            Err(fault) => return self.fail(|_| format!("login response: {fault}")),
        };
        if response.status != LoginStatus::Success {
            return self.login_refused(session, response.status);
        }
        let state = &mut self.sessions[session];
        if state.stat_sn.is_some_and(|sn| sn != response.stat_sn.0) {
            return self.fail(|_| format!("session {session}: StatSN in {response:?}"));
        }
        state.stat_sn = Some(response.stat_sn.0.wrapping_add(1));
        state.login_text.extend_from_slice(text);
        if !response.transit {
            return self.fail(|_| format!("login does not go on: {response:?}"));
        }
        if response.next_stage == LoginStage::LoginOperationalNegotiation {
            let keys = self.operational_keys(session);
            let stage = LoginStage::LoginOperationalNegotiation;
            return self.send_login(session, stage, LoginStage::FullFeaturePhase, &keys);
        }
        self.logged_in(session, &response);
    }

    fn login_refused(&mut self, session: usize, status: LoginStatus) {
        let ok = status == LoginStatus::ServiceUnavailable;
        let allowed = ok || self.stage == Stage::Farewell;
        if !allowed {
            self.fail(|_| format!("session {session}: login is refused: {status:?}"));
        }
        let initiator = self.sessions[session].initiator;
        self.initiators[initiator].not_before = self.now + self.rng.between(1_000_000, RETRY);
        self.session_over(session);
    }

    fn logged_in(&mut self, session: usize, response: &LoginResponse) {
        let state = &mut self.sessions[session];
        let text = String::from_utf8_lossy(&state.login_text).into_owned();
        let mut terms = state.terms;
        let outcome = apply_answers(&mut terms, &text);
        state.terms = terms;
        state.phase = Phase::Full;
        state.exp_cmd_sn = response.exp_cmd_sn.0;
        state.max_cmd_sn = response.max_cmd_sn.0;
        state.deframer.set_digests(terms.header_digest, terms.data_digest);
        state.deframer.set_max_data_segment_length(terms.segment_max);
        let right = state.exp_cmd_sn == state.cmd_sn && response.tsih != 0;
        self.trace(|_| format!("session {session} is open: {terms:?}"));
        self.check(outcome);
        if !right {
            self.fail(|_| format!("session {session} begins with {response:?}"));
        }
        self.report.logins += 1;
        let initiator = self.sessions[session].initiator;
        self.fence_older_sessions(initiator, session);
    }
}

/// What an initiator wants, and the keys that say so.
fn draw_offer(rng: &mut Rng, big: bool) -> (Terms, Vec<String>) {
    let burst_max = if big { 262_144 } else { rng.pick(&[512, 1536, 8192, 65_536, 262_144]) };
    let first_burst = rng.pick(&[512, 4096, 65_536, 262_144]).min(burst_max);
    let digests = rng.pick(&[0, 0, 1, 2, 3]);
    let segment_max = if big { 65_536 } else { rng.pick(&[512, 1000, 4096, 8192, 65_536]) };
    let offer = Terms {
        header_digest: digests & 1 != 0,
        data_digest: digests & 2 != 0,
        initial_r2t: rng.chance(400),
        immediate_data: rng.chance(700),
        segment_max,
        target_segment_max: 8192,
        burst_max,
        first_burst,
        r2ts_max: word(rng.between(1, 8)),
    };
    let yes = |value| if value { "Yes" } else { "No" };
    let digest = |value| if value { "CRC32C" } else { "None" };
    let keys = vec![
        format!("HeaderDigest={}", digest(offer.header_digest)),
        format!("DataDigest={}", digest(offer.data_digest)),
        format!("InitialR2T={}", yes(offer.initial_r2t)),
        format!("ImmediateData={}", yes(offer.immediate_data)),
        format!("MaxRecvDataSegmentLength={}", offer.segment_max),
        format!("MaxBurstLength={}", offer.burst_max),
        format!("FirstBurstLength={}", offer.first_burst),
        format!("MaxOutstandingR2T={}", offer.r2ts_max),
        "MaxConnections=1".into(),
        "ErrorRecoveryLevel=0".into(),
        "DataPDUInOrder=Yes".into(),
        "DataSequenceInOrder=Yes".into(),
    ];
    (offer, keys)
}

/// Takes over what the target has answered.
fn apply_answers(terms: &mut Terms, text: &str) -> Result<(), String> {
    for pair in text.split('\0').filter(|p| !p.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("login text {pair:?}"));
        };
        let number = || value.parse::<u32>().map_err(|_| format!("login text {pair:?}"));
        match key {
            "HeaderDigest" => terms.header_digest = value == "CRC32C",
            "DataDigest" => terms.data_digest = value == "CRC32C",
            "InitialR2T" => terms.initial_r2t = value == "Yes",
            "ImmediateData" => terms.immediate_data = value == "Yes",
            "MaxRecvDataSegmentLength" => terms.target_segment_max = number()?,
            "MaxBurstLength" => terms.burst_max = number()?,
            "FirstBurstLength" => terms.first_burst = number()?,
            "MaxOutstandingR2T" => terms.r2ts_max = number()?,
            "AuthMethod"
            | "TargetPortalGroupTag"
            | "TargetAlias"
            | "MaxConnections"
            | "ErrorRecoveryLevel"
            | "DataPDUInOrder"
            | "DataSequenceInOrder" => {}
            other => return Err(format!("the target says {other}={value}")),
        }
    }
    Ok(())
}

/// How long an initiator waits at most until it tries again, in nanoseconds.
const RETRY: u64 = 2_000_000_000;

/// Bytes that a command should move at most, so that it has a bounded number of PDUs.
pub(crate) fn transfer_max(terms: &Terms) -> u64 {
    u64::from(terms.segment_max.min(terms.burst_max)) * 64
}

/// The place of a session's bytes.
pub(crate) fn window(bytes: &[u8], from: u32, to: u32) -> &[u8] {
    let to = size(to).min(bytes.len());
    &bytes[size(from).min(to)..to]
}
