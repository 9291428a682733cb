//! The loop that makes the load: reap, account, start, send, receive.

use super::access::{Access, Random};
use super::blocks::Blocks;
use super::connection::{Connection, Shape, Slot};
use super::histogram::Latencies;
use super::login::{Capacity, Session};
use super::options::{Options, Payload};
use super::outgoing::PIECES_PER_SEND;
use super::report::{Report, describe};
use crate::process;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::OwnedFd;
use std::time::Duration;
use units::{BufSlice, PoolLayout, SizeClass};
use uring::{Completion, Driver, DriverOptions, Errno, Wait};

/// Makes the load that the options ask for, and tells what it measured.
pub fn run(options: &Options) -> Result<Report> {
    options.check()?;
    if let Some(core) = options.core {
        uring::affinity::pin_current_thread(core)?;
    }
    uring::limits::raise_open_files();
    let mut runner = Runner::new(options.clone())?;
    runner.make_load()?;
    let report = runner.report()?;
    if let Some(path) = &options.hdr {
        let mut latencies = runner.reads.clone();
        latencies.add(&runner.writes)?;
        let file = File::create(path).with_context(|| format!("cannot make {path:?}"))?;
        latencies.write_text(&mut BufWriter::new(file))?;
    }
    Ok(report)
}

/// All connections and what is measured of them.
pub(crate) struct Runner {
    pub(crate) driver: Driver,
    pub(crate) connections: Vec<Connection>,
    /// What blocks must contain, where that is checked.
    pub(crate) blocks: Option<Blocks>,
    /// Bytes of one command.
    pub(crate) io_bytes: u32,
    /// The sense data of the last failed command.
    pub(crate) sense: Vec<u8>,
    options: Options,
    access: Access,
    reads: Latencies,
    writes: Latencies,
    now_ns: u64,
    report: Report,
    /// When the next command of an open loop should start, and the time between two.
    next_ns: f64,
    interval_ns: f64,
    /// The connection that an open loop uses next.
    turn: usize,
    started: u64,
    sends: u64,
    pdus: u64,
    stopping: bool,
    began: Mark,
    ended: Mark,
}

/// Clocks and counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    now_ns: u64,
    own_cpu_ns: u64,
    own_enters: u64,
    target_cpu_ns: Option<u64>,
    target_switches: Option<u64>,
}

impl Runner {
    fn new(options: Options) -> Result<Self> {
        let mut sessions = (0..options.connections)
            .map(|number| Session::open(&options, number))
            .collect::<Result<Vec<_>>>()?;
        let mut capacity = None;
        for session in &mut sessions {
            // Each session has unit attentions of its own that must be told first.
            capacity = Some(session.capacity()?);
        }
        let capacity = capacity.context("at least one connection")?;
        let (io_blocks, blocks_per_io) = blocks_of(&options, capacity)?;
        let mut driver = make_driver(&options)?;
        if options.writes() || options.verify {
            fill_buffers(&mut driver, &options)?;
        }
        let io_bytes = u32::try_from(options.block)?;
        let mut connections = Vec::new();
        for (index, session) in sessions.into_iter().enumerate() {
            let fd = OwnedFd::from(session.stream.try_clone()?);
            let socket = driver.add_socket(fd).map_err(|refused| refused.reason)?;
            let index = u32::try_from(index)?;
            let shape = Shape {
                header_buf: index,
                first_buf: u32::from(options.connections) + index * u32::from(options.depth),
                depth: options.depth,
                io_bytes,
                blocks_per_io,
                drops: options.payload == Payload::Drop,
            };
            connections.push(Connection::new(session, socket, shape));
        }
        let blocks = options.verify.then(|| Blocks::new(io_blocks, options.seed)).transpose()?;
        Ok(Self {
            driver,
            connections,
            blocks,
            io_bytes,
            sense: Vec::new(),
            access: Access::new(&options, io_blocks),
            reads: Latencies::new()?,
            writes: Latencies::new()?,
            now_ns: uring::now().0,
            report: Report { load: describe(&options), ..Report::default() },
            next_ns: 0.0,
            interval_ns: options.rate.map_or(0.0, |rate| 1e9 / rate),
            turn: 0,
            started: 0,
            sends: 0,
            pdus: 0,
            stopping: false,
            began: Mark::default(),
            ended: Mark::default(),
            options,
        })
    }

