//! An honest initiator that works beside an attack and records how it is served.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use initiator::Disk;

use super::Scale;
use super::attack::Place;
use crate::dialogue::pattern;

/// Every so many rounds it also logs in once more, and asks for something.
const ROUNDS_PER_LOGIN: u64 = 10;

/// Places on the disk that it uses, 256 KiB each.
const PLACES: u64 = 64;

/// An honest initiator with a disk of its own.
#[derive(Debug)]
pub struct Neighbour {
    place: Place,
    disk: Disk,
    /// What it has written last to each place, as the salt of a pattern.
    written: BTreeMap<u64, u8>,
    rounds: u64,
}

/// How long each of its requests took, by kind.
#[derive(Clone, Debug, Default)]
pub struct Service {
    times: BTreeMap<&'static str, Vec<Duration>>,
}

impl Neighbour {
    /// Logs in before an attack begins.
    pub fn log_in(place: &Place) -> Self {
        let disk = place.disk(0).unwrap_or_else(|error| panic!("the neighbour's disk: {error}"));
        Self { place: place.clone(), disk, written: BTreeMap::new(), rounds: 0 }
    }

    /// Works for some time. Each answer must be right.
    pub fn work(&mut self, time: Duration) -> Service {
        self.work_and(time, || {})
    }

    /// Works for some time, and does something else after each round.
    pub fn work_and(&mut self, time: Duration, mut something: impl FnMut()) -> Service {
        let mut service = Service::default();
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.one_round(&mut service);
            something();
        }
        service
    }

    fn one_round(&mut self, service: &mut Service) {
        self.rounds += 1;
        for (kind_of_write, kind_of_read, bytes) in
            [("write 4 KiB", "read 4 KiB", 4096), ("write 256 KiB", "read 256 KiB", 262_144)]
        {
            let place = self.rounds * 7 % PLACES;
            let salt = u8::try_from(self.rounds % 251).expect("it is below 251");
            let lba = place * 262_144 / u64::from(self.disk.block_bytes());
            let data = pattern(bytes, salt);
            let disk = &mut self.disk;
            let written = service.time(kind_of_write, || disk.write(lba, &data));
            assert!(written.is_good(), "{kind_of_write}: {written:?}");
            self.written.insert(lba, salt);
            let blocks = blocks_of(bytes, disk.block_bytes());
            let read = service.time(kind_of_read, || disk.read(lba, blocks));
            assert!(read.is_good() && read.data == data, "{kind_of_read} of what was written");
        }
        let session = self.disk.session();
        let answer = service.time("ping", || session.ping(b"still there?"));
        assert_eq!(answer, b"still there?");
        if self.rounds % ROUNDS_PER_LOGIN == 1 {
            let place = &self.place;
            let mut second = service.time("login", || place.session());
            assert_eq!(service.time("logout", || second.logout()), 0, "the answer to a logout");
        }
    }
}

fn blocks_of(bytes: usize, block_bytes: u32) -> u32 {
    u32::try_from(bytes).expect("a small number") / block_bytes
}

impl Service {
    /// Makes a request and records how long it took.
    ///
    /// # Panics
    /// When it fails.
    pub fn time<T, E: fmt::Display>(
        &mut self,
        kind: &'static str,
        request: impl FnOnce() -> Result<T, E>,
    ) -> T {
        let begin = Instant::now();
        let result = request();
        let time = begin.elapsed();
        let answer = result.unwrap_or_else(|error| {
            panic!("the neighbour's {kind} failed after {time:?}: {error}\nso far:\n{self}")
        });
        self.times.entry(kind).or_default().push(time);
        answer
    }

    /// How many requests were answered.
    pub fn count(&self) -> usize {
        self.times.values().map(Vec::len).sum()
    }

    /// The time that half of the requests of a kind took at most.
    ///
    /// # Panics
    /// There was none of that kind.
    pub fn median(&self, kind: &str) -> Duration {
        let mut times = self.times.get(kind).cloned().unwrap_or_default();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_else(|| panic!("no {kind} in\n{self}"))
    }

    /// Asserts that no request took longer than this.
    pub fn assert_is_within(&self, wait_max: Duration) {
        println!("{self}");
        for (kind, times) in &self.times {
            let (_, most) = figures(times);
            assert!(most <= wait_max, "longest {kind}: {most:?}\n{self}");
        }
    }

    /// Asserts that every kind of request was served as the scale wants it.
    pub fn assert_is_good(&self, scale: &Scale) {
        println!("{self}");
        for (kind, times) in &self.times {
            let (p99, most) = figures(times);
            assert!(p99 <= scale.p99_max, "99th percentile of {kind}: {p99:?}\n{self}");
            assert!(most <= scale.wait_max, "longest {kind}: {most:?}\n{self}");
        }
    }
}

/// The 99th percentile and the longest of some times. Of fewer than a hundred, the longest may be
/// an outlier: the one before counts.
fn figures(times: &[Duration]) -> (Duration, Duration) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let most = times.last().copied().unwrap_or_default();
    let rank = (times.len() * 99 / 100).min(times.len().saturating_sub(2));
    (times.get(rank).copied().unwrap_or_default(), most)
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, times) in &self.times {
            let (p99, most) = figures(times);
            let count = times.len();
            writeln!(formatter, "{kind:>14}: {count:6} requests, p99 {p99:?}, longest {most:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_leaves_one_in_a_hundred_out() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(figures(&times), (Duration::from_millis(199), Duration::from_millis(200)));
        let few: Vec<Duration> = [1, 2, 900].map(Duration::from_millis).to_vec();
        assert_eq!(figures(&few), (Duration::from_millis(2), Duration::from_millis(900)));
    }
}
