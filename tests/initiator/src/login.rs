//! The login phase: what is offered, and the dialogue until full feature (RFC 7143 section 6).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::connection::Connection;
use crate::error::Error;
use crate::keys::{decode_keys, encode_keys};
use crate::negotiated::Negotiated;
use crate::pdu::{self, Pdu, opcode};

/// The default initiator name of logins.
pub const INITIATOR_NAME: &str = "iqn.2026-11.local.pollux:wire-test";

/// Requests that a login may take before the dialogue counts as endless.
const ROUNDS_MAX: usize = 16;

/// A stage of the login phase (RFC 7143 11.12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// SecurityNegotiation, 0.
    Security,
    /// LoginOperationalNegotiation, 1.
    Operational,
    /// FullFeaturePhase, 3.
    FullFeature,
}

impl Stage {
    /// The two bits in the header.
    pub fn bits(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::FullFeature => 3,
        }
    }
}

/// What a login offers.
#[derive(Clone, Debug)]
pub struct Login {
    initiator_name: String,
    target_name: Option<String>,
    isid: [u8; 6],
    tsih: u16,
    connection_id: u16,
    first_cmd_sn: u32,
    keys: Vec<(String, String)>,
    security_stage: bool,
}

/// A Login Response in parts (RFC 7143 11.13).
#[derive(Clone, Debug)]
pub struct LoginReply {
    /// Status-Class in the upper and Status-Detail in the lower byte.
    pub status: u16,
    /// T: the target agrees to leave the stage.
    pub transit: bool,
    /// C: the key text continues in the next response.
    pub continues: bool,
    /// Current stage.
    pub current_stage: u8,
    /// Next stage, meaningful with `transit`.
    pub next_stage: u8,
    /// Target Session Identifying Handle.
    pub tsih: u16,
    /// Key text of this response.
    pub text: Vec<u8>,
    /// The header as it came.
    pub bhs: [u8; 48],
}

/// The sequence numbers and negotiated values after a successful login.
#[derive(Clone, Debug)]
pub(crate) struct LoggedIn {
    pub(crate) negotiated: Negotiated,
    pub(crate) answers: Vec<(String, String)>,
    pub(crate) tsih: u16,
    pub(crate) exp_stat_sn: u32,
    pub(crate) exp_cmd_sn: u32,
    pub(crate) max_cmd_sn: u32,
}

