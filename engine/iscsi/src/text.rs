//! Key text: `key=value` pairs, each ended by a NUL (RFC 7143 6.1).

use std::fmt;

use units::limits::{KEY_NAME_BYTES_MAX, KEY_VALUE_BYTES_MAX};

use crate::keys;

/// One pair of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The key's name, at most 63 bytes.
    pub key: &'a str,
    /// Its value, perhaps empty; it may hold further equals signs.
    pub value: &'a str,
}

/// The pairs of a whole text. After a fault there is nothing more.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The pairs of `text`, which is the data segments of one negotiation step put together.
    pub const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, TextFault>;

    fn next(&mut self) -> Option<Self::Item> {
        // Some initiators count padding into the length of the text: empty pairs mean nothing.
        while let Some(rest) = self.rest.strip_prefix(b"\0") {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|&byte| byte == 0);
        let pair = match end.and_then(|end| self.rest.split_at_checked(end)) {
            Some((pair, rest)) => {
                self.rest = rest;
                parse_pair(pair)
            }
            None => Err(TextFault::Unterminated),
        };
        if pair.is_err() {
            self.rest = &[];
        }
        Some(pair)
    }
}

fn parse_pair(pair: &[u8]) -> Result<Pair<'_>, TextFault> {
    let equals = pair.iter().position(|&byte| byte == b'=').ok_or(TextFault::EqualsSignMissing)?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    if key.len() > KEY_NAME_BYTES_MAX {
        return Err(TextFault::KeyTooLong { bytes: key.len() });
    }
    let key = match std::str::from_utf8(key) {
        Ok(key) if !key.is_empty() && key.bytes().all(is_key_byte) => key,
        Ok(_) | Err(_) => return Err(TextFault::KeyCharacter),
    };
    if value.len() > keys::value_bytes_max(key) {
        return Err(TextFault::ValueTooLong { bytes: value.len() });
    }
    let value = match std::str::from_utf8(value) {
        Ok(value) if !value.chars().any(char::is_control) => value,
        Ok(_) | Err(_) => return Err(TextFault::ValueCharacter),
    };
    Ok(Pair { key, value })
}

/// The characters of a standard-label, and the number sign of extension keys such as `X#name`
/// (RFC 7143 6.1, 13.22).
fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-+@_#".contains(&byte)
}

/// A text that is being written, up to a greatest size.
#[derive(Clone, Debug)]
pub struct TextWriter {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl TextWriter {
    /// An empty text that may grow to `bytes_max` bytes.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    /// Appends a pair; where it does not fit whole, nothing is appended.
    pub fn push(&mut self, key: &str, value: &str) -> Result<(), TextFull> {
        let bytes = key.len() + value.len() + 2;
        if self.bytes.len() + bytes > self.bytes_max {
            return Err(TextFull { bytes_max: self.bytes_max });
        }
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    /// The text so far.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// No space for another pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextFull {
    /// The greatest size of the text in bytes.
    pub bytes_max: usize,
}

impl fmt::Display for TextFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "response exceeds {} bytes of key text", self.bytes_max)
    }
}

impl std::error::Error for TextFull {}

/// Why bytes are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFault {
    /// A pair has no equals sign.
    EqualsSignMissing,
    /// A key's name is empty or has a character that no name may have.
    KeyCharacter,
    /// A key's name is longer than 63 bytes.
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The last pair does not end with a NUL.
    Unterminated,
    /// A value is not valid UTF-8, or has control characters.
    ValueCharacter,
    /// A value is longer than its key allows.
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EqualsSignMissing => write!(f, "key text has a pair without an equals sign"),
            Self::KeyCharacter => write!(f, "key text has an empty or invalid key name"),
            Self::KeyTooLong { bytes } => {
                write!(f, "key text has a key of {bytes} bytes; the limit is {KEY_NAME_BYTES_MAX}")
            }
            Self::Unterminated => write!(f, "key text does not end with a NUL"),
            Self::ValueCharacter => write!(f, "key text has a value that is not printable UTF-8"),
            Self::ValueTooLong { bytes } => {
                write!(f, "key text has a value of {bytes} bytes, which exceeds the limit of ")?;
                write!(f, "its key ({KEY_VALUE_BYTES_MAX} for most)")
            }
        }
    }
}

impl std::error::Error for TextFault {}

