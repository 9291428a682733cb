//! Human-readable numbers, and tables that look the same with and without a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table with this header. Columns after the first `text_columns` are numbers, right-aligned.
pub(crate) fn table<const N: usize>(head: [&str; N], text_columns: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    for column in table.column_iter_mut().skip(text_columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The table as text, without leading and trailing space on each line.
pub(crate) fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n")
        .collect()
}

/// A time: `87.0us`, `1.25ms`, `3.00s`.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}us", hundredths(ns, 1_000, 1)),
        1_000_000..1_000_000_000 => format!("{}ms", hundredths(ns, 1_000_000, 2)),
        _ => format!("{}s", hundredths(ns, 1_000_000_000, 2)),
    }
}

/// A size: `512B`, `1.00GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 5] =
        [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.into_iter().find(|&(_, shift)| bytes >> shift > 0);
    match unit {
        Some((unit, shift)) => format!("{}{unit}", hundredths(bytes, 1 << shift, 2)),
        None => format!("{bytes}B"),
    }
}

/// The rate per second of `count` events in a period.
pub(crate) fn per_second(count: u64, period_ns: u64) -> u64 {
    if period_ns == 0 {
        return 0;
    }
    let rate = u128::from(count) * 1_000_000_000 / u128::from(period_ns);
    // A counter of 64 bits in a period of less than a second; no machine counts so fast.
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A ratio in percent; `-` if `whole` is 0.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".into()
    } else {
        format!("{}%", hundredths(part.saturating_mul(100), whole, 1))
    }
}

/// A quotient with this number of decimals (at most 2), rounded down.
fn hundredths(dividend: u64, divisor: u64, decimals: u32) -> String {
    let scale = 10u128.pow(decimals);
    let scaled = u128::from(dividend) * scale / u128::from(divisor);
    let width = decimals as usize;
    format!("{}.{:0width$}", scaled / scale, scaled % scale)
}

/// A time as days, hours, minutes and seconds.
pub(crate) fn clock(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}:{seconds:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!(time(0), "0.0us");
        assert_eq!(time(87_040), "87.0us");
        assert_eq!(time(1_250_000), "1.25ms");
        assert_eq!(time(60_000_000_000), "60.00s");
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!(bytes(511), "511B");
        assert_eq!(bytes(1 << 30), "1.00GiB");
        assert_eq!(bytes(1536), "1.50KiB");
        assert_eq!(bytes(u64::MAX), "16383.99PiB");
    }

    #[test]
    fn rates_and_ratios_of_zero_are_defined() {
        assert_eq!(per_second(10, 0), 0);
        assert_eq!(per_second(123_456, 2_000_000_000), 61_728);
        assert_eq!(per_second(u64::MAX, 1), u64::MAX);
        assert_eq!(percent(1, 0), "-");
        assert_eq!(percent(373, 1000), "37.3%");
    }
}
