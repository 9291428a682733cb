//! Sizes in bytes as text: `4096`, `4KiB`, `1MiB`, `512MiB`.

/// Parses a size; the suffixes are powers of 1024, with or without `iB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let unit: u64 = match suffix {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("invalid size \"{text}\": use for example 4096, 4KiB or 1GiB")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("invalid size \"{text}\": use for example 4096, 4KiB or 1GiB"))?;
    number.checked_mul(unit).ok_or_else(|| format!("size \"{text}\" exceeds 64 bits"))
}

/// Bytes as short text: the largest unit that divides them.
pub fn text(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b.is_multiple_of(1 << 30) => format!("{}GiB", b >> 30),
        b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("{}MiB", b >> 20),
        b if b >= 1 << 10 && b.is_multiple_of(1 << 10) => format!("{}KiB", b >> 10),
        b => b.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        assert_eq!(parse("512"), Ok(512));
        assert_eq!(parse("4KiB"), Ok(4096));
        assert_eq!(parse("4k"), Ok(4096));
        assert_eq!(parse("1M"), Ok(1_048_576));
        assert_eq!(parse("2GiB"), Ok(2_147_483_648));
    }

    #[test]
    fn invalid_sizes_are_rejected() {
        for wrong in ["", "KiB", "4kb", "-1", "99999999999999999999", "99999999999GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_written_with_the_largest_unit_that_divides_them() {
        assert_eq!(text(4096), "4KiB");
        assert_eq!(text(1 << 20), "1MiB");
        assert_eq!(text(1000), "1000");
    }
}
