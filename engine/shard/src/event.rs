//! Events for the operator: I/O that failed, and sessions that begin, end or are refused. The
//! engine reports each of them; whoever writes the log bounds it.

use crate::operation::Operation;
use iscsi::pdu::LoginStatus;
use scsi::SenseKey;
use std::net::SocketAddr;
use units::VolumeId;

/// What an operator is told of ([`Action::Report`](crate::Action::Report)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation of a backend failed.
    IoFailed(IoFailure),
    /// A session began or ended, or a login was refused.
    Session(Box<SessionEvent>),
}

/// An operation of a backend that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoFailure {
    /// The volume.
    pub volume: VolumeId,
    /// The kind of command.
    pub operation: Operation,
    /// The first block of the operation.
    pub lba: u64,
    /// Its blocks; 0 where it is about no block, as a flush is.
    pub blocks: u64,
    /// The error code of the operating system.
    pub errno: i32,
}

/// One login, refusal or end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEvent {
    /// What happened.
    pub change: SessionChange,
    /// The initiator's name; `None` where the peer gave no valid one.
    pub initiator: Option<String>,
    /// The target; `None` for discovery, and where the peer gave no valid name.
    pub target: Option<String>,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// What exactly is wrong, if there is more to say than the reason.
    pub detail: Option<String>,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionChange {
    /// It ended.
    Ended(Ending),
    /// It began.
    LoggedIn,
    /// There is none.
    Refused(Refusal),
}

