//! What one peer can take from the others: logins that never end, and connections without end.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use e2e::{Setup, Subject, allow_open_files, inquiry_is_answered, tcp_socket};
use initiator::{Connection, Login, Session, Stage, encode_keys};
use rustix::net::{bind, connect};

/// Connections of one address that may be half open: the cap of the daemon.
const HALF_OPEN_MAX: usize = 512;

/// Further ones that are told why they are refused.
const REFUSED_MAX: usize = 64;

/// Discovery sessions of one address: the cap of the daemon.
const DISCOVERY_MAX: usize = 64;

/// Out of resources (RFC 7143 11.13.5).
const OUT_OF_RESOURCES: u16 = 0x0302;

/// A daemon that lets logins take their time, so that no slow machine ends them.
const PATIENT: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"
login_timeout_s = 300

[[portal]]
address = "PORTAL"

[[volume]]
name = "one"
kind = "memory"
size = "1MiB"

[[target]]
name = "iqn.2026-11.local.pollux:demo"
luns = { 0 = "one" }
"#;

/// A connection from another address of loopback.
fn connect_from(address: Ipv4Addr, portal: SocketAddr) -> Connection {
    let stream = tcp_socket().expect("a socket");
    bind(&stream, &SocketAddrV4::new(address, 0)).expect("an address of loopback");
    connect(&stream, &portal).expect("a connection");
    Connection::over(TcpStream::from(stream)).expect("a connection")
}

/// The status of a login on a connection.
fn login_status(connection: &mut Connection, login: &Login) -> u16 {
    let mut keys = encode_keys(&login.identity());
    keys.extend_from_slice(&encode_keys(login.offers()));
    let request = login.request(Stage::Operational, Some(Stage::FullFeature), &keys);
    login.round(connection, &request).expect("a login response").status
}

#[test]
fn half_open_logins_are_capped_for_each_address() {
    allow_open_files((HALF_OPEN_MAX + REFUSED_MAX) as u64 + 256);
    let Some(subject) = Subject::start_own(Setup::demo().with_config(PATIENT)) else { return };
    let mut established = subject.session();
    let mut connections = (0..HALF_OPEN_MAX).map(|_| subject.connect()).collect::<Vec<_>>();
    let mut refused = subject.connect();
    assert_eq!(login_status(&mut refused, &subject.login()), OUT_OF_RESOURCES);
    refused.drain_until_closed().expect("it is closed behind the answer");
    connections.extend((0..=REFUSED_MAX).map(|_| subject.connect()));
    // They are accepted in their order, so that all are when the last one is closed.
    let mut last = connections.pop().expect("there are some");
    last.drain_until_closed().expect("the last one is closed");
    established.ping(b"still here").expect("a session is not touched");
    let elsewhere = connect_from(Ipv4Addr::new(127, 0, 0, 2), subject.portal);
    let mut neighbour = Session::login(elsewhere, &Login::normal(&subject.target))
        .expect("another address is not touched");
    inquiry_is_answered(&mut neighbour, subject.lun);
    let first = login_status(&mut connections[0], &subject.login());
    assert_eq!(first, 0, "one that came in time is served");
    drop(connections);
    subject.finish(neighbour);
    subject.finish(established);
}

/// More than 16 logins of one address in progress were reset: a host that lost all of its paths
/// at once did not get them back.
#[test]
fn logins_of_one_address_that_come_all_at_once_all_succeed() {
    allow_open_files(512);
    let Some(subject) = Subject::start_own(Setup::demo().with_config(PATIENT)) else { return };
    let mut connections = (0..256).map(|_| subject.connect()).collect::<Vec<_>>();
    for connection in connections.iter_mut().rev() {
        assert_eq!(login_status(connection, &subject.login()), 0);
    }
    drop(connections);
    subject.assert_serves();
}

/// Discovery needs no access to any target. Thousands of such sessions took the places of all.
#[test]
fn discovery_sessions_of_one_address_leave_places_to_all_others() {
    let Some(subject) = Subject::start_own(Setup::demo().with_config(PATIENT)) else { return };
    let mut finders = (0..DISCOVERY_MAX + 16).map(|_| subject.connect()).collect::<Vec<_>>();
    let statuses = finders.iter_mut().map(|finder| login_status(finder, &Login::discovery()));
    let (begun, refused): (Vec<_>, Vec<_>) = statuses.partition(|status| *status == 0);
    assert_eq!((begun.len(), refused), (DISCOVERY_MAX, vec![OUT_OF_RESOURCES; 16]));
    subject.assert_serves();
    let elsewhere = connect_from(Ipv4Addr::new(127, 0, 0, 2), subject.portal);
    let mut other = Session::login(elsewhere, &Login::discovery()).expect("another address");
    assert_eq!(other.send_targets("All").expect("the targets").len(), 2);
    subject.finish(other);
    drop(finders);
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
