//! The daemon under test: start, output, shutdown.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use crate::random::Random;

/// Timeout for starting and stopping a daemon on a slow machine.
const DAEMON_TIME_MAX: Duration = Duration::from_secs(60);

/// Starts a program that is killed when the thread ends that has started it.
const SETPRIV: &str = "/usr/bin/setpriv";

/// Tries to start on a free port: between choosing and binding another process may take it.
const START_TRIES_MAX: usize = 5;

/// The command line and directory of a daemon.
#[derive(Clone, Debug)]
pub struct Setup {
    state: Arc<tempfile::TempDir>,
    portal: SocketAddr,
    config: Option<PathBuf>,
    arguments: Vec<String>,
    has_unread_log: bool,
    open_files: Option<u64>,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    setup: Setup,
    child: Child,
    output: Output,
    unread: Option<UnreadPipe>,
    has_ended: bool,
}

/// A pipe that is written to and not read.
#[derive(Debug)]
struct UnreadPipe {
    /// Nobody reads from it; the pipe is open as long as it is.
    _reader: PipeReader,
    /// Until it is used to fill the pipe.
    writer: Option<PipeWriter>,
}

/// The output of a process, while it runs and afterwards.
#[derive(Debug)]
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    events: Receiver<Heard>,
    open_streams: usize,
}

enum Heard {
    Line(String),
    EndOfStream,
}

impl Setup {
    /// The embedded default in a fresh state directory on a free port.
    pub fn demo() -> Self {
        // A test machine without room for an empty directory cannot run any test.
        let state = tempfile::Builder::new().prefix("pollux-e2e-").tempdir().expect("a directory");
        Self {
            state: Arc::new(state),
            portal: free_portal(),
            config: None,
            arguments: Vec::new(),
            has_unread_log: false,
            open_files: None,
        }
    }

    /// Adds words to the command line.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&word| word.to_owned()));
        self
    }

    /// Leaves its log in a pipe that nobody reads.
    pub fn with_unread_log(mut self) -> Self {
        self.has_unread_log = true;
        self
    }

    /// Lets it have so many open files and no more.
    pub fn with_open_files(mut self, count: u64) -> Self {
        self.open_files = Some(count);
        self
    }

    /// Uses a configuration file. `PORTAL`, `STATE` and `CONTROL` in the text stand
    /// for the portal, the state directory and the control socket of this set-up.
    pub fn with_config(mut self, text: &str) -> Self {
        let text = text
            .replace("PORTAL", &self.portal.to_string())
            .replace("CONTROL", &self.control_socket().display().to_string())
            .replace("STATE", &self.state_directory().display().to_string());
        let path = self.state.path().join("polluxd.toml");
        // As above: no room means no test.
        std::fs::write(&path, text).expect("a configuration file can be written");
        self.config = Some(path);
        self
    }

    /// Listens at this portal instead of a free one.
    pub fn at(mut self, portal: SocketAddr) -> Self {
        self.portal = portal;
        self
    }

    /// Where the daemon is to listen.
    pub fn portal(&self) -> SocketAddr {
        self.portal
    }

    /// The state directory, which is removed when the last user of the set-up is gone.
    pub fn state_directory(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.state.path().join("control.sock")
    }

    /// Starts the daemon and waits until it serves.
    pub fn start(self) -> Daemon {
        let mut setup = self;
        for _ in 1..START_TRIES_MAX {
            match setup.clone().try_start() {
                Ok(daemon) => return daemon,
                Err(said) if is_about_the_port(&said) => {
                    setup.portal = free_portal();
                }
                Err(said) => panic!("polluxd did not start; its output:\n{said}"),
            }
        }
        panic!("no port stayed free long enough to start polluxd on it");
    }

    /// Starts the daemon; returns its output if it exits instead.
    pub fn try_start(self) -> Result<Daemon, String> {
        let mut daemon = self.spawn();
        match daemon.output.wait_for_line("ready", DAEMON_TIME_MAX) {
            Ok(_) => Ok(daemon),
            Err(reason) => Err(format!("{reason}\n{}", daemon.said())),
        }
    }

    /// Runs the daemon until it exits; returns its exit status and output.
    pub fn run_to_end(self) -> (ExitStatus, String) {
        let mut daemon = self.spawn();
        let status = daemon.wait_for_end();
        (status, daemon.said())
    }

    fn spawn(self) -> Daemon {
        let binary = polluxd();
        assert!(
            binary.exists(),
            "{} is missing: build it with `cargo build --release -p polluxd`, or name another \
             one in POLLUXD",
            binary.display()
        );
        let mut command = self.launcher(&binary);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        } else {
            command.arg("--state-dir").arg(self.state_directory());
            command.arg("--listen").arg(self.portal.to_string());
            command.arg("--control").arg(self.control_socket());
        }
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let unread = self.has_unread_log.then(|| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            command.stderr(writer.try_clone().expect("a second descriptor of a pipe"));
            UnreadPipe { _reader: reader, writer: Some(writer) }
        });
        let mut child = command
            .spawn()
            .unwrap_or_else(|cause| panic!("cannot start {}: {cause}", binary.display()));
        let output = Output::listen(&mut child);
        Daemon { setup: self, child, output, unread, has_ended: false }
    }

    /// A command that dies with the thread of its test, where setpriv exists: a test run that is
    /// killed leaves no daemon behind.
    fn launcher(&self, binary: &Path) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(count) = self.open_files {
            let script = format!("ulimit -n {count} && exec \"$@\"");
            words.extend(["/bin/sh", "-c", &script, "sh"].map(OsString::from));
        }
        if Path::new(SETPRIV).exists() {
            words.extend([SETPRIV, "--pdeathsig", "KILL", "--"].map(OsString::from));
        }
        words.push(binary.into());
        let mut command = Command::new(words.remove(0));
        command.args(words);
        command
    }
}

