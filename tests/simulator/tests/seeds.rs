//! Some worlds, in which all promises are kept. The program `mutants` runs a thousand.

use simulator::Settings;
use std::ops::Range;

fn keep_their_promises(seeds: Range<u64>) {
    for seed in seeds {
        if let Err(text) = simulator::run(seed, Settings::default()) {
            panic!("{text}\nreplay: cargo run -p simulator -- --seed {seed} --trace");
        }
    }
}

// In parts, so that they run side by side.

#[test]
fn all_promises_are_kept_in_seeds_0_to_30() {
    keep_their_promises(0..30);
}

#[test]
fn all_promises_are_kept_in_seeds_30_to_60() {
    keep_their_promises(30..60);
}

#[test]
fn a_seed_determines_its_run() {
    for seed in [3, 7, 11] {
        let first = simulator::run(seed, Settings::default());
        assert_eq!(first, simulator::run(seed, Settings::default()));
    }
}
