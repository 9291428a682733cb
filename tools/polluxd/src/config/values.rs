//! The values that keys have as text: sizes, buffer pools, cores, OUIs, polling modes.

use super::fault::{BuffersFault, Problem};
use units::{PoolLayout, SizeClass, limits};

/// What a reactor does when it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poll {
    /// Never sleep: for cores that are reserved for it.
    Busy,
    /// Spin for a while after the last work, then sleep.
    Adaptive,
    /// Sleep at once.
    Interrupt,
}

impl Poll {
    /// All modes.
    pub(crate) const ALL: [Self; 3] = [Self::Busy, Self::Adaptive, Self::Interrupt];

    /// The mode's name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Adaptive => "adaptive",
            Self::Interrupt => "interrupt",
        }
    }

    /// What the mode does, for `--help`.
    pub(crate) const fn help(self) -> &'static str {
        match self {
            Self::Busy => "Never sleep: for cores that are reserved for it",
            Self::Adaptive => "Spin for a while after the last work, then sleep",
            Self::Interrupt => "Sleep at once",
        }
    }

    /// The mode of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Checks a list of cores: not empty, no duplicates, not too many.
pub(super) fn check_cores(cores: &[u16]) -> Result<(), Problem> {
    if cores.is_empty() {
        return Err(Problem::NoCores);
    }
    if cores.len() > limits::REACTORS_MAX {
        return Err(Problem::TooMany { what: "cores", most: limits::REACTORS_MAX });
    }
    let repeated = cores.iter().enumerate().find(|&(i, c)| cores[..i].contains(c));
    match repeated {
        Some((_, core)) => Err(Problem::Duplicate(format!("core {core}"))),
        None => Ok(()),
    }
}

/// The buffers that a text such as `4KiB:4096,256KiB:128` describes.
pub(super) fn parse_buffers(text: &str) -> Result<PoolLayout, Problem> {
    let mut classes: Vec<SizeClass> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let class = parse_class(part)
            .ok_or_else(|| Problem::BadBuffers(BuffersFault::Part(part.to_owned())))?;
        if class.bytes % 4096 != 0 {
            return Err(Problem::BadBuffers(BuffersFault::Unaligned(class.bytes)));
        }
        if classes.last().is_some_and(|last| last.bytes >= class.bytes) {
            return Err(Problem::BadBuffers(BuffersFault::NotAscending));
        }
        classes.push(class);
    }
    if classes.last().is_none_or(|last| last.bytes < limits::BURST_LENGTH_MAX) {
        return Err(Problem::BadBuffers(BuffersFault::TooSmall));
    }
    match missing_buffers(&classes) {
        Some(fault) => Err(Problem::BadBuffers(fault)),
        None => Ok(PoolLayout::new(classes)),
    }
}

/// A command that needs more buffers at once than the pool has would wait forever.
fn missing_buffers(classes: &[SizeClass]) -> Option<BuffersFault> {
    let largest = classes.last()?;
    let count = |least| {
        let enough = classes.iter().filter(|class| class.bytes >= least);
        enough.fold(0, |sum: u32, class| sum.saturating_add(class.count))
    };
    let missing = limits::FULL_BUFFERS_PER_COMMAND
        .saturating_sub(count(limits::BURST_LENGTH_MAX))
        .max(limits::BUFFERS_PER_COMMAND.saturating_sub(count(0)));
    let &SizeClass { bytes, count } = largest;
    (missing > 0).then_some(BuffersFault::TooFew { bytes, count, least: count + missing })
}

/// Buffers of one size: their names fit 32 bits with all classes, and a pool of a TiB is a typing
/// error.
const CLASS_COUNT_MAX: u32 = 1 << 22;

fn parse_class(part: &str) -> Option<SizeClass> {
    let (bytes, count) = part.split_once(':')?;
    let bytes = u32::try_from(parse_size(bytes).ok()?).ok()?;
    let count = count.trim().parse().ok()?;
    let valid = bytes > 0 && (1..=CLASS_COUNT_MAX).contains(&count);
    valid.then_some(SizeClass { bytes, count })
}

/// The text that [`parse_buffers`] reads as this layout.
pub(super) fn buffers_text(layout: &PoolLayout) -> String {
    let parts: Vec<_> = layout
        .classes()
        .iter()
        .map(|c| format!("{}:{}", size_text(c.bytes.into()), c.count))
        .collect();
    parts.join(",")
}

