//! Text exchanges as initiators have them, told as texts.

use std::net::IpAddr;

use super::*;
use crate::bhs::Bhs;
use crate::directory::{Admission, Authentication, TargetVisitor};

const HOST: &str = "iqn.2001-04.com.example:host";

/// Has as many targets as are asked for, on two wildcard portals and one other.
struct Site {
    targets: Vec<String>,
}

impl Site {
    fn with(count: usize) -> Self {
        Self { targets: (0..count).map(|n| format!("iqn.2001-04.com.example:t{n}")).collect() }
    }
}

impl Directory for Site {
    fn admit(&self, _: &str, _: &str, _: IpAddr) -> Admission {
        Admission::NotFound
    }

    fn discovery_authentication(&self) -> Authentication {
        Authentication::None
    }

    fn visit_targets(&self, initiator: &str, peer: IpAddr, visit: &mut TargetVisitor<'_>) {
        assert_eq!(initiator, HOST);
        assert_eq!(peer, IpAddr::from([192, 0, 2, 7]));
        let portals: Vec<(SocketAddr, u16)> =
            [("0.0.0.0:3260", 1), ("[::]:3260", 1), ("[2001:db8::9]:3261", 2)]
                .map(|(address, tag)| (address.parse().unwrap(), tag))
                .to_vec();
        self.targets.iter().for_each(|target| visit(target, &portals));
    }
}

fn session(target_name: Option<&str>) -> TextSession<'_> {
    TextSession {
        initiator_name: HOST,
        peer: "[::ffff:192.0.2.7]:40000".parse().unwrap(),
        local: "[::ffff:192.0.2.1]:3260".parse().unwrap(),
        target_name,
        parameters: Parameters::default(),
    }
}

const FINAL: u8 = 0x80;
const CONTINUE: u8 = 0x40;
const NEW: u32 = 0xffff_ffff;

fn request(flags: u8, target_transfer_tag: u32) -> TextRequest {
    let mut bytes = [0; 48];
    bytes[0] = 0x04;
    bytes[1] = flags;
    bytes[19] = 0x30;
    bytes[20..24].copy_from_slice(&target_transfer_tag.to_be_bytes());
    TextRequest::parse(&Bhs::new(bytes)).unwrap()
}

/// The answer to one request that needs no more; NULs as spaces.
fn answer(text: &str, session: &TextSession<'_>) -> String {
    let site = Site::with(2);
    let step = TextExchange::default()
        .handle_request(&request(FINAL, NEW), text.as_bytes(), session, &site)
        .unwrap();
    assert!(step.is_final && !step.continues);
    assert_eq!(step.target_transfer_tag, TargetTransferTag::RESERVED);
    String::from_utf8(step.text).unwrap().replace('\0', " ").trim_end().to_owned()
}

const T0: &str = "TargetName=iqn.2001-04.com.example:t0 TargetAddress=192.0.2.1:3260,1 \
    TargetAddress=[2001:db8::9]:3261,2";
const T1: &str = "TargetName=iqn.2001-04.com.example:t1 TargetAddress=192.0.2.1:3260,1 \
    TargetAddress=[2001:db8::9]:3261,2";

#[test]
fn discovery_lists_all_targets_or_one() {
    let discovery = session(None);
    assert_eq!(answer("SendTargets=All\0", &discovery), format!("{T0} {T1}"));
    assert_eq!(answer("SendTargets=iqn.2001-04.com.example:T1\0", &discovery), T1);
    assert_eq!(answer("SendTargets=iqn.2001-04.com.example:t9\0", &discovery), "");
    assert_eq!(answer("SendTargets=\0", &discovery), "SendTargets=Reject");
    assert_eq!(answer("SendTargets=t1\0", &discovery), "SendTargets=Reject");
}

