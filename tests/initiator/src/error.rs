//! What can go wrong between the initiator and the target it judges.

use std::fmt;
use std::io;

use crate::command::Sense;

/// Why an exchange with the target did not give the answer that was waited for.
#[derive(Debug)]
pub enum Error {
    /// The target closed the connection.
    Closed,
    /// A digest that the target sent does not fit its bytes.
    DigestMismatch {
        /// Whether it is the header digest; otherwise it is the data digest.
        header: bool,
    },
    /// The socket failed in another way than by being closed.
    Io(io::Error),
    /// The target refused the login (RFC 7143 11.13.5).
    LoginRefused {
        /// Status-Class in the upper and Status-Detail in the lower byte.
        status: u16,
    },
    /// A logical unit did not report its capacity.
    NotReady {
        /// SCSI status.
        status: u8,
        /// Sense, with CHECK CONDITION.
        sense: Option<Sense>,
    },
    /// The target rejected a PDU (RFC 7143 11.17).
    Rejected {
        /// Reason of the Reject.
        reason: u8,
        /// Data segment of the Reject: the header of the bad PDU.
        header: Vec<u8>,
    },
    /// Nothing came for the time that a wait may take.
    TimedOut {
        /// What was waited for.
        waiting_for: &'static str,
    },
    /// Another PDU came than the protocol allows here.
    Unexpected {
        /// What was waited for.
        waiting_for: &'static str,
        /// The header that came instead.
        header: [u8; 48],
    },
}

impl Error {
    /// Whether the target ended the connection.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether a wait ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// The reason, if the target rejected a PDU.
    pub fn reject_reason(&self) -> Option<u8> {
        if let Self::Rejected { reason, .. } = self { Some(*reason) } else { None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(formatter, "the target closed the connection"),
            Self::DigestMismatch { header } => {
                let part = if *header { "header" } else { "data" };
                write!(formatter, "the {part} digest that the target sent is wrong")
            }
            Self::Io(cause) => write!(formatter, "the socket failed: {cause}"),
            Self::LoginRefused { status } => {
                write!(formatter, "the target refused the login with status {status:#06x}")
            }
            Self::NotReady { status, sense } => {
                write!(formatter, "the disk answered with status {status:#04x}, {sense:x?}")
            }
            Self::Rejected { reason, header } => {
                write!(formatter, "the target rejected a PDU, reason {reason:#04x}: {header:02x?}")
            }
            Self::TimedOut { waiting_for } => {
                write!(formatter, "nothing came while waiting for {waiting_for}")
            }
            Self::Unexpected { waiting_for, header } => {
                write!(formatter, "waiting for {waiting_for}, this came: {header:02x?}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        let kind = cause.kind();
        let closed = [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
        ];
        if closed.contains(&kind) { Self::Closed } else { Self::Io(cause) }
    }
}

/// A breach of RFC 7143 by the target that does not end the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule and its section.
    pub rule: &'static str,
    /// What the standard asks for here.
    pub expected: u32,
    /// What the target sent.
    pub found: u32,
    /// The header in question.
    pub header: [u8; 48],
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: expected {:#x}, found {:#x} in {:02x?}",
            self.rule, self.expected, self.found, self.header
        )
    }
}
