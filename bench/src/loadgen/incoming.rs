//! What a target answers: headers are read, data goes to its place or nowhere.

use super::connection::{Connection, DataSequence, Incoming};
use super::runner::Runner;
use anyhow::{Context, Result, bail, ensure};
use iscsi::pdu::{DataIn, NopIn, NopOut, ReadyToTransfer, ScsiResponse, ServiceResponse};
use iscsi::{BHS_BYTES, Bhs, InitiatorTaskTag, Opcode, Piece, TargetTransferTag, pad_bytes};
use units::{Serial32, len_u32};
use uring::RecvBuffer;

impl Runner {
    /// Bytes have come for a connection that keeps its payload.
    pub(crate) fn received(&mut self, index: usize, buffer: &RecvBuffer) -> Result<()> {
        let mut at = 0;
        loop {
            let (receive, mut pool) = self.driver.parts();
            let bytes = receive.bytes(buffer);
            let connection = &mut self.connections[index];
            let mut input = bytes.get(at..).unwrap_or_default();
            let piece = connection.deframer.next(&mut input)?;
            at = bytes.len() - input.len();
            match piece {
                None => return Ok(()),
                Some(Piece::Header(bhs)) => {
                    let incoming = self.header(index, &bhs)?;
                    self.connections[index].incoming = incoming;
                }
                Some(Piece::Payload(run)) => {
                    let len = u32::try_from(run.len())?;
                    let Incoming { slot, offset, is_data, .. } = connection.incoming;
                    connection.incoming.offset += len;
                    if !is_data {
                        self.sense.extend(run.iter().take(SENSE_BYTES_MAX - self.sense.len()));
                    } else if let (Some(slot), true) = (slot, self.blocks.is_some()) {
                        let place = connection.place(slot, offset, len);
                        ensure!(pool.fill(place, run), "the target sent data past the end");
                        connection.slots[usize::from(slot)].received += len;
                    }
                }
                Some(Piece::End { data_digest_ok }) => {
                    ensure!(data_digest_ok, "a data digest of the target does not match");
                    let Incoming { slot, status, .. } = connection.incoming;
                    if let (Some(slot), Some(status)) = (slot, status) {
                        self.ended(index, slot, status);
                    }
                }
            }
        }
    }

    /// The header of a PDU, wherever it was received.
    fn header(&mut self, index: usize, bhs: &Bhs) -> Result<Incoming> {
        let opcode = bhs.opcode();
        if opcode == Opcode::DataIn {
            return self.data_in(index, bhs);
        }
        if opcode == Opcode::ScsiResponse {
            return self.response(index, bhs);
        }
        if opcode == Opcode::ReadyToTransfer {
            self.ready_to_transfer(index, bhs)?;
        } else if opcode == Opcode::NopIn {
            self.nop_in(index, &NopIn::parse(bhs)?);
        } else {
            bail!("the target sent {opcode:?}: {bhs:?}");
        }
        Ok(Incoming::default())
    }

    fn ready_to_transfer(&mut self, index: usize, bhs: &Bhs) -> Result<()> {
        let r2t = ReadyToTransfer::parse(bhs)?;
        let connection = &mut self.connections[index];
        connection.max_cmd_sn = later(connection.max_cmd_sn, r2t.max_cmd_sn);
        let slot = find(connection, r2t.initiator_task_tag)?;
        let (from, len) = (r2t.buffer_offset, r2t.desired_data_transfer_length);
        ensure!(
            from.checked_add(len).is_some_and(|end| end <= self.io_bytes),
            "the target asked for data past the end of a write"
        );
        let tag = r2t.target_transfer_tag;
        connection.send_data(&self.driver, DataSequence { slot, tag, from, len });
        Ok(())
    }

    fn data_in(&mut self, index: usize, bhs: &Bhs) -> Result<Incoming> {
        let data_in = DataIn::parse(bhs)?;
        let connection = &mut self.connections[index];
        connection.max_cmd_sn = later(connection.max_cmd_sn, data_in.max_cmd_sn);
        let slot = find(connection, data_in.initiator_task_tag)?;
        if let Some(end) = data_in.status {
            connection.exp_stat_sn = end.stat_sn.plus(1);
        }
        Ok(Incoming {
            slot: Some(slot),
            offset: data_in.buffer_offset,
            is_data: true,
            status: data_in.status.map(|end| end.status),
        })
    }

    fn response(&mut self, index: usize, bhs: &Bhs) -> Result<Incoming> {
        let response = ScsiResponse::parse(bhs)?;
        let connection = &mut self.connections[index];
        connection.max_cmd_sn = later(connection.max_cmd_sn, response.max_cmd_sn);
        connection.exp_stat_sn = response.stat_sn.plus(1);
        let slot = find(connection, response.initiator_task_tag)?;
        let completed = response.response == ServiceResponse::CommandCompleted;
        // Its data, if any, is sense and not the block's.
        self.sense.clear();
        let status = if completed { response.status } else { STATUS_NONE };
        Ok(Incoming { slot: Some(slot), status: Some(status), ..Incoming::default() })
    }

