//! One connection of the floor: where the current PDU ends, and the responses to send.

use iscsi::BHS_BYTES;
use std::collections::VecDeque;
use units::{BufId, BufSlice};
use uring::SocketId;

/// A response to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Initiator task tag, as received.
    pub(crate) tag: [u8; 4],
    /// Bytes of data that a read still has to send, and their offset in the command.
    pub(crate) data: u32,
    pub(crate) offset: u32,
    /// Logical block address, for a floor that reads memory.
    pub(crate) lba: u64,
    pub(crate) is_read: bool,
}

/// A write whose data is incomplete.
#[derive(Clone, Copy, Debug)]
struct Write {
    tag: [u8; 4],
    left: u32,
    /// Offset in the LUN of the command's first byte.
    start: u64,
}

/// The data segment of a write that is being received.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Offset in the LUN of the next byte.
    at: u64,
    left: usize,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: SocketId,
    /// Part of a header that the last receive ended with.
    carry: [u8; BHS_BYTES],
    carried: usize,
    /// Bytes of the current PDU's data segment, padding included, that are not received yet.
    skip: usize,
    /// The part of them that is data of a write.
    segment: Option<Segment>,
    /// The tag of the write whose data is complete with the current PDU.
    written: Option<[u8; 4]>,
    /// The header of the current PDU, if it is a login request.
    login: Option<[u8; BHS_BYTES]>,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) logins: VecDeque<[u8; BHS_BYTES]>,
    writes: Vec<Write>,
    pub(crate) cmd_sn: u32,
    pub(crate) stat_sn: u32,
    /// The two send buffers, and which of them is filled next.
    pub(crate) buffers: [BufId; 2],
    pub(crate) turn: usize,
    pub(crate) sending: bool,
    pub(crate) commands: u64,
}

impl Link {
    pub(crate) fn new(socket: SocketId, buffers: [BufId; 2]) -> Self {
        Self {
            socket,
            carry: [0; BHS_BYTES],
            carried: 0,
            skip: 0,
            segment: None,
            written: None,
            login: None,
            answers: VecDeque::new(),
            logins: VecDeque::new(),
            writes: Vec::new(),
            cmd_sn: 0,
            stat_sn: 0,
            buffers,
            turn: 0,
            sending: false,
            commands: 0,
        }
    }

    /// The buffer that is filled next.
    pub(crate) fn buffer(&self, offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: self.buffers[self.turn], offset, len }
    }

    /// Finds the PDUs in received bytes. Data of writes goes to `data`, with its offset in the LUN.
    pub(crate) fn take(&mut self, mut input: &[u8], mut data: impl FnMut(u64, &[u8])) {
        while !input.is_empty() {
            if self.skip > 0 {
                let (run, rest) = input.split_at(input.len().min(self.skip));
                if let Some(segment) = &mut self.segment {
                    // The rest of the run, if any, is padding.
                    let bytes = &run[..run.len().min(segment.left)];
                    data(segment.at, bytes);
                    segment.at += bytes.len() as u64;
                    segment.left -= bytes.len();
                }
                self.skip -= run.len();
                input = rest;
                self.end_of_data();
                continue;
            }
            if self.carried == 0
                && let Some((header, rest)) = input.split_first_chunk()
            {
                input = rest;
                self.header(header);
                continue;
            }
            let missing = BHS_BYTES - self.carried;
            let (run, rest) = input.split_at(missing.min(input.len()));
            self.carry[self.carried..][..run.len()].copy_from_slice(run);
            self.carried += run.len();
            input = rest;
            if self.carried == BHS_BYTES {
                self.carried = 0;
                let header = self.carry;
                self.header(&header);
            }
        }
    }

    fn header(&mut self, header: &[u8; BHS_BYTES]) {
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]);
        self.skip = (length.next_multiple_of(4)) as usize;
        self.segment = None;
        let tag = [header[16], header[17], header[18], header[19]];
        match header[0] & 0x3f {
            LOGIN => self.login = Some(*header),
            COMMAND => {
                self.commands += 1;
                self.cmd_sn = be32(header, 24);
                let bytes = be32(header, 20);
                let lba = u64::from(be32(header, 34)) << 32 | u64::from(be32(header, 38));
                if header[1] & WRITE != 0 {
                    let start = lba.wrapping_mul(BLOCK_BYTES);
                    self.wrote(Write { tag, left: bytes, start }, length, 0);
                } else {
                    let data = read_length(header).unwrap_or(bytes);
                    let is_read = data > 0;
                    self.answers.push_back(Answer { tag, data, offset: 0, lba, is_read });
                }
            }
            DATA_OUT => {
                let found = self.writes.iter().position(|w| w.tag == tag);
                if let Some(index) = found {
                    let write = self.writes.swap_remove(index);
                    self.wrote(write, length, be32(header, 40));
                }
            }
            _ => {}
        }
        self.end_of_data();
    }

    /// A data segment of a write follows this header, `offset` bytes into the command. The
    /// response waits for the end of the last one.
    fn wrote(&mut self, write: Write, bytes: u32, offset: u32) {
        let at = write.start.wrapping_add(u64::from(offset));
        self.segment = Some(Segment { at, left: bytes as usize });
        let left = write.left.saturating_sub(bytes);
        if left > 0 {
            self.writes.push(Write { left, ..write });
        } else {
            self.written = Some(write.tag);
        }
    }

    fn end_of_data(&mut self) {
        if self.skip > 0 {
            return;
        }
        self.logins.extend(self.login.take());
        if let Some(tag) = self.written.take() {
            self.answers.push_back(Answer { tag, data: 0, offset: 0, lba: 0, is_read: false });
        }
    }
}

