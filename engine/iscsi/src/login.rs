//! The login phase of one connection (RFC 7143 6.3, 11.12, 11.13).
//!
//! A login takes requests and returns responses. It has no clock, no socket and no
//! random numbers of its own: its caller bounds its time, and lends it entropy. What it agrees
//! on becomes a [`SessionRequest`]; only the caller can say whether there is such a session,
//! and [`Login::finish`] then makes the last response.
//!
//! ```text
//!                +-> Security ----+
//!   Leading -----|       |        |--> (SessionRequest) --> finish | refuse
//!                +-------+-> Operational
//! ```

mod exchange;
mod fault;
mod identity;
mod security;
mod stages;

pub use fault::LoginFault;

use std::net::SocketAddr;

use units::Serial32;
use units::limits::LOGIN_DATA_SEGMENT_LENGTH_MAX;

use crate::assembly::Outbound;
use crate::bhs::Bhs;
use crate::directory::Directory;
use crate::names::canonical_name;
use crate::negotiation::{Answers, Parameters, Policy};
use crate::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::text::{Pair, Pairs};
use exchange::{Exchange, with_length};
use stages::{Environment, Negotiating};

/// The login of one connection.
#[derive(Debug)]
pub struct Login {
    policy: Policy,
    peer: SocketAddr,
    exchange: Exchange,
    progress: Progress,
    claimed: Claimed,
}

/// The names that the initiator gave, proved or not.
#[derive(Debug, Default)]
struct Claimed {
    initiator: Option<String>,
    target: Option<String>,
}

#[derive(Debug)]
enum Progress {
    Negotiating(Negotiating),
    /// All is agreed; this is the last response but for the TSIH, and its text.
    Agreed(Box<(LoginResponse, Vec<u8>)>),
    Over,
}

/// What is to be done after a login request.
#[derive(Debug)]
pub enum LoginStep {
    /// Both sides agree. Register the session, then call [`Login::finish`] or
    /// [`Login::refuse`]; do not read on before.
    Establish(Box<SessionRequest>),
    /// Send this, then close the connection.
    Refuse {
        /// The response.
        header: LoginResponse,
        /// Its data segment.
        text: Vec<u8>,
        /// Why.
        fault: LoginFault,
    },
    /// Send this, then wait for the next request.
    Respond {
        /// The response.
        header: LoginResponse,
        /// Its data segment.
        text: Vec<u8>,
    },
}

/// A session as both sides want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The initiator's name in its canonical form.
    pub initiator_name: String,
    /// What people call it.
    pub initiator_alias: Option<String>,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// The session that the connection wants to join; 0 for a new one, which takes the place
    /// of an older one of the same nexus (RFC 7143 6.3.5).
    pub tsih: u16,
    /// The connection's name in its session.
    pub cid: u16,
    /// What the session is for.
    pub session_type: SessionType,
    /// What was negotiated.
    pub parameters: Parameters,
    /// The CmdSN of the first command.
    pub exp_cmd_sn: Serial32,
    /// The StatSN of the first response after the login.
    pub stat_sn: Serial32,
}

/// What a session is for (RFC 7143 13.21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionType {
    /// To find targets.
    Discovery,
    /// To use a target.
    Normal {
        /// The target's name in its canonical form.
        target_name: String,
        /// The portal group in which it is reached.
        portal_group_tag: u16,
    },
}

impl Login {
    /// A login that begins. `stat_sn` is the number of its first response; any will do (RFC
    /// 7143 11.13.4).
    pub fn new(policy: Policy, peer: SocketAddr, stat_sn: Serial32) -> Self {
        let progress = Progress::Negotiating(Negotiating::Leading);
        let exchange = Exchange::new(stat_sn);
        Self { policy, peer, exchange, progress, claimed: Claimed::default() }
    }

