//! The daemon as a process: started, asked, signalled, ended.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod changes;
mod files;
mod process;
mod retries;
mod sessions;
mod start;
mod volumes;

use process::{Daemon, Place};