    /// Warm-up, measurement, and the wait for what is in flight at the end.
    fn make_load(&mut self) -> Result<()> {
        for index in 0..self.connections.len() {
            self.receive(index)?;
        }
        let start_ns = uring::now().0;
        self.next_ns = start_ns as f64;
        let measure_ns = start_ns + nanoseconds(self.options.warmup);
        let end_ns = measure_ns + nanoseconds(self.options.duration);
        let mut measuring = false;
        while !self.stopping {
            self.turn()?;
            if !measuring && self.now_ns >= measure_ns {
                measuring = true;
                self.reads.clear();
                self.writes.clear();
                (self.report.late, self.sends, self.pdus) = (0, 0, 0);
                self.began = self.mark();
            }
            let counted = self.options.count.is_some_and(|count| self.started >= count);
            self.stopping = (measuring && self.now_ns >= end_ns) || counted;
        }
        if !measuring {
            bail!("--count was reached in the warm-up: say --warmup 0 or a larger --count");
        }
        if self.options.count.is_none() {
            self.ended = self.mark();
            self.freeze();
        }
        let give_up_ns = self.now_ns + DRAIN_NS_MAX;
        while self.connections.iter().any(|c| c.in_flight() > 0) {
            ensure!(self.now_ns < give_up_ns, "commands at the end were not answered in 20 s");
            self.turn()?;
        }
        if self.options.count.is_some() {
            self.ended = self.mark();
            self.freeze();
        }
        Ok(())
    }

    /// Notes what has been measured; what ends later does not count.
    fn freeze(&mut self) {
        self.report.reads = self.reads.summary();
        self.report.writes = self.writes.summary();
    }

    fn mark(&self) -> Mark {
        let target = self.options.target_pid;
        Mark {
            now_ns: uring::now().0,
            own_cpu_ns: process::cpu_ns(std::process::id()).unwrap_or(0),
            own_enters: self.driver.counters().enters,
            target_cpu_ns: target.and_then(process::cpu_ns),
            target_switches: target.and_then(process::context_switches),
        }
    }

    fn turn(&mut self) -> Result<()> {
        let mut completions = Vec::with_capacity(64);
        self.driver.reap(256, &mut completions);
        let idle = completions.is_empty();
        self.now_ns = uring::now().0;
        for completion in completions {
            self.completed(completion)?;
        }
        if !self.stopping {
            self.start_commands();
        }
        for index in 0..self.connections.len() {
            self.flush(index)?;
            self.receive(index)?;
        }
        let sleeps = self.options.sleep && idle && self.options.rate.is_none();
        let wait = if sleeps { Wait::AtMost(SLEEP_MAX) } else { Wait::No };
        self.driver.submit(wait)?;
        Ok(())
    }

    fn completed(&mut self, completion: Completion) -> Result<()> {
        match completion {
            Completion::Received { token, result, data, .. } => {
                let index = usize::try_from(token)?;
                match (result, data) {
                    (Ok(1..), Some(buffer)) => {
                        let done = self.received(index, &buffer);
                        self.driver.recycle(buffer);
                        done
                    }
                    (Ok(bytes @ 1..), None) => self.dropped(index, bytes),
                    (Err(Errno::NO_BUFFERS), None) => Ok(()),
                    (Ok(0), _) => bail!("the target closed a connection"),
                    (Err(errno), _) => bail!("receiving failed: {errno}"),
                }
            }
            Completion::ReceivedInto { token, result, .. } => match result {
                Ok(48) => self.header_alone(usize::try_from(token)?),
                Ok(_) => bail!("the target closed a connection"),
                Err(errno) => bail!("receiving failed: {errno}"),
            },
            Completion::Sent { token, result, gather } => {
                ensure!(result == Ok(gather.len_bytes()), "sending failed: {result:?}");
                self.driver.recycle_gather(gather);
                self.connections[usize::try_from(token)?].sending = false;
                Ok(())
            }
            Completion::Accepted { .. }
            | Completion::AcceptFailed { .. }
            | Completion::Allocated { .. }
            | Completion::Closed { .. }
            | Completion::Read { .. }
            | Completion::Synced { .. }
            | Completion::Woken
            | Completion::Written { .. } => Ok(()),
        }
    }