    /// Answers a ping (RFC 7143 11.18).
    fn nop_in(&mut self, index: usize, nop_in: &NopIn) {
        let connection = &mut self.connections[index];
        connection.max_cmd_sn = later(connection.max_cmd_sn, nop_in.max_cmd_sn);
        if nop_in.target_transfer_tag == TargetTransferTag::RESERVED {
            return;
        }
        let answer = NopOut {
            immediate: true,
            data_segment_length: 0,
            lun: nop_in.lun,
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag: nop_in.target_transfer_tag,
            cmd_sn: connection.next_cmd_sn(),
            exp_stat_sn: connection.exp_stat_sn,
        };
        let mut header = [0; BHS_BYTES];
        answer.emit(&mut header);
        connection.queue.push(&self.driver, &header, None);
    }

    /// A header has come on its own, for a connection whose payload is dropped.
    pub(crate) fn header_alone(&mut self, index: usize) -> Result<()> {
        let place = self.connections[index].header_place;
        let bytes = self.driver.pool().bytes(place).context("a header without a place")?;
        let bhs = Bhs::from_prefix(bytes).context("a header of 48 bytes")?;
        let incoming = self.header(index, &bhs)?;
        let length = bhs.data_segment_length();
        let status = incoming.status;
        ensure!(status.is_none_or(|s| s == 0), "a read failed with status {status:02x?}");
        let io_bytes = self.io_bytes;
        let connection = &mut self.connections[index];
        let ends = incoming.slot.filter(|_| status.is_some());
        ensure!(
            ends.is_none_or(|slot| connection.order.front() == Some(&slot)),
            "the target answers out of order: use --payload copy"
        );
        let Some(dropping) = &mut connection.dropping else { bail!("payload is not dropped") };
        dropping.owed = length + pad_bytes(length);
        dropping.ends = ends;
        dropping.blind = ends.is_some() && length == io_bytes && length <= BLIND_BYTES_MAX;
        if dropping.owed == 0 {
            self.dropped(index, 0)?;
        }
        Ok(())
    }

    /// Bytes have been dropped: commands end as their last byte goes by.
    pub(crate) fn dropped(&mut self, index: usize, bytes: u32) -> Result<()> {
        let mut left = bytes;
        loop {
            let stride = self.stride();
            let connection = &mut self.connections[index];
            let Some(dropping) = &mut connection.dropping else { bail!("payload is not dropped") };
            if left < dropping.owed {
                dropping.owed -= left;
                return Ok(());
            }
            left -= dropping.owed;
            dropping.owed = 0;
            if let Some(slot) = dropping.ends.take() {
                connection.order.pop_front();
                self.ended(index, slot, 0);
            }
            if left == 0 {
                return Ok(());
            }
            // Past the end of that PDU: the next one is like it, which the next header shows.
            let connection = &mut self.connections[index];
            let next = connection.order.front().copied().context("more data than was asked for")?;
            connection.exp_stat_sn = connection.exp_stat_sn.plus(1);
            let Some(dropping) = &mut connection.dropping else { bail!("payload is not dropped") };
            dropping.ends = Some(next);
            dropping.owed = stride;
        }
    }

    /// Bytes from one header to the next in a stream of reads.
    fn stride(&self) -> u32 {
        48 + self.io_bytes
    }

    /// Bytes that may be dropped now; 0 where a header comes next.
    pub(crate) fn droppable(&self, index: usize) -> u32 {
        let connection = &self.connections[index];
        let Some(dropping) = connection.dropping else { return 0 };
        if dropping.owed == 0 || !dropping.blind {
            return dropping.owed;
        }
        let others = connection.order.len().saturating_sub(1);
        dropping.owed + len_u32(others) * self.stride()
    }
}

fn find(connection: &Connection, tag: InitiatorTaskTag) -> Result<u16> {
    connection.slot_of(tag).with_context(|| format!("no command in flight has the tag {:x}", tag.0))
}

/// The window never shrinks (RFC 7143 4.2.2.1).
fn later(known: Serial32, told: Serial32) -> Serial32 {
    if known.is_before(told) { told } else { known }
}

/// Larger reads are received one by one: a header more costs nothing beside their payload.
const BLIND_BYTES_MAX: u32 = 32 << 10;

/// What is kept of the sense data of a failed command.
const SENSE_BYTES_MAX: usize = 64;

/// Stands for the status of a command that has none.
const STATUS_NONE: u8 = 0xff;
