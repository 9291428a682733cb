//! Proves that the simulator's checkers see faults of the engine: activates one deliberate fault
//! after the other ([`Mutant`]), and fails where one survives its budget of seeds.
//!
//! ```sh
//! RUSTFLAGS='--cfg mutants' cargo run --profile checked --target-dir target/mutants \
//!     -p simulator --bin mutants
//! ```

use clap::Parser;
use simulator::Campaign;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Instant;
use units::Mutant;

/// What is expected of a mutant.
struct Quarry {
    mutant: Mutant,
    /// Seeds within which it must be killed: so many that one in a million mixes of seeds would
    /// let it live. `--survey` shows how many seeds of a budget kill.
    budget: u64,
    /// The complaint contains one of these texts. Another complaint kills nothing.
    complaints: &'static [&'static str],
}

/// Every mutant.
const QUARRIES: &[Quarry] = &[
    quarry(Mutant::ReservationIgnored, 300, &["holds a reservation"]),
    quarry(Mutant::AttentionDropped, 50, &["a unit attention is due"]),
    quarry(Mutant::BufferReturnedBeforeLastSend, 50, &["goes back while"]),
    quarry(Mutant::CancelledJobPerformed, 150, &["until its last job has ended", STUCK]),
    quarry(Mutant::CompletionCountedTwice, 150, &["ended twice", "counted", "wake", "under way"]),
    quarry(Mutant::DigestFaultIgnored, 150, &["with no data", "its data was bad"]),
    quarry(Mutant::FlushSkipped, 600, &["after a crash"]),
    quarry(Mutant::HomeRunsTwoJobs, 50, &[STUCK, "too much happens"]),
    quarry(Mutant::HeldRangeIgnored, 600, &["which it cannot hold", "both replaced"]),
    quarry(Mutant::RangeReleasedEarly, 500, &["which it cannot hold", "both replaced"]),
    quarry(Mutant::RangeHeldTooEarly, 800, &["which it cannot hold"]),
    quarry(Mutant::WaiterForgotten, 100, &["a task that waits", STUCK, "too much happens"]),
    quarry(Mutant::TaskQuietTooEarly, 150, &["is sent while write"]),
    quarry(Mutant::SessionOverTooEarly, 100, &["is sent while write"]),
    quarry(Mutant::TaskOrderIgnored, 100, &["before an earlier one"]),
    quarry(Mutant::WindowIgnoresBuffers, 100, &["while data of"]),
    quarry(Mutant::WindowNeverReopens, 100, &["does not open again"]),
    quarry(Mutant::WindowRetiredTwice, 50, &["retired once", "place in the window", "a window of"]),
    quarry(Mutant::BurstOffsetRepeated, 200, &["is to be written to sector"]),
    quarry(Mutant::DataOutOffsetIgnored, 50, &["with no data", "is to be written to sector"]),
    quarry(Mutant::PlacementForgotten, 50, &["with no data", "is to be written to sector"]),
    quarry(Mutant::InPlaceBehindBacklog, 100, &["wait behind others"]),
    quarry(Mutant::InPlaceNotForgotten, 100, &["its bytes are in", "which it cannot hold"]),
    quarry(Mutant::BatchesReordered, 50, &["StatSN", "Data-In", "DataIn"]),
    quarry(Mutant::BufferReturnedUnderSend, 350, &["goes back while"]),
    quarry(Mutant::DurabilityForgotten, 300, &["after a crash"]),
    quarry(Mutant::HungryForgotten, 100, &["a queue and its task", "overflow", STUCK, "too much"]),
    quarry(Mutant::LastUseClaimed, 500, &["the medium holds what was sent"]),
    quarry(Mutant::OnlyToSendClaimed, 100, &["its bytes are in"]),
    quarry(Mutant::OwedBufferForgotten, 200, &["nothing happens any more"]),
    quarry(Mutant::ReadOnlyIgnored, 400, &["whose LUN allows no writes"]),
    quarry(Mutant::SampleForgotten, 50, &["no sample"]),
];

const fn quarry(mutant: Mutant, budget: u64, complaints: &'static [&'static str]) -> Quarry {
    Quarry { mutant, budget, complaints }
}

/// Something never ends.
const STUCK: &str = "does not end";

