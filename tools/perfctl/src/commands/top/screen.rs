//! Screen contents as lines that fit the terminal. Independent of the terminal itself.

use crate::format::{per_second, percent, time};
use clap::ValueEnum;
use control_api::{
    ErrorCount, OperationStats, Percentiles, ReactorStats, Stats, Status, VolumeStats,
};
use std::cmp::Reverse;

/// Sort order of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Highest IOPS first
    Iops,
    /// Highest bandwidth first
    Bandwidth,
    /// Highest p99 latency of reads or writes first
    Latency,
    /// Most failed commands first
    Errors,
    /// By name
    Name,
}

impl Sort {
    /// The next sort order in the cycle.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Iops => Self::Bandwidth,
            Self::Bandwidth => Self::Latency,
            Self::Latency => Self::Errors,
            Self::Errors => Self::Name,
            Self::Name => Self::Iops,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Iops => "IOPS",
            Self::Bandwidth => "bandwidth",
            Self::Latency => "p99",
            Self::Errors => "errors",
            Self::Name => "name",
        }
    }
}

/// The data of one screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) status: &'a Status,
    pub(super) stats: &'a Stats,
    pub(super) sort: Sort,
}

/// How much fits on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScreenSize {
    /// Characters of a line.
    pub(super) columns: usize,
    /// Lines.
    pub(super) rows: usize,
}

/// One line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// It is a table header.
    pub(super) is_head: bool,
}

/// A table column, right-aligned except for the first.
#[derive(Clone, Copy, Debug)]
struct Column {
    head: &'static str,
    /// Minimum width, so that columns do not move with every refresh.
    width: usize,
    /// On a narrow terminal, columns with the highest rank are dropped first.
    rank: u8,
}

const fn column(head: &'static str, width: usize, rank: u8) -> Column {
    Column { head, width, rank }
}

const REACTORS: [Column; 9] = [
    column("reactor", 7, 0),
    column("core", 4, 2),
    column("busy", 6, 0),
    column("conns", 5, 1),
    column("commands", 9, 3),
    column("buffers", 9, 1),
    column("in MiB/s", 8, 2),
    column("out MiB/s", 9, 2),
    column("calls/s", 7, 4),
];

const VOLUMES: [Column; 12] = [
    column("volume", 8, 0),
    column("read/s", 7, 0),
    column("MiB/s", 7, 3),
    column("p50", 7, 4),
    column("p99", 7, 1),
    column("write/s", 7, 0),
    column("MiB/s", 7, 3),
    column("p50", 7, 4),
    column("p99", 7, 1),
    column("other/s", 7, 5),
    column("errors/s", 8, 2),
    column("LUNs", 4, 6),
];

/// The lines of one screen.
pub(super) fn screen(view: &View<'_>, size: ScreenSize) -> Vec<Line> {
    let ScreenSize { columns, rows } = size;
    let stats = view.stats;
    let mut lines = vec![plain(head(view), columns), plain(totals(stats), columns)];
    let reactors: Vec<_> = stats.reactors.iter().map(|r| reactor(r, stats.period_ns)).collect();
    let volumes: Vec<_> = volumes(view).into_iter().map(|v| v.cells).collect();
    // Two lines above; each table has a header and a blank line before it.
    let room = rows.saturating_sub(6);
    // Reactors are cut to half of the screen first, then volumes, so that both stay visible.
    let reactor_rows = reactors.len().min(room.saturating_sub(volumes.len()).max(room / 2));
    let volume_rows = room - reactor_rows;
    for (head, body, most, of) in [
        (&REACTORS[..], reactors, reactor_rows, "reactors"),
        (&VOLUMES[..], volumes, volume_rows, "volumes"),
    ] {
        lines.push(Line::default());
        lines.extend(table(head, body, most, columns, of));
    }
    lines.truncate(rows);
    lines
}