    /// A command has ended.
    pub(crate) fn ended(&mut self, index: usize, slot: u16, status: u8) {
        let connection = &mut self.connections[index];
        let ended = connection.end(slot);
        let latency = self.now_ns.saturating_sub(ended.start_ns);
        if ended.is_write { &mut self.writes } else { &mut self.reads }.record(latency);
        self.report.commands_total += 1;
        if status != 0 {
            self.report.errors += 1;
            let (block, sense) = (ended.block, &self.sense);
            self.report.first_error.get_or_insert_with(|| {
                format!("block {block}: status {status:#04x}, sense data {sense:02x?}")
            });
        }
        let Some(blocks) = &mut self.blocks else { return };
        blocks.give_back(ended.block);
        if ended.is_write || status != 0 {
            return;
        }
        let place = connection.place(slot, 0, self.io_bytes);
        let short = ended.received != self.io_bytes;
        let mismatch = self.driver.pool().bytes(place).and_then(|b| blocks.check(ended.block, b));
        if short || mismatch.is_some() {
            self.report.mismatches += 1;
            let received = ended.received;
            self.report.first_error.get_or_insert_with(|| {
                format!("block {}: {received} bytes, {mismatch:x?}", ended.block)
            });
        }
    }

    fn start_commands(&mut self) {
        if self.options.rate.is_some() {
            return self.start_due();
        }
        for index in 0..self.connections.len() {
            while self.connections[index].has_room() && self.may_start() {
                if !self.start(index, self.now_ns) {
                    break;
                }
            }
        }
    }

    /// Starts the commands of an open loop whose time has come. One that finds no room waits,
    /// and its latency runs from when it should have started.
    fn start_due(&mut self) {
        while self.next_ns <= self.now_ns as f64 && self.may_start() {
            let count = self.connections.len();
            let found = (0..count)
                .map(|n| (self.turn + n) % count)
                .find(|&index| self.connections[index].has_room());
            let Some(index) = found else {
                self.report.late += 1;
                return;
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time since the machine started"
            )]
            let start_ns = self.next_ns as u64;
            if !self.start(index, start_ns) {
                return;
            }
            self.turn = (index + 1) % count;
            self.next_ns += self.interval_ns;
        }
    }

    fn may_start(&self) -> bool {
        self.options.count.is_none_or(|count| self.started < count)
    }

    /// Starts a command on a connection that has room; false where its block or buffer is busy.
    fn start(&mut self, index: usize, start_ns: u64) -> bool {
        let block = self.access.block();
        let is_write = self.access.is_write();
        let connection = &mut self.connections[index];
        let Some(slot) = connection.free.pop() else { return false };
        if let Some(blocks) = &mut self.blocks {
            let place = connection.place(slot, 0, self.io_bytes);
            // The send of the slot's last command may not have been reaped yet.
            let busy = self.driver.pool().is_in_kernel(place.buf);
            if busy || !blocks.take(block) {
                connection.free.insert(0, slot);
                return false;
            }
            if is_write && let Some(bytes) = self.driver.pool_mut().bytes_mut(place) {
                blocks.fill_next(block, bytes);
            }
        }
        let wanted = Slot { is_write, start_ns, block, ..Slot::default() };
        connection.start(&self.driver, slot, wanted);
        self.started += 1;
        true
    }

    /// Sends all that waits on a connection, if no send of it is under way.
    fn flush(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        if connection.sending || connection.queue.is_empty() {
            return Ok(());
        }
        let mut gather = self.driver.gather();
        self.pdus += connection.queue.fill(&mut self.driver, &mut gather) as u64;
        self.sends += 1;
        connection.sending = true;
        let sent = self.driver.send(connection.socket, index as u64, gather);
        sent.map_err(|refused| refused.reason).context("cannot send")
    }

    /// Arms the receive of a connection, if it has none.
    fn receive(&mut self, index: usize) -> Result<()> {
        let connection = &self.connections[index];
        let socket = connection.socket;
        if self.driver.is_receiving(socket) {
            return Ok(());
        }
        let token = index as u64;
        let armed = if connection.dropping.is_none() {
            self.driver.recv_multishot(socket, token)
        } else {
            match self.droppable(index) {
                0 => self.driver.recv_into(socket, token, connection.header_place),
                bytes => self.driver.recv_dropped(socket, token, bytes),
            }
        };
        armed.context("cannot receive")
    }

    fn report(&mut self) -> Result<Report> {
        let mut all = self.reads.clone();
        all.add(&self.writes)?;
        let mut report = self.report.clone();
        report.all = all.summary();
        report.commands = report.reads.count + report.writes.count;
        report.seconds = (self.ended.now_ns - self.began.now_ns) as f64 / 1e9;
        let (began, ended) = (self.began, self.ended);
        report.iops = report.commands as f64 / report.seconds;
        // Where nothing ended, what was used is told as if one command had.
        let commands = report.commands.max(1) as f64;
        report.bytes_per_second = report.iops * f64::from(self.io_bytes);
        let per_command = |begin: u64, end: u64| end.saturating_sub(begin) as f64 / commands;
        report.own_cpu_us = per_command(began.own_cpu_ns, ended.own_cpu_ns) / 1000.0;
        report.own_syscalls = per_command(began.own_enters, ended.own_enters);
        report.target_cpu_us = began
            .target_cpu_ns
            .zip(ended.target_cpu_ns)
            .map(|(begin, end)| per_command(begin, end) / 1000.0);
        report.target_switches = began
            .target_switches
            .zip(ended.target_switches)
            .map(|(begin, end)| per_command(begin, end));
        report.pdus_per_send = self.pdus as f64 / self.sends.max(1) as f64;
        Ok(report)
    }
}

