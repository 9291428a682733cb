//! Worlds with a deliberate fault: whoever checks them must say so, and say what it is.

use simulator::{Canary, Settings};

/// How many seeds a fault may survive.
const SEEDS: u64 = 40;

fn complaint(canary: Canary) -> String {
    let settings = Settings { canary: Some(canary), ..Settings::default() };
    let found = (0..SEEDS).find_map(|seed| simulator::run(seed, settings).err());
    found.unwrap_or_else(|| panic!("nobody has noticed {canary:?} in {SEEDS} seeds"))
}

#[test]
fn a_second_answer_is_noticed() {
    let text = complaint(Canary::AnswerComesTwice);
    assert!(text.contains("answers nothing"), "{text}");
}

#[test]
fn an_answer_that_gets_lost_is_noticed() {
    let text = complaint(Canary::AnswerIsLost);
    assert!(text.contains("waits longer than 1000 ms"), "{text}");
}

#[test]
fn a_flush_that_does_nothing_is_noticed_after_a_crash() {
    let text = complaint(Canary::FlushIsDropped);
    assert!(text.contains("after a crash"), "{text}");
}

#[test]
fn a_write_to_other_sectors_is_noticed() {
    let text = complaint(Canary::WriteGoesAstray);
    assert!(text.contains("cannot hold") || text.contains("holds"), "{text}");
}

#[test]
fn a_lost_write_is_noticed() {
    let text = complaint(Canary::WriteIsLost);
    assert!(text.contains("cannot hold") || text.contains("after a crash"), "{text}");
}
