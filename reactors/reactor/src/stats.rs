//! What one reactor has done: latency by volume, operation and stage, and counters of the loop.
//!
//! A [`Recorder`] belongs to one thread, so there is nothing atomic in it. Recording a sample
//! allocates only when a volume meets an operation for the first time. A [`Snapshot`] is a copy
//! that travels to the control thread; there, snapshots of several reactors are merged, and the
//! difference of two of them is what happened in between.

mod faults;
mod sessions;

pub use faults::Faults;
pub use sessions::SessionCounters;

use hdrhistogram::Histogram;
use shard::{Operation, Sample};
use std::time::Duration;
use units::{Instant, VolumeId, len_u32, limits, nanoseconds};

/// The stages in which the time of a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the command's header to the answer's last byte handed to the kernel.
    Total,
    /// From the command's header to its first backend operation.
    ReceiveToSubmit,
    /// From the first backend operation to the end of the last one.
    Device,
    /// From there to the answer handed to the kernel.
    Send,
}

impl Stage {
    /// All stages, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Total, Self::ReceiveToSubmit, Self::Device, Self::Send];

    /// The stage's place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How long something took, as a histogram and a sum.
///
/// Two significant digits keep a histogram at 24 KiB; a percentile is at most 1 % off.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    sum_ns: u64,
}

impl Latency {
    /// Times below this are told apart no further, in nanoseconds.
    pub const SHORTEST_NS: u64 = 64;
    /// Times above this are recorded as this, in nanoseconds: no initiator waits longer.
    pub const LONGEST_NS: u64 = 60_000_000_000;
    /// Digits to which a time is kept.
    pub const SIGNIFICANT_DIGITS: u8 = 2;

    /// An empty one.
    pub fn new() -> Self {
        // It cannot fail: the bounds are constants that meet the rules of the constructor
        // (low >= 1, high >= 2 * low, at most 5 digits).
        let histogram = Histogram::new_with_bounds(
            Self::SHORTEST_NS,
            Self::LONGEST_NS,
            Self::SIGNIFICANT_DIGITS,
        )
        .expect("the bounds are valid");
        Self { histogram, sum_ns: 0 }
    }

    fn record(&mut self, took: Duration, count: u64) {
        let ns = nanoseconds(took).min(Self::LONGEST_NS);
        self.histogram.saturating_record_n(ns, count);
        self.sum_ns = self.sum_ns.saturating_add(ns.saturating_mul(count));
    }

    fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so that every value of one fits the other.
        let merged = self.histogram.add(&other.histogram);
        debug_assert!(merged.is_ok());
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        // An earlier state of the same histogram has no count that this one has not; another
        // histogram may have, and then all of this one is the difference.
        if difference.histogram.subtract(&earlier.histogram).is_err() {
            return self.clone();
        }
        difference.sum_ns = self.sum_ns.saturating_sub(earlier.sum_ns);
        difference
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// What they took together, in nanoseconds.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The time in nanoseconds that this share of them did not exceed: 0.99 is p99. Zero where
    /// there were none.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.value_at_quantile(share) }
    }

    /// The buckets that are not empty, in ascending order: their longest time in nanoseconds,
    /// and how many there were.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.histogram.iter_recorded().map(|b| (b.value_iterated_to(), b.count_at_value()))
    }

    /// The longest time in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.max() }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// What one kind of command did on one volume.
#[derive(Clone, Debug, Default)]
pub struct OperationStats {
    count: u64,
    bytes: u64,
    stages: [Latency; Stage::ALL.len()],
}

