//! Key text: `key=value` pairs, each ended by a zero byte (RFC 7143 6.1).

/// The pairs as they go into a data segment.
pub fn encode_keys(pairs: &[(String, String)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in pairs {
        text.extend_from_slice(key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    text
}

/// The pairs of a data segment; a pair without `=` gets an empty value.
pub fn decode_keys(text: &[u8]) -> Vec<(String, String)> {
    let pieces = text.split(|byte| *byte == 0).filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let pair = String::from_utf8_lossy(piece);
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_end_with_a_zero_byte() {
        let pairs = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())];
        assert_eq!(encode_keys(&pairs), b"A=1\0B=x=y\0");
        assert_eq!(decode_keys(b"A=1\0B=x=y\0"), pairs);
    }
}
