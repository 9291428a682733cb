//! One connection of the floor: the end of the present PDU, and the answers that wait.

use iscsi::BHS_BYTES;
use std::collections::VecDeque;
use units::{BufId, BufSlice};
use uring::SocketId;

/// What is to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Initiator task tag, as it came.
    pub(crate) tag: [u8; 4],
    /// Bytes of data that a read still has to send, and where they begin in the command.
    pub(crate) data: u32,
    pub(crate) offset: u32,
    /// Logical block address, for a floor that keeps data.
    pub(crate) lba: u64,
    pub(crate) is_read: bool,
}

/// A write whose data is still coming.
#[derive(Clone, Copy, Debug)]
struct Write {
    tag: [u8; 4],
    left: u32,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: SocketId,
    /// Part of a header that the last receive ended in.
    carry: [u8; BHS_BYTES],
    carried: usize,
    /// Bytes of the present PDU's data that are still to come.
    skip: usize,
    /// The login text that is being received, if the present PDU is a login.
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

    /// Finds the PDUs in what was received. Data goes to `data`.
    pub(crate) fn take(&mut self, mut input: &[u8], mut data: impl FnMut(&[u8])) {
        while !input.is_empty() {
            if self.skip > 0 {
                let (run, rest) = input.split_at(input.len().min(self.skip));
                data(run);
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
        let tag = [header[16], header[17], header[18], header[19]];
        match header[0] & 0x3f {
            LOGIN => self.login = Some(*header),
            COMMAND => {
                self.commands += 1;
                self.cmd_sn = be32(header, 24);
                let bytes = be32(header, 20);
                let lba = u64::from(be32(header, 34)) << 32 | u64::from(be32(header, 38));
                if header[1] & WRITE != 0 {
                    self.wrote(Write { tag, left: bytes }, length);
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
                    self.wrote(write, length);
                }
            }
            _ => {}
        }
        self.end_of_data();
    }

    /// Data of a write is on its way: when it is all, the answer may go.
    fn wrote(&mut self, write: Write, bytes: u32) {
        let left = write.left.saturating_sub(bytes);
        if left > 0 {
            self.writes.push(Write { left, ..write });
        } else {
            let Write { tag, .. } = write;
            self.answers.push_back(Answer { tag, data: 0, offset: 0, lba: 0, is_read: false });
        }
    }

    fn end_of_data(&mut self) {
        if self.skip == 0
            && let Some(header) = self.login.take()
        {
            self.logins.push_back(header);
        }
    }
}

/// READ CAPACITY(16) returns 32 bytes, TEST UNIT READY none; `None` for all else.
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
    fn boundaries_are_found_wherever_the_stream_is_cut() {
        let mut stream = write_of(10);
        stream.extend(write_of(0));
        stream.extend(write_of(33));
        for size in 1..stream.len() {
            let (_driver, mut link) = link();
            let mut data = 0;
            for run in stream.chunks(size) {
                link.take(run, |bytes| data += bytes.len());
            }
            assert_eq!((link.commands, link.answers.len(), data), (3, 3, 12 + 36), "{size}");
        }
    }
}
