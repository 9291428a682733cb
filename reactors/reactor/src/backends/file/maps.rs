//! Where a file has blocks (GET LBA STATUS). The ring has no operation for that, and the system
//! call waits where the file system hangs. So a thread of each domain makes it; it is started by
//! the first query, which few initiators send.

use crate::backends::EIO;
use shard::IoResult;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use units::Key;
use uring::Waker;
use volume::ByteRange;

/// The queries of one reactor.
#[derive(Debug)]
pub(super) struct Maps {
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    /// Queries without an answer.
    asked: u32,
}

/// The thread of a domain.
#[derive(Debug)]
pub(super) struct Mapper {
    queries: Sender<Query>,
}

/// One query.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) key: Key,
    pub(super) fd: Arc<OwnedFd>,
    /// Bytes of the volume.
    pub(super) size: u64,
    pub(super) range: ByteRange,
}

/// How a query ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) key: Key,
    pub(super) result: IoResult,
}

impl Maps {
    pub(super) fn new() -> Self {
        let (answer, answers) = channel();
        Self { answers, answer, asked: 0 }
    }

    /// Gives a query to the thread of its domain. The answer wakes the reactor. Where the thread
    /// cannot be started, the query has failed.
    pub(super) fn ask(
        &mut self,
        mapper: &mut Option<Mapper>,
        query: Query,
        waker: impl FnOnce() -> Waker,
    ) -> Option<IoResult> {
        if mapper.is_none() {
            match Mapper::start(self.answer.clone(), waker()) {
                Ok(started) => *mapper = Some(started),
                Err(error) => return Some(IoResult::Failed(error.raw_os_error().unwrap_or(EIO))),
            }
        }
        let sent = mapper.as_ref().is_some_and(|mapper| mapper.queries.send(query).is_ok());
        assert!(sent, "the thread takes queries as long as its domain lives");
        self.asked += 1;
        None
    }

    /// The next answer that has come.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Answer> {
        if self.asked == 0 {
            return None;
        }
        let answer = self.answers.try_recv().ok()?;
        self.asked -= 1;
        Some(answer)
    }
}

impl Mapper {
    fn start(answer: Sender<Answer>, waker: Waker) -> std::io::Result<Self> {
        let (queries, asked) = channel::<Query>();
        let thread = std::thread::Builder::new().name("block-map".into());
        thread.spawn(move || {
            for Query { key, fd, size, range } in asked {
                let result = map(&fd, size, range);
                // Before the reactor learns that nothing of the file is under way.
                drop(fd);
                if answer.send(Answer { key, result }).is_err() {
                    return;
                }
                waker.wake();
            }
        })?;
        Ok(Self { queries })
    }
}

/// The first run of a range that has blocks behind it, or has none.
fn map(fd: &OwnedFd, size: u64, range: ByteRange) -> IoResult {
    let ByteRange { offset, len } = range;
    match uring::file::extent_at(fd, offset, size) {
        Ok(Some(run)) => {
            IoResult::Mapped { len: (run.end - offset).min(len), allocated: run.is_allocated }
        }
        Ok(None) => IoResult::Mapped { len, allocated: false },
        Err(error) => IoResult::Failed(error.raw_os_error().unwrap_or(EIO)),
    }
}
