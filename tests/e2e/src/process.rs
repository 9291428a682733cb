//! What the tests of one process share with each other and with the daemons that they start.

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A TCP socket that the daemons of other tests do not inherit: it would stay open in them.
pub fn tcp_socket() -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?)
}

/// Raises the limit of open files of this process as far as it goes. Tests run side by side, so
/// `count` files for one of them is the least.
///
/// # Panics
/// Where it does not go as far.
pub fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let is_enough = limit.maximum.is_none_or(|maximum| maximum >= count);
    assert!(is_enough, "{count} open files are needed, and the hard limit is {limit:?}");
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("a limit up to the hard one");
}
