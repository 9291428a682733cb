//! The PDUs that a connection has to send: which leave together, in which order, and what is done
//! when they have left.
//!
//! PDUs gather in batches. One batch at a time is with the kernel, and the next one fills
//! meanwhile:
//!
//! ```text
//!   batch, end_pdu --> filling --> waiting --take_next--> leaving --left--> Meaning
//!                         ^-----------^-------refused--------'
//! ```

use crate::action::{Sample, SendData};
use std::collections::VecDeque;
use units::{BufId, Mutant};

/// The send order of one connection. `B` is the bytes of a batch.
#[derive(Debug)]
pub struct Outbound<B> {
    /// Full ones.
    waiting: VecDeque<Batch<B>>,
    /// The last one, which may take more.
    filling: Option<Batch<B>>,
    /// What the batch means that is with the kernel.
    leaving: Option<Meaning>,
    /// Meanings to use again: their lists keep their room.
    spare: Vec<Meaning>,
}

/// PDUs that leave together.
#[derive(Debug)]
struct Batch<B> {
    bytes: B,
    meaning: Meaning,
}

/// What is to be done when a batch has left.
#[derive(Debug, Default)]
pub struct Meaning {
    /// Buffers that go back to the shard.
    pub returns: Vec<BufId>,
    /// What statistics learn, and of how many commands: those of one turn are often alike.
    pub samples: Vec<(Sample, u64)>,
    /// PDUs in the batch.
    pub pdus: u64,
}

impl Meaning {
    #[inline]
    fn learn(&mut self, sample: Option<&Sample>) {
        let Some(sample) = sample else { return };
        match self.samples.last_mut() {
            Some((last, count)) if last == sample => *count += 1,
            Some(_) | None => self.samples.push((*sample, 1)),
        }
    }

    fn clear(&mut self) {
        self.returns.clear();
        self.samples.clear();
        self.pdus = 0;
    }
}

impl<B> Default for Outbound<B> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), filling: None, leaving: None, spare: Vec::new() }
    }
}

impl<B> Outbound<B> {
    /// The batch that the next bytes go to: the last one, or a new one where that is full.
    #[inline]
    pub fn batch(&mut self, is_full: impl FnOnce(&B) -> bool, new: impl FnOnce() -> B) -> &mut B {
        if self.filling.as_ref().is_none_or(|batch| is_full(&batch.bytes)) {
            self.open(new());
        }
        let Some(batch) = &mut self.filling else { unreachable!("filled above") };
        &mut batch.bytes
    }

    #[cold]
    fn open(&mut self, bytes: B) {
        let meaning = self.spare.pop().unwrap_or_default();
        self.waiting.extend(self.filling.replace(Batch { bytes, meaning }));
    }

    /// The batch that was opened last, if it has not been taken.
    #[inline]
    pub fn last(&mut self) -> Option<&mut B> {
        self.filling.as_mut().map(|batch| &mut batch.bytes)
    }

    /// All bytes of a PDU are in their batches. What it means belongs to the batch that holds its
    /// end, even if that is full: another one might never leave.
    ///
    /// # Panics
    /// When no byte of it was queued.
    #[inline]
    pub fn end_pdu(&mut self, data: &SendData, sample: Option<&Sample>) {
        let Some(batch) = &mut self.filling else { unreachable!("a PDU has a header") };
        batch.meaning.pdus += 1;
        if let Some(buf) = returned_with(data) {
            batch.meaning.returns.push(buf);
        }
        batch.meaning.learn(sample);
    }

    /// Whether bytes that were left in a volume must be copied to their buffer before they are
    /// queued. PDUs that wait to be sent may wait for long: a slow peer must not get the bytes of
    /// much later. And a data digest must hold for the bytes that leave, while another command may
    /// change the volume.
    #[inline]
    pub fn must_copy(&self, data_digest: bool) -> bool {
        let is_behind = self.leaving.is_some() || !self.waiting.is_empty();
        data_digest || (is_behind && !Mutant::InPlaceBehindBacklog.is_active())
    }

