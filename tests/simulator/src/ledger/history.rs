//! What may be read where: a register for each sector, with the writes that may be in it.
//!
//! A write lies between the moment at which it began and the one at which it was `closed`: from
//! then on it can reach the medium no more. It is `done` once its initiator was told so, or
//! somebody has read it. A write that was closed before another one began, which is done, is
//! hidden by that one. A read may not find what was hidden before the read began; a crash may
//! not bring back what is hidden by a write that was made durable.

use crate::rng::size;
use crate::sectors::{Mark, SECTOR, ZEROS};
use std::collections::BTreeMap;

/// A moment in the order of everything that happens.
pub(crate) type Tick = u64;

/// One write to one sector.
#[derive(Clone, Copy, Debug)]
struct Entry {
    op: u64,
    value: u64,
    begun: Tick,
    done: Option<Tick>,
    closed: Option<Tick>,
    durable: bool,
    /// Since when it is hidden.
    hidden: Option<Tick>,
}

impl Entry {
    const fn settled(op: u64, value: u64, at: Tick) -> Self {
        let (done, closed) = (Some(at), Some(at));
        Self { op, value, begun: at, done, closed, durable: true, hidden: None }
    }

    fn is_hidden_by(&self, other: &Self) -> Option<Tick> {
        let done = other.done?;
        (self.op != other.op && self.closed? < other.begun).then_some(done)
    }
}

/// When a read began, and now that it has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) begun: Tick,
    pub(crate) now: Tick,
}

/// The register of one sector.
#[derive(Clone, Debug)]
struct Register {
    entries: Vec<Entry>,
}

/// The registers of all volumes.
#[derive(Debug, Default)]
pub(crate) struct History {
    volumes: Vec<Vec<Register>>,
    /// When the oldest operation under way began.
    pub(crate) oldest: Tick,
    /// Which COMPARE AND WRITE found which write: only one can.
    found: BTreeMap<(usize, u64, u64), u64>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its initiator was told that it is done.
    Done {
        /// And that it will stay.
        durable: bool,
    },
    /// It never was carried out, and never will be.
    Never,
    /// It may have been carried out, but nothing more of it will.
    Unknown,
}

