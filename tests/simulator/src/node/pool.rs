//! The memory of a reactor's pool, and who uses which bytes of it just now.

use crate::rng::size;
use units::{BufId, BufSlice, PoolLayout};

/// How bytes of a buffer are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// They are read: by the backend or a socket. They must not change.
    Reads,
    /// They are written: by the backend or a socket.
    Writes,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    id: u64,
    slice: BufSlice,
    kind: Use,
}

/// The memory of one reactor.
#[derive(Debug)]
pub(super) struct Pool {
    layout: PoolLayout,
    memory: Vec<Vec<u8>>,
    /// Bytes of each buffer that were looked at since it was lent.
    used: Vec<usize>,
    claims: Vec<Vec<Claim>>,
}

impl Pool {
    pub(super) fn new(layout: PoolLayout) -> Self {
        let count = size(layout.buffer_count());
        Self {
            layout,
            memory: vec![Vec::new(); count],
            used: vec![0; count],
            claims: vec![Vec::new(); count],
        }
    }

    fn touch(&mut self, buf: BufId) -> &mut Vec<u8> {
        let memory = &mut self.memory[size(buf.0)];
        if memory.is_empty() {
            let class = self.layout.locate(buf).map_or(0, |(class, _)| class);
            *memory = vec![POISON; size(self.layout.classes()[class].bytes)];
        }
        memory
    }

    /// The bytes of a slice.
    pub(super) fn bytes(&mut self, slice: BufSlice) -> &mut [u8] {
        let from = size(slice.offset);
        let to = from + size(slice.len);
        let used = &mut self.used[size(slice.buf.0)];
        *used = to.max(*used);
        let memory = self.touch(slice.buf);
        let to = to.min(memory.len());
        &mut memory[from.min(to)..to]
    }

    /// Says that a slice is used, until `release` of the same `id`.
    pub(super) fn claim(&mut self, slice: BufSlice, kind: Use, id: u64) -> Result<(), String> {
        self.check(slice, kind)?;
        self.claims[size(slice.buf.0)].push(Claim { id, slice, kind });
        Ok(())
    }

    /// Whether a slice may be used so: it lies within its buffer, and nobody else minds.
    pub(super) fn check(&self, slice: BufSlice, kind: Use) -> Result<(), String> {
        let Some((class, _)) = self.layout.locate(slice.buf) else {
            return Err(format!("{slice:?} names no buffer of the pool"));
        };
        let bytes = u64::from(self.layout.classes()[class].bytes);
        if u64::from(slice.offset) + u64::from(slice.len) > bytes {
            return Err(format!("{slice:?} reaches past its buffer of {bytes} bytes"));
        }
        let minds = |c: &&Claim| {
            (kind == Use::Writes || c.kind == Use::Writes)
                && c.slice.offset < slice.offset + slice.len
                && slice.offset < c.slice.offset + c.slice.len
        };
        match self.claims[size(slice.buf.0)].iter().find(minds) {
            Some(claim) => Err(format!("{slice:?} is to be used ({kind:?}) while {claim:?} is")),
            None => Ok(()),
        }
    }

    /// Copies bytes to where they belong.
    pub(super) fn fill(&mut self, slice: BufSlice, bytes: &[u8]) -> Result<(), String> {
        let into = self.bytes(slice);
        if into.len() != bytes.len() {
            return Err(format!("{} bytes do not fit into {slice:?}", bytes.len()));
        }
        into.copy_from_slice(bytes);
        Ok(())
    }

    /// A use is over.
    pub(super) fn release(&mut self, buf: BufId, id: u64) {
        self.claims[size(buf.0)].retain(|c| c.id != id);
    }

    /// The buffer goes back to its shard: nobody may use it any more, and what it held is gone.
    pub(super) fn give_back(&mut self, buf: BufId) -> Result<(), String> {
        if let Some(claim) = self.claims[size(buf.0)].first() {
            return Err(format!("{buf:?} goes back while {claim:?} uses it"));
        }
        let used = std::mem::take(&mut self.used[size(buf.0)]);
        let memory = self.touch(buf);
        let used = used.min(memory.len());
        memory[..used].fill(POISON);
        Ok(())
    }
}

/// What nobody ever wrote.
const POISON: u8 = 0xdb;

#[cfg(test)]
mod tests {
    use super::*;
    use units::SizeClass;

    #[test]
    fn bytes_that_are_read_must_not_be_written() {
        let layout = PoolLayout::new(vec![SizeClass { bytes: 4096, count: 1 }]);
        let mut pool = Pool::new(layout);
        let slice = |offset, len| BufSlice { buf: BufId(0), offset, len };
        assert!(pool.claim(slice(0, 512), Use::Reads, 1).is_ok());
        assert!(pool.claim(slice(0, 512), Use::Reads, 2).is_ok());
        assert!(pool.claim(slice(511, 1), Use::Writes, 3).is_err());
        assert!(pool.claim(slice(512, 1), Use::Writes, 3).is_ok());
        assert!(pool.claim(slice(4096, 1), Use::Reads, 4).is_err());
        assert!(pool.give_back(BufId(0)).is_err());
    }
}
