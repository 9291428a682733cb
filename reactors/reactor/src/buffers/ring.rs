//! The reactor's ring: the driver without the bytes of its buffers.
//!
//! What reads or writes a lent buffer, or ends the life of received bytes, is visible in
//! [`super`] only: everybody else goes through [`Buffers`](super::Buffers).

use super::Parcel;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use units::BufSlice;
use uring::{
    Completion, Driver, Errno, Fallocate, FileId, FileRange, FileRead, FileWrite, Pool, PoolMut,
    ReceiveBuffers, RecvBuffer, Refusal, Refused, SocketId, Wait, Waker,
};

/// One ring with its sockets and files.
pub(crate) struct Ring {
    driver: Driver,
}

impl Ring {
    pub(super) const fn new(driver: Driver) -> Self {
        Self { driver }
    }

    /// Submits what is queued and, if `wait` says so, sleeps.
    pub(crate) fn submit(&mut self, wait: Wait) -> io::Result<()> {
        self.driver.submit(wait)
    }

    /// Moves about `max` completions to `out`, and returns how many.
    pub(crate) fn reap(&mut self, max: usize, out: &mut Vec<Completion>) -> usize {
        self.driver.reap(max, out)
    }

    /// How many times the ring was entered.
    pub(crate) const fn enters(&self) -> u64 {
        self.driver.counters().enters
    }

    pub(crate) fn add_listener(&mut self, fd: OwnedFd) -> Result<SocketId, Refused<OwnedFd>> {
        self.driver.add_listener(fd)
    }

    pub(crate) fn accept(&mut self, listener: SocketId, token: u64) -> Result<(), Refusal> {
        self.driver.accept(listener, token)
    }

    pub(crate) fn add_socket(&mut self, fd: OwnedFd) -> Result<SocketId, Refused<OwnedFd>> {
        self.driver.add_socket(fd)
    }

    pub(crate) fn shutdown(&mut self, socket: SocketId) {
        self.driver.shutdown(socket);
    }

    /// Bytes that a connection has moved in both directions.
    pub(crate) fn bytes_moved(&self, socket: SocketId) -> Option<u64> {
        self.driver.bytes_moved(socket)
    }

    pub(crate) fn close(&mut self, socket: SocketId) {
        self.driver.close(socket);
    }

    pub(crate) fn release(&mut self, socket: SocketId) -> Result<OwnedFd, Refusal> {
        self.driver.release(socket)
    }

    pub(crate) fn is_receiving(&self, socket: SocketId) -> bool {
        self.driver.is_receiving(socket)
    }

    pub(crate) fn cancel_recv(&mut self, socket: SocketId) {
        self.driver.cancel_recv(socket);
    }

    /// Receives into any of the shared receive buffers.
    pub(crate) fn recv(&mut self, socket: SocketId, token: u64) -> Result<(), Refusal> {
        self.driver.recv(socket, token)
    }

    /// Sends a parcel; gives it back where the kernel did not take it.
    pub(crate) fn send(
        &mut self,
        socket: SocketId,
        token: u64,
        parcel: Parcel,
    ) -> Result<(), Parcel> {
        self.driver.send(socket, token, parcel.0).map_err(|refused| Parcel(refused.given))
    }

    /// An empty parcel.
    pub(crate) fn parcel(&mut self) -> Parcel {
        Parcel(self.driver.gather())
    }

    /// Has memory of parcels freed that was not needed lately.
    pub(crate) fn trim_parcels(&mut self) {
        self.driver.trim_gathers();
    }

    /// Frees some of it; returns whether there was any.
    #[inline]
    pub(crate) fn free_parcels(&mut self) -> bool {
        self.driver.free_gathers()
    }

    /// Keeps the memory of a parcel that is not needed any more.
    pub(crate) fn recycle_parcel(&mut self, parcel: Parcel) {
        self.driver.recycle_gather(parcel.0);
    }

    pub(crate) fn add_file(&mut self, fd: Arc<OwnedFd>) -> Result<FileId, Refusal> {
        self.driver.add_file(fd)
    }

    pub(crate) fn remove_file(&mut self, file: FileId) -> Result<(), Refusal> {
        self.driver.remove_file(file)
    }

    /// What wakes the reactor from another thread.
    pub(crate) fn waker(&self) -> Waker {
        self.driver.waker()
    }

    pub(crate) fn set_workers_max(&mut self, most: u32) -> Result<(), Errno> {
        self.driver.set_workers_max(most)
    }

    pub(crate) fn fsync(&mut self, file: FileId, token: u64) -> Result<(), Refusal> {
        self.driver.fsync(file, token, true)
    }

    pub(crate) fn fallocate(
        &mut self,
        file: FileId,
        token: u64,
        mode: Fallocate,
        range: volume::ByteRange,
    ) -> Result<(), Refusal> {
        self.driver.fallocate(file, token, mode, FileRange { offset: range.offset, len: range.len })
    }

    /// The bytes of a receive.
    pub(crate) fn received(&self, buffer: &RecvBuffer) -> &[u8] {
        self.driver.received(buffer)
    }

    pub(super) fn recycle(&mut self, buffer: RecvBuffer) {
        self.driver.recycle(buffer);
    }

    pub(super) fn pool(&self) -> &Pool {
        self.driver.pool()
    }

    pub(super) fn pool_mut(&mut self) -> PoolMut<'_> {
        self.driver.pool_mut()
    }

    pub(super) fn parts(&mut self) -> (&ReceiveBuffers, PoolMut<'_>) {
        self.driver.parts()
    }

    pub(super) fn recv_into(
        &mut self,
        socket: SocketId,
        token: u64,
        slice: BufSlice,
    ) -> Result<(), Refusal> {
        self.driver.recv_into(socket, token, slice)
    }

    pub(super) fn read(&mut self, file: FileId, token: u64, read: FileRead) -> Result<(), Refusal> {
        self.driver.read(file, token, read)
    }

    pub(super) fn write(
        &mut self,
        file: FileId,
        token: u64,
        write: FileWrite,
    ) -> Result<(), Refusal> {
        self.driver.write(file, token, write)
    }
}
