//! The login phase: what is refused, with which status, and what is agreed on
//! (RFC 7143 sections 6, 11.12, 11.13 and 13).

use e2e::Subject;
use initiator::{Connection, Error, Login, LoginReply, Pdu, Stage, encode_keys, pdu};

/// Pairs as they go into key text.
fn text(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs = pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    encode_keys(&pairs.collect::<Vec<_>>())
}

/// Names and session type of a good login.
fn identity(login: &Login) -> Vec<u8> {
    encode_keys(&login.identity())
}

/// A login in one request from the operational stage to full feature.
fn single_request(login: &Login, keys: &[u8]) -> Pdu {
    login.request(Stage::Operational, Some(Stage::FullFeature), keys)
}

/// Sends one login request on a fresh connection, and gives the response with the connection.
fn ask(subject: &Subject, request: &Pdu) -> (LoginReply, Connection) {
    let mut connection = subject.connect();
    let login = subject.login();
    let reply = login.round(&mut connection, request);
    (reply.unwrap_or_else(|error| panic!("no Login Response: {error}")), connection)
}

/// Asserts that a login is refused with this status, and that the connection is closed then.
fn assert_refused(subject: &Subject, request: &Pdu, status: u16) {
    let (reply, mut connection) = ask(subject, request);
    assert_eq!(reply.status, status, "the status of the response {:02x?}", reply.bhs);
    assert!(!reply.transit, "a refused login goes to no other stage");
    let last_words = connection.drain_until_closed().expect("the target closes the connection");
    assert_eq!(last_words, [], "nothing follows a refused login (RFC 7143 11.13.5)");
}

#[test]
fn a_first_pdu_that_is_no_login_closes_the_connection() {
    let subject = Subject::start();
    let openings = [
        pdu::nop_out(1, b"").immediate(),
        pdu::scsi_command(pdu::FINAL, 0, 0, &[0; 16]),
        pdu::task_management(5, 0, 0),
        pdu::text_request(b"SendTargets=All\0"),
        pdu::data_out(1, 1, 0).with_data(&[0; 512]),
        pdu::logout_request(0, 1),
        pdu::snack_request(0, 1, 1),
        Pdu::new(0x1f),
        // What only a target may send.
        Pdu::new(pdu::opcode::LOGIN_RESPONSE),
        Pdu::new(pdu::opcode::REJECT),
    ];
    for opening in openings {
        let mut connection = subject.connect();
        connection.send(&opening).expect("the PDU is sent");
        let answers = connection.drain_until_closed().unwrap_or_else(|error| {
            panic!("opcode {:#04x} does not close the connection: {error}", opening.opcode())
        });
        assert_eq!(answers, [], "before a login nothing is answered (RFC 7143 6.3)");
    }
    subject.assert_serves();
}

#[test]
fn bytes_of_another_protocol_close_the_connection() {
    let subject = Subject::start();
    let mut connection = subject.connect();
    let request = b"GET / HTTP/1.1\r\nHost: target.example\r\nAccept: */*\r\n\r\n";
    connection.send_bytes(request).expect("the bytes are sent");
    connection.finish_sending().expect("and no more");
    connection.discard_until_closed().expect("the target closes the connection");
    subject.assert_serves();
}

#[test]
fn a_later_version_is_refused_with_0205() {
    let subject = Subject::start();
    let login = subject.login();
    let request = single_request(&login, &identity(&login)).with_byte(2, 1).with_byte(3, 1);
    assert_refused(&subject, &request, 0x0205);
}

#[test]
fn a_version_range_that_begins_at_zero_is_accepted() {
    let subject = Subject::start();
    let login = subject.login();
    let (reply, _connection) =
        ask(&subject, &single_request(&login, &identity(&login)).with_byte(2, 7));
    assert_eq!(reply.status, 0);
    assert_eq!(reply.bhs[3], 0, "version 0 is the active one (RFC 7143 11.13.2)");
}

#[test]
fn missing_names_are_refused_with_0207() {
    let subject = Subject::start();
    let login = subject.login();
    let no_initiator = text(&[("SessionType", "Normal"), ("TargetName", &subject.target)]);
    assert_refused(&subject, &single_request(&login, &no_initiator), 0x0207);
    let no_target = text(&[("InitiatorName", initiator::INITIATOR_NAME)]);
    assert_refused(&subject, &single_request(&login, &no_target), 0x0207);
    assert_refused(&subject, &single_request(&login, b""), 0x0207);
}

#[test]
fn a_session_without_session_type_is_normal() {
    let subject = Subject::start();
    let login = subject.login();
    let keys =
        text(&[("InitiatorName", initiator::INITIATOR_NAME), ("TargetName", &subject.target)]);
    let (reply, _connection) = ask(&subject, &single_request(&login, &keys));
    assert_eq!((reply.status, reply.transit, reply.next_stage), (0, true, 3));
    assert_ne!(reply.tsih, 0, "the final response names the session (RFC 7143 11.13.4)");
    let tag = reply.pairs().into_iter().find(|(key, _)| key == "TargetPortalGroupTag");
    assert_eq!(tag.map(|(_, value)| value), Some("1".to_owned()), "RFC 7143 13.9");
}

