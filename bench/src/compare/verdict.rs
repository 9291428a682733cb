//! The build under test against the baseline: is it slower than the old build's own noise allows?

use super::contestant::Contestant;
use super::results::{Outcome, Spread, median};
use serde::Serialize;

/// One workload of the build under test ("new") against the baseline ("old").
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AgainstBaseline {
    /// Per round: IOPS of the new build by the mean of both runs of the old one.
    pub(crate) new_to_old: Spread,
    /// Per round: IOPS of the second run of the old build by the first one.
    pub(crate) old_to_old: Spread,
    /// The median over the rounds of what the two runs of the old build differ by.
    pub(crate) self_difference: f64,
    pub(crate) verdict: Verdict,
}

/// What the ratio of the new build to the old one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Faster by more than [`LOSS_MAX`] and by more than the old build differs from itself.
    Faster,
    /// At most [`LOSS_MAX`] slower.
    Same,
    /// Slower by more than that, but not by more than the old build differs from itself.
    WithinNoise,
    /// Slower by more than both.
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
        let means = old.iter().zip(again).map(|(a, b)| f64::midpoint(*a, *b));
        let to_old: Vec<f64> = new.iter().zip(means).map(|(new, mean)| new / mean).collect();
        let to_self: Vec<f64> = again.iter().zip(old).map(|(again, old)| again / old).collect();
        let differences: Vec<f64> = to_self.iter().map(|ratio| (ratio - 1.0).abs()).collect();
        let new_to_old = Spread::of(&to_old)?;
        let self_difference = median(&differences)?;
        let verdict = Verdict::of(new_to_old.median, self_difference);
        Some(Self { new_to_old, old_to_old: Spread::of(&to_self)?, self_difference, verdict })
    }
}

impl Verdict {
    fn of(ratio: f64, self_difference: f64) -> Self {
        match ratio - 1.0 {
            gain if gain > self_difference.max(LOSS_MAX) => Self::Faster,
            gain if gain >= -LOSS_MAX => Self::Same,
            gain if gain >= -self_difference => Self::WithinNoise,
            // A ratio that is not a number is no proof of anything.
            _ => Self::Slower,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Same => "same",
            Self::WithinNoise => "within noise",
            Self::Slower => "SLOWER",
        }
    }
}

/// How much slower the new build may be, whatever the noise.
pub(crate) const LOSS_MAX: f64 = 0.03;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_above_both_limits_is_slower() {
        assert_eq!(Verdict::of(0.98, 0.0), Verdict::Same);
        assert_eq!(Verdict::of(0.96, 0.01), Verdict::Slower);
        assert_eq!(Verdict::of(0.96, 0.05), Verdict::WithinNoise);
        assert_eq!(Verdict::of(0.94, 0.05), Verdict::Slower);
        assert_eq!(Verdict::of(f64::NAN, 0.0), Verdict::Slower);
    }

    #[test]
    fn a_gain_within_the_noise_is_none() {
        assert_eq!(Verdict::of(1.04, 0.01), Verdict::Faster);
        assert_eq!(Verdict::of(1.04, 0.05), Verdict::Same);
        assert_eq!(Verdict::of(1.02, 0.0), Verdict::Same);
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
        assert_eq!(found.new_to_old, Spread { median: 0.9, low: 0.9, high: 0.9 });
        assert_eq!(found.old_to_old, Spread { median: 1.0, low: 1.0, high: 1.2 });
        assert_eq!((found.self_difference, found.verdict), (0.0, Verdict::Slower));
    }

    #[test]
    fn without_rounds_there_is_no_verdict() {
        assert_eq!(AgainstBaseline::of_rounds(&[1.0], &[], &[]), None);
    }
}
