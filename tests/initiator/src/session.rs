//! A logged-in session: sequence numbers, tasks, and requests that wait for their answer.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::command::{Command, CommandResult, rejection};
use crate::connection::Connection;
use crate::error::{Error, Violation};
use crate::incoming::Task;
use crate::keys::{decode_keys, encode_keys};
use crate::login::Login;
use crate::negotiated::Negotiated;
use crate::pdu::{self, Pdu, TAG_NONE, opcode};

/// Stands for a command that was sent: its Initiator Task Tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// A session with one connection.
#[derive(Debug)]
pub struct Session {
    pub(crate) connection: Connection,
    pub(crate) negotiated: Negotiated,
    pub(crate) next_cmd_sn: u32,
    pub(crate) exp_cmd_sn: u32,
    pub(crate) max_cmd_sn: u32,
    pub(crate) exp_stat_sn: u32,
    pub(crate) tasks: HashMap<u32, Task>,
    pub(crate) finished: HashMap<u32, Result<CommandResult, Error>>,
    pub(crate) strays: VecDeque<Pdu>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) answers_pings: bool,
    answers: Vec<(String, String)>,
    next_tag: u32,
    tsih: u16,
    connection_id: u16,
}

impl Session {
    /// Connects to a portal and logs in.
    pub fn open(portal: SocketAddr, login: &Login) -> Result<Self, Error> {
        Self::login(Connection::open(portal)?, login)
    }

    /// Logs in on a connection.
    pub fn login(mut connection: Connection, login: &Login) -> Result<Self, Error> {
        let logged_in = login.perform(&mut connection)?;
        Ok(Self {
            connection,
            negotiated: logged_in.negotiated,
            next_cmd_sn: login.first_cmd_sn(),
            exp_cmd_sn: logged_in.exp_cmd_sn,
            max_cmd_sn: logged_in.max_cmd_sn,
            exp_stat_sn: logged_in.exp_stat_sn,
            tasks: HashMap::new(),
            finished: HashMap::new(),
            strays: VecDeque::new(),
            violations: Vec::new(),
            answers_pings: true,
            answers: logged_in.answers,
            next_tag: 0x100,
            tsih: logged_in.tsih,
            connection_id: login.connection_id(),
        })
    }

    /// The connection, to send what no session would.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The connection alone: nobody keeps the session's numbers any more.
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// What the login agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Every key that the target sent during login.
    pub fn answers(&self) -> &[(String, String)] {
        &self.answers
    }

