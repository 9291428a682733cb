//! Backend operations: they take effect in two halves at random moments, end in any order, and
//! sometimes fail or take very long.

use crate::Canary;
use crate::pool::Use;
use crate::rng::size;
use crate::sectors::{Mark, SECTOR, SECTOR_BYTES, ZEROS};
use crate::world::{Event, Stage, World};
use shard::{Action, IoResult, OpId};
use units::BufSlice;
use volume::{BlockRequest, Extent, SpaceChange};

/// One backend operation under way.
#[derive(Debug)]
pub(crate) struct Io {
    seat: usize,
    op: OpId,
    work: Work,
    fate: Fate,
    /// Bytes of its first half.
    half: u64,
    /// Bytes that have taken effect.
    applied: u64,
    claim: u64,
}

#[derive(Debug)]
enum Work {
    Compare { expected: BufSlice, actual: BufSlice },
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

impl Io {
    /// Whether it writes data of `op`.
    pub(crate) fn writes(&self, op: u64) -> bool {
        let Work::Write { bytes, .. } = &self.work else { return false };
        let first = bytes.get(..SECTOR).and_then(Mark::of);
        op != ZEROS && first.is_some_and(|m| m.value == op)
    }

    pub(crate) fn describe(&self) -> String {
        match &self.work {
            Work::Compare { expected, .. } => format!("compare {expected:?}"),
            Work::Flush { disk, .. } => format!("flush of volume {disk}"),
            Work::QueryMap { disk, offset, .. } => format!("map of volume {disk} at {offset}"),
            Work::Read { disk, offset, into } => {
                format!("read of volume {disk} at {offset}, {} bytes", into.len)
            }
            Work::Space { disk, change, offset, len } => {
                format!("{change:?} of volume {disk} at {offset}, {len} bytes")
            }
            Work::Write { disk, offset, from, durable, bytes } => {
                let value = bytes.get(..SECTOR).and_then(Mark::of).map(|m| m.value);
                let len = from.len;
                format!("write {value:?} to volume {disk} at {offset}, {len} bytes, {durable}")
            }
        }
    }
}

impl World {
    pub(crate) fn start_io(&mut self, seat: usize, action: Action) {
        let Some((op, work)) = self.work_of(seat, action) else { return };
        let fate = self.fate_of(&work);
        let claim = self.tick();
        let (bytes, len) = self.extent_of(&work);
        if self.ios.values().any(|io| io.seat == seat && io.op == op) {
            self.fail(|_| format!("{op:?} names two operations at once"));
        }
        self.claim_for(seat, &work, claim);
        let half = self.rng.below(len / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let fate = if bytes { fate } else { Fate::Failed };
        let io = Io { seat, op, work, fate, half, applied: 0, claim };
        self.trace(|_| format!("seat {seat}: {op:?} begins: {} ({fate:?})", io.describe()));
        self.ios.insert(claim, io);
        let (first, second) = self.io_delays();
        self.after(first, Event::IoHalf { io: claim });
        self.after(second, Event::IoEnd { io: claim });
    }

    fn work_of(&mut self, seat: usize, action: Action) -> Option<(OpId, Work)> {
        Some(match action {
            Action::Compare { op, expected, actual } => (op, Work::Compare { expected, actual }),
            Action::Io { op, volume, request } => {
                (op, self.work_of_request(seat, usize::from(volume.0), request))
            }
            Action::Close(_)
            | Action::EnterFullFeaturePhase { .. }
            | Action::HandOver { .. }
            | Action::Post { .. }
            | Action::Replicate { .. }
            | Action::Return { .. }
            | Action::Send { .. }
            | Action::ZeroFill(_) => return None,
        })
    }

    fn work_of_request(&mut self, seat: usize, disk: usize, request: BlockRequest) -> Work {
        match request {
            BlockRequest::Flush => Work::Flush { disk, sectors: self.disks[disk].dirty() },
            BlockRequest::MapQuery(Extent { offset, len }) => Work::QueryMap { disk, offset, len },
            BlockRequest::Read { offset, into, .. } => Work::Read { disk, offset, into },
            BlockRequest::Space { change, range: Extent { offset, len } } => {
                Work::Space { disk, change, offset, len }
            }
            BlockRequest::Write { offset, from, durable, .. } => {
                let bytes = self.seats[seat].pool.bytes(from).to_vec();
                self.check_write(disk, offset, &bytes);
                Work::Write { disk, offset, from, durable, bytes }
            }
        }
    }

    /// What is written is whole sectors of a write that may still happen, where they belong.
    fn check_write(&mut self, disk: usize, offset: u64, bytes: &[u8]) {
        if !offset.is_multiple_of(SECTOR_BYTES) || !bytes.len().is_multiple_of(SECTOR) {
            return self.fail(|_| format!("a write of {} bytes at {offset}", bytes.len()));
        }
        for (sector, bytes) in (offset / SECTOR_BYTES..).zip(bytes.chunks(SECTOR)) {
            let Some(mark) = Mark::of(bytes) else {
                return self.fail(|_| {
                    format!(
                        "sector {sector} of volume {disk} is to be written with no data: {:?}",
                        &bytes[..32]
                    )
                });
            };
            if !mark.belongs_at(sector) {
                return self.fail(|_| format!("{mark:?} is to be written to sector {sector}"));
            }
            if mark.value != ZEROS && self.ended.get(size(mark.value)) != Some(&false) {
                return self.fail(|_| format!("{mark:?} is to be written, but it has ended"));
            }
        }
    }

    fn fate_of(&mut self, work: &Work) -> Fate {
        if self.stage != Stage::Chaos {
            return Fate::Done;
        }
        let grows = matches!(work, Work::Write { .. } | Work::Space { .. });
        if grows && self.rng.chance(self.plan.faults.no_space) {
            return Fate::NoSpace;
        }
        let compares = matches!(work, Work::Compare { .. });
        if !compares && self.rng.chance(self.plan.faults.io_error) {
            return Fate::Failed;
        }
        Fate::Done
    }

    /// Whether the bytes are there at all, and how many.
    fn extent_of(&self, work: &Work) -> (bool, u64) {
        let (disk, offset, len) = match work {
            Work::Compare { .. } | Work::Flush { .. } => return (true, 0),
            Work::QueryMap { disk, offset, len } | Work::Space { disk, offset, len, .. } => {
                (*disk, *offset, *len)
            }
            Work::Read { disk, offset, into } => (*disk, *offset, u64::from(into.len)),
            Work::Write { disk, offset, from, .. } => (*disk, *offset, u64::from(from.len)),
        };
        (offset + len <= self.disks[disk].bytes(), len)
    }

    fn claim_for(&mut self, seat: usize, work: &Work, claim: u64) {
        let pool = &mut self.seats[seat].pool;
        let results = match work {
            Work::Compare { expected, actual } => {
                let first = pool.claim(*expected, Use::Reads, claim);
                vec![first, pool.claim(*actual, Use::Reads, claim)]
            }
            Work::Flush { .. } | Work::QueryMap { .. } | Work::Space { .. } => Vec::new(),
            Work::Read { into, .. } => vec![pool.claim(*into, Use::Writes, claim)],
            Work::Write { from, .. } => vec![pool.claim(*from, Use::Reads, claim)],
        };
        for result in results {
            self.check(result);
        }
    }

    fn io_delays(&mut self) -> (u64, u64) {
        let hangs = self.stage == Stage::Chaos && self.rng.chance(self.plan.faults.hang);
        let most = if hangs { 30_000_000_000 } else { self.rng.pick(&[5_000, 100_000, 1_000_000]) };
        let second = self.rng.below(most);
        (self.rng.below(second + 1), second)
    }

    /// The first half takes effect.
    pub(crate) fn io_half(&mut self, id: u64) {
        if let Some(mut io) = self.ios.remove(&id) {
            self.take_effect(&io, 0, io.half);
            io.applied = io.half;
            self.ios.insert(id, io);
        }
    }

    /// The rest takes effect, and the shard hears of it.
    pub(crate) fn io_end(&mut self, id: u64) {
        let Some(mut io) = self.ios.remove(&id) else { return };
        if io.fate == Fate::Done {
            self.take_effect(&io, io.half, u64::MAX);
        }
        self.release_after(&mut io);
        let result = self.result_of(&io);
        let (seat, op) = (io.seat, io.op);
        self.trace(|_| format!("seat {seat}: {op:?} ends: {} {result:?}", io.describe()));
        self.shard(seat, |shard, now, actions| shard.handle_io(now, op, result, actions));
    }

    fn release_after(&mut self, io: &mut Io) {
        let pool = &mut self.seats[io.seat].pool;
        match &io.work {
            Work::Compare { expected, actual } => {
                pool.release(expected.buf, io.claim);
                pool.release(actual.buf, io.claim);
            }
            Work::Flush { .. } | Work::QueryMap { .. } | Work::Space { .. } => {}
            Work::Read { into, .. } => pool.release(into.buf, io.claim),
            Work::Write { from, bytes, .. } => {
                let same = pool.bytes(*from) == &bytes[..];
                pool.release(from.buf, io.claim);
                if !same {
                    let text = io.describe();
                    self.fail(|_| format!("the buffer has changed under a {text}"));
                }
            }
        }
    }

    fn result_of(&mut self, io: &Io) -> IoResult {
        match io.fate {
            Fate::Failed => return IoResult::Failed(5),
            Fate::NoSpace => return IoResult::NoSpace,
            Fate::Done => {}
        }
        match &io.work {
            Work::Compare { expected, actual } => {
                let pool = &mut self.seats[io.seat].pool;
                let expected = pool.bytes(*expected).to_vec();
                let differs = expected.iter().zip(pool.bytes(*actual)).position(|(a, b)| a != b);
                differs.map_or(IoResult::Done, |at| IoResult::Differs { at: crate::rng::word(at) })
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

    /// What of an operation lies between two offsets of it takes effect.
    fn take_effect(&mut self, io: &Io, from: u64, to: u64) {
        match &io.work {
            Work::Compare { .. } | Work::QueryMap { .. } => {}
            Work::Flush { disk, sectors } => {
                let is_end = to == u64::MAX;
                if is_end && self.plan.canary != Some(Canary::FlushIsDropped) {
                    self.disks[*disk].flushed(sectors);
                }
            }
            Work::Read { disk, offset, into } => {
                let (from, to) = clip(from, to, into.len.into());
                let bytes = self.seats[io.seat].pool.bytes(*into);
                self.disks[*disk].read(offset + from, &mut bytes[size(from)..size(to)]);
            }
            Work::Space { disk, change, offset, len } => {
                let (from, to) = clip(from, to, *len);
                let allocated = *change == SpaceChange::Zero;
                self.disks[*disk].zero(offset + from, to - from, allocated);
            }
            Work::Write { disk, offset, durable, bytes, .. } => {
                let (from, to) = clip(from, to, bytes.len() as u64);
                self.write_part(*disk, *offset, (from, to), (bytes, *durable));
            }
        }
    }

    fn write_part(
        &mut self,
        disk: usize,
        offset: u64,
        (from, to): (u64, u64),
        (bytes, durable): (&[u8], bool),
    ) {
        let mut at = offset + from;
        match self.plan.canary {
            Some(Canary::WriteIsLost) if self.rng.chance(100) => return,
            Some(Canary::WriteGoesAstray) if self.rng.chance(100) => {
                at = (at + 8 * SECTOR_BYTES) % self.disks[disk].bytes();
                if at + (to - from) > self.disks[disk].bytes() {
                    at = 0;
                }
            }
            Some(
                Canary::AnswerComesTwice
                | Canary::FlushIsDropped
                | Canary::WriteGoesAstray
                | Canary::WriteIsLost,
            )
            | None => {}
        }
        self.disks[disk].write(at, &bytes[size(from)..size(to)], durable);
    }

    /// The power fails: what was under way is written in part.
    pub(crate) fn half_written(&mut self) {
        let ids: Vec<u64> = self.ios.keys().copied().collect();
        for id in ids {
            let Some(io) = self.ios.remove(&id) else { continue };
            if io.fate == Fate::Done && self.rng.chance(500) {
                let to = self.rng.below(64) * SECTOR_BYTES;
                if !matches!(io.work, Work::Read { .. }) {
                    self.take_effect(&io, io.applied, to);
                }
            }
        }
    }
}

/// The part of `len` bytes that lies between two offsets.
const fn clip(from: u64, to: u64, len: u64) -> (u64, u64) {
    let to = if to < len { to } else { len };
    (if from < to { from } else { to }, to)
}