#[test]
fn an_unknown_target_is_refused_with_0203() {
    let subject = Subject::start();
    let login = Login::normal("iqn.2026-11.local.pollux:no-such-target");
    assert_refused(&subject, &single_request(&login, &identity(&login)), 0x0203);
}

#[test]
fn the_target_name_is_compared_without_case() {
    let subject = Subject::start();
    let login = Login::normal(&subject.target.to_uppercase());
    let (reply, _connection) = ask(&subject, &single_request(&login, &identity(&login)));
    assert_eq!(reply.status, 0, "names are case-folded (RFC 7143 4.2.7.2, RFC 3722)");
}

#[test]
fn an_unknown_session_type_is_refused_with_0209() {
    let subject = Subject::start();
    let login = subject.login();
    let keys = text(&[
        ("InitiatorName", initiator::INITIATOR_NAME),
        ("SessionType", "Holiday"),
        ("TargetName", &subject.target),
    ]);
    assert_refused(&subject, &single_request(&login, &keys), 0x0209);
}

#[test]
fn a_session_that_does_not_exist_is_refused_with_020a() {
    let subject = Subject::start();
    let login = subject.login().with_tsih(0x7ead);
    assert_refused(&subject, &single_request(&login, &identity(&login)), 0x020a);
}

/// Asserts that a request is an initiator error: a Login Response of class 2, then the end.
fn assert_initiator_error(subject: &Subject, request: &Pdu, what: &str) {
    let mut connection = subject.connect();
    connection.send(request).expect("the request is sent");
    let response = connection
        .receive()
        .unwrap_or_else(|error| panic!("{what}: no Login Response but: {error}"));
    let reply = LoginReply::from_pdu(&response).expect("a Login Response");
    assert_eq!(reply.status >> 8, 2, "{what} is an initiator error, not {:#06x}", reply.status);
    let last_words = connection.drain_until_closed();
    assert_eq!(last_words.expect("the target closes"), [], "{what}");
}

#[test]
fn illegal_stage_moves_are_initiator_errors() {
    let subject = Subject::start();
    let login = subject.login();
    let good = single_request(&login, &identity(&login));
    // Byte 1: T 80h, C 40h, CSG in bits 2 and 3, NSG in bits 0 and 1 (RFC 7143 11.12.3).
    let moves = [
        (0x80, "security to security"),
        (0x82, "security to the reserved stage"),
        (0x84, "operational back to security"),
        (0x85, "operational to operational"),
        (0x86, "operational to the reserved stage"),
        (0x8b, "from the reserved stage"),
        (0x8f, "from full feature"),
        (0xc7, "transit and continue together"),
    ];
    for (flags, what) in moves {
        assert_initiator_error(&subject, &good.clone().with_byte(1, flags), what);
    }
    subject.assert_serves();
}

#[test]
fn security_negotiation_with_none_leads_on_to_the_next_stages() {
    let subject = Subject::start();
    let session = subject.session_with(&subject.login().through_security());
    assert_eq!(session.answer("AuthMethod"), Some("None"));
    subject.finish(session);
}

#[test]
fn security_may_be_followed_by_full_feature_at_once() {
    let subject = Subject::start();
    let login = subject.login();
    let mut keys = identity(&login);
    keys.extend_from_slice(&text(&[("AuthMethod", "None")]));
    let (reply, _connection) =
        ask(&subject, &login.request(Stage::Security, Some(Stage::FullFeature), &keys));
    assert_eq!((reply.status, reply.transit), (0, true));
    assert_eq!((reply.current_stage, reply.next_stage), (0, 3));
}

/// The keys of a login, cut at one position: the first part says that it continues.
#[test]
fn keys_may_be_cut_at_every_position() {
    let subject = Subject::start();
    let login = subject.login();
    let mut keys = identity(&login);
    keys.extend_from_slice(&encode_keys(login.offers()));
    for cut in 1..=keys.len() {
        let mut connection = subject.connect();
        let first = login
            .request(Stage::Operational, None, &keys[..cut])
            .with_byte(1, pdu::CONTINUE | Stage::Operational.bits() << 2);
        let reply = login.round(&mut connection, &first).expect("a response to the first part");
        assert_eq!((reply.status, reply.transit), (0, false), "cut at {cut}");
        assert_eq!(reply.text, b"", "nothing is answered before the end (RFC 7143 6.2)");
        let exp_stat_sn = reply.u32_at(24).wrapping_add(1);
        let second = single_request(&login, &keys[cut..]).with_u32(28, exp_stat_sn);
        let reply = login.round(&mut connection, &second).expect("a response to the second part");
        assert_eq!((reply.status, reply.transit), (0, true), "cut at {cut}");
        let immediate = reply.pairs().into_iter().find(|(key, _)| key == "ImmediateData");
        assert_eq!(immediate.map(|(_, value)| value), Some("Yes".to_owned()), "cut at {cut}");
    }
    subject.assert_serves();
}