/// A numerical-value: decimal, or hexadecimal after `0x` (RFC 7143 6.1). `None` where it is
/// neither or does not fit.
pub fn parse_number(value: &str) -> Option<u32> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// A boolean-value (RFC 7143 6.1).
pub fn parse_boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// A boolean-value's text.
pub const fn boolean_text(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// A large-binary-value: `0x` and pairs of hexadecimal digits, or `0b` and base64 (RFC 7143
/// 6.1). At most [`BINARY_BYTES_MAX`] bytes.
pub fn parse_binary(value: &str) -> Option<Vec<u8>> {
    let (prefix, digits) = value.split_at_checked(2)?;
    let bytes = match prefix {
        "0x" | "0X" => parse_hex(digits),
        "0b" | "0B" => parse_base64(digits),
        _ => None,
    }?;
    (bytes.len() <= BINARY_BYTES_MAX).then_some(bytes)
}

/// Bytes as a hex-constant.
pub fn binary_text(bytes: &[u8]) -> String {
    let digit = |nibble| char::from_digit(u32::from(nibble), 16).into_iter();
    let digits = bytes.iter().flat_map(|byte| digit(byte >> 4).chain(digit(byte & 15)));
    "0x".chars().chain(digits).collect()
}

/// The longest binary value, of CHAP_C (RFC 7143 12.1.3).
pub const BINARY_BYTES_MAX: usize = 1024;

fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks() else { return None };
    pairs.iter().map(|&[high, low]| Some(hex_digit(high)? << 4 | hex_digit(low)?)).collect()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Base64 with its padding (RFC 4648 4).
fn parse_base64(digits: &str) -> Option<Vec<u8>> {
    let (quads, []) = digits.as_bytes().as_chunks() else { return None };
    let mut bytes = Vec::with_capacity(digits.len().min(2 * BINARY_BYTES_MAX));
    for (place, quad) in quads.iter().enumerate() {
        let padding = match quad {
            [_, _, b'=', b'='] => 2,
            [_, _, _, b'='] => 1,
            _ => 0,
        };
        if padding > 0 && place + 1 != quads.len() {
            return None;
        }
        let mut group = 0;
        for &byte in &quad[..4 - padding] {
            group = group << 6 | base64_digit(byte)?;
        }
        let [_, three @ ..] = (group << (6 * padding)).to_be_bytes();
        bytes.extend_from_slice(&three[..3 - padding]);
    }
    Some(bytes)
}

fn base64_digit(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<Result<(&str, &str), TextFault>> {
        Pairs::new(text).map(|pair| pair.map(|p| (p.key, p.value))).collect()
    }

    #[test]
    fn pairs_are_cut_at_nuls_and_at_the_first_equals_sign() {
        let text = b"InitiatorName=iqn.a:b\0X-com.example.k=a=b\0Empty=\0";
        let expected =
            [Ok(("InitiatorName", "iqn.a:b")), Ok(("X-com.example.k", "a=b")), Ok(("Empty", ""))];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn padding_in_the_text_means_nothing() {
        assert_eq!(pairs(b"\0A=1\0\0\0B=2\0\0"), [Ok(("A", "1")), Ok(("B", "2"))]);
        assert_eq!(pairs(b""), []);
    }

    #[test]
    fn every_shorter_prefix_of_a_pair_is_rejected() {
        let text = b"MaxBurstLength=262144\0";
        for length in 1..text.len() {
            assert_eq!(pairs(&text[..length]), [Err(TextFault::Unterminated)]);
        }
    }

    #[test]
    fn malformed_pairs_are_rejected_and_end_the_text() {
        assert_eq!(pairs(b"Alone\0A=1\0"), [Err(TextFault::EqualsSignMissing)]);
        assert_eq!(pairs(b"=1\0"), [Err(TextFault::KeyCharacter)]);
        assert_eq!(pairs(b"A B=1\0"), [Err(TextFault::KeyCharacter)]);
        assert_eq!(pairs(b"A\xff=1\0"), [Err(TextFault::KeyCharacter)]);
        assert_eq!(pairs(b"A=1\n\0"), [Err(TextFault::ValueCharacter)]);
        assert_eq!(pairs(b"A=\xc3\0"), [Err(TextFault::ValueCharacter)]);
    }

    #[test]
    fn keys_end_at_63_bytes() {
        let key = "K".repeat(63);
        assert_eq!(pairs(format!("{key}=\0").as_bytes()), [Ok((&key[..], ""))]);
        let fault = TextFault::KeyTooLong { bytes: 64 };
        assert_eq!(pairs(format!("{key}K=\0").as_bytes()), [Err(fault)]);
    }

    #[test]
    fn simple_values_end_at_255_bytes_and_binary_ones_later() {
        let value = "v".repeat(255);
        let text = format!("InitiatorAlias={value}\0");
        assert_eq!(pairs(text.as_bytes()), [Ok(("InitiatorAlias", &value[..]))]);
        let text = format!("InitiatorAlias={value}v\0");
        assert_eq!(pairs(text.as_bytes()), [Err(TextFault::ValueTooLong { bytes: 256 })]);
        let challenge = format!("0x{}", "5a".repeat(1024));
        let text = format!("CHAP_C={challenge}\0");
        assert_eq!(pairs(text.as_bytes()), [Ok(("CHAP_C", &challenge[..]))]);
        let text = format!("CHAP_C={challenge}5\0");
        assert_eq!(pairs(text.as_bytes()), [Err(TextFault::ValueTooLong { bytes: 2051 })]);
    }

    #[test]
    fn the_writer_stops_at_its_size_with_whole_pairs() {
        let mut text = TextWriter::new(8);
        assert_eq!(text.push("A", "1"), Ok(()));
        assert_eq!(text.push("B", "23"), Err(TextFull { bytes_max: 8 }));
        assert_eq!(text.push("B", "2"), Ok(()));
        assert_eq!(text.into_bytes(), b"A=1\0B=2\0");
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(parse_number("262144"), Some(262_144));
        assert_eq!(parse_number("0x40000"), Some(262_144));
        assert_eq!(parse_number("0XfF"), Some(255));
        for no_number in ["", "0x", "-1", "+1", "1a", "4294967296", " 1", "0b11"] {
            assert_eq!(parse_number(no_number), None, "{no_number:?}");
        }
    }

    #[test]
    fn binary_values_are_hexadecimal_or_base64() {
        assert_eq!(parse_binary("0x00fFa5"), Some(vec![0x00, 0xff, 0xa5]));
        assert_eq!(parse_binary("0bAP+l"), Some(vec![0x00, 0xff, 0xa5]));
        assert_eq!(parse_binary("0bZm9vYg=="), Some(b"foob".to_vec()));
        assert_eq!(parse_binary("0bZm9vYmE="), Some(b"fooba".to_vec()));
        for wrong in ["", "0", "0x0", "0xg0", "00", "0bZm9", "0bZ===", "0bZg==Zg==", "0b=m9v"] {
            assert_eq!(parse_binary(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse_binary(&format!("0x{}", "00".repeat(1025))), None);
        assert_eq!(binary_text(&[0x00, 0xff, 0xa5]), "0x00ffa5");
    }
}
