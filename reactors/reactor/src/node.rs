//! The node: all reactors of this machine, as the control thread sees them.

use crate::backends::{SharedStore, Store, with_zero_buffer};
use crate::mailbox::{Doorbell, PostOffice};
use crate::reactor::{Mail, Parts, Reactor};
use crate::stats::Snapshot;
use crossbeam_queue::ArrayQueue;
use shard::{Entropy, SessionInfo, Shard, ShardOptions};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
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

/// What the control thread tells a reactor.
#[derive(Debug)]
pub(crate) enum Command {
    Apply { catalog: Arc<Catalog>, opened: Vec<(VolumeId, SharedStore)> },
    DropSession(ConnId),
    Listen(Vec<OwnedFd>),
    Report(Sender<ReactorReport>),
    Shutdown,
    Stop,
}

/// What a reactor says of itself.
#[derive(Debug)]
pub struct ReactorReport {
    /// Which reactor.
    pub reactor: ReactorId,
    /// Its core.
    pub core: usize,
    /// Its statistics since it began.
    pub snapshot: Snapshot,
    /// Its sessions.
    pub sessions: Vec<SessionInfo>,
    /// Its connections, logins included.
    pub connections: u32,
    /// Buffers of its pool that are lent.
    pub buffers_in_use: u32,
    /// Buffers of its pool.
    pub buffers_total: u32,
    /// Nothing is under way and nobody is connected.
    pub is_idle: bool,
    /// What was missing when it was set up, in sentences.
    pub warnings: Vec<String>,
}

struct Handle {
    thread: Option<JoinHandle<()>>,
    commands: Arc<ArrayQueue<Command>>,
    doorbell: Arc<Doorbell<Waker>>,
}

impl Handle {
    fn tell(&self, command: Command) {
        // Questions that a reactor which hangs has not answered must not take the room of what
        // it has to know when it goes on, such as a catalog that admits fewer initiators.
        let is_question = matches!(command, Command::Report(_));
        if is_question && self.commands.len() >= QUESTIONS_MAX {
            return;
        }
        if self.commands.push(command).is_err() {
            tracing::error!("a reactor does not take commands");
        }
        self.doorbell.ring();
    }
}

/// All reactors of a node.
pub struct Node {
    reactors: Vec<Handle>,
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
    /// Starts a reactor on each core and serves `catalog` on these listening sockets. The
    /// sentences are for the administrator.
    ///
    /// # Errors
    /// What any of the reactors lacks.
    pub fn start(
        options: NodeOptions,
        listeners: Vec<OwnedFd>,
        catalog: Arc<Catalog>,
        stores: Vec<(VolumeId, Store)>,
    ) -> Result<(Self, Vec<String>), StartError> {
        let count = options.cores.len();
        if count == 0 || count > limits::REACTORS_MAX {
            return Err(StartError::Cores(count));
        }
        let options = Arc::new(options);
        let office = PostOffice::new(count);
        let mut starting = Vec::new();
        for (at, &core) in options.cores.iter().enumerate() {
            let thread = Starting::spawn(at, core, &options, office.inboxes(at), &catalog)?;
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
        let node = Self { reactors };
        node.apply(catalog, stores);
        node.listen(&listeners);
        Ok((node, warnings))
    }

    /// Every reactor accepts on every listening socket, so that logins spread over the cores.
    fn listen(&self, listeners: &[OwnedFd]) {
        for reactor in &self.reactors {
            let own: Vec<OwnedFd> = listeners.iter().filter_map(|l| l.try_clone().ok()).collect();
            if own.len() < listeners.len() {
                tracing::error!("cannot share a listening socket: too many open files?");
            }
            reactor.tell(Command::Listen(own));
        }
    }

    /// Makes every reactor switch to a new catalog. `opened` has the volumes that are new.
    pub fn apply(&self, catalog: Arc<Catalog>, opened: Vec<(VolumeId, Store)>) {
        let opened: Vec<(VolumeId, SharedStore)> =
            opened.into_iter().map(|(id, store)| (id, store.into())).collect();
        for reactor in &self.reactors {
            let (catalog, opened) = (Arc::clone(&catalog), opened.clone());
            reactor.tell(Command::Apply { catalog, opened });
        }
    }

    /// Ends the session of a connection; nothing happens where there is none any more.
    pub fn drop_session(&self, reactor: ReactorId, conn: ConnId) {
        if let Some(reactor) = self.reactors.get(usize::from(reactor.0)) {
            reactor.tell(Command::DropSession(conn));
        }
    }

    /// Asks every reactor how it is. One that does not answer within a second is left out.
    pub fn report(&self) -> Vec<ReactorReport> {
        let (sender, answers) = channel();
        for reactor in &self.reactors {
            reactor.tell(Command::Report(sender.clone()));
        }
        drop(sender);
        let until = Instant::now() + REPORT_TIME_MAX;
        let mut reports = Vec::new();
        while reports.len() < self.reactors.len() {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok(report) => reports.push(report),
                Err(_) => break,
            }
        }
        reports.sort_by_key(|r| r.reactor);
        reports
    }

    /// Stops accepting, asks all initiators to log out, waits until they have or `grace` is
    /// over, and ends the reactors.
    pub fn shutdown(self, grace: Duration) {
        for reactor in &self.reactors {
            reactor.tell(Command::Shutdown);
        }
        let until = Instant::now() + grace;
        while Instant::now() < until && !self.report().iter().all(|r| r.is_idle) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        drop(self);
    }
}

impl Drop for Node {
    /// Ends the reactors at once; whoever is still connected is cut off.
    fn drop(&mut self) {
        for reactor in &self.reactors {
            reactor.tell(Command::Stop);
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

/// How long a report may take: a turn is far shorter.
const REPORT_TIME_MAX: Duration = Duration::from_secs(1);

/// Commands that wait for a reactor.
const COMMANDS_MAX: usize = 64;
/// How many of them may be questions.
const QUESTIONS_MAX: usize = 16;

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
    commands: Arc<ArrayQueue<Command>>,
    thread: JoinHandle<()>,
}

impl Starting {
    fn spawn(
        at: usize,
        core: usize,
        options: &Arc<NodeOptions>,
        inboxes: crate::mailbox::Inboxes<Mail>,
        catalog: &Arc<Catalog>,
    ) -> Result<Self, StartError> {
        let (say_ready, ready) = channel();
        let (go, wait_go) = channel();
        let commands = Arc::new(ArrayQueue::new(COMMANDS_MAX));
        let (options, catalog) = (Arc::clone(options), Arc::clone(catalog));
        let own_commands = Arc::clone(&commands);
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
        Handle { thread: Some(thread), commands, doorbell }
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

    /// Statistics that were asked for again and again filled the queue of a reactor that hung, and
    /// the catalog that came then was lost.
    #[test]
    fn unanswered_questions_leave_room_for_a_catalog() {
        let layout = PoolLayout::new(vec![SizeClass { bytes: 4096, count: 1 }]);
        let (driver, _) = Driver::new(&DriverOptions::new(layout)).unwrap();
        let handle = Handle {
            thread: None,
            commands: Arc::new(ArrayQueue::new(COMMANDS_MAX)),
            doorbell: Arc::new(Doorbell::new(driver.waker())),
        };
        let (sender, _answers) = channel();
        for _ in 0..1000 {
            handle.tell(Command::Report(sender.clone()));
        }
        handle.tell(Command::Apply { catalog: Arc::default(), opened: Vec::new() });
        let waiting = std::iter::from_fn(|| handle.commands.pop());
        assert!(matches!(waiting.last(), Some(Command::Apply { .. })));
    }
}
