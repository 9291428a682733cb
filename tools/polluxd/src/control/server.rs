//! The loop of the control thread.

use super::client::{Client, Wish};
use super::places::{Place, place};
use super::socket::{ControlFault, ControlSocket};
use crate::daemon::{Daemon, Outcome, Reply};
use control_api::{ErrorCode, Id, Response, RpcError};
use mio::{Events, Interest, Poll, Token, Waker};
use reactor::{Alarm, ReserveDescriptor};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use units::limits::{CONTROL_ACCEPTS_PER_TURN_MAX, CONTROL_CLIENTS_MAX};

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Workers and reactors have something to say.
const ALARM: Token = Token(2);
const FIRST_CLIENT: usize = 3;

/// The exit code of a daemon that a second signal ended in the middle of its shutdown.
const EXIT_CODE_ENDED_AT_ONCE: i32 = 130;

/// The control socket and the signals.
pub(crate) struct Server {
    poll: Poll,
    alarm: Arc<Waker>,
    socket: ControlSocket,
    signals: Signals,
    /// Set when the daemon ends: from then on the next signal ends the process at once.
    is_ending: Arc<AtomicBool>,
    clients: BTreeMap<usize, Client>,
    /// Clients that may have another call: each gets one done in a turn, so that none keeps
    /// the others or a signal waiting.
    unfinished: Vec<usize>,
    /// More connections may wait to be accepted.
    is_accepting: bool,
    next_token: usize,
    /// For a client that comes when no descriptor is left. While one has it, there is none.
    reserve: ReserveDescriptor,
    /// A client may wait whom even the reserve did not help.
    accepts_again: bool,
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
            .map_err(step("handle signals for"))?;
        }
        let mut signals =
            Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(step("handle signals for"))?;
        let poll = Poll::new().map_err(step("poll"))?;
        let registry = poll.registry();
        registry
            .register(&mut socket.listener, LISTENER, Interest::READABLE)
            .and_then(|()| registry.register(&mut signals, SIGNALS, Interest::READABLE))
            .map_err(step("poll"))?;
        let alarm = Waker::new(registry, ALARM).map_err(step("poll"))?;
        Ok(Self {
            poll,
            alarm: Arc::new(alarm),
            socket,
            signals,
            is_ending,
            clients: BTreeMap::new(),
            unfinished: Vec::new(),
            is_accepting: false,
            next_token: FIRST_CLIENT,
            reserve: ReserveDescriptor::default(),
            accepts_again: false,
        })
    }

    /// Wakes [`Self::run`], from any thread, to take in what workers and reactors have done.
    pub(crate) fn alarm(&self) -> Alarm {
        let alarm = Arc::clone(&self.alarm);
        Arc::new(move || {
            if let Err(error) = alarm.wake() {
                tracing::error!(%error, "cannot wake the control thread");
            }
        })
    }

    /// Serves until a signal or a call ends the daemon, and until that end has come.
    ///
    /// # Errors
    /// The operating system does not let the thread wait.
    pub(crate) fn run(&mut self, daemon: &mut Daemon) -> io::Result<()> {
        let mut events = Events::with_capacity(CONTROL_CLIENTS_MAX + FIRST_CLIENT);
        while !daemon.is_over(Instant::now()) {
            let timeout = self.timeout(daemon, Instant::now());
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut wanted = std::mem::take(&mut self.unfinished);
            for event in &events {
                match event.token() {
                    LISTENER => self.is_accepting = true,
                    SIGNALS => self.handle_signals(daemon),
                    // It is looked for in every turn.
                    ALARM => {}
                    Token(client) => wanted.push(client),
                }
            }
            self.is_accepting |= std::mem::take(&mut self.accepts_again);
            daemon.handle_events();
            wanted.sort_unstable();
            wanted.dedup();
            for client in wanted {
                self.handle_client(client, daemon);
            }
            self.settle(daemon);
            self.accept(daemon);
            self.dismiss_overdue(Instant::now());
        }
        Ok(())
    }

    /// How long nothing is to be done unless something happens.
    fn timeout(&self, daemon: &Daemon, now: Instant) -> Option<Duration> {
        if !self.unfinished.is_empty() || self.is_accepting {
            return Some(Duration::ZERO);
        }
        let clients = self.clients.values().filter_map(|client| match &client.awaited {
            Some((_, awaited)) => Some(awaited.until),
            None => client.deadline(),
        });
        let until = clients.chain(daemon.deadline()).min();
        until.map(|until| until.saturating_duration_since(now))
    }

    /// Accepts some of the connections that wait.
    fn accept(&mut self, daemon: &mut Daemon) {
        for _ in 0..CONTROL_ACCEPTS_PER_TURN_MAX {
            if !self.is_accepting {
                return;
            }
            match self.socket.listener.accept() {
                Ok((stream, _)) => {
                    let now = Instant::now();
                    self.take_in(Client::new(stream, now), now, daemon);
                }
                Err(error) if ReserveDescriptor::is_needed_after(&error) => {
                    self.accepts_again = !self.use_reserve(daemon);
                    self.is_accepting = !self.accepts_again;
                }
                Err(error) => {
                    self.is_accepting = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::warn!(%error, "could not accept on the control socket");
                    }
                }
            }
        }
    }

    /// Gives a new connection a place, where there is one.
    fn take_in(&mut self, mut client: Client, now: Instant, daemon: &mut Daemon) {
        let taken = self.clients.iter().map(|(token, client)| (*token, client.standing()));
        match place(client.standing().is_privileged, taken) {
            Place::Free => {}
            Place::Of(idle) => {
                let sentence = format!(
                    "{CONTROL_CLIENTS_MAX} programs are connected to the control socket, and this \
                     connection was idle for the longest time"
                );
                let error = RpcError::new(ErrorCode::TooMany, sentence).hint("Connect again.");
                self.answer_early(idle, daemon);
                self.dismiss(idle, error, now);
            }
            Place::None => {
                let sentence = format!(
                    "{CONTROL_CLIENTS_MAX} programs are connected to the control socket, and all \
                     of them wait for answers"
                );
                let error = RpcError::new(ErrorCode::TooMany, sentence)
                    .hint("Close one of them and try again.");
                return client.dismiss(error, now);
            }
        }
        let token = self.next_token;
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self.poll.registry().register(&mut client.stream, Token(token), interest) {
            Ok(()) => {
                self.next_token += 1;
                self.clients.insert(token, client);
            }
            Err(error) => tracing::warn!(%error, "could not poll a control connection"),
        }
    }

    /// Ends the connections that were silent for too long.
    fn dismiss_overdue(&mut self, now: Instant) {
        let is_overdue = |client: &Client| client.deadline().is_some_and(|until| until <= now);
        let overdue = self.clients.iter().filter(|(_, client)| is_overdue(client));
        let overdue: Vec<_> = overdue.map(|(token, client)| (*token, client.overdue())).collect();
        for (token, error) in overdue {
            self.dismiss(token, error, now);
        }
    }

    fn dismiss(&mut self, token: usize, error: RpcError, now: Instant) {
        // Dropping the socket takes it out of the poll.
        if let Some(mut client) = self.clients.remove(&token) {
            tracing::debug!(%error, "closed a control connection");
            client.dismiss(error, now);
        }
        self.reserve.restore();
    }

    /// Tells a client that follows an operation how far it is.
    fn answer_early(&mut self, token: usize, daemon: &mut Daemon) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let Some((id, awaited)) = client.awaited.take() else { return };
        // At the end of its time every call has an answer.
        if let Some(outcome) = daemon.settle(&awaited, awaited.until, &mut client.stats_mark) {
            self.answer(token, id, outcome, daemon);
        }
    }

    /// Takes in the next client although no descriptor is left, with the reserve: whoever may end
    /// sessions must be able to. Others are told why not; without an answer they would wait without
    /// end. Returns whether that was possible.
    fn use_reserve(&mut self, daemon: &mut Daemon) -> bool {
        let now = Instant::now();
        self.reserve.give_up();
        let accepted = self.socket.listener.accept();
        if let Ok((stream, _)) = accepted {
            let sentence = "polluxd has no file descriptor left";
            let hint = "Raise LimitNOFILE of the service, or end sessions.";
            let mut client = Client::new(stream, now);
            if client.standing().is_privileged {
                tracing::warn!("serving a control client from the reserve: {sentence}. {hint}");
                client.borrow_descriptor(now);
                self.take_in(client, now, daemon);
            } else {
                client.dismiss(RpcError::new(ErrorCode::TooMany, sentence).hint(hint), now);
                drop(client);
                tracing::warn!("control client rejected: {sentence}");
            }
            // Not before the client that has it leaves.
            self.reserve.restore();
            return true;
        }
        self.reserve.restore();
        // Nobody may be left.
        accepted.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn handle_signals(&mut self, daemon: &mut Daemon) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            if signal == SIGHUP {
                reload(daemon);
            } else {
                self.begin_end(daemon);
            }
        }
    }

    fn begin_end(&self, daemon: &mut Daemon) {
        if self.is_ending.swap(true, Ordering::Relaxed) {
            return;
        }
        crate::run::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!(
            "shutting down: asking initiators to log out; a second signal stops at once"
        );
        daemon.begin_end(Instant::now());
    }

    /// Begins what a client wants next.
    fn handle_client(&mut self, token: usize, daemon: &mut Daemon) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        match client.next(Instant::now()) {
            Wish::Nothing => {}
            Wish::Leave => {
                // Dropping the socket takes it out of the poll.
                self.clients.remove(&token);
                self.reserve.restore();
            }
            Wish::Call(request) => match daemon.call(request.call) {
                Reply::Now(outcome) => self.answer(token, request.id, outcome, daemon),
                Reply::Later(awaited) => client.awaited = Some((request.id, awaited)),
            },
        }
    }

    /// Answers the calls that had to wait and can be answered now.
    fn settle(&mut self, daemon: &mut Daemon) {
        let now = Instant::now();
        let mut settled = Vec::new();
        for (&token, client) in &mut self.clients {
            let Some((id, awaited)) = client.awaited.take() else { continue };
            match daemon.settle(&awaited, now, &mut client.stats_mark) {
                Some(outcome) => settled.push((token, id, outcome)),
                None => client.awaited = Some((id, awaited)),
            }
        }
        for (token, id, outcome) in settled {
            self.answer(token, id, outcome, daemon);
        }
    }

    fn answer(&mut self, token: usize, id: Id, outcome: Outcome, daemon: &mut Daemon) {
        let Some(client) = self.clients.get_mut(&token) else {
            unreachable!("a client goes only when it awaits nothing")
        };
        client.answer(&match outcome.answer {
            Ok(result) => Response::success(id, result),
            Err(error) => Response::failure(id, error),
        });
        // The answer leaves as far as the client takes it, whatever comes next.
        client.flush(Instant::now());
        self.unfinished.push(token);
        if outcome.shutdown {
            self.begin_end(daemon);
        }
    }
}

fn reload(daemon: &mut Daemon) {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        crate::run::notify(&[sd_notify::NotifyState::Reloading, now]);
    }
    // Its end is reported when it has come.
    if let Err(error) = daemon.reload() {
        tracing::error!("reload: {error}");
        crate::run::notify(&[sd_notify::NotifyState::Ready]);
    }
}
