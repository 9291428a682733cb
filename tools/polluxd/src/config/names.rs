//! Names of initiators and targets (RFC 7143 4.2.7), and of volumes.

use super::fault::{NameFault, Problem};
use units::limits;

/// The name in lower case, as it is compared (RFC 7143 4.2.7.2), if it is an iSCSI name.
pub(crate) fn check_iscsi_name(text: &str) -> Result<String, Problem> {
    let name = text.to_ascii_lowercase();
    match iscsi_name_fault(&name) {
        None => Ok(name),
        Some(why) => Err(Problem::BadIscsiName { name: text.to_owned(), why }),
    }
}

fn iscsi_name_fault(name: &str) -> Option<NameFault> {
    let foreign = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | ':');
    if name.len() > limits::ISCSI_NAME_BYTES_MAX {
        return Some(NameFault::Long);
    }
    if let Some(c) = name.chars().find(foreign) {
        return Some(NameFault::Character(c));
    }
    let hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    match name.split_once('.') {
        Some(("iqn", rest)) => (!is_dated_domain(rest)).then_some(NameFault::Iqn),
        Some(("eui", digits)) => (digits.len() != 16 || !hex(digits)).then_some(NameFault::Eui),
        Some(("naa", digits)) => {
            (!matches!(digits.len(), 16 | 32) || !hex(digits)).then_some(NameFault::Naa)
        }
        Some(_) | None => Some(NameFault::Type),
    }
}

/// `YYYY-MM.domain`, with or without `:anything` (RFC 7143 4.2.7.4).
fn is_dated_domain(text: &str) -> bool {
    let digits = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_digit());
    let Some((date, rest)) = text.split_once('.') else { return false };
    let Some((year, month)) = date.split_once('-') else { return false };
    let domain = rest.split(':').next().unwrap_or(rest);
    digits(year, 4)
        && digits(month, 2)
        && matches!(month.parse::<u8>(), Ok(1..=12))
        && !domain.is_empty()
        && domain.split('.').all(|label| !label.is_empty())
}

/// The longest volume name in bytes. A file is named after it, with a suffix.
const VOLUME_NAME_BYTES_MAX: usize = 64;

/// Whether a text is a volume name.
pub(crate) fn check_volume_name(text: &str) -> Result<(), Problem> {
    let valid = text.len() <= VOLUME_NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if valid { Ok(()) } else { Err(Problem::BadVolumeName(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(name: &str) -> Option<NameFault> {
        match check_iscsi_name(name) {
            Err(Problem::BadIscsiName { why, .. }) => Some(why),
            Ok(_) | Err(_) => None,
        }
    }

    #[test]
    fn names_of_all_three_types_pass() {
        for name in [
            "iqn.2026-11.local.pollux:demo",
            "iqn.2001-04.com.example",
            "iqn.1993-08.org.debian:01:a1b2c3d4e5",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
        ] {
            assert_eq!(check_iscsi_name(name), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_name_is_kept_in_lower_case() {
        assert_eq!(check_iscsi_name("IQN.2001-04.COM.Example").unwrap(), "iqn.2001-04.com.example");
    }

    #[test]
    fn a_text_that_is_not_a_name_is_rejected_with_the_reason() {
        assert_eq!(why("disk1"), Some(NameFault::Type));
        assert_eq!(why("iqm.2026-11.org.example"), Some(NameFault::Type));
        assert_eq!(why("iqn.org.example:disk1"), Some(NameFault::Iqn));
        assert_eq!(why("iqn.2026-13.org.example"), Some(NameFault::Iqn));
        assert_eq!(why("iqn.2026-11."), Some(NameFault::Iqn));
        assert_eq!(why("iqn.2026-11.org..example"), Some(NameFault::Iqn));
        assert_eq!(why("iqn.2026-11.org.example:a b"), Some(NameFault::Character(' ')));
        assert_eq!(why("eui.0200"), Some(NameFault::Eui));
        assert_eq!(why("naa.5200"), Some(NameFault::Naa));
        assert_eq!(
            why(&format!("iqn.2026-11.org.example:{}", "a".repeat(200))),
            Some(NameFault::Long)
        );
    }

    #[test]
    fn volume_names_are_safe_names_of_files() {
        for good in ["demo", "a", "vm-01_root.v2", "0"] {
            assert_eq!(check_volume_name(good), Ok(()));
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(check_volume_name(bad).is_err(), "{bad}");
        }
    }
}
