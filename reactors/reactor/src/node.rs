//! The node: all reactors of this machine, as the control thread sees them.

use crate::backends::{HeldFile, SharedStore, Store, with_zero_buffer};
use crate::commands::{Command, Commands};
use crate::control_link::{Alarm, ControlLink, Notice, Notices};
use crate::events::Events;
use crate::mailbox::{Doorbell, PostOffice};
use crate::reactor::{Mail, Parts, Reactor};
use crate::report::{Questions, ReactorReport, ReportRound};
use crate::sweeper::Sweeps;
use shard::{Entropy, SessionCaps, Shard, ShardOptions};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use units::{ConnId, PoolLayout, ReactorId, SizeClass, VolumeId, limits};
use uring::{Driver, DriverOptions, Napi, SetupError, Waker};
use volume::Catalog;

/// What a reactor does while it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollMode {
    /// Spins for a while after the last work, then sleeps. The default.
    Adaptive,
    /// Never sleeps, but when it waits for a disk: the lowest latency, for a full core each.
    Busy,
    /// Sleeps at once: the least power, for some microseconds of wake-up per burst of work.
    Interrupt,
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The core of each reactor; one reactor per entry.
    pub cores: Vec<usize>,
    /// Submissions that one turn of a reactor queues before it enters the kernel.
    pub queue_depth: u32,
    /// What a reactor does while it has nothing to do.
    pub poll: PollMode,
    /// How long an adaptive reactor spins.
    pub spin: Duration,
    /// How each reactor's buffer pool is cut.
    pub layout: PoolLayout,
    /// Sleep in the ring when only the disk has had work for 100 us, in every mode. Switch it off
    /// only where the kernel's workers have cores of their own.
    pub sleep_on_disk: bool,
    /// How the kernel polls network cards while a reactor waits; interrupts only where `None`.
    pub napi: Option<Napi>,
    /// How many sessions each address and each initiator may have.
    pub caps: SessionCaps,
    /// How long a login may take.
    pub login_time_max: Duration,
}

impl NodeOptions {
    /// The default for these cores: adaptive, 64 MiB of buffers for each.
    pub fn new(cores: Vec<usize>) -> Self {
        Self {
            cores,
            queue_depth: 1024,
            poll: PollMode::Adaptive,
            spin: Duration::from_micros(50),
            layout: default_layout(1),
            sleep_on_disk: true,
            napi: None,
            caps: SessionCaps::default(),
            login_time_max: limits::LOGIN_TIME_MAX,
        }
    }
}

/// The pool of one reactor: about 64 MiB for each unit of `scale`. Small buffers are many,
/// because small commands come in swarms; large ones are few, because four keep a task busy.
pub fn default_layout(scale: u32) -> PoolLayout {
    let scale = scale.clamp(1, 64);
    PoolLayout::new(vec![
        SizeClass { bytes: 4096, count: 2048 * scale },
        SizeClass { bytes: 16 << 10, count: 512 * scale },
        SizeClass { bytes: 64 << 10, count: 192 * scale },
        SizeClass { bytes: limits::BURST_LENGTH_MAX, count: 144 * scale },
    ])
}

/// Why a node could not be started.
#[derive(Debug)]
pub enum StartError {
    /// There are no cores, or too many.
    Cores(usize),
    /// A reactor could not be set up.
    Reactor {
        /// Its core.
        core: usize,
        /// Why.
        source: SetupError,
    },
    /// A reactor ended before it had begun.
    ReactorEnded {
        /// Its core.
        core: usize,
    },
    /// A thread could not be started.
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(count) => write!(
                f,
                "{count} reactors were asked for; name 1 to {} cores with --cores",
                limits::REACTORS_MAX
            ),
            Self::Reactor { core, source } => {
                write!(f, "cannot set up the reactor on core {core}: {source}")
            }
            Self::ReactorEnded { core } => {
                write!(f, "the reactor on core {core} ended before it had begun; see the log")
            }
            Self::Thread(error) => write!(
                f,
                "cannot start a thread for a reactor: {error}; is the limit on processes reached?"
            ),
        }
    }
}

impl std::error::Error for StartError {}

struct Handle {
    thread: Option<JoinHandle<()>>,
    commands: Commands,
    doorbell: Arc<Doorbell<Waker>>,
    questions: Questions,
    is_drained: bool,
}

impl Handle {
    fn tell(&mut self, command: Command) {
        self.commands.send(command);
        self.doorbell.ring();
    }

    /// Sends what waits for room.
    fn retry(&mut self) {
        if self.commands.retry() {
            self.doorbell.ring();
        }
    }

    /// Makes it answer a question of this round or a later one.
    fn ask(&mut self, round: u64) {
        if self.questions.ask(round) {
            self.tell(Command::Report(round));
        }
    }

