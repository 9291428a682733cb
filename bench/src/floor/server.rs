//! The floor's event loop: accept, receive, answer everything that is ready with one send.

use super::link::{Answer, BLOCK_BYTES, Link, be32};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use iscsi::pdu::{DataIn, DataInStatus, LoginRequest, LoginResponse, LoginStatus, Residual};
use iscsi::pdu::{ScsiResponse, ServiceResponse};
use iscsi::text::TextWriter;
use iscsi::{BHS_BYTES, Bhs, InitiatorTaskTag, TargetTransferTag};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use units::{BufId, Lun, PoolLayout, Serial32, SizeClass};
use uring::socket::{Tuning, listen, local_address, tune};
use uring::{Completion, Driver, DriverOptions, Errno, Gather, MemoryStore, Wait};

/// How bytes are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Receive {
    /// One submission, a completion each time bytes arrive
    Multishot,
    /// One submission per receive
    Single,
}

/// Where the data of reads comes from, and where that of writes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// "floor, cached buffer": reads send the same buffers again and again, which stay in the
    /// cache; data of writes is dropped. The lower bound for any target
    Cache,
    /// "floor, same memory": reads send from a memory as large as the LUN, and writes store to
    /// it, at the offset of the command. The lower bound for a target with its data in memory
    Memory,
}

/// How the floor works.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 chooses a free port
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Size of the LUN
    #[arg(long, default_value = "512MiB", value_parser = control_api::parse_size)]
    pub size: u64,
    /// How to receive
    #[arg(long, value_enum, default_value_t = Receive::Multishot)]
    pub receive: Receive,
    /// Where data comes from, and where it goes
    #[arg(long, value_enum, default_value_t = Source::Cache)]
    pub source: Source,
    /// Sleep while idle instead of spinning
    #[arg(long)]
    pub sleep: bool,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
    /// Size of each receive buffer
    #[arg(long, default_value = "64KiB", value_parser = control_api::parse_size)]
    pub recv_buffer: u64,
}

struct Server {
    driver: Driver,
    options: Options,
    links: HashMap<u64, Link>,
    store: Option<Arc<MemoryStore>>,
    spare: Vec<[BufId; 2]>,
    next_token: u64,
    commands: u64,
}

/// Serves until killed.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.size > 0 && options.size.is_multiple_of(512),
        "--size must be a multiple of 512 bytes above 0"
    );
    if let Some(core) = options.core {
        uring::affinity::pin_current_thread(core)?;
    }
    let mut server = Server::new(options.clone())?;
    let listener = listen(options.listen, 1024)?;
    println!("ready on {}", local_address(&listener)?);
    let listener = server.driver.add_listener(listener).map_err(|r| r.reason)?;
    server.driver.accept(listener, LISTENER)?;
    loop {
        server.turn()?;
    }
}

impl Server {
    fn new(options: Options) -> Result<Self> {
        let layout = PoolLayout::new(vec![SizeClass {
            bytes: SEND_BUFFER_BYTES,
            count: 2 * CONNECTIONS_MAX,
        }]);
        let mut driver = DriverOptions::new(layout);
        driver.recv_buffer_bytes = u32::try_from(options.recv_buffer)?;
        let (driver, warnings) = Driver::new(&driver)?;
        for warning in warnings {
            eprintln!("floor: {warning}");
        }
        let store = match options.source {
            Source::Cache => None,
            Source::Memory => {
                let (store, _) = MemoryStore::new(options.size)?;
                // Pages are allocated before the measurement, not in it.
                for at in (0..options.size).step_by(1 << 20) {
                    let bytes = (options.size - at).min(1 << 20);
                    store.write_bytes(at, &vec![0xa5; usize::try_from(bytes)?])?;
                }
                Some(store)
            }
        };
        let spare = (0..CONNECTIONS_MAX).map(|n| [BufId(2 * n), BufId(2 * n + 1)]).collect();
        Ok(Self {
            driver,
            options,
            links: HashMap::new(),
            store,
            spare,
            next_token: LISTENER + 1,
            commands: 0,
        })
    }

    fn turn(&mut self) -> Result<()> {
        let mut completions = Vec::with_capacity(64);
        self.driver.reap(256, &mut completions);
        let idle = completions.is_empty();
        let mut touched = Vec::with_capacity(8);
        for completion in completions {
            let token = self.completed(completion);
            touched.extend(token.filter(|t| !touched.contains(t)));
        }
        for token in touched {
            self.answer(token)?;
            self.receive(token)?;
        }
        let wait = if self.options.sleep && idle { Wait::AtMost(SLEEP_MAX) } else { Wait::No };
        Ok(self.driver.submit(wait)?)
    }

