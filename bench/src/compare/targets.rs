//! The processes that are compared: started, stopped while others are measured, and ended.

use super::contestant::Contestant;
use super::daemon::Daemon;
use crate::floor::Source;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A target that runs, or is stopped while others are measured.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) lun: u16,
    /// Whether it never sleeps, so that it needs its core all of the time.
    pub(crate) spins: bool,
    /// Whether it answers reads in the order in which they were sent.
    pub(crate) is_in_order: bool,
    child: Child,
    log: PathBuf,
    calls: Calls,
}

/// How the system calls of a target are counted.
#[derive(Debug)]
enum Calls {
    NotCounted,
    /// It prints them when its last connection has ended.
    Printed,
    /// `perfctl` reports them.
    Reported {
        perfctl: PathBuf,
        control: PathBuf,
    },
}

/// The programs, and where they run.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder of the programs of this build.
    pub(crate) programs: PathBuf,
    /// The polluxd that is the baseline.
    pub(crate) baseline: Option<PathBuf>,
    /// A folder for state and logs.
    pub(crate) work: PathBuf,
    pub(crate) core: usize,
    pub(crate) size: u64,
}

impl Place {
    /// The build of polluxd that a party is; `None` for the one of this build.
    pub(crate) fn program(&self, party: Contestant) -> Option<PathBuf> {
        self.baseline.clone().filter(|_| party.is_baseline())
    }
}

/// The name under which every target serves its LUN.
pub(crate) const IQN: &str = "iqn.2026-11.local.pollux:bench";

/// Whether a build of polluxd has no fault to find in a configuration.
fn accepts(program: &Path, config: &Path) -> Result<bool> {
    let mut command = Command::new(program);
    command.arg("--check").arg("--config").arg(config);
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
}

impl Target {
    /// polluxd with this configuration.
    pub(crate) fn polluxd(place: &Place, daemon: &Daemon) -> Result<Self> {
        let (port, name) = (free_port()?, &daemon.name);
        let control = place.work.join(format!("{name}.sock"));
        let config = place.work.join(format!("{name}.toml"));
        let state = place.work.join(format!("{name}-state"));
        let program = daemon.program.clone().unwrap_or_else(|| place.programs.join("polluxd"));
        fs::write(&config, daemon.config(port, &state, &control))?;
        if daemon.program.is_some() && !accepts(&program, &config)? {
            // An older build takes over data without being told to, and does not know the key.
            let text = fs::read_to_string(&config)?.replace("adopt = true\n", "");
            fs::write(&config, text)?;
        }
        // Another build may have another control protocol, and with it a perfctl of its own.
        let perfctl = program.with_file_name("perfctl");
        let perfctl = if perfctl.is_file() { perfctl } else { place.programs.join("perfctl") };
        let mut command = match daemon.under.split_first() {
            Some((tool, words)) => {
                let mut command = Command::new(tool);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--config").arg(&config);
        let mut target = Self::start(name, command, &place.work, port)?;
        target.spins = daemon.poll == "busy";
        target.calls = Calls::Reported { perfctl, control };
        Ok(target)
    }

    /// The floor, with its data in the cache or in a memory of the LUN's size.
    pub(crate) fn floor(place: &Place, name: &str, source: Source) -> Result<Self> {
        let source = match source {
            Source::Cache => "cache",
            Source::Memory => "memory",
        };
        let port = free_port()?;
        let mut command = Command::new(place.programs.join("floor"));
        command
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--core", &place.core.to_string()])
            .args(["--size", &place.size.to_string(), "--source", source]);
        let mut target = Self::start(name, command, &place.work, port)?;
        target.spins = true;
        target.calls = Calls::Printed;
        Ok(target)
    }

    /// tgtd with a file in memory.
    pub(crate) fn tgt(place: &Place, program: &Path) -> Result<Self> {
        let port = free_port()?;
        let image = place.work.join("tgt.img");
        let zeros = vec![0xa5; 1 << 20];
        let mut file = File::create(&image)?;
        for _ in 0..place.size >> 20 {
            std::io::Write::write_all(&mut file, &zeros)?;
        }
        // tgtd wants a small number for its control socket.
        let number = (port % 32_000 + 1).to_string();
        let mut command = Command::new("taskset");
        command.args(["-c", &place.core.to_string()]).arg(program);
        command.args(["-f", "-C", &number, "--iscsi", &format!("portal=127.0.0.1:{port}")]);
        let mut target = Self::start("tgt", command, &place.work, port)?;
        target.lun = 1;
        target.is_in_order = false;
        let image = image.display().to_string();
        for words in [
            vec!["--op", "new", "--mode", "target", "--tid", "1", "-T", IQN],
            vec!["--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", &image],
            vec!["--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"],
        ] {
            let status = Command::new(program.with_file_name("tgtadm"))
                .args(["-C", &number, "--lld", "iscsi"])
                .args(words)
                .status()
                .context("cannot run tgtadm")?;
            ensure!(status.success(), "tgtadm failed");
        }
        Ok(target)
    }

    fn start(name: &str, mut command: Command, work: &Path, port: u16) -> Result<Self> {
        let log = work.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("cannot run {:?}", command.get_program()))?;
        let mut target = Self {
            name: name.to_owned(),
            port,
            lun: 0,
            spins: false,
            is_in_order: true,
            child,
            log,
            calls: Calls::NotCounted,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + START_TIME_MAX;
        while TcpStream::connect(address).is_err() {
            let ended = target.child.try_wait()?.is_some();
            if ended || Instant::now() > until {
                bail!("{name} does not listen on {address}; its log:\n{}", target.log());
            }
            // No event: the kernel does not report that a port is being listened on.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(target)
    }

    /// The text that it printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it while others are measured: a target that spins would disturb each measurement.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal)
            .with_context(|| format!("{} has ended; its log:\n{}", self.name, self.log()))
    }

    /// System calls so far, where they are counted.
    pub(crate) fn syscalls(&self) -> Option<u64> {
        match &self.calls {
            Calls::NotCounted => None,
            Calls::Printed => {
                let log = self.log();
                let Some(line) = log.lines().rfind(|line| line.starts_with("served")) else {
                    return Some(0);
                };
                line.split_whitespace().nth(4)?.parse().ok()
            }
            Calls::Reported { perfctl, control } => {
                let mut command = Command::new(perfctl);
                command.arg("--control").arg(control).args(["stats", "--json"]);
                let output = command.output().ok()?;
                let stats: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
                let reactors = stats.get("reactors")?.as_array()?;
                reactors.iter().map(|r| r.get("syscalls")?.as_u64()).sum()
            }
        }
    }

    /// The count after a run that began with `before`.
    pub(crate) fn settled_syscalls(&self, before: Option<u64>) -> Option<u64> {
        match self.calls {
            Calls::NotCounted => None,
            Calls::Reported { .. } => self.syscalls(),
            // It prints them a moment after its last connection has ended.
            Calls::Printed => (0..SETTLE_STEPS_MAX).find_map(|_| {
                let after = self.syscalls();
                if after == before {
                    // No event: the count is appended to a log file.
                    std::thread::park_timeout(SETTLE_STEP);
                }
                after.filter(|_| after != before)
            }),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended already; its log then has the reason.
        let _running = self.resume();
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The path of a program, if it is installed.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A port on which nothing listens now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How long the floor is given to print its count.
const SETTLE_STEPS_MAX: u32 = 40;
const SETTLE_STEP: Duration = Duration::from_millis(5);
