//! Sizes in bytes as users write them: `4096`, `20GiB`, `20G`.

use std::fmt;

/// A text that is not a size, or a size above 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSize {
    text: String,
}

impl fmt::Display for InvalidSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid size {:?}: use for example 20GiB", self.text)
    }
}

impl std::error::Error for InvalidSize {}

/// Parses a size: a whole number of bytes, optionally followed by a unit.
///
/// All units are binary, the short ones as in qemu and LVM: `20G` and `20g` are `20GiB`. Units
/// such as `GB`, decimal to some programs and binary to others, are rejected.
///
/// # Errors
/// The text is not a size, or it exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize { text: text.to_owned() };
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        "T" | "t" | "TiB" => 40,
        "P" | "p" | "PiB" => 50,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    number.checked_mul(1 << shift).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("1GiB"), Ok(1_073_741_824));
        assert_eq!(parse_size(" 512 MiB "), Ok(536_870_912));
        assert_eq!(parse_size("2PiB"), Ok(2_251_799_813_685_248));
        assert_eq!(parse_size("17 B"), Ok(17));
    }

    #[test]
    fn short_units_are_binary_too() {
        assert_eq!(parse_size("4K"), Ok(4096));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("1M"), Ok(1_048_576));
        assert_eq!(parse_size("20G"), Ok(21_474_836_480));
        assert_eq!(parse_size("20g"), Ok(21_474_836_480));
        assert_eq!(parse_size("3T"), Ok(3_298_534_883_328));
        assert_eq!(parse_size("2P"), Ok(2_251_799_813_685_248));
    }

    #[test]
    fn anything_else_is_rejected_with_an_example() {
        for text in ["", "GiB", "1.5GiB", "-1", "10GB", "10gib", "20Q", "20G B", "16384PiB"] {
            let invalid = parse_size(text).unwrap_err().to_string();
            assert_eq!(invalid, format!("invalid size {text:?}: use for example 20GiB"));
        }
    }

    #[test]
    fn the_largest_size_fits_64_bits() {
        assert_eq!(parse_size("18446744073709551615"), Ok(18_446_744_073_709_551_615));
        assert_eq!(parse_size("16383PiB"), Ok(18_445_618_173_802_708_992));
    }
}