fn head(view: &View<'_>) -> String {
    let status = view.status;
    let connections: u32 = view.stats.reactors.iter().map(|r| r.connections).sum();
    format!(
        "Pollux {}: {}, {}, last {}   q quit, s sort ({})",
        status.version,
        counted(status.sessions, "session"),
        counted(connections.into(), "connection"),
        time(view.stats.period_ns),
        view.sort.name()
    )
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn totals(stats: &Stats) -> String {
    let operations = || stats.volumes.iter().flat_map(|v| &v.operations);
    let of = |name| {
        let chosen = || operations().filter(move |o| o.operation == name);
        let (count, bytes) = (chosen().map(|o| o.count).sum(), chosen().map(|o| o.bytes).sum());
        (per_second(count, stats.period_ns), mebibytes(bytes, stats.period_ns))
    };
    let (reads, writes) = (of("read"), of("write"));
    let errors = stats.volumes.iter().map(|v| failed(&v.errors)).sum();
    let errors = match failed_per_second(errors, stats.period_ns) {
        0 => String::new(),
        rate => format!("{rate} errors/s; "),
    };
    let used: u64 = stats.reactors.iter().map(|r| u64::from(r.buffers_in_use)).sum();
    let all: u64 = stats.reactors.iter().map(|r| u64::from(r.buffers_total)).sum();
    format!(
        "{} reads/s, {} MiB/s; {} writes/s, {} MiB/s; {errors}buffers {used}/{all}",
        reads.0, reads.1, writes.0, writes.1
    )
}

fn reactor(r: &ReactorStats, period_ns: u64) -> Vec<String> {
    vec![
        r.reactor.to_string(),
        r.core.to_string(),
        percent(r.busy_ns, r.busy_ns.saturating_add(r.idle_ns)),
        r.connections.to_string(),
        format!("{}/{}", r.commands_in_flight, r.command_window),
        format!("{}/{}", r.buffers_in_use, r.buffers_total),
        mebibytes(r.recv_bytes, period_ns),
        mebibytes(r.send_bytes, period_ns),
        per_second(r.syscalls, period_ns).to_string(),
    ]
}

/// One volume: its sort keys and its cells.
struct VolumeRow {
    name: String,
    count: u64,
    bytes: u64,
    p99_ns: u64,
    errors: u64,
    cells: Vec<String>,
}

/// All volumes with statistics and all mapped idle volumes, in sort order.
fn volumes(view: &View<'_>) -> Vec<VolumeRow> {
    let (stats, period_ns) = (view.stats, view.stats.period_ns);
    let is_idle = |name: &String| stats.volumes.iter().all(|v| v.volume != *name);
    let idle = view.status.volumes.iter().filter(|v| is_idle(&v.name) && !v.luns.is_empty());
    let idle = idle.map(|v| VolumeStats {
        volume: v.name.clone(),
        luns: v.luns.clone(),
        ..VolumeStats::default()
    });
    let busy = stats.volumes.iter().map(|v| volume(v, period_ns));
    let mut rows: Vec<_> = busy.chain(idle.map(|v| volume(&v, period_ns))).collect();
    // Ties are sorted by name, so that idle volumes keep their position.
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    match view.sort {
        Sort::Iops => rows.sort_by_key(|row| Reverse(row.count)),
        Sort::Bandwidth => rows.sort_by_key(|row| Reverse(row.bytes)),
        Sort::Latency => rows.sort_by_key(|row| Reverse(row.p99_ns)),
        Sort::Errors => rows.sort_by_key(|row| Reverse(row.errors)),
        Sort::Name => {}
    }
    rows
}

fn volume(volume: &VolumeStats, period_ns: u64) -> VolumeRow {
    let VolumeStats { volume: name, luns, operations, errors } = volume;
    let of = |wanted: &str| operations.iter().find(|o| o.operation == wanted);
    let (read, write) = (of("read"), of("write"));
    let named = [read, write].into_iter().flatten();
    let count: u64 = operations.iter().map(|o| o.count).sum();
    let others = count - named.clone().map(|o| o.count).sum::<u64>();
    let errors = failed(errors);
    let luns: Vec<_> = luns.iter().map(|l| format!("{}/{}", l.target, l.lun)).collect();
    let mut cells = vec![name.clone()];
    for operation in [read, write] {
        cells.extend(directed(operation, period_ns));
    }
    cells.push(per_second(others, period_ns).to_string());
    cells.push(failed_per_second(errors, period_ns).to_string());
    cells.push(luns.join(" "));
    VolumeRow {
        name: name.clone(),
        count,
        bytes: named.clone().map(|o| o.bytes).sum(),
        p99_ns: named.map(|o| o.total.p99_ns).max().unwrap_or(0),
        errors,
        cells,
    }
}

/// Commands that did not end with GOOD.
fn failed(errors: &[ErrorCount]) -> u64 {
    errors.iter().map(|e| e.count).sum()
}

/// A rate that is 0 only if nothing failed: one error in a minute must not be rounded away.
fn failed_per_second(count: u64, period_ns: u64) -> u64 {
    per_second(count, period_ns).max(count.min(1))
}

/// IOPS, bandwidth, p50 and p99 of reads or writes.
fn directed(operation: Option<&OperationStats>, period_ns: u64) -> [String; 4] {
    let (count, bytes) = operation.map_or((0, 0), |o| (o.count, o.bytes));
    let times = operation.map_or_else(Percentiles::default, |o| o.total);
    let latency = |ns| if times.count == 0 { "-".to_owned() } else { time(ns) };
    [
        per_second(count, period_ns).to_string(),
        mebibytes(bytes, period_ns),
        latency(times.p50_ns),
        latency(times.p99_ns),
    ]
}

/// Bandwidth in MiB/s to one decimal.
fn mebibytes(bytes: u64, period_ns: u64) -> String {
    let tenths = per_second(bytes.saturating_mul(10) >> 20, period_ns);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A table of at most `most` rows below its header, as wide as the terminal allows.
fn table(
    head: &[Column],
    mut rows: Vec<Vec<String>>,
    most: usize,
    columns: usize,
    of: &str,
) -> Vec<Line> {
    let hidden = if rows.len() > most { rows.len() - most.saturating_sub(1) } else { 0 };
    rows.truncate(rows.len() - hidden);
    let widths: Vec<_> = head
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            cells.chain([width(column.head)]).fold(column.width, usize::max)
        })
        .collect();
    let kept = fitting(head, &widths, columns);
    let heads: Vec<_> = head.iter().map(|column| column.head.to_owned()).collect();
    let mut lines = vec![Line { text: row_text(&heads, &kept, columns), is_head: true }];
    lines.extend(rows.iter().map(|row| plain(row_text(row, &kept, columns), columns)));
    if hidden > 0 {
        lines.push(plain(format!("and {hidden} more {of}"), columns));
    }
    lines
}

