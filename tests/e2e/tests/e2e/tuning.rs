//! The tuning options of the daemon, seen from outside: what the kernel says of its threads, its
//! rings and its sockets.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Daemon, Program, Setup, perfctl};
use initiator::{Login, Session};

const DEMO: &str = "iqn.2026-11.local.pollux:demo";

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

fn start(words: &[&str]) -> Daemon {
    Setup::demo().with_arguments(words).start()
}

/// One file of each reactor's thread below /proc.
fn of_reactors(daemon: &Daemon, file: &str) -> Vec<String> {
    let tasks = format!("/proc/{}/task", daemon.pid());
    let mut threads: Vec<_> = fs::read_dir(tasks)
        .expect("the daemon's threads")
        .filter_map(|task| Some(task.ok()?.path()))
        .filter_map(|task| Some((fs::read_to_string(task.join("comm")).ok()?, task)))
        .filter(|(name, _)| name.starts_with("reactor-"))
        .collect();
    threads.sort();
    threads
        .into_iter()
        .map(|(_, task)| fs::read_to_string(task.join(file)).expect("a running thread"))
        .collect()
}

/// Whether the first reactor runs (R) or sleeps (S).
fn state(daemon: &Daemon) -> String {
    let status = of_reactors(daemon, "status").remove(0);
    let line = status.lines().find_map(|line| line.strip_prefix("State:")).expect("a state");
    line.trim().chars().take(1).collect()
}

/// What the kernel says of the daemon's ring.
fn ring(daemon: &Daemon) -> String {
    let process = format!("/proc/{}", daemon.pid());
    let ring = fs::read_dir(format!("{process}/fd"))
        .expect("the daemon's descriptors")
        .filter_map(|fd| Some(fd.ok()?.path()))
        .find(|fd| fs::read_link(fd).is_ok_and(|name| name.ends_with("anon_inode:[io_uring]")))
        .expect("a ring");
    let name = ring.file_name().expect("a number").to_string_lossy().into_owned();
    fs::read_to_string(format!("{process}/fdinfo/{name}")).expect("the ring's state")
}

fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.output().expect("perfctl beside polluxd");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first two cores that this process may use; none where there is only one.
fn two_cores() -> Option<(usize, usize)> {
    let allowed = rustix::thread::sched_getaffinity(None).expect("the own cores");
    let mut cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    Some((cores.next()?, cores.next()?))
}

#[test]
fn each_core_has_a_reactor_that_stays_there() {
    let Some((first, second)) = two_cores() else {
        return Program::skip("this machine has one core");
    };
    let daemon = start(&["--cores", &format!("{second},{first}")]);
    let allowed: Vec<_> = of_reactors(&daemon, "status")
        .iter()
        .filter_map(|status| status.split_once("Cpus_allowed_list:\t")?.1.lines().next())
        .map(str::to_owned)
        .collect();
    assert_eq!(allowed, [second.to_string(), first.to_string()]);
}

#[test]
fn a_busy_reactor_runs_and_the_others_sleep_while_nothing_comes() {
    let busy = start(&["--poll", "busy"]);
    assert!((0..50).all(|_| state(&busy) == "R"));
    drop(busy);
    for words in [&["--poll", "interrupt"][..], &["--poll", "adaptive", "--spin-us", "0"][..]] {
        let daemon = start(words);
        let until = Instant::now() + TIME_MAX;
        while state(&daemon) != "S" {
            assert!(Instant::now() < until, "the reactor does not sleep with {words:?}");
        }
    }
}

#[test]
fn the_ring_has_as_many_entries_as_the_queue_depth_says() {
    let daemon = start(&["--queue-depth", "8192"]);
    assert!(ring(&daemon).contains("SqMask:\t0x1fff\n"), "{}", ring(&daemon));
    assert!(asked(&daemon, &["status"]).contains("queue depth    8192\n"));
}

#[test]
fn the_pool_is_cut_as_the_buffers_say() {
    let daemon = start(&["--buffers", "4KiB:64,256KiB:16"]);
    // "buffers" is the column of those in use and all.
    assert!(asked(&daemon, &["stats"]).contains(" 0/80 "), "{}", asked(&daemon, &["stats"]));
}

#[test]
fn connections_have_socket_buffers_of_the_size_that_was_said() {
    if Program::find("ss", None).is_none() {
        return;
    }
    let daemon = start(&["--socket-buffer", "64KiB"]);
    let _session = Session::open(daemon.portal(), &Login::normal(DEMO)).expect("a login");
    let source = format!("sport = :{}", daemon.portal().port());
    let output = Command::new("ss").args(["-tmnH", "state", "established", &source]).output();
    let said = String::from_utf8_lossy(&output.expect("ss runs").stdout).into_owned();
    // The kernel doubles sizes for its own bookkeeping.
    assert!(said.contains(",rb131072,") && said.contains(",tb131072,"), "{said}");
}

#[test]
fn the_ring_polls_network_cards_when_told_or_a_sentence_says_why_not() {
    let daemon = start(&["--napi-busy-poll-us", "40", "--napi-prefer-busy-poll"]);
    let ring = ring(&daemon);
    if !ring.contains("NAPI:\tenabled") {
        assert!(daemon.says("it needs Linux 6.9"), "{ring}");
        return;
    }
    // Microseconds in Linux 6.9 and 6.10, nanoseconds from then on.
    let known = ["napi_busy_poll_to:\t40\n", "napi_busy_poll_dt:\t40000\n"];
    assert!(known.iter().any(|line| ring.contains(line)), "{ring}");
    assert!(ring.contains("napi_prefer_busy_poll:\ttrue\n"), "{ring}");
    assert!(asked(&daemon, &["status"]).contains("NAPI busy poll 40 us\n"));
}
