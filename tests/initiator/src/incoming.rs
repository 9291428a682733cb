//! What the target sends: sequence numbers are checked, data moved, tasks finished.

use crate::command::{Command, CommandResult, Residual, rejection};
use crate::error::{Error, Violation};
use crate::pdu::{self, Pdu, TAG_NONE, length_u32, opcode};
use crate::session::{Session, rejected_tag};

/// A command without an answer so far.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) cmd_sn: u32,
    command: Command,
    expected_length: u32,
    data: Vec<u8>,
    data_in_count: u32,
    r2t_count: u32,
    burst_length: u32,
    solicited_offset: u32,
}

impl Session {
    /// The PDUs of a command with its unsolicited data, and the task that books it.
    pub(crate) fn prepare(&mut self, tag: u32, command: Command) -> (Vec<Pdu>, Task) {
        let data_length = length_u32(command.data_out.len());
        let natural_length = data_length.max(command.read_length);
        let expected_length = command.expected_length.unwrap_or(natural_length);
        let terms = &self.negotiated;
        let first_burst = terms.first_burst.min(data_length).min(expected_length);
        let immediate_length = if terms.immediate_data {
            // Whatever exceeds the first burst means all of it.
            let wanted = u32::try_from(command.immediate_data_max).unwrap_or(u32::MAX);
            first_burst.min(terms.target_segment_max).min(wanted)
        } else {
            0
        };
        let sends_more =
            command.unsolicited_data && !terms.initial_r2t && immediate_length < first_burst;
        let segment_max = terms.target_segment_max;
        let mut flags = pdu::SIMPLE;
        flags |= if sends_more { 0 } else { pdu::FINAL };
        flags |= if command.read_length > 0 { pdu::READ } else { 0 };
        flags |= if data_length > 0 { pdu::WRITE } else { 0 };
        let mut request = pdu::scsi_command(flags, command.lun, expected_length, &command.cdb)
            .with_u32(16, tag)
            .with_data(&command.data_out[..immediate_length as usize]);
        if command.immediate_delivery {
            request = request.immediate();
        }
        let cmd_sn = self.next_cmd_sn;
        let mut pdus = vec![self.stamp(request)];
        let mut sent = immediate_length;
        if sends_more {
            let burst = DataOutBurst { tag, transfer_tag: TAG_NONE, lun: command.lun, segment_max };
            let range = immediate_length..first_burst;
            pdus.extend(burst.pdus(self.exp_stat_sn, &command.data_out, range));
            sent = first_burst;
        }
        let task = Task {
            cmd_sn,
            command,
            expected_length,
            data: Vec::new(),
            data_in_count: 0,
            r2t_count: 0,
            burst_length: 0,
            solicited_offset: sent,
        };
        (pdus, task)
    }

    /// Receives and handles one PDU.
    pub fn pump(&mut self) -> Result<(), Error> {
        let pdu = self.receive()?;
        let tag = pdu.initiator_task_tag();
        let is_of_task = self.tasks.contains_key(&tag);
        match pdu.opcode() {
            opcode::DATA_IN if is_of_task => self.take_data_in(&pdu),
            opcode::R2T if is_of_task => self.answer_r2t(&pdu)?,
            opcode::SCSI_RESPONSE if is_of_task => self.take_response(&pdu),
            opcode::REJECT => {
                let rejected = rejected_tag(&pdu).filter(|tag| self.tasks.contains_key(tag));
                if let Some(tag) = rejected {
                    self.tasks.remove(&tag);
                    self.finished.insert(tag, Err(rejection(pdu.bhs[2], &pdu.data)));
                } else {
                    self.strays.push_back(pdu);
                }
            }
            opcode::NOP_IN if self.answers_pings && asks_for_answer(&pdu) => {
                let answer =
                    pdu::nop_out(TAG_NONE, &[]).immediate().with_u32(20, pdu.target_transfer_tag());
                self.send(answer)?;
            }
            _ => self.strays.push_back(pdu),
        }
        Ok(())
    }

    /// Receives one PDU and checks its sequence numbers, nothing more.
    pub fn receive(&mut self) -> Result<Pdu, Error> {
        let pdu = self.connection.receive()?;
        self.track(&pdu);
        Ok(pdu)
    }

    /// Forgets a command whose answer will not come, after an abort for example.
    pub fn forget(&mut self, ticket: crate::session::Ticket) {
        self.tasks.remove(&ticket.0);
    }

