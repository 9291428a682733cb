//! The table of offers and outcomes, and what does not fit into it.

use super::*;
use crate::text::Pairs;

fn negotiate(kind: SessionKind, offers: &str) -> (String, Parameters) {
    let mut negotiation = Negotiation::new(Policy::default(), kind, Parameters::default());
    let mut answers = Answers::default();
    let text: String = offers.split_whitespace().map(|pair| format!("{pair}\0")).collect();
    for pair in Pairs::new(text.as_bytes()) {
        if let Err(fault) = negotiation.handle_offer(pair.unwrap(), &mut answers) {
            return (format!("{fault:?}"), negotiation.parameters());
        }
    }
    negotiation.settle(&mut answers);
    let text = String::from_utf8(answers.into_text().unwrap()).unwrap();
    (text.trim_end_matches('\0').replace('\0', " "), negotiation.parameters())
}

/// Each line of `offers.txt` is `offers -> answers | fields`; a leading `discovery:` says
/// what the session is for.
#[test]
fn offers_have_the_outcomes_of_the_table() {
    let mut cases = 0;
    for line in include_str!("offers.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (offers, outcome) = line.split_once("->").expect("a line has an arrow");
        let (answers, fields) = outcome.split_once('|').unwrap_or((outcome, ""));
        let (kind, offers) = match offers.strip_prefix("discovery:") {
            Some(offers) => (SessionKind::Discovery, offers),
            None => (SessionKind::Normal, offers),
        };
        let (answered, parameters) = negotiate(kind, offers);
        assert_eq!(answered, answers.trim(), "{line}");
        let parameters = format!("{parameters:?}");
        for field in fields.split_whitespace() {
            let field = field.replace('=', ": ");
            assert!(parameters.contains(&field), "{line}: no {field} in {parameters}");
        }
        cases += 1;
    }
    assert!(cases > 50, "only {cases} cases were found");
}

#[test]
fn defaults_are_those_of_the_standard() {
    let expected = Parameters {
        header_digest: false,
        data_digest: false,
        max_connections: 1,
        initial_r2t: true,
        immediate_data: true,
        max_recv_data_segment_length: 8192,
        target_max_recv_data_segment_length: 8192,
        max_burst_length: 262_144,
        first_burst_length: 65_536,
        default_time2wait: 2,
        default_time2retain: 20,
        max_outstanding_r2t: 1,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        protocol_level: 1,
    };
    assert_eq!(Parameters::default(), expected);
}

#[test]
fn a_policy_without_digests_takes_none() {
    let mut policy = Policy::default();
    policy.own.header_digest = false;
    let mut negotiation = Negotiation::new(policy, SessionKind::Normal, Parameters::default());
    let mut answers = Answers::default();
    let pair = Pair { key: "HeaderDigest", value: "CRC32C,None" };
    negotiation.handle_offer(pair, &mut answers).unwrap();
    assert_eq!(answers.into_text().unwrap(), b"HeaderDigest=None\0");
    assert!(!negotiation.parameters().header_digest);
}

#[test]
fn answers_to_a_flood_of_unknown_keys_are_bounded() {
    let mut negotiation =
        Negotiation::new(Policy::default(), SessionKind::Normal, Parameters::default());
    let mut answers = Answers::default();
    for _ in 0..20_000 {
        negotiation.handle_offer(Pair { key: "a", value: "" }, &mut answers).unwrap();
    }
    assert_eq!(answers.into_text(), Err(TextFull { bytes_max: 65_536 }));
}
