//! The ends of operations.

use crate::action::{Action, IoResult};
use crate::event::{Event, IoFailure};
use crate::task::burst::{Burst, Step};
use crate::task::bursts::next_chunk;
use crate::task::work::Work;
use crate::task::{Phase, Reach, Task};
use crate::task::{bursts, steps};
use crate::unit::Unit;
use scsi::{Sense, SenseKey};
use units::Lba;
use volume::ByteRange;

/// The operation of a part of a task has ended.
#[inline]
pub(crate) fn operation_ended(
    task: &mut Task,
    part: usize,
    result: IoResult,
    reach: &mut Reach<'_, '_>,
) {
    task.end_operation(part, reach);
    match result {
        IoResult::NoSpace => {
            report(task, place_of(task, part), ENOSPC, reach);
            task.fail_without_place(Sense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT);
        }
        IoResult::Failed(errno) => {
            let place = place_of(task, part);
            report(task, place, errno, reach);
            task.fail_at_medium(medium_error(task, place, reach));
        }
        IoResult::Done | IoResult::Differs { .. } | IoResult::Mapped { .. } => {}
    }
    if task.phase == Phase::Finished {
        // It was aborted, and has only waited for this.
    } else if task.fault.is_some() {
        bursts::advance(task, reach);
    } else if task.work.streams() {
        bursts::burst_done(task, part, result, reach);
    } else {
        steps::step_done(task, result, reach);
    }
}

/// The part of the volume that the operation of a part of a task was about. `None` for a flush,
/// which is about all that was written before, and a query of the map, which looks at no block.
#[cold]
fn place_of(task: &Task, part: usize) -> Option<ByteRange> {
    let burst = task.bursts.get(part);
    Some(match (&task.work, burst) {
        (Work::Flush | Work::LbaStatus { .. }, _) => return None,
        (work, Some(burst)) if work.streams() => task.range_of(burst),
        (Work::Verify(_), Some(chunk)) => next_chunk(task.range, task.cursor, chunk.len),
        (Work::WriteSame { zeros: Some(false), .. }, Some(chunk)) => {
            // The cursor is behind what has been submitted.
            let begun = task.cursor.saturating_sub(1) / u64::from(chunk.len);
            next_chunk(task.range, begun * u64::from(chunk.len), chunk.len)
        }
        _ => task.range,
    })
}

/// Lets the operator know of a failed operation, whether the initiator is still there or not.
#[cold]
fn report(task: &Task, place: Option<ByteRange>, errno: i32, reach: &mut Reach<'_, '_>) {
    // A removed volume fails what is left of its commands: that is no fault of a disk.
    let Some(unit) = reach.unit.as_deref() else { return };
    let size = unit.geometry.block_size;
    let range = place.unwrap_or(ByteRange { offset: 0, len: 0 });
    reach.turn.push(Action::Report(Box::new(Event::IoFailed(IoFailure {
        volume: unit.volume,
        operation: task.operation,
        lba: size.blocks_in(range.offset).0,
        blocks: size.blocks_in(range.len).0,
        errno,
    }))));
}

/// What a failed operation means to the initiator (SBC-3 4.18). It names the first block of the
/// operation: the medium does not say which of them failed, so it is the first that is not known
/// to be good.
#[cold]
fn medium_error(task: &Task, place: Option<ByteRange>, reach: &Reach<'_, '_>) -> Sense {
    let first = reach.unit.as_deref().zip(place);
    let lba = first.map(|(unit, range)| Lba(unit.geometry.block_size.blocks_in(range.offset).0));
    // A flush that fails is a write that failed late.
    let writes = task.work.modifies() || matches!(task.work, Work::Flush);
    match (writes, lba) {
        (true, Some(lba)) => Sense::write_error(lba),
        (true, None) => Sense::WRITE_ERROR,
        (false, Some(lba)) => Sense::unrecovered_read_error(lba),
        (false, None) => Sense::UNRECOVERED_READ_ERROR,
    }
}

/// The sense of a task that has failed, when nothing of it is under way any more. Initiators take
/// all blocks before the named one as read or written, so a block is named only where they are.
#[cold]
pub(crate) fn closing_sense(task: &Task, sense: Sense, unit: Option<&Unit>) -> Sense {
    let is_one_of_many = sense.key == SenseKey::MediumError && task.work.streams();
    let (Some(lba), Some(unit), true) = (sense.information, unit, is_one_of_many) else {
        return sense;
    };
    let size = unit.geometry.block_size;
    let is_good = |burst: &Burst| match burst.step {
        // Neither it nor one before it has failed, or that one would be named.
        Step::Read | Step::Send => matches!(task.work, Work::Read),
        Step::Write => matches!(task.work, Work::Write { .. }),
        Step::Collect | Step::Combine | Step::ReadBack => false,
    };
    let first = |burst: &Burst| size.blocks_in(task.range_of(burst).offset).0;
    match task.bursts.find(|burst| first(burst) < lba && !is_good(burst)) {
        Some(_) => Sense { information: None, ..sense },
        None => sense,
    }
}

/// What the operating system calls a medium without room.
const ENOSPC: i32 = 28;
