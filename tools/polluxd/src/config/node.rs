//! `[node]`: cores, rings and buffers.

use super::check::Checker;
use super::fault::{BuffersFault, Problem};
use super::raw::RawNode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use units::{PoolLayout, SizeClass, limits};

/// What a reactor does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Poll {
    /// Never sleep: for cores that have nothing else to do.
    Busy,
    /// Spin for a while after the last work, then sleep.
    #[default]
    Adaptive,
    /// Sleep at once.
    Interrupt,
}

impl Poll {
    /// The mode's name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Adaptive => "adaptive",
            Self::Interrupt => "interrupt",
        }
    }
}

/// How the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// The cores, one reactor each; the first core that the process may use where not given.
    pub(crate) cores: Option<Vec<u16>>,
    /// Entries of each ring.
    pub(crate) queue_depth: u32,
    /// What a reactor does when there is nothing to do.
    pub(crate) poll: Poll,
    /// How long it spins in mode adaptive.
    pub(crate) spin: Duration,
    /// How each reactor's pool is cut.
    pub(crate) buffers: PoolLayout,
    /// A reactor that waits for the disk alone sleeps in every mode, because the kernel's own
    /// workers may need its core.
    pub(crate) sleep_on_disk: bool,
    /// Bytes of the kernel's send and receive buffers of each connection; it adapts them by
    /// itself where not given.
    pub(crate) socket_buffer_bytes: Option<u32>,
    /// How long the kernel polls network cards when a reactor begins to wait; not at all if zero.
    pub(crate) napi_busy_poll: Duration,
    /// Whether the cards' interrupts stay off meanwhile.
    pub(crate) napi_prefer_busy_poll: bool,
    /// The IEEE OUI for NAA 6 names; NAA 3 names where there is none.
    pub(crate) naa_oui: Option<[u8; 3]>,
    /// The state directory; the user's own where not given.
    pub(crate) state_dir: Option<PathBuf>,
    /// The control socket; in the state directory where not given.
    pub(crate) control: Option<PathBuf>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            cores: None,
            queue_depth: 1024,
            poll: Poll::Adaptive,
            spin: Duration::from_micros(50),
            buffers: reactor::default_layout(1),
            sleep_on_disk: true,
            socket_buffer_bytes: None,
            napi_busy_poll: Duration::ZERO,
            napi_prefer_busy_poll: false,
            naa_oui: None,
            state_dir: None,
            control: None,
        }
    }
}

/// Entries of a ring: below the least, a single connection fills it; above the most, the
/// completions of all entries have no room in the kernel's largest queue.
pub(crate) const QUEUE_DEPTH: std::ops::RangeInclusive<u32> = 64..=8192;

/// A second of spinning is as good as mode busy.
pub(crate) const SPIN_US_MAX: u32 = 1_000_000;

/// The least holds the header and the data of a few small commands; more than the most is a typo.
const SOCKET_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 16 << 10..=1 << 30;

/// The bytes that a text such as `4MiB` means for the buffers of a socket.
pub(crate) fn parse_socket_buffer(text: &str) -> Result<u32, Problem> {
    let bytes = parse_size(text)?;
    let most = *SOCKET_BUFFER_BYTES.end();
    let bytes = u32::try_from(bytes).map_err(|_| Problem::OutOfRange {
        value: bytes,
        least: (*SOCKET_BUFFER_BYTES.start()).into(),
        most: most.into(),
    })?;
    check_range(bytes, SOCKET_BUFFER_BYTES).map(|()| bytes)
}

