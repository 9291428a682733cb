//! A file on a disk: the daemon serves it, and fio reads and writes it without one.

use super::daemon::{Daemon, Volume};
use super::targets::{Place, Target};
use super::workload::Workload;
use crate::loadgen::{Report, Summary};
use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, OFlags};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file and the two that use it in turns.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) target: Target,
    fio: PathBuf,
    core: usize,
    file: Image,
}

/// A file that is gone afterwards.
#[derive(Debug)]
struct Image(PathBuf);

impl Drop for Image {
    fn drop(&mut self) {
        // Where it cannot be removed its name says what left it.
        let _removed = std::fs::remove_file(&self.0);
    }
}

impl Disk {
    /// Makes the file and starts a daemon that serves it.
    pub(crate) fn start(
        place: &Place,
        folder: &Path,
        bytes: u64,
        poll: &'static str,
        fio: PathBuf,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.canonicalize()?.join("compare-disk.img");
        let file = Image(path);
        fill(&file.0, bytes)
            .with_context(|| format!("cannot make the file {}", file.0.display()))?;
        let daemon = Daemon {
            name: "disk",
            cores: vec![place.core],
            poll,
            volumes: vec![Volume::File(file.0.clone())],
            under: Vec::new(),
        };
        let target = Target::ours(place, &daemon)?;
        Ok(Self { target, fio, core: place.core, file })
    }

    /// The same load by fio on the file itself, from the core that the daemon has.
    pub(crate) fn raw(&self, workload: &Workload, seconds: f64) -> Result<Report> {
        let kind = if workload.read_percent == 100 { "read" } else { "write" };
        let bytes = crate::size::parse(&workload.block).map_err(anyhow::Error::msg)?;
        let mut command = Command::new(&self.fio);
        command
            .args(["--name=raw", "--ioengine=io_uring", "--direct=1", "--output-format=json"])
            .args(["--time_based", "--ramp_time=200ms", "--randrepeat=0", "--norandommap"])
            .args(["--lat_percentiles=1", "--clat_percentiles=0"])
            .arg(format!("--percentile_list={}", PERCENTILES.map(|p| p.to_string()).join(":")))
            .arg(format!("--filename={}", self.file.0.display()))
            .arg(format!("--rw=rand{kind}"))
            .arg(format!("--bs={}", bytes))
            .arg(format!("--iodepth={}", workload.depth))
            // Of a fraction of a second fio would make 0, which has no end.
            .arg(format!("--runtime={:.0}ms", seconds * 1000.0))
            .arg(format!("--cpus_allowed={}", self.core));
        let output = command.output().context("cannot run fio")?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "fio failed: {}", said());
        // A note may stand before the JSON.
        let text = String::from_utf8_lossy(&output.stdout);
        let json = text.find('{').map_or("", |at| &text[at..]);
        let all: Value = serde_json::from_str(json).with_context(said)?;
        report(&all, kind).context("fio's JSON is not of the form that is known")
    }
}

/// Preallocates a file and writes all of it once: blocks that nobody has written are read
/// without a disk, and writing them changes the file system's tables.
fn fill(path: &Path, bytes: u64) -> Result<()> {
    let direct = i32::try_from(OFlags::DIRECT.bits())?;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(direct);
    let mut file =
        options.open(path).context("O_DIRECT is needed: choose another disk with --disk")?;
    // Not every file system can; then the writes below allocate.
    let _allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
    // O_DIRECT wants an aligned address.
    let mut buffer = vec![0_u8; CHUNK_BYTES + ALIGNMENT_BYTES];
    let begin = buffer.as_ptr().align_offset(ALIGNMENT_BYTES);
    let chunk = &mut buffer[begin..begin + CHUNK_BYTES];
    let mut seed = 1_u64;
    for word in chunk.as_chunks_mut::<8>().0 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *word = seed.to_le_bytes();
    }
    for _ in 0..bytes / CHUNK_BYTES as u64 {
        file.write_all(chunk)?;
    }
    file.sync_all()?;
    Ok(())
}

/// What fio's JSON says in the words of the load generator.
fn report(all: &Value, kind: &str) -> Option<Report> {
    let job = all.get("jobs")?.get(0)?;
    let figures = job.get(kind)?;
    let number = |name: &str| figures.get(name)?.as_f64();
    let latency = figures.get("lat_ns")?;
    let mut cdf: Vec<(u64, f64)> = latency
        .get("percentile")?
        .as_object()?
        .iter()
        .filter_map(|(share, ns)| Some((ns.as_u64()?, share.parse::<f64>().ok()? / 100.0)))
        .collect();
    cdf.sort_by(|a, b| a.1.total_cmp(&b.1));
    let at = |share: f64| cdf.iter().find(|point| point.1 >= share).map_or(0, |point| point.0);
    let iops = number("iops")?;
    let commands = figures.get("total_ios")?.as_u64()?;
    let cpu_percent = job.get("usr_cpu")?.as_f64()? + job.get("sys_cpu")?.as_f64()?;
    let all = Summary {
        count: commands,
        mean_ns: latency.get("mean")?.as_f64()?,
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
        max_ns: latency.get("max")?.as_u64()?,
        cdf,
    };
    Some(Report {
        seconds: number("runtime")? / 1000.0,
        commands,
        commands_total: commands,
        iops,
        bytes_per_second: number("bw_bytes")?,
        errors: u64::from(job.get("error")?.as_u64()? != 0),
        own_cpu_us: cpu_percent * 1e4 / iops.max(1.0),
        all,
        ..Report::default()
    })
}

const CHUNK_BYTES: usize = 1 << 20;
const ALIGNMENT_BYTES: usize = 4096;

/// The points of the distribution that are asked for; fio takes up to 20.
const PERCENTILES: [f64; 16] =
    [1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fios_figures_are_understood() {
        let json = r#"{"jobs": [{"error": 0, "usr_cpu": 10.0, "sys_cpu": 30.0, "read": {
            "iops": 20000.0, "bw_bytes": 81920000, "total_ios": 20000, "runtime": 1000,
            "lat_ns": {"mean": 48000.5, "max": 900000, "percentile": {
                "50.000000": 47000, "90.000000": 50000, "99.000000": 60000,
                "99.900000": 80000}}}}]}"#;
        let report = report(&serde_json::from_str(json).unwrap(), "read").unwrap();
        assert_eq!(
            (report.commands, report.all.p50_ns, report.all.p99_ns),
            (20_000, 47_000, 60_000)
        );
        // 0.4 of a second for 20000 commands.
        assert!((report.own_cpu_us - 20.0).abs() < 1e-9);
        assert_eq!(report.all.cdf[0], (47_000, 0.5));
    }
}
