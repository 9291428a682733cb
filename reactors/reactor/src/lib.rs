//! One pinned thread per core: the bounded turn, connection I/O, mailboxes, timers, statistics.

mod mailbox;
pub mod stats;
