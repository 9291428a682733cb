//! The only crate with unsafe code: rings, operation table, arena, buffers, sockets, affinity.
//!
//! One [`Driver`] belongs to one reactor thread. Its public interface is safe: no caller can
//! make the kernel and Rust code race on memory.
//!
//! What upholds that:
//! - What the kernel may touch is owned by the operation table ([`Driver`]) until the
//!   completion has been reaped; completions are told apart by slot and generation, never by
//!   pointer.
//! - Payload lives in a [`Pool`] that is addressed by name ([`units::BufSlice`]). The pool counts
//!   the kernel's reads and writes of each buffer and refuses a reference that would overlap.
//! - A received buffer is out of the kernel's reach until its [`RecvBuffer`] is given back, and a
//!   [`RecvBuffer`] cannot be copied.
//! - When a driver is dropped, it cancels everything and waits; what the kernel will not let go
//!   is leaked, never unmapped.

pub mod affinity;
pub mod allocator;
mod clock;
mod completion;
mod copy;
mod driver;
mod errors;
pub mod file;
mod files;
mod fixed_list;
mod gather;
pub mod limits;
mod mapping;
mod memory;
mod napi;
mod op;
mod pool;
mod receive;
mod reserve;
mod ring;
pub mod signals;
pub mod socket;
mod sockets;
mod table;
mod versions;
mod waker;

pub use clock::now;
pub use completion::Completion;
pub use driver::{Counters, Driver, DriverOptions, Wait};
pub use errors::{Errno, Refusal, Refused, SetupError, Warning};
pub use files::FileId;
pub use gather::{Gather, StoreBytes};
pub use memory::{MemoryStore, OutOfStore};
pub use napi::Napi;
pub use op::fallocate::{Fallocate, FileRange};
pub use op::read::FileRead;
pub use op::write::FileWrite;
pub use pool::{Pool, PoolMut};
pub use receive::{ReceiveBuffers, RecvBuffer, RecvSlice};
pub use reserve::ReserveDescriptor;
pub use sockets::SocketId;
pub use waker::Waker;
