//! Counts the instructions of one read and one write with callgrind.
//!
//! The count does not depend on how busy the machine is, so continuous integration can watch it.
//! The release build of polluxd runs under valgrind, and the load generator beside it at queue
//! depth 32. Two runs differ by thousands of commands; the difference of their counts is the cost
//! of these. Only the reactor's thread is counted, without the kernel.
//!
//! callgrind writes a profile, and restarts counting from 0, each time that a connection is
//! dropped: this separates one run from the next. The daemon is not shut down in between, because
//! valgrind schedules its control thread too rarely beside a reactor that sleeps.

mod profile;
mod record;

use crate::compare::daemon::Daemon;
use crate::compare::targets::{IQN, Place, Target};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use profile::{Profile, parse, top};
use record::{Figures, Record};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The command line.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Fail if a figure differs from the recorded one by more than 5 %, in either direction
    #[arg(long, conflicts_with = "record")]
    check: bool,
    /// Write the figures to the file
    #[arg(long)]
    record: bool,
    /// The recorded figures
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))]
    file: PathBuf,
    /// Count reads and writes of this size instead of 4 KiB, for example 64KiB
    #[arg(long, value_name = "SIZE", default_value = "4KiB")]
    #[arg(value_parser = control_api::parse_size)]
    block: u64,
    /// Also print the functions and the source files with the most instructions per command
    #[arg(long, value_name = "ROWS", default_value_t = 0, default_missing_value = "20")]
    #[arg(num_args = 0..=1)]
    top: usize,
    /// Folder of polluxd and loadgen [default: that of this program]
    #[arg(long)]
    programs: Option<PathBuf>,
    /// The polluxd to count [default: the one in that folder]
    #[arg(long, value_name = "PROGRAM")]
    polluxd: Option<PathBuf>,
}

/// Counts, prints, and checks or records.
pub fn run(options: &Options) -> Result<()> {
    let own = std::env::current_exe()?;
    let programs = options.programs.clone().or_else(|| Some(own.parent()?.to_owned()));
    let programs = programs.context("cannot find the folder of the programs: pass --programs")?;
    ensure!(
        options.block > 0 && options.block.is_multiple_of(512),
        "--block must be a multiple of 512 bytes above 0"
    );
    ensure!(
        options.block == RECORDED_BLOCK || !(options.check || options.record),
        "--check and --record are for commands of 4 KiB: only these are recorded"
    );
    let folder = std::env::temp_dir().join(format!("pollux-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(options, programs, &folder);
    // If this fails, the files are in the folder for temporary files.
    let _removed = std::fs::remove_dir_all(&folder);
    let now = measured?;
    if options.record {
        return now.write(&options.file);
    }
    if !options.check {
        return Ok(());
    }
    let differences = Record::read(&options.file)?.differences(&now);
    if differences.is_empty() {
        return Ok(());
    }
    bail!(
        "{}.\nIf this is intended, or a gain, run bench/instructions --record, commit {} and \
         explain the change",
        differences.join(".\n"),
        options.file.display()
    )
}

fn measure(options: &Options, programs: PathBuf, folder: &Path) -> Result<Record> {
    let place =
        Place { programs, baseline: None, work: folder.to_owned(), core: 0, size: VOLUME_BYTES };
    let mut daemon = Daemon::spinning(first_core()?, VOLUME_BYTES);
    // One event loop turn per batch; the idle turns of a reactor that spins would be counted.
    daemon.poll = "interrupt";
    daemon.program = options.polluxd.clone();
    daemon.under = under(folder);
    let (target, seen) = start(options, &place, &daemon)?;
    let mut runs = Runs { options, place: &place, target: &target, seen };
    let read_4k = runs.difference("read", 100)?;
    let write_4k = runs.difference("write", 0)?;
    Ok(Record { rustc: rustc(), read_4k, write_4k })
}

/// A daemon that has answered, and the number of profiles it has written. Some never answer:
/// valgrind runs one thread at a time, and does not preempt the reactor while it sleeps in the
/// ring, so the thread that would make it listen starves. Such a daemon is killed.
fn start(options: &Options, place: &Place, daemon: &Daemon) -> Result<(Target, usize)> {
    for _ in 0..STARTS_MAX {
        for file in std::fs::read_dir(&place.work)? {
            let path = file?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PROFILE)) {
                std::fs::remove_file(path)?;
            }
        }
        let target = Target::polluxd(place, daemon).context(
            "polluxd does not start under valgrind; install the Debian package valgrind",
        )?;
        let mut trial = Runs { options, place, target: &target, seen: 0 };
        let mut load = trial.load(100, 32).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let begin = Instant::now();
        let mut ended = None;
        while ended.is_none() && begin.elapsed() < TRIAL_TIME_MAX {
            // No event: the standard library cannot wait for a child for a limited time.
            std::thread::park_timeout(Duration::from_millis(20));
            ended = load.try_wait()?;
        }
        if ended.is_some_and(|status| status.success()) {
            trial.collect()?;
            let seen = trial.seen;
            return Ok((target, seen));
        }
        // It may have ended already.
        let _killed = load.kill();
        load.wait()?;
    }
    bail!("polluxd under valgrind answered no login in {STARTS_MAX} attempts")
}

