//! An initiator that is logged in, as perfctl sees it.

use super::Place;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TARGET: &str = "iqn.2026-11.local.pollux:demo";

/// Logs in without security, straight into full feature phase (RFC 7143 11.12).
fn log_in(status: &Value) -> TcpStream {
    let portal = status["portals"][0]["address"].as_str().unwrap();
    let mut stream = TcpStream::connect(portal).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut text =
        format!("InitiatorName=iqn.2026-11.org.example:i\0TargetName={TARGET}\0").into_bytes();
    let len = u8::try_from(text.len()).unwrap();
    text.resize(text.len().next_multiple_of(4), 0);
    let mut login = [0; 48];
    // Login Request, immediate; transit from operational negotiation to full feature phase.
    (login[0], login[1]) = (0x43, 0x87);
    login[7] = len;
    // ISID: type 10b (random), and an initiator task tag.
    (login[8], login[13], login[19]) = (0x80, 0x01, 0x01);
    stream.write_all(&[&login[..], &text].concat()).unwrap();
    let answer = read_pdu(&mut stream);
    // Login Response, transit granted, status 0000h.
    assert_eq!((answer[0], answer[1], answer[36], answer[37]), (0x23, 0x87, 0, 0));
    stream
}

fn read_pdu(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 48];
    stream.read_exact(&mut header).unwrap();
    let len = usize::from(header[6]) << 8 | usize::from(header[7]);
    let mut pdu = header.to_vec();
    pdu.resize(48 + len.next_multiple_of(4), 0);
    stream.read_exact(&mut pdu[48..]).unwrap();
    pdu
}

/// Sends TEST UNIT READY to LUN 0 as the command of this number; returns its status.
fn test_unit_ready(stream: &mut TcpStream, number: u8) -> u8 {
    let mut command = [0; 48];
    (command[0], command[1], command[19]) = (0x01, 0x80, 0x02);
    command[27] = number;
    stream.write_all(&command).unwrap();
    let response = read_pdu(stream);
    assert_eq!(response[0], 0x21);
    response[3]
}

#[test]
fn a_session_is_listed_counted_and_dropped() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let mut stream = log_in(&status);
    let sessions = daemon.call("session.list", &json!({}))["sessions"].clone();
    assert_eq!(sessions.as_array().unwrap().len(), 1);
    assert_eq!(sessions[0]["initiator"], "iqn.2026-11.org.example:i");
    assert_eq!(sessions[0]["target"], TARGET);
    assert_eq!(sessions[0]["peer"], stream.local_addr().unwrap().to_string());
    assert_eq!(daemon.call("status", &json!({}))["sessions"], 1);

    daemon.call("stats", &json!({"since_last": true}));
    // CHECK CONDITION: a new session learns of the power on. It is no sample of latency.
    assert_eq!(test_unit_ready(&mut stream, 0), 0x02);
    assert_eq!(test_unit_ready(&mut stream, 1), 0x00);
    // A command counts when the kernel has taken its answer, which the initiator may see first.
    daemon.wait_for("stats", |s| s["volumes"][0]["operations"][0]["count"] == 1);
    let stats = daemon.call("stats", &json!({"since_last": true}));
    let demo = &stats["volumes"][0];
    assert_eq!((&demo["volume"], &demo["luns"][0]["lun"]), (&json!("demo"), &json!(0)));
    assert_eq!(demo["operations"][0]["operation"], "other");
    assert_eq!(demo["operations"][0]["count"], 1);
    assert_eq!(demo["operations"][0]["total"]["count"], 1);
    let failed = json!([{"operation": "other", "error": "unit-attention", "count": 1}]);
    assert_eq!(demo["errors"], failed);
    assert!(stats["reactors"][0]["command_window"].as_u64().unwrap() > 0);
    let nothing = daemon.call("stats", &json!({"since_last": true}));
    assert_eq!(nothing["volumes"], json!([]));

    let id = sessions[0]["id"].clone();
    daemon.call("session.drop", &json!({"id": id}));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(daemon.refused("session.drop", &json!({"id": id})).0, -32001);
    daemon.end();
}

#[test]
fn changes_leave_other_sessions_alone_and_end_those_of_a_deleted_target() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let mut stream = log_in(&status);
    daemon.call("volume.create", &json!({"name": "a", "kind": "file", "size": "1MiB"}));
    daemon.call("target.create", &json!({"name": "iqn.2026-11.org.example:a"}));
    daemon.call("lun.map", &json!({"target": "iqn.2026-11.org.example:a", "volume": "a"}));
    daemon.signal(Signal::HUP);
    daemon.wait_for_status(|s| s["generation"] == 5);
    test_unit_ready(&mut stream, 0);
    daemon.call("target.delete", &json!({"name": TARGET}));
    // Whatever the target says before it closes the connection, close it does.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(daemon.call("session.list", &json!({}))["sessions"], json!([]));
    daemon.end();
}

#[test]
fn a_check_names_the_sessions_that_would_end_and_ends_none() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let mut stream = log_in(&status);
    let session = daemon.call("session.list", &json!({}))["sessions"].clone();
    let catalog = std::fs::read_to_string(place.state().join("catalog.toml")).unwrap();
    let admitting = |name: &str| {
        let list = format!("name = \"{TARGET}\"\ninitiators = [\"{name}\"]");
        catalog.replace(&format!("name = \"{TARGET}\""), &list)
    };
    let check = |daemon: &mut super::Daemon, text: &str| {
        let file = place.file("p.toml", text);
        let file = file.to_str().unwrap();
        daemon.call("config.apply", &json!({"file": file, "check_only": true}))
    };
    let checked = check(&mut daemon, &admitting("iqn.2026-11.org.example:i"));
    assert_eq!(
        checked["changes"],
        json!([format!("target {TARGET}: initiators: any -> iqn.2026-11.org.example:i")])
    );
    assert_eq!(checked["ending_sessions"], json!(null));
    let checked = check(&mut daemon, &admitting("iqn.2026-11.org.example:j"));
    assert_eq!(checked["ending_sessions"], session);
    let checked = check(&mut daemon, "");
    assert_eq!(checked["ending_sessions"], session);
    test_unit_ready(&mut stream, 0);
    daemon.end();
}

#[test]
fn a_session_ends_whose_initiator_is_no_longer_admitted() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let mut stream = log_in(&status);
    let admit = |initiator: &str| json!({"name": TARGET, "initiators": {"set": [initiator]}});
    daemon.call("target.set", &admit("iqn.2026-11.org.example:i"));
    test_unit_ready(&mut stream, 0);
    daemon.call("target.set", &admit("iqn.2026-11.org.example:j"));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(daemon.call("session.list", &json!({}))["sessions"], json!([]));
    daemon.end();
}

#[test]
fn the_end_of_the_daemon_asks_initiators_to_log_out() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let mut stream = log_in(&status);
    daemon.signal(Signal::TERM);
    let message = read_pdu(&mut stream);
    // Asynchronous Message, event 1: the target requests logout (RFC 7143 11.9.1).
    assert_eq!((message[0], message[36]), (0x32, 1));
    // An initiator that goes is not waited for.
    drop(stream);
    assert!(daemon.wait().success());
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let mut stream = log_in(&status);
    daemon.signal(Signal::TERM);
    // From the logout request on, the daemon is ending.
    read_pdu(&mut stream);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(130));
}
