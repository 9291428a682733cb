//! Initiators that read slowly or not at all, a daemon that stands still for a while, and a disk
//! that hangs: who lives goes on, and nobody takes memory without end.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use e2e::{Daemon, Held, HeldFiles, Setup, Subject, perfctl, tcp_socket};
use initiator::pdu::{self, TAG_NONE, opcode};
use initiator::{Command, Connection, Disk, Login, Session, cdb};
use rustix::net::connect;
use rustix::net::sockopt::set_socket_recv_buffer_size;

/// How long anything may take on a slow machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Connections that send and never read.
const DEAF: usize = 32;

/// Memory for each of them: what docs/TUNING.md states. It took 1.3 MiB.
const BYTES_FOR_EACH: u64 = 640 << 10;

/// What may stay in use when they are gone: kept for the next ones, or in pieces.
const BYTES_KEPT_MAX: u64 = 8 << 20;

/// The receive buffers of the reactor, which take their pages when they are first used.
const RECEIVE_BUFFERS: u64 = 16 << 20;

/// Pings that are answered with as much as they bring.
fn pings(session: &mut Session, data: &[u8]) -> Vec<u8> {
    let digests = session.connection().digests();
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        let tag = session.new_tag();
        let ping = session.stamp(pdu::nop_out(tag, data).immediate());
        bytes.extend_from_slice(&ping.encode(digests));
    }
    bytes
}

/// Lets a session send pings until nobody takes them any more.
fn deafen(mut session: Session, data: &[u8]) -> Session {
    let bytes = pings(&mut session, data);
    session.connection().limit_waits(Duration::from_millis(300)).expect("a limit");
    for _ in 0..64 {
        if session.connection().send_bytes(&bytes).is_err() {
            return session;
        }
    }
    panic!("the target takes pings without end");
}

#[test]
fn connections_that_send_and_never_read_take_bounded_memory_and_give_it_back() {
    let small_sockets = Setup::demo().with_arguments(&["--socket-buffer", "64KiB"]);
    let Some(mut subject) = Subject::start_own(small_sockets) else { return };
    subject.assert_serves();
    let before = subject.daemon().memory_bytes() + RECEIVE_BUFFERS;
    for data in [&[][..], &[7; 65_536]] {
        let sessions = (0..DEAF).map(|_| subject.session()).collect::<Vec<_>>();
        let deaf: Vec<_> = std::thread::scope(|scope| {
            let deafen = |session| scope.spawn(move || deafen(session, data));
            let threads: Vec<_> = sessions.into_iter().map(deafen).collect();
            threads.into_iter().map(|thread| thread.join().expect("a deaf session")).collect()
        });
        let during = subject.daemon().memory_bytes().saturating_sub(before);
        subject.assert_serves();
        drop(deaf);
        let until = Instant::now() + TIME_MAX;
        let bound = before + BYTES_KEPT_MAX;
        while subject.daemon().memory_bytes() > bound && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let after = subject.daemon().memory_bytes().saturating_sub(before);
        println!("pings of {} bytes: {during} bytes during, {after} after", data.len());
        assert!(during <= DEAF as u64 * BYTES_FOR_EACH, "{during} bytes for {DEAF} connections");
        assert!(after <= BYTES_KEPT_MAX, "{after} bytes are not given back");
    }
}

/// A connection with a small receive buffer, and its stream.
fn narrow_connection(subject: &Subject) -> (Connection, TcpStream) {
    let stream = tcp_socket().expect("a socket");
    set_socket_recv_buffer_size(&stream, 32 << 10).expect("a small buffer");
    connect(&stream, &subject.portal).expect("a connection");
    let stream = TcpStream::from(stream);
    let raw = stream.try_clone().expect("a second handle");
    (Connection::over(stream).expect("a connection"), raw)
}

