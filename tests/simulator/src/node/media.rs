//! The media of a node and the operations on them: those on files take effect in two halves at
//! random moments, end in any order, and sometimes fail or take very long. Memory ends at once.

use super::disk::Disk;
use super::pool::{Pool, Use};
use super::seat::Seat;
use crate::Canary;
use crate::plan::Plan;
use crate::rng::size;
use crate::run::Run;
use crate::scene::Scene;
use crate::sectors::{Mark, SECTOR, SECTOR_BYTES, ZEROS};
use shard::{Combination, IoResult, OpId};
use std::collections::BTreeMap;
use units::{BufSlice, VolumeId};
use volume::SpaceChange;

/// A place in a volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct InVolume {
    pub(super) volume: VolumeId,
    /// Bytes from the start of the volume.
    pub(super) offset: u64,
}

/// One operation that is to begin.
#[derive(Debug)]
pub(super) struct NewIo {
    pub(super) seat: usize,
    pub(super) op: OpId,
    pub(super) work: Work,
}

/// One operation that has begun: its number, and when its halves take effect.
pub(super) struct Started {
    pub(super) io: u64,
    /// Delays in nanoseconds.
    pub(super) half: u64,
    pub(super) end: u64,
}

/// One operation that has ended.
pub(super) struct Ended {
    pub(super) seat: usize,
    pub(super) op: OpId,
    pub(super) result: IoResult,
}

/// One operation under way.
#[derive(Debug)]
struct Io {
    seat: usize,
    op: OpId,
    work: Work,
    fate: Fate,
    /// Bytes of its first half.
    half: u64,
    /// Bytes that have taken effect.
    applied: u64,
    claim: u64,
    /// In nanoseconds.
    begun: u64,
}

/// What an operation does.
#[derive(Debug)]
pub(super) enum Work {
    Combine { by: Combination, first: BufSlice, second: BufSlice },
    Flush { disk: usize, sectors: Vec<usize> },
    QueryMap { disk: usize, offset: u64, len: u64 },
    Read { disk: usize, offset: u64, into: BufSlice },
    Space { disk: usize, change: SpaceChange, offset: u64, len: u64 },
    Write { disk: usize, offset: u64, from: BufSlice, durable: bool, bytes: Vec<u8> },
}

/// How it will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Failed,
    NoSpace,
}

/// A part of an operation, in bytes from its start.
#[derive(Clone, Copy, Debug)]
struct Part {
    from: u64,
    to: u64,
}

impl Part {
    const ALL: Self = Self { from: 0, to: u64::MAX };

    /// What of it lies within `len` bytes.
    fn within(self, len: u64) -> Self {
        let to = self.to.min(len);
        Self { from: self.from.min(to), to }
    }
}

/// Bytes that an operation accesses.
struct Range {
    disk: usize,
    offset: u64,
    len: u64,
}

impl Work {
    /// Bytes of a medium that it accesses; `None` where it does not access one, or all of it.
    fn range(&self) -> Option<Range> {
        let (disk, offset, len) = match *self {
            Self::Combine { .. } | Self::Flush { .. } => return None,
            Self::QueryMap { disk, offset, len } | Self::Space { disk, offset, len, .. } => {
                (disk, offset, len)
            }
            Self::Read { disk, offset, into } => (disk, offset, into.len.into()),
            Self::Write { disk, offset, from, .. } => (disk, offset, from.len.into()),
        };
        Some(Range { disk, offset, len })
    }

    /// Whether it writes data of the command `op`.
    fn writes(&self, op: u64) -> bool {
        let Self::Write { bytes, .. } = self else { return false };
        let first = bytes.get(..SECTOR).and_then(Mark::of);
        op != ZEROS && first.is_some_and(|m| m.value == op)
    }