/// READ CAPACITY(16) returns 32 bytes, TEST UNIT READY none; `None` for all other commands.
fn read_length(header: &[u8; BHS_BYTES]) -> Option<u32> {
    match header[32] {
        0x9e => Some(32),
        0x00 => Some(0),
        _ => None,
    }
}

pub(crate) fn be32(header: &[u8; BHS_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

const COMMAND: u8 = 0x01;
const LOGIN: u8 = 0x03;
const DATA_OUT: u8 = 0x05;
const WRITE: u8 = 0x20;

/// The block size that the floor reports.
pub(crate) const BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use units::{PoolLayout, SizeClass};
    use uring::{Driver, DriverOptions};

    fn link() -> (Driver, Link) {
        let layout = PoolLayout::new(vec![SizeClass { bytes: 4096, count: 2 }]);
        let (mut driver, _) = Driver::new(&DriverOptions::new(layout)).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = driver.add_listener(listener.into()).unwrap();
        (driver, Link::new(socket, [BufId(0), BufId(1)]))
    }

    fn write_of(bytes: u8) -> Vec<u8> {
        let mut pdu = vec![0; BHS_BYTES];
        pdu[0] = COMMAND;
        pdu[1] = 0x80 | WRITE;
        pdu[7] = bytes;
        pdu[19] = 7;
        pdu[23] = bytes;
        pdu.resize(BHS_BYTES + usize::from(bytes).next_multiple_of(4), 0xee);
        pdu
    }

    #[test]
    fn boundaries_are_found_at_every_split_of_the_stream() {
        let mut stream = write_of(10);
        stream.extend(write_of(0));
        stream.extend(write_of(33));
        for size in 1..stream.len() {
            let (_driver, mut link) = link();
            let mut data = 0;
            for run in stream.chunks(size) {
                link.take(run, |_, bytes| data += bytes.len());
            }
            assert_eq!((link.commands, link.answers.len(), data), (3, 3, 10 + 33), "{size}");
        }
    }

    #[test]
    fn a_write_is_answered_when_its_data_is_complete() {
        let stream = write_of(8);
        let (_driver, mut link) = link();
        let (all_but_one, last) = stream.split_at(stream.len() - 1);
        link.take(all_but_one, |_, _| {});
        assert_eq!(link.answers.len(), 0);
        link.take(last, |_, _| {});
        assert_eq!(link.answers.len(), 1);
    }

    #[test]
    fn data_of_a_write_goes_to_the_offset_that_its_headers_name() {
        // 6 bytes for LBA 3: 4 with the command, 2 more in a Data-Out PDU.
        let mut stream = write_of(4);
        stream[23] = 6;
        stream[41] = 3;
        stream[BHS_BYTES..].copy_from_slice(&[1, 2, 3, 4]);
        let mut data_out = vec![0; BHS_BYTES];
        data_out[0] = DATA_OUT;
        data_out[7] = 2;
        data_out[19] = 7;
        data_out[43] = 4;
        data_out.extend([5, 6, 0, 0]);
        stream.extend(data_out);
        for size in 1..stream.len() {
            let (_driver, mut link) = link();
            let mut lun = [0; 8];
            for run in stream.chunks(size) {
                link.take(run, |at, bytes| {
                    let at = usize::try_from(at - 3 * 512).unwrap();
                    lun[at..at + bytes.len()].copy_from_slice(bytes);
                });
            }
            assert_eq!((lun, link.answers.len()), ([1, 2, 3, 4, 5, 6, 0, 0], 1), "{size}");
        }
    }
}
