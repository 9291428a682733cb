//! Logins as initiators do them, told as texts, and every way to be refused.

use std::net::IpAddr;

use super::*;
use crate::bhs::InitiatorTaskTag;
use crate::chap::{ChapAlgorithm, ChapFault, ChapPolicy, Credentials};
use crate::directory::{Admission, Authentication, TargetVisitor};
use crate::names::NameFault;
use crate::negotiation::Fault;
use crate::text::TextFault;

const PEER: &str = "192.0.2.7:40000";
const HOST: &str = "iqn.2001-04.com.example:host";
const DISK: &str = "iqn.2001-04.com.example:disk";
const NAMES: &str = "InitiatorName=iqn.2001-04.com.example:host\0\
    TargetName=iqn.2001-04.com.example:disk\0";

/// Knows a few targets by name; `disk` asks for the authentication that is set.
struct Site {
    authentication: Authentication,
}

impl Directory for Site {
    fn admit(&self, target: &str, initiator: &str, peer: IpAddr) -> Admission {
        assert_eq!(peer, IpAddr::from([192, 0, 2, 7]));
        match target.rsplit_once(':').map_or("", |(_, name)| name) {
            "disk" if initiator == HOST => Admission::Admitted {
                portal_group_tag: 1,
                alias: Some("Disk".to_owned()),
                authentication: self.authentication.clone(),
            },
            "disk" => Admission::Forbidden,
            "moved" => Admission::Redirect { address: "192.0.2.9:3260".into(), permanent: false },
            "gone" => Admission::Redirect { address: "[2001:db8::9]".into(), permanent: true },
            "removed" => Admission::Removed,
            "down" => Admission::ServiceUnavailable,
            _ => Admission::NotFound,
        }
    }

    fn discovery_authentication(&self) -> Authentication {
        self.authentication.clone()
    }