/// The bytes that a text such as `10GiB` or `1.5T` means, as all programs read it.
pub(crate) fn parse_size(text: &str) -> Result<u64, Problem> {
    control_api::parse_size(text).map_err(Problem::BadSize)
}

/// The text that [`parse_size`] reads as so many bytes, in the largest unit that divides them.
pub(super) fn size_text(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut count, mut unit) = (bytes, 0);
    while count > 0 && count % 1024 == 0 && unit + 1 < units.len() {
        (count, unit) = (count / 1024, unit + 1);
    }
    format!("{count}{}", units[unit])
}

/// The three bytes of an OUI, with or without separators.
pub(super) fn parse_oui(text: &str) -> Result<[u8; 3], Problem> {
    let bad = || Problem::BadOui(text.to_owned());
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let number = u32::from_str_radix(&digits, 16).map_err(|_| bad())?;
    let [_, a, b, c] = number.to_be_bytes();
    Ok([a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_in_the_largest_unit_that_divides_it() {
        assert_eq!(size_text(0), "0B");
        assert_eq!(size_text(1000), "1000B");
        assert_eq!(size_text(16 << 10), "16KiB");
        assert_eq!(size_text(3 << 29), "1536MiB");
        assert_eq!(size_text(2048 << 50), "2048PiB");
    }

    #[test]
    fn an_oui_has_six_digits_with_or_without_separators() {
        assert_eq!(parse_oui("00a0b1"), Ok([0x00, 0xa0, 0xb1]));
        assert_eq!(parse_oui("00:A0:B1"), Ok([0x00, 0xa0, 0xb1]));
        for bad in ["", "00a0b", "00a0b1c2", "00a0bg", "+0a0b1"] {
            assert!(parse_oui(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn buffers_are_sizes_with_counts() {
        let layout = parse_buffers("4KiB:3, 256KiB:2").unwrap();
        assert_eq!(
            layout.classes(),
            [SizeClass { bytes: 4096, count: 3 }, SizeClass { bytes: 262_144, count: 2 }]
        );
        assert_eq!(buffers_text(&layout), "4KiB:3,256KiB:2");
        assert_eq!(parse_buffers("4KiB:3"), Err(Problem::BadBuffers(BuffersFault::TooSmall)));
        assert_eq!(
            parse_buffers("256KiB:3,4KiB:3"),
            Err(Problem::BadBuffers(BuffersFault::NotAscending))
        );
        assert_eq!(
            parse_buffers("1KiB:3,256KiB:3"),
            Err(Problem::BadBuffers(BuffersFault::Unaligned(1024)))
        );
        assert_eq!(
            parse_buffers("256KiB"),
            Err(Problem::BadBuffers(BuffersFault::Part("256KiB".into())))
        );
        assert_eq!(
            parse_buffers("256KiB:0"),
            Err(Problem::BadBuffers(BuffersFault::Part("256KiB:0".into())))
        );
        assert_eq!(
            parse_buffers("0:5"),
            Err(Problem::BadBuffers(BuffersFault::Part("0:5".into())))
        );
    }

    /// VERIFY waited forever for its second buffer.
    #[test]
    fn a_pool_that_cannot_serve_every_command_is_refused() {
        let few = |bytes, count, least| {
            Err(Problem::BadBuffers(BuffersFault::TooFew { bytes, count, least }))
        };
        assert_eq!(parse_buffers("256KiB:1"), few(262_144, 1, 3));
        assert_eq!(parse_buffers("256KiB:2"), few(262_144, 2, 3));
        assert_eq!(parse_buffers("4KiB:2048,256KiB:1"), few(262_144, 1, 2));
        assert_eq!(parse_buffers("256KiB:1,1MiB:1"), few(1 << 20, 1, 2));
        for enough in ["256KiB:3", "4KiB:1,256KiB:2", "4KiB:1,256KiB:1,1MiB:1"] {
            assert!(parse_buffers(enough).is_ok(), "{enough}");
        }
    }

    #[test]
    fn the_default_buffers_can_be_written_down() {
        let layout = reactor::default_layout(1);
        assert_eq!(buffers_text(&layout), "4KiB:2048,16KiB:512,64KiB:192,256KiB:144");
        assert_eq!(parse_buffers(&buffers_text(&layout)), Ok(layout));
    }
}
