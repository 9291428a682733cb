//! Files on a disk: polluxd serves them, and fio reads and writes one directly.

use super::contestant::Contestant;
use super::daemon::{Daemon, Volume};
use super::targets::{Place, Target};
use super::workload::Workload;
use crate::loadgen::{Report, Summary};
use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, OFlags};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The daemons, each with a file of its own, because each locks its file, and fio, which reads and
/// writes the file of the build under test.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) targets: Vec<(Contestant, Target)>,
    pub(crate) options: DiskOptions,
    core: usize,
    // After the targets: files are removed when nothing serves them any more.
    files: Vec<Image>,
}

/// How the disk is used.
#[derive(Clone, Debug)]
pub(crate) struct DiskOptions {
    pub(crate) folder: PathBuf,
    /// Bytes of each file.
    pub(crate) bytes: u64,
    /// `busy`, `adaptive` or `interrupt`.
    pub(crate) poll: &'static str,
    pub(crate) fio: PathBuf,
}

/// A file that is removed on drop.
#[derive(Debug)]
struct Image(PathBuf);

impl Drop for Image {
    fn drop(&mut self) {
        // If this fails, the name of the file says which program left it.
        let _removed = std::fs::remove_file(&self.0);
    }
}

impl Disk {
    /// Makes a file for each party and starts a daemon that serves it.
    pub(crate) fn start(
        place: &Place,
        options: DiskOptions,
        parties: &BTreeSet<Contestant>,
    ) -> Result<Self> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let (mut files, mut targets) = (Vec::new(), Vec::new());
        for &party in parties {
            let name = format!("disk-{}", party.file_name());
            let file = Image(folder.join(format!("compare-{name}.img")));
            fill(&file.0, options.bytes)
                .with_context(|| format!("cannot write the file {}", file.0.display()))?;
            let daemon = Daemon {
                name,
                program: place.program(party),
                cores: vec![place.core],
                poll: options.poll,
                volumes: vec![Volume::File(file.0.clone())],
                under: Vec::new(),
            };
            files.push(file);
            let target = Target::polluxd(place, &daemon)?;
            target.pause()?;
            targets.push((party, target));
        }
        Ok(Self { targets, options, core: place.core, files })
    }

    /// The same load by fio on the file itself, from the core of the daemon.
    pub(crate) fn raw(&self, workload: &Workload, seconds: f64) -> Result<Report> {
        let kind = if workload.read_percent == 100 { "read" } else { "write" };
        let bytes = control_api::parse_size(&workload.block)?;
        let file = self.files.first().context("no file to compare")?;
        let mut command = Command::new(&self.options.fio);
        command
            .args(["--name=raw", "--ioengine=io_uring", "--direct=1", "--output-format=json"])
            .args(["--time_based", "--ramp_time=200ms", "--randrepeat=0", "--norandommap"])
            .args(["--lat_percentiles=1", "--clat_percentiles=0"])
            .arg(format!("--percentile_list={}", PERCENTILES.map(|p| p.to_string()).join(":")))
            .arg(format!("--filename={}", file.0.display()))
            .arg(format!("--rw=rand{kind}"))
            .arg(format!("--bs={}", bytes))
            .arg(format!("--iodepth={}", workload.depth))
            // fio rounds a fraction of a second to 0, which is no limit.
            .arg(format!("--runtime={:.0}ms", seconds * 1000.0))
            .arg(format!("--cpus_allowed={}", self.core));
        let output = command.output().context("cannot run fio")?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "fio failed: {}", said());
        // Notes may precede the JSON.
        let text = String::from_utf8_lossy(&output.stdout);
        let json = text.find('{').map_or("", |at| &text[at..]);
        let all: Value = serde_json::from_str(json).with_context(said)?;
        report(&all, kind).context("the JSON of this version of fio has another form")
    }
}

/// Preallocates a file and writes all of it once: unwritten blocks are read without the disk, and
/// the first write to them changes the file system's metadata.
fn fill(path: &Path, bytes: u64) -> Result<()> {
    let direct = i32::try_from(OFlags::DIRECT.bits())?;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(direct);
    let mut file = options
        .open(path)
        .context("O_DIRECT is required: choose a folder on another file system with --disk")?;
    // Where the file system cannot preallocate, the writes below allocate.
    let _allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
    // O_DIRECT requires an aligned address.
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

/// fio's JSON as a report of the load generator.
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

/// The percentiles that fio reports; it accepts up to 20.
const PERCENTILES: [f64; 16] =
    [1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fio_json_is_parsed() {
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