impl Checker<'_> {
    pub(super) fn check_node(&mut self, raw: &RawNode) -> NodeConfig {
        let mut node = NodeConfig::default();
        if let Some(cores) = &raw.cores {
            match check_cores(cores.get_ref()) {
                Ok(()) => node.cores = Some(cores.get_ref().clone()),
                Err(problem) => self.fault(cores.span(), "node.cores", problem),
            }
        }
        if let Some(depth) = &raw.queue_depth {
            node.queue_depth = *depth.get_ref();
            if let Err(problem) = check_range(*depth.get_ref(), QUEUE_DEPTH) {
                self.fault(depth.span(), "node.queue_depth", problem);
            }
        }
        if let Some(spin) = &raw.spin_us {
            node.spin = Duration::from_micros(u64::from(*spin.get_ref()));
            if let Err(problem) = check_range(*spin.get_ref(), 0..=SPIN_US_MAX) {
                self.fault(spin.span(), "node.spin_us", problem);
            }
        }
        if let Some(buffers) = &raw.buffers {
            match parse_buffers(buffers.get_ref()) {
                Ok(layout) => node.buffers = layout,
                Err(problem) => self.fault(buffers.span(), "node.buffers", problem),
            }
        }
        self.check_network(raw, &mut node);
        if let Some(oui) = &raw.naa_oui {
            match parse_oui(oui.get_ref()) {
                Ok(oui) => node.naa_oui = Some(oui),
                Err(problem) => self.fault(oui.span(), "node.naa_oui", problem),
            }
        }
        node.state_dir = raw.state_dir.as_ref().map(|path| self.resolve(path.get_ref()));
        node.control = raw.control.as_ref().map(|path| self.resolve(path.get_ref()));
        node.poll = raw.poll.unwrap_or(node.poll);
        node.sleep_on_disk = raw.sleep_on_disk.unwrap_or(node.sleep_on_disk);
        node
    }

    fn check_network(&mut self, raw: &RawNode, node: &mut NodeConfig) {
        if let Some(buffer) = &raw.socket_buffer {
            match parse_socket_buffer(buffer.get_ref()) {
                Ok(bytes) => node.socket_buffer_bytes = Some(bytes),
                Err(problem) => self.fault(buffer.span(), "node.socket_buffer", problem),
            }
        }
        if let Some(busy) = &raw.napi_busy_poll_us {
            node.napi_busy_poll = Duration::from_micros(u64::from(*busy.get_ref()));
            if let Err(problem) = check_range(*busy.get_ref(), 0..=SPIN_US_MAX) {
                self.fault(busy.span(), "node.napi_busy_poll_us", problem);
            }
        }
        node.napi_prefer_busy_poll = raw.napi_prefer_busy_poll.unwrap_or(false);
    }
}

/// Whether a list of cores is one: not empty, nothing twice, not too many.
pub(crate) fn check_cores(cores: &[u16]) -> Result<(), Problem> {
    if cores.is_empty() {
        return Err(Problem::NoCores);
    }
    if cores.len() > limits::REACTORS_MAX {
        return Err(Problem::TooMany { what: "cores", most: limits::REACTORS_MAX });
    }
    let repeated = cores.iter().enumerate().find(|&(i, c)| cores[..i].contains(c));
    match repeated {
        Some((_, core)) => Err(Problem::Repeated(format!("core {core}"))),
        None => Ok(()),
    }
}

fn check_range(value: u32, range: std::ops::RangeInclusive<u32>) -> Result<(), Problem> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Problem::OutOfRange {
        value: value.into(),
        least: (*range.start()).into(),
        most: (*range.end()).into(),
    })
}

/// The buffers that a text such as `4KiB:4096,256KiB:128` describes.
pub(crate) fn parse_buffers(text: &str) -> Result<PoolLayout, Problem> {
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
    Ok(PoolLayout::new(classes))
}

/// Buffers of one size: their names fit 32 bits with all classes, and a pool of a TiB is a typo.
const CLASS_COUNT_MAX: u32 = 1 << 22;

fn parse_class(part: &str) -> Option<SizeClass> {
    let (bytes, count) = part.split_once(':')?;
    let bytes = u32::try_from(parse_size(bytes).ok()?).ok()?;
    let count = count.trim().parse().ok()?;
    let valid = bytes > 0 && (1..=CLASS_COUNT_MAX).contains(&count);
    valid.then_some(SizeClass { bytes, count })
}

/// The text that [`parse_buffers`] reads as this layout.
pub(crate) fn buffers_text(layout: &PoolLayout) -> String {
    let parts: Vec<_> =
        layout.classes().iter().map(|c| format!("{}KiB:{}", c.bytes / 1024, c.count)).collect();
    parts.join(",")
}

/// The bytes that a text such as `10GiB` means. Only binary units: `10G` means 10^10 to one
/// person and 10 * 2^30 to another.
pub(crate) fn parse_size(text: &str) -> Result<u64, Problem> {
    let bad = || Problem::BadSize(text.to_owned());
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "PiB" => 50,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// The three bytes of an OUI, with or without separators.
fn parse_oui(text: &str) -> Result<[u8; 3], Problem> {
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
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size(" 512 MiB "), Ok(512 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("2PiB"), Ok(2 << 50));
        for bad in ["", "GiB", "10G", "10GB", "1.5GiB", "-1", "20000PiB", "99999999999999999999"] {
            assert_eq!(parse_size(bad), Err(Problem::BadSize(bad.into())));
        }
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

    #[test]
    fn the_default_buffers_can_be_written_down() {
        let node = NodeConfig::default();
        assert_eq!(buffers_text(&node.buffers), "4KiB:2048,16KiB:512,64KiB:192,256KiB:144");
        assert_eq!(parse_buffers(&buffers_text(&node.buffers)), Ok(node.buffers));
    }
}