#[test]
fn a_normal_session_is_told_of_its_own_target_only() {
    let normal = session(Some("iqn.2001-04.com.example:t1"));
    assert_eq!(answer("SendTargets=\0", &normal), T1);
    assert_eq!(answer("SendTargets=iqn.2001-04.com.example:t1\0", &normal), T1);
    assert_eq!(answer("SendTargets=iqn.2001-04.com.example:t0\0", &normal), "");
    assert_eq!(answer("SendTargets=All\0", &normal), "SendTargets=Reject");
}

#[test]
fn wildcards_become_the_address_that_the_initiator_used() {
    let reach = |portal: &str, local: &str| {
        reachable(portal.parse().unwrap(), local.parse().unwrap()).map(|a| a.to_string())
    };
    let v6 = "[2001:db8::1]:3260";
    assert_eq!(reach("0.0.0.0:3260", "192.0.2.1:3260").as_deref(), Some("192.0.2.1:3260"));
    assert_eq!(reach("[::]:860", v6).as_deref(), Some("[2001:db8::1]:860"));
    assert_eq!(reach("[::]:860", "192.0.2.1:3260").as_deref(), Some("192.0.2.1:860"));
    assert_eq!(reach("0.0.0.0:3260", v6), None, "IPv4 is not where this initiator is");
    assert_eq!(reach("192.0.2.5:3260", v6).as_deref(), Some("192.0.2.5:3260"));
    assert_eq!(reach("[fe80::1%3]:3260", v6).as_deref(), Some("[fe80::1]:3260"));
}

#[test]
fn a_long_list_is_fetched_in_parts_of_the_initiators_size() {
    let site = Site::with(100);
    let mut discovery = session(None);
    discovery.parameters.max_recv_data_segment_length = 512;
    let mut exchange = TextExchange::default();
    let mut text = Vec::new();
    let mut next = request(FINAL, NEW);
    let mut asked: &[u8] = b"SendTargets=All\0";
    let mut tags = Vec::new();
    loop {
        let step = exchange.handle_request(&next, asked, &discovery, &site).unwrap();
        assert!(step.text.len() <= 512);
        text.extend_from_slice(&step.text);
        assert_ne!(step.is_final, step.continues);
        if step.is_final {
            assert_eq!(step.target_transfer_tag, TargetTransferTag::RESERVED);
            break;
        }
        assert_ne!(step.target_transfer_tag, TargetTransferTag::RESERVED);
        tags.push(step.target_transfer_tag.0);
        next = request(FINAL, step.target_transfer_tag.0);
        asked = b"";
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("TargetName=").count(), 100);
    assert!(text.ends_with(&format!("{}\0", "TargetAddress=[2001:db8::9]:3261,2")));
    tags.dedup();
    assert!(tags.len() > 10, "each part has a tag of its own");
}

#[test]
fn a_request_may_come_in_parts() {
    let (site, discovery) = (Site::with(2), session(None));
    for cut in 0..=16 {
        let (first, second) = b"SendTargets=All\0".split_at(cut);
        let mut exchange = TextExchange::default();
        let step =
            exchange.handle_request(&request(CONTINUE, NEW), first, &discovery, &site).unwrap();
        assert_eq!((step.is_final, step.continues, step.text.len()), (false, false, 0));
        let tag = step.target_transfer_tag.0;
        let step =
            exchange.handle_request(&request(FINAL, tag), second, &discovery, &site).unwrap();
        assert!(step.is_final);
        assert!(step.text.starts_with(b"TargetName=iqn.2001-04.com.example:t0\0"));
    }
}

#[test]
fn a_new_segment_length_holds_after_the_last_response() {
    let (site, discovery) = (Site::with(0), session(None));
    let mut exchange = TextExchange::default();
    let text = b"MaxRecvDataSegmentLength=65536\0";
    let step = exchange.handle_request(&request(0, NEW), text, &discovery, &site).unwrap();
    assert_eq!((step.is_final, step.parameters), (false, None));
    let tag = step.target_transfer_tag.0;
    let step = exchange.handle_request(&request(FINAL, tag), b"", &discovery, &site).unwrap();
    let changed = Parameters { max_recv_data_segment_length: 65_536, ..Parameters::default() };
    assert_eq!((step.is_final, step.parameters), (true, Some(changed)));
    assert_eq!(step.text, b"");
}

