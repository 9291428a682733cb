//! Where data from the initiator goes: into a buffer that was lent before it was asked for, or, if
//! nobody asked for it, into one that is lent when it comes.
//!
//! The command window is a promise that such data has a place. So where no buffer is free, its PDU
//! waits: nothing more of its connection is looked at until there is one. The window is narrowed
//! ([`iscsi::CommandWindow`]), so that the initiator sends no more than what finds buffers.

use crate::action::Placement;
use crate::task::burst::{Burst, Step};
use crate::task::steps::CHUNK;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::work::Work;
use crate::task::{Fault, Reach, Task};
use crate::turn::Turn;
use crate::wake::Wake;
use units::{BufSlice, Instant, Key, Mutant, limits};

/// Data that has come and waits for a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unplaced {
    /// Bytes from the start of the task's data.
    offset: u32,
    len: u32,
    since: Instant,
}

/// The data of one PDU.
struct Run {
    /// Bytes from the start of the task's data.
    offset: u32,
    len: u32,
}

/// A part of a task's data that is worked on at a time.
struct Extent {
    start: u32,
    len: u32,
    /// The buffer must have room for so many bytes.
    room: u32,
    /// Nothing of it is asked for: the command window has promised it a place.
    is_promised: bool,
}

/// Where `len` bytes of data at `offset` of a task go.
pub(super) fn place(
    task: &mut Task,
    offset: u32,
    len: u32,
    reach: &mut Reach<'_, '_>,
) -> Placement {
    if task.fault.is_some() || task.aborted || offset >= task.data_out.total {
        return Placement::Discard;
    }
    if matches!(task.work, Work::Parameters { .. }) {
        return Placement::Engine;
    }
    if let Some(part) = task.bursts.covering(offset) {
        return Placement::Buffer(slice_of(task, part, Run { offset, len }, reach));
    }
    if task.is_dormant && !has_spare(task, offset, len, reach) {
        return refuse(task, reach);
    }
    let Some(part) = open_burst(task, offset, len, reach) else {
        return wait(task, offset, len, reach);
    };
    if let Some(session) = reach.session.as_deref_mut() {
        session.gave_up_on_buffers = None;
    }
    Placement::Buffer(slice_of(task, part, Run { offset, len }, reach))
}

/// Whether a dormant task may have its buffers: it holds them until tasks have ended that may wait
/// for buffers themselves, or for data behind this PDU. If dormant tasks could have all, nobody
/// would go on.
#[cold]
fn has_spare(task: &Task, offset: u32, len: u32, reach: &mut Reach<'_, '_>) -> bool {
    let Extent { len, room, .. } = extent_at(task, offset, len);
    let further = task.work.further_buffers(len, task.range.len);
    let lengths = || further.into_iter().flatten().chain([room]);
    let wanted = lengths().count();
    lengths().all(|bytes| reach.lender.has_spare(bytes, wanted, task.holder()))
}

/// The bytes of the burst of a part that a PDU fills.
fn slice_of(task: &mut Task, part: usize, run: Run, reach: &Reach<'_, '_>) -> BufSlice {
    let Run { offset, len } = run;
    let burst = task.burst_mut(part);
    let mut start = offset - burst.offset;
    if Mutant::DataOutOffsetIgnored.is_active() {
        start = 0;
    }
    let slice = BufSlice { buf: burst.buf, offset: start, len };
    debug_assert!(reach.lender.has_room(slice.buf, start + len), "{slice:?} leaves its buffer");
    slice
}

/// No buffer is free for data that has come.
#[cold]
fn wait(task: &mut Task, offset: u32, len: u32, reach: &mut Reach<'_, '_>) -> Placement {
    let held = reach.lender.held_by(task.holder());
    let gave_up = reach.session.as_deref().and_then(|session| session.gave_up_on_buffers);
    if gave_up.is_some_and(|before| held >= before) {
        return refuse(task, reach);
    }
    let room = extent_at(task, offset, len).room;
    reach.lender.note_want(room, task.need(), reach.turn.now);
    task.unplaced = Some(Unplaced { offset, len, since: reach.turn.now });
    reach.lender.wait_for_place(reach.key);
    if let Some(session) = reach.session.as_deref_mut() {
        session.gave_up_on_buffers = None;
        session.hold_window();
    }
    Placement::Wait
}

/// A command is refused for want of buffers.
#[cold]
fn refuse(task: &mut Task, reach: &mut Reach<'_, '_>) -> Placement {
    task.fail(Fault::TaskSetFull);
    if let Some(session) = reach.session.as_deref_mut() {
        session.narrow_window();
    }
    Placement::Discard
}

