//! Many sessions and many logical units: the cost of each, and of idle sessions to others.

use super::daemon::{Daemon, Volume};
use super::loads::Loads;
use super::results::median;
use super::targets::{IQN, Place, Target};
use crate::loadgen::IdleReport;
use crate::process::memory_bytes;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The measurements.
#[derive(Debug, Serialize)]
struct Scale {
    sessions: u16,
    logins_per_second: Vec<f64>,
    bytes_per_session: f64,
    luns: usize,
    bytes_per_lun: f64,
    /// IOPS of 4 KiB random reads and writes of a cold LUN, one per round.
    read: Pair,
    write: Pair,
}

#[derive(Debug, Default, Serialize)]
struct Pair {
    alone: Vec<f64>,
    beside_idle: Vec<f64>,
}

impl Pair {
    /// The median of the rounds' ratios.
    fn ratio(&self) -> Option<f64> {
        let ratios: Vec<f64> = self
            .beside_idle
            .iter()
            .zip(&self.alone)
            .map(|(with, without)| with / without)
            .collect();
        median(&ratios)
    }
}

/// Measures, prints, and writes scale.json.
pub(crate) fn run(loads: &Loads, rounds: usize, out: &Path) -> Result<()> {
    let place = &loads.place;
    let (one, many) = (memory_with(place, 1)?, memory_with(place, LUNS)?);
    let target = Target::polluxd(place, &Daemon::spinning(place.core, place.size))?;
    loads.fill(&target)?;
    let before = memory(&target)?;
    let mut logins = Vec::new();
    let idle = Idle::start(loads, &target)?;
    logins.push(idle.rate());
    let after = memory(&target)?;
    drop(idle);
    let (mut read, mut write) = (Pair::default(), Pair::default());
    for round in 1..=rounds {
        for (pair, percent, payload) in [(&mut read, "100", "drop"), (&mut write, "0", "copy")] {
            eprintln!("compare: round {round} of {rounds}, {percent} % reads");
            let arguments = ["--read-percent", percent, "--payload", payload];
            let arguments = arguments.map(str::to_owned);
            pair.alone.push(loads.load(&target, &arguments)?.iops);
            let idle = Idle::start(loads, &target)?;
            logins.push(idle.rate());
            pair.beside_idle.push(loads.load(&target, &arguments)?.iops);
        }
    }
    let per = |more: u64, less: u64, count: f64| (more as f64 - less as f64) / count;
    let scale = Scale {
        sessions: SESSIONS,
        logins_per_second: logins,
        bytes_per_session: per(after, before, f64::from(SESSIONS)),
        luns: LUNS,
        bytes_per_lun: per(many, one, (LUNS - 1) as f64),
        read,
        write,
    };
    print!("{}", text(&scale));
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot create the folder {}", out.display()))?;
    let path = out.join("scale.json");
    std::fs::write(&path, serde_json::to_string_pretty(&scale)?)?;
    eprintln!("compare: the results are in {}", path.display());
    Ok(())
}

fn text(scale: &Scale) -> String {
    let m = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let mut text = format!(
        "{} sessions: {:.0} logins per second, one after the other; {:.0} bytes of polluxd each\n\
         {} logical units: {:.0} bytes of polluxd each\n",
        scale.sessions,
        m(&scale.logins_per_second),
        scale.bytes_per_session,
        scale.luns,
        scale.bytes_per_lun,
    );
    for (name, pair) in [("read", &scale.read), ("write", &scale.write)] {
        let ratio = pair.ratio().unwrap_or(f64::NAN);
        let word = if ratio >= BESIDE_IDLE_MIN { "met" } else { "missed" };
        text += &format!(
            "4 KiB {name:<5} QD32: {:.0} IOPS alone, {:.0} beside {} idle sessions: {ratio:.3} \
             (goal >= {BESIDE_IDLE_MIN}: {word})\n",
            m(&pair.alone),
            m(&pair.beside_idle),
            scale.sessions,
        );
    }
    text
}

/// Memory of a daemon with this many LUNs, each a sparse file.
fn memory_with(place: &Place, luns: usize) -> Result<u64> {
    let mut volumes = Vec::new();
    for number in 0..luns {
        let path = place.work.join(format!("lun{number}.img"));
        File::create(&path)?.set_len(LUN_BYTES)?;
        volumes.push(Volume::File(path));
    }
    let daemon = Daemon { volumes, ..Daemon::spinning(place.core, LUN_BYTES) };
    memory(&Target::polluxd(place, &daemon)?)
}

/// Memory of a daemon once it no longer changes: when it listens, its buffers are still filled.
fn memory(target: &Target) -> Result<u64> {
    let mut last = 0;
    for _ in 0..SETTLE_STEPS_MAX {
        // No event: that memory use no longer grows is seen only by looking twice.
        std::thread::park_timeout(Duration::from_millis(300));
        let now = memory_bytes(target.pid()).context("polluxd has ended")?;
        if now.abs_diff(last) < SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// Idle sessions, in a separate process.
struct Idle {
    child: Child,
    report: IdleReport,
}

impl Idle {
    fn start(loads: &Loads, target: &Target) -> Result<Self> {
        let mut child = Command::new(&loads.loadgen)
            .args(["--target", &format!("127.0.0.1:{}", target.port), "--iqn", IQN])
            .args(["--core", &loads.load_core.to_string()])
            .args(["--idle-sessions", &SESSIONS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", loads.loadgen.display()))?;
        let mut line = String::new();
        let output = child.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let report = serde_json::from_str(&line).ok();
        if report.is_none() {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            child.wait()?;
            ensure!(report.is_some(), "cannot log the idle sessions in: {said}");
        }
        Ok(Self { child, report: report.context("checked before")? })
    }

    fn rate(&self) -> f64 {
        f64::from(self.report.sessions) / self.report.seconds
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It ends at the end of its input.
        drop(self.child.stdin.take());
        let _status = self.child.wait();
    }
}

/// A smaller change counts as none: some pages of a program come and go.
const SETTLED_BYTES: u64 = 64 << 10;
const SETTLE_STEPS_MAX: usize = 20;

const SESSIONS: u16 = 1000;
const LUNS: usize = 256;
const LUN_BYTES: u64 = 1 << 20;

/// Share of the rate without idle sessions.
const BESIDE_IDLE_MIN: f64 = 0.95;