    /// The batch to send now, if one waits and none is with the kernel. It then is, until
    /// [`Self::left`] or [`Self::refused`].
    #[inline]
    pub fn take_next(&mut self) -> Option<B> {
        if self.leaving.is_some() {
            return None;
        }
        if Mutant::BatchesReordered.is_active() && !self.waiting.is_empty() {
            self.waiting.extend(self.filling.take());
            self.waiting.swap(0, 1);
        }
        let Batch { bytes, meaning } = self.waiting.pop_front().or_else(|| self.filling.take())?;
        self.leaving = Some(meaning);
        Some(bytes)
    }

    /// The kernel did not take the batch: it is the next one again.
    ///
    /// # Panics
    /// When none is with the kernel.
    pub fn refused(&mut self, bytes: B) {
        let Some(meaning) = self.leaving.take() else { unreachable!("a batch was taken") };
        let batch = Batch { bytes, meaning };
        if self.waiting.is_empty() && self.filling.is_none() {
            self.filling = Some(batch);
        } else {
            self.waiting.push_front(batch);
        }
    }

    /// The kernel is done with its batch, sent or not: what is to be done. Give it back with
    /// [`Self::recycle`].
    ///
    /// # Panics
    /// When none is with the kernel.
    #[inline]
    pub fn left(&mut self) -> Meaning {
        let Some(meaning) = self.leaving.take() else { unreachable!("a batch was taken") };
        meaning
    }

    /// Keeps the lists of a meaning for the next batch, unless that many are kept already.
    #[inline]
    pub fn recycle(&mut self, mut meaning: Meaning) {
        if self.spare.len() < SPARE_MEANINGS_MAX {
            meaning.clear();
            self.spare.push(meaning);
        }
    }

    /// Drops the batch that waits longest. Its buffers go back to the shard: with the batch that
    /// is with the kernel, if there is one, because that may hold other bytes of them.
    pub fn abandon(&mut self) -> Option<(B, Meaning)> {
        let oldest = self.waiting.pop_front().or_else(|| self.filling.take())?;
        let Batch { bytes, mut meaning } = oldest;
        if let Some(leaving) = &mut self.leaving
            && !Mutant::BufferReturnedUnderSend.is_active()
        {
            leaving.returns.append(&mut meaning.returns);
        }
        Some((bytes, meaning))
    }

    /// Full batches that wait. Whether they are so many that nothing more should be read is the
    /// caller's to say.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// The bytes of the full batches that wait.
    pub fn waiting(&self) -> impl Iterator<Item = &B> {
        self.waiting.iter().map(|batch| &batch.bytes)
    }

    /// Whether a batch is with the kernel.
    pub const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether nothing waits to be sent or is being sent.
    pub fn is_flushed(&self) -> bool {
        self.waiting.is_empty() && self.filling.is_none() && self.leaving.is_none()
    }
}

/// A connection that keeps up has one batch with the kernel and one that fills; twice that is for
/// short stalls. A long queue is rare, and its lists are not kept.
const SPARE_MEANINGS_MAX: usize = 4;

