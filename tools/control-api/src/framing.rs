//! One message per line, of limited length.

use serde::Serialize;
use std::fmt;

/// The longest request in bytes, newline included: a configuration of 1024 targets fits.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// The longest answer in bytes, newline included: the statistics of 4096 volumes fit.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A message exceeds the length limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The limit in bytes.
    pub bytes_max: usize,
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message exceeds {} bytes", self.bytes_max)
    }
}

impl std::error::Error for LineTooLong {}

/// Collects received bytes and gives them out line by line.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes before this hold no newline: no byte is searched twice.
    searched: usize,
    bytes_max: usize,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `bytes_max` bytes, newline included.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, bytes_max }
    }

    /// Adds received bytes. Take all lines out before the next call.
    pub fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// Whether it holds nothing, not even a part of a line.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes out the oldest complete line, without its newline.
    ///
    /// # Errors
    /// The line is longer than agreed, whether or not its end has come yet. Nothing sensible
    /// can follow on this stream.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let too_long = LineTooLong { bytes_max: self.bytes_max };
        let newline = self.bytes.iter().skip(self.searched).position(|&b| b == b'\n');
        let Some(newline) = newline.map(|n| n + self.searched) else {
            self.searched = self.bytes.len();
            return if self.bytes.len() >= self.bytes_max { Err(too_long) } else { Ok(None) };
        };
        if newline >= self.bytes_max {
            return Err(too_long);
        }
        let rest = self.bytes.split_off(newline + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.truncate(newline);
        self.searched = 0;
        Ok(Some(line))
    }
}

/// A message as its line, newline included.
///
/// # Errors
/// The value cannot be JSON: a map key that is no text. None of the types here is such a value.
pub fn encode_line<T: Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_the_bytes_arrive() {
        let mut buffer = LineBuffer::new(64);
        let mut lines = Vec::new();
        for byte in b"first\n\nthird\nrest" {
            buffer.push(&[*byte]);
            lines.extend(buffer.next_line().unwrap());
        }
        assert_eq!(lines, [b"first".to_vec(), b"".to_vec(), b"third".to_vec()]);
        buffer.push(b"\nnext\n");
        assert_eq!(buffer.next_line(), Ok(Some(b"rest".to_vec())));
        assert!(!buffer.is_empty());
        assert_eq!(buffer.next_line(), Ok(Some(b"next".to_vec())));
        assert_eq!(buffer.next_line(), Ok(None));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_byte_more_does_not() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"abc\n");
        assert_eq!(buffer.next_line(), Ok(Some(b"abc".to_vec())));
        buffer.push(b"abcd\n");
        assert_eq!(buffer.next_line(), Err(LineTooLong { bytes_max: 4 }));
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_limit() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"abc");
        assert_eq!(buffer.next_line(), Ok(None));
        buffer.push(b"d");
        assert_eq!(buffer.next_line(), Err(LineTooLong { bytes_max: 4 }));
    }

    #[test]
    fn a_text_with_a_newline_is_still_one_line() {
        assert_eq!(encode_line(&"a\nb").unwrap(), b"\"a\\nb\"\n");
    }
}
