//! The log: lines on standard error, written by a thread of its own.
//!
//! Whoever reads the log may be slow, may not read at all, or may have gone. Nothing waits for it:
//! a line goes into a bounded queue, and where that is full, it is dropped and counted. The reader
//! sees how many are missing as soon as it goes on, and `perfctl status` and `stats` show it.

use crate::start_fault::StartFault;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use units::limits::LOG_LINES_MAX;

/// How long the end of the process waits for a reader of the log.
const LAST_LINES_TIME: Duration = Duration::from_secs(1);

/// The log of this process, once it is started.
static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log of this process, and reports panics in it.
///
/// # Errors
/// The filter is invalid.
pub(crate) fn start(filter: String) -> Result<(), StartFault> {
    let parsed = EnvFilter::builder().parse(&filter);
    let filter = parsed.map_err(|error| StartFault::Log { filter, error })?;
    let is_terminal = io::stderr().is_terminal();
    let log = LOG.get_or_init(|| Log::new(Unlocked(io::stderr()), LOG_LINES_MAX));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .with_ansi(is_terminal)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let text = panic.to_string().replace('\n', " ");
        tracing::error!(thread = thread.name(), "{text}");
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            tracing::error!("{backtrace}");
        }
        // The process may end now.
        flush();
    }));
    Ok(())
}

/// How many lines have not reached the reader of the log.
pub(crate) fn lines_dropped() -> u64 {
    LOG.get().map_or(0, |log| log.shared.lines_dropped())
}

/// Waits until all lines are written, but not long: nobody may read them.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(LAST_LINES_TIME);
    }
}

/// Prints a last line to standard error, behind those of the log.
pub(crate) fn print_last(text: &str) {
    match LOG.get() {
        Some(log) => {
            let mut log = log.clone();
            // Writing to a queue never fails.
            let _ = log.write_all(text.as_bytes());
            log.flush(LAST_LINES_TIME);
        }
        // That nobody can read why it does not start is no reason to fail in another way.
        None => {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// A queue of lines, and the thread that writes them.
#[derive(Clone)]
struct Log {
    queue: NonBlocking,
    shared: Arc<Shared>,
}

/// What the queue and its thread know of each other.
#[derive(Default)]
struct Shared {
    /// Lines that were to be written, dropped ones included.
    lines: AtomicU64,
    /// Lines that found no room in the queue.
    unqueued: OnceLock<ErrorCounter>,
    /// Lines that the operating system did not take: there is no reader any more.
    unwritten: AtomicU64,
    /// Lines that the thread is done with.
    done: Mutex<u64>,
    is_done: Condvar,
}

/// The thread's end of the queue.
struct Sink<W> {
    out: W,
    shared: Arc<Shared>,
    /// Dropped lines that the reader knows of.
    announced: u64,
}

/// Standard error without its lock: the thread may hang in a write, and others must not hang with
/// it.
struct Unlocked(io::Stderr);

impl Log {
    fn new(out: impl Write + Send + 'static, lines_max: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let sink = Sink { out, shared: Arc::clone(&shared), announced: 0 };
        let builder = NonBlockingBuilder::default().lossy(true).thread_name("log");
        let (queue, guard): (_, WorkerGuard) = builder.buffered_lines_limit(lines_max).finish(sink);
        // The guard prints where it cannot end the thread, and may hang there; `flush` does not.
        std::mem::forget(guard);
        let is_first = shared.unqueued.set(queue.error_counter()).is_ok();
        assert!(is_first, "a log has one queue");
        Self { queue, shared }
    }

    /// Waits until all lines so far are written, at most this long.
    fn flush(&self, limit: Duration) {
        let queued = || {
            // In this order: a line is counted before it is dropped.
            let unqueued = self.shared.unqueued();
            self.shared.lines.load(Ordering::Acquire) - unqueued
        };
        let done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.is_done.wait_timeout_while(done, limit, |done| *done < queued());
        // Whether all is written or the time is over, the process goes on.
        drop(waited);
    }
}

impl Write for Log {
    /// Queues one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.lines.fetch_add(1, Ordering::AcqRel);
        self.queue.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Shared {
    fn unqueued(&self) -> u64 {
        let count = self.unqueued.get().map_or(0, ErrorCounter::dropped_lines);
        // A usize has 64 bits at most.
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn lines_dropped(&self) -> u64 {
        self.unqueued() + self.unwritten.load(Ordering::Relaxed)
    }
}

impl<W: Write> Sink<W> {
    /// Says how many lines are missing here, if any.
    fn announce(&mut self) {
        let dropped = self.shared.lines_dropped();
        if dropped == self.announced {
            return;
        }
        let mut line = String::new();
        // Writing to a string never fails, and a line without its time is a line still.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        let count = dropped - self.announced;
        let _ = writeln!(
            line,
            "  WARN polluxd::log: {count} log lines were dropped: they were not read fast enough"
        );
        if self.out.write_all(line.as_bytes()).is_ok() {
            self.announced = dropped;
        }
    }
}

impl<W: Write> Write for Sink<W> {
    /// Writes one line. What cannot be written is counted: this never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.announce();
        if self.out.write_all(line).is_err() {
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        *self.shared.done.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.shared.is_done.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Unlocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0.as_fd(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Long enough for a machine that does something else.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A reader that takes a line when it is told to, and is gone when nobody can tell it.
    struct Reader {
        takes: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.takes.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.taken.send(String::from_utf8_lossy(line).into_owned()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(lines_max: usize) -> (Log, Sender<()>, Receiver<String>) {
        let (take, takes) = channel();
        let (taken, lines) = channel();
        (Log::new(Reader { takes, taken }, lines_max), take, lines)
    }

    fn write(log: &mut Log, line: &str) {
        assert_eq!(log.write(line.as_bytes()).unwrap(), line.len());
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_announced_when_reading_goes_on() {
        let (mut log, take, lines) = log(4);
        // One is with the thread, which says so by asking for the next.
        write(&mut log, "first\n");
        take.send(()).unwrap();
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "first\n");
        for n in 0..100 {
            write(&mut log, &format!("{n}\n"));
        }
        let dropped = log.shared.lines_dropped();
        // Four wait, and a fifth may be with the thread.
        assert!(dropped == 96 || dropped == 95, "{dropped}");
        for _ in 0..20 {
            take.send(()).unwrap();
        }
        log.flush(PATIENCE);
        let read: Vec<String> = lines.try_iter().collect();
        let words = ("WARN polluxd::log: ", " log lines were dropped: they were not read fast");
        let announced = read.iter().filter_map(|line| {
            let (_, rest) = line.split_once(words.0)?;
            rest.split_once(words.1)?.0.parse::<u64>().ok()
        });
        assert_eq!(announced.sum::<u64>(), dropped, "{read:?}");
        assert!(read.contains(&"0\n".to_owned()) && read.len() >= 5, "{read:?}");
    }

    #[test]
    fn a_reader_that_has_gone_costs_lines_and_nothing_else() {
        let (mut log, take, _lines) = log(4);
        drop(take);
        for n in 1..=10 {
            write(&mut log, "a line\n");
            log.flush(PATIENCE);
            assert_eq!(log.shared.lines_dropped(), n);
        }
    }

    #[test]
    fn a_flush_does_not_wait_for_a_reader_that_hangs() {
        let (mut log, _take, _lines) = log(4);
        write(&mut log, "a line\n");
        log.flush(Duration::from_millis(10));
        assert_eq!(log.shared.lines_dropped(), 0);
    }
}
