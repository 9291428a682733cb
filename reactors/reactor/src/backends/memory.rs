//! Volumes in memory: every request ends at once.

use super::{Memory, Volumes, ended};
use crate::buffers::{Buffers, StoreWrite};
use shard::IoResult;
use units::VolumeId;
use volume::BlockRequest;

/// Carries out a request.
#[inline]
pub(super) fn perform(
    request: &BlockRequest,
    volume: VolumeId,
    memory: &Memory,
    volumes: &Volumes,
    buffers: &mut Buffers,
) -> IoResult {
    let Memory { store, leaves_in_place } = memory;
    match *request {
        BlockRequest::Read { offset, into, only_to_send } if only_to_send && *leaves_in_place => {
            buffers.leave_in_volume(into, volume, offset);
            ended(store.prefetch(offset, into.len))
        }
        BlockRequest::Read { offset, into, only_to_send: _ } => {
            ended(buffers.read_store(store, offset, into))
        }
        BlockRequest::Write { offset, from, durable: _, last_use } => {
            let write = StoreWrite { offset, from, last_use };
            ended(buffers.write_store(store, write, volumes))
        }
        BlockRequest::Flush => IoResult::Done,
        // Both read as zeros from now on, and neither gives memory back.
        BlockRequest::Space { change: _, range } => {
            ended(store.zero(range.offset, range.len).is_ok())
        }
        BlockRequest::MapQuery(range) => IoResult::Mapped { len: range.len, allocated: true },
    }
}