    fn visit_targets(&self, _: &str, _: IpAddr, _: &mut TargetVisitor<'_>) {}
}

/// One side of a conversation with a login.
struct Talk {
    site: Site,
    login: Login,
}

/// What came back: the flags of byte 1, and the text with its NULs as spaces.
#[derive(Debug, PartialEq)]
struct Said(u8, &'static str);

impl Talk {
    fn with(authentication: Authentication) -> Self {
        let login = Login::new(Policy::default(), PEER.parse().unwrap(), Serial32(0xffff_ffff));
        Self { site: Site { authentication }, login }
    }

    fn open() -> Self {
        Self::with(Authentication::None)
    }

    fn request(&mut self, request: &LoginRequest, text: &str) -> LoginStep {
        let mut entropy = |bytes: &mut [u8]| bytes.fill(0x11);
        self.login.handle_request(request, text.as_bytes(), &self.site, &mut entropy)
    }

    /// Sends a text with these flags, and checks the answer's flags and text.
    fn exchange(&mut self, flags: u8, text: &str, Said(said_flags, said): Said) -> LoginResponse {
        match self.request(&header(flags), text) {
            LoginStep::Respond { header, text } => {
                let answer = String::from_utf8(text).unwrap();
                assert_eq!(answer.replace('\0', " ").trim_end(), said);
                assert_eq!(flags_of(&header), said_flags, "flags after {said}");
                assert_eq!(header.data_segment_length as usize, answer.len());
                assert_eq!(header.status, LoginStatus::Success);
                header
            }
            other @ (LoginStep::Establish(_) | LoginStep::Refuse { .. }) => {
                panic!("no answer but {other:?}")
            }
        }
    }

    /// Sends the text that is to end the negotiation.
    fn establish(&mut self, flags: u8, text: &str) -> SessionRequest {
        match self.request(&header(flags), text) {
            LoginStep::Establish(request) => *request,
            other @ (LoginStep::Refuse { .. } | LoginStep::Respond { .. }) => {
                panic!("no session but {other:?}")
            }
        }
    }

    /// Sends a text that is to be refused.
    fn refused(&mut self, flags: u8, text: &str) -> (LoginFault, LoginStatus) {
        self.refused_request(&header(flags), text)
    }

    fn refused_request(&mut self, request: &LoginRequest, text: &str) -> (LoginFault, LoginStatus) {
        match self.request(request, text) {
            LoginStep::Refuse { header, fault, .. } => {
                assert!(!header.transit && !header.continues);
                (fault, header.status)
            }
            other @ (LoginStep::Establish(_) | LoginStep::Respond { .. }) => {
                panic!("no refusal but {other:?}")
            }
        }
    }
}

/// A request with T, C, CSG and NSG as byte 1 has them.
fn header(flags: u8) -> LoginRequest {
    let mut bytes = [0; 48];
    bytes[0] = 0x43;
    bytes[1] = flags;
    bytes[8..16].copy_from_slice(&[0x00, 0x02, 0x3d, 0x01, 0, 0, 0, 0]);
    bytes[19] = 0x21;
    bytes[21] = 1;
    bytes[24..28].fill(0xff);
    LoginRequest::parse(&Bhs::new(bytes)).unwrap()
}

fn flags_of(response: &LoginResponse) -> u8 {
    let mut bytes = [0; 48];
    response.emit(&mut bytes);
    bytes[1]
}

fn chap(mutual: bool) -> Authentication {
    let credentials =
        |name: &str, secret: &str| Credentials { name: name.into(), secret: secret.into() };
    Authentication::Chap(ChapPolicy {
        algorithms: ChapAlgorithm::ALL.to_vec(),
        initiator: credentials("host", "initiator-secret"),
        target: mutual.then(|| credentials("array", "target-secret-1")),
    })
}

#[test]
fn open_iscsi_logs_in_through_both_stages() {
    let mut talk = Talk::open();
    let first = talk.exchange(
        0x81,
        "InitiatorName=iqn.2001-04.com.example:host\0InitiatorAlias=host-1\0\
         TargetName=iqn.2001-04.com.example:disk\0SessionType=Normal\0AuthMethod=None\0",
        Said(0x81, "TargetPortalGroupTag=1 TargetAlias=Disk AuthMethod=None"),
    );
    assert_eq!(first.stat_sn, Serial32(0xffff_ffff));
    assert_eq!((first.isid, first.tsih), ([0x00, 0x02, 0x3d, 0x01, 0, 0], 0));
    assert_eq!(first.initiator_task_tag, InitiatorTaskTag(0x21));
    assert_eq!((first.exp_cmd_sn, first.max_cmd_sn), (Serial32(!0), Serial32(!0)));

    let request = talk.establish(
        0x87,
        "HeaderDigest=None\0DataDigest=None\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0\
         IFMarker=No\0OFMarker=No\0ErrorRecoveryLevel=0\0InitialR2T=No\0ImmediateData=Yes\0\
         MaxBurstLength=16776192\0FirstBurstLength=262144\0MaxOutstandingR2T=1\0\
         MaxConnections=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0\
         MaxRecvDataSegmentLength=262144\0",
    );
    assert_eq!(request.initiator_name, HOST);
    assert_eq!(request.initiator_alias.as_deref(), Some("host-1"));
    assert_eq!(
        request.session_type,
        SessionType::Normal { target_name: DISK.to_owned(), portal_group_tag: 1 }
    );
    assert_eq!((request.tsih, request.cid), (0, 1));
    assert_eq!(request.exp_cmd_sn, Serial32(!0));
    assert_eq!(request.stat_sn, Serial32(1), "two responses have gone out by then");
    assert_eq!(
        request.parameters,
        Parameters {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 262_144,
            target_max_recv_data_segment_length: 262_144,
            max_burst_length: 262_144,
            first_burst_length: 262_144,
            default_time2wait: 2,
            default_time2retain: 0,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            protocol_level: 1,
        }
    );

    let (last, text) = talk.login.finish(7, Serial32(0x7e));
    assert_eq!(flags_of(&last), 0x87);
    assert_eq!((last.tsih, last.stat_sn), (7, Serial32(0)));
    assert_eq!((last.exp_cmd_sn, last.max_cmd_sn), (Serial32(!0), Serial32(0x7e)));
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "HeaderDigest=None\0DataDigest=None\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0\
         IFMarker=No\0OFMarker=No\0ErrorRecoveryLevel=0\0InitialR2T=No\0ImmediateData=Yes\0\
         MaxBurstLength=262144\0FirstBurstLength=262144\0MaxOutstandingR2T=1\0\
         MaxConnections=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0\
         MaxRecvDataSegmentLength=262144\0",
    );
}

/// libiscsi, and QEMU with it, sends its names with the first request of the security stage
/// and once more in the operational stage. Taking the second time for a duplicate key would
/// shut them out.
#[test]
fn names_may_be_repeated_in_the_operational_stage() {
    let mut talk = Talk::open();
    let text = format!("{NAMES}SessionType=Normal\0AuthMethod=CHAP,None\0");
    talk.exchange(
        0x81,
        &text,
        Said(0x81, "TargetPortalGroupTag=1 TargetAlias=Disk AuthMethod=None"),
    );
    let request = talk.establish(0x87, &format!("{NAMES}SessionType=Normal\0ImmediateData=No\0"));
    assert!(!request.parameters.immediate_data);

    let mut talk = Talk::open();
    talk.exchange(0x81, NAMES, Said(0x81, "TargetPortalGroupTag=1 TargetAlias=Disk"));
    let (fault, status) = talk.refused(0x87, "InitiatorName=iqn.2001-04.com.example:other\0");
    assert_eq!(fault, LoginFault::Key(Fault::KeyTwice { key: "InitiatorName" }));
    assert_eq!(status, LoginStatus::InitiatorError);
}

#[test]
fn a_login_may_begin_in_the_operational_stage() {
    let request = Talk::open().establish(0x87, NAMES);
    // What is not negotiated is as the standard has it; only the target's limit was declared.
    let expected =
        Parameters { target_max_recv_data_segment_length: 262_144, ..Parameters::default() };
    assert_eq!(request.parameters, expected);
}

#[test]
fn without_an_operational_stage_the_defaults_hold_for_both_sides() {
    let mut talk = Talk::open();
    let request = talk.establish(0x83, &format!("{NAMES}AuthMethod=None\0"));
    assert_eq!(request.parameters, Parameters::default());
    let (last, text) = talk.login.finish(1, Serial32(0));
    assert_eq!(flags_of(&last), 0x83);
    assert_eq!(text, b"TargetPortalGroupTag=1\0TargetAlias=Disk\0AuthMethod=None\0");
}

#[test]
fn the_segment_length_is_declared_once() {
    let mut talk = Talk::open();
    let declared = "TargetPortalGroupTag=1 TargetAlias=Disk MaxRecvDataSegmentLength=262144";
    talk.exchange(0x04, NAMES, Said(0x04, declared));
    talk.exchange(0x04, "InitialR2T=Yes\0", Said(0x04, "InitialR2T=Yes"));
    let request = talk.establish(0x87, "");
    assert_eq!(request.parameters.target_max_recv_data_segment_length, 262_144);
}

#[test]
fn discovery_needs_no_target() {
    let mut talk = Talk::open();
    let request = talk.establish(
        0x87,
        "InitiatorName=iqn.2001-04.com.example:host\0SessionType=Discovery\0\
         MaxRecvDataSegmentLength=32768\0InitialR2T=No\0",
    );
    assert_eq!(request.session_type, SessionType::Discovery);
    assert_eq!(request.parameters.max_recv_data_segment_length, 32_768);
    let (_, text) = talk.login.finish(1, Serial32(0));
    assert_eq!(text, b"InitialR2T=Irrelevant\0MaxRecvDataSegmentLength=262144\0");
}

#[test]
fn names_are_compared_without_case() {
    let text =
        "InitiatorName=IQN.2001-04.com.EXAMPLE:Host\0TargetName=iqn.2001-04.COM.example:disk\0";
    assert_eq!(Talk::open().establish(0x87, text).initiator_name, HOST);
}

#[test]
fn chap_is_asked_for_in_three_steps() {
    let mut talk = Talk::with(chap(false));
    let text = format!("{NAMES}AuthMethod=CHAP,None\0");
    // T is set from the start, as open-iscsi does; the target stays until it has the proof.
    let said = "TargetPortalGroupTag=1 TargetAlias=Disk AuthMethod=CHAP";
    talk.exchange(0x81, &text, Said(0x00, said));
    talk.exchange(
        0x00,
        "CHAP_A=5\0",
        Said(
            0x00,
            "CHAP_A=5 CHAP_I=17 \
             CHAP_C=0x1111111111111111111111111111111111111111111111111111111111111111",
        ),
    );
    // MD5 of 11, "initiator-secret" and 32 times 11.
    talk.exchange(0x81, "CHAP_N=host\0CHAP_R=0xf4c8c34f76530386d234cb2b23d1324e\0", Said(0x81, ""));
    assert_eq!(talk.establish(0x87, "").initiator_name, HOST);
}

#[test]
fn mutual_chap_proves_the_target_too() {
    let mut talk = Talk::with(chap(true));
    let text = format!("{NAMES}AuthMethod=CHAP\0");
    let said = "TargetPortalGroupTag=1 TargetAlias=Disk AuthMethod=CHAP";
    talk.exchange(0x00, &text, Said(0x00, said));
    talk.exchange(
        0x00,
        "CHAP_A=7,5\0",
        Said(
            0x00,
            "CHAP_A=7 CHAP_I=17 \
             CHAP_C=0x1111111111111111111111111111111111111111111111111111111111111111",
        ),
    );
    // SHA-256 of 11, "initiator-secret", 32 times 11; then of 07, "target-secret-1", aa aa.
    let answer = "CHAP_N=host\0CHAP_R=0x\
        00dbcd664ab6e7ca1d5e33526ed54dc8513dbf97ef9e95dfd70f5ba71bdb9740\0\
        CHAP_I=7\0CHAP_C=0xaaaa\0";
    talk.establish(0x83, answer);
    let (_, text) = talk.login.finish(1, Serial32(0));
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "CHAP_N=array\0CHAP_R=0x\
         de011db406623ecaddd514b1303f301f8d795d8abfca16fbaf9fc9a36eef1c4c\0",
    );
}

