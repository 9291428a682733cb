//! PDUs as they go over the wire.

use crate::rng::{size, word};
use iscsi::digest::{DataDigest, header_digest};
use iscsi::{BHS_BYTES, pad_bytes};

/// Which parts of a connection's PDUs carry CRC32C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) header: bool,
    pub(crate) data: bool,
}

/// What is wrong with a data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// One bit of the data has changed on its way; the digest is that of the data as it was.
    Data,
    /// The digest is wrong.
    Digest,
}

/// A header with its digest.
pub(crate) fn head(header: &[u8; BHS_BYTES], digests: Digests) -> Vec<u8> {
    let mut bytes = header.to_vec();
    if digests.header {
        bytes.extend_from_slice(&header_digest(header, &[]));
    }
    bytes
}

/// The digest of a data segment and its padding.
pub(crate) fn data_digest(data: &[u8]) -> [u8; 4] {
    let mut digest = DataDigest::new();
    digest.update(data);
    digest.pad();
    digest.wire()
}

/// A PDU as it goes over the wire.
pub(crate) fn encode(
    header: &[u8; BHS_BYTES],
    data: &[u8],
    digests: Digests,
    damage: Damage,
) -> Vec<u8> {
    let mut bytes = head(header, digests);
    let start = bytes.len();
    bytes.extend_from_slice(data);
    let pad = pad_bytes(word(data.len()));
    bytes.extend_from_slice(&[0; 3][..size(pad)]);
    if digests.data && !data.is_empty() {
        let mut sum = data_digest(data);
        sum[0] ^= u8::from(damage == Damage::Digest);
        bytes[start + data.len() / 2] ^= u8::from(damage == Damage::Data);
        bytes.extend_from_slice(&sum);
    }
    bytes
}
