//! A small blocking iSCSI initiator that judges the target.
//!
//! It is an oracle: every byte is encoded and decoded here by hand from RFC 7143, and nothing of
//! the engine is used, so that a misreading in the engine does not hide itself. It can also
//! misbehave: a test sets any byte of any header and sends bytes that are no PDU at all.
//!
//! * [`Connection`] sends and receives [`Pdu`]s and bytes, each wait with a limit.
//! * [`Session`] logs in, keeps the sequence numbers, moves data and books every breach of the
//!   standard that it sees as a [`Violation`].
//! * [`Disk`] reads and writes blocks through a session.

pub mod cdb;
mod command;
mod connection;
mod disk;
mod error;
mod incoming;
mod keys;
mod login;
mod negotiated;
pub mod pdu;
mod session;

pub use command::{Command, CommandResult, Residual, Sense};
pub use connection::{Connection, Pace};
pub use disk::Disk;
pub use error::{Error, Violation};
pub use keys::{decode_keys, encode_keys};
pub use login::{INITIATOR_NAME, Login, LoginReply, Stage};
pub use negotiated::Negotiated;
pub use pdu::{Digests, Pdu};
pub use session::{Session, Ticket};
