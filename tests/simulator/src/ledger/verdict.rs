//! The answers to SCSI commands: which are right, and what they prove.

use super::history::When;
use super::{End, Ledger, Span, Tick};
use crate::clients::{Command, Kind};
use crate::plan::Plan;
use crate::rng::word;
use crate::sectors::{Mark, SECTOR, SECTOR_BYTES};
use iscsi::pdu::Residual;

/// SENSE KEY, ADDITIONAL SENSE CODE and its qualifier.
type Sense = (u8, u8, u8);

/// The end of a command as its initiator hears of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u8,
    pub(crate) residual: Residual,
    pub(crate) sense: Option<Sense>,
    /// INFORMATION, where it is valid.
    pub(crate) information: Option<u32>,
}

impl Answer {
    /// The answer of a SCSI Response with its data segment.
    pub(crate) fn new(status: u8, residual: Residual, data: &[u8]) -> Self {
        Self { status, residual, sense: sense_of(data), information: information_of(data) }
    }

    pub(crate) const fn is_good(&self) -> bool {
        self.status == GOOD
    }

    /// Whether it reports a unit attention.
    pub(crate) const fn is_attention(&self) -> bool {
        matches!(self.sense, Some((UNIT_ATTENTION, _, _)))
    }

    pub(crate) const fn is_conflict(&self) -> bool {
        self.status == RESERVATION_CONFLICT
    }
}

impl Ledger {
    /// Whether an answer is right, and what it shows.
    pub(crate) fn judge(
        &mut self,
        command: &Command,
        answer: &Answer,
        plan: &Plan,
        now: Tick,
    ) -> Result<(), String> {
        if command.must_report && !answer.is_attention() {
            return Err("a unit attention is due".into());
        }
        match (answer.status, answer.sense) {
            (GOOD, None) => self.ended_well(command, answer.residual, plan, now)?,
            (CHECK_CONDITION, Some(sense)) => {
                self.ended_badly(command, sense, plan)?;
                if let ((MEDIUM_ERROR, _, _), Some(lba)) = (sense, answer.information) {
                    self.failed_at(command, lba.into(), plan, now)?;
                }
            }
            (RESERVATION_CONFLICT, None) => self.conflicts(command, plan)?,
            // Data that nobody asked for has waited for a buffer for a second.
            (TASK_SET_FULL, None)
                if command.unasked && (command.may_be_dormant || plan.may_run_out_of_buffers()) => {
            }
            _ => return Err("no such status is right".to_owned()),
        }
        let is_bounded = match answer.residual {
            Residual::None => true,
            Residual::Overflow(_) => answer.is_good() || command.splits_block,
            Residual::Underflow(count) => count <= command.expected,
        };
        if is_bounded { Ok(()) } else { Err(format!("{:?} is out of bounds", answer.residual)) }
    }

    /// What becomes of a command that has not ended well: what never began leaves nothing
    /// behind; otherwise nobody knows.
    pub(crate) const fn end_of_failed(answer: &Answer) -> End {
        if answer.is_conflict() || answer.is_attention() { End::Never } else { End::Unknown }
    }

    /// RESERVATION CONFLICT: somebody else may hold a reservation.
    fn conflicts(&self, command: &Command, plan: &Plan) -> Result<(), String> {
        let since = self.units[command.volume].since(&command.look);
        match since.holder {
            Some((None, _)) => Err("nobody holds a reservation".into()),
            Some((Some(holder), _)) if holder == command.initiator => {
                Err("the initiator holds it".into())
            }
            Some(_) => Ok(()),
            None if plan.weights.reserve > 0 => Ok(()),
            None => Err("nobody ever reserves".into()),
        }
    }

