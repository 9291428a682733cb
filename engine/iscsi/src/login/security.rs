//! The proof of who the initiator is (RFC 7143 12.1).

use super::LoginFault;
use crate::chap::{Challenge, ChapAnswer, ChapFault, ChapPolicy};
use crate::directory::Authentication;
use crate::negotiation::{Answers, Fault, first_acceptable};
use crate::text::{Pair, binary_text, parse_binary, parse_number};

/// How far the initiator has come with its proof.
///
/// ```text
///   MethodAwaited --AuthMethod=CHAP--> AlgorithmsAwaited --CHAP_A--> ResponseAwaited
///         |                                                               |
///         +--AuthMethod=None----------------> Given <------CHAP_N, CHAP_R-+
/// ```
#[derive(Debug)]
pub(super) enum Proof {
    AlgorithmsAwaited,
    Given,
    MethodAwaited,
    ResponseAwaited(Challenge),
}

/// The security keys of one text.
#[derive(Debug, Default)]
pub(super) struct SecurityKeys<'a> {
    auth_method: Option<&'a str>,
    chap_a: Option<&'a str>,
    chap_c: Option<&'a str>,
    chap_i: Option<&'a str>,
    chap_n: Option<&'a str>,
    chap_r: Option<&'a str>,
}

impl<'a> SecurityKeys<'a> {
    /// Takes a pair; `key` is its key in the table.
    pub(super) fn handle(&mut self, pair: Pair<'a>, key: &'static str) -> Result<(), LoginFault> {
        let place = match key {
            "AuthMethod" => &mut self.auth_method,
            "CHAP_A" => &mut self.chap_a,
            "CHAP_C" => &mut self.chap_c,
            "CHAP_I" => &mut self.chap_i,
            "CHAP_N" => &mut self.chap_n,
            "CHAP_R" => &mut self.chap_r,
            _ => return Err(Fault::KeyNotAllowed { key }.into()),
        };
        match place.replace(pair.value) {
            Some(_) => Err(Fault::KeyTwice { key }.into()),
            None => Ok(()),
        }
    }

    /// The key of a CHAP answer that is there, if any is.
    fn answer_key(&self) -> Option<&'static str> {
        let keys = [
            (self.chap_n, "CHAP_N"),
            (self.chap_r, "CHAP_R"),
            (self.chap_i, "CHAP_I"),
            (self.chap_c, "CHAP_C"),
        ];
        keys.iter().find(|(value, _)| value.is_some()).map(|(_, key)| *key)
    }

    /// The answer to a challenge (12.1.3): name and response, and a question or none.
    fn chap_answer(&self) -> Result<ChapAnswer<'a>, ChapFault> {
        let incomplete = ChapFault::ResponseIncomplete;
        let (Some(name), Some(response)) = (self.chap_n, self.chap_r) else {
            return Err(incomplete);
        };
        let response = parse_binary(response).ok_or(incomplete)?;
        let question = match (self.chap_i, self.chap_c) {
            (None, None) => None,
            (Some(identifier), Some(challenge)) => {
                let identifier = parse_number(identifier).and_then(|i| u8::try_from(i).ok());
                let challenge = parse_binary(challenge);
                Some(identifier.zip(challenge).ok_or(incomplete)?)
            }
            (Some(_), None) | (None, Some(_)) => return Err(incomplete),
        };
        Ok(ChapAnswer { name, response, question })
    }
}

impl Proof {
    /// Whether the proof is complete, or the two sides agreed on none.
    pub(super) const fn is_given(&self) -> bool {
        matches!(self, Self::Given)
    }

    /// Whether the initiator has not even named a method.
    pub(super) const fn is_not_begun(&self) -> bool {
        matches!(self, Self::MethodAwaited)
    }

    /// Takes the security keys of one text.
    pub(super) fn handle(
        self,
        keys: &SecurityKeys<'_>,
        authentication: &Authentication,
        entropy: &mut dyn FnMut(&mut [u8]),
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        let mut proof = self;
        if let Some(methods) = keys.auth_method {
            proof = proof.choose_method(methods, authentication, answers)?;
        }
        let Authentication::Chap(policy) = authentication else {
            let unwanted = keys.chap_a.map(|_| "CHAP_A").or_else(|| keys.answer_key());
            return unwanted.map_or(Ok(proof), |key| Err(Fault::KeyNotAllowed { key }.into()));
        };
        if let Some(algorithms) = keys.chap_a {
            proof = proof.challenge(algorithms, policy, entropy, answers)?;
        }
        match keys.answer_key() {
            Some(key) => proof.check(keys, key, policy, answers),
            None => Ok(proof),
        }
    }

    fn choose_method(
        self,
        methods: &str,
        authentication: &Authentication,
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        if !self.is_not_begun() {
            return Err(Fault::KeyTwice { key: "AuthMethod" }.into());
        }
        let (wanted, next) = match authentication {
            Authentication::Chap(_) => ("CHAP", Self::AlgorithmsAwaited),
            Authentication::None => ("None", Self::Given),
        };
        let method = first_acceptable(methods, |method| method == wanted)
            .ok_or(LoginFault::AuthMethodUnacceptable)?;
        answers.add("AuthMethod", method);
        Ok(next)
    }

    fn challenge(
        self,
        algorithms: &str,
        policy: &ChapPolicy,
        entropy: &mut dyn FnMut(&mut [u8]),
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        let Self::AlgorithmsAwaited = self else {
            return Err(Fault::KeyNotAllowed { key: "CHAP_A" }.into());
        };
        let challenge = Challenge::new(policy, algorithms, entropy)?;
        answers.add("CHAP_A", challenge.algorithm.number().to_string());
        answers.add("CHAP_I", challenge.identifier.to_string());
        answers.add("CHAP_C", binary_text(&challenge.challenge));
        Ok(Self::ResponseAwaited(challenge))
    }

    fn check(
        self,
        keys: &SecurityKeys<'_>,
        key: &'static str,
        policy: &ChapPolicy,
        answers: &mut Answers,
    ) -> Result<Self, LoginFault> {
        let Self::ResponseAwaited(challenge) = self else {
            return Err(Fault::KeyNotAllowed { key }.into());
        };
        if let Some(proof) = challenge.check(policy, &keys.chap_answer()?)? {
            answers.add("CHAP_N", proof.name);
            answers.add("CHAP_R", binary_text(&proof.response));
        }
        Ok(Self::Given)
    }
}