/// valgrind with callgrind, and its options.
fn under(folder: &Path) -> Vec<String> {
    [
        // libc's copies as loops of vectors: string instructions would count each byte.
        "env",
        "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824",
        "valgrind",
        "--tool=callgrind",
        "--separate-threads=yes",
        DROPPED,
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([format!("--callgrind-out-file={}", folder.join(PROFILE).display())])
    .collect()
}

/// The load against the daemon under valgrind.
struct Runs<'a> {
    options: &'a Options,
    place: &'a Place,
    target: &'a Target,
    /// Profiles that have been read.
    seen: usize,
}

impl Runs<'_> {
    /// The cost of one command.
    fn difference(&mut self, name: &str, read_percent: u8) -> Result<Figures> {
        // Large blocks copy much, which takes long under valgrind.
        let commands =
            (COMMANDS * RECORDED_BLOCK / self.options.block).clamp(COMMANDS_MIN, COMMANDS);
        self.one(read_percent, commands)?;
        let short_profile = self.one(read_percent, commands)?;
        let long_profile = self.one(read_percent, 2 * commands)?;
        let (short, long) = (short_profile.counts, long_profile.counts);
        let of = |long: u64, short: u64| (long.saturating_sub(short) + commands / 2) / commands;
        let figures = Figures {
            instructions: of(long.instructions, short.instructions),
            string_bytes: of(long.string_bytes, short.string_bytes),
        };
        println!(
            "{} {name:<5} {:>5} instructions, {:>5} bytes moved by string instructions, {:>5} \
             instructions of libc's copies",
            crate::size::text(self.options.block),
            figures.instructions,
            figures.string_bytes,
            of(long.libc_copies, short.libc_copies)
        );
        ensure!(figures.instructions > 0, "nothing was counted: {long:?} against {short:?}");
        for (what, long, short) in [
            ("function, inlined code included", &long_profile.functions, &short_profile.functions),
            ("source file", &long_profile.files, &short_profile.files),
        ] {
            let rows = top(long, short, commands, self.options.top);
            if !rows.is_empty() {
                println!("  instructions per {name} by {what}:");
            }
            for (count, row) in rows {
                println!("  {count:>9.1}  {row}");
            }
        }
        Ok(figures)
    }

    /// One session with this many commands.
    fn one(&mut self, read_percent: u8, count: u64) -> Result<Profile> {
        let output = self.load(read_percent, count).output().context("cannot run loadgen")?;
        ensure!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.target.log()
        );
        self.collect()
    }

    fn load(&self, read_percent: u8, count: u64) -> Command {
        let mut command = Command::new(self.place.programs.join("loadgen"));
        command
            .args(["--target", &format!("127.0.0.1:{}", self.target.port), "--iqn", IQN])
            .args(["--read-percent", &read_percent.to_string(), "--count", &count.to_string()])
            .args(["--block", &self.options.block.to_string()])
            .args(["--warmup", "0", "--duration", "600", "--sleep"]);
        command
    }

    /// The sum of all profiles since the last run.
    fn collect(&mut self) -> Result<Profile> {
        let begin = Instant::now();
        let mut sum = Profile::default();
        let mut quiet = Instant::now();
        while quiet.elapsed() < QUIET {
            if let Some(profile) = self.profile(self.seen + 1) {
                sum.add(profile);
                self.seen += 1;
                quiet = Instant::now();
                continue;
            }
            if sum.counts.instructions == 0 {
                quiet = Instant::now();
                ensure!(
                    begin.elapsed() < PROFILE_TIME_MAX,
                    "callgrind wrote no profile when the connection was dropped: check that a \
                     function of polluxd still matches {DROPPED}. Its log:\n{}",
                    self.target.log()
                );
            }
            // No event: the last profile is known only by the silence after it.
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(sum)
    }

    /// A profile of the reactor's thread: only the one that drops a connection writes any.
    fn profile(&self, number: usize) -> Option<Profile> {
        let start = format!("{PROFILE}.{number}-");
        let mut names = std::fs::read_dir(&self.place.work).ok()?.filter_map(Result::ok);
        let file = names.find(|entry| entry.file_name().to_string_lossy().starts_with(&start))?;
        parse(&std::fs::read_to_string(file.path()).ok()?)
    }
}

/// A core that this process may run on: the reactor is pinned to it.
fn first_core() -> Result<usize> {
    uring::affinity::cores().first().copied().context("no core to run on")
}

fn rustc() -> String {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    match Command::new(compiler).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

/// Commands by which the runs differ, and their number at least for large blocks.
const COMMANDS: u64 = 19_200;
const COMMANDS_MIN: u64 = 1200;

/// The size of the commands whose figures are recorded.
const RECORDED_BLOCK: u64 = 4096;

const VOLUME_BYTES: u64 = 16 << 20;

/// When callgrind writes a profile: a pattern of names of functions.
const DROPPED: &str = "--dump-before=*drop_in_place*onnection*";

const PROFILE: &str = "profile";

/// A run is over when no other profile is written for this long.
const QUIET: Duration = Duration::from_millis(300);

/// How often the daemon is started until one answers, and how long each is given.
const STARTS_MAX: usize = 10;
const TRIAL_TIME_MAX: Duration = Duration::from_secs(8);

const PROFILE_TIME_MAX: Duration = Duration::from_secs(30);
