//! Listening sockets: accepting, and going on after it has failed.

use crate::buffers::Ring;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use units::{Instant, ReactorId};
use uring::{Errno, Refusal, ReserveDescriptor, SocketId};

/// The listening sockets of a reactor. A listener's token is its place in the list.
#[derive(Debug)]
pub(crate) struct Listeners {
    reactor: ReactorId,
    sockets: Vec<SocketId>,
    /// Listeners on which accepting has failed, and when it is tried again.
    again: Vec<u64>,
    again_at: Instant,
    /// Connections refused since that was last logged, and when that was.
    refusals: u64,
    refusals_logged_at: Instant,
    reserve: ReserveDescriptor,
    /// Times that no descriptor was left since that was last logged, and when that was.
    shortages: u64,
    shortages_logged_at: Option<Instant>,
}

impl Listeners {
    pub(crate) fn new(reactor: ReactorId, now: Instant) -> Self {
        Self {
            reactor,
            sockets: Vec::new(),
            again: Vec::new(),
            again_at: now,
            refusals: 0,
            refusals_logged_at: Instant(0),
            reserve: ReserveDescriptor::default(),
            shortages: 0,
            shortages_logged_at: None,
        }
    }

    /// Begins to accept on these sockets.
    pub(crate) fn listen(&mut self, listeners: Vec<OwnedFd>, now: Instant, ring: &mut Ring) {
        for fd in listeners {
            match ring.add_listener(fd) {
                Ok(listener) => {
                    let token = self.sockets.len() as u64;
                    self.sockets.push(listener);
                    self.accept(listener, token, now, ring);
                }
                Err(refused) => {
                    let refusal = refused.reason;
                    tracing::error!(reactor = self.reactor.0, %refusal, "cannot listen");
                }
            }
        }
    }

    /// Closes all of them.
    pub(crate) fn close(&mut self, ring: &mut Ring) {
        self.again.clear();
        for listener in std::mem::take(&mut self.sockets) {
            ring.close(listener);
        }
    }

    /// Whether a connection that was accepted can be kept. It cannot where the reserve was given up
    /// for it and no other descriptor has become free: then it is to be closed, and
    /// [`Self::closed_for_want`] told.
    pub(crate) fn can_keep(&mut self) -> bool {
        self.reserve.restore()
    }

    /// A connection was closed at once because no descriptor was left for it.
    pub(crate) fn closed_for_want(&mut self, peer: Option<SocketAddr>, now: Instant) {
        self.reserve.restore();
        self.shortages += 1;
        let is_logged = self.shortages_logged_at.is_some_and(|at| {
            // Rarely, and once at the first time.
            now.since(at) < REFUSALS_LOGGED_EVERY
        });
        if !is_logged {
            let count = std::mem::take(&mut self.shortages);
            self.shortages_logged_at = Some(now);
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(
                peer,
                count,
                "connections closed: no file descriptor is left. Raise LimitNOFILE of the service"
            );
        }
    }

    /// Accepting has stopped: it goes on, unless the listener is being closed.
    pub(crate) fn failed(&mut self, failure: AcceptFailure, now: Instant, ring: &mut Ring) {
        let AcceptFailure { token, errno } = failure;
        if errno == Errno::CANCELED {
            return;
        }
        let wants_descriptor = ReserveDescriptor::is_needed_after(&errno.into());
        if wants_descriptor && self.reserve.give_up() {
            // The kernel can accept one connection with it, which is closed then.
            if let Some(listener) = self.listener(token) {
                self.accept(listener, token, now, ring);
            }
            return;
        }
        if !wants_descriptor {
            tracing::warn!(
                reactor = self.reactor.0,
                %errno,
                "accepting connections failed; trying again"
            );
        }
        // Not at once: what is missing is still missing.
        self.again.push(token);
        self.again_at = now.after(ACCEPT_PAUSE);
    }

    /// Goes on accepting, some time after it has failed. Returns whether there was anything to do.
    pub(crate) fn retry(&mut self, now: Instant, ring: &mut Ring) -> bool {
        if self.again.is_empty() || now < self.again_at {
            return false;
        }
        for token in std::mem::take(&mut self.again) {
            if let Some(listener) = self.listener(token) {
                self.accept(listener, token, now, ring);
            }
        }
        true
    }

    /// The listener of a token; `None` where it was closed meanwhile.
    fn listener(&self, token: u64) -> Option<SocketId> {
        usize::try_from(token).ok().and_then(|place| self.sockets.get(place).copied())
    }

    /// When [`Self::retry`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.again.is_empty() { None } else { Some(self.again_at) }
    }

    /// Logs that a connection was refused, but not as often as a peer likes to be.
    pub(crate) fn refused(&mut self, peer: SocketAddr, now: Instant) {
        self.refusals += 1;
        if now.since(self.refusals_logged_at) >= REFUSALS_LOGGED_EVERY {
            let count = std::mem::take(&mut self.refusals);
            self.refusals_logged_at = now;
            let why = "too many connections, too many logins in progress from this address, or \
                       shutting down";
            tracing::warn!(%peer, count, why, "connections refused");
        }
    }

    /// Begins to accept, or tries it again some time later: the ring may be full just now.
    fn accept(&mut self, listener: SocketId, token: u64, now: Instant, ring: &mut Ring) {
        if let Err(refusal) = ring.accept(listener, token) {
            tracing::error!(reactor = self.reactor.0, %refusal, "cannot accept connections");
            if refusal == Refusal::Full {
                self.again.push(token);
                self.again_at = now.after(ACCEPT_PAUSE);
            }
        }
    }
}

/// Accepting has stopped on a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcceptFailure {
    pub(crate) token: u64,
    pub(crate) errno: Errno,
}

/// The addresses of a socket that has just been accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Ends {
    /// `None` where the peer has gone already.
    pub(crate) fn of(fd: &OwnedFd) -> Option<Self> {
        let peer = uring::socket::peer_address(fd).ok()?;
        let local = uring::socket::local_address(fd).ok()?;
        Some(Self { peer, local })
    }
}

/// How long to wait before accepting is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A hostile peer must not fill the log.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(5);
