//! Why a login is refused, and what the initiator is told.

use std::fmt;

use crate::assembly::TextTooLong;
use crate::chap::ChapFault;
use crate::names::NameFault;
use crate::negotiation;
use crate::pdu::{LoginStatus, Stage};
use crate::text::{TextFault, TextFull, TextWriter};

/// Why a login is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginFault {
    /// The target wants a proof, and the initiator goes past the stage for it.
    AuthenticationRequired,
    /// The initiator offers no method that the target takes.
    AuthMethodUnacceptable,
    /// The proof failed.
    Chap(ChapFault),
    /// A request has both its C and its T bit set (RFC 7143 11.12.2).
    ContinueWithTransit,
    /// A request has another ISID, TSIH or CID than the first one.
    HeaderChanged,
    /// The initiator may not use the target.
    InitiatorForbidden,
    /// The first request does not say who the initiator is (RFC 7143 13.5).
    InitiatorNameMissing,
    /// A key was sent that is not allowed, or twice.
    Key(negotiation::Fault),
    /// A request came after the login had ended.
    LoginOver,
    /// Invalid iSCSI name.
    Name {
        /// The key that gave it.
        key: &'static str,
        /// What is wrong.
        fault: NameFault,
    },
    /// The target is elsewhere: no fault, but the end of this login.
    Redirected {
        /// Where.
        address: String,
        /// Whether it will stay there.
        permanent: bool,
    },
    /// The target is not in service now.
    ServiceUnavailable,
    /// SessionType has a value that the standard does not define.
    SessionTypeUnknown,
    /// A request is of another stage than the login.
    StageUnexpected {
        /// The stage of the request.
        found: Stage,
    },
    /// A normal session needs a target (RFC 7143 13.4).
    TargetNameMissing,
    /// Target not found.
    TargetNotFound,
    /// The target was removed.
    TargetRemoved,
    /// The initiator's text cannot be read.
    Text(TextFault),
    /// The initiator sent text before it had all of the target's answer.
    TextBeforeAnswerEnded,
    /// The answer is longer than a negotiation may be.
    TextFull(TextFull),
    /// The initiator's text has no end.
    TextTooLong(TextTooLong),
    /// The login takes more requests than any initiator needs.
    TooManyRounds,
    /// Invalid stage transition (RFC 7143 11.12.3).
    TransitionInvalid {
        /// CSG.
        from: Stage,
        /// NSG.
        to: Stage,
    },
    /// The initiator does not speak version 0.
    VersionUnsupported {
        /// The lowest version that it speaks.
        version_min: u8,
    },
}

impl LoginFault {
    /// The status in the response (RFC 7143 11.13.5).
    pub const fn status(&self) -> LoginStatus {
        match self {
            Self::AuthenticationRequired | Self::AuthMethodUnacceptable | Self::Chap(_) => {
                LoginStatus::AuthenticationFailure
            }
            Self::ContinueWithTransit
            | Self::HeaderChanged
            | Self::Key(_)
            | Self::Name { .. }
            | Self::StageUnexpected { .. }
            | Self::Text(_)
            | Self::TextBeforeAnswerEnded
            | Self::TextFull(_)
            | Self::TextTooLong(_)
            | Self::TooManyRounds
            | Self::TransitionInvalid { .. } => LoginStatus::InitiatorError,
            Self::InitiatorForbidden => LoginStatus::AuthorizationFailure,
            Self::InitiatorNameMissing | Self::TargetNameMissing => LoginStatus::MissingParameter,
            Self::LoginOver => LoginStatus::InvalidDuringLogin,
            Self::Redirected { permanent: false, .. } => LoginStatus::TargetMovedTemporarily,
            Self::Redirected { permanent: true, .. } => LoginStatus::TargetMovedPermanently,
            Self::ServiceUnavailable => LoginStatus::ServiceUnavailable,
            Self::SessionTypeUnknown => LoginStatus::SessionTypeNotSupported,
            Self::TargetNotFound => LoginStatus::NotFound,
            Self::TargetRemoved => LoginStatus::TargetRemoved,
            Self::VersionUnsupported { .. } => LoginStatus::UnsupportedVersion,
        }
    }

    /// The text of the response: only a redirection has any (RFC 7143 11.13.5).
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = TextWriter::new(units::limits::LOGIN_DATA_SEGMENT_LENGTH_MAX as usize);
        if let Self::Redirected { address, .. } = self {
            // An address that does not fit into a segment is none, and is left out.
            let _ = text.push("TargetAddress", address);
        }
        text.into_bytes()
    }
}

impl fmt::Display for LoginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthenticationRequired => write!(
                f,
                "initiator did not authenticate, but the target requires CHAP; \
                 configure CHAP at the initiator"
            ),
            Self::AuthMethodUnacceptable => write!(
                f,
                "initiator and target have no authentication method in common; \
                 compare their CHAP settings"
            ),
            Self::Chap(fault) => fault.fmt(f),
            Self::ContinueWithTransit => write!(f, "login request has both its C and T bit set"),
            Self::HeaderChanged => {
                write!(f, "login request changes the ISID, TSIH or CID of the previous one")
            }
            Self::InitiatorForbidden => {
                write!(f, "initiator is not in the access list of the target")
            }
            Self::InitiatorNameMissing => write!(f, "first login request has no InitiatorName"),
            Self::Key(fault) => fault.fmt(f),
            Self::LoginOver => write!(f, "login request received after the end of the login"),
            Self::Name { key, fault } => write!(f, "{key}: {fault}"),
            Self::Redirected { address, permanent } => {
                let how_long = if *permanent { "permanently" } else { "temporarily" };
                write!(f, "target moved {how_long} to {address}")
            }
            Self::ServiceUnavailable => write!(f, "target is currently not available on this node"),
            Self::SessionTypeUnknown => {
                write!(f, "initiator requests a SessionType other than Normal and Discovery")
            }
            Self::StageUnexpected { found } => {
                write!(f, "login request is of stage {found:?}, which is not the current one")
            }
            Self::TargetNameMissing => {
                write!(f, "first login request of a normal session has no TargetName")
            }
            Self::TargetNotFound => {
                write!(f, "target not found; compare the name with `perfctl target list`")
            }
            Self::TargetRemoved => write!(f, "target was removed"),
            Self::Text(fault) => fault.fmt(f),
            Self::TextBeforeAnswerEnded => {
                write!(f, "initiator sent text before requesting the rest of the response")
            }
            Self::TextFull(fault) => fault.fmt(f),
            Self::TextTooLong(fault) => fault.fmt(f),
            Self::TooManyRounds => write!(f, "login exceeds the limit of requests"),
            Self::TransitionInvalid { from, to } => {
                write!(f, "login request has an invalid stage transition from {from:?} to {to:?}")
            }
            Self::VersionUnsupported { version_min } => {
                write!(f, "initiator requires protocol version {version_min} or later, not 0")
            }
        }
    }
}

impl std::error::Error for LoginFault {}

impl From<ChapFault> for LoginFault {
    fn from(fault: ChapFault) -> Self {
        Self::Chap(fault)
    }
}

impl From<negotiation::Fault> for LoginFault {
    fn from(fault: negotiation::Fault) -> Self {
        Self::Key(fault)
    }
}

impl From<TextFault> for LoginFault {
    fn from(fault: TextFault) -> Self {
        Self::Text(fault)
    }
}

impl From<TextFull> for LoginFault {
    fn from(fault: TextFull) -> Self {
        Self::TextFull(fault)
    }
}

impl From<TextTooLong> for LoginFault {
    fn from(fault: TextTooLong) -> Self {
        Self::TextTooLong(fault)
    }
}
