//! Deliberate faults, to prove that the simulator's checkers see them.
//!
//! Code that a mutant breaks asks [`Mutant::is_active`] at the point of the fault. Ordinary builds
//! answer with the constant `false`, so nothing of it remains in them. A build with
//! `RUSTFLAGS='--cfg mutants'` holds every mutant at once and activates one at run time, for the
//! thread that runs the world.

/// One deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// A reservation of another nexus does not hold up a WRITE.
    ReservationIgnored,
    /// A unit attention is dropped instead of reported.
    AttentionDropped,
    /// A buffer goes back to the lender with the first of several Data-In PDUs that name it.
    BufferReturnedBeforeLastSend,
    /// A job whose task was aborted is carried out nevertheless.
    CancelledJobPerformed,
    /// One completion of a backend request is counted twice.
    CompletionCountedTwice,
    /// Data with a bad digest is written.
    DigestFaultIgnored,
    /// Write-through (WCE=0) leaves out the flush after a change of space.
    FlushSkipped,
    /// The home of a logical unit starts a job beside the running one.
    HomeRunsTwoJobs,
    /// A held range does not hold up an overlapping WRITE.
    HeldRangeIgnored,
    /// An atomic update releases its range before its write has completed.
    RangeReleasedEarly,
    /// An atomic update does not wait for overlapping writes that began before it.
    RangeHeldTooEarly,
    /// The door forgets one waiter when a range is released.
    WaiterForgotten,
    /// An abort is answered while a request of the task is at the medium.
    TaskQuietTooEarly,
    /// A session counts as over while requests of its tasks are at the medium.
    SessionOverTooEarly,
    /// An ordered task waits for none before it.
    TaskOrderIgnored,
    /// The command window does not follow the buffers: it opens further while data waits for one.
    WindowIgnoresBuffers,
    /// A command window that was narrowed stays so.
    WindowNeverReopens,
    /// A command gives its place in the command window back twice.
    WindowRetiredTwice,
    /// The second burst of a transfer starts at the offset of the first.
    BurstOffsetRepeated,
    /// A Data-Out PDU lands at the start of its burst, whatever its Buffer Offset.
    DataOutOffsetIgnored,
    /// A data segment that is still in the receive buffer is not placed before its buffer is read.
    PlacementForgotten,
    /// Bytes left in a memory volume are sent from there although earlier PDUs have not left.
    InPlaceBehindBacklog,
    /// A buffer that stood for bytes in a memory volume still does after it was filled.
    InPlaceNotForgotten,
    /// The second of two queued batches leaves first.
    BatchesReordered,
    /// A batch that is dropped gives its buffers back while the kernel sends other bytes of them.
    BufferReturnedUnderSend,
    /// A write that has to be durable (FUA, WCE=0) is not.
    DurabilityForgotten,
    /// The lender forgets a task that waits for a buffer.
    HungryForgotten,
    /// WRITE AND VERIFY says that it does not need its data after the write.
    LastUseClaimed,
    /// A read whose bytes are compared says that they are only sent.
    OnlyToSendClaimed,
    /// A buffer that a socket was filling when its connection ended does not come back.
    OwedBufferForgotten,
    /// A LUN that allows no writes does not hold up a WRITE.
    ReadOnlyIgnored,
    /// Data-In that carries the status carries no sample.
    SampleForgotten,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Self; 32] = [
        Self::ReservationIgnored,
        Self::AttentionDropped,
        Self::BufferReturnedBeforeLastSend,
        Self::CancelledJobPerformed,
        Self::CompletionCountedTwice,
        Self::DigestFaultIgnored,
        Self::FlushSkipped,
        Self::HomeRunsTwoJobs,
        Self::HeldRangeIgnored,
        Self::RangeReleasedEarly,
        Self::RangeHeldTooEarly,
        Self::WaiterForgotten,
        Self::TaskQuietTooEarly,
        Self::SessionOverTooEarly,
        Self::TaskOrderIgnored,
        Self::WindowIgnoresBuffers,
        Self::WindowNeverReopens,
        Self::WindowRetiredTwice,
        Self::BurstOffsetRepeated,
        Self::DataOutOffsetIgnored,
        Self::PlacementForgotten,
        Self::InPlaceBehindBacklog,
        Self::InPlaceNotForgotten,
        Self::BatchesReordered,
        Self::BufferReturnedUnderSend,
        Self::DurabilityForgotten,
        Self::HungryForgotten,
        Self::LastUseClaimed,
        Self::OnlyToSendClaimed,
        Self::OwedBufferForgotten,
        Self::ReadOnlyIgnored,
        Self::SampleForgotten,
    ];

    /// Whether this fault is to be made here and now.
    #[cfg(not(mutants))]
    #[inline]
    pub const fn is_active(self) -> bool {
        false
    }

    /// Whether this fault is to be made here and now.
    #[cfg(mutants)]
    pub fn is_active(self) -> bool {
        ACTIVE.get() == Some(self)
    }

    /// Activates one mutant on this thread, or none.
    #[cfg(mutants)]
    pub fn activate(mutant: Option<Self>) {
        ACTIVE.set(mutant);
    }
}

#[cfg(mutants)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}