#[test]
fn keys_of_the_login_are_rejected_and_unknown_ones_not_understood() {
    let normal = session(Some("iqn.2001-04.com.example:t1"));
    for (text, expected) in [
        ("MaxBurstLength=512\0", "MaxBurstLength=Reject"),
        ("HeaderDigest=CRC32C\0", "HeaderDigest=Reject"),
        ("TargetName=iqn.a:b\0", "TargetName=Reject"),
        ("AuthMethod=None\0", "AuthMethod=Reject"),
        ("X-com.example.a=1\0", "X-com.example.a=NotUnderstood"),
        ("MaxRecvDataSegmentLength=1\0", "MaxRecvDataSegmentLength=Reject"),
        ("InitiatorAlias=host\0", ""),
        ("", ""),
    ] {
        assert_eq!(answer(text, &normal), expected);
    }
}

#[test]
fn faults_end_the_exchange() {
    let (site, discovery) = (Site::with(100), session(None));
    let mut exchange = TextExchange::default();
    let mut handle = |request: &TextRequest, text: &[u8]| {
        exchange.handle_request(request, text, &discovery, &site)
    };
    let unknown =
        |tag| TextExchangeFault::TagUnknown { target_transfer_tag: TargetTransferTag(tag) };
    assert_eq!(handle(&request(FINAL, 5), b""), Err(unknown(5)));
    assert_eq!(unknown(5).reject_reason(), RejectReason::InvalidPduField);

    let tag = handle(&request(FINAL, NEW), b"SendTargets=All\0").unwrap().target_transfer_tag.0;
    let fault = handle(&request(FINAL, tag), b"SendTargets=All\0");
    assert_eq!(fault, Err(TextExchangeFault::TextBeforeAnswerEnded));
    assert_eq!(handle(&request(FINAL, tag), b""), Err(unknown(tag)));

    let tag = handle(&request(FINAL, NEW), b"SendTargets=All\0").unwrap().target_transfer_tag.0;
    let other = TextRequest { initiator_task_tag: InitiatorTaskTag(9), ..request(FINAL, tag) };
    assert_eq!(handle(&other, b""), Err(unknown(tag)));

    let twice = handle(&request(FINAL, NEW), b"SendTargets=All\0SendTargets=All\0");
    assert_eq!(twice, Err(Fault::KeyTwice { key: "SendTargets" }.into()));
    let cut = handle(&request(FINAL, NEW), b"SendTargets=All");
    assert_eq!(cut, Err(TextFault::Unterminated.into()));
    assert_eq!(cut.unwrap_err().reject_reason(), RejectReason::ProtocolError);
}

#[test]
fn a_new_exchange_takes_the_place_of_an_unfinished_one() {
    let (site, discovery) = (Site::with(100), session(None));
    let mut exchange = TextExchange::default();
    let ask = request(FINAL, NEW);
    let first = exchange.handle_request(&ask, b"SendTargets=All\0", &discovery, &site).unwrap();
    assert!(first.continues);
    let text = b"SendTargets=iqn.2001-04.com.example:t7\0";
    let second = exchange.handle_request(&ask, text, &discovery, &site).unwrap();
    assert!(second.is_final);
    assert!(second.text.starts_with(b"TargetName=iqn.2001-04.com.example:t7\0"));
}

#[test]
fn a_list_past_its_limit_is_rejected() {
    let (site, discovery) = (Site::with(12_000), session(None));
    let outcome = TextExchange::default().handle_request(
        &request(FINAL, NEW),
        b"SendTargets=All\0",
        &discovery,
        &site,
    );
    let fault = outcome.unwrap_err();
    assert_eq!(fault, TextExchangeFault::TextFull(TextFull { bytes_max: 1 << 20 }));
    assert_eq!(fault.reject_reason(), RejectReason::LongOperationReject);
}
