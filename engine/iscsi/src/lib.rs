//! RFC 7143 as pure state machines: PDUs, deframer, text keys, login, command window.
//!
//! Nothing here does I/O, reads a clock or makes random numbers; whatever a state machine needs
//! is passed in, and what it wants done is a value that it returns. Bytes from the wire never
//! index unchecked, never size an allocation and never panic.

pub mod ahs;
mod assembly;
mod bhs;
pub mod chap;
mod deframer;
pub mod digest;
pub mod directory;
pub mod discovery;
pub mod keys;
pub mod login;
pub mod names;
pub mod negotiation;
pub mod pdu;
pub mod text;
mod window;
mod wire_codes;

pub use bhs::{BHS_BYTES, Bhs, InitiatorTaskTag, Opcode, TargetTransferTag, pad_bytes};
pub use chap::{ChapAlgorithm, ChapPolicy, Credentials};
pub use deframer::{DeframeFault, Deframer, Piece, Step};
pub use directory::{Authentication, Directory};
pub use discovery::{TextExchange, TextExchangeFault, TextSession, TextStep};
pub use login::{Login, LoginFault, LoginStep, SessionRequest, SessionType};
pub use negotiation::{Parameters, Policy};
pub use window::{CmdSnVerdict, CommandWindow};
