use super::*;
use shard::{CommandFault, Ending, Refusal, SessionChange};

/// A command received at 1 ms, submitted 2 us later, done at the device 80 us later.
fn sample(volume: u32, operation: Operation) -> Sample {
    Sample {
        volume: VolumeId(volume),
        operation,
        bytes: 4096,
        fault: None,
        received_at: Instant(1_000_000),
        submitted_at: Instant(1_002_000),
        completed_at: Instant(1_082_000),
    }
}

fn sums_ns(stats: &OperationStats) -> [u64; 4] {
    Stage::ALL.map(|s| stats.stage(s).sum_ns())
}

#[test]
fn a_sample_is_cut_into_its_stages() {
    let mut recorder = Recorder::new();
    recorder.record(&sample(3, Operation::Read), 1, Instant(1_087_000));
    let snapshot = recorder.snapshot();
    let volumes: Vec<_> = snapshot.volumes().collect();
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0].0, VolumeId(3));
    let read = volumes[0].1.operation(Operation::Read).unwrap();
    assert_eq!((read.count(), read.bytes()), (1, 4096));
    assert_eq!(sums_ns(read), [87_000, 2_000, 80_000, 5_000]);
    assert!(volumes[0].1.operation(Operation::Write).is_none());
}

#[test]
fn percentiles_are_within_one_percent() {
    let mut recorder = Recorder::new();
    for i in 1..=1000u64 {
        recorder.record(&sample(0, Operation::Write), 1, Instant(1_000_000 + i * 1_000));
    }
    let snapshot = recorder.snapshot();
    let total = snapshot.volumes().next().unwrap().1.operation(Operation::Write).unwrap();
    let total = total.stage(Stage::Total);
    for (share, want) in [(0.5, 500_000), (0.9, 900_000), (0.99, 990_000), (0.999, 999_000)] {
        let ns = total.quantile_ns(share);
        assert!(ns.abs_diff(want) <= want / 100, "p{share}: {ns} is not near {want}");
    }
    assert!(total.max_ns().abs_diff(1_000_000) <= 10_000);
    assert_eq!((total.count(), total.sum_ns()), (1000, 500_500_000));
}

#[test]
fn a_time_beyond_a_minute_counts_as_a_minute() {
    let mut latency = Latency::new();
    latency.record(Duration::from_secs(300), 1);
    assert_eq!((latency.count(), latency.sum_ns()), (1, 60_000_000_000));
}

#[test]
fn nothing_recorded_is_all_zeros() {
    let latency = Latency::new();
    assert_eq!((latency.count(), latency.quantile_ns(0.99), latency.max_ns()), (0, 0, 0));
    assert_eq!(Recorder::new().snapshot().volumes().count(), 0);
}

#[test]
fn merging_adds_volumes_that_only_one_reactor_served() {
    let (mut a, mut b) = (Recorder::new(), Recorder::new());
    a.record(&sample(0, Operation::Read), 1, Instant(1_090_000));
    b.record(&sample(0, Operation::Read), 1, Instant(1_090_000));
    b.record(&sample(2, Operation::Flush), 1, Instant(1_090_000));
    a.counters.bytes_copied = 5;
    b.counters.bytes_copied = 7;
    let mut merged = a.snapshot();
    merged.merge(&b.snapshot());
    let counts: Vec<_> = merged
        .volumes()
        .map(|(id, v)| {
            (id.0, Operation::ALL.map(|o| v.operation(o).map_or(0, OperationStats::count)))
        })
        .collect();
    assert_eq!(counts, [(0, [2, 0, 0, 0, 0, 0]), (2, [0, 0, 1, 0, 0, 0])]);
    assert_eq!(merged.counters().bytes_copied, 12);
}

#[test]
fn a_difference_holds_only_what_happened_in_between() {
    let mut recorder = Recorder::new();
    // A slow command first: its time must not be in the difference.
    recorder.record(&sample(0, Operation::Read), 1, Instant(9_000_000_000));
    recorder.counters.syscalls = 10;
    let earlier = recorder.snapshot();
    recorder.record(&sample(0, Operation::Read), 1, Instant(1_100_000));
    recorder.record(&sample(1, Operation::Write), 1, Instant(1_100_000));
    recorder.counters.syscalls = 13;
    let difference = recorder.snapshot().since(&earlier);
    assert_eq!(difference.counters().syscalls, 3);
    let volumes: Vec<_> = difference.volumes().collect();
    let read = volumes[0].1.operation(Operation::Read).unwrap();
    assert_eq!((read.count(), read.stage(Stage::Total).sum_ns()), (1, 100_000));
    assert!(read.stage(Stage::Total).max_ns() < 102_000);
    assert_eq!(volumes[1].1.operation(Operation::Write).unwrap().count(), 1);
}

#[test]
fn a_difference_to_itself_is_empty() {
    let mut recorder = Recorder::new();
    recorder.record(&sample(0, Operation::Read), 1, Instant(1_100_000));
    let snapshot = recorder.snapshot();
    let difference = snapshot.since(&snapshot);
    let read = difference.volumes().next().unwrap().1.operation(Operation::Read).unwrap();
    assert_eq!((read.count(), read.stage(Stage::Total).count()), (0, 0));
}