/// The buffer that goes back when this data segment has left.
#[inline]
fn returned_with(data: &SendData) -> Option<BufId> {
    let SendData::Buffer { slice, last } = data else { return None };
    let returns =
        if Mutant::BufferReturnedBeforeLastSend.is_active() { slice.offset == 0 } else { *last };
    returns.then_some(slice.buf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use units::{BufSlice, Instant, VolumeId};

    /// Queues a PDU named by a character; a batch holds two.
    fn queue(outbound: &mut Outbound<String>, name: char, data: &SendData) {
        outbound.batch(|batch| batch.len() == 2, String::new).push(name);
        outbound.end_pdu(data, None);
    }

    fn buffer(buf: u32, offset: u32, last: bool) -> SendData {
        let slice = BufSlice { buf: BufId(buf), offset, len: 512 };
        SendData::Buffer { slice, last }
    }

    fn sample(bytes: u32) -> Sample {
        Sample {
            volume: VolumeId(0),
            operation: Operation::Read,
            bytes,
            fault: None,
            received_at: Instant(1),
            submitted_at: Instant(1),
            completed_at: Instant(1),
        }
    }

    #[test]
    fn batches_leave_one_at_a_time_in_the_order_of_their_pdus() {
        let mut outbound = Outbound::default();
        for name in "abcde".chars() {
            queue(&mut outbound, name, &SendData::None);
        }
        assert_eq!(outbound.backlog(), 2);
        assert_eq!(outbound.take_next().as_deref(), Some("ab"));
        assert_eq!(outbound.take_next(), None);
        assert_eq!(outbound.left().pdus, 2);
        assert_eq!(outbound.take_next().as_deref(), Some("cd"));
        outbound.refused("cd".into());
        assert_eq!(outbound.take_next().as_deref(), Some("cd"));
        assert_eq!(outbound.left().pdus, 2);
        queue(&mut outbound, 'f', &SendData::None);
        assert_eq!(outbound.take_next().as_deref(), Some("ef"));
        assert!(!outbound.is_flushed());
        outbound.left();
        assert!(outbound.is_flushed());
    }

    #[test]
    fn a_buffer_goes_back_with_the_last_pdu_that_names_it() {
        let mut outbound = Outbound::default();
        queue(&mut outbound, 'a', &buffer(1, 0, false));
        queue(&mut outbound, 'b', &buffer(1, 512, false));
        queue(&mut outbound, 'c', &buffer(1, 1024, true));
        queue(&mut outbound, 'd', &buffer(2, 0, true));
        assert_eq!(outbound.take_next().as_deref(), Some("ab"));
        assert_eq!(outbound.left().returns, []);
        assert_eq!(outbound.take_next().as_deref(), Some("cd"));
        assert_eq!(outbound.left().returns, [BufId(1), BufId(2)]);
    }

    #[test]
    fn what_never_leaves_gives_its_buffers_back_too() {
        let mut outbound = Outbound::default();
        queue(&mut outbound, 'a', &buffer(1, 0, true));
        let (bytes, meaning) = outbound.abandon().unwrap();
        assert_eq!((bytes.as_str(), meaning.returns.as_slice()), ("a", [BufId(1)].as_slice()));
        assert!(outbound.abandon().is_none());
    }

    /// The kernel still sent the first half of a buffer whose second half was dropped, while
    /// another command filled it.
    #[test]
    fn a_buffer_that_is_also_with_the_kernel_goes_back_when_that_is_done() {
        let mut outbound = Outbound::default();
        queue(&mut outbound, 'a', &SendData::None);
        queue(&mut outbound, 'b', &buffer(1, 0, false));
        queue(&mut outbound, 'c', &buffer(1, 512, true));
        assert_eq!(outbound.take_next().as_deref(), Some("ab"));
        let (_, dropped) = outbound.abandon().unwrap();
        assert_eq!(dropped.returns, []);
        assert_eq!(outbound.left().returns, [BufId(1)]);
    }

    #[test]
    fn bytes_may_leave_from_a_volume_only_where_nothing_is_ahead_of_their_batch() {
        let mut outbound = Outbound::default();
        assert!(!outbound.must_copy(false));
        assert!(outbound.must_copy(true), "a digest must hold");
        queue(&mut outbound, 'a', &SendData::None);
        assert!(!outbound.must_copy(false));
        outbound.take_next();
        assert!(outbound.must_copy(false), "a batch is with the kernel");
        outbound.left();
        for name in "bcd".chars() {
            queue(&mut outbound, name, &SendData::None);
        }
        assert!(outbound.must_copy(false), "a batch waits");
    }

    #[test]
    fn like_samples_in_a_row_are_counted_together() {
        let mut outbound = Outbound::default();
        let full = |_: &String| false;
        for bytes in [512, 512, 4096] {
            outbound.batch(full, String::new).push('x');
            outbound.end_pdu(&SendData::None, Some(&sample(bytes)));
        }
        outbound.take_next();
        let meaning = outbound.left();
        let counts: Vec<_> = meaning.samples.iter().map(|(s, n)| (s.bytes, *n)).collect();
        assert_eq!(counts, [(512, 2), (4096, 1)]);
        outbound.recycle(meaning);
        queue(&mut outbound, 'y', &SendData::None);
        outbound.take_next();
        assert_eq!(outbound.left().samples, []);
    }
}