/// How many commands' worth of blocks there are, and how many logical blocks each has.
fn blocks_of(options: &Options, capacity: Capacity) -> Result<(u64, u32)> {
    let block_bytes = u64::from(capacity.block_bytes);
    ensure!(
        options.block.is_multiple_of(block_bytes),
        "--block {} is not a multiple of the logical unit's block size of {block_bytes} bytes",
        options.block
    );
    let unit_bytes = capacity.blocks.saturating_mul(block_bytes);
    let bytes = options.size.unwrap_or(unit_bytes).min(unit_bytes);
    let count = bytes / options.block;
    ensure!(count > 0, "the working set of {bytes} bytes is smaller than one --block");
    Ok((count, u32::try_from(options.block / block_bytes)?))
}

fn make_driver(options: &Options) -> Result<Driver> {
    let connections = u32::from(options.connections);
    let io_bytes = u32::try_from(options.block)?;
    let keeps = options.writes() || options.verify;
    let mut classes = vec![SizeClass { bytes: HEADER_BUFFER_BYTES, count: connections }];
    if keeps {
        let count = connections * u32::from(options.depth);
        classes.push(SizeClass { bytes: io_bytes.max(2 * HEADER_BUFFER_BYTES), count });
    }
    let mut driver = DriverOptions::new(PoolLayout::new(classes));
    driver.gather_pieces = PIECES_PER_SEND;
    driver.recv_buffer_count = 64;
    let (driver, warnings) = Driver::new(&driver)?;
    for warning in warnings {
        eprintln!("loadgen: {warning}");
    }
    Ok(driver)
}

/// Data that does not compress, the same for each seed.
fn fill_buffers(driver: &mut Driver, options: &Options) -> Result<()> {
    let mut random = Random::new(options.seed);
    let first = u32::from(options.connections);
    let count = first * u32::from(options.depth);
    let len = u32::try_from(options.block)?;
    for buf in first..first + count {
        let slice = BufSlice { buf: units::BufId(buf), offset: 0, len };
        let mut pool = driver.pool_mut();
        let bytes = pool.bytes_mut(slice).context("a buffer of this driver")?;
        for word in bytes.as_chunks_mut::<8>().0 {
            *word = random.next().to_le_bytes();
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be at most a day and not negative"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// The pool's alignment asks for no less.
const HEADER_BUFFER_BYTES: u32 = 512;

/// How long commands in flight may take at the end.
const DRAIN_NS_MAX: u64 = 20_000_000_000;

const SLEEP_MAX: Duration = Duration::from_millis(100);
