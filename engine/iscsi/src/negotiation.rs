//! Finds the outcome of operational keys (RFC 7143 6.2), with one function per kind of rule.
//!
//! The target always answers and never offers: what an initiator does not offer keeps the
//! default of the standard. The only key that the target declares without an offer is its own
//! MaxRecvDataSegmentLength.

use std::borrow::Cow;
use std::fmt;

use units::limits::{
    BURST_LENGTH_MAX, MAX_RECV_DATA_SEGMENT_LENGTH, NEGOTIATION_TEXT_BYTES_MAX, OUTSTANDING_R2T_MAX,
};

use crate::keys::{self, KEYS, Key, Rule};
use crate::text::{Pair, TextFull, TextWriter, boolean_text, parse_boolean, parse_number};

/// What a session's two sides have agreed on. All lengths are in bytes, all times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Headers have a CRC32C (13.1).
    pub header_digest: bool,
    /// Data segments have a CRC32C (13.1).
    pub data_digest: bool,
    /// Connections of the session (13.2).
    pub max_connections: u32,
    /// Unsolicited Data-Out PDUs are forbidden (13.10).
    pub initial_r2t: bool,
    /// Data may come with the command (13.11).
    pub immediate_data: bool,
    /// The longest data segment that the initiator takes (13.12).
    pub max_recv_data_segment_length: u32,
    /// The longest data segment that the target has declared to take (13.12).
    pub target_max_recv_data_segment_length: u32,
    /// The most data in one sequence (13.13).
    pub max_burst_length: u32,
    /// The most unsolicited data of one command; never above `max_burst_length` (13.14).
    pub first_burst_length: u32,
    /// How long to wait before a lost connection may come back (13.15).
    pub default_time2wait: u32,
    /// How long tasks are kept for it after that (13.16).
    pub default_time2retain: u32,
    /// R2Ts that one task may have open (13.17).
    pub max_outstanding_r2t: u32,
    /// PDUs of a sequence come in the order of their offsets (13.18).
    pub data_pdu_in_order: bool,
    /// Sequences of a command come in the order of their offsets (13.19).
    pub data_sequence_in_order: bool,
    /// What is done about errors below the session (13.20).
    pub error_recovery_level: u32,
    /// The version of the protocol's features (13.24).
    pub protocol_level: u32,
}

impl Default for Parameters {
    /// What holds where nothing is negotiated: the defaults of the standard.
    fn default() -> Self {
        let mut parameters = Self {
            header_digest: false,
            data_digest: false,
            max_connections: 0,
            initial_r2t: false,
            immediate_data: false,
            max_recv_data_segment_length: 0,
            target_max_recv_data_segment_length: 0,
            max_burst_length: 0,
            first_burst_length: 0,
            default_time2wait: 0,
            default_time2retain: 0,
            max_outstanding_r2t: 0,
            data_pdu_in_order: false,
            data_sequence_in_order: false,
            error_recovery_level: 0,
            protocol_level: 0,
        };
        for key in &KEYS {
            match key.rule {
                Rule::BooleanAnd { default, field } | Rule::BooleanOr { default, field } => {
                    *field(&mut parameters) = default;
                }
                Rule::DeclaredNumber { default, field, .. }
                | Rule::NumberMaximum { default, field, .. }
                | Rule::NumberMinimum { default, field, .. } => *field(&mut parameters) = default,
                Rule::Digest { field } => *field(&mut parameters) = false,
                Rule::InitiatorDeclares
                | Rule::Obsolete(_)
                | Rule::OnlyValue(_)
                | Rule::Security
                | Rule::TargetDeclares => {}
            }
        }
        // The key is the same for both directions, and so is its default.
        parameters.target_max_recv_data_segment_length = parameters.max_recv_data_segment_length;
        parameters
    }
}

/// The declarations of the target in a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The target's own values. A digest that is `true` is taken where the initiator prefers
    /// it to None; `max_recv_data_segment_length` is the initiator's affair and counts not.
    pub own: Parameters,
}

