//! The beginning of a session, before the load: login, and what the logical unit looks like.
//!
//! It is done with plain blocking calls; the socket then goes to the ring.

use anyhow::{Context, Result, bail, ensure};
use iscsi::digest::{DataDigest, header_digest};
use iscsi::pdu::{
    DataIn, LoginRequest, LoginResponse, LoginStatus, NopIn, NopOut, ScsiCommand, ScsiResponse,
    Stage, TaskAttribute,
};
use iscsi::text::{Pairs, TextWriter, parse_boolean, parse_number};
use iscsi::{
    BHS_BYTES, Bhs, Deframer, InitiatorTaskTag, Opcode, Piece, TargetTransferTag, pad_bytes,
};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use units::{Lun, Serial32};

use super::options::Options;

/// What both sides have agreed on, as far as an initiator needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
    pub(crate) immediate_data: bool,
    pub(crate) initial_r2t: bool,
    pub(crate) first_burst: u32,
    /// The longest data segment that the target takes.
    pub(crate) segment: u32,
}

/// A session that is ready for commands.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    pub(crate) deframer: Deframer,
    pub(crate) agreed: Agreed,
    pub(crate) lun: Lun,
    pub(crate) cmd_sn: Serial32,
    pub(crate) max_cmd_sn: Serial32,
    pub(crate) exp_stat_sn: Serial32,
    /// Digests begin after the login.
    logged_in: bool,
}

/// What a logical unit says about its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) blocks: u64,
    pub(crate) block_bytes: u32,
}

/// The longest data segment that this side takes: a whole burst.
pub(crate) const SEGMENT_BYTES_MAX: u32 = 1 << 20;

/// The longest data segment that this side sends, so that a send stays below what one may have.
const SEGMENT_SENT_MAX: u32 = 256 << 10;

/// How long each step of a login may take.
const WAIT_MAX: Duration = Duration::from_secs(20);

impl Session {
    /// Connects and logs in; `number` makes the session different from the others.
    pub(crate) fn open(options: &Options, number: u16) -> Result<Self> {
        let stream = connect(&options.target)?;
        let lun = Lun(u64::from(options.lun) << 48);
        let agreed = Agreed {
            header_digest: false,
            data_digest: false,
            immediate_data: true,
            initial_r2t: true,
            first_burst: 65_536,
            segment: 8192,
        };
        let mut session = Self {
            stream,
            deframer: Deframer::new(),
            agreed,
            lun,
            cmd_sn: Serial32(1),
            max_cmd_sn: Serial32(1),
            exp_stat_sn: Serial32(0),
            logged_in: false,
        };
        session.log_in(options, number).context("login")?;
        session.logged_in = true;
        session.deframer.set_digests(session.agreed.header_digest, session.agreed.data_digest);
        session.deframer.set_max_data_segment_length(SEGMENT_BYTES_MAX);
        Ok(session)
    }

    /// Asks for the size of the logical unit, past the unit attentions of a new session.
    pub(crate) fn capacity(&mut self) -> Result<Capacity> {
        for _ in 0..ATTENTIONS_MAX {
            if self.command([0; 16], 0)?.is_some() {
                break;
            }
        }
        let mut cdb = [0; 16];
        // SERVICE ACTION IN(16), READ CAPACITY(16) (SBC-4 5.17).
        cdb[0] = 0x9e;
        cdb[1] = 0x10;
        cdb[13] = 32;
        let data = self.command(cdb, 32)?.context("READ CAPACITY(16) failed")?;
        let (Some(last), Some(bytes)) = (data.first_chunk(), data.get(8..12)) else {
            bail!("READ CAPACITY(16) returned {} bytes", data.len());
        };
        let block_bytes = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        ensure!(block_bytes > 0, "READ CAPACITY(16) returned a block length of 0");
        Ok(Capacity { blocks: u64::from_be_bytes(*last).saturating_add(1), block_bytes })
    }