/// The target's ping was behind much data, so that a host on a slow line was taken for dead
/// after 42 s although it read all the time.
#[test]
fn an_initiator_that_reads_slowly_and_steadily_is_not_dropped() {
    // More than the buffers hold: what is queued of a session that is dropped still leaves.
    const READS: usize = 128;
    const READ_BYTES: u32 = 524_288;
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let (connection, mut raw) = narrow_connection(&subject);
    let session = Session::login(connection, &subject.login()).expect("a login");
    let mut disk = Disk::open(session, subject.lun).expect("a disk");
    let blocks = READ_BYTES / disk.block_bytes();
    let mut requests = Vec::new();
    for _ in 0..READS {
        let command = disk.read_command(0, blocks);
        requests.extend_from_slice(&disk.session().submit_later(command).1);
    }
    disk.session().connection().send_bytes(&requests).expect("the requests are sent");
    let began = Instant::now();
    let mut chunk = [0; 1024];
    let mut read = 0;
    while began.elapsed() < Duration::from_secs(50) {
        std::thread::park_timeout(Duration::from_millis(100));
        read += raw.read(&mut chunk).expect("the connection is open");
    }
    let mut rest = vec![0; 1 << 20];
    while read < READS * READ_BYTES as usize {
        raw.set_read_timeout(Some(TIME_MAX)).expect("a limit");
        let count = raw.read(&mut rest).expect("the connection is open");
        assert!(count > 0, "the target has closed the connection after {read} bytes");
        read += count;
    }
}

/// The deadline of the ping was judged before the bytes were read that had come meanwhile.
#[test]
fn a_daemon_that_stood_still_drops_no_session_that_has_answered() {
    let Some(mut subject) = Subject::start_own(Setup::demo()) else { return };
    let mut session = subject.session();
    let ping = session.connection().receive_within(TIME_MAX).expect("a ping of the target");
    assert_eq!(ping.opcode(), opcode::NOP_IN);
    let transfer_tag = ping.target_transfer_tag();
    assert_ne!(transfer_tag, TAG_NONE);
    subject.daemon().pause();
    let answer = pdu::nop_out(TAG_NONE, &[]).immediate().with_u32(20, transfer_tag);
    session.send(answer).expect("the answer is sent");
    // Longer than an answer may take.
    let silence = session.connection().receive_within(Duration::from_secs(25));
    assert!(silence.is_err_and(|error| error.is_timeout()), "it stands still");
    subject.daemon().resume();
    assert_eq!(session.ping(b"alive").expect("the session is open"), b"alive");
    subject.finish(session);
}

/// What perfctl prints where it succeeds.
fn asked(daemon: &Daemon, words: &[&str]) {
    let mut command = Process::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    let output = command.output().expect("perfctl beside polluxd");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sixteen immediate requests of any kind were the quota, so that aborts on a disk that hangs kept
/// further aborts and pings out, and the initiator dropped the session.
#[test]
fn aborts_and_pings_are_answered_while_immediate_commands_hang() {
    const TARGET: &str = "iqn.2026-11.local.pollux:hung";
    /// "Task does not exist" (RFC 7143 11.6.1).
    const DOES_NOT_EXIST: u8 = 1;
    let daemon = Daemon::demo();
    let files = HeldFiles::mount();
    let path = files.add("hung.img", 16 << 20);
    let path = path.to_str().expect("a path in UTF-8");
    asked(&daemon, &["volume", "create", "hung", "--path", path, "--adopt"]);
    asked(&daemon, &["target", "create", TARGET]);
    asked(&daemon, &["target", "map", TARGET, "hung"]);
    let session = Session::open(daemon.portal(), &Login::normal(TARGET)).expect("a login");
    let mut session = Disk::open(session, 0).expect("a disk").into_session();
    files.hold(Held::Io);
    let submit = |session: &mut Session| {
        let flush = Command::without_data(0, cdb::synchronize_cache_16(0, 0));
        session.submit(flush.delivered_immediately()).expect("a command is sent")
    };
    let flushes: Vec<_> = (0..64).map(|_| submit(&mut session)).collect();
    files.wait_until_held();
    for flush in &flushes {
        let tag = session.new_tag();
        let abort = pdu::task_management(1, 0, flush.0).with_u32(16, tag);
        session.send(abort).expect("an abort is sent");
    }
    assert_eq!(session.ping(b"alive").expect("a ping is answered"), b"alive");
    let unknown = session.task_management(1, 0, None).expect("an abort is answered");
    assert_eq!(unknown, DOES_NOT_EXIST);
    files.release();
    for flush in flushes {
        session.forget(flush);
    }
    assert_eq!(session.logout().expect("a logout is answered"), 0);
}