/// A write to some sectors of a volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) volume: usize,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl History {
    /// A volume of so many sectors, all of them zeros.
    pub(crate) fn add_volume(&mut self, sectors: u64) {
        let register = Register { entries: vec![Entry::settled(0, ZEROS, 0)] };
        self.volumes.push(vec![register; size(sectors)]);
    }

    fn registers(&mut self, span: Span) -> impl Iterator<Item = (u64, &mut Register)> {
        let first = size(span.first);
        let last = first + size(span.count);
        (span.first..).zip(&mut self.volumes[span.volume][first..last])
    }

    /// The write `op` of `value` begins.
    pub(crate) fn begin(&mut self, span: Span, op: u64, value: u64, now: Tick) {
        let (done, closed) = (None, None);
        let entry = Entry { op, value, begun: now, done, closed, durable: false, hidden: None };
        let oldest = self.oldest;
        for (_, register) in self.registers(span) {
            register.prune(oldest);
            register.entries.push(entry);
        }
    }

    /// The write `op` has ended.
    pub(crate) fn end(&mut self, span: Span, op: u64, end: End, now: Tick) {
        for (_, register) in self.registers(span) {
            let Some(place) = register.entries.iter().position(|e| e.op == op) else { continue };
            let entry = &mut register.entries[place];
            match end {
                End::Never => {
                    register.entries.remove(place);
                    continue;
                }
                End::Unknown => entry.closed = Some(entry.closed.map_or(now, |c| c.min(now))),
                End::Done { durable } => {
                    entry.done = Some(entry.done.map_or(now, |d| d.min(now)));
                    entry.closed = Some(entry.closed.map_or(now, |c| c.min(now)));
                    entry.durable |= durable;
                }
            }
            register.settle(place);
        }
    }

    /// COMPARE AND WRITE `op` has found `expected` and put itself in its place: it follows that
    /// write at once, with nothing in between.
    pub(crate) fn replaced(
        &mut self,
        span: Span,
        op: u64,
        expected: &[Mark],
        now: Tick,
    ) -> Result<(), String> {
        let volume = span.volume;
        let mut found = Vec::new();
        for ((sector, register), mark) in self.registers(span).zip(expected) {
            if mark.value == ZEROS {
                continue;
            }
            found.push((volume, sector, mark.value));
            let of = |e: &Entry| e.value == mark.value;
            let Some(before) = register.entries.iter().position(of) else {
                return Err(format!("COMPARE AND WRITE {op} found {mark:?}, long overwritten"));
            };
            let entry = &mut register.entries[before];
            let done = *entry.done.get_or_insert(now);
            entry.closed = Some(entry.closed.map_or(now, |c| c.min(now)));
            register.settle(before);
            if let Some(place) = register.entries.iter().position(|e| e.op == op) {
                register.entries[place].closed = Some(done.min(now));
                register.settle(place);
            }
        }
        for key in found {
            if let Some(other) = self.found.insert(key, op) {
                return Err(format!(
                    "COMPARE AND WRITE {op} and {other} both replaced write {} in sector {}",
                    key.2, key.1
                ));
            }
        }
        Ok(())
    }

    /// A read has found `mark` in a sector.
    pub(crate) fn read(
        &mut self,
        volume: usize,
        sector: u64,
        mark: Mark,
        when: When,
    ) -> Result<(), String> {
        let When { begun, now } = when;
        let register = &mut self.volumes[volume][size(sector)];
        let fits = |e: &Entry| e.value == mark.value && e.hidden.is_none_or(|h| h > begun);
        let mut found = (0..register.entries.len()).filter(|&i| fits(&register.entries[i]));
        let (first, second) = (found.next(), found.next());
        let Some(place) = first else {
            return Err(format!(
                "sector {sector} of volume {volume} was read as write {}, which it cannot hold; \
                 since {begun}: {:?}",
                mark.value, register.entries
            ));
        };
        if !mark.belongs_at(sector) {
            return Err(format!("sector {sector} of volume {volume} holds data of {mark:?}"));
        }
        if second.is_none() {
            let entry = &mut register.entries[place];
            entry.done = Some(entry.done.map_or(now, |d| d.min(now)));
            entry.closed = Some(entry.closed.map_or(now, |c| c.min(now)));
            register.settle(place);
        }
        Ok(())
    }

    /// Whether a read that began at `begun` may find a part of the write `value` in a sector.
    pub(crate) fn may_hold(&self, volume: usize, sector: u64, value: u64, begun: Tick) -> bool {
        let entries = &self.volumes[volume][size(sector)].entries;
        entries.iter().any(|e| e.value == value && e.hidden.is_none_or(|h| h > begun))
    }

    /// Whether a sector has held the write `mark` and nothing else ever since `begun`.
    pub(crate) fn holds_for_certain(
        &self,
        volume: usize,
        sector: u64,
        mark: Mark,
        begun: Tick,
    ) -> bool {
        let register = &self.volumes[volume][size(sector)];
        let mut seen = register.entries.iter().filter(|e| e.hidden.is_none_or(|h| h > begun));
        seen.all(|e| e.value == mark.value) && mark.belongs_at(sector)
    }

    /// Whether nothing can lie over the write `op` in a sector: all others ended before it began.
    pub(crate) fn is_alone(&self, volume: usize, sector: u64, op: u64) -> bool {
        let entries = &self.volumes[volume][size(sector)].entries;
        let Some(own) = entries.iter().find(|e| e.op == op) else { return false };
        let ended = |e: &Entry| e.closed.is_some_and(|closed| closed < own.begun);
        entries.iter().all(|e| e.op == op || ended(e))
    }

    /// A flush that began at `begun` has made durable what was done by then.
    pub(crate) fn flushed(&mut self, span: Span, begun: Tick) {
        for (_, register) in self.registers(span) {
            for entry in &mut register.entries {
                entry.durable |= entry.done.is_some_and(|d| d < begun);
            }
        }
    }

    /// A volume has lost everything that was in it: it is all zeros.
    pub(crate) fn lost(&mut self, volume: usize, now: Tick) {
        self.found.retain(|&(of, _, _), _| of != volume);
        for register in &mut self.volumes[volume] {
            register.entries = vec![Entry::settled(0, ZEROS, now)];
        }
    }

    /// The node has crashed: checks what is left, which from now on is all that there was.
    pub(crate) fn crashed(&mut self, volume: usize, data: &[u8], now: Tick) -> Result<(), String> {
        self.found.retain(|&(of, _, _), _| of != volume);
        for (sector, register) in (0_u64..).zip(&mut self.volumes[volume]) {
            let at = size(sector) * SECTOR;
            let mark = Mark::of(&data[at..at + SECTOR]);
            let Some(mark) = mark else { return Err(format!("sector {sector} is torn")) };
            let lost = |e: &Entry| {
                register.entries.iter().any(|d| d.durable && e.is_hidden_by(d).is_some())
            };
            let kept = register.entries.iter().find(|e| e.value == mark.value && !lost(e));
            let Some(kept) = kept else {
                return Err(format!(
                    "after a crash sector {sector} of volume {volume} holds write {}, but an \
                     acknowledged and durable write came after it: {:?}",
                    mark.value, register.entries
                ));
            };
            register.entries = vec![Entry::settled(kept.op, kept.value, now)];
        }
        Ok(())
    }
}

