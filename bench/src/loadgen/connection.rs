//! One session under load: its commands in flight and its sequence numbers.

use super::login::{Agreed, Session};
use super::outgoing::Queue;
use iscsi::pdu::{DataOut, ScsiCommand, TaskAttribute};
use iscsi::{BHS_BYTES, Deframer, InitiatorTaskTag, TargetTransferTag};
use std::collections::VecDeque;
use units::{BufId, BufSlice, Lun, Serial32};
use uring::{Driver, SocketId};

/// A command in flight, or room for one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) busy: bool,
    pub(crate) is_write: bool,
    /// When it should have started, in nanoseconds of the monotonic clock.
    pub(crate) start_ns: u64,
    /// The block that it reads or writes.
    pub(crate) block: u64,
    /// Data that has come.
    pub(crate) received: u32,
    /// Tells this use of the slot from the ones before.
    pub(crate) turn: u16,
}

/// How far a connection is whose payload the kernel drops.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dropping {
    /// Bytes of the present PDU that are still to come.
    pub(crate) owed: u32,
    /// The command that ends with it.
    pub(crate) ends: Option<u16>,
    /// Whether more PDUs like the present one may follow unseen.
    pub(crate) blind: bool,
}

/// The PDU whose data is being received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Incoming {
    /// The command that the data is for.
    pub(crate) slot: Option<u16>,
    /// Where the next byte of data goes.
    pub(crate) offset: u32,
    /// Whether the data is the block's.
    pub(crate) is_data: bool,
    /// The command's SCSI status, where the PDU brings one.
    pub(crate) status: Option<u8>,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: SocketId,
    pub(crate) deframer: Deframer,
    pub(crate) queue: Queue,
    pub(crate) slots: Vec<Slot>,
    pub(crate) free: Vec<u16>,
    /// Commands in the order in which they were sent, where the payload is dropped.
    pub(crate) order: VecDeque<u16>,
    pub(crate) dropping: Option<Dropping>,
    pub(crate) incoming: Incoming,
    pub(crate) sending: bool,
    pub(crate) max_cmd_sn: Serial32,
    pub(crate) exp_stat_sn: Serial32,
    /// Where a header is received to on its own.
    pub(crate) header_place: BufSlice,
    agreed: Agreed,
    lun: Lun,
    cmd_sn: Serial32,
    first_buf: u32,
    block_bytes: u32,
    blocks_per_io: u32,
}

/// Data of a write that goes out as one sequence (RFC 7143 4.2.5.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataSequence {
    /// The command.
    pub(crate) slot: u16,
    /// Of the R2T that asks for it; reserved for unsolicited data.
    pub(crate) tag: TargetTransferTag,
    /// The offset of its first byte in the data of the command.
    pub(crate) from: u32,
    pub(crate) len: u32,
}

/// Where the buffers of a connection are, and what its commands look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) header_buf: u32,
    pub(crate) first_buf: u32,
    pub(crate) depth: u16,
    /// Bytes of one command.
    pub(crate) io_bytes: u32,
    /// Logical blocks of one command.
    pub(crate) blocks_per_io: u32,
    pub(crate) drops: bool,
}

impl Connection {
    /// A session whose stream is now a socket of the ring.
    pub(crate) fn new(session: Session, socket: SocketId, shape: Shape) -> Self {
        let agreed = session.agreed;
        Self {
            socket,
            deframer: session.deframer,
            queue: Queue::new(agreed.header_digest, agreed.data_digest),
            slots: vec![Slot::default(); shape.depth.into()],
            free: (0..shape.depth).rev().collect(),
            order: VecDeque::new(),
            dropping: shape.drops.then(Dropping::default),
            incoming: Incoming::default(),
            sending: false,
            max_cmd_sn: session.max_cmd_sn,
            exp_stat_sn: session.exp_stat_sn,
            header_place: BufSlice { buf: BufId(shape.header_buf), offset: 0, len: 48 },
            agreed,
            lun: session.lun,
            cmd_sn: session.cmd_sn,
            first_buf: shape.first_buf,
            block_bytes: shape.io_bytes,
            blocks_per_io: shape.blocks_per_io,
        }
    }