#[test]
fn a_wrong_secret_is_an_authentication_failure() {
    let mut talk = Talk::with(chap(false));
    talk.request(&header(0x00), &format!("{NAMES}AuthMethod=CHAP\0"));
    talk.request(&header(0x00), "CHAP_A=5\0");
    let refusal = talk.refused(0x81, "CHAP_N=host\0CHAP_R=0x00112233445566778899aabbccddeeff\0");
    let fault = LoginFault::Chap(ChapFault::ResponseWrong);
    assert_eq!(refusal, (fault, LoginStatus::AuthenticationFailure));
}

#[test]
fn nobody_gets_past_chap() {
    let without_key = format!("{NAMES}SessionType=Normal\0");
    let none = format!("{NAMES}AuthMethod=None\0");
    let cases = [
        (0x87, NAMES, LoginFault::AuthenticationRequired),
        (0x04, NAMES, LoginFault::AuthenticationRequired),
        (0x81, &without_key, LoginFault::AuthenticationRequired),
        (0x83, &without_key, LoginFault::AuthenticationRequired),
        (0x83, &none, LoginFault::AuthMethodUnacceptable),
    ];
    for (flags, text, fault) in cases {
        let refusal = Talk::with(chap(false)).refused(flags, text);
        assert_eq!(refusal, (fault, LoginStatus::AuthenticationFailure), "{flags:02x} {text}");
    }
    // Discovery too.
    let text = "InitiatorName=iqn.2001-04.com.example:host\0SessionType=Discovery\0";
    let (fault, _) = Talk::with(chap(false)).refused(0x87, text);
    assert_eq!(fault, LoginFault::AuthenticationRequired);
    // And nobody leaves the stage while the proof is under way.
    let mut talk = Talk::with(chap(false));
    talk.request(&header(0x00), &format!("{NAMES}AuthMethod=CHAP\0"));
    talk.exchange(0x83, "", Said(0x00, ""));
    let (fault, _) = talk.refused(0x87, "");
    let found = Stage::LoginOperationalNegotiation;
    assert_eq!(fault, LoginFault::StageUnexpected { found });
}