/// Writes a fieldless enum with the names of its variants from one list.
macro_rules! named {
    ($(#[doc = $doc:literal])+ $type:ident {
        $($(#[doc = $what:literal])+ $variant:ident = $name:literal,)+
    }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type {
            $($(#[doc = $what])+ $variant,)+
        }

        impl $type {
            /// All of them, in the order of [`Self::index`].
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The place in [`Self::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Its name in statistics and in the log.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

named! {
    /// Why a session ended.
    Ending {
        /// A header or data digest did not match.
        BadDigest = "bad-digest",
        /// The target closed it for another reason.
        ClosedByTarget = "closed-by-target",
        /// An administrator dropped it.
        Dropped = "dropped",
        /// A discovery session asked for nothing for too long.
        Idle = "idle",
        /// The initiator logged out.
        LoggedOut = "logout",
        /// The initiator did not answer a ping.
        NoAnswer = "no-answer",
        /// The reactor that should serve it has no room for it.
        NoRoom = "no-room",
        /// It was asked to log out and did not.
        NotLoggedOut = "not-logged-out",
        /// The connection was closed or reset, or the network failed.
        PeerGone = "connection-lost",
        /// The initiator violated the protocol.
        ProtocolError = "protocol-error",
        /// A new login of the same initiator port took its place.
        Reinstated = "reinstated",
        /// The node shuts down.
        ShutDown = "shutdown",
        /// It moved nothing while others waited for the buffers that it held.
        Stalled = "stalled",
    }
}

named! {
    /// Why a login was refused.
    Refusal {
        /// The initiator did not prove who it is.
        AuthenticationFailed = "authentication-failed",
        /// The target closed the connection for another reason.
        ClosedByTarget = "closed-by-target",
        /// The initiator may not use the target.
        Forbidden = "forbidden",
        /// The login violates the protocol.
        InvalidRequest = "invalid-request",
        /// The target has no room for a session.
        NoResources = "no-resources",
        /// The initiator closed the connection before the end of the login.
        PeerGone = "connection-lost",
        /// The target is at another address.
        Redirected = "redirected",
        /// The target does not exist, or not any more.
        TargetNotFound = "target-not-found",
        /// The login took too long.
        TimedOut = "timeout",
        /// The target is not in service now.
        Unavailable = "unavailable",
    }
}

named! {
    /// Why a command did not end with GOOD: the sense key of CHECK CONDITION, or another status.
    CommandFault {
        /// ABORTED COMMAND.
        AbortedCommand = "aborted-command",
        /// DATA PROTECT.
        DataProtect = "data-protect",
        /// HARDWARE ERROR.
        HardwareError = "hardware-error",
        /// ILLEGAL REQUEST.
        IllegalRequest = "illegal-request",
        /// MEDIUM ERROR.
        MediumError = "medium-error",
        /// MISCOMPARE.
        Miscompare = "miscompare",
        /// NO SENSE.
        NoSense = "no-sense",
        /// The status RESERVATION CONFLICT.
        ReservationConflict = "reservation-conflict",
        /// The status TASK SET FULL.
        TaskSetFull = "task-set-full",
        /// UNIT ATTENTION.
        UnitAttention = "unit-attention",
    }
}

impl Ending {
    /// The reason for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::BadDigest => "a digest did not match",
            Self::ClosedByTarget => "closed by the target",
            Self::Dropped => "dropped by the administrator",
            Self::Idle => "idle discovery session",
            Self::LoggedOut => "logout",
            Self::NoAnswer => "no answer to a ping",
            Self::NoRoom => "too many connections on its reactor",
            Self::NotLoggedOut => "did not log out when asked to",
            Self::PeerGone => "connection lost",
            Self::ProtocolError => "protocol error",
            Self::Reinstated => "replaced by a new login of the same initiator port",
            Self::ShutDown => "shutting down",
            Self::Stalled => "moved no data while others waited for its buffers",
        }
    }

    /// What it is to a login that has not ended yet.
    pub(crate) const fn refusal(self) -> Refusal {
        match self {
            Self::BadDigest | Self::ProtocolError => Refusal::InvalidRequest,
            Self::ClosedByTarget | Self::Dropped | Self::LoggedOut | Self::Reinstated => {
                Refusal::ClosedByTarget
            }
            Self::Idle | Self::NoAnswer | Self::NotLoggedOut | Self::Stalled => Refusal::TimedOut,
            Self::NoRoom => Refusal::NoResources,
            Self::PeerGone => Refusal::PeerGone,
            Self::ShutDown => Refusal::Unavailable,
        }
    }
}

impl Refusal {
    /// The reason for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::AuthenticationFailed => "authentication failed",
            Self::ClosedByTarget => "closed by the target",
            Self::Forbidden => "initiator may not use the target",
            Self::InvalidRequest => "invalid login request",
            Self::NoResources => "no room for another session",
            Self::PeerGone => "connection lost during login",
            Self::Redirected => "target is at another address",
            Self::TargetNotFound => "target not found",
            Self::TimedOut => "login took too long",
            Self::Unavailable => "target is currently not available",
        }
    }

    /// The reason behind the status of a login response.
    pub(crate) fn of(status: LoginStatus) -> Self {
        match status {
            LoginStatus::AuthenticationFailure => Self::AuthenticationFailed,
            LoginStatus::AuthorizationFailure => Self::Forbidden,
            LoginStatus::NotFound | LoginStatus::TargetRemoved => Self::TargetNotFound,
            LoginStatus::OutOfResources | LoginStatus::TooManyConnections => Self::NoResources,
            LoginStatus::ServiceUnavailable | LoginStatus::TargetError => Self::Unavailable,
            LoginStatus::TargetMovedPermanently | LoginStatus::TargetMovedTemporarily => {
                Self::Redirected
            }
            LoginStatus::CannotIncludeInSession
            | LoginStatus::InitiatorError
            | LoginStatus::InvalidDuringLogin
            | LoginStatus::MissingParameter
            | LoginStatus::SessionDoesNotExist
            | LoginStatus::SessionTypeNotSupported
            | LoginStatus::UnsupportedVersion => Self::InvalidRequest,
            LoginStatus::Success | LoginStatus::Unknown(_) => {
                unreachable!("no status that refuses a login")
            }
        }
    }
}

impl CommandFault {
    /// That of a sense key.
    pub(crate) const fn of(key: SenseKey) -> Self {
        match key {
            SenseKey::AbortedCommand => Self::AbortedCommand,
            SenseKey::DataProtect => Self::DataProtect,
            SenseKey::HardwareError => Self::HardwareError,
            SenseKey::IllegalRequest => Self::IllegalRequest,
            SenseKey::MediumError => Self::MediumError,
            SenseKey::Miscompare => Self::Miscompare,
            SenseKey::NoSense => Self::NoSense,
            SenseKey::UnitAttention => Self::UnitAttention,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place_and_a_name_of_its_own() {
        for (place, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending.index(), place);
        }
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), place);
        }
        let mut names: Vec<_> = CommandFault::ALL.into_iter().map(CommandFault::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 10);
    }
}
