//! Responses that another implementation of the hashes computed, and every refusal.

use super::*;

fn policy(target: Option<&str>) -> ChapPolicy {
    let credentials =
        |name: &str, secret: &str| Credentials { name: name.into(), secret: secret.into() };
    ChapPolicy {
        algorithms: ChapAlgorithm::ALL.to_vec(),
        initiator: credentials("host", "initiator-secret"),
        target: target.map(|secret| credentials("array", secret)),
    }
}

/// Identifier 5a and the challenge 00 01 02 .. 1f.
fn challenge(algorithms: &str) -> Result<Challenge, ChapFault> {
    let mut calls = 0;
    let mut entropy = |bytes: &mut [u8]| {
        calls += 1;
        if calls == 1 {
            bytes.fill(0x5a);
        } else {
            bytes.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
        }
    };
    Challenge::new(&policy(None), algorithms, &mut entropy)
}

fn from_hex(text: &str) -> Vec<u8> {
    crate::text::parse_binary(&format!("0x{text}")).unwrap()
}

const MD5: &str = "cd5b99ec4b8d14879cc4d4eb19918361";

fn md5_answer() -> ChapAnswer<'static> {
    ChapAnswer { name: "host", response: from_hex(MD5), question: None }
}

#[test]
fn right_responses_of_every_hash_are_taken() {
    for (number, response) in [
        ("5", MD5),
        ("6", "12b698949ff5b430fb92cc869563dae548800643"),
        ("7", "c30f1739ab6b82d32b3478ba02d5135de9c024bac5ba334501d2b5a61f347520"),
        ("8", "42d71e56e203858669bdf089505150f61fca81495732328bba8e5ba0bba06697"),
    ] {
        let answer = ChapAnswer { response: from_hex(response), ..md5_answer() };
        assert_eq!(challenge(number).unwrap().check(&policy(None), &answer), Ok(None), "{number}");
    }
}

#[test]
fn the_strongest_hash_of_the_list_is_chosen() {
    let chosen = |list| challenge(list).map(|c| c.algorithm);
    assert_eq!(chosen("5,6,7,8"), Ok(ChapAlgorithm::Sha3_256));
    assert_eq!(chosen("7,5"), Ok(ChapAlgorithm::Sha256));
    assert_eq!(chosen("5,99,6"), Ok(ChapAlgorithm::Sha1));
    assert_eq!(chosen("5"), Ok(ChapAlgorithm::Md5));
    for list in ["", "4", "MD5", "256"] {
        assert_eq!(chosen(list), Err(ChapFault::AlgorithmUnacceptable), "{list:?}");
    }
}

#[test]
fn a_hash_that_is_not_allowed_is_not_chosen() {
    let mut strict = policy(None);
    strict.algorithms = vec![ChapAlgorithm::Sha256];
    let fault = Challenge::new(&strict, "5,6,8", &mut |_| {}).err();
    assert_eq!(fault, Some(ChapFault::AlgorithmUnacceptable));
}

#[test]
fn wrong_names_and_responses_are_refused() {
    let wrong = |answer: ChapAnswer<'_>| challenge("5").unwrap().check(&policy(None), &answer);
    for bit in 0..128 {
        let mut response = from_hex(MD5);
        response[bit / 8] ^= 1 << (bit % 8);
        let answer = ChapAnswer { response, ..md5_answer() };
        assert_eq!(wrong(answer), Err(ChapFault::ResponseWrong));
    }
    for length in 0..16 {
        let answer = ChapAnswer { response: from_hex(MD5)[..length].to_vec(), ..md5_answer() };
        assert_eq!(wrong(answer), Err(ChapFault::ResponseWrong));
    }
    for name in ["", "Host", "host2"] {
        let answer = ChapAnswer { name, ..md5_answer() };
        assert_eq!(wrong(answer), Err(ChapFault::ResponseWrong));
    }
}

#[test]
fn the_target_proves_itself_when_asked() {
    let answer = ChapAnswer { question: Some((7, vec![0xaa; 16])), ..md5_answer() };
    let proof = challenge("5").unwrap().check(&policy(Some("target-secret-1")), &answer);
    let response = from_hex("ac30e38f7e46b5cfcc23f912d6d4a81f");
    assert_eq!(proof, Ok(Some(ChapProof { name: "array".into(), response })));
}

#[test]
fn an_initiator_cannot_have_its_own_answer_computed() {
    let mutual = policy(Some("target-secret-1"));
    let ask = |policy: &ChapPolicy, question: Vec<u8>| {
        let answer = ChapAnswer { question: Some((7, question)), ..md5_answer() };
        challenge("5").unwrap().check(policy, &answer)
    };
    let reflected = (0..32).collect();
    assert_eq!(ask(&mutual, reflected), Err(ChapFault::ChallengeReflected));
    let same = policy(Some("initiator-secret"));
    assert_eq!(ask(&same, vec![1; 16]), Err(ChapFault::SecretsEqual));
    assert_eq!(ask(&policy(None), vec![1; 16]), Err(ChapFault::MutualNotConfigured));
    assert_eq!(ask(&mutual, vec![]), Err(ChapFault::ChallengeLength { bytes: 0 }));
    assert_eq!(ask(&mutual, vec![1; 1025]), Err(ChapFault::ChallengeLength { bytes: 1025 }));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let shown = format!("{:?}", policy(Some("target-secret-1")));
    assert!(!shown.contains("secret"), "{shown}");
}
