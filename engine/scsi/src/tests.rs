//! The device server as an initiator sees it: CDB bytes in, literal answers out.

mod blocks;
mod fixture;
mod inquiry;
mod mode;
mod operation_codes;
mod plain;
mod properties;
mod report;
mod sense;
mod thin;
