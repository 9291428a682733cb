//! Key text, and what the target makes of it.

use iscsi::negotiation::{Answers, Negotiation, Parameters, Policy, SessionKind};
use iscsi::text::{Pairs, TextWriter, binary_text, parse_binary, parse_boolean, parse_number};

/// Cuts a text into pairs. Pairs that were read come back when they are written, and values
/// are read by every rule, whichever is theirs.
pub(crate) fn pairs(data: &[u8]) {
    let read: Vec<_> = Pairs::new(data).map_while(Result::ok).collect();
    let mut writer = TextWriter::new(data.len());
    for pair in &read {
        assert!(writer.push(pair.key, pair.value).is_ok(), "pairs are longer than their text");
        let _ = (parse_number(pair.value), parse_boolean(pair.value));
        if let Some(bytes) = parse_binary(pair.value) {
            assert_eq!(parse_binary(&binary_text(&bytes)), Some(bytes));
        }
    }
    let written = writer.into_bytes();
    let again: Vec<_> = Pairs::new(&written).map_while(Result::ok).collect();
    assert_eq!(again, read);
}

/// Offers every pair, in several steps, to a negotiation. What it answers is a text, and what
/// it agrees to is what a target can do.
pub(crate) fn negotiation(data: &[u8]) {
    let Some((&kind, text)) = data.split_first() else { return };
    let kind = if kind & 1 == 0 { SessionKind::Normal } else { SessionKind::Discovery };
    let mut negotiation = Negotiation::new(Policy::default(), kind, Parameters::default());
    // A line feed, which no text may hold, ends a step.
    for step in text.split_inclusive(|byte| *byte == b'\n') {
        let step = step.strip_suffix(b"\n").unwrap_or(step);
        let mut answers = Answers::default();
        for pair in Pairs::new(step) {
            let Ok(pair) = pair else { return };
            if negotiation.handle_offer(pair, &mut answers).is_err() {
                return;
            }
        }
        negotiation.settle(&mut answers);
        if let Ok(text) = answers.into_text() {
            assert!(Pairs::new(&text).all(|pair| pair.is_ok()), "answered {text:?}");
        }
        check_parameters(&negotiation.parameters());
    }
}

/// The ranges of RFC 7143 section 13.
pub(crate) fn check_parameters(parameters: &Parameters) {
    let segment_or_burst = 512..=0x00ff_ffff;
    assert!(segment_or_burst.contains(&parameters.max_recv_data_segment_length));
    assert!(segment_or_burst.contains(&parameters.max_burst_length));
    assert!(segment_or_burst.contains(&parameters.first_burst_length));
    assert!(parameters.first_burst_length <= parameters.max_burst_length);
    assert!((1..=65535).contains(&parameters.max_outstanding_r2t));
    assert!((1..=65535).contains(&parameters.max_connections));
    assert!(parameters.default_time2wait <= 3600);
    assert!(parameters.default_time2retain <= 3600);
    assert!(parameters.error_recovery_level <= 2);
}
