//! Placement and send order: what the bytes of a connection mean to lent buffers, without the
//! bytes.
//!
//! A reactor moves bytes between sockets, buffers and volumes. What it decides about them is here,
//! as three pure types, so that the simulator drives the same decisions:
//!
//! - [`Inbound`], one for each connection: where the data segment of the present PDU goes, and
//!   whether a run of it is copied at once or left in the receive buffer.
//! - [`Contents`], one for each reactor: where the bytes of each lent buffer really are: in the
//!   buffer, still in a receive buffer, or left in a memory volume.
//! - [`Outbound`], one for each connection: which PDUs leave together, in which order batches
//!   leave, whether bytes may leave from a volume, and when buffers go back to the shard.
//!
//! None of them calls the shard or is called by it.

mod contents;
mod inbound;
mod outbound;

pub use contents::{Contents, Located, Unplaced, Whereabouts};
pub use inbound::{Inbound, Run};
pub use outbound::{Meaning, Outbound};
