//! What a login agrees on, key by key: offers and results of RFC 7143 section 13.

use e2e::Subject;
use initiator::Login;

/// Offers one key (in place of the usual offer of it) and gives the target's last word on it.
fn answer(subject: &Subject, key: &str, value: &str) -> Option<String> {
    let session = subject.session_with(&subject.login().key(key, value));
    let answer = session.answer(key).map(str::to_owned);
    subject.finish(session);
    answer
}

#[test]
fn digests_follow_the_order_of_the_initiator() {
    let subject = Subject::start();
    for key in ["HeaderDigest", "DataDigest"] {
        for (offer, result) in [
            ("None", "None"),
            ("CRC32C", "CRC32C"),
            ("CRC32C,None", "CRC32C"),
            ("None,CRC32C", "None"),
            ("X-local.pollux.crc99,CRC32C,None", "CRC32C"),
        ] {
            assert_eq!(answer(&subject, key, offer).as_deref(), Some(result), "{key}={offer}");
        }
    }
}

#[test]
fn numbers_become_the_smaller_one() {
    let subject = Subject::start();
    let offers = [
        ("MaxBurstLength", "16384", "16384"),
        ("MaxBurstLength", "512", "512"),
        ("MaxBurstLength", "0x4000", "16384"),
        ("MaxOutstandingR2T", "1", "1"),
        ("MaxConnections", "65535", "1"),
        ("ErrorRecoveryLevel", "0", "0"),
        ("ErrorRecoveryLevel", "2", "0"),
    ];
    for (key, offer, result) in offers {
        let login = subject.login().key("FirstBurstLength", "512").key(key, offer);
        let session = subject.session_with(&login);
        let answer = session.answer(key).unwrap_or_else(|| panic!("{key} is not answered"));
        // The value may be written in either base (RFC 7143 6.1).
        let number = answer
            .strip_prefix("0x")
            .map_or_else(|| answer.parse::<u32>(), |digits| u32::from_str_radix(digits, 16));
        assert_eq!(number.map(|number| number.to_string()), Ok(result.to_owned()), "{key}={offer}");
        subject.finish(session);
    }
}

#[test]
fn the_first_burst_is_at_most_the_burst() {
    let subject = Subject::start();
    let login = subject.login().key("MaxBurstLength", "8192").key("FirstBurstLength", "8192");
    let session = subject.session_with(&login);
    assert_eq!(session.negotiated().max_burst, 8192);
    assert!(session.negotiated().first_burst <= 8192, "RFC 7143 13.14");
    subject.finish(session);
}

#[test]
fn time_to_wait_becomes_the_larger_and_to_retain_the_smaller() {
    let subject = Subject::start();
    let session = subject.session_with(&subject.login().key("DefaultTime2Wait", "3600"));
    assert_eq!(session.answer("DefaultTime2Wait"), Some("3600"), "RFC 7143 13.15");
    subject.finish(session);
    assert_eq!(answer(&subject, "DefaultTime2Retain", "0").as_deref(), Some("0"));
}

#[test]
fn booleans_follow_and_and_or() {
    let subject = Subject::start();
    // OR for the first three, AND for ImmediateData (RFC 7143 13.10, 13.11, 13.18, 13.19).
    for key in ["InitialR2T", "DataPDUInOrder", "DataSequenceInOrder"] {
        assert_eq!(answer(&subject, key, "Yes").as_deref(), Some("Yes"), "{key}");
    }
    assert_eq!(answer(&subject, "ImmediateData", "No").as_deref(), Some("No"));
}

#[test]
fn unknown_keys_are_answered_not_understood() {
    let subject = Subject::start();
    for key in ["X-local.pollux.colour", "X#colour", "Colour"] {
        assert_eq!(answer(&subject, key, "blue").as_deref(), Some("NotUnderstood"), "{key}");
    }
}

#[test]
fn values_out_of_range_are_answered_reject() {
    let subject = Subject::start();
    for (key, value) in [
        ("MaxBurstLength", "511"),
        ("MaxBurstLength", "16777216"),
        ("MaxOutstandingR2T", "0"),
        ("ErrorRecoveryLevel", "3"),
        ("InitialR2T", "Maybe"),
        ("MaxConnections", "many"),
    ] {
        let login = subject.login().key(key, value);
        match initiator::Session::open(subject.portal, &login) {
            Ok(session) => {
                assert_eq!(session.answer(key), Some("Reject"), "{key}={value}");
                subject.finish(session);
            }
            // Such a value may end the negotiation instead (RFC 7143 6.2.1, 7.12).
            Err(initiator::Error::LoginRefused { status }) => {
                assert_eq!(status >> 8, 2, "{key}={value}");
            }
            Err(other) => panic!("{key}={value}: {other}"),
        }
    }
    subject.assert_serves();
}

#[test]
fn the_target_declares_its_segment_length_once() {
    let subject = Subject::start();
    let session = subject.session();
    let declared =
        session.answers().iter().filter(|(key, _)| key == "MaxRecvDataSegmentLength").count();
    assert!(declared <= 1, "a declaration comes once (RFC 7143 6.2)");
    assert!(session.negotiated().target_segment_max >= 512);
    subject.finish(session);
}

#[test]
fn every_offer_is_answered_once() {
    let subject = Subject::start();
    let login = subject.login();
    let session = subject.session_with(&login);
    for (key, _) in login.offers().iter().filter(|(key, _)| key != "MaxRecvDataSegmentLength") {
        let count = session.answers().iter().filter(|(answered, _)| answered == key).count();
        assert_eq!(count, 1, "{key} (RFC 7143 6.2)");
    }
    subject.finish(session);
}

#[test]
fn a_login_without_operational_keys_gets_the_defaults() {
    let subject = Subject::start();
    let mut login = subject.login();
    let keys = login.offers().iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    for key in keys {
        login = login.without_key(&key);
    }
    let session = subject.session_with(&login);
    let terms = session.negotiated();
    assert!(terms.initial_r2t && terms.immediate_data);
    assert_eq!((terms.max_burst, terms.first_burst), (262_144, 65_536));
    assert_eq!(terms.max_outstanding_r2t, 1);
    subject.finish(session);
    let mut disk = subject.disk_with(&login);
    let data = e2e::pattern(65_536, 9);
    assert!(disk.write(64, &data).expect("a write").is_good());
    let blocks = 65_536 / disk.block_bytes();
    // No segment may be longer than 8192 bytes now; the session checks it.
    assert_eq!(disk.read(64, blocks).expect("a read").data, data);
    subject.finish(disk.into_session());
}

#[test]
fn keys_of_a_normal_session_are_irrelevant_to_discovery() {
    let subject = Subject::start();
    let login = Login::discovery().key("InitialR2T", "No").key("MaxOutstandingR2T", "4");
    let session = subject.session_with(&login);
    for key in ["InitialR2T", "MaxOutstandingR2T"] {
        assert_eq!(session.answer(key), Some("Irrelevant"), "{key} (RFC 7143 13)");
    }
    subject.finish(session);
}
