//! Cuts a byte stream into PDUs, wherever the stream was cut on its way here.
//!
//! A PDU is a header (BHS, AHS, header digest) and a data segment (data, padding, data digest).
//! The deframer lends payload as it lies in the input and copies none of it. It carries bytes
//! only where a header or a trailer straddles two inputs. It never allocates by a length that
//! the peer chose, except for the AHS, which the format ends at 1020 bytes.
//!
//! ```text
//! Bhs --> Ahs --> HeaderDigest --(Header)--> Payload --(Payload)*--> Trailer --(End)--> Bhs
//! ```

use std::fmt;

use units::limits::LOGIN_DATA_SEGMENT_LENGTH_MAX;

use crate::bhs::{BHS_BYTES, Bhs, pad_bytes};
use crate::digest::{DIGEST_BYTES, DataDigest, header_digest};

/// What the deframer found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole header, its digest verified. Its AHS is in [`Deframer::ahs`].
    Header(Bhs),
    /// The next run of the data segment, without padding and never empty.
    Payload(&'a [u8]),
    /// The PDU is over. Every PDU ends with exactly one, also without a data segment.
    End {
        /// Whether the data matches its digest; true without a digest.
        data_digest_ok: bool,
    },
}

/// What the deframer found next, without the bytes of it: they are in the deframer and in its
/// input. A step is small, so that a reactor pays for no copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The PDU is over ([`Piece::End`]).
    End {
        /// Whether the data matches its digest; true where there is none.
        data_digest_ok: bool,
    },
    /// The stream cannot be cut any further: [`Deframer::fault`] tells why.
    Fault,
    /// A whole header: [`Deframer::header`].
    Header,
    /// All of the input was taken, and more is needed.
    NeedMore,
    /// A run of the data segment, which has been taken off the front of the input.
    Payload {
        /// Its bytes; never 0.
        len: usize,
    },
}

/// Why the stream cannot be cut any further. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeframeFault {
    /// A data segment is longer than the receiver declared (RFC 7143 13.12). Nothing of it has
    /// been received, and it can be answered with a Reject before the connection is closed.
    DataSegmentTooLong {
        /// The header.
        bhs: Bhs,
        /// The limit in bytes.
        limit: u32,
    },
    /// A header does not match its digest, so that its lengths cannot be trusted either
    /// (RFC 7143 7.7).
    HeaderDigest {
        /// The header as it was received.
        bhs: Bhs,
    },
}

impl fmt::Display for DeframeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataSegmentTooLong { bhs, limit } => {
                let (opcode, length) = (bhs.opcode(), bhs.data_segment_length());
                write!(f, "{opcode:?} PDU has a data segment of {length} bytes, but the target ")?;
                write!(f, "declared a limit of {limit} (MaxRecvDataSegmentLength)")
            }
            Self::HeaderDigest { bhs } => {
                write!(f, "header digest mismatch: the network or the initiator ")?;
                write!(f, "corrupted the header {bhs:?}")
            }
        }
    }
}

impl std::error::Error for DeframeFault {}

/// Cuts one direction of one connection into PDUs.
#[derive(Debug)]
pub struct Deframer {
    part: Part,
    header_digests: bool,
    data_digests: bool,
    data_segment_length_max: u32,
    /// The part that is being collected, where it straddles inputs.
    carried: [u8; BHS_BYTES],
    carried_bytes: usize,
    bhs: Bhs,
    ahs: Vec<u8>,
    payload_remaining: u32,
    /// Padding and digest that follow the payload of this PDU: at most 3 + 4 bytes.
    pad: usize,
    digest: Option<DataDigest>,
    fault: Option<DeframeFault>,
}

