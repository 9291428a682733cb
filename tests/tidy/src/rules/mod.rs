//! The rules, one file per subject.

pub mod assertions;
pub mod blobs;
pub mod columns;
pub mod conversions;
pub mod dependencies;
pub mod edges;
pub mod fuzzing;
pub mod limits;
pub mod markdown;
pub mod names;
pub mod owners;
pub mod parameters;
pub mod purity;
pub mod sizes;
pub mod unsafe_code;
pub mod waits;
pub mod words;
