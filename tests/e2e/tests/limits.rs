//! What one peer can take from the others: logins that never end, and connections without end.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use e2e::{Setup, Subject, inquiry_is_answered};
use initiator::{Connection, Login, Session, Stage, encode_keys};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Connections of one address that may be half open: the cap of the daemon.
const HALF_OPEN_MAX: usize = 16;

/// A connection from another address of loopback.
fn connect_from(address: Ipv4Addr, portal: SocketAddr) -> Connection {
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&stream, &SocketAddrV4::new(address, 0)).expect("an address of loopback");
    connect(&stream, &portal).expect("a connection");
    Connection::over(TcpStream::from(stream)).expect("a connection")
}

/// Whether a login succeeds on a connection.
fn logs_in(subject: &Subject, connection: &mut Connection) -> bool {
    let login = subject.login();
    let mut keys = encode_keys(&login.identity());
    keys.extend_from_slice(&encode_keys(login.offers()));
    let request = login.request(Stage::Operational, Some(Stage::FullFeature), &keys);
    login.round(connection, &request).is_ok_and(|reply| reply.status == 0 && reply.transit)
}

#[test]
fn half_open_logins_are_capped_for_each_address() {
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let mut established = subject.session();
    let mut connections = (0..40).map(|_| subject.connect()).collect::<Vec<_>>();
    // They are accepted in their order, so that all are when the last one is refused.
    let mut last = connections.pop().expect("there are 40");
    last.drain_until_closed().expect("the last one is refused");
    established.ping(b"still here").expect("a session is not touched");
    let elsewhere = connect_from(Ipv4Addr::new(127, 0, 0, 2), subject.portal);
    let mut neighbour = Session::login(elsewhere, &Login::normal(&subject.target))
        .expect("another address is not touched");
    inquiry_is_answered(&mut neighbour, subject.lun);
    let mut served = 0;
    for connection in &mut connections {
        served += usize::from(logs_in(&subject, connection));
    }
    assert!((1..=HALF_OPEN_MAX).contains(&served), "{served} of 40 could log in");
    drop(connections);
    subject.finish(neighbour);
    subject.finish(established);
}

#[test]
fn a_login_that_never_ends_is_ended_by_the_target() {
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let mut silent = subject.connect();
    let mut halfway = subject.connect();
    let login = subject.login();
    let first = login.request(Stage::Operational, None, &encode_keys(&login.identity()));
    let reply = login.round(&mut halfway, &first).expect("a response");
    assert_eq!((reply.status, reply.transit), (0, false));
    let mut established = subject.session();
    silent.drain_until_closed().expect("a silent connection is closed");
    halfway.drain_until_closed().expect("a login that stopped halfway is closed");
    established.ping(b"still here").expect("a session has no such limit");
    subject.finish(established);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let subject = Subject::start();
    for round in 0..200 {
        let mut session = subject.session();
        inquiry_is_answered(&mut session, subject.lun);
        if round % 2 == 0 {
            subject.finish(session);
        } else {
            // Dropped without logout, and the target sees it before the next one comes.
            session.connection().finish_sending().expect("no more is sent");
            session.connection().discard_until_closed().expect("the target closes, too");
        }
    }
    subject.assert_serves();
}

/// An initiator that asks for much and reads nothing: the target must stop reading its
/// requests, not store answers without end, and serve others meanwhile.
#[test]
fn an_initiator_that_reads_nothing_holds_up_no_other() {
    let subject = Subject::start();
    let mut greedy = subject.disk();
    let blocks = 262_144 / greedy.block_bytes();
    let mut requests = Vec::new();
    while greedy.session().window_is_open() && requests.len() < 128 << 10 {
        let command = greedy.read_command(0, blocks);
        let (_, bytes) = greedy.session().submit_later(command);
        requests.extend_from_slice(&bytes);
    }
    greedy.session().connection().send_bytes(&requests).expect("the requests are sent");
    for _ in 0..20 {
        subject.assert_serves();
    }
    let count = greedy.session().outstanding();
    for _ in 0..count {
        let (_, result) = greedy.session().collect_any().expect("an answer");
        assert!(result.is_good() && result.data.len() == 262_144);
    }
    subject.finish(greedy.into_session());
}
