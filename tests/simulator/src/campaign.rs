//! Many seeds, on several threads: each world lives on one of them.

use crate::{Report, Settings};
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::ops::{ControlFlow, Range};
use std::panic::{catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Instant;
use units::Mutant;

/// Seeds to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Threads.
    pub jobs: usize,
    /// No seed begins later.
    pub until: Option<Instant>,
    /// A fault that is active in all of them. Only a build with `--cfg mutants` has one.
    pub mutant: Option<Mutant>,
}

/// The end of one seed: what happened, or the first promise that was broken.
pub type Outcome = Result<Report, String>;

impl Campaign {
    /// Runs the seeds, in order but for as many as there are threads. Each seed's end is told to
    /// `hear`, which may end the campaign.
    pub fn run(&self, mut hear: impl FnMut(u64, Outcome) -> ControlFlow<()>) {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let (sender, ends) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || {
                    activate(self.mutant);
                    while let Some(seed) = self.next_seed(next, stop) {
                        // The other end lives as long as the threads.
                        let _ = sender.send((seed, attempt(seed, Settings::default())));
                    }
                });
            }
            drop(sender);
            for (seed, outcome) in ends {
                if !stop.load(Ordering::Relaxed) && hear(seed, outcome).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
    }

    fn next_seed(&self, next: &AtomicU64, stop: &AtomicBool) -> Option<u64> {
        let is_over =
            stop.load(Ordering::Relaxed) || self.until.is_some_and(|until| Instant::now() >= until);
        let seed = next.fetch_add(1, Ordering::Relaxed);
        (!is_over && seed < self.seeds.end).then_some(seed)
    }
}

/// Runs one seed; a panic is a broken promise too.
///
/// # Errors
/// The first promise that was broken, for people.
pub fn attempt(seed: u64, settings: Settings) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        set_hook(Box::new(|info| {
            // Without RUST_BACKTRACE it is "disabled backtrace".
            let backtrace = Backtrace::capture();
            PANIC.set(format!("{info}\n{backtrace}"));
        }));
    });
    let outcome = catch_unwind(|| crate::run(seed, settings));
    outcome.unwrap_or_else(|_| Err(PANIC.take()))
}

thread_local! {
    /// The message of the last panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

#[cfg(mutants)]
fn activate(mutant: Option<Mutant>) {
    Mutant::activate(mutant);
}

#[cfg(not(mutants))]
fn activate(mutant: Option<Mutant>) {
    assert!(mutant.is_none(), "this build has no deliberate faults");
}