#[test]
fn keys_without_end_are_refused() {
    let subject = Subject::start();
    let login = subject.login();
    let mut connection = subject.connect();
    let part = vec![b'x'; 8192];
    let request = login
        .request(Stage::Operational, None, &part)
        .with_byte(1, pdu::CONTINUE | Stage::Operational.bits() << 2);
    // 64 parts are half a mebibyte; no login of real keys is near a tenth of that.
    let refusal = (0..64).find_map(|_| match login.round(&mut connection, &request) {
        Ok(reply) if reply.status == 0 => None,
        Ok(reply) => Some(reply.status >> 8),
        Err(Error::Closed) => Some(0),
        Err(other) => panic!("neither answer nor end: {other}"),
    });
    assert!(refusal.is_some(), "the target gathers key text without a limit");
    assert!(matches!(refusal, Some(0 | 2 | 3)), "class {refusal:?}");
    subject.assert_serves();
}

#[test]
fn empty_parts_without_end_are_refused() {
    let subject = Subject::start();
    let login = subject.login();
    let mut connection = subject.connect();
    let request = login
        .request(Stage::Operational, None, b"")
        .with_byte(1, pdu::CONTINUE | Stage::Operational.bits() << 2);
    let ended = (0..4096)
        .any(|_| !matches!(login.round(&mut connection, &request), Ok(reply) if reply.status == 0));
    assert!(ended, "the target answers empty continuations for ever");
    subject.assert_serves();
}

#[test]
fn a_login_with_more_data_than_8192_bytes_is_refused() {
    let subject = Subject::start();
    let login = subject.login();
    for length in [8193_u32, 65_536, 0x00ff_ffff] {
        let mut request = single_request(&login, b"");
        request.bhs[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        let mut connection = subject.connect();
        connection.send(&request).expect("the header is sent, and no data");
        let answers = connection.drain_until_closed().unwrap_or_else(|error| {
            panic!("the target waits for {length} bytes in the login phase: {error}")
        });
        for answer in answers {
            let reply = LoginReply::from_pdu(&answer).expect("only a Login Response may come");
            assert_eq!(reply.status >> 8, 2, "length {length}");
        }
    }
    subject.assert_serves();
}

#[test]
fn malformed_keys_are_initiator_errors() {
    let subject = Subject::start();
    let login = subject.login();
    let long_name = format!("iqn.2026-11.local.pollux:{}", "n".repeat(224));
    let twice = text(&[("MaxBurstLength", "65536"), ("MaxBurstLength", "65536")]);
    let faults = [
        (twice, "a key twice"),
        (text(&[(&"K".repeat(64), "1")]), "a key name of 64 bytes"),
        (b"ThisIsNoPair\0".to_vec(), "a key without a value"),
        (b"=1\0".to_vec(), "a value without a key"),
    ];
    for (fault, what) in faults {
        let mut keys = identity(&login);
        keys.extend_from_slice(&fault);
        assert_initiator_error(&subject, &single_request(&login, &keys), what);
    }
    let keys = text(&[("InitiatorName", &long_name), ("TargetName", &subject.target)]);
    assert_initiator_error(&subject, &single_request(&login, &keys), "a name of 249 bytes");
    subject.assert_serves();
}

#[test]
fn another_pdu_in_the_login_phase_is_refused_with_020b() {
    let subject = Subject::start();
    let login = subject.login();
    let mut connection = subject.connect();
    let first = login.request(Stage::Operational, None, &identity(&login));
    let reply = login.round(&mut connection, &first).expect("a response");
    assert_eq!((reply.status, reply.transit), (0, false));
    connection.send(&pdu::nop_out(9, b"").immediate()).expect("a NOP-Out is sent");
    let answers = connection.drain_until_closed().expect("the target closes");
    let [answer] = &answers[..] else { panic!("one Login Response, not {answers:?}") };
    assert_eq!(LoginReply::from_pdu(answer).expect("a Login Response").status, 0x020b);
}

#[test]
fn a_second_login_after_the_first_is_refused() {
    let subject = Subject::start();
    let mut session = subject.session();
    let login = subject.login();
    let request = single_request(&login, &identity(&login)).with_u32(16, 77);
    session.connection().send(&request).expect("the request is sent");
    // The login phase comes once per connection (RFC 7143 6.3): Reject or the end.
    match session.await_opcode(pdu::opcode::REJECT) {
        Ok(reject) => assert!(matches!(reject.bhs[2], 0x04 | 0x05 | 0x09 | 0x0b)),
        Err(error) => assert!(error.is_closed(), "neither Reject nor end: {error}"),
    }
    subject.assert_serves();
}

#[test]
fn a_login_half_done_that_disappears_leaves_the_target_well() {
    let subject = Subject::start();
    let login = subject.login();
    let bytes = single_request(&login, &identity(&login)).encode(pdu::Digests::default());
    for length in 1..bytes.len() {
        let mut connection = subject.connect();
        connection.send_bytes(&bytes[..length]).expect("a part is sent");
        connection.finish_sending().expect("and no more");
        // Waiting keeps this below the cap on half-open logins, which is another fact.
        connection.discard_until_closed().expect("the target closes too");
    }
    subject.assert_serves();
}