    fn reported(&mut self, round: u64, report: ReactorReport) {
        if let Some(again) = self.questions.answered(round, report) {
            self.tell(Command::Report(again));
        }
    }
}

/// All reactors of a node. No method waits for a reactor, but the end of the node does.
pub struct Node {
    reactors: Vec<Handle>,
    notices: Notices,
    /// The open volumes, so that a reactor's close is never the last one: the last close of a
    /// removed file frees its blocks, which may take seconds.
    held: BTreeMap<VolumeId, Held>,
    /// What the reactors have reported since it was last taken.
    events: Vec<Events>,
    round: u64,
}

/// A volume that reactors have open.
struct Held {
    store: SharedStore,
    /// Reactors that have not closed it yet, once the catalog has dropped it.
    closing: Option<usize>,
}

/// A volume that no reactor has open any more. Dropping it closes the file or frees the memory,
/// which may take long.
#[derive(Debug)]
pub struct ClosedVolume {
    /// Which.
    pub id: VolumeId,
    /// What is left of it, for [`Drop`].
    _store: SharedStore,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("reactors", &self.reactors.len()).finish()
    }
}

/// What a thread needs when all threads have their rings.
type Rest = (crate::mailbox::Outboxes<Mail, Waker>, Arc<Doorbell<Waker>>);

/// A thread that has its ring, or has failed to.
type Ready = Result<(Waker, Vec<String>), SetupError>;

impl Node {
    /// Starts a reactor on each core and serves `catalog` on these listening sockets. `alarm`
    /// wakes whoever is to call [`Self::handle_notices`]. The sentences are for the administrator.
    ///
    /// # Errors
    /// What any of the reactors lacks.
    pub fn start(
        options: NodeOptions,
        listeners: Vec<OwnedFd>,
        catalog: Arc<Catalog>,
        stores: Vec<(VolumeId, Store)>,
        alarm: Alarm,
    ) -> Result<(Self, Vec<String>), StartError> {
        let count = options.cores.len();
        if count == 0 || count > limits::REACTORS_MAX {
            return Err(StartError::Cores(count));
        }
        let options = Arc::new(options);
        let office = PostOffice::new(count);
        let notices = Notices::new(alarm);
        let sweeps = Sweeps::start().map_err(StartError::Thread)?;
        let mut starting = Vec::new();
        for (at, &core) in options.cores.iter().enumerate() {
            let given = Given {
                inboxes: office.inboxes(at),
                control: notices.link(),
                catalog: Arc::clone(&catalog),
                sweeps: sweeps.clone(),
            };
            let thread = Starting::spawn(at, core, &options, given)?;
            starting.push(thread);
        }
        let mut doorbells = Vec::new();
        let mut warnings = Vec::new();
        for thread in &starting {
            match thread.ready.recv() {
                Ok(Ok((waker, said))) => {
                    doorbells.push(Arc::new(Doorbell::new(waker)));
                    warnings.extend(said);
                }
                Ok(Err(source)) => {
                    return Err(StartError::Reactor { core: thread.core, source });
                }
                Err(_) => return Err(StartError::ReactorEnded { core: thread.core }),
            }
        }
        let mut reactors = Vec::new();
        for (at, thread) in starting.into_iter().enumerate() {
            let outboxes = office.outboxes(at, doorbells.clone());
            reactors.push(thread.finish(outboxes, Arc::clone(&doorbells[at])));
        }
        warnings.sort();
        warnings.dedup();
        let mut node =
            Self { reactors, notices, held: BTreeMap::new(), events: Vec::new(), round: 0 };
        node.apply(catalog, stores);
        node.listen(&listeners);
        Ok((node, warnings))
    }

    /// Every reactor accepts on every listening socket, so that logins spread over the cores.
    fn listen(&mut self, listeners: &[OwnedFd]) {
        for reactor in &mut self.reactors {
            let own: Vec<OwnedFd> = listeners.iter().filter_map(|l| l.try_clone().ok()).collect();
            if own.len() < listeners.len() {
                tracing::error!("cannot share a listening socket: too many open files?");
            }
            reactor.tell(Command::Listen(own));
        }
    }