    /// CHECK CONDITION: the sense must have a cause.
    fn ended_badly(&self, command: &Command, sense: Sense, plan: &Plan) -> Result<(), String> {
        let since = self.units[command.volume].since(&command.look);
        let faults = &plan.faults;
        let is_outside = since
            .sectors
            .is_none_or(|(sectors, _)| command.outside || ends(command).any(|end| end > sectors));
        let has_cause = match sense {
            (UNIT_ATTENTION, _, _) => true,
            (0x03, 0x0c | 0x11, 0x00) => faults.io_error > 0,
            (0x07, 0x27, 0x07) => faults.no_space > 0,
            (0x07, 0x27, 0x00) => {
                let rewrites = command.kind == Kind::OrWrite;
                let writes = !command.writes.is_empty() || command.outside || rewrites;
                plan.volumes[command.volume].read_only && writes
            }
            (0x05, 0x21, 0x00) => is_outside,
            (0x05, 0x25, 0x00) => since.mapped.is_none_or(|(mapped, _)| !mapped),
            (0x05, 0x0e, 0x03) => command.splits_block,
            (0x05, 0x20 | 0x24, 0x00) => command.kind == Kind::Inquiry,
            (0x0e, 0x1d, 0x00) => return self.miscompares(command),
            // Data has not come in time.
            (0x0b, 0x4b, 0x06) => faults.stall > 0,
            (0x0b, _, _) => command.spoiled,
            _ => false,
        };
        if has_cause { Ok(()) } else { Err("this sense has no cause".into()) }
    }

    /// A medium error names a block: initiators take all blocks of the command before it as good,
    /// so that they must hold from now on what was written.
    fn failed_at(
        &mut self,
        command: &Command,
        lba: u64,
        plan: &Plan,
        now: Tick,
    ) -> Result<(), String> {
        let span = command.span;
        let sector = lba * plan.volumes[command.volume].sectors_per_block();
        let is_own = (span.first..span.first + span.count).contains(&sector);
        if !is_own && command.kind != Kind::Unmap {
            return Err(format!("block {lba} is none of its blocks"));
        }
        if command.kind == Kind::Write {
            let before = Span { count: sector - span.first, ..span };
            self.history.end(before, command.op, End::Done { durable: false }, now);
        }
        Ok(())
    }

    /// MISCOMPARE: some sector may have held something else than the initiator has sent.
    fn miscompares(&self, command: &Command) -> Result<(), String> {
        let (volume, span) = (command.volume, command.span);
        let mut sectors = span.first..span.first + span.count;
        let has_cause = match command.kind {
            Kind::CompareAndWrite | Kind::Verify { compares: true } => {
                sectors.zip(&command.believes).any(|(sector, &mark)| {
                    !self.history.holds_for_certain(volume, sector, mark, command.sent)
                })
            }
            // It compares with what it has just written: only others can come in between.
            Kind::WriteAndVerify => {
                sectors.any(|sector| !self.history.is_alone(volume, sector, command.op))
            }
            Kind::Flush
            | Kind::Inquiry
            | Kind::Mode { .. }
            | Kind::OrWrite
            | Kind::Read
            | Kind::Release
            | Kind::Reserve
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { compares: false }
            | Kind::Write
            | Kind::WriteSame => false,
        };
        if has_cause { Ok(()) } else { Err("the medium holds what was sent".into()) }
    }

    fn ended_well(
        &mut self,
        command: &Command,
        residual: Residual,
        plan: &Plan,
        now: Tick,
    ) -> Result<(), String> {
        let since = self.units[command.volume].since(&command.look);
        if command.spoiled {
            return Err("its data was bad".into());
        }
        if command.splits_block {
            return Err("its data ends inside a block".into());
        }
        if let Some((Some(holder), _)) = since.holder
            && holder != command.initiator
            && command.kind.touches_the_medium()
        {
            return Err(format!("initiator {holder} holds a reservation"));
        }
        if command.kind != Kind::Inquiry && since.mapped.is_some_and(|(mapped, _)| !mapped) {
            return Err("the LUN is gone".into());
        }
        let outside = since.sectors.is_some_and(|(s, _)| ends(command).any(|end| end > s));
        if command.outside || outside {
            return Err("it reaches past the end".into());
        }
        check_residual(command, residual)?;
        self.prove(command, plan, now)?;
        let volume = plan.volumes[command.volume];
        let through = since.write_cache.is_some_and(|(on, _)| !on);
        let never_crashes = plan.faults.crashes == 0;
        let durable = command.fua || through || !volume.volatile || never_crashes;
        self.close(command.op, End::Done { durable }, now);
        self.note_writes(command);
        Ok(())
    }

