use super::*;
use control_api::{LunName, VolumeInfo, VolumeKind, VolumeState};

fn operation(name: &str, count: u64, bytes: u64, p50_ns: u64) -> OperationStats {
    let times = Percentiles { count, p50_ns, p99_ns: p50_ns * 3, ..Percentiles::default() };
    OperationStats {
        operation: name.into(),
        count,
        bytes,
        total: times,
        receive_to_submit: Percentiles::default(),
        device: Percentiles::default(),
        send: Percentiles::default(),
        histogram: None,
    }
}

fn luns(target: &str) -> Vec<LunName> {
    vec![LunName { target: format!("iqn.2026-11.org.example:{target}"), lun: 0 }]
}

fn info(name: &str) -> VolumeInfo {
    VolumeInfo {
        name: name.into(),
        kind: VolumeKind::Memory,
        path: None,
        size_bytes: None,
        block_size: 512,
        read_only: false,
        wwid: None,
        serial: None,
        state: VolumeState::Served,
        luns: luns(name),
    }
}

fn status() -> Status {
    serde_json::from_value(serde_json::json!({
        "version": "0.1.0", "pid": 7, "uptime_s": 5, "state_dir": "/s", "config_file": "/c",
        "config_is_master": false, "config_refused": [], "generation": 1, "cores": [0, 1],
        "settings": [], "portals": [],
        "sessions": 5, "volumes": [info("spare"), info("vm1"), info("database-of-the-shop")],
        "targets": 3, "warnings": [],
    }))
    .unwrap()
}

fn reactor(number: u16) -> ReactorStats {
    ReactorStats {
        reactor: number,
        core: u32::from(number),
        busy_ns: 373,
        idle_ns: 627,
        recv_bytes: 3 << 20,
        send_bytes: 400 << 20,
        syscalls: 30_000,
        connections: 4,
        buffers_in_use: 7,
        buffers_total: 2896,
        commands_in_flight: 7,
        command_window: 512,
        ..ReactorStats::default()
    }
}

fn stats() -> Stats {
    let busy = |name: &str, operations| VolumeStats {
        volume: name.into(),
        luns: luns(name),
        operations,
        errors: vec![],
    };
    let shop = vec![operation("read", 20_000, 20_000 * 4096, 87_000)];
    let vm1 = vec![
        operation("read", 10, 10 << 20, 1_200_000),
        operation("write", 30_000, 30_000 * 8192, 95_000),
        operation("flush", 4, 0, 500_000),
    ];
    Stats {
        period_ns: 2_000_000_000,
        volumes: vec![busy("database-of-the-shop", shop), busy("vm1", vm1)],
        reactors: vec![reactor(0), reactor(1)],
        ..Stats::default()
    }
}

fn drawn(sort: Sort, stats: &Stats, (columns, rows): (usize, usize)) -> String {
    let size = ScreenSize { columns, rows };
    let status = status();
    let lines = screen(&View { status: &status, stats, sort }, size);
    assert!(lines.len() <= rows, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.text.chars().count() <= columns), "{lines:?}");
    lines.into_iter().map(|line| line.text + "\n").collect()
}

#[test]
fn a_wide_terminal_shows_everything() {
    assert_eq!(
        drawn(Sort::Iops, &stats(), (160, 24)),
        "\
Pollux 0.1.0: 5 sessions, 8 connections, last 2.00s   q quit, s sort (IOPS)
10005 reads/s, 44.0 MiB/s; 15000 writes/s, 117.1 MiB/s; buffers 14/5792

reactor  core    busy  conns   commands    buffers  in MiB/s  out MiB/s  calls/s
0           0   37.3%      4      7/512     7/2896       1.5      200.0    15000
1           1   37.3%      4      7/512     7/2896       1.5      200.0    15000

volume                 read/s    MiB/s      p50      p99  \
write/s    MiB/s      p50      p99  other/s  errors/s  LUNs
vm1                         5      5.0   1.20ms   3.60ms    \
15000    117.1   95.0us  285.0us        2         0  iqn.2026-11.org.example:vm1/0
database-of-the-shop    10000     39.0   87.0us  261.0us        \
0      0.0        -        -        0         0  iqn.2026-11.org.example:database-of-the-shop/0
spare                       0      0.0        -        -        \
0      0.0        -        -        0         0  iqn.2026-11.org.example:spare/0
"
    );
}