impl OperationStats {
    fn record(&mut self, sample: &Sample, count: u64, sent_at: Instant) {
        self.count += count;
        self.bytes += u64::from(sample.bytes).saturating_mul(count);
        let took = [
            sent_at.since(sample.received_at),
            sample.submitted_at.since(sample.received_at),
            sample.completed_at.since(sample.submitted_at),
            sent_at.since(sample.completed_at),
        ];
        for (stage, took) in self.stages.iter_mut().zip(took) {
            stage.record(took, count);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            mine.merge(theirs);
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut difference = Self {
            count: self.count.saturating_sub(earlier.count),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            stages: Default::default(),
        };
        for ((slot, mine), theirs) in
            difference.stages.iter_mut().zip(&self.stages).zip(&earlier.stages)
        {
            *slot = mine.since(theirs);
        }
        difference
    }

    /// How many commands.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Bytes that they moved.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long one stage of them took.
    pub const fn stage(&self, stage: Stage) -> &Latency {
        &self.stages[stage.index()]
    }
}

/// What was done on one volume, by kind of command.
#[derive(Clone, Debug)]
pub struct VolumeStats {
    volume: VolumeId,
    operations: [Option<Box<OperationStats>>; Operation::ALL.len()],
    /// Commands that failed, which the operations do not count.
    faults: Option<Box<Faults>>,
}

impl VolumeStats {
    fn new(volume: VolumeId) -> Self {
        Self { volume, operations: Default::default(), faults: None }
    }

    /// Makes room for the first volumes of all places up to this one's, and returns its own. `None`
    /// where a newer volume has the place: what is late is not counted as that one's.
    fn at(table: &mut Vec<Self>, volume: VolumeId) -> Option<&mut Self> {
        let places = len_u32(table.len())..=len_u32(volume.place());
        table.extend(places.map(|place| Self::new(VolumeId::first_at(place))));
        let found = &mut table[volume.place()];
        if found.volume < volume {
            *found = Self::new(volume);
        }
        (found.volume == volume).then_some(found)
    }

    /// What one kind of command did; `None` before its first.
    pub fn operation(&self, operation: Operation) -> Option<&OperationStats> {
        self.operations[operation.index()].as_deref()
    }

    /// Commands that failed; `None` before the first one.
    pub fn faults(&self) -> Option<&Faults> {
        self.faults.as_deref()
    }

    fn is_used(&self) -> bool {
        self.faults.is_some() || self.operations.iter().any(Option::is_some)
    }

    fn merge(&mut self, other: &Self) {
        assert_eq!(self.volume, other.volume, "statistics of different volumes");
        for (mine, theirs) in self.operations.iter_mut().zip(&other.operations) {
            match (mine.as_mut(), theirs) {
                (Some(mine), Some(theirs)) => mine.merge(theirs),
                (None, Some(theirs)) => *mine = Some(theirs.clone()),
                (_, None) => {}
            }
        }
        if let Some(theirs) = &other.faults {
            self.faults.get_or_insert_default().merge(theirs);
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        if self.volume != earlier.volume {
            return self.clone();
        }
        let mut difference = Self::new(self.volume);
        for ((slot, mine), theirs) in
            difference.operations.iter_mut().zip(&self.operations).zip(&earlier.operations)
        {
            *slot = match (mine, theirs) {
                (Some(mine), Some(theirs)) => Some(Box::new(mine.since(theirs))),
                (Some(mine), None) => Some(mine.clone()),
                (None, _) => None,
            };
        }
        difference.faults = match (&self.faults, &earlier.faults) {
            (Some(mine), Some(theirs)) => Some(Box::new(mine.as_ref().clone().since(theirs))),
            (mine, None) => mine.clone(),
            (None, Some(_)) => None,
        };
        difference
    }
}

/// What the loop itself counts. All of them only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload bytes that this process copied: zero-copy is a measured claim.
    pub bytes_copied: u64,
    /// Bytes received from initiators.
    pub recv_bytes: u64,
    /// Bytes sent to initiators.
    pub send_bytes: u64,
    /// PDUs received.
    pub pdus_received: u64,
    /// PDUs sent.
    pub pdus_sent: u64,
    /// Nanoseconds in turns that found something to do.
    pub busy_ns: u64,
    /// Nanoseconds in turns that found nothing, sleep included.
    pub idle_ns: u64,
    /// Times that the ring was entered.
    pub syscalls: u64,
}

impl Counters {
    fn merge(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    fn since(mut self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub);
        self
    }