/// The part of a PDU that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Bhs,
    Ahs,
    HeaderDigest,
    Payload,
    Trailer,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// For the login phase: no digests, data segments up to 8192 bytes (RFC 7143 6.2).
    pub const fn new() -> Self {
        Self {
            part: Part::Bhs,
            header_digests: false,
            data_digests: false,
            data_segment_length_max: LOGIN_DATA_SEGMENT_LENGTH_MAX,
            carried: [0; BHS_BYTES],
            carried_bytes: 0,
            bhs: Bhs::new([0; BHS_BYTES]),
            ahs: Vec::new(),
            payload_remaining: 0,
            pad: 0,
            digest: None,
            fault: None,
        }
    }

    /// Expects digests, or none, from the next header on that is not complete yet.
    pub const fn set_digests(&mut self, header: bool, data: bool) {
        self.header_digests = header;
        self.data_digests = data;
    }

    /// Takes data segments of up to `bytes` bytes from the next header on.
    pub const fn set_max_data_segment_length(&mut self, bytes: u32) {
        self.data_segment_length_max = bytes;
    }

    /// Takes the next piece off the front of `input`, which it moves on. `None` says that more
    /// bytes are needed and that all of `input` was taken. The end of a PDU may be told when
    /// `input` is empty already, so call it until it gives `None`.
    ///
    /// After a fault, every call returns the same fault.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, DeframeFault> {
        let before = *input;
        match self.step(input) {
            Step::End { data_digest_ok } => Ok(Some(Piece::End { data_digest_ok })),
            Step::Fault => match self.fault {
                Some(fault) => Err(fault),
                None => unreachable!("a fault is kept"),
            },
            Step::Header => Ok(Some(Piece::Header(self.bhs))),
            Step::NeedMore => Ok(None),
            Step::Payload { len } => Ok(Some(Piece::Payload(&before[..len]))),
        }
    }

    /// Does what [`Deframer::next`] does, and names what it found.
    #[inline]
    pub fn step(&mut self, input: &mut &[u8]) -> Step {
        match self.part {
            Part::Bhs | Part::Ahs | Part::HeaderDigest => self.next_header(input),
            Part::Payload => self.next_payload(input),
            Part::Trailer => self.next_trailer(input),
        }
    }

    /// Why the stream cannot be cut any further, if that is so.
    pub const fn fault(&self) -> Option<&DeframeFault> {
        self.fault.as_ref()
    }

    /// The header that came last, which [`Piece::Header`] had.
    pub const fn header(&self) -> &Bhs {
        &self.bhs
    }

    /// The AHS bytes of the PDU whose header came last; empty where it has none.
    pub fn ahs(&self) -> &[u8] {
        &self.ahs
    }

    /// Behind a header or a run of payload: ends the PDU, if it is complete and no digest of its
    /// data was to be checked. Returns whether that is so; it spares the step that would only find
    /// the end.
    #[inline]
    pub fn take_end(&mut self) -> bool {
        debug_assert!(self.part == Part::Payload, "a header or payload has just come");
        let is_over = self.payload_remaining == 0 && self.pad == 0 && self.digest.is_none();
        if is_over {
            self.part = Part::Bhs;
        }
        is_over
    }

    /// Data bytes of this PDU, without padding and digest, that are still to come.
    pub const fn payload_remaining(&self) -> u32 {
        self.payload_remaining
    }

    /// Tells that `bytes` of this PDU's payload were received straight to where they belong,
    /// not through the input of [`Deframer::next`].
    ///
    /// # Panics
    /// When that is more than [`Deframer::payload_remaining`]: the caller then took bytes of
    /// the next PDU for payload.
    pub fn payload_received(&mut self, bytes: &[u8]) {
        let taken = units::len_u32(bytes.len());
        assert!(taken <= self.payload_remaining, "received payload past the end of its PDU");
        self.payload_remaining -= taken;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
    }

    #[inline]
    fn next_header(&mut self, input: &mut &[u8]) -> Step {
        if self.part == Part::Bhs {
            if !self.take_bhs(input) {
                return Step::NeedMore;
            }
            if self.bhs.total_ahs_length() == 0 && !self.header_digests {
                // Nearly all headers.
                self.ahs.clear();
                return self.end_header();
            }
        }
        self.next_long_header(input)
    }

    /// A header with an AHS or a digest.
    fn next_long_header(&mut self, input: &mut &[u8]) -> Step {
        if self.fault.is_some() {
            return Step::Fault;
        }
        if self.part == Part::Bhs {
            self.ahs.clear();
            self.part = Part::Ahs;
        }
        if self.part == Part::Ahs {
            if !self.take_ahs(input) {
                return Step::NeedMore;
            }
            self.part = Part::HeaderDigest;
        }
        if self.header_digests {
            if !self.collect(DIGEST_BYTES, input) {
                return Step::NeedMore;
            }
            if self.carried[..DIGEST_BYTES] != header_digest(self.bhs.raw(), &self.ahs) {
                return self.fail(DeframeFault::HeaderDigest { bhs: self.bhs });
            }
        }
        self.end_header()
    }

    /// All of a header is here.
    #[inline]
    fn end_header(&mut self) -> Step {
        // RFC 7143 13.12: checked before anything makes room for the data.
        let length = self.bhs.data_segment_length();
        if length > self.data_segment_length_max {
            let limit = self.data_segment_length_max;
            return self.fail(DeframeFault::DataSegmentTooLong { bhs: self.bhs, limit });
        }
        self.payload_remaining = length;
        self.pad = pad_bytes(length) as usize;
        // RFC 7143 11.2.4: an empty data segment has no digest.
        self.digest = (self.data_digests && length > 0).then(DataDigest::new);
        self.part = Part::Payload;
        Step::Header
    }

    #[inline]
    fn next_payload(&mut self, input: &mut &[u8]) -> Step {
        if self.payload_remaining == 0 {
            if self.take_end() {
                // Nothing follows the data: most PDUs.
                return Step::End { data_digest_ok: true };
            }
            self.part = Part::Trailer;
            return self.next_trailer(input);
        }
        let room = units::len_usize(self.payload_remaining);
        let (run, rest) = input.split_at(input.len().min(room));
        *input = rest;
        if run.is_empty() {
            return Step::NeedMore;
        }
        self.payload_received(run);
        Step::Payload { len: run.len() }
    }

    fn next_trailer(&mut self, input: &mut &[u8]) -> Step {
        let digest_bytes = if self.digest.is_some() { DIGEST_BYTES } else { 0 };
        if !self.collect(self.pad + digest_bytes, input) {
            return Step::NeedMore;
        }
        let (pad, received) = self.carried[..self.pad + digest_bytes].split_at(self.pad);
        let data_digest_ok = self.digest.take().is_none_or(|mut digest| {
            digest.update(pad);
            digest.wire() == received
        });
        self.part = Part::Bhs;
        Step::End { data_digest_ok }
    }

    /// Takes the BHS; where the input has it whole, it is read in place.
    fn take_bhs(&mut self, input: &mut &[u8]) -> bool {
        if self.carried_bytes == 0
            && let Some((bhs, rest)) = input.split_first_chunk()
        {
            self.bhs = Bhs::new(*bhs);
            *input = rest;
            return true;
        }
        let whole = self.collect(BHS_BYTES, input);
        if whole {
            self.bhs = Bhs::new(self.carried);
        }
        whole
    }

    /// Takes what is missing of the AHS: at most 1020 bytes in all.
    fn take_ahs(&mut self, input: &mut &[u8]) -> bool {
        let missing = self.bhs.total_ahs_length() - self.ahs.len();
        let (run, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        self.ahs.extend_from_slice(run);
        run.len() == missing
    }

    /// Carries bytes over until there are `wanted`, which is at most 48.
    fn collect(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        assert!(self.carried_bytes <= wanted && wanted <= BHS_BYTES, "a part is carried whole");
        let (run, rest) = input.split_at(input.len().min(wanted - self.carried_bytes));
        *input = rest;
        self.carried[self.carried_bytes..][..run.len()].copy_from_slice(run);
        self.carried_bytes += run.len();
        let whole = self.carried_bytes == wanted;
        if whole {
            self.carried_bytes = 0;
        }
        whole
    }

    /// Nothing is taken any more: the part stays one at which every step comes by here.
    #[cold]
    fn fail(&mut self, fault: DeframeFault) -> Step {
        self.fault = Some(fault);
        self.part = Part::HeaderDigest;
        Step::Fault
    }
}

#[cfg(test)]
mod tests;