/// The burst that holds `offset` of a task's data, of which `len` bytes come now; 0 where they are
/// yet to be asked for.
///
/// Immediate data that more is to follow is a burst of its own: it is written while the rest is on
/// its way, so its buffer waits for the initiator only where the data ends within a block.
fn extent_at(task: &Task, offset: u32, len: u32) -> Extent {
    let data = &task.data_out;
    let is_immediate = offset < data.immediate_burst;
    let (start, most) = if is_immediate {
        (0, data.immediate_burst)
    } else {
        let further = offset - data.immediate_burst;
        (offset - further % limits::BURST_LENGTH_MAX, limits::BURST_LENGTH_MAX)
    };
    let burst_len = (data.total - start).min(most);
    // Unasked data may be more than the command takes; the rest of it is not used, but it
    // needs a place.
    let unasked = data.unsolicited.filter(|_| !is_immediate).map_or(0, |s| s.end);
    let end = offset - start + len;
    let room = burst_len.max(unasked.saturating_sub(start)).max(end).min(limits::BURST_LENGTH_MAX);
    Extent { start, len: burst_len, room, is_promised: len > 0 }
}

/// Lends a buffer for the burst of a task's data that begins at or covers `offset`, with room for
/// `len` bytes there, and with it all that the work on the burst needs besides. Returns its part;
/// `None` where there is no buffer, or the task has enough bursts under way.
pub(super) fn open_burst(
    task: &mut Task,
    offset: u32,
    len: u32,
    reach: &mut Reach<'_, '_>,
) -> Option<usize> {
    let part = task.free_part()?;
    debug_assert!(offset < task.data_out.total, "no burst lies behind the data of use");
    let Extent { start, len, room, is_promised } = extent_at(task, offset, len);
    let burst = |buf, second, len, offset| Burst {
        buf,
        second,
        offset,
        len,
        received: 0,
        step: Step::Collect,
    };
    if task.work.needs_one_buffer() {
        let need = task.need();
        let lent = if is_promised {
            reach.lender.lend_promised(room, need)
        } else {
            reach.lender.lend(room, need)
        };
        task.bursts.put(part, burst(lent?, None, len, start));
        return Some(part);
    }
    let [second, chunk, chunk_second] = task.work.further_buffers(len, task.range.len);
    let lengths = [Some(room), second, chunk, chunk_second];
    let lent = reach.lender.lend_all(lengths, task.need(), is_promised);
    let [buf, second, chunk_buf, chunk_second] = lent?;
    let Some(buf) = buf else { unreachable!("a burst was asked for") };
    task.bursts.put(part, burst(buf, second, len, start));
    if let (Some(buf), Some(len)) = (chunk_buf, chunk) {
        task.bursts.put(CHUNK, burst(buf, chunk_second, len, 0));
    }
    Some(part)
}

/// Places data that waits, if there is a buffer by now.
fn place_waiting(task: &mut Task, reach: &mut Reach<'_, '_>) {
    let Some(Unplaced { offset, len, .. }) = task.unplaced else { unreachable!("its PDU waits") };
    let Some(part) = open_burst(task, offset, len, reach) else {
        return reach.lender.wait_for_place(reach.key);
    };
    task.unplaced = None;
    let placement = Placement::Buffer(slice_of(task, part, Run { offset, len }, reach));
    reach.turn.wake(Wake::Placed { conn: task.holder(), placement });
}

/// Drops data that waits: its task needs it no more.
pub(super) fn drop_waiting(task: &mut Task, reach: &mut Reach<'_, '_>) {
    if task.unplaced.take().is_some() {
        reach.lender.stop_waiting_for_place(reach.key);
        let placement = Placement::Discard;
        reach.turn.wake(Wake::Placed { conn: task.holder(), placement });
    }
}

/// Places data that waits, oldest first. What finds no buffer waits on, behind the others.
pub(super) fn serve_waiting(
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    let mut tries = tasks.lender.waiting_for_place().min(SERVED_AT_ONCE_MAX);
    while tries > 0
        && let Some(key) = tasks.lender.next_to_place()
    {
        tries -= 1;
        let found = tasks.visit(key, neighbours, turn, place_waiting);
        assert!(found.is_some(), "a task that ends drops its data");
    }
}

/// Refuses data that has waited for too long while no buffer came back that it could hope for:
/// where a disk hangs, the initiator must still be heard, to abort what it waits for.
pub(crate) fn refuse_overdue(
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    let is_overdue = |tasks: &Tasks, key: Key| {
        let Some((task, unplaced)) = tasks.get(key).and_then(|task| Some((task, task.unplaced?)))
        else {
            unreachable!("a task that ends drops its data")
        };
        let returned = tasks.lender.last_return_to(task.need(), unplaced.len);
        let since = unplaced.since.max(returned);
        turn.now.since(since) >= limits::PLACE_TIME_MAX
    };
    let overdue: Vec<Key> =
        tasks.lender.places_waited_for().filter(|&key| is_overdue(tasks, key)).collect();
    for key in overdue {
        tasks.visit(key, neighbours, turn, |task, reach| {
            refuse(task, reach);
            let held = reach.lender.held_by(task.holder());
            if let Some(session) = reach.session.as_deref_mut() {
                session.gave_up_on_buffers = Some(held);
            }
            drop_waiting(task, reach);
        });
    }
}

/// What a buffer that came back can be tried for: most often the first gets it.
const SERVED_AT_ONCE_MAX: usize = 8;