    pub(crate) fn track(&mut self, pdu: &Pdu) {
        let is_data_without_status =
            pdu.opcode() == opcode::DATA_IN && pdu.flags() & pdu::STATUS == 0;
        let is_ping = pdu.opcode() == opcode::NOP_IN && pdu.initiator_task_tag() == TAG_NONE;
        if !is_data_without_status {
            let rule = "StatSN counts responses in their order (RFC 7143 4.2.2.2)";
            self.check(rule, self.exp_stat_sn, pdu.stat_sn(), pdu);
            if pdu.opcode() != opcode::R2T && !is_ping {
                self.exp_stat_sn = pdu.stat_sn().wrapping_add(1);
            }
        }
        let acknowledged = self.next_cmd_sn.wrapping_sub(pdu.exp_cmd_sn());
        if acknowledged >= 0x8000_0000 {
            let rule = "ExpCmdSN acknowledges no command that was not sent (RFC 7143 4.2.2.1)";
            self.check(rule, self.next_cmd_sn, pdu.exp_cmd_sn(), pdu);
        }
        if pdu.exp_cmd_sn().wrapping_sub(self.exp_cmd_sn) >= 0x8000_0000 {
            let rule = "ExpCmdSN never decreases (RFC 7143 4.2.2.1)";
            self.check(rule, self.exp_cmd_sn, pdu.exp_cmd_sn(), pdu);
        }
        if pdu.max_cmd_sn().wrapping_sub(self.max_cmd_sn) >= 0x8000_0000 {
            let rule = "MaxCmdSN never decreases (RFC 7143 4.2.2.1)";
            self.check(rule, self.max_cmd_sn, pdu.max_cmd_sn(), pdu);
        }
        if pdu.max_cmd_sn().wrapping_add(1).wrapping_sub(pdu.exp_cmd_sn()) >= 0x8000_0000 {
            let rule = "MaxCmdSN is at least ExpCmdSN - 1 (RFC 7143 4.2.2.1)";
            self.check(rule, pdu.exp_cmd_sn().wrapping_sub(1), pdu.max_cmd_sn(), pdu);
        }
        self.exp_cmd_sn = pdu.exp_cmd_sn();
        self.max_cmd_sn = pdu.max_cmd_sn();
        let length = length_u32(pdu.data.len());
        if length > self.negotiated.initiator_segment_max {
            let rule = "no data segment beyond MaxRecvDataSegmentLength (RFC 7143 13.12)";
            self.check(rule, self.negotiated.initiator_segment_max, length, pdu);
        }
    }

    fn check(&mut self, rule: &'static str, expected: u32, found: u32, pdu: &Pdu) {
        if expected != found {
            self.violations.push(Violation { rule, expected, found, header: pdu.bhs });
        }
    }

    fn take_data_in(&mut self, pdu: &Pdu) {
        let tag = pdu.initiator_task_tag();
        let Some(mut task) = self.tasks.remove(&tag) else { return };
        let order = "DataSN counts Data-In from 0 (RFC 7143 11.7.5)";
        self.check(order, task.data_in_count, pdu.u32_at(36), pdu);
        let place = "Buffer Offset follows the data before (RFC 7143 11.7.5, 13.18)";
        self.check(place, length_u32(task.data.len()), pdu.u32_at(40), pdu);
        task.data_in_count += 1;
        task.data.extend_from_slice(&pdu.data);
        task.burst_length += length_u32(pdu.data.len());
        let received = length_u32(task.data.len());
        if received > task.expected_length {
            let rule = "no data beyond the expected length (RFC 7143 11.4.5)";
            self.check(rule, task.expected_length, received, pdu);
        }
        if task.burst_length > self.negotiated.max_burst {
            let rule = "a Data-In sequence ends with F within MaxBurstLength (RFC 7143 11.7.2)";
            self.check(rule, self.negotiated.max_burst, task.burst_length, pdu);
        }
        let is_final = pdu.flags() & pdu::FINAL != 0;
        if is_final {
            task.burst_length = 0;
        }
        if pdu.flags() & pdu::STATUS == 0 {
            self.tasks.insert(tag, task);
            return;
        }
        if !is_final {
            self.check("S comes with F only (RFC 7143 11.7.3)", 0x81, pdu.flags().into(), pdu);
        }
        self.finish(task, pdu, true);
    }

