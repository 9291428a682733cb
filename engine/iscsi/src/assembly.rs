//! Key text that is longer than one data segment, in both directions (RFC 7143 6.2).

use std::fmt;

use units::limits::NEGOTIATION_TEXT_BYTES_MAX;

/// Text that comes in parts, all but the last with the C bit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbound {
    bytes: Vec<u8>,
}

impl Inbound {
    /// Takes the next part; a pair may be cut anywhere between parts.
    pub(crate) fn add(&mut self, part: &[u8]) -> Result<(), TextTooLong> {
        if self.bytes.len() + part.len() > NEGOTIATION_TEXT_BYTES_MAX {
            return Err(TextTooLong);
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Whether nothing has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The whole text; a new one begins.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Text that goes out in parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbound {
    /// Text that is to be sent from its start.
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// Whether all has been sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// The next part of at most `bytes_max` bytes.
    pub(crate) fn take_part(&mut self, bytes_max: usize) -> Vec<u8> {
        let rest = &self.bytes[self.sent..];
        let part = rest[..rest.len().min(bytes_max)].to_vec();
        self.sent += part.len();
        if self.is_empty() {
            *self = Self::default();
        }
        part
    }
}

/// The parts of one text are longer together than any negotiation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTooLong;

impl fmt::Display for TextTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key text exceeds {NEGOTIATION_TEXT_BYTES_MAX} bytes over all its parts")
    }
}

impl std::error::Error for TextTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_text_again() {
        let mut inbound = Inbound::default();
        let mut outbound = Outbound::new(b"A=1\0B=2\0".to_vec());
        while !outbound.is_empty() {
            inbound.add(&outbound.take_part(3)).unwrap();
        }
        assert_eq!(inbound.take(), b"A=1\0B=2\0");
        assert!(inbound.is_empty());
        assert_eq!(outbound.take_part(3), b"");
    }

    #[test]
    fn an_endless_text_is_refused() {
        let mut inbound = Inbound::default();
        for _ in 0..8 {
            assert_eq!(inbound.add(&[b'x'; 8192]), Ok(()));
        }
        assert_eq!(inbound.add(b"x"), Err(TextTooLong));
    }
}