#[test]
fn chap_keys_out_of_order_are_refused() {
    for text in ["CHAP_A=5\0", "CHAP_N=host\0CHAP_R=0x00\0", "CHAP_I=1\0"] {
        let (fault, status) = Talk::with(chap(false)).refused(0x00, &format!("{NAMES}{text}"));
        assert!(matches!(fault, LoginFault::Key(Fault::KeyNotAllowed { .. })), "{text}");
        assert_eq!(status, LoginStatus::InitiatorError);
        let (fault, _) = Talk::open().refused(0x00, &format!("{NAMES}{text}"));
        assert!(matches!(fault, LoginFault::Key(Fault::KeyNotAllowed { .. })), "{text}");
    }
    let mut talk = Talk::with(chap(false));
    talk.request(&header(0x00), &format!("{NAMES}AuthMethod=CHAP\0"));
    let (fault, _) = talk.refused(0x00, "AuthMethod=CHAP\0");
    assert_eq!(fault, LoginFault::Key(Fault::KeyTwice { key: "AuthMethod" }));
}

#[test]
fn an_incomplete_chap_answer_is_an_authentication_failure() {
    for text in [
        "CHAP_N=host\0",
        "CHAP_R=0x00\0",
        "CHAP_N=host\0CHAP_R=none\0",
        "CHAP_N=host\0CHAP_R=0x00\0CHAP_I=1\0",
        "CHAP_N=host\0CHAP_R=0x00\0CHAP_I=256\0CHAP_C=0x00\0",
    ] {
        let mut talk = Talk::with(chap(true));
        talk.request(&header(0x00), &format!("{NAMES}AuthMethod=CHAP\0"));
        talk.request(&header(0x00), "CHAP_A=5\0");
        let refusal = talk.refused(0x81, text);
        let fault = LoginFault::Chap(ChapFault::ResponseIncomplete);
        assert_eq!(refusal, (fault, LoginStatus::AuthenticationFailure), "{text}");
    }
}

