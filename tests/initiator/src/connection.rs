//! One TCP connection that carries PDUs, with a time limit on every wait.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::pdu::{Digests, Pdu};

/// How bytes leave: a target must not care, because TCP keeps no boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every PDU in one write.
    Whole,
    /// Every byte in a write of its own, with Nagle's algorithm off.
    SingleBytes,
}

/// A connection to a portal.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    consumed: usize,
    digests: Digests,
    pace: Pace,
    wait_max: Duration,
    record: Option<Vec<Pdu>>,
}

/// Default timeout of a wait: long enough for a loaded machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Connection {
    /// Connects to a portal.
    pub fn open(portal: SocketAddr) -> Result<Self, Error> {
        Self::over(TcpStream::connect_timeout(&portal, WAIT_MAX)?)
    }

    /// Takes over a stream that is connected.
    pub fn over(stream: TcpStream) -> Result<Self, Error> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WAIT_MAX))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            consumed: 0,
            digests: Digests::default(),
            pace: Pace::Whole,
            wait_max: WAIT_MAX,
            record: None,
        })
    }

    /// Changes how long each later wait may take.
    pub fn limit_waits(&mut self, wait_max: Duration) -> Result<(), Error> {
        self.wait_max = wait_max;
        self.stream.set_write_timeout(Some(wait_max))?;
        Ok(())
    }

    /// How long each wait may take.
    pub fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// Changes how bytes leave from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Turns digests on or off from the next PDU on, both ways.
    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// The digests in use.
    pub fn digests(&self) -> Digests {
        self.digests
    }

    /// Keeps a copy of every PDU that arrives from now on.
    pub fn start_record(&mut self) {
        self.record = Some(Vec::new());
    }

    /// Hands out the copies kept so far and stops keeping them.
    pub fn take_record(&mut self) -> Vec<Pdu> {
        self.record.take().unwrap_or_default()
    }

    /// The address of this end.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(self.stream.local_addr()?)
    }

    /// Sends a PDU with the digests in use.
    pub fn send(&mut self, pdu: &Pdu) -> Result<(), Error> {
        self.send_bytes(&pdu.encode(self.digests))
    }

    /// Sends bytes that need not be a PDU.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = match self.pace {
            Pace::Whole => self.stream.write_all(bytes),
            Pace::SingleBytes => bytes.chunks(1).try_for_each(|byte| self.stream.write_all(byte)),
        };
        sent.map_err(|cause| timed_out(cause, "room to send"))
    }

    /// Says that no more bytes will be sent; the target may still answer. A connection that
    /// the target has closed already needs no such word.
    pub fn finish_sending(&self) -> Result<(), Error> {
        match self.stream.shutdown(Shutdown::Write) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotConnected => Err(cause.into()),
            _ => Ok(()),
        }
    }

    /// Waits for the next PDU.
    pub fn receive(&mut self) -> Result<Pdu, Error> {
        self.receive_within(self.wait_max)
    }

    /// Waits for the next PDU no longer than `wait_max`.
    pub fn receive_within(&mut self, wait_max: Duration) -> Result<Pdu, Error> {
        let deadline = Instant::now() + wait_max;
        let mut bhs = [0; 48];
        bhs.copy_from_slice(self.peek(48, deadline)?);
        let ahs_length = usize::from(bhs[4]) * 4;
        let data_length =
            usize::from(bhs[5]) << 16 | usize::from(bhs[6]) << 8 | usize::from(bhs[7]);
        let header_length = 48 + ahs_length + if self.digests.header { 4 } else { 0 };
        let header = self.peek(header_length, deadline)?.to_vec();
        if self.digests.header {
            // First of all: lengths from a damaged header would be waited for in vain.
            check_digest(&header[..48 + ahs_length], &header[48 + ahs_length..], true)?;
        }
        let padded_length = data_length.next_multiple_of(4);
        let has_data_digest = self.digests.data && data_length > 0;
        let whole_length = header_length + padded_length + if has_data_digest { 4 } else { 0 };
        let whole = self.peek(whole_length, deadline)?;
        let body = &whole[header_length..];
        if has_data_digest {
            check_digest(&body[..padded_length], &body[padded_length..], false)?;
        }
        let pdu = Pdu {
            bhs,
            ahs: header[48..48 + ahs_length].to_vec(),
            data: body[..data_length].to_vec(),
        };
        self.consumed += whole_length;
        if let Some(record) = &mut self.record {
            record.push(pdu.clone());
        }
        Ok(pdu)
    }

    /// Waits until the target closes the connection and gives the PDUs that came before.
    pub fn drain_until_closed(&mut self) -> Result<Vec<Pdu>, Error> {
        let mut last_words = Vec::new();
        loop {
            match self.receive() {
                Ok(pdu) => last_words.push(pdu),
                Err(Error::Closed) => return Ok(last_words),
                Err(other) => return Err(other),
            }
        }
    }

    /// Reads whatever comes until the target closes the connection, and gives its length; the
    /// bytes need not be PDUs.
    pub fn discard_until_closed(&mut self) -> Result<usize, Error> {
        let mut discarded = self.received.len() - self.consumed;
        let deadline = Instant::now() + self.wait_max;
        loop {
            self.consumed = self.received.len();
            match self.peek(1, deadline) {
                Ok(_) => discarded += self.received.len() - self.consumed,
                Err(Error::Closed) => return Ok(discarded),
                Err(other) => return Err(other),
            }
        }
    }

    /// Takes up to so many bytes off the stream and throws them away, if some are there: an
    /// initiator that reads slowly.
    pub fn discard(&mut self, most: usize) -> Result<usize, Error> {
        let mut bytes = vec![0; most];
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(&mut bytes);
        self.stream.set_nonblocking(false)?;
        match read {
            Ok(0) => Err(Error::Closed),
            Ok(count) => Ok(count),
            Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Whether the target has ended the connection, as far as that shows without reading: the end
    /// of a stream whose bytes were not read does not, but a reset does.
    pub fn is_ended(&self) -> Result<bool, Error> {
        if self.stream.take_error()?.is_some() {
            return Ok(true);
        }
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        Ok(match peeked {
            Ok(count) => count == 0,
            Err(cause) => cause.kind() != std::io::ErrorKind::WouldBlock,
        })
    }

    /// The next `length` bytes, which stay in the buffer.
    fn peek(&mut self, length: usize, deadline: Instant) -> Result<&[u8], Error> {
        if self.consumed > 0 && self.received.len() - self.consumed < length {
            self.received.drain(..self.consumed);
            self.consumed = 0;
        }
        let mut chunk = [0; 65_536];
        while self.received.len() - self.consumed < length {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut { waiting_for: "a PDU" });
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(timed_out(cause, "a PDU")),
            }
        }
        Ok(&self.received[self.consumed..self.consumed + length])
    }
}

fn check_digest(bytes: &[u8], digest: &[u8], header: bool) -> Result<(), Error> {
    if crc32c::crc32c(bytes).to_le_bytes() == digest {
        Ok(())
    } else {
        Err(Error::DigestMismatch { header })
    }
}

fn timed_out(cause: std::io::Error, waiting_for: &'static str) -> Error {
    let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    if waits.contains(&cause.kind()) { Error::TimedOut { waiting_for } } else { Error::from(cause) }
}
