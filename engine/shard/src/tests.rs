//! Scenarios: whole shards, driven PDU by PDU, with a backend and a wire in memory.

mod atomic_updates;
mod buffers;
mod data_forms;
mod events;
mod framing;
mod hostile;
mod initiator;
mod limits;
mod logical_units;
mod medium_errors;
pub(crate) mod parts;
mod placing;
mod registration;
mod sessions;
mod shares;
mod task_management;
mod task_order;
mod window;
mod world;
