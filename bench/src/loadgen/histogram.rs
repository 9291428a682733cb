//! Latencies of one kind of command, from 100 ns to 100 s with three digits.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// Latencies as they are recorded.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// What is told of latencies, in nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Summary {
    /// Commands.
    pub count: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// 90 of 100 were at most this long.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// The distribution: latency in nanoseconds and the share of commands at most that long.
    pub cdf: Vec<(u64, f64)>,
}

impl Latencies {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(100, NS_MAX, 3)?))
    }

    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        let mut cdf: Vec<(u64, f64)> = self
            .0
            .iter_quantiles(4)
            .map(|step| (step.value_iterated_to(), step.quantile()))
            .collect();
        cdf.dedup_by_key(|point| point.0);
        Summary {
            count: self.0.len(),
            mean_ns: self.0.mean(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: self.0.max(),
            cdf,
        }
    }

    /// The distribution as HdrHistogram's own tools print and plot it, in microseconds.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> Result<()> {
        let percentile = "Percentile";
        writeln!(
            out,
            "{:>12} {percentile:>14} {:>10} {:>14}\n",
            "Value", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut count = 0;
        for step in self.0.iter_quantiles(5) {
            let (value, quantile) = (step.value_iterated_to() as f64 / 1000.0, step.quantile());
            count += step.count_since_last_iteration();
            writeln!(
                out,
                "{value:>12.3} {quantile:>14.12} {count:>10} {:>14.2}",
                1.0 / (1.0 - quantile)
            )?;
        }
        let (mean, deviation) = (self.0.mean() / 1000.0, self.0.stdev() / 1000.0);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let max = self.0.max() as f64 / 1000.0;
        writeln!(out, "#[Max     = {max:>12.3}, Total count    = {:>12}]", self.0.len())?;
        writeln!(
            out,
            "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
            self.0.buckets(),
            self.0.distinct_values()
        )?;
        Ok(())
    }
}

/// What is longer counts as this long.
const NS_MAX: u64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_values() {
        let mut latencies = Latencies::new().unwrap();
        for us in 1..=1000u64 {
            latencies.record(us * 1000);
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1000);
        // Three digits of precision.
        assert!((499_000..=501_000).contains(&summary.p50_ns), "{}", summary.p50_ns);
        assert!((989_000..=991_000).contains(&summary.p99_ns), "{}", summary.p99_ns);
        assert!(summary.cdf.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1));
    }

    #[test]
    fn the_text_counts_up_to_all_values() {
        let mut latencies = Latencies::new().unwrap();
        for us in 1..=4u64 {
            latencies.record(us * 1000);
        }
        let mut text = Vec::new();
        latencies.write_text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
        let last = lines.take_while(|line| !line.starts_with('#')).last();
        assert_eq!(last, Some("       4.031 1.000000000000          4            inf"));
    }

    #[test]
    fn a_value_beyond_the_range_counts_as_the_longest() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(u64::MAX);
        assert!(latencies.summary().max_ns >= 99_000_000_000);
    }
}
