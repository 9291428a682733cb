//! Sizes in bytes as users write them: `4096`, `4k`, `20G`, `20GiB`, `1.5TiB`. All programs and
//! the configuration read them here.

use std::fmt;

/// A text that is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSize {
    text: String,
    why: Why,
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// A unit such as GB; holds the one that is meant perhaps: GiB.
    Ambiguous(&'static str),
    /// The fraction is no whole number of bytes.
    Fraction,
    /// It exceeds 64 bits.
    Large,
    /// It has another form.
    Form,
}

impl fmt::Display for InvalidSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid size {:?}: ", self.text)?;
        match self.why {
            Why::Ambiguous(unit) => {
                let short = &unit[..1];
                write!(
                    f,
                    "{short}B is a power of 1000 to some programs and of 1024 to others; use \
                     {unit} or {short} (powers of 1024), or the number of bytes"
                )
            }
            Why::Fraction => f.write_str("not a whole number of bytes; use a smaller unit"),
            Why::Large => f.write_str("more than 16EiB - 1 bytes"),
            Why::Form => f.write_str("use for example 20GiB"),
        }
    }
}

impl std::error::Error for InvalidSize {}

/// The units and their powers of 1024.
const UNITS: [(&str, u32); 6] =
    [("KiB", 1), ("MiB", 2), ("GiB", 3), ("TiB", 4), ("PiB", 5), ("EiB", 6)];

/// Digits of a fraction: enough for 2^-20 of a unit, and few enough to be computed exactly.
const FRACTION_DIGITS_MAX: usize = 20;

/// Parses a size: a number of bytes, or a number with a unit, in capital or small letters.
///
/// All units are binary, the short ones as in qemu-img and lvcreate: `20G`, `20g` and `20GiB` are
/// 20 x 2^30 bytes. Units such as `GB`, decimal to some programs and binary to others, are
/// rejected. A fraction must be a whole number of bytes: `1.5TiB` is one, `1.5B` is not.
///
/// # Errors
/// The text is not a size, or it exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let invalid = |why| InvalidSize { text: text.to_owned(), why };
    let trimmed = text.trim();
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, unit) = trimmed.split_at(trimmed.find(|c| !is_number(c)).unwrap_or(trimmed.len()));
    let unit_bytes = unit_bytes(unit.trim_start()).map_err(invalid)?;
    bytes(number, unit_bytes).map_err(invalid)
}

fn unit_bytes(unit: &str) -> Result<u64, Why> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("B") {
        return Ok(1);
    }
    for (name, power) in UNITS {
        let short = &name[..1];
        if unit.eq_ignore_ascii_case(name) || unit.eq_ignore_ascii_case(short) {
            return Ok(1 << (10 * power));
        }
        let decimal = unit.strip_suffix(['B', 'b']);
        if decimal.is_some_and(|letter| letter.eq_ignore_ascii_case(short)) {
            return Err(Why::Ambiguous(name));
        }
    }
    Err(Why::Form)
}

/// So many units of this size in bytes, exactly.
fn bytes(number: &str, unit_bytes: u64) -> Result<u64, Why> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(Why::Form),
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (number, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(Why::Form);
    }
    // Only digits: what fails is too large.
    let whole: u64 = whole.parse().map_err(|_| Why::Large)?;
    let whole = whole.checked_mul(unit_bytes).ok_or(Why::Large)?;
    whole.checked_add(fraction_bytes(fraction, unit_bytes)?).ok_or(Why::Large)
}

fn fraction_bytes(digits: &str, unit_bytes: u64) -> Result<u64, Why> {
    if digits.is_empty() {
        return Ok(0);
    }
    if digits.len() > FRACTION_DIGITS_MAX {
        return Err(Why::Fraction);
    }
    let digit = |sum: u128, b: u8| sum * 10 + u128::from(b - b'0');
    let numerator = digits.bytes().fold(0, digit);
    let denominator = digits.bytes().fold(1, |product: u128, _| product * 10);
    // Below 10^20 x 2^60, which is less than 2^127.
    let product = numerator * u128::from(unit_bytes);
    if product % denominator != 0 {
        return Err(Why::Fraction);
    }
    // Less than one unit.
    u64::try_from(product / denominator).map_err(|_| Why::Large)
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
        assert_eq!(parse_size("10gib"), Ok(10_737_418_240));
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
        assert_eq!(parse_size("15E"), Ok(17_293_822_569_102_704_640));
    }

    #[test]
    fn a_fraction_is_exact() {
        assert_eq!(parse_size("1.5TiB"), Ok(1_649_267_441_664));
        assert_eq!(parse_size("0.5k"), Ok(512));
        assert_eq!(parse_size("1.50 G"), Ok(1_610_612_736));
        assert_eq!(parse_size("2.0"), Ok(2));
        // 2^-20 TiB.
        assert_eq!(parse_size("0.00000095367431640625T"), Ok(1_048_576));
        assert_eq!(parse_size("0.1GiB").unwrap_err().why, Why::Fraction);
        assert_eq!(parse_size("1.5").unwrap_err().why, Why::Fraction);
        assert_eq!(parse_size("1.0000000000000000000001E").unwrap_err().why, Why::Fraction);
        assert_eq!(
            parse_size("1.3KiB").unwrap_err().to_string(),
            "invalid size \"1.3KiB\": not a whole number of bytes; use a smaller unit"
        );
    }

    #[test]
    fn anything_else_is_rejected_with_an_example() {
        let bad = ["", "GiB", "-1", "20Q", "20G B", "1.GiB", ".5GiB", "1.2.3", "1e3", "1,5G", "ä"];
        for text in bad {
            let invalid = parse_size(text).unwrap_err().to_string();
            assert_eq!(invalid, format!("invalid size {text:?}: use for example 20GiB"));
        }
    }

    #[test]
    fn a_unit_of_two_meanings_is_rejected_with_the_two_that_have_one() {
        assert_eq!(
            parse_size("20GB").unwrap_err().to_string(),
            "invalid size \"20GB\": GB is a power of 1000 to some programs and of 1024 to others; \
             use GiB or G (powers of 1024), or the number of bytes"
        );
        assert_eq!(parse_size("4kb").unwrap_err().why, Why::Ambiguous("KiB"));
    }

    #[test]
    fn the_largest_size_fits_64_bits() {
        assert_eq!(parse_size("18446744073709551615"), Ok(18_446_744_073_709_551_615));
        assert_eq!(parse_size("16383PiB"), Ok(18_445_618_173_802_708_992));
        for large in ["18446744073709551616", "16384PiB", "16E", "15.99999999999999999999999E"] {
            let why = parse_size(large).unwrap_err().why;
            assert!(matches!(why, Why::Large | Why::Fraction), "{large}: {why:?}");
        }
        assert_eq!(parse_size("16E").unwrap_err().why, Why::Large);
        assert_eq!(
            parse_size("16384PiB").unwrap_err().to_string(),
            "invalid size \"16384PiB\": more than 16EiB - 1 bytes"
        );
    }
}
