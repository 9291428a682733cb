//! The record of the run: which commands may still change a medium, what each sector may hold,
//! what is certain about each logical unit.

mod history;
mod settled;
mod unit_state;
mod verdict;

pub(crate) use history::{End, Span, Tick};
pub(crate) use unit_state::Look;
pub(crate) use verdict::Answer;

use crate::clients::{Command, Kind};
use crate::plan::VolumePlan;
use crate::rng::size;
use crate::sectors::{ANYWHERE, Mark, SECTOR, SECTOR_BYTES, ZEROS};
use history::History;
use settled::Settled;
use std::collections::BTreeMap;
use unit_state::UnitState;

/// A command that has not ended for certain.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) session: usize,
    pub(crate) tag: u32,
    pub(crate) volume: usize,
    pub(crate) immediate: bool,
    begun: Tick,
    /// When its header reached the target, in nanoseconds.
    pub(crate) delivered: Option<u64>,
    writes: Vec<(Span, u64)>,
    /// What it writes back as it has read it.
    rewrites: Option<Span>,
}

/// The record of the run.
pub(crate) struct Ledger {
    pub(crate) history: History,
    pub(crate) units: Vec<UnitState>,
    /// Of each command: whether nothing of it may reach a medium any more.
    ended: Vec<bool>,
    /// The commands that have not ended for certain, by their numbers.
    live: BTreeMap<u64, Live>,
    /// Resets under way, by volume.
    resets_open: Vec<u32>,
    /// What one of the initiators has seen last in each sector.
    saw: Vec<Vec<Mark>>,
}

impl Ledger {
    pub(crate) fn new(volumes: &[VolumePlan]) -> Self {
        let mut history = History::default();
        for volume in volumes {
            history.add_volume(volume.sectors);
        }
        Self {
            history,
            units: volumes.iter().map(UnitState::new).collect(),
            ended: vec![false],
            live: BTreeMap::new(),
            resets_open: vec![0; volumes.len()],
            saw: volumes.iter().map(|v| vec![Mark::ZERO; size(v.sectors)]).collect(),
        }
    }

    /// The number of a new command.
    pub(crate) fn new_op(&mut self) -> u64 {
        self.ended.push(false);
        self.ended.len() as u64 - 1
    }

    /// What is written is whole sectors of a write that may still happen, where they belong.
    pub(crate) fn check_write(
        &self,
        volume: usize,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), String> {
        if !offset.is_multiple_of(SECTOR_BYTES) || !bytes.len().is_multiple_of(SECTOR) {
            return Err(format!("a write of {} bytes at {offset}", bytes.len()));
        }
        for (sector, bytes) in (offset / SECTOR_BYTES..).zip(bytes.chunks(SECTOR)) {
            let Some(mark) = Mark::of(bytes) else {
                let start = &bytes[..32];
                return Err(format!(
                    "sector {sector} of volume {volume} is to be written with no data: {start:?}"
                ));
            };
            if !mark.belongs_at(sector) {
                return Err(format!("{mark:?} is to be written to sector {sector}"));
            }
            let has_ended = mark.value != ZEROS && self.ended.get(size(mark.value)) != Some(&false);
            if has_ended && !self.is_rewritten(volume, sector) {
                return Err(format!("{mark:?} is to be written, but it has ended"));
            }
        }
        Ok(())
    }

    /// Whether a command may write back what it has found in a sector.
    pub(crate) fn is_rewritten(&self, volume: usize, sector: u64) -> bool {
        self.live.iter().filter(|(op, _)| !self.ended[size(**op)]).any(|(_, live)| {
            live.rewrites.is_some_and(|Span { volume: of, first, count }| {
                of == volume && (first..first + count).contains(&sector)
            })
        })
    }

    /// Nothing of a command may reach a medium from now on.
    pub(crate) fn must_be_quiet(&mut self, op: u64) {
        self.ended[size(op)] = true;
    }

    /// A command is on its way to the target.
    pub(crate) fn begin(&mut self, session: usize, tag: u32, command: &Command) {
        self.begin_change(command);
        for &(span, value) in &command.writes {
            self.history.begin(span, command.op, value, command.sent);
        }
        let live = Live {
            session,
            tag,
            volume: command.volume,
            immediate: command.immediate,
            begun: command.sent,
            delivered: None,
            writes: command.writes.clone(),
            rewrites: (command.kind == Kind::OrWrite).then_some(command.span),
        };
        self.live.insert(command.op, live);
        self.history.oldest = self.live.values().map(|l| l.begun).min().unwrap_or(command.sent);
    }

    /// A command's header has reached the target.
    pub(crate) fn delivered(&mut self, op: u64, now: u64) {
        if let Some(live) = self.live.get_mut(&op) {
            live.delivered.get_or_insert(now);
        }
    }

    pub(crate) fn live(&self, op: u64) -> Option<&Live> {
        self.live.get(&op)
    }

    /// The commands that reached the target and fit: what a request from now on must end.
    pub(crate) fn delivered_ops(&self, fits: impl Fn(&Live) -> bool) -> Vec<u64> {
        let fits = |l: &Live| l.delivered.is_some() && fits(l) && self.has_unit(l);
        self.live.iter().filter(|(_, l)| fits(l)).map(|(&op, _)| op).collect()
    }

