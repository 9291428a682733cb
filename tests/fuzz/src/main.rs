//! All fuzz targets in one program, so that they are built and linked once.
//!
//! POLLUX_FUZZ_TARGET names the one to run; the arguments are libFuzzer's. `tests/fuzz/run` does
//! both. A finding is a panic.

#![no_main]

mod cdb;
mod deframer;
mod login;
mod pdu;
mod targets;
mod text;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(targets::chosen);

fuzz_target!(|data: &[u8]| (*CHOSEN)(data));
