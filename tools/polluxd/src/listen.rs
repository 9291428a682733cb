//! The listening sockets of the portals.

mod owner;

use crate::settings::PortalWish;
use owner::Owner;
use reactor::socket::{ListenError, listen, local_address, set_buffers};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use volume::Portal;

/// Pending connections: enough for a reconnect storm at a large site.
const BACKLOG: u16 = 1024;

/// How long to retry while a port is in use but has no owner. The io_uring of a killed daemon
/// keeps its listening sockets open until the kernel tears it down, some time after the process
/// is gone.
const TAKEN_BY_NOBODY_TIME_MAX: Duration = Duration::from_secs(15);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Listening on a portal failed.
#[derive(Debug)]
pub(crate) struct ListenFault {
    address: SocketAddr,
    owner: Option<Owner>,
    error: ListenError,
}

impl fmt::Display for ListenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, &self.owner) {
            (ListenError::AddressTaken { .. }, Some(owner)) => write!(
                f,
                "{} is in use by {owner}; stop it, or use another address with --listen ADDR:PORT",
                self.address
            ),
            (ListenError::AddressTaken { .. }, None) => write!(
                f,
                "{} is in use by another process, probably another iSCSI target (as root, \
                 `ss -ltnp 'sport = :{}'` shows which); stop it, or use another address with \
                 --listen ADDR:PORT",
                self.address,
                self.address.port()
            ),
            (error, _) => error.fmt(f),
        }
    }
}

/// Listens on all portals, with socket buffers of this size if given. A failure on an optional
/// portal is only a warning, as are buffers that the kernel limits to a smaller size.
///
/// # Errors
/// Listening on the first configured portal that fails.
pub(crate) fn listen_on(
    wishes: &[PortalWish],
    buffer_bytes: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(OwnedFd, Portal)>, ListenFault> {
    let mut listeners = Vec::new();
    for wish in wishes {
        let address = wish.portal.address;
        match listen_patiently(address) {
            Ok(socket) => {
                if let Some(bytes) = buffer_bytes {
                    warnings.extend(buffers_of(&socket, bytes));
                }
                // Port 0 selects any free port: initiators need the actual one.
                let address = local_address(&socket).unwrap_or(address);
                listeners.push((socket, Portal { address, ..wish.portal }));
            }
            Err(fault) => {
                if !wish.optional {
                    return Err(fault);
                }
                warnings.push(format!("not listening on {address}: {fault}"));
            }
        }
    }
    Ok(listeners)
}

/// Sets the buffer sizes. Returns a warning if the kernel did not grant them.
fn buffers_of(socket: &OwnedFd, bytes: u32) -> Option<String> {
    let wanted = units::len_usize(bytes);
    let sizes = match set_buffers(socket, wanted) {
        Ok(sizes) => sizes,
        Err(error) => return Some(format!("cannot set socket buffers of {bytes} bytes: {error}")),
    };
    let (send, receive) = (sizes.send_bytes, sizes.receive_bytes);
    (send < wanted || receive < wanted).then(|| {
        format!(
            "socket buffers limited by the kernel: requested {bytes} bytes, got {send} for sending \
             and {receive} for receiving; raise net.core.wmem_max and net.core.rmem_max, then \
             restart polluxd"
        )
    })
}

/// Listens; if the port is still held by a terminated process, waits until it is free.
fn listen_patiently(address: SocketAddr) -> Result<OwnedFd, ListenFault> {
    let until = Instant::now() + TAKEN_BY_NOBODY_TIME_MAX;
    loop {
        let error = match listen(address, BACKLOG) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        let taken = matches!(error, ListenError::AddressTaken { .. });
        let owner = if taken { Owner::of_port(address.port()) } else { None };
        if !taken || owner.is_some() || Instant::now() >= until {
            return Err(ListenFault { address, owner, error });
        }
        // No event: the kernel tells nobody when it has taken a dead process's ring apart.
        std::thread::park_timeout(TRY_AGAIN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn wish(address: SocketAddr, optional: bool) -> PortalWish {
        PortalWish { portal: Portal { address, portal_group_tag: 1 }, optional }
    }

    #[test]
    fn a_port_in_use_is_reported_with_its_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let fault = listen_on(&[wish(address, false)], None, &mut Vec::new()).unwrap_err();
        let sentence = fault.to_string();
        // Without permission to inspect other processes the message has no owner, but this is
        // our own process.
        let who = format!("{address} is in use by ");
        assert!(sentence.starts_with(&who), "{sentence}");
        assert!(sentence.contains(&format!("(pid {})", std::process::id())), "{sentence}");
        assert!(sentence.ends_with("; stop it, or use another address with --listen ADDR:PORT"));
    }

    #[test]
    fn buffers_beyond_the_kernel_limit_are_reported_with_the_sysctls_to_raise() {
        let free = "127.0.0.1:0".parse().unwrap();
        let mut warnings = Vec::new();
        listen_on(&[wish(free, false)], Some(1 << 14), &mut warnings).unwrap();
        assert_eq!(warnings, [""; 0]);
        // No kernel is configured for 1 GiB.
        listen_on(&[wish(free, false)], Some(1 << 30), &mut warnings).unwrap();
        let limited = "socket buffers limited by the kernel: requested 1073741824 bytes, got ";
        assert!(warnings[0].starts_with(limited), "{warnings:?}");
        assert!(warnings[0].ends_with("net.core.rmem_max, then restart polluxd"));
    }

    #[test]
    fn a_failure_on_an_optional_portal_is_a_warning() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let mut warnings = Vec::new();
        let wishes = [wish(free, false), wish(address, true)];
        let listeners = listen_on(&wishes, None, &mut warnings);
        let listeners = listeners.unwrap();
        assert_eq!(listeners.len(), 1);
        assert_ne!(listeners[0].1.address.port(), 0);
        assert!(warnings[0].starts_with(&format!("not listening on {address}: ")));
    }
}
