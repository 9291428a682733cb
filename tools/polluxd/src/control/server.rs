//! The loop of the control thread.

use super::client::{Client, Wish};
use super::socket::{ControlFault, ControlSocket};
use crate::daemon::Daemon;
use control_api::{ErrorCode, Id, Response, RpcError};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use units::limits::CONTROL_CLIENTS_MAX;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// The exit code of a daemon that a second signal ended in the middle of its shutdown.
const EXIT_CODE_ENDED_AT_ONCE: i32 = 130;

/// The control socket and the signals.
pub(crate) struct Server {
    poll: Poll,
    socket: ControlSocket,
    signals: Signals,
    /// Set when the daemon ends: from then on the next signal ends the process at once.
    is_ending: Arc<AtomicBool>,
    clients: BTreeMap<usize, Client>,
    /// Clients that may have another call: each gets one done in a turn, so that none keeps
    /// the others or a signal waiting.
    unfinished: Vec<usize>,
    next_token: usize,
}

impl Server {
    /// Listens at a path and takes over the signals.
    ///
    /// # Errors
    /// Why there is no control socket.
    pub(crate) fn bind(path: &Path) -> Result<Self, ControlFault> {
        let mut socket = ControlSocket::bind(path)?;
        let step = |step| {
            let path: PathBuf = path.to_owned();
            move |source: io::Error| ControlFault::Step { step, path, source }
        };
        let is_ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(
                signal,
                EXIT_CODE_ENDED_AT_ONCE,
                Arc::clone(&is_ending),
            )
            .map_err(step("take over the signals beside"))?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
            .map_err(step("take over the signals beside"))?;
        let poll = Poll::new().map_err(step("watch"))?;
        let registry = poll.registry();
        registry
            .register(&mut socket.listener, LISTENER, Interest::READABLE)
            .and_then(|()| registry.register(&mut signals, SIGNALS, Interest::READABLE))
            .map_err(step("watch"))?;
        Ok(Self {
            poll,
            socket,
            signals,
            is_ending,
            clients: BTreeMap::new(),
            unfinished: Vec::new(),
            next_token: FIRST_CLIENT,
        })
    }

    /// Serves until a signal or a call ends the daemon.
    ///
    /// # Errors
    /// The operating system does not let the thread wait.
    pub(crate) fn run(&mut self, daemon: &mut Daemon) -> io::Result<()> {
        let mut events = Events::with_capacity(CONTROL_CLIENTS_MAX + FIRST_CLIENT);
        loop {
            let timeout = if self.unfinished.is_empty() { None } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut wanted = std::mem::take(&mut self.unfinished);
            let mut is_ended = false;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    SIGNALS => is_ended |= self.handle_signals(daemon),
                    Token(client) => wanted.push(client),
                }
            }
            wanted.sort_unstable();
            wanted.dedup();
            for client in wanted {
                is_ended |= self.handle_client(client, daemon);
            }
            if is_ended {
                self.is_ending.store(true, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    fn accept(&mut self) {
        loop {
            let stream = match self.socket.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "could not accept on the control socket");
                    return;
                }
            };
            let mut client = Client::new(stream);
            if self.clients.len() >= CONTROL_CLIENTS_MAX {
                let error = RpcError::new(
                    ErrorCode::TooMany,
                    format!("{CONTROL_CLIENTS_MAX} programs are connected to the control socket"),
                )
                .hint("Close one of them and try again.");
                client.answer(&Response::failure(Id::Null, error));
                client.flush();
                continue;
            }
            let token = self.next_token;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered =
                self.poll.registry().register(&mut client.stream, Token(token), interest);
            match registered {
                Ok(()) => {
                    self.next_token += 1;
                    self.clients.insert(token, client);
                }
                Err(error) => tracing::warn!(%error, "could not watch a control connection"),
            }
        }
    }

    /// Handles the signals that came; tells whether the daemon is to end.
    fn handle_signals(&mut self, daemon: &mut Daemon) -> bool {
        let mut ended = false;
        for signal in self.signals.pending() {
            if signal == SIGHUP {
                reload(daemon);
            } else {
                ended = true;
            }
        }
        ended
    }

    /// Does what a client wants next; tells whether the daemon is to end.
    fn handle_client(&mut self, token: usize, daemon: &mut Daemon) -> bool {
        let Some(client) = self.clients.get_mut(&token) else { return false };
        match client.next() {
            Wish::Nothing => false,
            Wish::Leave => {
                // Dropping the socket takes it out of the poll.
                self.clients.remove(&token);
                false
            }
            Wish::Call(request) => {
                let outcome = daemon.call(request.call, &mut client.stats_mark);
                client.answer(&match outcome.answer {
                    Ok(result) => Response::success(request.id, result),
                    Err(error) => Response::failure(request.id, error),
                });
                // The answer leaves as far as the client takes it, whatever comes next.
                client.flush();
                self.unfinished.push(token);
                outcome.shutdown
            }
        }
    }
}

fn reload(daemon: &mut Daemon) {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        crate::run::notify(&[sd_notify::NotifyState::Reloading, now]);
    }
    match daemon.reload() {
        Ok(applied) if applied.changes.is_empty() => tracing::info!("reload: nothing changed"),
        Ok(applied) => tracing::info!(generation = applied.generation, "reload: done"),
        Err(error) => tracing::error!("reload: {error}"),
    }
    crate::run::notify(&[sd_notify::NotifyState::Ready]);
}
