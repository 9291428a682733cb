//! iSCSI names (RFC 7143 4.2.7).

use std::fmt;

use units::limits::ISCSI_NAME_BYTES_MAX;

/// The form of a name in which equal names are equal bytes: names are compared without case
/// (RFC 7143 4.2.7.2, RFC 3722).
pub fn canonical_name(name: &str) -> Result<String, NameFault> {
    let canonical = name.to_lowercase();
    let bytes = canonical.len();
    if bytes > ISCSI_NAME_BYTES_MAX {
        return Err(NameFault::TooLong { bytes });
    }
    if !canonical.chars().all(is_name_character) {
        return Err(NameFault::Character);
    }
    let well_formed = match canonical.split_once('.') {
        // RFC 7143 4.2.7.4: a date and a domain name follow. What is in use is less strict
        // than that, and nothing depends on it.
        Some(("iqn", rest)) => !rest.is_empty(),
        // RFC 7143 4.2.7.5: an EUI-64.
        Some(("eui", rest)) => rest.len() == 16 && is_hexadecimal(rest),
        // RFC 7143 4.2.7.6: a 64-bit or a 128-bit identifier.
        Some(("naa", rest)) => matches!(rest.len(), 16 | 32) && is_hexadecimal(rest),
        Some(_) | None => false,
    };
    if well_formed { Ok(canonical) } else { Err(NameFault::Format) }
}

/// Letters, digits, dash, dot and colon; letters and digits of all scripts (RFC 3722 3).
fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '.' | ':')
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why an iSCSI name is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// It has a character that no name may have.
    Character,
    /// It begins with none of iqn., eui. and naa., or what follows does not fit.
    Format,
    /// It is longer than 223 bytes.
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character => {
                write!(f, "invalid name: only letters, digits, dash, dot and colon are permitted")
            }
            Self::Format => {
                write!(f, "invalid name: use iqn.<date>.<domain>:<text>, eui.<16 digits> ")?;
                write!(f, "or naa.<16 or 32 digits>")
            }
            Self::TooLong { bytes } => {
                write!(f, "name has {bytes} bytes; the limit is {ISCSI_NAME_BYTES_MAX}")
            }
        }
    }
}

impl std::error::Error for NameFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_three_types_are_taken_without_case() {
        for (name, canonical) in [
            ("iqn.2001-04.com.example:Disk.1", "iqn.2001-04.com.example:disk.1"),
            ("IQN.1992-01.COM.EXAMPLE", "iqn.1992-01.com.example"),
            ("eui.02004567A425678D", "eui.02004567a425678d"),
            ("naa.52004567BA64678D", "naa.52004567ba64678d"),
            ("naa.62004567BA64678D0123456789ABCDEF", "naa.62004567ba64678d0123456789abcdef"),
            ("iqn.2001-04.com.example:plätze", "iqn.2001-04.com.example:plätze"),
        ] {
            assert_eq!(canonical_name(name).as_deref(), Ok(canonical));
        }
    }

    #[test]
    fn other_texts_are_no_names() {
        for (text, fault) in [
            ("", NameFault::Format),
            ("iqn", NameFault::Format),
            ("iqn.", NameFault::Format),
            ("wwn.5000", NameFault::Format),
            ("eui.02004567A425678", NameFault::Format),
            ("eui.02004567A425678G", NameFault::Format),
            ("naa.52004567BA64678D0", NameFault::Format),
            ("iqn.2001-04.com.example:a b", NameFault::Character),
            ("iqn.2001-04.com.example:a/b", NameFault::Character),
            ("iqn.2001-04.com.example:a_b", NameFault::Character),
        ] {
            assert_eq!(canonical_name(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn names_end_at_223_bytes() {
        let name = format!("iqn.{}", "a".repeat(219));
        assert_eq!(canonical_name(&name), Ok(name.clone()));
        assert_eq!(canonical_name(&format!("{name}a")), Err(NameFault::TooLong { bytes: 224 }));
    }
}
