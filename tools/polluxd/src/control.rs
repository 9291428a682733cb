//! The control thread: signals, and calls over a UNIX socket. It never waits for one client.

mod client;
mod places;
mod server;
mod socket;

pub(crate) use server::Server;
pub(crate) use socket::ControlFault;