    /// Takes one PDU of an idle session, and answers it if it is a ping (RFC 7143 11.19).
    pub(crate) fn answer_ping(&mut self) -> Result<()> {
        let (bhs, _) = self.receive()?;
        ensure!(bhs.opcode() == Opcode::NopIn, "the target sent {:?} unasked", bhs.opcode());
        let ping = NopIn::parse(&bhs)?;
        if ping.target_transfer_tag == TargetTransferTag::RESERVED {
            return Ok(());
        }
        let answer = NopOut {
            immediate: true,
            data_segment_length: 0,
            lun: ping.lun,
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag: ping.target_transfer_tag,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        let mut header = [0; BHS_BYTES];
        answer.emit(&mut header);
        self.send(&header, &[])
    }

    fn log_in(&mut self, options: &Options, number: u16) -> Result<()> {
        let [high, low] = number.to_be_bytes();
        let [.., pid_high, pid_low] = std::process::id().to_be_bytes();
        let text = offers(options)?;
        let mut request = LoginRequest {
            transit: true,
            continues: false,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            version_max: 0,
            version_min: 0,
            data_segment_length: u32::try_from(text.len())?,
            // Type 10b: random, here the process and the session's number (RFC 7143 11.12.5).
            isid: [0x80, pid_high, pid_low, high, low, 0],
            tsih: 0,
            initiator_task_tag: InitiatorTaskTag(0),
            cid: 1,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: Serial32(0),
        };
        let mut text = text;
        for _ in 0..LOGIN_ROUNDS_MAX {
            let mut header = [0; BHS_BYTES];
            request.emit(&mut header);
            self.send(&header, &text)?;
            let (bhs, answer) = self.receive()?;
            let response = LoginResponse::parse(&bhs)?;
            ensure!(
                response.status == LoginStatus::Success,
                "the target refused it: {:?}. Does it have a target of this name, and may this \
                 initiator use it?",
                response.status
            );
            self.exp_stat_sn = response.stat_sn.plus(1);
            self.max_cmd_sn = response.max_cmd_sn;
            self.take_answer(&answer)?;
            if response.transit && response.next_stage == Stage::FullFeaturePhase {
                return Ok(());
            }
            text.clear();
            request.data_segment_length = 0;
            request.exp_stat_sn = self.exp_stat_sn;
            request.tsih = response.tsih;
        }
        bail!("it did not come to an end in {LOGIN_ROUNDS_MAX} rounds")
    }

    fn take_answer(&mut self, text: &[u8]) -> Result<()> {
        let agreed = &mut self.agreed;
        for pair in Pairs::new(text) {
            let pair = pair?;
            let number = || parse_number(pair.value).with_context(|| pair.key.to_owned());
            let boolean = || parse_boolean(pair.value).with_context(|| pair.key.to_owned());
            match pair.key {
                "HeaderDigest" => agreed.header_digest = pair.value == "CRC32C",
                "DataDigest" => agreed.data_digest = pair.value == "CRC32C",
                "ImmediateData" => agreed.immediate_data = boolean()?,
                "InitialR2T" => agreed.initial_r2t = boolean()?,
                "FirstBurstLength" => agreed.first_burst = number()?,
                "MaxRecvDataSegmentLength" => {
                    agreed.segment = number()?.clamp(512, SEGMENT_SENT_MAX);
                }
                // Nothing else changes what this initiator does.
                _ => {}
            }
        }
        Ok(())
    }

    /// One command that reads up to `length` bytes; `None` where its status is not GOOD.
    fn command(&mut self, cdb: [u8; 16], length: u32) -> Result<Option<Vec<u8>>> {
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            read: length > 0,
            write: false,
            attribute: TaskAttribute::Simple,
            total_ahs_length: 0,
            data_segment_length: 0,
            lun: self.lun,
            initiator_task_tag: InitiatorTaskTag(0),
            expected_data_transfer_length: length,
            cmd_sn: self.cmd_sn.take_next(),
            exp_stat_sn: self.exp_stat_sn,
            cdb,
        };
        let mut header = [0; BHS_BYTES];
        command.emit(&mut header);
        self.send(&header, &[])?;
        let mut data = Vec::new();
        loop {
            let (bhs, segment) = self.receive()?;
            let opcode = bhs.opcode();
            let (status, stat_sn, max_cmd_sn) = if opcode == Opcode::DataIn {
                let data_in = DataIn::parse(&bhs)?;
                data.extend_from_slice(&segment);
                let Some(end) = data_in.status else { continue };
                (end.status, end.stat_sn, data_in.max_cmd_sn)
            } else if opcode == Opcode::ScsiResponse {
                let response = ScsiResponse::parse(&bhs)?;
                (response.status, response.stat_sn, response.max_cmd_sn)
            } else if opcode == Opcode::NopIn {
                continue;
            } else {
                bail!("the target answered a command with {opcode:?}");
            };
            self.exp_stat_sn = stat_sn.plus(1);
            self.max_cmd_sn = max_cmd_sn;
            return Ok((status == 0).then_some(data));
        }
    }

