//! The rules, one file per subject.

pub mod blobs;
pub mod columns;
pub mod dependencies;
pub mod edges;
pub mod fuzzing;
pub mod limits;
pub mod markdown;
pub mod names;
pub mod purity;
pub mod sizes;
pub mod unsafe_code;
pub mod words;
