//! The ends of backend operations, and buffers that come back.

use crate::action::IoResult;
use crate::operation::OpId;
use crate::shard::{Shard, Turn};
use crate::task::{Fault, Phase, Work};
use scsi::{Sense, SenseKey};
use units::{BufId, ConnId, Key};

impl Shard {
    /// A backend operation has ended.
    pub(crate) fn io_ended(&mut self, op: OpId, result: IoResult, turn: &mut Turn<'_>) {
        let key = op.task;
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.io_in_flight = task.io_in_flight.saturating_sub(1);
        task.completed_at = turn.now;
        let is_quiet = task.io_in_flight == 0;
        // A flush that fails is a write that failed late.
        let modifies = task.work.modifies() || matches!(task.work, Work::Flush);
        match result {
            IoResult::NoSpace => {
                task.fail(Fault::Check(Sense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT));
            }
            IoResult::Failed(_) => task.fail(Fault::Check(medium_error(modifies))),
            IoResult::Done | IoResult::Differs { .. } | IoResult::Mapped { .. } => {}
        }
        if task.phase == Phase::Finished {
            self.let_go(key, turn);
        } else if task.fault.is_some() {
            self.advance(key, turn);
        } else if task.work.streams() {
            self.burst_done(key, usize::from(op.part), result, turn);
        } else {
            self.step_done(key, result, turn);
        }
        // The task may have begun its next operation; whoever waits for a range only needs
        // those that had begun before the range was held.
        if is_quiet {
            self.task_is_quiet(key, turn);
        }
    }

    /// A buffer is free: the tasks that wait longest for what there is go on. Large needs come
    /// first, because small ones are met by all buffers.
    pub(crate) fn give_back(&mut self, buf: BufId, turn: &mut Turn<'_>) {
        self.lender.give_back(buf);
        if !self.lender.has_hungry() {
            return;
        }
        for class in (0..self.lender.classes()).rev() {
            while let Some(key) = self.lender.next_hungry(class) {
                let Some(task) = self.tasks.get_mut(key) else { continue };
                task.is_hungry = false;
                let lent = self.lender.lent_count();
                self.resume(key, turn);
                if self.tasks.get(key).is_some_and(|t| t.is_hungry) {
                    // It has not got all that it could use; nobody overtakes it.
                    self.lender.keep_place(key);
                    if self.lender.lent_count() <= lent {
                        break;
                    }
                }
            }
        }
    }

    /// The bytes of a buffer have left: it is free, and the task that sent them may read on.
    pub(crate) fn off_wire(&mut self, buf: BufId, turn: &mut Turn<'_>) {
        let sender = self.lender.take_off_wire(buf);
        if let Some(task) = sender.and_then(|key| self.tasks.get_mut(key)) {
            task.on_wire -= 1;
        }
        self.give_back(buf, turn);
        if let Some(key) = sender {
            self.resume(key, turn);
        }
    }

    /// Whether the PDU that a connection is receiving fills a buffer of this task.
    pub(crate) fn is_filling(&self, conn: Option<ConnId>, key: Key) -> bool {
        let filling = conn.and_then(|c| self.connections.get(c.0)?.filling);
        let Some(buf) = filling else { return false };
        let bursts = self.tasks.get(key).map(|t| &t.bursts);
        bursts.is_some_and(|b| b.iter().flatten().any(|b| b.buf == buf))
    }
}

/// What a failed operation means to the initiator (SBC-3 4.18).
const fn medium_error(modifies: bool) -> Sense {
    if modifies {
        // WRITE ERROR.
        Sense::new(SenseKey::MediumError, 0x0c, 0x00)
    } else {
        // UNRECOVERED READ ERROR.
        Sense::new(SenseKey::MediumError, 0x11, 0x00)
    }
}
