//! Requests and responses as PDUs: headers, numbers, and text in parts.

use units::Serial32;
use units::limits::LOGIN_ROUNDS_MAX;

use super::stages::Agreement;
use super::{LoginFault, LoginStep, SessionRequest};
use crate::assembly::{Inbound, Outbound};
use crate::bhs::Bhs;
use crate::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};

/// What the requests of a login have in common, and its responses.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    stat_sn: Serial32,
    rounds: u32,
    /// The first request.
    leading: Option<Leading>,
}

#[derive(Clone, Copy, Debug)]
struct Leading {
    isid: [u8; 6],
    tsih: u16,
    cid: u16,
    cmd_sn: Serial32,
}

impl Exchange {
    pub(super) fn new(stat_sn: Serial32) -> Self {
        Self {
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            stat_sn,
            rounds: 0,
            leading: None,
        }
    }

    /// Checks the fields of a header.
    pub(super) fn accept(&mut self, request: &LoginRequest) -> Result<(), LoginFault> {
        self.rounds += 1;
        if self.rounds > LOGIN_ROUNDS_MAX {
            return Err(LoginFault::TooManyRounds);
        }
        // RFC 7143 11.12.4: the version of the standard is 0.
        if request.version_min > 0 {
            return Err(LoginFault::VersionUnsupported { version_min: request.version_min });
        }
        let &LoginRequest { isid, tsih, cid, cmd_sn, .. } = request;
        let leading = *self.leading.get_or_insert(Leading { isid, tsih, cid, cmd_sn });
        if (leading.isid, leading.tsih, leading.cid) != (isid, tsih, cid) {
            return Err(LoginFault::HeaderChanged);
        }
        if request.continues && request.transit {
            return Err(LoginFault::ContinueWithTransit);
        }
        match (request.current_stage, request.next_stage) {
            _ if !request.transit => Ok(()),
            // RFC 7143 11.12.3: forward only, and full feature phase is the end.
            (
                Stage::SecurityNegotiation,
                Stage::LoginOperationalNegotiation | Stage::FullFeaturePhase,
            )
            | (Stage::LoginOperationalNegotiation, Stage::FullFeaturePhase) => Ok(()),
            (from, to) => Err(LoginFault::TransitionInvalid { from, to }),
        }
    }

    /// A response to an accepted request; `next` is the new stage if it changes.
    pub(super) fn response(
        &mut self,
        request: &LoginRequest,
        next: Option<Stage>,
    ) -> LoginResponse {
        LoginResponse {
            transit: next.is_some(),
            continues: false,
            current_stage: request.current_stage,
            // RFC 7143 11.12.3: NSG is reserved, and so 0, where T is.
            next_stage: next.unwrap_or(Stage::SecurityNegotiation),
            version_max: VERSION,
            version_active: VERSION,
            data_segment_length: 0,
            isid: request.isid,
            tsih: request.tsih,
            initiator_task_tag: request.initiator_task_tag,
            stat_sn: self.stat_sn.take_next(),
            // Login requests are immediate, and so the number is still to be used.
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn,
            status: LoginStatus::Success,
        }
    }

    /// A response with text; C is set if more follows.
    pub(super) fn respond(
        &mut self,
        request: &LoginRequest,
        next: Option<Stage>,
        text: Vec<u8>,
    ) -> LoginStep {
        let header = self.response(request, next);
        let continues = !text.is_empty() && !self.outbound.is_empty();
        let (header, text) = with_length(LoginResponse { continues, ..header }, text);
        LoginStep::Respond { header, text }
    }

    /// A response that ends the login.
    pub(super) fn refuse(&mut self, request: &LoginRequest, fault: LoginFault) -> LoginStep {
        let header = LoginResponse { status: fault.status(), ..self.response(request, None) };
        let (header, text) = with_length(header, fault.text());
        LoginStep::Refuse { header, text, fault }
    }

    /// A response that ends the login because of a PDU that may be no login request.
    pub(super) fn refuse_pdu(&mut self, bhs: &Bhs, status: LoginStatus) -> LoginResponse {
        let leading = self.leading;
        LoginResponse {
            transit: false,
            continues: false,
            current_stage: Stage::SecurityNegotiation,
            next_stage: Stage::SecurityNegotiation,
            version_max: VERSION,
            version_active: VERSION,
            data_segment_length: 0,
            isid: leading.map_or([0; 6], |leading| leading.isid),
            tsih: leading.map_or(0, |leading| leading.tsih),
            initiator_task_tag: bhs.initiator_task_tag(),
            stat_sn: self.stat_sn.take_next(),
            exp_cmd_sn: leading.map_or(Serial32(0), |leading| leading.cmd_sn),
            max_cmd_sn: leading.map_or(Serial32(0), |leading| leading.cmd_sn),
            status,
        }
    }

    /// The last response is not sent after all; its number goes to the one that is.
    pub(super) fn take_back_response(&mut self) {
        self.stat_sn = self.stat_sn.previous();
    }

    /// The negotiated values, and those from the headers.
    pub(super) fn session_request(
        &self,
        request: &LoginRequest,
        agreement: Agreement,
    ) -> SessionRequest {
        SessionRequest {
            initiator_name: agreement.initiator_name,
            initiator_alias: agreement.initiator_alias,
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
            session_type: agreement.session_type,
            parameters: agreement.parameters,
            // RFC 7143 11.12.8: the leading request sets the first CmdSN of the session.
            exp_cmd_sn: self.leading.map_or(request.cmd_sn, |leading| leading.cmd_sn),
            stat_sn: self.stat_sn,
        }
    }
}

/// A header that counts its text.
pub(super) fn with_length(header: LoginResponse, text: Vec<u8>) -> (LoginResponse, Vec<u8>) {
    // A part of a text has at most 8192 bytes.
    let data_segment_length = u32::try_from(text.len()).expect("a text part is short");
    (LoginResponse { data_segment_length, ..header }, text)
}

/// The only version there is (RFC 7143 11.12.4).
const VERSION: u8 = 0;
