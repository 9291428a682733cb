//! The build under test against the baseline: is it slower than the old build's own noise allows?

use super::contestant::Contestant;
use super::results::{Outcome, Spread, median};
use serde::Serialize;

/// One workload of the build under test ("new") against the baseline ("old").
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AgainstBaseline {
    /// Per round: IOPS of the new build by those of the old one.
    pub(crate) new_to_old: Spread,
    /// Per round: IOPS of the second process of the old build by those of the first one. If both
    /// builds are equal, both ratios have the same distribution.
    pub(crate) old_to_old: Spread,
    /// The median over the rounds of the difference between both processes of the old build.
    pub(crate) self_difference: f64,
    pub(crate) rounds: usize,
    /// Rounds in which the new build was slower.
    pub(crate) rounds_slower: usize,
    pub(crate) verdict: Verdict,
}

/// What the ratio of the new build to the old one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Faster by more than [`LOSS_MAX`] and by more than the old build differs from itself, in more
    /// rounds than chance explains.
    Faster,
    /// At most [`LOSS_MAX`] slower, and not proven to be faster.
    Same,
    /// Slower by more than that, but not by more than the old build differs from itself.
    WithinNoise,
    /// Slower by more than both, but in too few rounds to exclude chance.
    MaybeSlower,
    /// Slower by more than both, and in more rounds than chance explains.
    Slower,
}

impl AgainstBaseline {
    /// `None` where the baseline was not measured.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        let iops = |party| Some(&outcome.targets.get(&party)?.iops);
        let new = iops(Contestant::Polluxd)?;
        let old = iops(Contestant::Baseline)?;
        let again = iops(Contestant::BaselineAgain)?;
        Self::of_rounds(new, old, again)
    }

    fn of_rounds(new: &[f64], old: &[f64], again: &[f64]) -> Option<Self> {
        // Not the mean of both old processes: a mean is above most values where few are high, and
        // equal builds would look slower.
        let to_old: Vec<f64> = new.iter().zip(old).map(|(new, old)| new / old).collect();
        let to_self: Vec<f64> = again.iter().zip(old).map(|(again, old)| again / old).collect();
        let differences: Vec<f64> = to_self.iter().map(|ratio| (ratio - 1.0).abs()).collect();
        let new_to_old = Spread::of(&to_old)?;
        let self_difference = median(&differences)?;
        let (rounds, rounds_slower) = (to_old.len(), to_old.iter().filter(|r| **r < 1.0).count());
        // In favour of what the median says.
        let agreeing = if new_to_old.median < 1.0 { rounds_slower } else { rounds - rounds_slower };
        let chance = chance(rounds, agreeing);
        let verdict = Verdict::of(new_to_old.median, self_difference, chance);
        let old_to_old = Spread::of(&to_self)?;
        Some(Self { new_to_old, old_to_old, self_difference, rounds, rounds_slower, verdict })
    }
}

impl Verdict {
    fn of(ratio: f64, self_difference: f64, chance: f64) -> Self {
        match ratio - 1.0 {
            gain if gain > self_difference.max(LOSS_MAX) && chance <= CHANCE_MAX => Self::Faster,
            gain if gain >= -LOSS_MAX => Self::Same,
            gain if gain >= -self_difference => Self::WithinNoise,
            _ if chance > CHANCE_MAX => Self::MaybeSlower,
            _ => Self::Slower,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Same => "same",
            Self::WithinNoise => "within noise",
            Self::MaybeSlower => "slower?",
            Self::Slower => "SLOWER",
        }
    }

    /// Whether more rounds are worth their time.
    pub(crate) const fn is_loss(self) -> bool {
        match self {
            Self::Faster | Self::Same | Self::WithinNoise => false,
            Self::MaybeSlower | Self::Slower => true,
        }
    }
}

/// The probability that one of two equal builds loses this many rounds or more: a sign test.
fn chance(rounds: usize, lost: usize) -> f64 {
    // The number of ways to choose k rounds, for k from 0 on.
    let ways = (0..=rounds).scan(1.0, |ways, k| {
        let now = *ways;
        *ways = now * (rounds - k) as f64 / (k + 1) as f64;
        Some(now)
    });
    ways.skip(lost).map(|ways| ways * 0.5_f64.powf(rounds as f64)).sum()
}

/// How much slower the new build may be, whatever the noise.
pub(crate) const LOSS_MAX: f64 = 0.03;

/// A difference that is likelier by chance than this is not proven.
pub(crate) const CHANCE_MAX: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_above_both_limits_is_slower() {
        assert_eq!(Verdict::of(0.98, 0.0, 0.0), Verdict::Same);
        assert_eq!(Verdict::of(0.96, 0.01, 0.0), Verdict::Slower);
        assert_eq!(Verdict::of(0.96, 0.05, 0.0), Verdict::WithinNoise);
        assert_eq!(Verdict::of(0.94, 0.05, 0.02), Verdict::Slower);
        assert_eq!(Verdict::of(0.94, 0.05, 0.03), Verdict::MaybeSlower);
    }

    #[test]
    fn a_gain_within_the_noise_is_none() {
        assert_eq!(Verdict::of(1.04, 0.01, 0.02), Verdict::Faster);
        assert_eq!(Verdict::of(1.04, 0.01, 0.03), Verdict::Same);
        assert_eq!(Verdict::of(1.04, 0.05, 0.0), Verdict::Same);
        assert_eq!(Verdict::of(1.02, 0.0, 0.0), Verdict::Same);
    }

    #[test]
    fn rounds_are_paired_before_the_median_is_taken() {
        // The machine is half as fast in the second round, for all of them.
        let found = AgainstBaseline::of_rounds(
            &[90.0, 45.0, 99.0],
            &[100.0, 50.0, 100.0],
            &[100.0, 50.0, 120.0],
        );
        let found = found.unwrap();
        assert_eq!(found.new_to_old, Spread { median: 0.9, low: 0.9, high: 0.99 });
        assert_eq!(found.old_to_old, Spread { median: 1.0, low: 1.0, high: 1.2 });
        assert_eq!((found.rounds, found.rounds_slower), (3, 3));
        assert_eq!((found.self_difference, found.verdict), (0.0, Verdict::MaybeSlower));
    }

    #[test]
    fn a_loss_in_all_of_six_rounds_is_no_chance_but_in_five_of_them_is() {
        assert!((chance(6, 6) - 1.0 / 64.0).abs() < 1e-12);
        assert!((chance(6, 5) - 7.0 / 64.0).abs() < 1e-12);
        assert!((chance(10, 9) - 11.0 / 1024.0).abs() < 1e-12);
        assert!((chance(5, 0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_rounds_there_is_no_verdict() {
        assert_eq!(AgainstBaseline::of_rounds(&[1.0], &[], &[]), None);
    }
}