    /// Makes every reactor switch to a new catalog. `opened` has the volumes that are new. Each
    /// volume that the catalog drops comes back from [`Self::handle_notices`] once it is closed.
    pub fn apply(&mut self, catalog: Arc<Catalog>, opened: Vec<(VolumeId, Store)>) {
        let opened: Vec<(VolumeId, SharedStore)> =
            opened.into_iter().map(|(id, store)| (id, store.into())).collect();
        for (id, store) in &opened {
            let held = Held { store: store.clone(), closing: None };
            let before = self.held.insert(*id, held);
            debug_assert!(before.is_none(), "volume {} is opened twice", id.0);
        }
        let reactors = self.reactors.len();
        let mut gone = Vec::new();
        for (id, held) in &mut self.held {
            if held.closing.is_none() && catalog.volume(*id).is_none() {
                held.closing = Some(reactors);
                gone.push(*id);
            }
        }
        for reactor in &mut self.reactors {
            let catalog = Arc::clone(&catalog);
            reactor.tell(Command::Apply { catalog, opened: opened.clone(), gone: gone.clone() });
        }
    }

    /// The files and devices of the volumes that are not being closed.
    pub fn files(&self) -> Vec<HeldFile> {
        let served = self.held.iter().filter(|(_, held)| held.closing.is_none());
        served.filter_map(|(&id, held)| held.store.file(id)).collect()
    }

    /// Ends the session of a connection; nothing happens where there is none any more.
    pub fn drop_session(&mut self, reactor: ReactorId, conn: ConnId) {
        if let Some(reactor) = self.reactors.get_mut(usize::from(reactor.0)) {
            reactor.tell(Command::DropSession(conn));
        }
    }

    /// Makes every reactor report. [`Self::has_all_reports`] says when all have, and
    /// [`Self::known_reports`] has what they said.
    pub fn request_reports(&mut self) -> ReportRound {
        self.round += 1;
        for reactor in &mut self.reactors {
            reactor.ask(self.round);
        }
        ReportRound(self.round)
    }

    /// The last report of every reactor that has ever given one, by reactor.
    pub fn known_reports(&self) -> Vec<&ReactorReport> {
        self.reactors.iter().filter_map(|r| r.questions.answer(0)).collect()
    }

    /// Whether every reactor has reported in this round or a later one.
    pub fn has_all_reports(&self, round: ReportRound) -> bool {
        self.reactors.iter().all(|r| r.questions.answer(round.0).is_some())
    }

    /// Takes in what the reactors have reported since the last call. To be called whenever the
    /// alarm has rung. Returns the volumes that are closed now.
    pub fn handle_notices(&mut self) -> Vec<ClosedVolume> {
        let mut closed = Vec::new();
        while let Some(notice) = self.notices.take() {
            match notice {
                Notice::Closed(volume) => closed.extend(self.closed(volume)),
                Notice::CommandsTaken(reactor) => self.reactor(reactor).retry(),
                Notice::Drained { reactor, is_drained } => {
                    self.reactor(reactor).is_drained = is_drained;
                }
                Notice::Events(events) => self.events.push(*events),
                Notice::Report { round, report } => {
                    self.reactor(report.reactor).reported(round, *report);
                }
            }
        }
        closed
    }

    /// What the reactors want an operator to be told, as far as [`Self::handle_notices`] has taken
    /// it in.
    pub fn take_events(&mut self) -> Vec<Events> {
        std::mem::take(&mut self.events)
    }

    /// One more reactor has closed a volume; the last one gives it back.
    fn closed(&mut self, id: VolumeId) -> Option<ClosedVolume> {
        let held = self.held.get_mut(&id);
        let closing = held.and_then(|held| held.closing.as_mut());
        let Some(closing) = closing else {
            unreachable!("a reactor closed volume {}, which no catalog has dropped", id.0)
        };
        assert!(*closing > 0, "volume {} is closed by more reactors than there are", id.0);
        *closing -= 1;
        if *closing > 0 {
            return None;
        }
        self.held.remove(&id).map(|held| ClosedVolume { id, _store: held.store })
    }

    fn reactor(&mut self, id: ReactorId) -> &mut Handle {
        // Only our own reactors have an end of the queue.
        &mut self.reactors[usize::from(id.0)]
    }

    /// Stops accepting and asks all initiators to log out; [`Self::is_drained`] says when they
    /// have.
    pub fn begin_shutdown(&mut self) {
        for reactor in &mut self.reactors {
            reactor.tell(Command::Shutdown);
        }
    }

    /// Whether, after [`Self::begin_shutdown`], nobody is connected and nothing is under way.
    pub fn is_drained(&self) -> bool {
        self.reactors.iter().all(|r| r.is_drained)
    }
}

impl Drop for Node {
    /// Ends the reactors at once; whoever is still connected is cut off.
    fn drop(&mut self) {
        for reactor in &mut self.reactors {
            reactor.commands.stop();
            reactor.doorbell.ring();
        }
        for reactor in &mut self.reactors {
            if let Some(thread) = reactor.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a reactor ended by a panic");
            }
        }
    }
}

/// Ends the process where a reactor panics. The other reactors would wait for its answers for
/// ever, and with it all logins; a process that has ended is started again.
struct AllOrNothing;