#[test]
fn text_may_be_cut_anywhere_between_requests() {
    let text = format!("{NAMES}InitialR2T=No\0");
    for cut in 0..=text.len() {
        let mut talk = Talk::open();
        // RFC 7143 6.2: an empty response until the text is whole, and 13.9: no tag either.
        talk.exchange(0x44, &text[..cut], Said(0x04, ""));
        let request = talk.establish(0x87, &text[cut..]);
        assert!(!request.parameters.initial_r2t);
    }
}

#[test]
fn a_long_answer_is_cut_at_8192_bytes() {
    let mut talk = Talk::open();
    let flood: String = (0..400).map(|n| format!("X-com.example.{n}=1\0")).collect();
    let LoginStep::Respond { header: first, text: part } =
        talk.request(&header(0x87), &format!("{NAMES}{flood}"))
    else {
        panic!("a part of the answer must come first");
    };
    assert_eq!(flags_of(&first), 0x44);
    assert_eq!(part.len(), 8192);
    talk.establish(0x87, "");
    let (last, rest) = talk.login.finish(1, Serial32(0));
    assert_eq!(flags_of(&last), 0x87);
    let answer = String::from_utf8([part, rest].concat()).unwrap();
    assert!(answer.starts_with("TargetPortalGroupTag=1\0"));
    assert!(answer.ends_with("X-com.example.399=NotUnderstood\0MaxRecvDataSegmentLength=262144\0"));
    assert_eq!(answer.matches("NotUnderstood\0").count(), 400);
}

#[test]
fn new_text_before_the_answer_has_ended_is_refused() {
    let mut talk = Talk::open();
    let flood: String = (0..400).map(|n| format!("X-com.example.{n}=1\0")).collect();
    talk.request(&header(0x87), &format!("{NAMES}{flood}"));
    let refusal = talk.refused(0x87, "InitialR2T=No\0");
    assert_eq!(refusal, (LoginFault::TextBeforeAnswerEnded, LoginStatus::InitiatorError));
}

#[test]
fn endless_logins_come_to_an_end() {
    let mut talk = Talk::open();
    let part = "x".repeat(8192);
    for _ in 0..8 {
        talk.exchange(0x44, &part, Said(0x04, ""));
    }
    assert!(matches!(talk.refused(0x44, &part).0, LoginFault::TextTooLong(_)));

    let mut talk = Talk::open();
    for _ in 0..64 {
        talk.exchange(0x44, "", Said(0x04, ""));
    }
    let refusal = talk.refused(0x44, "");
    assert_eq!(refusal, (LoginFault::TooManyRounds, LoginStatus::InitiatorError));
}