    /// The connection that has work now.
    fn completed(&mut self, completion: Completion) -> Option<u64> {
        match completion {
            Completion::Accepted { socket, .. } => self.accepted(socket),
            Completion::Received { token, result, data, .. } => {
                let Some(link) = self.links.get_mut(&token) else {
                    if let Some(buffer) = data {
                        self.driver.recycle(buffer);
                    }
                    return None;
                };
                match (result, data) {
                    (Ok(1..), Some(buffer)) => {
                        let store = self.store.as_deref();
                        link.take(self.driver.received(&buffer), |at, run| {
                            if let Some(store) = store {
                                // The floor checks nothing: what lies outside of the LUN is lost.
                                let _written = store.write_bytes(at, run);
                            }
                        });
                        self.driver.recycle(buffer);
                    }
                    (Err(Errno::NO_BUFFERS), None) => {}
                    (_, buffer) => {
                        if let Some(buffer) = buffer {
                            self.driver.recycle(buffer);
                        }
                        self.gone(token);
                        return None;
                    }
                }
                Some(token)
            }
            Completion::Sent { token, gather, .. } => {
                self.driver.recycle_gather(gather);
                if let Some(link) = self.links.get_mut(&token) {
                    link.sending = false;
                }
                Some(token)
            }
            Completion::AcceptFailed { .. }
            | Completion::Allocated { .. }
            | Completion::Closed { .. }
            | Completion::Read { .. }
            | Completion::ReceivedInto { .. }
            | Completion::Synced { .. }
            | Completion::Woken
            | Completion::Written { .. } => None,
        }
    }

    fn accepted(&mut self, fd: OwnedFd) -> Option<u64> {
        let buffers = self.spare.pop()?;
        // Untuned sockets work, only a little slower.
        let _tuned = tune(&fd, &Tuning::default());
        let socket = self.driver.add_socket(fd).ok()?;
        let token = self.next_token;
        self.next_token += 1;
        self.links.insert(token, Link::new(socket, buffers));
        Some(token)
    }

    /// Ends a connection; after the last one, prints the totals.
    fn gone(&mut self, token: u64) {
        let Some(link) = self.links.remove(&token) else { return };
        self.driver.close(link.socket);
        self.commands += link.commands;
        self.spare.push(link.buffers);
        if self.links.is_empty() {
            let enters = self.driver.counters().enters;
            println!("served {} commands with {enters} system calls", self.commands);
        }
    }

    fn receive(&mut self, token: u64) -> Result<()> {
        let Some(link) = self.links.get(&token) else { return Ok(()) };
        if self.driver.is_receiving(link.socket) {
            return Ok(());
        }
        match self.options.receive {
            Receive::Multishot => self.driver.recv_multishot(link.socket, token)?,
            Receive::Single => self.driver.recv(link.socket, token)?,
        }
        Ok(())
    }

    /// Sends all responses that are ready, as many as the send buffer holds.
    fn answer(&mut self, token: u64) -> Result<()> {
        let Some(link) = self.links.get_mut(&token) else { return Ok(()) };
        if link.sending || (link.answers.is_empty() && link.logins.is_empty()) {
            return Ok(());
        }
        let mut gather = self.driver.gather();
        while let Some(request) = link.logins.pop_front() {
            let (header, text) = login_response(link, &Bhs::new(request))?;
            gather.push_inline(&header);
            gather.push_inline(&text);
        }
        let size = self.options.size;
        match self.store.clone() {
            Some(store) => fill_from_store(link, &mut gather, &store),
            None => fill_contiguous(&mut self.driver, link, &mut gather, size)?,
        }
        link.turn ^= 1;
        link.sending = true;
        let sent = self.driver.send(link.socket, token, gather);
        sent.map_err(|refused| refused.reason).context("cannot send")
    }
}

/// Headers and data back to back in one buffer, sent as one piece.
fn fill_contiguous(
    driver: &mut Driver,
    link: &mut Link,
    gather: &mut Gather,
    size: u64,
) -> Result<()> {
    let mut at = 0;
    while let Some(answer) = link.answers.pop_front() {
        let segment = answer.data.min(SEGMENT_BYTES_MAX);
        let bytes = HEADER_BYTES + segment.next_multiple_of(4);
        if at + bytes > SEND_BUFFER_BYTES {
            link.answers.push_front(answer);
            break;
        }
        let header = header_of(link, &answer, segment);
        let place = link.buffer(at, HEADER_BYTES);
        let filled = driver.pool_mut().fill(place, &header);
        ensure!(filled, "a send buffer is filled only while no send reads it");
        if answer.data == CAPACITY_BYTES && answer.is_read {
            let place = link.buffer(at + HEADER_BYTES, CAPACITY_BYTES);
            ensure!(driver.pool_mut().fill(place, &capacity(size)), "as above");
        }
        at += bytes;
        rest(link, answer, segment);
    }
    gather.push_buffer(link.buffer(0, at));
    Ok(())
}

