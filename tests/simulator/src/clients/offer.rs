//! What a session wants to negotiate, and what it makes of the answers.

use super::session::Terms;
use crate::plan::Theme;
use crate::rng::word;
use crate::run::Run;

/// What an initiator wants, and the keys that say so.
pub(super) fn draw_offer(run: &mut Run) -> (Terms, Vec<String>) {
    let Run { rng, plan, .. } = run;
    let big = plan.weights.big > 0;
    let burst_max = if big { 262_144 } else { rng.pick(&[512, 1536, 8192, 65_536, 262_144]) };
    let first_burst = rng.pick(&[512, 4096, 65_536, 262_144]).min(burst_max);
    let digests = if plan.theme == Theme::Damage { 2 } else { rng.pick(&[0, 0, 1, 2, 3]) };
    let segment_max = if big { 65_536 } else { rng.pick(&[512, 1000, 4096, 8192, 65_536]) };
    let offer = Terms {
        header_digest: digests & 1 != 0,
        data_digest: digests & 2 != 0,
        initial_r2t: rng.chance(400),
        immediate_data: rng.chance(700),
        segment_max,
        target_segment_max: 8192,
        burst_max,
        first_burst,
        r2ts_max: word(rng.between(1, 8)),
    };
    let yes = |value| if value { "Yes" } else { "No" };
    let digest = |value| if value { "CRC32C" } else { "None" };
    let keys = vec![
        format!("HeaderDigest={}", digest(offer.header_digest)),
        format!("DataDigest={}", digest(offer.data_digest)),
        format!("InitialR2T={}", yes(offer.initial_r2t)),
        format!("ImmediateData={}", yes(offer.immediate_data)),
        format!("MaxRecvDataSegmentLength={}", offer.segment_max),
        format!("MaxBurstLength={}", offer.burst_max),
        format!("FirstBurstLength={}", offer.first_burst),
        format!("MaxOutstandingR2T={}", offer.r2ts_max),
        "MaxConnections=1".into(),
        "ErrorRecoveryLevel=0".into(),
        "DataPDUInOrder=Yes".into(),
        "DataSequenceInOrder=Yes".into(),
    ];
    (offer, keys)
}

/// Takes over what the target has answered.
pub(super) fn apply_answers(terms: &mut Terms, text: &str) -> Result<(), String> {
    for pair in text.split('\0').filter(|p| !p.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("login text {pair:?}"));
        };
        let number = || value.parse::<u32>().map_err(|_| format!("login text {pair:?}"));
        match key {
            "HeaderDigest" => terms.header_digest = value == "CRC32C",
            "DataDigest" => terms.data_digest = value == "CRC32C",
            "InitialR2T" => terms.initial_r2t = value == "Yes",
            "ImmediateData" => terms.immediate_data = value == "Yes",
            "MaxRecvDataSegmentLength" => terms.target_segment_max = number()?,
            "MaxBurstLength" => terms.burst_max = number()?,
            "FirstBurstLength" => terms.first_burst = number()?,
            "MaxOutstandingR2T" => terms.r2ts_max = number()?,
            "AuthMethod"
            | "TargetPortalGroupTag"
            | "TargetAlias"
            | "MaxConnections"
            | "ErrorRecoveryLevel"
            | "DataPDUInOrder"
            | "DataSequenceInOrder" => {}
            other => return Err(format!("the target says {other}={value}")),
        }
    }
    Ok(())
}

/// Bytes that a command should move at most, so that it has a bounded number of PDUs.
pub(super) fn transfer_max(terms: &Terms) -> u64 {
    u64::from(terms.segment_max.min(terms.burst_max)) * 64
}
