//! How many instructions one read and one write take, counted by callgrind.
//!
//! The count does not depend on how busy the machine is, so continuous integration can watch it.
//! The daemon runs as it ships, under valgrind, and the load generator beside it at queue depth
//! 32. Of two runs the longer one has 19,200 commands more; what it takes more is theirs.
//! Only the reactor's thread is counted, and not the kernel.
//!
//! callgrind writes a profile of what it has counted, and counts anew from 0, each time that a
//! connection is dropped: that is how a run is told from the next one. The daemon is not asked to
//! end, because valgrind lets its control thread run too seldom beside a reactor that sleeps.

mod profile;
mod record;

use crate::compare::daemon::Daemon;
use crate::compare::targets::{IQN, Place, Target};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use profile::{Counts, counts};
use record::{Figures, Record};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is done with the figures.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Fail when a figure has left 5 % of the recorded one, in either direction
    #[arg(long, conflicts_with = "record")]
    check: bool,
    /// Write the figures to the file
    #[arg(long)]
    record: bool,
    /// The recorded figures
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))]
    file: PathBuf,
    /// Folder of polluxd and loadgen; that of this program without it
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Counts, prints, and checks or records.
pub fn run(options: &Options) -> Result<()> {
    let own = std::env::current_exe()?;
    let programs = options.programs.clone().or_else(|| Some(own.parent()?.to_owned()));
    let programs = programs.context("--programs is needed")?;
    let folder = std::env::temp_dir().join(format!("pollux-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(programs, &folder);
    // What is left is in the folder for temporary files.
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
        "{}.\nIf that is meant, a gain included: bench/instructions --record writes {}; commit it \
         and say what changed it",
        differences.join(".\n"),
        options.file.display()
    )
}

fn measure(programs: PathBuf, folder: &Path) -> Result<Record> {
    let place =
        Place { programs, baseline: None, work: folder.to_owned(), core: 0, size: VOLUME_BYTES };
    let mut daemon = Daemon::spinning(first_core()?, VOLUME_BYTES);
    // One turn for each batch; turns of a reactor that spins would be counted, too.
    daemon.poll = "interrupt";
    daemon.under = under(folder);
    let (target, seen) = start(&place, &daemon)?;
    let mut runs = Runs { place: &place, target: &target, seen };
    let read_4k = runs.difference("read", 100)?;
    let write_4k = runs.difference("write", 0)?;
    Ok(Record { rustc: rustc(), read_4k, write_4k })
}

/// A daemon that has answered, and how many profiles it has written. One that was started may not
/// serve anybody: valgrind runs one thread at a time, and lets the reactor keep its turn while it
/// sleeps in the ring, though the thread that would tell it to listen waits. Then it is killed.
fn start(place: &Place, daemon: &Daemon) -> Result<(Target, usize)> {
    for _ in 0..STARTS_MAX {
        for file in std::fs::read_dir(&place.work)? {
            let path = file?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PROFILE)) {
                std::fs::remove_file(path)?;
            }
        }
        let target = Target::polluxd(place, daemon).context(
            "the daemon does not start under valgrind (the Debian package valgrind has it)",
        )?;
        let mut trial = Runs { place, target: &target, seen: 0 };
        let mut load = trial.load(100, 32).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let begin = Instant::now();
        let mut ended = None;
        while ended.is_none() && begin.elapsed() < TRIAL_TIME_MAX {
            std::thread::park_timeout(Duration::from_millis(20));
            ended = load.try_wait()?;
        }
        if ended.is_some_and(|status| status.success()) {
            trial.collect()?;
            let seen = trial.seen;
            return Ok((target, seen));
        }
        // It may have ended by itself.
        let _killed = load.kill();
        load.wait()?;
    }
    bail!("the daemon under valgrind did not answer a login in {STARTS_MAX} attempts")
}

/// valgrind with callgrind.
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

/// The load against the daemon that is counted.
struct Runs<'a> {
    place: &'a Place,
    target: &'a Target,
    /// Profiles that are accounted for.
    seen: usize,
}

impl Runs<'_> {
    /// What one command takes.
    fn difference(&mut self, name: &str, read_percent: u8) -> Result<Figures> {
        self.one(read_percent, COMMANDS)?;
        let short = self.one(read_percent, COMMANDS)?;
        let long = self.one(read_percent, 2 * COMMANDS)?;
        let of = |long: u64, short: u64| (long.saturating_sub(short) + COMMANDS / 2) / COMMANDS;
        let figures = Figures {
            instructions: of(long.instructions, short.instructions),
            string_bytes: of(long.string_bytes, short.string_bytes),
        };
        println!(
            "4 KiB {name:<5} {:>5} instructions, {:>5} bytes moved by string instructions, {:>5} \
             instructions of libc's copies",
            figures.instructions,
            figures.string_bytes,
            of(long.libc_copies, short.libc_copies)
        );
        ensure!(figures.instructions > 0, "nothing was counted: {long:?} against {short:?}");
        Ok(figures)
    }

    /// One session with so many commands.
    fn one(&mut self, read_percent: u8, count: u64) -> Result<Counts> {
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
            .args(["--warmup", "0", "--duration", "600", "--sleep"]);
        command
    }

    /// What was counted since the last run.
    fn collect(&mut self) -> Result<Counts> {
        let begin = Instant::now();
        let mut sum = Counts::default();
        let mut quiet = Instant::now();
        while quiet.elapsed() < QUIET {
            if let Some(counts) = self.profile(self.seen + 1) {
                sum.add(counts);
                self.seen += 1;
                quiet = Instant::now();
                continue;
            }
            if sum.instructions == 0 {
                quiet = Instant::now();
                ensure!(
                    begin.elapsed() < PROFILE_TIME_MAX,
                    "callgrind wrote no profile when the connection was dropped: does no function \
                     of the daemon match {DROPPED} any more? It said:\n{}",
                    self.target.log()
                );
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(sum)
    }

    /// A profile of the reactor's thread, the second of the daemon.
    fn profile(&self, number: usize) -> Option<Counts> {
        let path = self.place.work.join(format!("{PROFILE}.{number}-02"));
        counts(&std::fs::read_to_string(path).ok()?)
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

/// Commands by which the runs differ.
const COMMANDS: u64 = 19_200;

const VOLUME_BYTES: u64 = 16 << 20;

/// When callgrind writes a profile: a pattern of names of functions.
const DROPPED: &str = "--dump-before=*drop_in_place*onnection*";

const PROFILE: &str = "profile";

/// After a profile, how long no other one comes when a run is over.
const QUIET: Duration = Duration::from_millis(300);

/// How often the daemon is started until one answers, and how long each has for it.
const STARTS_MAX: usize = 10;
const TRIAL_TIME_MAX: Duration = Duration::from_secs(8);

const PROFILE_TIME_MAX: Duration = Duration::from_secs(30);