/// Headers inline, data from the memory at the offset of the command.
fn fill_from_store(link: &mut Link, gather: &mut Gather, store: &Arc<MemoryStore>) {
    let size = store.len_bytes();
    while let Some(answer) = link.answers.pop_front() {
        let segment = answer.data.min(SEGMENT_BYTES_MAX);
        if gather.is_full_for(BHS_BYTES + 32) {
            link.answers.push_front(answer);
            break;
        }
        gather.push_inline(&header_of(link, &answer, segment));
        if answer.data == CAPACITY_BYTES && answer.is_read {
            gather.push_inline(&capacity(size));
        } else {
            let at = answer.lba.wrapping_mul(BLOCK_BYTES).wrapping_add(u64::from(answer.offset));
            gather.push_store(store, at.min(size - u64::from(segment)), segment);
        }
        rest(link, answer, segment);
    }
}

/// Queues the rest of a read first.
fn rest(link: &mut Link, answer: Answer, sent: u32) {
    let left = answer.data - sent;
    if left > 0 {
        let offset = answer.offset + sent;
        link.answers.push_front(Answer { data: left, offset, ..answer });
    }
}

fn header_of(link: &mut Link, answer: &Answer, segment: u32) -> [u8; BHS_BYTES] {
    let mut header = [0; BHS_BYTES];
    let initiator_task_tag = InitiatorTaskTag(u32::from_be_bytes(answer.tag));
    let exp_cmd_sn = Serial32(link.cmd_sn).plus(1);
    let max_cmd_sn = exp_cmd_sn.plus(WINDOW);
    let is_final = segment == answer.data;
    let stat_sn = Serial32(link.stat_sn);
    if is_final {
        link.stat_sn = link.stat_sn.wrapping_add(1);
    }
    if answer.is_read {
        let end = DataInStatus { status: 0, stat_sn, residual: Residual::None };
        DataIn {
            is_final,
            acknowledge: false,
            status: is_final.then_some(end),
            data_segment_length: segment,
            lun: Lun(0),
            initiator_task_tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: Serial32(answer.offset / SEGMENT_BYTES_MAX),
            buffer_offset: answer.offset,
        }
        .emit(&mut header);
    } else {
        ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status: 0,
            data_segment_length: 0,
            initiator_task_tag,
            snack_tag: 0,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn: Serial32(0),
            bidirectional_read_residual: Residual::None,
            residual: Residual::None,
        }
        .emit(&mut header);
    }
    header
}

/// Accepts every login, with bursts of any length, so that no R2T is needed.
fn login_response(link: &mut Link, bhs: &Bhs) -> Result<([u8; BHS_BYTES], Vec<u8>)> {
    let request = LoginRequest::parse(bhs)?;
    let mut text = TextWriter::new(1024);
    for (key, value) in [
        ("TargetPortalGroupTag", "1"),
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxRecvDataSegmentLength", "262144"),
        ("MaxBurstLength", "16776192"),
        ("FirstBurstLength", "16776192"),
    ] {
        text.push(key, value)?;
    }
    let mut text = text.into_bytes();
    let exp_cmd_sn = Serial32(be32(bhs.raw(), 24));
    let response = LoginResponse {
        transit: true,
        continues: false,
        current_stage: request.current_stage,
        next_stage: request.next_stage,
        version_max: 0,
        version_active: 0,
        data_segment_length: u32::try_from(text.len())?,
        isid: request.isid,
        tsih: 1,
        initiator_task_tag: request.initiator_task_tag,
        stat_sn: Serial32(link.stat_sn),
        exp_cmd_sn,
        max_cmd_sn: exp_cmd_sn.plus(WINDOW),
        status: LoginStatus::Success,
    };
    link.stat_sn += 1;
    let mut header = [0; BHS_BYTES];
    response.emit(&mut header);
    text.resize(text.len().next_multiple_of(4), 0);
    Ok((header, text))
}

/// READ CAPACITY(16) parameter data (SBC-4 5.16.2): blocks of 512 bytes.
fn capacity(size: u64) -> [u8; CAPACITY_BYTES as usize] {
    let mut data = [0; CAPACITY_BYTES as usize];
    data[..8].copy_from_slice(&(size / BLOCK_BYTES - 1).to_be_bytes());
    data[10] = 2;
    data
}

const LISTENER: u64 = 0;
const HEADER_BYTES: u32 = 48;
const CAPACITY_BYTES: u32 = 32;
const SEGMENT_BYTES_MAX: u32 = 256 << 10;

/// Holds 126 responses of 4 KiB: more than one event loop turn finds.
const SEND_BUFFER_BYTES: u32 = 512 << 10;
const CONNECTIONS_MAX: u32 = 64;

/// Commands that an initiator may have in flight: more than any load uses.
const WINDOW: u32 = 4096;

const SLEEP_MAX: Duration = Duration::from_millis(500);
