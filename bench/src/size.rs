//! Sizes in bytes as text: `512`, `4KiB`, `1GiB`.

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
    fn sizes_are_written_with_the_largest_unit_that_divides_them() {
        assert_eq!(text(4096), "4KiB");
        assert_eq!(text(1 << 20), "1MiB");
        assert_eq!(text(1000), "1000");
    }
}
