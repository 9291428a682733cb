//! The machine and the commit that figures are of, and a folder to work in.

use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for state and logs, removed on drop.
pub(crate) struct Work(pub(crate) PathBuf);

impl Work {
    /// In memory, if this many bytes are free there.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        // tgt's file belongs in memory: otherwise the disk would be measured.
        let memory = Path::new("/dev/shm");
        let free = rustix::fs::statvfs(memory).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        let base = if free >= bytes { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("pollux-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // A file left in /dev/shm takes memory, but nothing more can be done about it here.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// Kernel, processor, congestion control and load in one line.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let congestion =
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!(
        "Linux {}, {}, {}, load average {load}",
        kernel.trim(),
        model.unwrap_or("unknown processor").trim(),
        congestion.trim()
    )
}

/// The commit of the build under test.
pub(crate) fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    match git.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}