impl Default for Policy {
    fn default() -> Self {
        let own = Parameters {
            header_digest: true,
            data_digest: true,
            max_connections: 1,
            initial_r2t: false,
            immediate_data: true,
            target_max_recv_data_segment_length: MAX_RECV_DATA_SEGMENT_LENGTH,
            max_burst_length: BURST_LENGTH_MAX,
            first_burst_length: BURST_LENGTH_MAX,
            // Nothing of a lost connection is kept, and so there is nothing to wait for.
            default_time2wait: 0,
            default_time2retain: 0,
            max_outstanding_r2t: OUTSTANDING_R2T_MAX.into(),
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            protocol_level: 1,
            ..Parameters::default()
        };
        Self { own }
    }
}

/// What a session is for (RFC 7143 13.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// To find targets.
    Discovery,
    /// To use a target.
    Normal,
}

/// The negotiation of operational keys over a login, or over one text exchange.
#[derive(Clone, Debug)]
pub struct Negotiation {
    policy: Policy,
    kind: SessionKind,
    parameters: Parameters,
    /// One bit per row of [`KEYS`] that has been offered.
    offered: u64,
}

const _: () = assert!(KEYS.len() <= u64::BITS as usize);

impl Negotiation {
    /// A negotiation that begins with `parameters`.
    pub const fn new(policy: Policy, kind: SessionKind, parameters: Parameters) -> Self {
        Self { policy, kind, parameters, offered: 0 }
    }

    /// The outcome so far. FirstBurstLength never exceeds MaxBurstLength (13.14), also where
    /// only one of them was offered.
    pub fn parameters(&self) -> Parameters {
        let mut parameters = self.parameters;
        parameters.first_burst_length =
            parameters.first_burst_length.min(parameters.max_burst_length);
        parameters
    }

    /// Handles one pair that an initiator sent in a phase in which its key is allowed.
    pub fn handle_offer(&mut self, pair: Pair<'_>, answers: &mut Answers) -> Result<(), Fault> {
        let Some((place, key)) = KEYS.iter().enumerate().find(|(_, key)| key.name == pair.key)
        else {
            // RFC 7143 6.2: a key that is not known is answered, not ignored.
            answers.add(pair.key, NOT_UNDERSTOOD);
            return Ok(());
        };
        // RFC 7143 6.2: a key is negotiated once. Only this makes an outcome certain.
        if self.offered & 1 << place != 0 {
            return Err(Fault::KeyTwice { key: key.name });
        }
        self.offered |= 1 << place;
        if key.irrelevant_in_discovery && self.kind == SessionKind::Discovery {
            answers.add(key.name, IRRELEVANT);
            return Ok(());
        }
        match self.outcome(key, pair.value) {
            Outcome::Answer(value) => answers.add(key.name, value),
            Outcome::Declared => {}
            Outcome::NotOffered => return Err(Fault::KeyNotAllowed { key: key.name }),
        }
        Ok(())
    }

    /// Ends one step: answers that depend on each other are brought in line.
    pub fn settle(&self, answers: &mut Answers) {
        let first_burst = answers.pairs.iter_mut().find(|(key, _)| key == "FirstBurstLength");
        if let Some((_, value)) = first_burst
            && parse_number(value).is_some()
        {
            *value = self.parameters().first_burst_length.to_string().into();
        }
    }

    fn outcome(&mut self, key: &Key, offer: &str) -> Outcome {
        let outcome = match key.rule {
            Rule::BooleanAnd { field, .. } => self.boolean(offer, field, |a, b| a && b),
            Rule::BooleanOr { field, .. } => self.boolean(offer, field, |a, b| a || b),
            Rule::NumberMaximum { range, field, .. } => self.number(offer, range, field, u32::max),
            Rule::NumberMinimum { range, field, .. } => self.number(offer, range, field, u32::min),
            Rule::Digest { field } => self.digest(offer, field),
            Rule::OnlyValue(value) => first_acceptable(offer, |choice| choice == value),
            Rule::DeclaredNumber { range, field, .. } => {
                return self.declared_number(offer, range, field);
            }
            Rule::Obsolete(answer) => Some(Cow::Borrowed(answer)),
            Rule::InitiatorDeclares => return Outcome::Declared,
            Rule::TargetDeclares if is_answer_to_declaration(offer) => return Outcome::Declared,
            Rule::Security | Rule::TargetDeclares => return Outcome::NotOffered,
        };
        // RFC 7143 6.2: a value that cannot be accepted is answered with Reject, and the key
        // keeps the value that it had.
        Outcome::Answer(outcome.unwrap_or(Cow::Borrowed(REJECT)))
    }