    /// Whether another command may be sent now (RFC 7143 4.2.2.1).
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty() && self.cmd_sn.is_at_most(self.max_cmd_sn)
    }

    /// The buffer of a slot's data.
    pub(crate) fn place(&self, slot: u16, offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(self.first_buf + u32::from(slot)), offset, len }
    }

    /// The slot of a task tag, if its command is in flight.
    pub(crate) fn slot_of(&self, tag: InitiatorTaskTag) -> Option<u16> {
        let slot = u16::try_from(tag.0 & 0xffff).ok()?;
        let known = self.slots.get(usize::from(slot))?;
        (known.busy && tag.0 >> 16 == u32::from(known.turn)).then_some(slot)
    }

    fn tag_of(&self, slot: u16) -> InitiatorTaskTag {
        let turn = self.slots[usize::from(slot)].turn;
        InitiatorTaskTag(u32::from(turn) << 16 | u32::from(slot))
    }

    /// Takes a slot and queues its command. The data of a write is in the slot's buffer.
    pub(crate) fn start(&mut self, driver: &Driver, slot: u16, wanted: Slot) {
        // The upper bit stays clear, so that no tag is the reserved one.
        let turn = self.slots[usize::from(slot)].turn.wrapping_add(1) & 0x7fff;
        self.slots[usize::from(slot)] = Slot { busy: true, received: 0, turn, ..wanted };
        if self.dropping.is_some() {
            self.order.push_back(slot);
        }
        let bytes = self.block_bytes;
        let first_burst = self.agreed.first_burst.min(bytes);
        let immediate = if wanted.is_write && self.agreed.immediate_data {
            first_burst.min(self.agreed.segment)
        } else {
            0
        };
        let unsolicited =
            if wanted.is_write && !self.agreed.initial_r2t { first_burst } else { immediate };
        let command = ScsiCommand {
            immediate: false,
            is_final: unsolicited == immediate,
            read: !wanted.is_write,
            write: wanted.is_write,
            attribute: TaskAttribute::Simple,
            total_ahs_length: 0,
            data_segment_length: immediate,
            lun: self.lun,
            initiator_task_tag: self.tag_of(slot),
            expected_data_transfer_length: bytes,
            cmd_sn: self.cmd_sn.take_next(),
            exp_stat_sn: self.exp_stat_sn,
            cdb: self.cdb(wanted),
        };
        let mut header = [0; BHS_BYTES];
        command.emit(&mut header);
        let data = (immediate > 0).then(|| self.place(slot, 0, immediate));
        self.queue.push(driver, &header, data);
        if unsolicited > immediate {
            let sequence = DataSequence {
                slot,
                tag: TargetTransferTag::RESERVED,
                from: immediate,
                len: unsolicited - immediate,
            };
            self.send_data(driver, sequence);
        }
    }

    /// READ(16) or WRITE(16) (SBC-4 5.13, 5.46).
    fn cdb(&self, wanted: Slot) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb[0] = if wanted.is_write { 0x8a } else { 0x88 };
        let address = wanted.block * u64::from(self.blocks_per_io);
        cdb[2..10].copy_from_slice(&address.to_be_bytes());
        cdb[10..14].copy_from_slice(&self.blocks_per_io.to_be_bytes());
        cdb
    }

    /// Queues the Data-Out PDUs of one sequence (RFC 7143 11.7).
    pub(crate) fn send_data(&mut self, driver: &Driver, sequence: DataSequence) {
        let DataSequence { slot, tag, from, len } = sequence;
        let mut data_sn = Serial32(0);
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(self.agreed.segment);
            let pdu = DataOut {
                is_final: done + piece == len,
                data_segment_length: piece,
                lun: self.lun,
                initiator_task_tag: self.tag_of(slot),
                target_transfer_tag: tag,
                exp_stat_sn: self.exp_stat_sn,
                data_sn: data_sn.take_next(),
                buffer_offset: from + done,
            };
            let mut header = [0; BHS_BYTES];
            pdu.emit(&mut header);
            self.queue.push(driver, &header, Some(self.place(slot, from + done, piece)));
            done += piece;
        }
    }

    /// Frees a slot whose command has ended, and returns what it was.
    pub(crate) fn end(&mut self, slot: u16) -> Slot {
        let ended = self.slots[usize::from(slot)];
        self.slots[usize::from(slot)].busy = false;
        self.free.push(slot);
        ended
    }

    /// The number that the next command will have; an immediate one does not use it up.
    pub(crate) const fn next_cmd_sn(&self) -> Serial32 {
        self.cmd_sn
    }

    /// Commands in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