    fn answer_r2t(&mut self, pdu: &Pdu) -> Result<(), Error> {
        let tag = pdu.initiator_task_tag();
        let Some(mut task) = self.tasks.remove(&tag) else { return Ok(()) };
        self.check("R2TSN counts from 0 (RFC 7143 11.8.3)", task.r2t_count, pdu.u32_at(36), pdu);
        let (offset, length) = (pdu.u32_at(40), pdu.u32_at(44));
        let order = "R2Ts follow each other without gaps (RFC 7143 11.8.4, 13.19)";
        self.check(order, task.solicited_offset, offset, pdu);
        if length == 0 || length > self.negotiated.max_burst {
            let rule = "an R2T asks for 1 to MaxBurstLength bytes (RFC 7143 11.8.4)";
            self.check(rule, self.negotiated.max_burst, length, pdu);
        }
        if pdu.target_transfer_tag() == TAG_NONE {
            let rule = "an R2T has a Target Transfer Tag (RFC 7143 11.8.5)";
            self.check(rule, 0, TAG_NONE, pdu);
        }
        task.r2t_count += 1;
        task.solicited_offset = offset.wrapping_add(length);
        let available = length_u32(task.command.data_out.len());
        let end = offset.saturating_add(length);
        if end > available {
            let rule = "an R2T asks for no more than was announced (RFC 7143 11.8.4)";
            self.check(rule, available, end, pdu);
        }
        let burst = DataOutBurst {
            tag,
            transfer_tag: pdu.target_transfer_tag(),
            lun: task.command.lun,
            segment_max: self.negotiated.target_segment_max,
        };
        let range = offset.min(available)..end.min(available);
        let pdus = burst.pdus(self.exp_stat_sn, &task.command.data_out, range);
        self.tasks.insert(tag, task);
        pdus.iter().try_for_each(|data_out| self.connection.send(data_out))
    }

    fn take_response(&mut self, pdu: &Pdu) {
        let Some(task) = self.tasks.remove(&pdu.initiator_task_tag()) else { return };
        // For writes both readings of the field are in use: all PDUs, or Data-In alone.
        let all = task.data_in_count + task.r2t_count;
        if pdu.bhs[2] == 0 && pdu.u32_at(36) != task.data_in_count {
            let rule = "ExpDataSN tells how many PDUs came before (RFC 7143 11.4.8)";
            self.check(rule, all, pdu.u32_at(36), pdu);
        }
        self.finish(task, pdu, false);
    }

    fn finish(&mut self, task: Task, pdu: &Pdu, phase_collapse: bool) {
        let residual = Residual::from_wire(pdu.flags(), pdu.u32_at(44));
        if residual.is_none() {
            let rule = "O and U exclude each other (RFC 7143 11.4.1)";
            self.check(rule, 0, pdu.flags().into(), pdu);
        }
        let sense_bytes = if phase_collapse {
            Vec::new()
        } else {
            // The first two bytes are SenseLength (RFC 7143 11.4.7).
            pdu.data.get(2..).unwrap_or_default().to_vec()
        };
        let result = CommandResult {
            status: pdu.bhs[3],
            response: if phase_collapse { 0 } else { pdu.bhs[2] },
            sense_bytes,
            data: task.data,
            residual: residual.unwrap_or(Residual::None),
            r2t_count: task.r2t_count,
            data_in_count: task.data_in_count,
            phase_collapse,
        };
        self.finished.insert(pdu.initiator_task_tag(), Ok(result));
    }
}

/// One sequence of Data-Out PDUs (RFC 7143 11.7).
struct DataOutBurst {
    tag: u32,
    transfer_tag: u32,
    lun: u16,
    segment_max: u32,
}

impl DataOutBurst {
    /// Cuts `range` of the data into PDUs; DataSN starts at 0 and the last PDU is final.
    fn pdus(&self, exp_stat_sn: u32, data: &[u8], range: std::ops::Range<u32>) -> Vec<Pdu> {
        let mut pdus = Vec::new();
        let mut offset = range.start;
        while offset < range.end {
            let end = range.end.min(offset.saturating_add(self.segment_max));
            let is_final = if end == range.end { pdu::FINAL } else { 0 };
            pdus.push(
                pdu::data_out(self.tag, self.transfer_tag, self.lun)
                    .with_byte(1, is_final)
                    .with_u32(28, exp_stat_sn)
                    .with_u32(36, length_u32(pdus.len()))
                    .with_u32(40, offset)
                    .with_data(&data[offset as usize..end as usize]),
            );
            offset = end;
        }
        pdus
    }
}

/// Whether a NOP-In is a ping of the target that wants an answer (RFC 7143 11.19).
fn asks_for_answer(pdu: &Pdu) -> bool {
    pdu.initiator_task_tag() == TAG_NONE && pdu.target_transfer_tag() != TAG_NONE
}
