//! The stages of a login as types. A stage is consumed when the login leaves it, so that
//! nothing can go back to it.

use std::net::IpAddr;

use super::identity::Identity;
use super::security::{Proof, SecurityKeys};
use super::{LoginFault, SessionType};
use crate::directory::{Admission, Authentication, Directory};
use crate::keys::{self, Phase};
use crate::negotiation::{
    Answers, Fault, NOT_UNDERSTOOD, Negotiation, Parameters, Policy, SessionKind,
};
use crate::pdu::{LoginRequest, Stage};
use crate::text::Pair;

/// What a stage may ask of the world.
pub(super) struct Environment<'a> {
    pub(super) policy: Policy,
    pub(super) peer: IpAddr,
    pub(super) directory: &'a dyn Directory,
    pub(super) entropy: &'a mut dyn FnMut(&mut [u8]),
}

/// The stage that a login is in.
#[derive(Debug)]
pub(super) enum Negotiating {
    /// The first text has not come whole: the initiator is unknown.
    Leading,
    /// Who is who is known and is being proved.
    Security(Box<Security>),
    /// Parameters are negotiated.
    Operational(Box<Operational>),
}

impl Negotiating {
    /// Whether a request of this stage may come now.
    pub(super) fn check_stage(&self, found: Stage) -> Result<(), LoginFault> {
        let expected = match self {
            Self::Leading => {
                found == Stage::SecurityNegotiation || found == Stage::LoginOperationalNegotiation
            }
            Self::Security(_) => found == Stage::SecurityNegotiation,
            Self::Operational(_) => found == Stage::LoginOperationalNegotiation,
        };
        if expected { Ok(()) } else { Err(LoginFault::StageUnexpected { found }) }
    }

    /// Handles a whole text.
    pub(super) fn handle(
        self,
        request: &LoginRequest,
        pairs: &[Pair<'_>],
        environment: &mut Environment<'_>,
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        let stage = match self {
            Self::Leading => {
                let security = lead(pairs, environment, answers)?;
                if request.current_stage == Stage::SecurityNegotiation {
                    Self::Security(Box::new(security))
                } else if security.may_leave() {
                    Self::Operational(Box::new(security.into_operational()))
                } else {
                    return Err(LoginFault::AuthenticationRequired);
                }
            }
            Self::Security(_) | Self::Operational(_) => self,
        };
        match stage {
            Self::Leading => Ok(Self::Leading),
            Self::Security(security) => {
                let security = security.handle(request, pairs, environment, answers)?;
                Ok(Self::Security(Box::new(security)))
            }
            Self::Operational(operational) => {
                Ok(Self::Operational(Box::new(operational.handle(pairs, environment, answers)?)))
            }
        }
    }

    /// Whether nothing is left to do in this stage.
    pub(super) fn may_leave(&self) -> bool {
        match self {
            Self::Leading => false,
            Self::Security(security) => security.may_leave(),
            Self::Operational(_) => true,
        }
    }

    /// Leaves for the operational stage.
    ///
    /// # Panics
    /// When the initiator is not known and proved: `may_leave` says so.
    pub(super) fn into_operational(self) -> Self {
        assert!(self.may_leave(), "a stage is left when it is done");
        match self {
            Self::Security(security) => Self::Operational(Box::new(security.into_operational())),
            Self::Leading | Self::Operational(_) => self,
        }
    }

    /// Leaves for full feature phase.
    ///
    /// # Panics
    /// When the initiator is not known and proved: `may_leave` says so.
    pub(super) fn into_agreement(self) -> Agreement {
        assert!(self.may_leave(), "a stage is left when it is done");
        match self {
            Self::Leading => panic!("nobody has logged in"),
            Self::Security(security) => security.into_operational().into_agreement(),
            Self::Operational(operational) => operational.into_agreement(),
        }
    }
}

/// What a login ends with.
#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) initiator_name: String,
    pub(super) initiator_alias: Option<String>,
    pub(super) session_type: SessionType,
    pub(super) parameters: Parameters,
}

/// An identified initiator, whose requested target the directory has found.
#[derive(Debug)]
struct Known {
    initiator_name: String,
    identity: Identity,
    session_type: SessionType,
}

/// The security stage (RFC 7143 6.3.2).
#[derive(Debug)]
pub(super) struct Security {
    known: Known,
    authentication: Authentication,
    proof: Proof,
}

/// The operational stage (RFC 7143 6.3.3).
#[derive(Debug)]
pub(super) struct Operational {
    known: Known,
    /// Begins with the first text of the stage.
    negotiation: Option<Negotiation>,
}