    /// The commands of some sessions that have not ended for certain.
    pub(crate) fn ops_of(&self, is_of: impl Fn(usize) -> bool) -> Vec<u64> {
        self.live.iter().filter(|(_, l)| is_of(l.session)).map(|(&op, _)| op).collect()
    }

    /// Whether a command's LUN certainly has a logical unit, so that a reset reaches it.
    pub(crate) fn has_unit(&self, live: &Live) -> bool {
        self.units[live.volume].mapped.sure().is_some_and(|(mapped, _)| mapped)
    }

    /// A command has ended: one way or the other it can reach the medium no more.
    pub(crate) fn close(&mut self, op: u64, end: End, now: Tick) {
        self.ended[size(op)] = true;
        let Some(live) = self.live.remove(&op) else { return };
        for (span, _) in live.writes {
            self.history.end(span, op, end, now);
        }
    }

    /// An answer says that a command reaches the medium no more; its own answer is to come, or
    /// never comes.
    pub(crate) fn quieten(&mut self, op: u64, now: Tick) {
        let Some(live) = self.live.get(&op) else { return };
        for &(span, _) in &live.writes {
            self.history.end(span, op, End::Unknown, now);
        }
    }

    /// What the initiators think is there: what one of them saw last.
    pub(crate) fn believed(&self, span: Span) -> Vec<Mark> {
        let seen = &self.saw[span.volume];
        (span.first..span.first + span.count)
            .map(|s| seen.get(size(s)).copied().unwrap_or(Mark::ZERO))
            .collect()
    }

    fn note_read(&mut self, volume: usize, sector: u64, mark: Mark) {
        self.saw[volume][size(sector)] = mark;
    }

    fn note_writes(&mut self, command: &Command) {
        for &(span, value) in &command.writes {
            for sector in span.first..span.first + span.count {
                let place = if command.kind == Kind::WriteSame { ANYWHERE } else { sector };
                let mark = if value == ZEROS { Mark::ZERO } else { Mark { value, place } };
                self.saw[span.volume][size(sector)] = mark;
            }
        }
    }

    fn begin_change(&mut self, command: &Command) {
        let unit = &mut self.units[command.volume];
        match command.kind {
            Kind::Reserve | Kind::Release => unit.holder.begin(),
            Kind::Mode { .. } => unit.write_cache.begin(),
            Kind::CompareAndWrite
            | Kind::Flush
            | Kind::Inquiry
            | Kind::OrWrite
            | Kind::Read
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { .. }
            | Kind::Write
            | Kind::WriteAndVerify
            | Kind::WriteSame => {}
        }
    }

    /// What a command wanted to change of its unit is certain now, or remains in doubt. `stays`:
    /// the session of the initiator is the one that it had.
    pub(crate) fn end_change(&mut self, command: &Command, good: bool, stays: bool) {
        let unit = &mut self.units[command.volume];
        match command.kind {
            Kind::Reserve => {
                unit.holder.end((good && stays).then_some(Some(command.initiator)));
            }
            Kind::Release => unit.holder.end(None),
            Kind::Mode { .. } => {
                let write_cache = command.out[6] & 0x04 != 0;
                unit.write_cache.end(good.then_some(write_cache));
            }
            Kind::CompareAndWrite
            | Kind::Flush
            | Kind::Inquiry
            | Kind::OrWrite
            | Kind::Read
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { .. }
            | Kind::Write
            | Kind::WriteAndVerify
            | Kind::WriteSame => {}
        }
    }

    /// How many resets of a volume are under way.
    pub(crate) fn resets_open(&self, volume: usize) -> u32 {
        self.resets_open[volume]
    }

    /// A reset of the volume is on its way to the target.
    pub(crate) fn begin_reset(&mut self, volume: usize) {
        self.resets_open[volume] += 1;
        self.units[volume].holder.begin();
        self.units[volume].write_cache.begin();
    }

    /// A reset of a volume has ended, or will not happen any more; `state` is what it leads to.
    pub(crate) fn end_reset(&mut self, volume: usize, state: ResetState) {
        self.resets_open[volume] -= 1;
        let unit = &mut self.units[volume];
        match state {
            ResetState::Doubtful => {
                unit.holder.end(None);
                unit.write_cache.end(None);
            }
            ResetState::Default => {
                unit.holder.end(Some(None));
                unit.write_cache.end(Some(unit.write_cache_default));
            }
        }
    }

    /// A session begins or ends, now or soon: it may take its reservations with it.
    pub(crate) fn reservations_may_end(&mut self) {
        for unit in &mut self.units {
            unit.holder.unsettle();
        }
    }

    /// A node has lost its power: nothing of what it had under way happens any more, and its
    /// units begin anew.
    pub(crate) fn power_failed(&mut self) {
        self.ended.fill(true);
        self.live.clear();
        self.resets_open.fill(0);
    }

    /// A unit begins again, mapped or not, with so many sectors.
    pub(crate) fn unit_begins(&mut self, volume: usize, mapped: bool, sectors: u64) {
        let unit = &mut self.units[volume];
        unit.write_cache = Settled::new(unit.write_cache_default);
        unit.holder = Settled::new(None);
        unit.mapped = Settled::new(mapped);
        unit.sectors = Settled::new(sectors);
    }
}

/// What a reset makes of the reservation and the mode pages of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetState {
    /// They are back at their defaults.
    Default,
    /// It may have been carried out, or not.
    Doubtful,
}
