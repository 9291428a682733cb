//! A whole login, request by request, from an initiator that says anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use iscsi::directory::{Admission, TargetVisitor};
use iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use iscsi::{
    Authentication, ChapAlgorithm, ChapPolicy, Credentials, Directory, InitiatorTaskTag, Login,
    LoginStep, Policy, SessionRequest, SessionType,
};
use units::Serial32;
use units::limits::LOGIN_DATA_SEGMENT_LENGTH_MAX;

use crate::text::check_parameters;

const OPEN: &str = "iqn.2026-11.example:open";
const GUARDED: &str = "iqn.2026-11.example:guarded";
/// With a target that wants CHAP, this is how an input would find the secret: not at all.
const SECRET: &[u8] = b"not in any input";

/// Each line of the input is one request: a byte of flags (T, C, CSG and NSG as in RFC 7143
/// 11.12), a byte that varies the header, and its text.
pub(crate) fn requests(data: &[u8]) {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40000));
    let mut login = Login::new(Policy::default(), peer, Serial32(u32::MAX));
    let mut stat_sn = Serial32(u32::MAX);
    for line in data.split(|byte| *byte == b'\n') {
        let Some((&[flags, variation], text)) = line.split_first_chunk() else { return };
        let request = request(flags, variation, text);
        let mut entropy = |bytes: &mut [u8]| bytes.fill(0x5a);
        match login.handle_request(&request, text, &Catalog, &mut entropy) {
            LoginStep::Respond { header, text } => {
                assert_eq!(header.status, LoginStatus::Success);
                check_response(&request, &header, &text, stat_sn);
            }
            LoginStep::Refuse { header, text, .. } => {
                assert_ne!(header.status, LoginStatus::Success);
                return check_response(&request, &header, &text, stat_sn);
            }
            LoginStep::Establish(session) => {
                check_session(&session);
                let (header, text) = login.finish(1, session.exp_cmd_sn);
                assert_eq!(header.tsih, 1);
                return check_response(&request, &header, &text, stat_sn);
            }
        }
        stat_sn = stat_sn.plus(1);
    }
}

fn request(flags: u8, variation: u8, text: &[u8]) -> LoginRequest {
    let bit = |place: u8| variation >> place & 1;
    LoginRequest {
        transit: flags & 0x80 != 0,
        continues: flags & 0x40 != 0,
        current_stage: Stage::from_code(flags >> 2 & 3),
        next_stage: Stage::from_code(flags & 3),
        version_max: bit(0),
        version_min: bit(0) & bit(1),
        data_segment_length: units::len_u32(text.len()),
        isid: [0x80, 0, 0, 0, 0, bit(2)],
        tsih: u16::from(bit(3)),
        initiator_task_tag: InitiatorTaskTag(u32::from(bit(4))),
        cid: u16::from(bit(5)),
        cmd_sn: Serial32(u32::MAX),
        exp_stat_sn: Serial32(u32::from(bit(6))),
    }
}

/// What holds for every response: it is for this request, it is next, and it fits.
fn check_response(
    request: &LoginRequest,
    response: &LoginResponse,
    text: &[u8],
    stat_sn: Serial32,
) {
    assert_eq!(response.initiator_task_tag, request.initiator_task_tag);
    assert_eq!(response.isid, request.isid);
    assert_eq!(response.stat_sn, stat_sn);
    assert_eq!(usize::try_from(response.data_segment_length), Ok(text.len()));
    assert!(response.data_segment_length <= LOGIN_DATA_SEGMENT_LENGTH_MAX);
    assert!(!(response.transit && response.continues), "both the T and the C bit");
}

/// Nobody gets into a session that the catalog does not allow.
fn check_session(session: &SessionRequest) {
    check_parameters(&session.parameters);
    assert!(!session.initiator_name.is_empty() && session.initiator_name.len() <= 223);
    match &session.session_type {
        SessionType::Discovery => {}
        SessionType::Normal { target_name, portal_group_tag } => {
            assert_eq!((target_name.as_str(), *portal_group_tag), (OPEN, 1));
        }
    }
}

/// Two targets: one for everybody, one for those who know a secret.
struct Catalog;

impl Directory for Catalog {
    fn admit(&self, target: &str, _initiator: &str, _peer: IpAddr) -> Admission {
        let authentication = match target {
            OPEN => Authentication::None,
            GUARDED => Authentication::Chap(ChapPolicy {
                algorithms: ChapAlgorithm::ALL.to_vec(),
                initiator: Credentials { name: "alice".to_owned(), secret: SECRET.to_vec() },
                target: Some(Credentials { name: "bob".to_owned(), secret: b"x".repeat(16) }),
            }),
            _ => return Admission::NotFound,
        };
        Admission::Admitted { portal_group_tag: 1, alias: None, authentication }
    }

    fn discovery_authentication(&self) -> Authentication {
        Authentication::None
    }

    fn visit_targets(&self, _initiator: &str, _peer: IpAddr, _visit: &mut TargetVisitor<'_>) {}
}