impl Drop for AllOrNothing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a reactor has panicked, which is a mistake of ours: ending at once");
            std::process::abort();
        }
    }
}

/// A thread that is setting its reactor up.
struct Starting {
    core: usize,
    ready: Receiver<Ready>,
    go: Sender<Rest>,
    commands: Commands,
    thread: JoinHandle<()>,
}

/// What a thread is given at its start.
struct Given {
    inboxes: crate::mailbox::Inboxes<Mail>,
    control: ControlLink,
    catalog: Arc<Catalog>,
    sweeps: Sweeps,
}

impl Starting {
    fn spawn(
        at: usize,
        core: usize,
        options: &Arc<NodeOptions>,
        given: Given,
    ) -> Result<Self, StartError> {
        let (say_ready, ready) = channel();
        let (go, wait_go) = channel();
        let commands = Commands::new();
        let options = Arc::clone(options);
        let own_commands = commands.reader();
        let body = move || {
            let (driver, warnings) = match set_up(core, &options) {
                Ok(set_up) => set_up,
                Err(error) => {
                    // Whoever waits for this is `Node::start`.
                    let _sent = say_ready.send(Err(error));
                    return;
                }
            };
            if say_ready.send(Ok((driver.waker(), warnings.clone()))).is_err() {
                return;
            }
            let Ok((outboxes, doorbell)) = wait_go.recv() else { return };
            let Given { inboxes, control, catalog, sweeps } = given;
            let shard = shard(at, &options, catalog);
            // There are at most REACTORS_MAX.
            let id = ReactorId(u8::try_from(at).unwrap_or(u8::MAX));
            let commands = own_commands;
            let mut reactor = Reactor::new(Parts {
                id,
                options,
                driver,
                shard,
                inboxes,
                outboxes,
                doorbell,
                commands,
                control,
                sweeps,
                warnings,
            });
            let _whole = AllOrNothing;
            reactor.run();
        };
        let thread = std::thread::Builder::new()
            .name(format!("reactor-{at}"))
            .spawn(body)
            .map_err(StartError::Thread)?;
        Ok(Self { core, ready, go, commands, thread })
    }

    fn finish(
        self,
        outboxes: crate::mailbox::Outboxes<Mail, Waker>,
        doorbell: Arc<Doorbell<Waker>>,
    ) -> Handle {
        let Self { go, commands, thread, core, .. } = self;
        if go.send((outboxes, Arc::clone(&doorbell))).is_err() {
            tracing::error!(core, "a reactor ended before it had begun");
        }
        let questions = Questions::default();
        Handle { thread: Some(thread), commands, doorbell, questions, is_drained: false }
    }
}

/// Pins the thread and makes its ring.
fn set_up(core: usize, options: &NodeOptions) -> Result<(Driver, Vec<String>), SetupError> {
    let mut warnings = Vec::new();
    if let Err(error) = uring::affinity::pin_current_thread(core) {
        warnings.push(error.to_string());
    }
    let mut driver_options = DriverOptions::new(with_zero_buffer(&options.layout));
    driver_options.entries = options.queue_depth;
    driver_options.napi = options.napi;
    let (driver, said) = Driver::new(&driver_options)?;
    warnings.extend(said.iter().map(ToString::to_string));
    Ok((driver, warnings))
}

fn shard(at: usize, options: &NodeOptions, catalog: Arc<Catalog>) -> Shard {
    // There are at most REACTORS_MAX.
    let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let options = ShardOptions {
        id: ReactorId(small(at)),
        reactors: small(options.cores.len()),
        layout: options.layout.clone(),
        caps: options.caps,
        login_time_max: options.login_time_max,
        entropy: entropy(),
    };
    Shard::new(options, catalog)
}

/// Random bytes of the kernel.
fn entropy() -> Entropy {
    Box::new(|bytes: &mut [u8]| {
        if let Err(error) = getrandom::fill(bytes) {
            // Without randomness a challenge could be guessed: better no login than that.
            panic!("the kernel gives no random numbers: {error}");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    /// It went on without the reactor: nobody could log in, and the service manager saw a daemon
    /// that ran.
    #[test]
    fn a_panic_of_a_reactor_ends_the_process() {
        const CHILD: &str = "POLLUX_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let thread = std::thread::spawn(|| {
                let _whole = AllOrNothing;
                panic!("as a reactor might");
            });
            assert!(thread.join().is_err());
            return;
        }
        let own = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(own);
        child.args(["--exact", "node::tests::a_panic_of_a_reactor_ends_the_process"]);
        let status = child.env(CHILD, "1").output().unwrap().status;
        assert_eq!(status.signal(), Some(6), "SIGABRT, not {status}");
    }
}
