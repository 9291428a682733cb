//! Benchmark results as text.

use super::place::Place;
use crate::format::{lines, table, time};
use bench::loadgen::{Report, Summary};

/// Formats the result.
pub(super) fn render(report: &Report, place: &Place<'_>, note: Option<&str>) -> String {
    let mut text = format!(
        "{} on {} ({} LUN {} at {}), {:.2} s\n\n",
        report.load,
        place.lun.volume,
        place.target.name,
        place.lun.lun,
        place.portal,
        report.seconds
    );
    let head = ["operation", "IOPS", "MiB/s", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let mut table = table(head, 1);
    for (name, times) in [("read", &report.reads), ("write", &report.writes)] {
        if times.count > 0 {
            table.add_row(row(name, times, report));
        }
    }
    text += &lines(&table);
    text.push('\n');
    let syscalls = report.own_syscalls;
    if let Some(us) = report.target_cpu_us {
        text += &format!("polluxd CPU time         {us:.2} us per command\n");
    }
    text += &format!(
        "load generator CPU time  {:.2} us per command, {syscalls:.2} system calls per command\n",
        report.own_cpu_us
    );
    if report.late > 0 {
        text += "warning: polluxd cannot sustain --rate; some commands started late\n";
    }
    if let Some(note) = note {
        text += &format!("note: {note}\n");
    }
    text
}

fn row(name: &str, times: &Summary, report: &Report) -> Vec<String> {
    let share = times.count as f64 / report.commands.max(1) as f64;
    let latencies = [times.p50_ns, times.p90_ns, times.p99_ns, times.p999_ns, times.max_ns];
    let mut row = vec![
        name.to_owned(),
        format!("{:.0}", report.iops * share),
        format!("{:.1}", report.bytes_per_second * share / f64::from(1 << 20)),
        format!("{:.1}us", times.mean_ns / 1000.0),
    ];
    row.extend(latencies.map(time));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{LunInfo, TargetInfo};

    #[test]
    fn the_table_has_reads_and_writes_and_their_cpu_cost() {
        let times = |count, p50_ns| Summary {
            count,
            mean_ns: 90_500.0,
            p50_ns,
            p90_ns: 120_000,
            p99_ns: 250_000,
            p999_ns: 1_500_000,
            max_ns: 2_500_000,
            cdf: vec![],
        };
        let report = Report {
            load: "4KiB random 75/25 mix, QD32 x 2".into(),
            seconds: 2.0,
            commands: 40_000,
            iops: 20_000.0,
            bytes_per_second: 20_000.0 * 4096.0,
            reads: times(30_000, 87_000),
            writes: times(10_000, 95_000),
            target_cpu_us: Some(1.234),
            own_cpu_us: 2.0,
            own_syscalls: 0.5,
            late: 3,
            ..Report::default()
        };
        let lun = LunInfo { lun: 0, volume: "demo".into(), read_only: false, served: true };
        let target = TargetInfo {
            name: "iqn.2026-11.local.pollux:demo".into(),
            alias: None,
            portal_group: 1,
            initiators: None,
            chap: false,
            mutual_chap: false,
            luns: vec![],
        };
        let portal = "127.0.0.1:3260".into();
        let place = Place { target: &target, lun: &lun, volume: None, portal };
        assert_eq!(
            render(&report, &place, Some("both share a core")),
            "\
4KiB random 75/25 mix, QD32 x 2 on demo (iqn.2026-11.local.pollux:demo LUN 0 at \
127.0.0.1:3260), 2.00 s

operation   IOPS  MiB/s    mean     p50      p90      p99   p99.9     max
read       15000   58.6  90.5us  87.0us  120.0us  250.0us  1.50ms  2.50ms
write       5000   19.5  90.5us  95.0us  120.0us  250.0us  1.50ms  2.50ms

polluxd CPU time         1.23 us per command
load generator CPU time  2.00 us per command, 0.50 system calls per command
warning: polluxd cannot sustain --rate; some commands started late
note: both share a core
"
        );
    }
}
