//! The Challenge-Handshake Authentication Protocol (RFC 7143 12.1, RFC 1994).

use std::fmt;

use md5::Digest;
use subtle::ConstantTimeEq;

use crate::text::BINARY_BYTES_MAX;

/// The credentials required of an initiator, and those of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapPolicy {
    /// The hashes that are taken.
    pub algorithms: Vec<ChapAlgorithm>,
    /// What the initiator must know.
    pub initiator: Credentials,
    /// What the target proves itself with, where an initiator asks it to (mutual CHAP).
    pub target: Option<Credentials>,
}

/// A name and the secret that belongs to it. Its debug form hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// CHAP_N.
    pub name: String,
    /// The secret; 12 bytes or more are advised (RFC 7143 9.2.1).
    pub secret: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A hash function by its number (RFC 7143 12.1.3 and the IANA registry of PPP numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChapAlgorithm {
    /// 5, which every implementation has.
    Md5,
    /// 6.
    Sha1,
    /// 7.
    Sha256,
    /// 8.
    Sha3_256,
}

impl ChapAlgorithm {
    /// All, the weakest first.
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha3_256];

    /// The number that CHAP_A names it by.
    pub const fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3_256 => 8,
        }
    }

    /// The strongest that is both in the initiator's list and allowed.
    fn strongest(list: &str, allowed: &[Self]) -> Option<Self> {
        let offered = |algorithm: &Self| {
            list.split(',').any(|number| number.parse() == Ok(algorithm.number()))
        };
        allowed.iter().copied().filter(offered).max()
    }

    /// The response to a challenge (RFC 1994 4.1): the hash of identifier, secret, challenge.
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => hash::<md5::Md5>(identifier, secret, challenge),
            Self::Sha1 => hash::<sha1::Sha1>(identifier, secret, challenge),
            Self::Sha256 => hash::<sha2::Sha256>(identifier, secret, challenge),
            Self::Sha3_256 => hash::<sha3::Sha3_256>(identifier, secret, challenge),
        }
    }
}

fn hash<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    let mut digest = D::new();
    digest.update([identifier]);
    digest.update(secret);
    digest.update(challenge);
    digest.finalize().to_vec()
}

/// A challenge that waits for its response. It is used once: checking consumes it.
#[derive(Debug)]
pub struct Challenge {
    /// The hash to use.
    pub algorithm: ChapAlgorithm,
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C.
    pub challenge: [u8; CHALLENGE_BYTES],
}

/// Bytes of the target's challenges: as many as the longest hash has.
pub const CHALLENGE_BYTES: usize = 32;

/// What an initiator answers to a challenge.
#[derive(Clone, Debug)]
pub struct ChapAnswer<'a> {
    /// CHAP_N.
    pub name: &'a str,
    /// CHAP_R.
    pub response: Vec<u8>,
    /// CHAP_I and CHAP_C, if the target must authenticate too.
    pub question: Option<(u8, Vec<u8>)>,
}

/// How a target proves itself: CHAP_N and CHAP_R.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapProof {
    /// The target's name in CHAP.
    pub name: String,
    /// The response to the initiator's challenge.
    pub response: Vec<u8>,
}

impl Challenge {
    /// A fresh challenge with the strongest hash of the initiator's CHAP_A list.
    pub fn new(
        policy: &ChapPolicy,
        algorithms: &str,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, ChapFault> {
        let algorithm = ChapAlgorithm::strongest(algorithms, &policy.algorithms)
            .ok_or(ChapFault::AlgorithmUnacceptable)?;
        let mut identifier = [0];
        entropy(&mut identifier);
        let mut challenge = [0; CHALLENGE_BYTES];
        entropy(&mut challenge);
        Ok(Self { algorithm, identifier: identifier[0], challenge })
    }

    /// Checks the response, and returns the target's proof if one is requested.
    pub fn check(
        self,
        policy: &ChapPolicy,
        answer: &ChapAnswer<'_>,
    ) -> Result<Option<ChapProof>, ChapFault> {
        let Credentials { name, secret } = &policy.initiator;
        let expected = self.algorithm.response(self.identifier, secret, &self.challenge);
        // Both are compared in constant time, and both always: how long a refusal takes says
        // nothing about how much was right.
        let right =
            expected.ct_eq(&answer.response) & name.as_bytes().ct_eq(answer.name.as_bytes());
        if !bool::from(right) {
            return Err(ChapFault::ResponseWrong);
        }
        let Some((identifier, question)) = &answer.question else { return Ok(None) };
        let target = policy.target.as_ref().ok_or(ChapFault::MutualNotConfigured)?;
        // RFC 7143 9.2.1: with one secret for both directions, or with the target's own
        // challenge given back, an initiator could have the target answer for it.
        if question == &self.challenge {
            return Err(ChapFault::ChallengeReflected);
        }
        if target.secret.ct_eq(secret).into() {
            return Err(ChapFault::SecretsEqual);
        }
        if question.is_empty() || question.len() > BINARY_BYTES_MAX {
            return Err(ChapFault::ChallengeLength { bytes: question.len() });
        }
        let response = self.algorithm.response(*identifier, &target.secret, question);
        Ok(Some(ChapProof { name: target.name.clone(), response }))
    }
}

/// Why an initiator is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChapFault {
    /// It offers no hash that the target takes.
    AlgorithmUnacceptable,
    /// Its challenge is empty or longer than 1024 bytes.
    ChallengeLength {
        /// The length.
        bytes: usize,
    },
    /// It gave back the target's own challenge.
    ChallengeReflected,
    /// It wants the target to prove itself, but the target has no credentials for it.
    MutualNotConfigured,
    /// Keys are missing from its answer, or have values that cannot be read.
    ResponseIncomplete,
    /// Its name or its response is wrong.
    ResponseWrong,
    /// The secrets of both directions are the same, which the standard forbids.
    SecretsEqual,
}

impl fmt::Display for ChapFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlgorithmUnacceptable => {
                write!(f, "initiator offers no CHAP hash that the target accepts")
            }
            Self::ChallengeLength { bytes } => {
                write!(f, "initiator's CHAP challenge has {bytes} bytes instead of 1 to 1024")
            }
            Self::ChallengeReflected => {
                write!(f, "initiator reflected the target's CHAP challenge; this may be an attack")
            }
            Self::MutualNotConfigured => {
                write!(
                    f,
                    "initiator requires mutual CHAP, but the target has no credentials for it; "
                )?;
                write!(f, "configure mutual_chap, or disable mutual CHAP on the initiator")
            }
            Self::ResponseIncomplete => {
                write!(f, "initiator's CHAP response lacks keys or has invalid values")
            }
            Self::ResponseWrong => {
                write!(f, "initiator's CHAP name or secret does not match the configured one")
            }
            Self::SecretsEqual => {
                write!(
                    f,
                    "the CHAP secrets of initiator and target are the same, which RFC 7143 "
                )?;
                write!(f, "9.2.1 forbids; give them different secrets")
            }
        }
    }
}

impl std::error::Error for ChapFault {}

#[cfg(test)]
mod tests;
