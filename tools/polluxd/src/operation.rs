//! Operations: calls that are not done at once. Pure bookkeeping; nothing here does any work.

mod claims;
mod table;

pub(crate) use claims::{Claims, Object};
pub(crate) use table::{OperationId, OperationTable, Progress};