/// Check that the simulator sees deliberate faults of the engine
#[derive(Debug, Parser)]
struct Arguments {
    /// Try only mutants whose name contains this text
    name: Option<String>,
    /// Run this many seeds without a fault, which must pass
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sound: u64,
    /// Run this many seeds at a time [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Run all seeds of each budget, and print how many kill
    #[arg(long)]
    survey: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    for mutant in Mutant::ALL {
        let rows = QUARRIES.iter().filter(|q| q.mutant == mutant).count();
        assert_eq!(rows, 1, "{mutant:?} has one row in the table of {}", file!());
    }
    if !cfg!(mutants) {
        eprintln!(
            "mutants: this build has no deliberate faults; build it with RUSTFLAGS='--cfg mutants'"
        );
        return ExitCode::from(2);
    }
    let jobs = arguments.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);
    let name = arguments.name.as_deref().unwrap_or_default();
    let mut survivors = 0;
    for quarry in QUARRIES.iter().filter(|q| format!("{:?}", q.mutant).contains(name)) {
        let is_killed = if arguments.survey { survey(quarry, jobs) } else { hunt(quarry, jobs) };
        survivors += u32::from(!is_killed);
    }
    let sound = passes_without_faults(arguments.sound, jobs);
    if survivors > 0 {
        println!("{survivors} mutants survive: no checker sees these faults");
    }
    if survivors == 0 && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seeds, with or without a fault.
const fn campaign(seeds: u64, jobs: usize, mutant: Option<Mutant>) -> Campaign {
    Campaign { seeds: 0..seeds, jobs, until: None, mutant }
}

/// Runs seeds until one kills the mutant.
fn hunt(quarry: &Quarry, jobs: usize) -> bool {
    let Quarry { mutant, budget, complaints } = *quarry;
    let begin = Instant::now();
    let mut killer: Option<(u64, String)> = None;
    let mut others = BTreeMap::new();
    campaign(budget, jobs, Some(mutant)).run(|seed, outcome| {
        let Err(text) = outcome else { return ControlFlow::Continue(()) };
        if !is_expected(&text, complaints) {
            others.insert(seed, text);
            return ControlFlow::Continue(());
        }
        killer = Some((seed, text));
        ControlFlow::Break(())
    });
    let seconds = begin.elapsed().as_secs_f64();
    match &killer {
        Some((seed, text)) => {
            println!(
                "{mutant:?}: killed by seed {seed} of {budget}, {seconds:.1} s: {}",
                line(text)
            );
        }
        None => println!("{mutant:?}: SURVIVES {budget} seeds, {seconds:.1} s"),
    }
    for (seed, text) in &others {
        println!("    seed {seed} complains of something else: {}", line(text));
    }
    killer.is_some()
}

/// Runs all seeds of a budget, and counts those that kill by what they complain of.
fn survey(quarry: &Quarry, jobs: usize) -> bool {
    let Quarry { mutant, budget, .. } = *quarry;
    let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    campaign(budget, jobs, Some(mutant)).run(|seed, outcome| {
        if let Err(text) = outcome {
            kinds.entry(kind_of(&text)).or_default().push(seed);
        }
        ControlFlow::Continue(())
    });
    let killed: usize = kinds.values().map(Vec::len).sum();
    println!("{mutant:?}: {killed} of {budget} seeds complain");
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
    for (kind, seeds) in &kinds {
        let first = seeds.iter().min().copied().unwrap_or_default();
        println!("    {:4} from seed {first}: {kind}", seeds.len());
    }
    killed > 0
}

fn is_expected(text: &str, complaints: &[&str]) -> bool {
    complaints.is_empty() || complaints.iter().any(|complaint| text.contains(complaint))
}

/// The same build passes where no fault is active.
fn passes_without_faults(seeds: u64, jobs: usize) -> bool {
    let mut passes = true;
    campaign(seeds, jobs, None).run(|seed, outcome| {
        let Err(text) = outcome else { return ControlFlow::Continue(()) };
        println!("without a fault, seed {seed} fails: {text}");
        passes = false;
        ControlFlow::Break(())
    });
    if passes {
        println!("without a fault, {seeds} seeds pass");
    }
    passes
}

/// What complaints of the same kind have in common: the first words, without numbers.
fn kind_of(text: &str) -> String {
    let is_word = |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_alphabetic());
    let words: Vec<&str> = text.split([' ', '\n', ':', '(', ')', '/']).filter(is_word).collect();
    words[..words.len().min(KIND_WORDS_MAX)].join(" ")
}

/// The beginning of a complaint.
fn line(text: &str) -> String {
    // A panic says where it was, and then why; a backtrace follows.
    let text: Vec<&str> = text.lines().take(2).flat_map(str::split_whitespace).collect();
    text.join(" ").chars().take(COMPLAINT_CHARS_MAX).collect()
}

const COMPLAINT_CHARS_MAX: usize = 160;
const KIND_WORDS_MAX: usize = 12;
