//! Export of latency distributions: an HdrHistogram interval log and an SVG plot.

use crate::format::time;
use bench::plot::{Axis, Line, draw};
use control_api::{Histogram as Buckets, OperationStats, Stats};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// An interval log under construction.
pub(crate) type Log<'a, W> = IntervalLogWriter<'a, 'a, W, V2DeflateSerializer>;

/// An HdrHistogram interval log that starts now. Latencies are in nanoseconds, interval maxima in
/// milliseconds, as in logs of other writers.
pub(crate) fn log_of<'a, W: Write>(
    out: &'a mut W,
    serializer: &'a mut V2DeflateSerializer,
    started: SystemTime,
) -> io::Result<Log<'a, W>> {
    IntervalLogWriterBuilder::new()
        // The first line of files from the Java HistogramLogWriter; readers may look for it.
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[perfctl stats: nanoseconds, by VOLUME/OPERATION]")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1e6)
        .begin_log_with(out, serializer)
}

/// The period covered by one result, relative to the start of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interval {
    start: Duration,
    length: Duration,
}

impl Interval {
    /// Advances to the next interval, which begins where this one ends.
    pub(crate) fn take(&mut self, period_ns: u64) {
        self.start += self.length;
        self.length = Duration::from_nanos(period_ns);
    }

    /// Appends the histograms of this interval to a log.
    pub(crate) fn append<W: Write>(self, stats: &Stats, log: &mut Log<'_, W>) -> io::Result<()> {
        for (volume, operation) in operations(stats) {
            let Some(histogram) = operation.histogram.as_ref().and_then(rebuilt) else { continue };
            // A tag ends at a comma or a space, which the names of deleted volumes contain.
            let tag = format!("{volume}/{}", operation.operation).replace([',', ' '], "_");
            log.write_histogram(&histogram, self.start, self.length, Tag::new(&tag))
                .map_err(|e| io::Error::other(format!("{e:?}")))?;
        }
        Ok(())
    }
}

fn operations(stats: &Stats) -> impl Iterator<Item = (&str, &OperationStats)> {
    stats.volumes.iter().flat_map(|v| v.operations.iter().map(|o| (v.volume.as_str(), o)))
}

/// The histogram with these buckets; `None` if its bounds are invalid.
fn rebuilt(buckets: &Buckets) -> Option<Histogram<u64>> {
    let bounds = (buckets.lowest_ns, buckets.highest_ns, buckets.significant_digits);
    let mut histogram = Histogram::new_with_bounds(bounds.0, bounds.1, bounds.2).ok()?;
    for &(ns, count) in &buckets.buckets {
        histogram.saturating_record_n(ns, count);
    }
    Some(histogram)
}

/// The cumulative latency distribution, one line per volume and operation.
pub(crate) fn plot(stats: &Stats) -> String {
    let mut shown: Vec<_> = operations(stats)
        .filter_map(|(volume, o)| Some((volume, o, o.histogram.as_ref()?)))
        .collect();
    let all = shown.len();
    shown.sort_by_key(|(_, operation, _)| std::cmp::Reverse(operation.count));
    shown.truncate(LINES_MAX);
    let names: Vec<_> = shown.iter().map(|(volume, o, _)| legend(volume, o)).collect();
    let lines: Vec<_> = names
        .iter()
        .zip(&shown)
        .map(|(name, (_, _, buckets))| Line { name, points: shares(buckets) })
        .collect();
    let mut title = format!("Command latency, interval {}", time(stats.period_ns));
    if all > LINES_MAX {
        title += &format!(" (top {LINES_MAX} of {all} by command count)");
    }
    let x = Axis { name: "latency, us", is_log: true };
    let y = Axis { name: "fraction of commands", is_log: false };
    draw(&title, x, y, &lines)
}

fn legend(volume: &str, o: &OperationStats) -> String {
    let (p50, p99) = (time(o.total.p50_ns), time(o.total.p99_ns));
    format!("{volume} {}: {} commands, p50 {p50}, p99 {p99}", o.operation, o.count)
}

/// Latency in microseconds, and the fraction of commands at or below it.
fn shares(buckets: &Buckets) -> Vec<(f64, f64)> {
    let all: u64 = buckets.buckets.iter().map(|bucket| bucket.1).sum();
    let mut so_far = 0;
    let shares = buckets.buckets.iter().map(|&(ns, count)| {
        so_far += count;
        (ns as f64 / 1000.0, so_far as f64 / all.max(1) as f64)
    });
    shares.collect()
}

/// More lines than this cannot be distinguished in a plot.
const LINES_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use control_api::{Percentiles, VolumeStats};
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{
        IntervalLogHistogram, IntervalLogIterator, LogEntry,
    };

    fn stats() -> Stats {
        let operation = OperationStats {
            operation: "read".into(),
            count: 4,
            bytes: 4 * 4096,
            total: Percentiles { p50_ns: 10_047, p99_ns: 1_003_519, ..Percentiles::default() },
            receive_to_submit: Percentiles::default(),
            device: Percentiles::default(),
            send: Percentiles::default(),
            histogram: Some(Buckets {
                lowest_ns: 64,
                highest_ns: 60_000_000_000,
                significant_digits: 2,
                buckets: vec![(10_047, 3), (1_003_519, 1)],
            }),
        };
        let volume = VolumeStats {
            volume: "my disk".into(),
            operations: vec![operation],
            ..Default::default()
        };
        Stats { period_ns: 2_000_000_000, volumes: vec![volume], ..Stats::default() }
    }

    #[test]
    fn a_log_is_read_back_with_its_tags_and_counts() {
        let (mut file, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut log = log_of(&mut file, &mut serializer, started).unwrap();
        let mut interval = Interval::default();
        for _ in 0..2 {
            interval.take(2_000_000_000);
            interval.append(&stats(), &mut log).unwrap();
        }
        drop(log);
        let text = String::from_utf8(file.clone()).unwrap();
        assert!(text.contains("#[Histogram log format version 1."), "{text}");
        let entries: Vec<_> = IntervalLogIterator::new(&file)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(i) => Some(i),
                LogEntry::BaseTime(_) | LogEntry::StartTime(_) => None,
            })
            .collect();
        let seen: Vec<_> = entries.iter().map(seen).collect();
        assert_eq!(seen, [("my_disk/read", 0, 2), ("my_disk/read", 2, 2)]);
        let packed = entries[0].encoded_histogram();
        let packed = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut packed.as_slice()).unwrap();
        assert_eq!((histogram.len(), histogram.max()), (4, 1_003_519));
        assert_eq!(histogram.value_at_quantile(0.75), 10_047);
    }

    fn seen<'a>(entry: &IntervalLogHistogram<'a>) -> (&'a str, u64, u64) {
        let tag = entry.tag().unwrap().as_str();
        (tag, entry.start_timestamp().as_secs(), entry.duration().as_secs())
    }

    #[test]
    fn a_plot_has_a_line_for_each_operation() {
        let svg = plot(&stats());
        assert!(svg.contains(">Command latency, interval 2.00s</text>"), "{svg}");
        assert!(svg.contains(">my disk read: 4 commands, p50 10.0us, p99 1.00ms</text>"), "{svg}");
        // The y axis ends at 1, so 0.75 is a quarter below the top.
        assert!(svg.contains("<polyline points=\"64.0,149.0 684.0,64.0\" "), "{svg}");
    }

    #[test]
    fn an_idle_node_has_an_empty_plot() {
        let stats = Stats { period_ns: 1, ..Stats::default() };
        let svg = plot(&stats);
        assert!(svg.starts_with("<svg ") && !svg.contains("polyline"), "{svg}");
    }
}
