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

/// Connections that wait to be accepted: a reconnect storm of a large site.
const BACKLOG: u16 = 1024;

/// How long a port may be taken by nobody. The ring of a daemon that was killed holds its
/// listening sockets until the kernel has taken it apart, some time after the process is gone.
const TAKEN_BY_NOBODY_TIME_MAX: Duration = Duration::from_secs(15);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A portal that cannot be listened on.
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
                "{} is in use by {owner}; stop it, or listen elsewhere with --listen ADDR:PORT",
                self.address
            ),
            (ListenError::AddressTaken { .. }, None) => write!(
                f,
                "{} is in use by another program, most likely another iSCSI target (`ss -ltnp \
                 'sport = :{}'` run by root shows which); stop it, or listen elsewhere with \
                 --listen ADDR:PORT",
                self.address,
                self.address.port()
            ),
            (error, _) => error.fmt(f),
        }
    }
}

/// Listens on all portals, with socket buffers of this size if one is given. An optional portal
/// that cannot be had is a warning, as are buffers that the kernel makes smaller.
///
/// # Errors
/// The first portal that somebody asked for and that cannot be had.
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
                // Port 0 asks for any free one: what was given is what initiators are told.
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

/// Sets the buffers; a sentence where they are not what was asked for.
fn buffers_of(socket: &OwnedFd, bytes: u32) -> Option<String> {
    let wanted = units::len_usize(bytes);
    let sizes = match set_buffers(socket, wanted) {
        Ok(sizes) => sizes,
        Err(error) => return Some(format!("cannot set socket buffers of {bytes} bytes: {error}")),
    };
    let (send, receive) = (sizes.send_bytes, sizes.receive_bytes);
    (send < wanted || receive < wanted).then(|| {
        format!(
            "socket buffers of {bytes} bytes were asked for, and the kernel gives {send} to send \
             and {receive} to receive; raise net.core.wmem_max and net.core.rmem_max"
        )
    })
}

/// Listens, where need be after a port that no process has any more has become free.
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
    fn a_port_that_is_taken_is_named_with_who_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let fault = listen_on(&[wish(address, false)], None, &mut Vec::new()).unwrap_err();
        let sentence = fault.to_string();
        // Whoever may not look into other processes gets the other sentence, but not for its own.
        let who = format!("{address} is in use by ");
        assert!(sentence.starts_with(&who), "{sentence}");
        assert!(sentence.contains(&format!("(pid {})", std::process::id())), "{sentence}");
        assert!(sentence.ends_with("; stop it, or listen elsewhere with --listen ADDR:PORT"));
    }

    #[test]
    fn buffers_beyond_the_kernels_limit_are_told_with_what_to_raise() {
        let free = "127.0.0.1:0".parse().unwrap();
        let mut warnings = Vec::new();
        listen_on(&[wish(free, false)], Some(1 << 14), &mut warnings).unwrap();
        assert_eq!(warnings, [""; 0]);
        // No kernel is set up for a whole GiB.
        listen_on(&[wish(free, false)], Some(1 << 30), &mut warnings).unwrap();
        assert!(warnings[0].starts_with("socket buffers of 1073741824 bytes were asked for"));
        assert!(warnings[0].ends_with("raise net.core.wmem_max and net.core.rmem_max"));
    }

    #[test]
    fn an_optional_portal_that_cannot_be_had_is_a_warning() {
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
