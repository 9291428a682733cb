//! Volumes without a backing store: writes are dropped, reads return zeros.

use super::ended;
use crate::buffers::Buffers;
use shard::IoResult;
use volume::BlockRequest;

/// Carries out a request.
pub(super) fn perform(request: &BlockRequest, buffers: &mut Buffers) -> IoResult {
    match *request {
        BlockRequest::Read { into, .. } => ended(buffers.zero(into)),
        BlockRequest::Write { from, last_use, .. } => {
            if last_use {
                buffers.drop_bytes(from);
            }
            IoResult::Done
        }
        BlockRequest::Flush | BlockRequest::Space { .. } => IoResult::Done,
        BlockRequest::MapQuery(range) => IoResult::Mapped { len: range.len, allocated: false },
    }
}
