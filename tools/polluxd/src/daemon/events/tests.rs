use super::*;
use shard::{Operation, Refusal};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

const fn failure(volume: u32, errno: i32, lba: u64) -> IoFailure {
    let volume = VolumeId(volume);
    IoFailure { volume, operation: Operation::Write, lba, blocks: 8, errno }
}

fn failed(volume: u32, errno: i32, count: u64) -> Events {
    let failures = vec![IoFailures { first: failure(volume, errno, 123), count }];
    Events { failures, ..Events::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "as the catalog gives it")]
fn name(id: VolumeId) -> Option<String> {
    Some(format!("vm{}", id.0))
}

fn line(volume: u32, errno: i32, suppressed: u64) -> Line {
    let failure = failure(volume, errno, 123);
    Line::Io { volume: format!("vm{volume}"), failure, suppressed }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn session(change: SessionChange) -> SessionEvent {
    let peer = "192.0.2.1:40000".parse().unwrap();
    SessionEvent { change, initiator: None, target: None, peer, detail: None }
}

fn sessions(change: SessionChange, count: usize) -> Events {
    Events { sessions: vec![session(change); count], ..Events::default() }
}

/// All lines of a time in which a reactor reports ten times a second.
fn lines_of(log: &mut EventLog, errnos: &[i32], time: Duration, start: Instant) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut now = start;
    while now < start + time {
        for &errno in errnos {
            lines.extend(log.lines_of(failed(1, errno, 4600), now, name));
        }
        lines.extend(log.due_lines(now));
        now += Duration::from_millis(100);
    }
    lines
}

/// It was 46,000 lines a second, without the volume's name.
#[test]
fn a_failing_volume_is_a_line_every_ten_seconds_with_the_number_of_those_left_out() {
    let (mut log, start) = (EventLog::default(), Instant::now());
    let lines = lines_of(&mut log, &[ENOSPC], seconds(60), start);
    // 100 reports in ten seconds; one failure of each line's report is the line itself.
    let others = vec![line(1, ENOSPC, 459_999); 5];
    assert_eq!(lines, [vec![line(1, ENOSPC, 0)], others].concat());
}

#[test]
fn a_volume_that_fails_in_many_ways_is_twelve_lines_a_minute() {
    let (mut log, start) = (EventLog::default(), Instant::now());
    let lines = lines_of(&mut log, &[ENOSPC, EIO, 6, 19, 110], seconds(600), start);
    assert!(lines.len() <= 120, "{}", lines.len());
    assert!(lines.len() >= 100, "{}", lines.len());
    let another = log.lines_of(failed(2, EIO, 1), start + seconds(599), name);
    assert_eq!(another, [line(2, EIO, 0)], "another volume has lines of its own");
}

#[test]
fn what_was_left_out_is_told_when_nothing_more_happens() {
    let (mut log, start) = (EventLog::default(), Instant::now());
    assert_eq!(log.lines_of(failed(1, EIO, 7), start, name), [line(1, EIO, 0)]);
    assert_eq!(log.due_lines(start), []);
    assert_eq!(log.deadline(), Some(start + seconds(10)));
    assert_eq!(log.due_lines(start + seconds(10)), [line(1, EIO, 5)]);
    assert_eq!(log.deadline(), None);
    assert_eq!(log.due_lines(start + seconds(100)), []);
}

#[test]
fn a_volume_is_warned_about_until_ten_minutes_after_its_last_error() {
    let (mut log, start) = (EventLog::default(), Instant::now());
    log.lines_of(failed(1, ENOSPC, 4), start, name);
    log.lines_of(failed(1, EIO, 2), start + seconds(100), name);
    let now = start + seconds(112);
    assert_eq!(
        log.warnings(now, name),
        ["volume vm1 has I/O errors: 6 so far, the last one 12 s ago (write: Input/output error \
          (os error 5)); run \"perfctl stats --volume vm1\" for the numbers"]
    );
    assert_eq!(log.warnings(now, |_| None), [] as [&str; 0], "it was deleted");
    let renamed = |_| Some("another".to_owned());
    assert_eq!(log.warnings(now, renamed), [] as [&str; 0], "another one has its number");
    assert_eq!(log.warnings(start + seconds(699), name).len(), 1);
    assert_eq!(log.warnings(start + seconds(700), name), [] as [&str; 0]);
    log.due_lines(start + seconds(720));
    assert_eq!(log.volumes.len(), 0, "nothing is kept of it");
}

#[test]
fn a_flood_of_refused_logins_is_ten_lines_in_ten_seconds_for_each_reason() {
    let (mut log, start) = (EventLog::default(), Instant::now());
    let [absent, forbidden] =
        [Refusal::TargetNotFound, Refusal::Forbidden].map(SessionChange::Refused);
    let lines = log.lines_of(sessions(absent, 1000), start, name);
    assert_eq!(lines, vec![Line::Session { event: session(absent), suppressed: 0 }; 10]);
    assert_eq!(log.lines_of(sessions(forbidden, 1), start, name).len(), 1);
    assert_eq!(log.due_lines(start + seconds(9)), []);
    assert_eq!(log.deadline(), Some(start + seconds(10)));
    let told = [Line::Suppressed { change: absent, count: 990 }];
    assert_eq!(log.due_lines(start + seconds(10)), told);
    assert_eq!(log.deadline(), None);
}

#[test]
fn every_login_of_a_reconnect_storm_is_a_line() {
    let (mut log, start) = (EventLog::default(), Instant::now());
    let lines = log.lines_of(sessions(SessionChange::LoggedIn, 1024), start, name);
    assert_eq!(lines.len(), 1024);
    assert_eq!(log.deadline(), None);
    let missed = Events { missed: 8, ..Events::default() };
    assert_eq!(log.lines_of(missed, start, name), [Line::Missed(8)]);
}
