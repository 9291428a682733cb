//! The Pollux daemon.
mod config;
mod state;
fn main() {}
