//! SPC and SBC as pure functions: CDB parsing, device server, VPD, mode pages, sense.
//!
//! A command goes through three steps, each a function without state: [`parse`] turns the bytes
//! of a CDB into a [`Command`], [`plan`] checks the command against a [`UnitModel`] and says
//! what has to happen as a [`Plan`], and [`parameters`] does the same for a parameter list once
//! it has arrived. Whoever executes plans owns the data buffers, the nexus state and the medium.
//! Nothing here knows a transport; a READ or WRITE is parsed and planned without allocation.
//!
//! The standards are SAM-5, SPC-4 and SBC-3, and SPC-2 for RESERVE and RELEASE. Rules cite the
//! clause by its title, because its number differs from draft to draft.

mod access;
mod atomic_update;
mod block_plan;
mod capacity;
mod command;
mod inquiry;
mod lba_status;
mod mode;
mod operation_codes;
mod operations;
mod parse;
mod plain;
mod plan;
mod report_luns;
mod sense;
mod sense_codes;
mod unit_model;
mod unmap;
mod vpd;

pub use access::Access;
pub use atomic_update::{AtomicUpdate, UpdateKind};
pub use command::{
    BlockRange, Command, Inquiry, MediumAccess, ModeSelect, ModeSense, OperationCodesReport,
    PageControl, PowerCondition, ReportingOptions, StartStopUnit, Transfer, VerifyBytes, WriteSame,
};
pub use inquiry::inquiry;
pub use lba_status::{LbaStatus, Provisioning, lba_status_data, lba_status_descriptors_max};
pub use mode::{ModePages, ModeParameters};
pub use operations::{CdbFormat, cdb_formats};
pub use parse::parse;
pub use plain::PlainTransfer;
pub use plan::{ParameterKind, Plan, parameters, plan, plan_without_logical_unit};
pub use report_luns::report_luns;
pub use sense::{FieldPointer, Sense, SenseData, SenseFormat, SenseKey, request_sense};
pub use unit_model::{Identity, Limits, NaaDesignator, Rotation, TargetPort, UnitModel};

#[cfg(test)]
mod tests;