/// Reads from the first whole text who wants what, and asks the directory about it.
fn lead(
    pairs: &[Pair<'_>],
    environment: &Environment<'_>,
    answers: &mut Answers,
) -> Result<Security, LoginFault> {
    let mut identity = Identity::default();
    for &pair in pairs {
        identity.handle(pair)?;
    }
    let initiator_name = identity.initiator_name.clone();
    let initiator_name = initiator_name.ok_or(LoginFault::InitiatorNameMissing)?;
    // RFC 7143 13.21: a session is normal unless the initiator declares another type.
    let kind = *identity.session_kind.get_or_insert(SessionKind::Normal);
    let (session_type, authentication) = match kind {
        SessionKind::Discovery => {
            (SessionType::Discovery, environment.directory.discovery_authentication())
        }
        SessionKind::Normal => {
            let target_name = identity.target_name.clone();
            let target_name = target_name.ok_or(LoginFault::TargetNameMissing)?;
            admit(target_name, &initiator_name, environment, answers)?
        }
    };
    let known = Known { initiator_name, identity, session_type };
    Ok(Security { known, authentication, proof: Proof::MethodAwaited })
}

/// Looks up a target in the directory, and declares the keys that must come first.
fn admit(
    target_name: String,
    initiator_name: &str,
    environment: &Environment<'_>,
    answers: &mut Answers,
) -> Result<(SessionType, Authentication), LoginFault> {
    match environment.directory.admit(&target_name, initiator_name, environment.peer) {
        Admission::Admitted { portal_group_tag, alias, authentication } => {
            // RFC 7143 13.9: in the first response that may have text.
            answers.add("TargetPortalGroupTag", portal_group_tag.to_string());
            if let Some(alias) = alias {
                answers.add("TargetAlias", alias);
            }
            Ok((SessionType::Normal { target_name, portal_group_tag }, authentication))
        }
        Admission::Forbidden => Err(LoginFault::InitiatorForbidden),
        Admission::NotFound => Err(LoginFault::TargetNotFound),
        Admission::Redirect { address, permanent } => {
            Err(LoginFault::Redirected { address, permanent })
        }
        Admission::Removed => Err(LoginFault::TargetRemoved),
        Admission::ServiceUnavailable => Err(LoginFault::ServiceUnavailable),
    }
}

impl Security {
    fn may_leave(&self) -> bool {
        self.authentication == Authentication::None || self.proof.is_given()
    }

    fn handle(
        mut self,
        request: &LoginRequest,
        pairs: &[Pair<'_>],
        environment: &mut Environment<'_>,
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        let mut keys = SecurityKeys::default();
        for &pair in pairs {
            match keys::find(pair.key) {
                None => answers.add(pair.key, NOT_UNDERSTOOD),
                Some(key) => match key.phase {
                    Phase::Identity | Phase::Naming => self.known.identity.handle(pair)?,
                    Phase::SecurityOnly => keys.handle(pair, key.name)?,
                    // RFC 7143 12: no other keys in this stage.
                    Phase::Any
                    | Phase::FullFeatureOnly
                    | Phase::InitializeOnly
                    | Phase::LeadingOnly => {
                        return Err(Fault::KeyNotAllowed { key: key.name }.into());
                    }
                },
            }
        }
        self.proof =
            self.proof.handle(&keys, &self.authentication, environment.entropy, answers)?;
        if request.transit && self.proof.is_not_begun() && !self.may_leave() {
            return Err(LoginFault::AuthenticationRequired);
        }
        Ok(self)
    }

    fn into_operational(self) -> Operational {
        assert!(self.may_leave(), "nobody gets past this stage without a proof");
        Operational { known: self.known, negotiation: None }
    }
}

impl Operational {
    fn handle(
        mut self,
        pairs: &[Pair<'_>],
        environment: &Environment<'_>,
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        let begins = self.negotiation.is_none();
        let mut negotiation =
            self.negotiation.take().unwrap_or_else(|| self.begin(environment.policy));
        for &pair in pairs {
            match keys::find(pair.key).map(|key| (key.name, key.phase)) {
                Some((_, Phase::Identity | Phase::Naming)) => self.known.identity.handle(pair)?,
                Some((key, Phase::SecurityOnly | Phase::FullFeatureOnly)) => {
                    return Err(Fault::KeyNotAllowed { key }.into());
                }
                None | Some((_, Phase::Any | Phase::InitializeOnly | Phase::LeadingOnly)) => {
                    negotiation.handle_offer(pair, answers)?;
                }
            }
        }
        negotiation.settle(answers);
        if begins {
            // RFC 7143 13.12: what the target takes; a declaration is made once.
            let own = environment.policy.own.target_max_recv_data_segment_length;
            answers.add("MaxRecvDataSegmentLength", own.to_string());
        }
        self.negotiation = Some(negotiation);
        Ok(self)
    }

    /// The negotiation that this stage is for, with the target's declaration in it.
    fn begin(&self, policy: Policy) -> Negotiation {
        let kind = match self.known.session_type {
            SessionType::Discovery => SessionKind::Discovery,
            SessionType::Normal { .. } => SessionKind::Normal,
        };
        let parameters = Parameters {
            target_max_recv_data_segment_length: policy.own.target_max_recv_data_segment_length,
            ..Parameters::default()
        };
        Negotiation::new(policy, kind, parameters)
    }

    /// Where this stage was left out, the defaults of the standard hold.
    fn into_agreement(self) -> Agreement {
        let Known { initiator_name, identity, session_type } = self.known;
        let parameters = self.negotiation.map_or_else(Parameters::default, |n| n.parameters());
        let initiator_alias = identity.initiator_alias;
        Agreement { initiator_name, initiator_alias, session_type, parameters }
    }
}