    /// Handles a login request with its whole data segment.
    pub fn handle_request(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        directory: &dyn Directory,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> LoginStep {
        let peer = self.peer.ip().to_canonical();
        let environment = Environment { policy: self.policy, peer, directory, entropy };
        self.advance(request, text, environment)
            .unwrap_or_else(|fault| self.exchange.refuse(request, fault))
    }

    /// The initiator's name as it claims it, if that is a valid one: for the log. Whether it is
    /// true is not known before the login has ended.
    pub fn claimed_initiator(&self) -> Option<&str> {
        self.claimed.initiator.as_deref()
    }

    /// The target that the initiator asks for, if that is a valid name: for the log.
    pub fn claimed_target(&self) -> Option<&str> {
        self.claimed.target.as_deref()
    }

    /// Makes the last response, after which the connection is in full feature phase. Digests
    /// begin with the first PDU after it.
    ///
    /// # Panics
    /// When the login did not ask for a session, or the TSIH is 0, which names none (RFC 7143
    /// 11.13.3).
    pub fn finish(&mut self, tsih: u16, max_cmd_sn: Serial32) -> (LoginResponse, Vec<u8>) {
        assert_ne!(tsih, 0, "a session has a TSIH");
        match std::mem::replace(&mut self.progress, Progress::Over) {
            Progress::Agreed(last) => {
                let (header, text) = *last;
                (LoginResponse { tsih, max_cmd_sn, ..header }, text)
            }
            Progress::Negotiating(_) | Progress::Over => panic!("no session was asked for"),
        }
    }

    /// Makes a response that refuses whatever `bhs` begins: a login whose session cannot be
    /// registered, or another PDU in the login phase
    /// ([`LoginStatus::InvalidDuringLogin`]). Close the connection behind it.
    pub fn refuse(&mut self, bhs: &Bhs, status: LoginStatus) -> LoginResponse {
        if let Progress::Agreed(_) = self.progress {
            // The last response was counted, but this one goes in its place.
            self.exchange.take_back_response();
        }
        self.progress = Progress::Over;
        self.exchange.refuse_pdu(bhs, status)
    }

    fn advance(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        mut environment: Environment<'_>,
    ) -> Result<LoginStep, LoginFault> {
        let negotiating = match std::mem::replace(&mut self.progress, Progress::Over) {
            Progress::Negotiating(negotiating) => negotiating,
            ended @ (Progress::Agreed(_) | Progress::Over) => {
                // The session may be registered at this moment: `finish` must still work.
                self.progress = ended;
                return Err(LoginFault::LoginOver);
            }
        };
        self.exchange.accept(request)?;
        negotiating.check_stage(request.current_stage)?;
        self.exchange.inbound.add(text)?;
        if request.continues {
            // RFC 7143 6.2: nothing is answered before the text is whole.
            self.progress = Progress::Negotiating(negotiating);
            return Ok(self.exchange.respond(request, None, Vec::new()));
        }
        let negotiating = if self.exchange.outbound.is_empty() {
            self.negotiate(negotiating, request, &mut environment)?
        } else if self.exchange.inbound.is_empty() {
            negotiating
        } else {
            return Err(LoginFault::TextBeforeAnswerEnded);
        };
        let part = self.exchange.outbound.take_part(LOGIN_DATA_SEGMENT_LENGTH_MAX as usize);
        let transit =
            request.transit && self.exchange.outbound.is_empty() && negotiating.may_leave();
        if !transit {
            self.progress = Progress::Negotiating(negotiating);
            return Ok(self.exchange.respond(request, None, part));
        }
        Ok(self.transit(request, negotiating, part))
    }

    /// Handles a whole text, whose answer is then ready to be sent.
    fn negotiate(
        &mut self,
        negotiating: Negotiating,
        request: &LoginRequest,
        environment: &mut Environment<'_>,
    ) -> Result<Negotiating, LoginFault> {
        let text = self.exchange.inbound.take();
        let pairs = Pairs::new(&text).collect::<Result<Vec<_>, _>>()?;
        self.claimed.note(&pairs);
        let mut answers = Answers::default();
        let next = negotiating.handle(request, &pairs, environment, &mut answers)?;
        self.exchange.outbound = Outbound::new(answers.into_text()?);
        Ok(next)
    }

    /// Enters the stage requested by the initiator; the exchange has checked that it is permitted.
    fn transit(
        &mut self,
        request: &LoginRequest,
        negotiating: Negotiating,
        part: Vec<u8>,
    ) -> LoginStep {
        let next = request.next_stage;
        if next != Stage::FullFeaturePhase {
            self.progress = Progress::Negotiating(negotiating.into_operational());
            return self.exchange.respond(request, Some(next), part);
        }
        let header = self.exchange.response(request, Some(next));
        self.progress = Progress::Agreed(Box::new(with_length(header, part)));
        let agreement = negotiating.into_agreement();
        LoginStep::Establish(Box::new(self.exchange.session_request(request, agreement)))
    }
}

impl Claimed {
    /// Takes the first valid name of each kind.
    fn note(&mut self, pairs: &[Pair<'_>]) {
        for pair in pairs {
            let place = match pair.key {
                "InitiatorName" => &mut self.initiator,
                "TargetName" => &mut self.target,
                _ => continue,
            };
            if place.is_none() {
                *place = canonical_name(pair.value).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests;
