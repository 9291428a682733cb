//! What a shard asks the reactor to do, as values.

use crate::combine::Combination;
use crate::event::{CommandFault, Event};
use crate::message::{HandedOver, Message};
use crate::operation::{OpId, Operation};
use std::collections::VecDeque;
use units::{BufId, BufSlice, ConnId, Instant, ReactorId, VolumeId};
use volume::BlockRequest;

/// Where the data segment of the PDU goes whose header the shard has just seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into this buffer: the slice is exactly as long as the data segment.
    Buffer(BufSlice),
    /// Nowhere: the bytes are read and dropped.
    Discard,
    /// To the shard itself, run by run (`handle_segment`): text and parameter lists.
    Engine,
    /// Nobody knows yet: no buffer is free. Nothing more of the connection is looked at until
    /// [`Action::Place`] says where its data segment goes.
    Wait,
}

/// The data segment of a PDU to send. Its tag is a byte of its own, as that of [`Action`].
#[derive(Debug)]
#[repr(u8)]
pub enum SendData {
    /// None.
    None,
    /// These bytes: text, sense, parameter data. Control path only.
    Bytes(Vec<u8>),
    /// Bytes of a lent buffer.
    Buffer {
        /// The bytes.
        slice: BufSlice,
        /// The buffer is not needed once these bytes have left: the reactor then calls
        /// `handle_buffer_returned`. It does so too where the connection ends first.
        last: bool,
    },
}

/// What statistics learn of one command, carried by the PDU that ends it. Moments are those
/// at which the shard was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The volume.
    pub volume: VolumeId,
    /// The kind of command.
    pub operation: Operation,
    /// Bytes that the command moved.
    pub bytes: u32,
    /// Why it did not end with GOOD.
    pub fault: Option<CommandFault>,
    /// The command's header was there.
    pub received_at: Instant,
    /// The first backend operation was handed to the reactor.
    pub submitted_at: Instant,
    /// The last backend operation had ended.
    pub completed_at: Instant,
}

/// How a backend operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoResult {
    /// All of it was done.
    Done,
    /// A compare met its first difference at this byte of the compared range.
    Differs {
        /// Bytes from the start of the range.
        at: u32,
    },
    /// The answer to [`BlockRequest::MapQuery`]: the first run of the range.
    Mapped {
        /// Bytes of the run.
        len: u64,
        /// The run has blocks behind it.
        allocated: bool,
    },
    /// The backend has no room left (ENOSPC, EDQUOT).
    NoSpace,
    /// The backend failed: the medium, the transport, a short transfer. `errno` of it.
    Failed(i32),
}

/// What becomes of the PDUs that are queued on a connection when it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// They are dropped, and their buffers return as soon as the kernel has let go of them: the
    /// session was dropped, and its peer may never read.
    Abandon,
    /// They leave first, for at most [`units::limits::DRAIN_TIME_MAX`]: the last one tells the
    /// peer how its session ended.
    Drain,
}

/// What a connection has moved, the answer to [`Action::Probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in both directions since it began, as far as the peer has acknowledged them.
    pub bytes: u64,
    /// Some wait to be sent, or a data segment to be filled.
    pub is_due: bool,
}