    fn send(&mut self, header: &[u8; BHS_BYTES], data: &[u8]) -> Result<()> {
        let mut bytes = header.to_vec();
        if self.agreed.header_digest && self.logged_in {
            bytes.extend_from_slice(&header_digest(header, &[]));
        }
        bytes.extend_from_slice(data);
        let pad = pad_bytes(u32::try_from(data.len())?) as usize;
        bytes.extend_from_slice(&[0; 3][..pad]);
        if self.agreed.data_digest && self.logged_in && !data.is_empty() {
            let mut sum = DataDigest::new();
            sum.update(data);
            sum.pad();
            bytes.extend_from_slice(&sum.wire());
        }
        self.stream.write_all(&bytes).context("cannot send")
    }

    /// One PDU: its header and its data. Nothing is read beyond its end.
    fn receive(&mut self) -> Result<(Bhs, Vec<u8>)> {
        let mut found = None;
        let mut data = Vec::new();
        let mut byte = [0; 1];
        // Byte by byte, because what follows belongs to the load; these PDUs are few. The end of
        // a PDU is told without further bytes, hence the empty input first.
        let mut fresh = 0;
        loop {
            let mut input = &byte[..fresh];
            while let Some(piece) = self.deframer.next(&mut input)? {
                match piece {
                    Piece::Header(bhs) => found = Some(bhs),
                    Piece::Payload(run) => data.extend_from_slice(run),
                    Piece::End { .. } => return Ok((found.context("no header")?, data)),
                }
            }
            self.stream.read_exact(&mut byte).context("the target closed the connection")?;
            fresh = 1;
        }
    }
}

fn connect(target: &str) -> Result<TcpStream> {
    let address = target
        .to_socket_addrs()
        .with_context(|| format!("'{target}' is not an address: use HOST:PORT"))?
        .next()
        .with_context(|| format!("'{target}' has no address"))?;
    let stream = TcpStream::connect_timeout(&address, WAIT_MAX)
        .with_context(|| format!("cannot connect to {address}; does a target listen there?"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    Ok(stream)
}

/// The text of the login request: names and operational keys in one step.
fn offers(options: &Options) -> Result<Vec<u8>> {
    let digest = |wanted| if wanted { "CRC32C,None" } else { "None" };
    let unsolicited = !options.r2t;
    let segment = SEGMENT_BYTES_MAX.to_string();
    let mut text = TextWriter::new(TEXT_BYTES_MAX);
    for (key, value) in [
        ("InitiatorName", options.initiator.as_str()),
        ("TargetName", options.iqn.as_str()),
        ("SessionType", "Normal"),
        ("HeaderDigest", digest(options.header_digest)),
        ("DataDigest", digest(options.data_digest)),
        ("InitialR2T", iscsi::text::boolean_text(!unsolicited)),
        ("ImmediateData", iscsi::text::boolean_text(unsolicited)),
        ("MaxRecvDataSegmentLength", segment.as_str()),
        ("MaxBurstLength", "16776192"),
        ("FirstBurstLength", "16776192"),
        ("MaxOutstandingR2T", "8"),
        ("MaxConnections", "1"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("DefaultTime2Wait", "0"),
        ("DefaultTime2Retain", "0"),
        ("ErrorRecoveryLevel", "0"),
    ] {
        text.push(key, value)?;
    }
    Ok(text.into_bytes())
}

const TEXT_BYTES_MAX: usize = 8192;
const LOGIN_ROUNDS_MAX: usize = 16;

/// Unit attentions that a new session may have to be told before a command works.
const ATTENTIONS_MAX: usize = 16;
