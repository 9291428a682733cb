//! New identities: random, thus independent of names, hosts and order of creation.

use volume::{Naa, Wwid};

/// A new identity from random bytes: NAA 6 with an `oui`, otherwise NAA 3 (SPC-4 7.8.6.6).
pub(crate) fn new_wwid(oui: Option<[u8; 3]>, random: [u8; 24]) -> Wwid {
    let [s @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = random;
    let [_, _, _, _, _, _, _, _, n @ ..] = random;
    let naa = match oui {
        // NAA 6: 4 bits of NAA, 24 bits of OUI, then 36 and 64 bits of our own.
        Some([a, b, c]) => {
            let mut bytes = n;
            bytes[0] = 0x60 | a >> 4;
            bytes[1] = a << 4 | b >> 4;
            bytes[2] = b << 4 | c >> 4;
            bytes[3] = c << 4 | (n[3] & 0x0f);
            Naa::RegisteredExtended(bytes)
        }
        // NAA 3: 4 bits of NAA, then 60 bits of our own.
        None => {
            let [mut b @ .., _, _, _, _, _, _, _, _] = n;
            b[0] = 0x30 | (b[0] & 0x0f);
            Naa::LocallyAssigned(b)
        }
    };
    Wwid { naa, serial: hex(&s) }
}

/// A new UUID of version 4 (RFC 9562 5.4) from random bytes.
pub(crate) fn new_uuid(mut random: [u8; 16]) -> String {
    random[6] = 0x40 | (random[6] & 0x0f);
    random[8] = 0x80 | (random[8] & 0x3f);
    let digits = hex(&random);
    let part = |range| digits.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The bytes of hexadecimal digits, if they are exactly `N`.
pub(super) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N || !digits.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        let pair = digits.get(2 * i..2 * i + 2)?;
        // from_str_radix alone would take a sign.
        if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; 24] = [
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6,
        0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
    ];

    #[test]
    fn without_an_oui_the_name_is_naa_3() {
        let wwid = new_wwid(None, RANDOM);
        assert_eq!(hex(wwid.naa.bytes()), "30f1f2f3f4f5f6f7");
        assert_eq!(wwid.serial, "0123456789abcdef");
    }

    #[test]
    fn with_an_oui_the_name_is_naa_6() {
        let wwid = new_wwid(Some([0x00, 0xa0, 0xb1]), RANDOM);
        assert_eq!(hex(wwid.naa.bytes()), "600a0b13f4f5f6f7f8f9fafbfcfdfeff");
    }

    #[test]
    fn a_uuid_has_version_4() {
        let uuid = new_uuid([0xff; 16]);
        assert_eq!(uuid, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(new_uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn only_whole_hexadecimal_is_read() {
        assert_eq!(unhex("00ff"), Some([0x00, 0xff]));
        assert_eq!(unhex::<2>("00f"), None);
        assert_eq!(unhex::<2>("00fg"), None);
        assert_eq!(unhex::<2>("+1+2"), None);
        assert_eq!(unhex::<2>("äb"), None);
    }
}
