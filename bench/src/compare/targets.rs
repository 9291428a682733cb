//! The targets that are compared: started, stopped in between, and ended.

use super::daemon::Daemon;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One target that runs, or is stopped until its turn comes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) lun: u16,
    /// Whether it never sleeps, so that it needs its core for all of the time.
    pub(crate) spins: bool,
    child: Child,
    log: PathBuf,
    /// How its system calls are counted.
    perfctl: Option<(PathBuf, PathBuf)>,
}

/// The programs and where things go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder of our programs.
    pub(crate) programs: PathBuf,
    /// A folder for state and logs.
    pub(crate) work: PathBuf,
    pub(crate) core: usize,
    pub(crate) size: u64,
}

/// The name that every target serves its unit under.
pub(crate) const IQN: &str = "iqn.2026-11.local.pollux:bench";

impl Target {
    /// polluxd as it is told to be.
    pub(crate) fn ours(place: &Place, daemon: &Daemon) -> Result<Self> {
        let (port, name) = (free_port()?, daemon.name);
        let control = place.work.join(format!("{name}.sock"));
        let config = place.work.join(format!("{name}.toml"));
        let state = place.work.join(format!("{name}-state"));
        fs::write(&config, daemon.config(port, &state, &control))?;
        let program = place.programs.join("polluxd");
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
        target.perfctl = Some((place.programs.join("perfctl"), control));
        Ok(target)
    }

    /// The bare server.
    pub(crate) fn floor(place: &Place) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(place.programs.join("floor"));
        command
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--core", &place.core.to_string()])
            .args(["--size", &place.size.to_string()]);
        let mut target = Self::start("floor", command, &place.work, port)?;
        target.spins = true;
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

    fn start(name: &'static str, mut command: Command, work: &Path, port: u16) -> Result<Self> {
        let log = work.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("cannot run {:?}", command.get_program()))?;
        let mut target = Self { name, port, lun: 0, spins: false, child, log, perfctl: None };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + START_TIME_MAX;
        while TcpStream::connect(address).is_err() {
            let ended = target.child.try_wait()?.is_some();
            if ended || Instant::now() > until {
                bail!("{name} does not listen on {address}; it said:\n{}", target.said());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(target)
    }

    /// What it printed.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it until its turn comes: a target that spins would take part of each measurement.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal)
            .with_context(|| format!("{} has ended:\n{}", self.name, self.said()))
    }

    /// System calls so far, where it counts them.
    pub(crate) fn syscalls(&self) -> Option<u64> {
        if let Some((perfctl, control)) = &self.perfctl {
            let mut command = Command::new(perfctl);
            command.arg("--control").arg(control).args(["stats", "--json"]);
            let output = command.output().ok()?;
            let stats: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            let reactors = stats.get("reactors")?.as_array()?;
            return reactors.iter().map(|r| r.get("syscalls")?.as_u64()).sum();
        }
        let said = self.said();
        let line = said.lines().rfind(|line| line.starts_with("served"))?;
        line.split_whitespace().nth(4)?.parse().ok()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself, which its log then says.
        let _running = self.resume();
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A program, if it is installed.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

const START_TIME_MAX: Duration = Duration::from_secs(30);