#[test]
fn only_version_0_is_spoken() {
    let later = LoginRequest { version_min: 1, version_max: 1, ..header(0x87) };
    let (fault, status) = Talk::open().refused_request(&later, NAMES);
    assert_eq!(fault, LoginFault::VersionUnsupported { version_min: 1 });
    assert_eq!(status, LoginStatus::UnsupportedVersion);
    let wider = LoginRequest { version_max: 9, ..header(0x87) };
    assert!(matches!(Talk::open().request(&wider, NAMES), LoginStep::Establish(_)));
}

#[test]
fn only_the_three_ways_through_the_stages_are_open() {
    // Flags with T, CSG and NSG; those that are not listed as open are all refused.
    let open = [0x81, 0x83, 0x87];
    for flags in 0x80..=0x8f {
        match Talk::open().request(&header(flags), NAMES) {
            LoginStep::Refuse { header, .. } => {
                assert!(!open.contains(&flags), "{flags:02x}");
                assert_eq!(header.status, LoginStatus::InitiatorError);
            }
            LoginStep::Establish(_) | LoginStep::Respond { .. } => {
                assert!(open.contains(&flags), "{flags:02x}");
            }
        }
    }
    assert_eq!(Talk::open().refused(0xc7, NAMES).0, LoginFault::ContinueWithTransit);
}

#[test]
fn nothing_goes_back_to_the_security_stage() {
    let mut talk = Talk::open();
    talk.request(&header(0x04), NAMES);
    let (fault, status) = talk.refused(0x81, "AuthMethod=None\0");
    assert_eq!(fault, LoginFault::StageUnexpected { found: Stage::SecurityNegotiation });
    assert_eq!(status, LoginStatus::InitiatorError);
}

#[test]
fn the_header_names_the_same_session_throughout() {
    for changed in [
        LoginRequest { isid: [9; 6], ..header(0x87) },
        LoginRequest { tsih: 3, ..header(0x87) },
        LoginRequest { cid: 3, ..header(0x87) },
    ] {
        let mut talk = Talk::open();
        talk.request(&header(0x04), NAMES);
        assert_eq!(talk.refused_request(&changed, "").0, LoginFault::HeaderChanged);
    }
}

#[test]
fn wrong_first_texts_are_refused_with_their_status() {
    let initiator = "InitiatorName=iqn.2001-04.com.example:host\0";
    let with = |rest: &str| format!("{initiator}{rest}");
    let long = format!("InitiatorName=iqn.{}\0", "a".repeat(220));
    let cases = [
        (String::new(), LoginStatus::MissingParameter),
        ("TargetName=iqn.2001-04.com.example:disk\0".into(), LoginStatus::MissingParameter),
        (initiator.into(), LoginStatus::MissingParameter),
        (with("SessionType=Holiday\0"), LoginStatus::SessionTypeNotSupported),
        (with("TargetName=iqn.2001-04.com.example:none\0"), LoginStatus::NotFound),
        (with("TargetName=iqn.2001-04.com.example:removed\0"), LoginStatus::TargetRemoved),
        (with("TargetName=iqn.2001-04.com.example:down\0"), LoginStatus::ServiceUnavailable),
        (with("TargetName=disk\0"), LoginStatus::InitiatorError),
        (long, LoginStatus::InitiatorError),
        (with("NoPair\0"), LoginStatus::InitiatorError),
        (with("Open=end"), LoginStatus::InitiatorError),
        (with("SendTargets=All\0SessionType=Discovery\0"), LoginStatus::InitiatorError),
        (with("TargetPortalGroupTag=1\0"), LoginStatus::InitiatorError),
    ];
    for (text, status) in cases {
        assert_eq!(Talk::open().refused(0x87, &text).1, status, "{text:?}");
    }
    let stranger = NAMES.replace("host", "stranger");
    let refusal = Talk::open().refused(0x87, &stranger);
    let forbidden = LoginFault::InitiatorForbidden;
    assert_eq!(refusal, (forbidden, LoginStatus::AuthorizationFailure));
}