/// The columns that fit, each with its width. The first may shrink to its minimum width, so that
/// a long name does not hide numbers.
fn fitting(head: &[Column], widths: &[usize], columns: usize) -> Vec<(usize, usize)> {
    let mut kept: Vec<_> = widths.iter().copied().enumerate().collect();
    loop {
        let gaps = GAP * kept.len().saturating_sub(1);
        let all = kept.iter().map(|&(_, width)| width).sum::<usize>() + gaps;
        let over = all.saturating_sub(columns);
        let least = head.first().map_or(0, |column| column.width);
        if let Some((_, first)) = kept.first_mut()
            && over > 0
            && *first >= least + over
        {
            *first -= over;
            return kept;
        }
        let rank = kept.iter().filter_map(|&(at, _)| Some(head.get(at)?.rank)).max();
        if over == 0 || kept.len() <= 1 || rank == Some(0) {
            return kept;
        }
        // Reads and writes lose the same column, to keep the table readable.
        kept.retain(|&(at, _)| head.get(at).map(|column| column.rank) != rank);
    }
}

fn row_text(cells: &[String], kept: &[(usize, usize)], columns: usize) -> String {
    let mut text = String::new();
    for (place, &(at, wide)) in kept.iter().enumerate() {
        let cell = cut(cells.get(at).map_or("", String::as_str), wide);
        let is_text = place == 0 || at + 1 == VOLUMES.len();
        if place > 0 {
            text += &" ".repeat(GAP);
        }
        text += &if is_text { format!("{cell:<wide$}") } else { format!("{cell:>wide$}") };
    }
    cut(text.trim_end(), columns)
}

fn plain(text: String, columns: usize) -> Line {
    Line { text: cut(&text, columns), is_head: false }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text, truncated with an ellipsis if it is wider than `columns`.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns > 0 {
        short.push('…');
    }
    short
}

const GAP: usize = 2;

#[cfg(test)]
mod tests;