impl Register {
    /// Entry `place` has changed: finds what it hides and what hides it.
    fn settle(&mut self, place: usize) {
        let changed = self.entries[place];
        let mut hidden = changed.hidden;
        for other in &mut self.entries {
            if let Some(at) = other.is_hidden_by(&changed) {
                other.hidden = Some(other.hidden.map_or(at, |h| h.min(at)));
            }
            if let Some(at) = changed.is_hidden_by(other) {
                hidden = Some(hidden.map_or(at, |h| h.min(at)));
            }
        }
        self.entries[place].hidden = hidden;
    }

    /// Forgets entries that neither a read nor a crash may bring back: hidden by a durable
    /// write since before the oldest operation under way began.
    fn prune(&mut self, oldest: Tick) {
        if self.entries.len() < KEPT {
            return;
        }
        let durable: Vec<Entry> = self.entries.iter().filter(|e| e.durable).copied().collect();
        self.entries.retain(|e| {
            let is_past = e.hidden.is_some_and(|h| h < oldest);
            !(is_past && durable.iter().any(|d| e.is_hidden_by(d).is_some()))
        });
    }
}

/// Entries of a register that are kept in any case.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Span = Span { volume: 0, first: 3, count: 1 };

    fn history() -> History {
        let mut history = History::default();
        history.add_volume(8);
        history
    }

    fn when(begun: Tick, now: Tick) -> When {
        When { begun, now }
    }

    fn mark(value: u64) -> Mark {
        Mark { value, place: 3 }
    }

    #[test]
    fn a_read_finds_the_last_write_or_one_beside_it() {
        let mut h = history();
        h.begin(ONE, 1, 1, 10);
        h.end(ONE, 1, End::Done { durable: false }, 20);
        h.begin(ONE, 2, 2, 30);
        assert!(h.read(0, 3, mark(1), when(31, 35)).is_ok());
        assert!(h.read(0, 3, Mark::ZERO, when(31, 36)).is_err());
        h.end(ONE, 2, End::Done { durable: false }, 40);
        assert!(h.read(0, 3, mark(1), when(39, 45)).is_ok());
        assert!(h.read(0, 3, mark(1), when(41, 45)).is_err());
        assert!(h.read(0, 3, mark(2), when(41, 45)).is_ok());
    }

    #[test]
    fn what_was_read_once_cannot_be_taken_back() {
        let mut h = history();
        h.begin(ONE, 1, 1, 10);
        assert!(h.read(0, 3, mark(1), when(11, 12)).is_ok());
        assert!(h.read(0, 3, Mark::ZERO, when(13, 14)).is_err());
    }

    #[test]
    fn a_crash_may_undo_what_was_not_made_durable() {
        let mut h = history();
        let mut data = vec![0; 8 * SECTOR];
        h.begin(ONE, 1, 1, 10);
        h.end(ONE, 1, End::Done { durable: false }, 20);
        assert!(h.crashed(0, &data, 30).is_ok());
        h.begin(ONE, 2, 2, 40);
        h.end(ONE, 2, End::Done { durable: true }, 50);
        assert!(h.crashed(0, &data, 60).is_err());
        data[3 * SECTOR..4 * SECTOR].copy_from_slice(&mark(2).sector());
        assert!(h.crashed(0, &data, 60).is_ok());
    }

    #[test]
    fn two_compare_and_writes_do_not_replace_the_same_write() {
        let mut h = history();
        h.begin(ONE, 1, 1, 10);
        h.end(ONE, 1, End::Done { durable: false }, 20);
        h.begin(ONE, 2, 2, 30);
        h.begin(ONE, 3, 3, 31);
        assert!(h.replaced(ONE, 2, &[mark(1)], 40).is_ok());
        assert!(h.replaced(ONE, 3, &[mark(1)], 41).is_err());
    }

    #[test]
    fn a_write_between_compare_and_write_is_not_lost() {
        let mut h = history();
        h.begin(ONE, 1, 1, 10);
        h.end(ONE, 1, End::Done { durable: false }, 20);
        h.begin(ONE, 2, 2, 25);
        h.begin(ONE, 3, 3, 26);
        h.end(ONE, 3, End::Done { durable: false }, 30);
        assert!(h.replaced(ONE, 2, &[mark(1)], 40).is_ok());
        h.end(ONE, 2, End::Done { durable: false }, 40);
        // Write 1 was done before write 3 began, so 2 came before 3 too.
        assert!(h.read(0, 3, mark(2), when(41, 42)).is_err());
        assert!(h.read(0, 3, mark(3), when(41, 42)).is_ok());
    }
}