/// One thing for the reactor to do. Its tag is a byte of its own: every action is asked for its
/// kind, and the compiler would hide that in a field of one of them.
#[derive(Debug)]
#[repr(u8)]
pub enum Action {
    /// Close a connection. The shard has forgotten it: no `handle_*` for it follows but
    /// `handle_buffer_returned` and backend completions.
    Close {
        /// The connection.
        conn: ConnId,
        /// What becomes of the PDUs that are queued on it.
        closing: Closing,
    },
    /// Combine the bytes of two buffers; answer with `handle_io`.
    Combine {
        /// The operation.
        op: OpId,
        /// What makes the answer of the bytes, and may change `second`.
        by: Combination,
        /// The bytes that only go in, such as those that the initiator sent.
        first: BufSlice,
        /// The bytes that go in and come out, such as those that the medium holds.
        second: BufSlice,
    },
    /// From here on the connection's PDUs carry these digests, both ways, behind everything that
    /// is queued to be sent now.
    EnterFullFeaturePhase {
        /// The connection.
        conn: ConnId,
        /// Headers carry CRC32C.
        header_digest: bool,
        /// Data segments carry CRC32C.
        data_digest: bool,
        /// Data segments that the initiator sends may be this long, in bytes.
        max_data_segment_length: u32,
    },
    /// Let another reactor have the connection, after what is queued to be sent has left. No
    /// further byte of it is parsed here; bytes received already travel with it.
    HandOver {
        /// The connection.
        conn: ConnId,
        /// The reactor that takes it.
        to: ReactorId,
        /// What that reactor's shard needs to go on (`adopt`).
        state: Box<HandedOver>,
    },
    /// Access the medium of a volume; answer with `handle_io`.
    Io {
        /// The operation.
        op: OpId,
        /// The volume.
        volume: VolumeId,
        /// What to do.
        request: BlockRequest,
    },
    /// The data segment of a connection for which the answer was [`Placement::Wait`] goes there.
    Place {
        /// The connection.
        conn: ConnId,
        /// Not [`Placement::Wait`].
        placement: Placement,
    },
    /// Give a message to another reactor's shard, in order (`handle_message`).
    Post {
        /// The reactor.
        to: ReactorId,
        /// The message.
        message: Box<Message>,
    },
    /// Look whether a connection moves bytes; answer with `handle_progress` where the kernel tells.
    Probe(ConnId),
    /// Fill a buffer by repeating a block, at once.
    Replicate {
        /// The block.
        block: BufSlice,
        /// The buffer; its length is a multiple of the block's.
        into: BufSlice,
    },
    /// Let the operator know.
    Report(Box<Event>),
    /// Queue a PDU on a connection. The reactor adds padding and digests.
    Send {
        /// The connection.
        conn: ConnId,
        /// The basic header segment, its data segment length filled in.
        header: [u8; 48],
        /// The data segment.
        data: SendData,
        /// What statistics learn when the PDU has left.
        sample: Option<Sample>,
    },
    /// Fill a buffer with zeros, at once.
    ZeroFill(BufSlice),
    /// Hand a buffer straight back with `handle_buffer_returned`, once the PDUs queued on the
    /// connection so far have left. Nothing is sent.
    Return {
        /// The connection whose PDUs may still name the buffer.
        conn: ConnId,
        /// The buffer.
        buf: BufId,
    },
}

/// The queue of actions: owned by the reactor, filled by the shard, drained after each call.
#[derive(Debug, Default)]
pub struct Actions {
    /// The oldest. Most often it is the only one, so that the queue behind it is not touched.
    first: Option<Action>,
    /// Those behind it; none where there is no first.
    rest: VecDeque<Action>,
}

impl Actions {
    /// An empty queue with room for `capacity` actions, so that steady state never grows it.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { first: None, rest: VecDeque::with_capacity(capacity) }
    }

    /// Puts an action behind the others.
    #[inline]
    pub fn push(&mut self, action: Action) {
        if self.first.is_none() {
            self.first = Some(action);
        } else {
            self.rest.push_back(action);
        }
    }

    /// The oldest action. What does not have to own it reads it in place: an action is large.
    #[inline]
    pub const fn front(&self) -> Option<&Action> {
        self.first.as_ref()
    }

    /// Drops the oldest action, which has been carried out.
    #[inline]
    pub fn drop_front(&mut self) {
        if let Some(
            Action::Io { .. } | Action::Send { data: SendData::None | SendData::Buffer { .. }, .. },
        ) = self.first
        {
            // Nothing of the most frequent ones is to be dropped, which the compiler does not see.
            std::mem::forget(self.first.take());
        }
        if self.rest.is_empty() {
            self.first = None;
        } else {
            self.first = self.rest.pop_front();
        }
    }

    /// Takes the oldest action.
    #[inline]
    pub fn pop(&mut self) -> Option<Action> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    /// Whether there is nothing to do.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(number: u32) -> Action {
        let key = units::Key { index: number, generation: 0 };
        Action::Close { conn: ConnId(key), closing: Closing::Drain }
    }

    fn number(action: &Action) -> u32 {
        let Action::Close { conn, .. } = action else { unreachable!("only those are pushed") };
        conn.0.index
    }

    #[test]
    fn actions_come_out_in_the_order_in_which_they_went_in() {
        let mut actions = Actions::with_capacity(2);
        assert!(actions.is_empty() && actions.front().is_none() && actions.pop().is_none());
        actions.push(action(1));
        actions.push(action(2));
        assert_eq!(actions.pop().as_ref().map(number), Some(1));
        // Carrying an action out may ask for further ones.
        actions.push(action(3));
        assert_eq!(actions.front().map(number), Some(2));
        actions.drop_front();
        assert_eq!(actions.pop().as_ref().map(number), Some(3));
        assert!(actions.is_empty() && actions.front().is_none());
        actions.drop_front();
        actions.push(action(4));
        assert_eq!(actions.pop().as_ref().map(number), Some(4));
        assert!(actions.pop().is_none());
    }
}
