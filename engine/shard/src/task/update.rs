//! Atomic updates: COMPARE AND WRITE and its like. The range is held on all cores, its blocks are
//! read into the second buffer, combined with what the initiator sent, and the result is written.
//!
//! The steps are the same for all; what sets the commands apart is in the methods of [`Update`].

use crate::action::IoResult;
use crate::combine::Combination;
use crate::message::Job;
use crate::operation::Operation;
use crate::task::burst::{Burst, Step};
use crate::task::bursts::advance;
use crate::task::respond::finish;
use crate::task::steps::{DATA, ask_home, own_volume};
use crate::task::{Fault, Pair, Reach, Task};
use crate::unit::medium::Submitted;
use scsi::{Sense, UpdateKind};
use units::{BufSlice, Mutant};
use volume::BlockRequest;

/// An atomic update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub(crate) kind: UpdateKind,
    /// Bytes of the blocks: at least one block, and with data-out at most one burst.
    pub(crate) len: u32,
    /// Durable before the status.
    pub(crate) fua: bool,
}

impl Update {
    /// How statistics count it.
    pub(crate) const fn operation(self) -> Operation {
        match self.kind {
            UpdateKind::CompareAndWrite => Operation::Compare,
            UpdateKind::OrWrite => Operation::Write,
        }
    }

    /// How the data of the initiator is combined with the blocks.
    const fn combination(self) -> Combination {
        match self.kind {
            UpdateKind::CompareAndWrite => Combination::Compare,
            UpdateKind::OrWrite => Combination::Or,
        }
    }

    /// What is written after the combination.
    fn result(self, burst: &Burst) -> BufSlice {
        let len = self.len;
        match self.kind {
            // Data-out is first what to compare with, then what to write.
            UpdateKind::CompareAndWrite => BufSlice { buf: burst.buf, offset: len, len },
            UpdateKind::OrWrite => BufSlice { buf: burst.second(), offset: 0, len },
        }
    }
}

/// All data is here: asks for the range. The task has its second buffer by now: one that holds a
/// range must not wait for a buffer of a task that waits for the range.
pub(crate) fn begin(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let (range, holder) = (task.range, reach.ticket());
    ask_home(task, own_volume(task), Job::HoldRange { range, holder }, reach);
}

/// The range is held, so the blocks are read.
pub(crate) fn read(task: &mut Task, update: Update, reach: &mut Reach<'_, '_>) {
    debug_assert!(task.holds_range, "the home has answered");
    let burst = task.burst_mut(DATA);
    burst.step = Step::Read;
    let into = BufSlice { buf: burst.second(), offset: 0, len: update.len };
    let request = BlockRequest::Read { offset: task.range.offset, into, only_to_send: false };
    submit(task, request, reach);
}

/// An operation of the update has ended well.
pub(crate) fn step_done(
    task: &mut Task,
    update: Update,
    result: IoResult,
    reach: &mut Reach<'_, '_>,
) {
    let burst = task.burst_mut(DATA);
    match (burst.step, result) {
        (Step::Read, _) => {
            burst.step = Step::Combine;
            let first = BufSlice { buf: burst.buf, offset: 0, len: update.len };
            let second = BufSlice { buf: burst.second(), ..first };
            task.combine(DATA, Pair { by: update.combination(), first, second }, reach);
        }
        (Step::Combine, IoResult::Differs { at }) => {
            task.fail(Fault::Check(Sense::miscompare(u64::from(at))));
            advance(task, reach);
        }
        (Step::Combine, _) => {
            burst.step = Step::Write;
            let from = update.result(burst);
            write(task, from, update.fua, reach);
        }
        (Step::Write, _) => finish(task, reach),
        (Step::Collect | Step::ReadBack | Step::Send, _) => {
            unreachable!("no operation is under way")
        }
    }
}

fn write(task: &mut Task, from: BufSlice, durable: bool, reach: &mut Reach<'_, '_>) {
    let offset = task.range.offset;
    submit(task, BlockRequest::Write { offset, from, durable, last_use: false }, reach);
    if Mutant::RangeReleasedEarly.is_active()
        && let Some(volume) = task.volume
    {
        task.holds_range = false;
        reach.release_range(volume);
    }
}

fn submit(task: &mut Task, request: BlockRequest, reach: &mut Reach<'_, '_>) {
    let submitted = task.submit(DATA, request, reach);
    debug_assert_ne!(submitted, Submitted::Waits, "the range is its own");
}