    /// The last value that the target gave a key during login.
    pub fn answer(&self, key: &str) -> Option<&str> {
        self.answers.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Target Session Identifying Handle.
    pub fn tsih(&self) -> u16 {
        self.tsih
    }

    /// CmdSN of the next command that is not immediate.
    pub fn next_cmd_sn(&self) -> u32 {
        self.next_cmd_sn
    }

    /// The last MaxCmdSN of the target.
    pub fn max_cmd_sn(&self) -> u32 {
        self.max_cmd_sn
    }

    /// The last ExpCmdSN of the target.
    pub fn exp_cmd_sn(&self) -> u32 {
        self.exp_cmd_sn
    }

    /// StatSN that the next status must have.
    pub fn exp_stat_sn(&self) -> u32 {
        self.exp_stat_sn
    }

    /// What the target did against the standard so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Leaves pings of the target unanswered from now on.
    pub fn ignore_pings(&mut self) {
        self.answers_pings = false;
    }

    /// An Initiator Task Tag that no task has.
    pub fn new_tag(&mut self) -> u32 {
        self.next_tag = self.next_tag.wrapping_add(1);
        if self.next_tag == TAG_NONE {
            self.next_tag = 1;
        }
        self.next_tag
    }

    /// Fills in CmdSN and ExpStatSN, and counts CmdSN on unless the PDU is immediate
    /// (RFC 7143 4.2.2.1).
    pub fn stamp(&mut self, pdu: Pdu) -> Pdu {
        let stamped = pdu.with_u32(24, self.next_cmd_sn).with_u32(28, self.exp_stat_sn);
        if stamped.bhs[0] & pdu::IMMEDIATE == 0 {
            self.next_cmd_sn = self.next_cmd_sn.wrapping_add(1);
        }
        stamped
    }

    /// Stamps a PDU and sends it.
    pub fn send(&mut self, pdu: Pdu) -> Result<(), Error> {
        let stamped = self.stamp(pdu);
        self.connection.send(&stamped)
    }

    /// Sends a SCSI command, once the window has room, with its unsolicited data.
    pub fn submit(&mut self, command: Command) -> Result<Ticket, Error> {
        while !command.immediate_delivery && !self.window_is_open() {
            self.pump()?;
        }
        let tag = self.new_tag();
        let (pdus, task) = self.prepare(tag, command);
        self.tasks.insert(tag, task);
        for pdu in &pdus {
            self.connection.send(pdu)?;
        }
        Ok(Ticket(tag))
    }

    /// The bytes of a SCSI command with its unsolicited data, to be sent by the test itself;
    /// its answer is collected as usual.
    pub fn submit_later(&mut self, command: Command) -> (Ticket, Vec<u8>) {
        let tag = self.new_tag();
        let (pdus, task) = self.prepare(tag, command);
        self.tasks.insert(tag, task);
        let digests = self.connection.digests();
        (Ticket(tag), pdus.iter().flat_map(|pdu| pdu.encode(digests)).collect())
    }

    /// Waits for the answer to a command, and moves its data meanwhile.
    pub fn collect(&mut self, ticket: Ticket) -> Result<CommandResult, Error> {
        loop {
            if let Some(result) = self.finished.remove(&ticket.0) {
                return result;
            }
            self.pump()?;
        }
    }

    /// Waits for whichever command is answered next.
    pub fn collect_any(&mut self) -> Result<(Ticket, CommandResult), Error> {
        loop {
            if let Some(tag) = self.finished.keys().next().copied()
                && let Some(result) = self.finished.remove(&tag)
            {
                return Ok((Ticket(tag), result?));
            }
            self.pump()?;
        }
    }

    /// Sends a SCSI command and waits for its answer.
    pub fn scsi(&mut self, command: Command) -> Result<CommandResult, Error> {
        let ticket = self.submit(command)?;
        self.collect(ticket)
    }

    /// Commands without an answer so far.
    pub fn outstanding(&self) -> usize {
        self.tasks.len()
    }

    /// Sends an immediate NOP-Out and returns the data of the NOP-In.
    pub fn ping(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let tag = self.new_tag();
        let request = pdu::nop_out(tag, data).immediate();
        Ok(self.exchange(request, opcode::NOP_IN)?.data)
    }

    /// Asks for targets and collects the whole answer (RFC 7143 appendix C).
    pub fn send_targets(&mut self, which: &str) -> Result<Vec<(String, String)>, Error> {
        let text = encode_keys(&[("SendTargets".to_owned(), which.to_owned())]);
        Ok(decode_keys(&self.text(&text)?))
    }

    /// Sends text in one request and collects an answer of any number of PDUs
    /// (RFC 7143 11.11).
    pub fn text(&mut self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let tag = self.new_tag();
        let mut request = pdu::text_request(text).with_u32(16, tag);
        let mut answer = Vec::new();
        loop {
            let response = self.exchange(request, opcode::TEXT_RESPONSE)?;
            answer.extend_from_slice(&response.data);
            if response.flags() & pdu::FINAL != 0 {
                return Ok(answer);
            }
            let transfer_tag = response.target_transfer_tag();
            request = pdu::text_request(b"").with_u32(16, tag).with_u32(20, transfer_tag);
        }
    }

    /// Sends a task management function and returns its response code.
    pub fn task_management(
        &mut self,
        function: u8,
        lun: u16,
        referenced: Option<Ticket>,
    ) -> Result<u8, Error> {
        let tag = self.new_tag();
        let referenced_tag = referenced.map_or(TAG_NONE, |ticket| ticket.0);
        let ref_cmd_sn = self.tasks.get(&referenced_tag).map_or(0, |task| task.cmd_sn);
        let request = pdu::task_management(function, lun, referenced_tag)
            .with_u32(16, tag)
            .with_u32(32, ref_cmd_sn);
        Ok(self.exchange(request, opcode::TASK_MANAGEMENT_RESPONSE)?.bhs[2])
    }

    /// Closes the session, and returns the response code once the target has closed the
    /// connection.
    pub fn logout(&mut self) -> Result<u8, Error> {
        let tag = self.new_tag();
        let request = pdu::logout_request(0, self.connection_id).with_u32(16, tag);
        let response = self.exchange(request, opcode::LOGOUT_RESPONSE)?;
        self.connection.drain_until_closed()?;
        Ok(response.bhs[2])
    }

    /// Sends a request and waits for the PDU that answers it.
    pub fn exchange(&mut self, request: Pdu, answer: u8) -> Result<Pdu, Error> {
        let tag = request.initiator_task_tag();
        while request.bhs[0] & pdu::IMMEDIATE == 0 && !self.window_is_open() {
            self.pump()?;
        }
        self.send(request)?;
        self.await_answer(tag, answer)
    }

    /// Waits for the PDU with this tag and opcode, or for the Reject of its request.
    pub fn await_answer(&mut self, tag: u32, answer: u8) -> Result<Pdu, Error> {
        let deadline = Instant::now() + self.connection.wait_max();
        loop {
            let found = self.strays.iter().position(|stray| {
                let is_answer = stray.opcode() == answer && stray.initiator_task_tag() == tag;
                is_answer || rejected_tag(stray) == Some(tag)
            });
            if let Some(stray) = found.and_then(|index| self.strays.remove(index)) {
                if stray.opcode() == opcode::REJECT {
                    return Err(rejection(stray.bhs[2], &stray.data));
                }
                return Ok(stray);
            }
            if Instant::now() >= deadline {
                return Err(Error::TimedOut { waiting_for: "the answer to a request" });
            }
            self.pump()?;
        }
    }

    /// Whether a PDU with this tag was received and not yet taken.
    pub fn has_answer(&self, tag: u32) -> bool {
        self.strays.iter().any(|stray| stray.initiator_task_tag() == tag)
    }

    /// Takes the Rejects that have come so far and were not about a command in flight, or about
    /// one that was sent by hand.
    pub fn take_rejects(&mut self) -> Vec<Pdu> {
        let is_reject = |stray: &Pdu| stray.opcode() == opcode::REJECT;
        let rejects = self.strays.iter().filter(|stray| is_reject(stray)).cloned().collect();
        self.strays.retain(|stray| !is_reject(stray));
        rejects
    }

    /// Waits for a PDU with this opcode that answers no command, a Reject for example.
    pub fn await_opcode(&mut self, opcode: u8) -> Result<Pdu, Error> {
        loop {
            let found = self.strays.iter().position(|stray| stray.opcode() == opcode);
            if let Some(stray) = found.and_then(|index| self.strays.remove(index)) {
                return Ok(stray);
            }
            self.pump()?;
        }
    }

    /// Whether anything comes within `wait_max`; for facts of the kind "it is ignored".
    pub fn is_silent_for(&mut self, wait_max: Duration) -> Result<bool, Error> {
        match self.connection.receive_within(wait_max) {
            Ok(pdu) => {
                self.track(&pdu);
                self.strays.push_back(pdu);
                Ok(false)
            }
            Err(error) if error.is_timeout() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether CmdSN of the next command lies in the window (RFC 7143 4.2.2.1).
    pub fn window_is_open(&self) -> bool {
        let room = self.max_cmd_sn.wrapping_sub(self.next_cmd_sn);
        room < 0x8000_0000
    }
}

/// The Initiator Task Tag of the PDU that a Reject is about.
pub(crate) fn rejected_tag(pdu: &Pdu) -> Option<u32> {
    if pdu.opcode() != opcode::REJECT {
        return None;
    }
    let tag = pdu.data.get(16..20)?;
    Some(u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]))
}