#[test]
fn eighty_columns_have_the_figures_of_both_directions() {
    assert_eq!(
        drawn(Sort::Name, &stats(), (80, 24)),
        "\
Pollux 0.1.0: 5 sessions, 8 connections, last 2.00s   q quit, s sort (name)
10005 reads/s, 44.0 MiB/s; 15000 writes/s, 117.1 MiB/s; buffers 14/5792

reactor  core    busy  conns   commands    buffers  in MiB/s  out MiB/s  calls/s
0           0   37.3%      4      7/512     7/2896       1.5      200.0    15000
1           1   37.3%      4      7/512     7/2896       1.5      200.0    15000

volume             read/s    MiB/s      p99  write/s    MiB/s      p99  errors/s
database-of-the…    10000     39.0  261.0us        0      0.0        -         0
spare                   0      0.0        -        0      0.0        -         0
vm1                     5      5.0   3.60ms    15000    117.1  285.0us         0
"
    );
}

#[test]
fn a_narrow_and_low_terminal_shows_the_most_important() {
    assert_eq!(
        drawn(Sort::Latency, &stats(), (44, 9)),
        "\
Pollux 0.1.0: 5 sessions, 8 connections, la…
10005 reads/s, 44.0 MiB/s; 15000 writes/s, …

reactor    busy  conns    buffers
and 2 more reactors

volume     read/s      p99  write/s      p99
vm1             5   3.60ms    15000  285.0us
and 2 more volumes
"
    );
}

#[test]
fn many_reactors_leave_half_of_the_screen_to_volumes() {
    let many = Stats { reactors: (0..16).map(reactor).collect(), ..stats() };
    assert_eq!(
        drawn(Sort::Bandwidth, &many, (60, 14)),
        "\
Pollux 0.1.0: 5 sessions, 64 connections, last 2.00s   q qu…
10005 reads/s, 44.0 MiB/s; 15000 writes/s, 117.1 MiB/s; buf…

reactor  core    busy  conns    buffers  in MiB/s  out MiB/s
0           0   37.3%      4     7/2896       1.5      200.0
1           1   37.3%      4     7/2896       1.5      200.0
2           2   37.3%      4     7/2896       1.5      200.0
3           3   37.3%      4     7/2896       1.5      200.0
and 12 more reactors

volume           read/s      p99  write/s      p99  errors/s
vm1                   5   3.60ms    15000  285.0us         0
database-of-t…    10000  261.0us        0        -         0
spare                 0        -        0        -         0
"
    );
}

/// A failing volume looked like an idle one.
#[test]
fn failed_commands_are_shown_with_their_volume() {
    let failed = |operation: &str, error: &str, count| ErrorCount {
        operation: operation.into(),
        error: error.into(),
        count,
    };
    let mut stats = stats();
    stats.volumes[0].errors = vec![failed("read", "medium-error", 1)];
    let errors = vec![failed("write", "data-protect", 9000), failed("read", "medium-error", 46)];
    stats.volumes.push(VolumeStats { volume: "full".into(), errors, ..VolumeStats::default() });
    assert_eq!(
        drawn(Sort::Errors, &stats, (80, 24)),
        "\
Pollux 0.1.0: 5 sessions, 8 connections, last 2.00s   q quit, s sort (errors)
10005 reads/s, 44.0 MiB/s; 15000 writes/s, 117.1 MiB/s; 4523 errors/s; buffers …

reactor  core    busy  conns   commands    buffers  in MiB/s  out MiB/s  calls/s
0           0   37.3%      4      7/512     7/2896       1.5      200.0    15000
1           1   37.3%      4      7/512     7/2896       1.5      200.0    15000

volume             read/s    MiB/s      p99  write/s    MiB/s      p99  errors/s
full                    0      0.0        -        0      0.0        -      4523
database-of-the…    10000     39.0  261.0us        0      0.0        -         1
spare                   0      0.0        -        0      0.0        -         0
vm1                     5      5.0   3.60ms    15000    117.1  285.0us         0
"
    );
}

#[test]
fn no_terminal_is_too_small() {
    for size in [(0, 0), (1, 1), (3, 5), (10, 100), (500, 2)] {
        drawn(Sort::Iops, &stats(), size);
        drawn(Sort::Iops, &Stats::default(), size);
    }
}

#[test]
fn the_key_goes_round_all_orders() {
    let orders = [Sort::Iops, Sort::Bandwidth, Sort::Latency, Sort::Errors, Sort::Name, Sort::Iops];
    assert!(orders.windows(2).all(|pair| pair[0].next() == pair[1]));
}