    /// The one list of all counters: a new one cannot be merged but not subtracted.
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        let Self {
            bytes_copied,
            recv_bytes,
            send_bytes,
            pdus_received,
            pdus_sent,
            busy_ns,
            idle_ns,
            syscalls,
        } = self;
        for (mine, theirs) in [
            (bytes_copied, other.bytes_copied),
            (recv_bytes, other.recv_bytes),
            (send_bytes, other.send_bytes),
            (pdus_received, other.pdus_received),
            (pdus_sent, other.pdus_sent),
            (busy_ns, other.busy_ns),
            (idle_ns, other.idle_ns),
            (syscalls, other.syscalls),
        ] {
            *mine = with(*mine, theirs);
        }
    }
}

/// The statistics of one reactor, as they grow.
#[derive(Debug)]
pub struct Recorder {
    /// What the loop counts; it adds to them directly.
    pub counters: Counters,
    /// Sessions that came and went; the reactor adds to them directly.
    pub sessions: SessionCounters,
    volumes: Vec<VolumeStats>,
}

impl Recorder {
    /// An empty recorder. The table of volumes has its full size from the start; histograms
    /// come with a volume's first command of a kind.
    pub fn new() -> Self {
        let volumes = Vec::with_capacity(limits::VOLUMES_MAX);
        Self { counters: Counters::default(), sessions: SessionCounters::default(), volumes }
    }

    /// Records `count` commands of which all the same is known, and whose answers were handed to
    /// the kernel at `sent_at`.
    pub fn record(&mut self, sample: &Sample, count: u64, sent_at: Instant) {
        let place = sample.volume.place();
        let is_known = self.volumes.get(place).is_some_and(|v| v.volume == sample.volume);
        if !is_known && VolumeStats::at(&mut self.volumes, sample.volume).is_none() {
            // Answers of a removed volume may leave after its place has been given away.
            return;
        }
        let volume = &mut self.volumes[place];
        if let Some(fault) = sample.fault {
            // A command that fails at once is not a fast one.
            return volume.faults.get_or_insert_default().add(sample.operation, fault, count);
        }
        volume.operations[sample.operation.index()]
            .get_or_insert_default()
            .record(sample, count, sent_at);
    }

    /// A copy of all of it. It copies about 100 KiB for each operation of each volume, so it is
    /// for the rare question of a person, not for every turn.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { counters: self.counters, sessions: self.sessions, volumes: self.volumes.clone() }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// A copy of the statistics of one reactor or, merged, of several.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    counters: Counters,
    sessions: SessionCounters,
    volumes: Vec<VolumeStats>,
}

impl Snapshot {
    /// What the loop counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sessions that came and went.
    pub const fn sessions(&self) -> &SessionCounters {
        &self.sessions
    }

    /// The volumes that saw a command, with what was done on them.
    pub fn volumes(&self) -> impl Iterator<Item = (VolumeId, &VolumeStats)> {
        self.volumes.iter().filter(|v| v.is_used()).map(|v| (v.volume, v))
    }

    /// Adds what another reactor did.
    pub fn merge(&mut self, other: &Self) {
        self.counters.merge(&other.counters);
        self.sessions.merge(&other.sessions);
        for theirs in &other.volumes {
            if let Some(mine) = VolumeStats::at(&mut self.volumes, theirs.volume) {
                mine.merge(theirs);
            }
        }
    }

    /// What happened between `earlier` and this snapshot of the same reactors.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = |(place, mine): (usize, &VolumeStats)| match earlier.volumes.get(place) {
            Some(earlier) => mine.since(earlier),
            None => mine.clone(),
        };
        Self {
            counters: self.counters.since(&earlier.counters),
            sessions: self.sessions.since(&earlier.sessions),
            volumes: self.volumes.iter().enumerate().map(since).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