impl Login {
    /// A normal session with a target, with an ISID of its own so that it reinstates no other.
    pub fn normal(target_name: &str) -> Self {
        let mut login = Self::discovery();
        login.target_name = Some(target_name.to_owned());
        let offers = [
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxBurstLength", "262144"),
            ("FirstBurstLength", "65536"),
            ("MaxOutstandingR2T", "8"),
            ("MaxConnections", "1"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
        ];
        offers.iter().fold(login, |login, (key, value)| login.key(key, value))
    }

    /// A discovery session.
    pub fn discovery() -> Self {
        static SESSIONS: AtomicU32 = AtomicU32::new(1);
        let [high, middle, low, qualifier] = SESSIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let login = Self {
            initiator_name: INITIATOR_NAME.to_owned(),
            target_name: None,
            // Type 10b is the random format (RFC 7143 11.12.5).
            isid: [0x80, high, middle, low, 0, qualifier],
            tsih: 0,
            connection_id: 1,
            first_cmd_sn: 1,
            keys: Vec::new(),
            security_stage: false,
        };
        let offers = [
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("MaxRecvDataSegmentLength", "262144"),
            ("DefaultTime2Wait", "2"),
            ("DefaultTime2Retain", "0"),
            ("ErrorRecoveryLevel", "0"),
        ];
        offers.iter().fold(login, |login, (key, value)| login.key(key, value))
    }

    /// Logs in under another name.
    pub fn as_initiator(mut self, name: &str) -> Self {
        name.clone_into(&mut self.initiator_name);
        self
    }

    /// Uses this ISID; two sessions with the same name and ISID are one I_T nexus.
    pub fn with_isid(mut self, isid: [u8; 6]) -> Self {
        self.isid = isid;
        self
    }

    /// Uses this Target Session Identifying Handle instead of 0.
    pub fn with_tsih(mut self, tsih: u16) -> Self {
        self.tsih = tsih;
        self
    }

    /// Uses this CmdSN for the login and the first command after it.
    pub fn with_first_cmd_sn(mut self, first_cmd_sn: u32) -> Self {
        self.first_cmd_sn = first_cmd_sn;
        self
    }

    /// Goes through the security stage with AuthMethod=None first.
    pub fn through_security(mut self) -> Self {
        self.security_stage = true;
        self
    }

    /// Offers a key, in place of an earlier offer of the same key.
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Does not offer a key.
    pub fn without_key(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    /// Offers CRC32C alone for the header digest, the data digest, or both.
    pub fn with_digests(self, header: bool, data: bool) -> Self {
        let word = |wanted| if wanted { "CRC32C" } else { "None" };
        self.key("HeaderDigest", word(header)).key("DataDigest", word(data))
    }

    /// The CmdSN with which the session starts.
    pub(crate) fn first_cmd_sn(&self) -> u32 {
        self.first_cmd_sn
    }

    /// The connection identifier.
    pub(crate) fn connection_id(&self) -> u16 {
        self.connection_id
    }

    /// The pairs that open the login: names and session type.
    pub fn identity(&self) -> Vec<(String, String)> {
        let mut pairs = vec![("InitiatorName".to_owned(), self.initiator_name.clone())];
        if let Some(target_name) = &self.target_name {
            pairs.push(("SessionType".to_owned(), "Normal".to_owned()));
            pairs.push(("TargetName".to_owned(), target_name.clone()));
        } else {
            pairs.push(("SessionType".to_owned(), "Discovery".to_owned()));
        }
        pairs
    }

    /// The operational keys as offered.
    pub fn offers(&self) -> &[(String, String)] {
        &self.keys
    }

    /// A Login Request that asks to go from one stage to another, or to stay (`next` none).
    pub fn request(&self, current: Stage, next: Option<Stage>, text: &[u8]) -> Pdu {
        let transit = next.map_or(0, |stage| pdu::FINAL | stage.bits());
        let mut request = Pdu::new(opcode::LOGIN_REQUEST | pdu::IMMEDIATE)
            .with_byte(1, transit | current.bits() << 2)
            .with_u16(14, self.tsih)
            .with_u16(20, self.connection_id)
            .with_u32(24, self.first_cmd_sn)
            .with_data(text);
        request.bhs[8..14].copy_from_slice(&self.isid);
        request
    }

    /// Sends one request and takes one response, whatever its status is.
    pub fn round(&self, connection: &mut Connection, request: &Pdu) -> Result<LoginReply, Error> {
        connection.send(request)?;
        let response = connection.receive()?;
        LoginReply::from_pdu(&response)
    }

    /// The whole dialogue up to full feature; digests are switched on at its end.
    pub(crate) fn perform(&self, connection: &mut Connection) -> Result<LoggedIn, Error> {
        let mut stage = if self.security_stage { Stage::Security } else { Stage::Operational };
        let mut pairs = self.identity();
        if stage == Stage::Security {
            pairs.push(("AuthMethod".to_owned(), "None".to_owned()));
        } else {
            pairs.extend_from_slice(&self.keys);
        }
        let mut negotiated = Negotiated::default();
        for (key, value) in &self.keys {
            negotiated.declare(key, value);
        }
        let mut answers = Vec::new();
        let mut text_so_far = Vec::new();
        let mut exp_stat_sn = 0;
        for _ in 0..ROUNDS_MAX {
            let next =
                if stage == Stage::Security { Stage::Operational } else { Stage::FullFeature };
            let request =
                self.request(stage, Some(next), &encode_keys(&pairs)).with_u32(28, exp_stat_sn);
            let reply = self.round(connection, &request)?;
            if reply.status != 0 {
                return Err(Error::LoginRefused { status: reply.status });
            }
            exp_stat_sn = reply.u32_at(24).wrapping_add(1);
            pairs.clear();
            text_so_far.extend_from_slice(&reply.text);
            if reply.continues {
                continue;
            }
            let received = decode_keys(&std::mem::take(&mut text_so_far));
            for (key, value) in &received {
                negotiated.take_answer(key, value);
            }
            answers.extend(received);
            if reply.transit && stage == Stage::Security {
                stage = Stage::Operational;
                pairs.extend_from_slice(&self.keys);
            } else if reply.transit {
                connection.set_digests(negotiated.digests);
                return Ok(LoggedIn {
                    negotiated,
                    answers,
                    tsih: reply.tsih,
                    exp_stat_sn,
                    exp_cmd_sn: reply.u32_at(28),
                    max_cmd_sn: reply.u32_at(32),
                });
            }
        }
        Err(Error::TimedOut { waiting_for: "the end of the login dialogue" })
    }
}

impl LoginReply {
    /// Reads a Login Response; any other PDU is an error.
    pub fn from_pdu(response: &Pdu) -> Result<Self, Error> {
        if response.opcode() != opcode::LOGIN_RESPONSE {
            let waiting_for = "a Login Response";
            return Err(Error::Unexpected { waiting_for, header: response.bhs });
        }
        Ok(Self {
            status: response.u16_at(36),
            transit: response.flags() & pdu::FINAL != 0,
            continues: response.flags() & pdu::CONTINUE != 0,
            current_stage: response.flags() >> 2 & 0x03,
            next_stage: response.flags() & 0x03,
            tsih: response.u16_at(14),
            text: response.data.clone(),
            bhs: response.bhs,
        })
    }

    /// The key text as pairs.
    pub fn pairs(&self) -> Vec<(String, String)> {
        decode_keys(&self.text)
    }

    /// Four bytes of the header in network order.
    pub fn u32_at(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bhs[offset..offset + 4]);
        u32::from_be_bytes(bytes)
    }
}