impl Daemon {
    /// Starts the embedded default.
    pub fn demo() -> Self {
        Setup::demo().start()
    }

    /// How it was started; to start it again with the same state.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Where it listens.
    pub fn portal(&self) -> SocketAddr {
        self.setup.portal
    }

    /// Whether these words appear in the output now or soon: threads read its two streams.
    pub fn says(&self, words: &str) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.said().contains(words) {
            if Instant::now() > until {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        true
    }

    /// Its output so far, both streams.
    pub fn said(&self) -> String {
        self.output.text()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fills the pipe of a log that nobody reads, so that nothing more can be written to it.
    pub fn fill_log(&mut self) {
        let writer = self.unread.as_mut().and_then(|pipe| pipe.writer.take());
        let mut writer = writer.expect("a log that nobody reads, and once");
        // It ends when the pipe is closed.
        std::thread::spawn(move || while writer.write_all(&[b'.'; 4096]).is_ok() {});
    }

    /// Closes the pipe of a log that nobody reads: who writes to it gets an error.
    pub fn close_log(&mut self) {
        let log = self.unread.take();
        assert!(log.is_some(), "only a pipe that nobody reads can be closed");
    }

    /// Sends SIGTERM, which asks for a clean end.
    pub fn ask_to_end(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended on its own: then the test sees its exit status.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Stops it in its tracks, as a debugger or a host without CPU time does (SIGSTOP).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The bytes of memory that it has in use (VmRSS), without huge pages.
    pub fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB");
        kib << 10
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the daemon runs");
    }

    /// Waits for its end and gives the exit status.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let ended = self.output.wait_for_end(DAEMON_TIME_MAX);
        assert!(ended, "polluxd did not exit in {DAEMON_TIME_MAX:?}; its output:\n{}", self.said());
        self.has_ended = true;
        // Both its streams are closed, so that it is a matter of moments.
        self.child.wait().expect("a child can be waited for once")
    }

    /// Ends it without warning and waits until it is gone.
    pub fn kill(&mut self) {
        if !self.has_ended {
            // An error says that it has ended already, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.has_ended = true;
        }
    }

    /// Ends it without warning and starts it again with the same state and portal. A killed
    /// process leaves its ring to the kernel, which may hold the port for some moments longer:
    /// then this tries again, as systemd would.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + DAEMON_TIME_MAX;
        loop {
            match self.setup.clone().try_start() {
                Ok(daemon) => {
                    *self = daemon;
                    return;
                }
                Err(said) if is_about_the_port(&said) && Instant::now() < deadline => {}
                Err(said) => panic!("polluxd did not restart; its output:\n{said}"),
            }
        }
    }
}

/// Whether a daemon ended because its port is taken.
fn is_about_the_port(said: &str) -> bool {
    said.to_lowercase().contains("in use")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("output of polluxd {}:\n{}", self.child.id(), self.said());
        }
    }
}

impl Output {
    fn listen(child: &mut Child) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, events) = channel();
        let mut open_streams = 0;
        if let Some(stream) = child.stdout.take() {
            open_streams += 1;
            read_lines(stream, Arc::clone(&lines), sender.clone());
        }
        if let Some(stream) = child.stderr.take() {
            open_streams += 1;
            read_lines(stream, Arc::clone(&lines), sender);
        }
        Self { lines, events, open_streams }
    }

    fn text(&self) -> String {
        self.lines.lock().map_or_else(|_| String::new(), |lines| lines.join("\n"))
    }

    /// Waits for a line that contains a word.
    fn wait_for_line(&mut self, word: &str, limit: Duration) -> Result<String, &'static str> {
        let deadline = Instant::now() + limit;
        while self.open_streams > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Heard::Line(line)) if line.contains(word) => return Ok(line),
                Ok(Heard::Line(_)) => {}
                Ok(Heard::EndOfStream) => self.open_streams -= 1,
                Err(RecvTimeoutError::Timeout) => return Err("it took too long"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err("it ended")
    }

    /// Waits until all streams are closed.
    fn wait_for_end(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.open_streams > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Heard::Line(_)) => {}
                Ok(Heard::EndOfStream) => self.open_streams -= 1,
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        true
    }
}

fn read_lines(
    stream: impl Read + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
    events: Sender<Heard>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Ok(mut lines) = lines.lock() {
                lines.push(line.clone());
            }
            // Nobody listens any more when the test has what it wanted.
            let _ = events.send(Heard::Line(line));
        }
        let _ = events.send(Heard::EndOfStream);
    });
}

/// A portal on loopback that is currently free, and that no other test of this process gets. Its
/// port lies below those that the kernel gives to clients: either of them would take it between
/// two lives of a daemon.
fn free_portal() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = Random::new(u64::from(clock.subsec_nanos()) << 32 | u64::from(process::id()));
    let mut ports = (0..1000).map(|_| 20_000 + random.next_u64() % 10_000);
    let free = ports.find_map(|port| {
        let port = u16::try_from(port).ok().filter(|port| given.insert(*port))?;
        TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr()).ok()
    });
    // Where a thousand ports are taken no test can run.
    free.expect("a free port on loopback")
}

/// The command-line tool's binary: it lies beside the daemon's.
pub fn perfctl() -> PathBuf {
    polluxd().with_file_name("perfctl")
}

/// The daemon's binary. A relative path counts from the workspace, as it was typed there: cargo
/// runs tests in the directory of their crate.
fn polluxd() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if let Some(path) = std::env::var_os("POLLUXD") {
        return workspace.join(path);
    }
    let build = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace.join(build).join("release/polluxd")
}
