//! The ends of operations.

use crate::action::{Action, IoResult};
use crate::event::{Event, IoFailure};
use crate::task::work::Work;
use crate::task::{Fault, Phase, Reach, Task};
use crate::task::{bursts, steps};
use scsi::{Sense, SenseKey};

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
            report(task, part, ENOSPC, reach);
            task.fail(Fault::Check(Sense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT));
        }
        IoResult::Failed(errno) => {
            report(task, part, errno, reach);
            task.fail(Fault::Check(medium_error(task)));
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

/// Lets the operator know of a failed operation, whether the initiator is still there or not.
#[cold]
fn report(task: &Task, part: usize, errno: i32, reach: &mut Reach<'_, '_>) {
    // A removed volume fails what is left of its commands: that is no fault of a disk.
    let Some(unit) = reach.unit.as_deref() else { return };
    let burst = task.bursts.get(part).filter(|_| task.work.streams());
    let range = burst.map_or(task.range, |burst| task.range_of(burst));
    let size = unit.geometry.block_size;
    reach.turn.push(Action::Report(Box::new(Event::IoFailed(IoFailure {
        volume: unit.volume,
        operation: task.operation,
        lba: size.blocks_in(range.offset).0,
        blocks: size.blocks_in(range.len).0,
        errno,
    }))));
}

/// What a failed operation means to the initiator (SBC-3 4.18).
#[cold]
const fn medium_error(task: &Task) -> Sense {
    // A flush that fails is a write that failed late.
    if task.work.modifies() || matches!(task.work, Work::Flush) {
        // WRITE ERROR.
        Sense::new(SenseKey::MediumError, 0x0c, 0x00)
    } else {
        // UNRECOVERED READ ERROR.
        Sense::new(SenseKey::MediumError, 0x11, 0x00)
    }
}

/// What the operating system calls a medium without room.
const ENOSPC: i32 = 28;