    fn describe(&self) -> String {
        match self {
            Self::Combine { by, first, .. } => format!("{by:?} {first:?}"),
            Self::Flush { disk, .. } => format!("flush of volume {disk}"),
            Self::QueryMap { disk, offset, .. } => format!("map of volume {disk} at {offset}"),
            Self::Read { disk, offset, into } => {
                format!("read of volume {disk} at {offset}, {} bytes", into.len)
            }
            Self::Space { disk, change, offset, len } => {
                format!("{change:?} of volume {disk} at {offset}, {len} bytes")
            }
            Self::Write { disk, offset, from, durable, bytes } => {
                let value = bytes.get(..SECTOR).and_then(Mark::of).map(|m| m.value);
                let len = from.len;
                format!("write {value:?} to volume {disk} at {offset}, {len} bytes, {durable}")
            }
        }
    }
}

/// The media of a node.
pub(super) struct Media {
    disks: Vec<Disk>,
    ios: BTreeMap<u64, Io>,
}

impl Media {
    /// New media for the volumes of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        Self { disks: plan.volumes.iter().map(Disk::new).collect(), ios: BTreeMap::new() }
    }

    /// Whether a volume is in memory.
    pub(super) fn is_in_memory(&self, disk: usize) -> bool {
        self.disks[disk].is_in_memory()
    }

    /// Bytes that were left in a volume.
    pub(super) fn bytes(&self, at: InVolume, len: u32, run: &mut Run) -> Vec<u8> {
        let mut bytes = vec![0; size(len)];
        if self.contains(at, len) {
            self.disks[at.volume.place()].read(at.offset, &mut bytes);
        } else {
            run.fail(|| format!("{at:?} has no {len} bytes"));
        }
        bytes
    }

    /// Whether the volume has such bytes.
    pub(super) fn contains(&self, at: InVolume, len: u32) -> bool {
        at.offset + u64::from(len) <= self.disks[at.volume.place()].bytes()
    }

    /// A flush of what is in the cache of a medium now.
    pub(super) fn flush(&self, disk: usize) -> Work {
        Work::Flush { disk, sectors: self.disks[disk].dirty() }
    }

    /// Carries out an operation on a memory volume, or on none; `None` for others.
    pub(super) fn end_at_once(
        &mut self,
        new: &NewIo,
        seats: &mut [Seat],
        run: &mut Run,
    ) -> Option<IoResult> {
        let pool = &mut seats[new.seat].pool;
        match &new.work {
            // As in production: no socket and no medium takes part in it.
            Work::Combine { first, second, .. } => {
                let results = [pool.check(*first, Use::Reads), pool.check(*second, Use::Writes)];
                results.into_iter().for_each(|result| run.check(result));
                Some(self.result_of(&new.work, pool))
            }
            Work::Flush { disk, .. } => self.is_in_memory(*disk).then_some(IoResult::Done),
            Work::QueryMap { disk, len, .. } => {
                let whole = IoResult::Mapped { len: *len, allocated: true };
                self.is_in_memory(*disk).then_some(whole)
            }
            Work::Read { disk, .. } | Work::Space { disk, .. } | Work::Write { disk, .. } => {
                if !self.is_in_memory(*disk) {
                    return None;
                }
                if !self.is_inside(&new.work) {
                    return Some(IoResult::Failed(EIO));
                }
                self.take_effect(&new.work, Part::ALL, pool, run);
                Some(IoResult::Done)
            }
        }
    }

    /// Begins an operation.
    pub(super) fn start(&mut self, new: NewIo, seats: &mut [Seat], run: &mut Run) -> Started {
        let NewIo { seat, op, work } = new;
        let drawn = self.draw_fate(&work, run);
        let (claim, begun) = (run.tick(), run.now);
        if self.ios.values().any(|io| io.seat == seat && io.op == op) {
            run.fail(|| format!("{op:?} names two operations at once"));
        }
        claim_for(&work, claim, &mut seats[seat].pool, run);
        let len = work.range().map_or(0, |range| range.len);
        let half = run.rng.below(len / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let fate = if self.is_inside(&work) { drawn } else { Fate::Failed };
        run.trace(|| format!("seat {seat}: {op:?} begins: {} ({fate:?})", work.describe()));
        self.ios.insert(claim, Io { seat, op, work, fate, half, applied: 0, claim, begun });
        let hangs = run.is_chaos() && run.rng.chance(run.plan.faults.hang);
        let most = if hangs { HANG_NS } else { run.rng.pick(&[5_000, 100_000, 1_000_000]) };
        let end = run.rng.below(most);
        Started { io: claim, half: run.rng.below(end + 1), end }
    }

    fn draw_fate(&self, work: &Work, run: &mut Run) -> Fate {
        if !run.is_chaos() {
            return Fate::Done;
        }
        let grows = matches!(work, Work::Write { .. } | Work::Space { .. });
        if grows && run.rng.chance(run.plan.faults.no_space) {
            return Fate::NoSpace;
        }
        if run.rng.chance(run.plan.faults.io_error) { Fate::Failed } else { Fate::Done }
    }

    /// Whether the medium has the bytes that an operation accesses.
    fn is_inside(&self, work: &Work) -> bool {
        let has = |range: Range| range.offset + range.len <= self.disks[range.disk].bytes();
        work.range().is_none_or(has)
    }

    /// The first half of an operation takes effect.
    pub(super) fn half(&mut self, io: u64, seats: &mut [Seat], run: &mut Run) {
        let Some(mut io) = self.ios.remove(&io) else { return };
        let part = Part { from: 0, to: io.half };
        self.take_effect(&io.work, part, &mut seats[io.seat].pool, run);
        io.applied = io.half;
        self.ios.insert(io.claim, io);
    }

    /// The rest of an operation takes effect, and it ends.
    pub(super) fn end(&mut self, io: u64, seats: &mut [Seat], run: &mut Run) -> Option<Ended> {
        let io = self.ios.remove(&io)?;
        let Io { seat, op, .. } = io;
        let pool = &mut seats[seat].pool;
        if io.fate == Fate::Done {
            let part = Part { from: io.half, to: u64::MAX };
            self.take_effect(&io.work, part, pool, run);
        }
        release_after(&io, pool, run);
        let result = match io.fate {
            Fate::Failed => IoResult::Failed(EIO),
            Fate::NoSpace => IoResult::NoSpace,
            Fate::Done => self.result_of(&io.work, pool),
        };
        run.trace(|| format!("seat {seat}: {op:?} ends: {} {result:?}", io.work.describe()));
        Some(Ended { seat, op, result })
    }

    fn result_of(&self, work: &Work, pool: &mut Pool) -> IoResult {
        match work {
            Work::Combine { by, first, second } => {
                let first = pool.bytes(*first).to_vec();
                by.apply(&first, pool.bytes(*second))
            }
            Work::QueryMap { disk, offset, len } => {
                let (len, allocated) = self.disks[*disk].map(*offset, *len);
                IoResult::Mapped { len, allocated }
            }
            Work::Flush { .. } | Work::Read { .. } | Work::Space { .. } | Work::Write { .. } => {
                IoResult::Done
            }
        }
    }

    /// A part of an operation takes effect.
    fn take_effect(&mut self, work: &Work, part: Part, pool: &mut Pool, run: &mut Run) {
        match work {
            Work::Combine { .. } | Work::QueryMap { .. } => {}
            Work::Flush { disk, sectors } => {
                let is_end = part.to == u64::MAX;
                if is_end && run.plan.canary != Some(Canary::FlushIsDropped) {
                    self.disks[*disk].flushed(sectors);
                }
            }
            Work::Read { disk, offset, into } => {
                let Part { from, to } = part.within(into.len.into());
                let bytes = pool.bytes(*into);
                self.disks[*disk].read(offset + from, &mut bytes[size(from)..size(to)]);
            }
            Work::Space { disk, change, offset, len } => {
                let Part { from, to } = part.within(*len);
                let allocated = *change == SpaceChange::Zero;
                self.disks[*disk].zero(offset + from, to - from, allocated);
            }
            Work::Write { disk, offset, durable, bytes, .. } => {
                let Part { from, to } = part.within(bytes.len() as u64);
                let disk = &mut self.disks[*disk];
                let Some(at) = astray(offset + from, to - from, disk.bytes(), run) else { return };
                disk.write(at, &bytes[size(from)..size(to)], *durable);
            }
        }
    }

    /// An operation under way that writes data of a command, as text; `is_own`: not what another
    /// one writes back.
    pub(super) fn write_of(&self, op: u64, is_own: impl Fn(usize, u64) -> bool) -> Option<String> {
        let is_own = |work: &Work| {
            let range = work.range();
            range.is_some_and(|r| is_own(r.disk, r.offset / SECTOR_BYTES))
        };
        let mut ios = self.ios.values();
        ios.find(|io| io.work.writes(op) && is_own(&io.work)).map(|io| io.work.describe())
    }

    /// The power fails: what was under way is written in part, and caches are lost.
    pub(super) fn lose_power(&mut self, seats: &mut [Seat], scene: &mut Scene) {
        let Scene { run, ledger, .. } = scene;
        for io in std::mem::take(&mut self.ios).into_values() {
            let happens = io.fate == Fate::Done && run.rng.chance(500);
            if happens && !matches!(io.work, Work::Read { .. }) {
                let part = Part { from: io.applied, to: run.rng.below(64) * SECTOR_BYTES };
                self.take_effect(&io.work, part, &mut seats[io.seat].pool, run);
            }
        }
        let now = run.tick();
        for (volume, disk) in self.disks.iter_mut().enumerate() {
            disk.crash(&mut run.rng);
            if disk.is_in_memory() {
                ledger.history.lost(volume, now);
            } else {
                let result = ledger.history.crashed(volume, disk.contents(), now);
                run.check(result);
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ios.is_empty()
    }

    /// How long the oldest operation has been under way.
    pub(super) fn oldest_ns(&self, now: u64) -> u64 {
        self.ios.values().map(|io| now - io.begun).max().unwrap_or(0)
    }

    /// What has not ended.
    pub(super) fn outstanding(&self) -> String {
        self.ios.values().take(8).map(|io| format!("\n  {}", io.work.describe())).collect()
    }
}

fn claim_for(work: &Work, claim: u64, pool: &mut Pool, run: &mut Run) {
    let result = match work {
        Work::Combine { .. } | Work::Flush { .. } | Work::QueryMap { .. } | Work::Space { .. } => {
            Ok(())
        }
        Work::Read { into, .. } => pool.claim(*into, Use::Writes, claim),
        Work::Write { from, .. } => pool.claim(*from, Use::Reads, claim),
    };
    run.check(result);
}

fn release_after(io: &Io, pool: &mut Pool, run: &mut Run) {
    match &io.work {
        Work::Combine { .. } | Work::Flush { .. } | Work::QueryMap { .. } | Work::Space { .. } => {}
        Work::Read { into, .. } => pool.release(into.buf, io.claim),
        Work::Write { from, bytes, .. } => {
            let same = pool.bytes(*from) == &bytes[..];
            pool.release(from.buf, io.claim);
            if !same {
                run.fail(|| format!("the buffer has changed under a {}", io.work.describe()));
            }
        }
    }
}

/// Where a write goes: canaries lead some of them astray, or nowhere.
fn astray(at: u64, len: u64, end: u64, run: &mut Run) -> Option<u64> {
    match run.plan.canary {
        Some(Canary::WriteIsLost) if run.rng.chance(100) => None,
        Some(Canary::WriteGoesAstray) if run.rng.chance(100) => {
            let at = (at + 8 * SECTOR_BYTES) % end;
            Some(if at + len > end { 0 } else { at })
        }
        Some(
            Canary::AnswerComesTwice
            | Canary::AnswerIsLost
            | Canary::FlushIsDropped
            | Canary::WriteGoesAstray
            | Canary::WriteIsLost,
        )
        | None => Some(at),
    }
}

/// What an operation fails with.
const EIO: i32 = 5;

/// How long an operation that hangs takes at most.
const HANG_NS: u64 = 30_000_000_000;