#[test]
fn faults_describe_the_error() {
    let (fault, _) = Talk::open().refused(0x87, "InitiatorName=host\0");
    let expected = LoginFault::Name { key: "InitiatorName", fault: NameFault::Format };
    assert_eq!(fault, expected);
    assert!(fault.to_string().starts_with("InitiatorName: invalid name: use iqn."));
    let (fault, _) = Talk::open().refused(0x87, "NoPair\0");
    assert_eq!(fault, LoginFault::Text(TextFault::EqualsSignMissing));
    let (fault, _) = Talk::open().refused(0x81, &format!("{NAMES}InitialR2T=No\0"));
    assert_eq!(fault, LoginFault::Key(Fault::KeyNotAllowed { key: "InitialR2T" }));
    let twice = format!("{NAMES}InitialR2T=No\0InitialR2T=No\0");
    let (fault, _) = Talk::open().refused(0x87, &twice);
    assert_eq!(fault, LoginFault::Key(Fault::KeyTwice { key: "InitialR2T" }));
}

#[test]
fn a_moved_target_says_where_it_is() {
    for (name, status, address) in [
        ("moved", LoginStatus::TargetMovedTemporarily, "TargetAddress=192.0.2.9:3260\0"),
        ("gone", LoginStatus::TargetMovedPermanently, "TargetAddress=[2001:db8::9]\0"),
    ] {
        // Before any proof is asked for.
        let mut talk = Talk::with(chap(false));
        let names = NAMES.replace("disk", name);
        let LoginStep::Refuse { header, text, .. } = talk.request(&header(0x81), &names) else {
            panic!("a moved target cannot be logged in to");
        };
        assert_eq!(header.status, status);
        assert_eq!(String::from_utf8(text).unwrap(), address);
        assert_eq!(header.data_segment_length as usize, address.len());
    }
}

#[test]
fn a_session_that_cannot_be_registered_is_refused_in_place_of_the_last_response() {
    let mut talk = Talk::open();
    assert_eq!(talk.establish(0x87, NAMES).stat_sn, Serial32(0));
    let mut bytes = [0; 48];
    header(0x87).emit(&mut bytes);
    let response = talk.login.refuse(&Bhs::new(bytes), LoginStatus::SessionDoesNotExist);
    assert_eq!(response.status, LoginStatus::SessionDoesNotExist);
    assert_eq!(response.stat_sn, Serial32(0xffff_ffff));
    assert_eq!(response.initiator_task_tag, InitiatorTaskTag(0x21));
    assert_eq!(response.isid, [0x00, 0x02, 0x3d, 0x01, 0, 0]);
    assert!(!response.transit);
}

#[test]
fn after_its_end_a_login_takes_no_more() {
    let mut talk = Talk::open();
    talk.refused(0x87, "");
    let refusal = talk.refused(0x87, NAMES);
    assert_eq!(refusal, (LoginFault::LoginOver, LoginStatus::InvalidDuringLogin));
}

#[test]
fn a_request_while_the_session_is_registered_is_refused_and_harms_nothing() {
    let mut talk = Talk::open();
    talk.establish(0x87, NAMES);
    let refusal = talk.refused(0x87, NAMES);
    assert_eq!(refusal, (LoginFault::LoginOver, LoginStatus::InvalidDuringLogin));
    assert_eq!(talk.login.finish(1, Serial32(0)).0.status, LoginStatus::Success);
}

#[test]
#[should_panic(expected = "a session has a TSIH")]
fn a_tsih_of_0_names_no_session() {
    let mut talk = Talk::open();
    talk.establish(0x87, NAMES);
    talk.login.finish(0, Serial32(0));
}

proptest::proptest! {
    #[test]
    fn no_requests_make_it_panic(
        requests in proptest::collection::vec(
            (proptest::bits::u8::ANY, proptest::collection::vec(0_usize..12, 0..6)), 1..8
        ),
    ) {
        let words = [
            "InitiatorName=iqn.2001-04.com.example:host\0", "SessionType=Discovery\0",
            "TargetName=iqn.2001-04.com.example:disk\0", "AuthMethod=CHAP\0", "AuthMethod=None\0",
            "CHAP_A=5\0", "CHAP_N=host\0CHAP_R=0x00\0", "InitialR2T=No\0", "=\0", "X", "\0",
            "MaxBurstLength=0xffffff\0",
        ];
        for authentication in [Authentication::None, chap(true)] {
            let mut talk = Talk::with(authentication);
            for (flags, choice) in &requests {
                let text: String = choice.iter().map(|&word| words[word]).collect();
                talk.request(&header(*flags), &text);
            }
        }
    }
}