#[test]
fn commands_that_are_alike_are_recorded_together() {
    let (mut together, mut apart) = (Recorder::new(), Recorder::new());
    together.record(&sample(0, Operation::Read), 3, Instant(1_100_000));
    for _ in 0..3 {
        apart.record(&sample(0, Operation::Read), 1, Instant(1_100_000));
    }
    let of = |recorder: &Recorder| {
        let snapshot = recorder.snapshot();
        let (_, volume) = snapshot.volumes().next().unwrap();
        let stats = volume.operation(Operation::Read).unwrap();
        let total = stats.stage(Stage::Total);
        (stats.count(), stats.bytes(), total.count(), total.sum_ns(), total.max_ns())
    };
    assert_eq!(of(&together), of(&apart));
    assert_eq!(of(&together).0, 3);
}

/// A place of the catalog is used again. What is late of its old volume is not counted as the new
/// one's, and what two reactors know of different volumes is not added up.
#[test]
fn volumes_of_the_same_place_are_told_apart() {
    let (old, new) = (VolumeId(3), VolumeId(3).successor().unwrap());
    let of = |volume: VolumeId| Sample { volume, ..sample(0, Operation::Read) };
    let at = Instant(1_087_000);
    let counts = |snapshot: &Snapshot| -> Vec<_> {
        let count = |stats: &VolumeStats| stats.operation(Operation::Read).unwrap().count();
        snapshot.volumes().map(|(id, stats)| (id, count(stats))).collect()
    };
    let mut recorder = Recorder::new();
    recorder.record(&of(old), 5, at);
    let before = recorder.snapshot();
    recorder.record(&of(new), 1, at);
    recorder.record(&of(old), 7, at);
    assert_eq!(counts(&recorder.snapshot()), [(new, 1)]);
    assert_eq!(counts(&recorder.snapshot().since(&before)), [(new, 1)]);
    let mut merged = before.clone();
    merged.merge(&recorder.snapshot());
    assert_eq!(counts(&merged), [(new, 1)]);
    let mut merged = recorder.snapshot();
    merged.merge(&before);
    assert_eq!(counts(&merged), [(new, 1)]);
}

/// Commands that a full disk failed at once made its volume look fast.
#[test]
fn failed_commands_are_counted_apart_by_operation_and_reason() {
    let mut recorder = Recorder::new();
    let failed = |fault, operation| Sample { fault: Some(fault), ..sample(1, operation) };
    recorder.record(&sample(1, Operation::Write), 1, Instant(1_100_000));
    let before = recorder.snapshot();
    recorder.record(&failed(CommandFault::MediumError, Operation::Write), 3, Instant(1_100_000));
    recorder.record(&failed(CommandFault::MediumError, Operation::Read), 1, Instant(1_100_000));
    recorder.record(&failed(CommandFault::DataProtect, Operation::Write), 2, Instant(1_100_000));
    let mut all = recorder.snapshot();
    let since = all.since(&before);
    let counts = |snapshot: &Snapshot| {
        let (_, volume) = snapshot.volumes().next().unwrap();
        let faults: Vec<_> = volume.faults().unwrap().iter().collect();
        (volume.operation(Operation::Write).unwrap().count(), faults)
    };
    let faults = |n| {
        vec![
            (Operation::Read, CommandFault::MediumError, n),
            (Operation::Write, CommandFault::DataProtect, 2 * n),
            (Operation::Write, CommandFault::MediumError, 3 * n),
        ]
    };
    assert_eq!(counts(&since), (0, faults(1)));
    all.merge(&recorder.snapshot());
    assert_eq!(counts(&all), (2, faults(2)));
}

#[test]
fn a_volume_on_which_every_command_failed_is_shown() {
    let mut recorder = Recorder::new();
    let failed = Sample { fault: Some(CommandFault::MediumError), ..sample(2, Operation::Read) };
    recorder.record(&failed, 1, Instant(1_100_000));
    let volumes: Vec<_> = recorder.snapshot().volumes().map(|(id, _)| id).collect();
    assert_eq!(volumes, [VolumeId(2)]);
}

#[test]
fn sessions_are_counted_by_reason() {
    let mut recorder = Recorder::new();
    recorder.sessions.add(SessionChange::LoggedIn);
    let before = recorder.snapshot();
    recorder.sessions.add(SessionChange::LoggedIn);
    recorder.sessions.add(SessionChange::Ended(Ending::PeerGone));
    recorder.sessions.add(SessionChange::Refused(Refusal::Forbidden));
    recorder.sessions.connections_refused += 1;
    let mut since = recorder.snapshot().since(&before);
    let counts = |snapshot: &Snapshot| {
        let s = snapshot.sessions();
        let ended = [Ending::PeerGone, Ending::LoggedOut].map(|e| s.ended(e));
        (s.logins(), ended, s.refused(Refusal::Forbidden), s.connections_refused)
    };
    assert_eq!(counts(&since), (1, [1, 0], 1, 1));
    since.merge(&before);
    assert_eq!(counts(&since), (2, [1, 0], 1, 1));
}