    fn boolean(
        &mut self,
        offer: &str,
        field: fn(&mut Parameters) -> &mut bool,
        combine: fn(bool, bool) -> bool,
    ) -> Option<Cow<'static, str>> {
        let outcome = combine(parse_boolean(offer)?, *field(&mut self.policy.own));
        *field(&mut self.parameters) = outcome;
        Some(boolean_text(outcome).into())
    }

    fn number(
        &mut self,
        offer: &str,
        range: keys::NumberRange,
        field: fn(&mut Parameters) -> &mut u32,
        combine: fn(u32, u32) -> u32,
    ) -> Option<Cow<'static, str>> {
        let offered = parse_number(offer).filter(|&number| range.contains(number))?;
        let outcome = combine(offered, *field(&mut self.policy.own));
        *field(&mut self.parameters) = outcome;
        Some(outcome.to_string().into())
    }

    fn declared_number(
        &mut self,
        offer: &str,
        range: keys::NumberRange,
        field: fn(&mut Parameters) -> &mut u32,
    ) -> Outcome {
        match parse_number(offer).filter(|&number| range.contains(number)) {
            Some(number) => {
                *field(&mut self.parameters) = number;
                Outcome::Declared
            }
            None => Outcome::Answer(REJECT.into()),
        }
    }

    fn digest(
        &mut self,
        offer: &str,
        field: fn(&mut Parameters) -> &mut bool,
    ) -> Option<Cow<'static, str>> {
        let crc32c = *field(&mut self.policy.own);
        let outcome =
            first_acceptable(offer, |choice| choice == "None" || crc32c && choice == "CRC32C")?;
        *field(&mut self.parameters) = outcome == "CRC32C";
        Some(outcome)
    }
}

/// The first value of a list that is acceptable (RFC 7143 6.2.1): lists are in the order of
/// the offerer's preference.
pub(crate) fn first_acceptable(
    list: &str,
    acceptable: impl Fn(&str) -> bool,
) -> Option<Cow<'static, str>> {
    list.split(',').find(|choice| acceptable(choice)).map(|choice| choice.to_owned().into())
}

/// Whether a value is what an initiator may say to a declaration of the target.
pub(crate) fn is_answer_to_declaration(value: &str) -> bool {
    [NOT_UNDERSTOOD, IRRELEVANT, REJECT].contains(&value)
}

enum Outcome {
    /// The key's answer.
    Answer(Cow<'static, str>),
    /// A declaration, which needs no answer.
    Declared,
    /// The initiator may not send this.
    NotOffered,
}

/// The answers of one step in the order of their offers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pairs: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

impl Answers {
    /// Adds an answer or a declaration.
    pub fn add(&mut self, key: &str, value: impl Into<Cow<'static, str>>) {
        let key = match keys::find(key) {
            Some(key) => Cow::Borrowed(key.name),
            None => Cow::Owned(key.to_owned()),
        };
        self.pairs.push((key, value.into()));
    }

    /// The answers as text; a fault where they are longer than a negotiation may be.
    pub fn into_text(self) -> Result<Vec<u8>, TextFull> {
        let mut text = TextWriter::new(NEGOTIATION_TEXT_BYTES_MAX);
        for (key, value) in &self.pairs {
            text.push(key, value)?;
        }
        Ok(text.into_bytes())
    }
}

/// What an initiator did that ends the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The key must not be sent by an initiator, or not now.
    KeyNotAllowed {
        /// The key.
        key: &'static str,
    },
    /// The key was offered twice.
    KeyTwice {
        /// The key.
        key: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyNotAllowed { key } => {
                write!(f, "initiator sent {key}, which is not permitted in this phase")
            }
            Self::KeyTwice { key } => write!(f, "initiator offered {key} twice"),
        }
    }
}

impl std::error::Error for Fault {}

/// The key exists, but not for the receiver.
pub(crate) const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// The key has no meaning in this session.
pub(crate) const IRRELEVANT: &str = "Irrelevant";
/// The value cannot be accepted.
pub(crate) const REJECT: &str = "Reject";

#[cfg(test)]
mod tests;
