//! Threads for what may block, so that the control thread never does.

use reactor::Alarm;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// A pool of threads that grows up to a limit while all of them are busy. Jobs begin in the order
/// in which they are given; what each returns goes into a channel, and then the alarm rings.
pub(crate) struct Workers<T> {
    shared: Arc<Shared<T>>,
    name: &'static str,
    threads: usize,
    threads_max: usize,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    is_changed: Condvar,
    completions: Sender<T>,
    alarm: Alarm,
}

struct Queue<T> {
    waiting: VecDeque<Job<T>>,
    idle_threads: usize,
    is_closed: bool,
}

impl<T> fmt::Debug for Workers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("name", &self.name).field("threads", &self.threads).finish()
    }
}

impl<T: Send + 'static> Workers<T> {
    /// A pool with its first thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(
        name: &'static str,
        threads_max: usize,
        completions: Sender<T>,
        alarm: Alarm,
    ) -> io::Result<Self> {
        let queue = Queue { waiting: VecDeque::new(), idle_threads: 0, is_closed: false };
        let shared =
            Shared { queue: Mutex::new(queue), is_changed: Condvar::new(), completions, alarm };
        let mut workers = Self { shared: Arc::new(shared), name, threads: 0, threads_max };
        workers.spawn()?;
        Ok(workers)
    }

    /// Gives a job to the pool; never waits.
    pub(crate) fn run(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let mut queue = self.shared.lock();
        queue.waiting.push_back(Box::new(job));
        let needs_thread = queue.waiting.len() > queue.idle_threads;
        drop(queue);
        self.shared.is_changed.notify_one();
        if needs_thread
            && self.threads < self.threads_max
            && let Err(error) = self.spawn()
        {
            // There is one at least, which comes to it later.
            tracing::warn!(%error, pool = self.name, "cannot start another worker thread");
        }
    }

    fn spawn(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let name = format!("{}-{}", self.name, self.threads);
        std::thread::Builder::new().name(name).spawn(move || shared.work())?;
        self.threads += 1;
        Ok(())
    }
}

impl<T> Shared<T> {
    /// The queue is whole even where a thread has panicked: no method leaves it in between.
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _whole = AllOrNothing;
        while let Some(job) = self.next() {
            let completion = job();
            // The receiver goes when the daemon ends.
            if self.completions.send(completion).is_err() {
                return;
            }
            (self.alarm)();
        }
    }

    /// The oldest job; `None` at the end of the pool.
    fn next(&self) -> Option<Job<T>> {
        let mut queue = self.lock();
        queue.idle_threads += 1;
        let job = loop {
            if queue.is_closed {
                break None;
            }
            if let Some(job) = queue.waiting.pop_front() {
                break Some(job);
            }
            queue = self.is_changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        queue.idle_threads -= 1;
        job
    }
}

impl<T> Drop for Workers<T> {
    /// Lets idle threads end. One that hangs in a device is not waited for.
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.is_changed.notify_all();
    }
}

/// Ends the process where a job panics: its operation would never end, and a process that has
/// ended is started again.
struct AllOrNothing;

impl Drop for AllOrNothing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker has panicked, which is a bug in polluxd: ending at once");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn pool(threads_max: usize) -> (Workers<u32>, Receiver<u32>) {
        let (sender, completions) = channel();
        let workers = Workers::start("test", threads_max, sender, Arc::new(|| {})).unwrap();
        (workers, completions)
    }

    #[test]
    fn a_job_that_hangs_does_not_hold_up_the_others() {
        let (mut workers, completions) = pool(2);
        let (let_go, hangs) = channel::<()>();
        workers.run(move || {
            // Ends with its sender.
            let _ended = hangs.recv();
            0
        });
        for n in 1..=100 {
            workers.run(move || n);
        }
        let done: Vec<u32> = completions.iter().take(100).collect();
        assert_eq!(done, (1..=100).collect::<Vec<_>>());
        drop(let_go);
        assert_eq!(completions.recv(), Ok(0));
    }

    #[test]
    fn one_thread_does_jobs_in_their_order() {
        let (mut workers, completions) = pool(1);
        for n in 0..1000 {
            workers.run(move || n);
        }
        let done: Vec<u32> = completions.iter().take(1000).collect();
        assert_eq!(done, (0..1000).collect::<Vec<_>>());
        assert_eq!(workers.threads, 1);
    }

    #[test]
    fn the_alarm_rings_after_a_job() {
        let (sender, completions) = channel();
        let (ring, alarm) = channel();
        let ring: Alarm = Arc::new(move || ring.send(()).unwrap_or(()));
        let mut workers = Workers::start("test", 1, sender, ring).unwrap();
        workers.run(|| 5);
        alarm.recv().unwrap();
        assert_eq!(completions.try_recv(), Ok(5));
    }
}
