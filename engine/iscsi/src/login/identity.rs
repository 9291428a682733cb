//! Who logs in, to what: the keys that may come in every stage.

use super::LoginFault;
use crate::names::canonical_name;
use crate::negotiation::{Fault, SessionKind, is_answer_to_declaration};
use crate::text::Pair;

/// The identity that the initiator declared, and the session that it requests.
///
/// Each of these keys may come again with the same value: libiscsi sends them in the security
/// stage and once more in the operational stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) initiator_name: Option<String>,
    pub(super) initiator_alias: Option<String>,
    pub(super) target_name: Option<String>,
    pub(super) session_kind: Option<SessionKind>,
}

impl Identity {
    /// Takes a pair with a key about identity.
    pub(super) fn handle(&mut self, pair: Pair<'_>) -> Result<(), LoginFault> {
        match pair.key {
            "InitiatorAlias" => {
                say(&mut self.initiator_alias, pair.value.to_owned(), "InitiatorAlias")
            }
            "InitiatorName" => {
                let name = name(pair.value, "InitiatorName")?;
                say(&mut self.initiator_name, name, "InitiatorName")
            }
            "SessionType" => say(&mut self.session_kind, session_kind(pair.value)?, "SessionType"),
            "TargetName" => {
                let name = name(pair.value, "TargetName")?;
                say(&mut self.target_name, name, "TargetName")
            }
            "TargetAddress" => only_answer(pair, "TargetAddress"),
            "TargetAlias" => only_answer(pair, "TargetAlias"),
            "TargetPortalGroupTag" => only_answer(pair, "TargetPortalGroupTag"),
            _ => Ok(()),
        }
    }
}

fn name(value: &str, key: &'static str) -> Result<String, LoginFault> {
    canonical_name(value).map_err(|fault| LoginFault::Name { key, fault })
}

fn session_kind(value: &str) -> Result<SessionKind, LoginFault> {
    match value {
        "Discovery" => Ok(SessionKind::Discovery),
        "Normal" => Ok(SessionKind::Normal),
        _ => Err(LoginFault::SessionTypeUnknown),
    }
}

/// Takes a value, which must equal an earlier one, if any.
fn say<T: PartialEq>(place: &mut Option<T>, value: T, key: &'static str) -> Result<(), LoginFault> {
    match place {
        Some(said) if *said != value => Err(Fault::KeyTwice { key }.into()),
        Some(_) | None => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// A key that only the target declares; an initiator may only answer it, as with NotUnderstood.
fn only_answer(pair: Pair<'_>, key: &'static str) -> Result<(), LoginFault> {
    if is_answer_to_declaration(pair.value) {
        Ok(())
    } else {
        Err(Fault::KeyNotAllowed { key }.into())
    }
}