    /// What a command that ended well has shown of the volume.
    fn prove(&mut self, command: &Command, plan: &Plan, now: Tick) -> Result<(), String> {
        let span = command.span;
        match command.kind {
            Kind::Read => self.prove_read(command, plan, now),
            Kind::Verify { compares: true } => {
                for (sector, &mark) in (span.first..).zip(&command.believes) {
                    self.history.read(
                        command.volume,
                        sector,
                        mark,
                        When { begun: command.sent, now },
                    )?;
                }
                Ok(())
            }
            Kind::CompareAndWrite => {
                self.history.replaced(span, command.op, &command.believes, now)
            }
            Kind::Flush => {
                self.history.flushed(span, command.sent);
                Ok(())
            }
            Kind::Inquiry
            | Kind::Mode { .. }
            | Kind::OrWrite
            | Kind::Release
            | Kind::Reserve
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { compares: false }
            | Kind::Write
            | Kind::WriteAndVerify
            | Kind::WriteSame => Ok(()),
        }
    }

    fn prove_read(&mut self, command: &Command, plan: &Plan, now: Tick) -> Result<(), String> {
        let wanted = command.scsi_length.unwrap_or(0).min(command.expected.into());
        if command.input.len() as u64 != wanted {
            return Err(format!("{} bytes instead of {wanted}", command.input.len()));
        }
        for (sector, bytes) in (command.span.first..).zip(command.input.chunks_exact(SECTOR)) {
            let Some(mark) = Mark::of(bytes) else {
                self.prove_torn(command, sector, bytes, plan)?;
                continue;
            };
            self.history.read(command.volume, sector, mark, When { begun: command.sent, now })?;
            self.note_read(command.volume, sector, mark);
        }
        Ok(())
    }

    /// What leaves from a memory volume is no copy: a write at the same time may show in a part of
    /// a sector. No other medium tears a sector.
    fn prove_torn(
        &self,
        command: &Command,
        sector: u64,
        bytes: &[u8],
        plan: &Plan,
    ) -> Result<(), String> {
        let fits =
            |value: &u64| self.history.may_hold(command.volume, sector, *value, command.sent);
        let values = Mark::values_of_torn(bytes);
        if plan.volumes[command.volume].in_memory && values.iter().all(fits) {
            return Ok(());
        }
        Err(format!("sector {sector} is torn between the writes {values:?}"))
    }
}

/// The ends of the extents of a command, in sectors.
fn ends(command: &Command) -> impl Iterator<Item = u64> {
    let writes = command.writes.iter().map(|(s, _)| s.first + s.count);
    std::iter::once(command.span.first + command.span.count).chain(writes)
}

/// RFC 7143 11.4.5: what the CDB asks for against what the initiator expects.
fn check_residual(command: &Command, residual: Residual) -> Result<(), String> {
    let expected = u64::from(command.expected);
    let length = match command.scsi_length {
        Some(length) => length,
        // The length of the answer is known only where it fits.
        None if matches!(residual, Residual::Overflow(_)) => return Ok(()),
        None => command.input.len() as u64,
    };
    let right = if length > expected {
        Residual::Overflow(word(length - expected))
    } else if length < expected {
        Residual::Underflow(word(expected - length))
    } else {
        Residual::None
    };
    if residual == right { Ok(()) } else { Err(format!("{residual:?} instead of {right:?}")) }
}

/// Fixed format sense data behind its length (RFC 7143 11.4.7).
fn sense_of(data: &[u8]) -> Option<Sense> {
    let (length, sense) = data.split_first_chunk::<2>()?;
    let whole = usize::from(u16::from_be_bytes(*length)) == sense.len();
    let fixed = whole && sense.first().is_some_and(|b| b & 0x7f == 0x70);
    fixed.then(|| Some((sense.get(2)? & 0x0f, *sense.get(12)?, *sense.get(13)?)))?
}

/// Its INFORMATION, if VALID is set.
fn information_of(data: &[u8]) -> Option<u32> {
    let (_, sense) = data.split_first_chunk::<2>()?;
    let information = u32::from_be_bytes(*sense.get(3..)?.first_chunk()?);
    (sense.first()? & 0x80 != 0).then_some(information)
}

const _: () = assert!(SECTOR_BYTES == 512);

// SCSI status codes (SAM-5 5.3.1).
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const RESERVATION_CONFLICT: u8 = 0x18;
const TASK_SET_FULL: u8 = 0x28;
/// A sense key (SPC-4 4.5.6).
const UNIT_ATTENTION: u8 = 0x06;
/// A sense key.
const MEDIUM_ERROR: u8 = 0x03;
