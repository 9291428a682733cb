//! Which block comes next, and whether it is read or written.

use super::options::{Options, Pattern};

/// A fast generator of numbers that look random (xorshift*): not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The state must not be 0, and seeds that differ little should lead far apart.
        Self(mix(seed.wrapping_add(1)) | 1)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, by the upper half of a wide product.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(limit);
        // What is left of 128 bits are 64.
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from 0 up to, but not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Scatters the bits of a number.
pub(crate) const fn mix(number: u64) -> u64 {
    let a = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

/// The stream of commands.
#[derive(Debug)]
pub(crate) struct Access {
    random: Random,
    pattern: Pattern,
    zipf: Zipf,
    blocks: u64,
    next: u64,
    read_percent: u64,
}

impl Access {
    /// For so many blocks.
    pub(crate) fn new(options: &Options, blocks: u64) -> Self {
        Self {
            random: Random::new(options.seed),
            pattern: options.pattern,
            zipf: Zipf::new(
                // The sums are not needed by the other patterns.
                if options.pattern == Pattern::Zipf { blocks } else { 1 },
                options.zipf_theta,
            ),
            blocks,
            next: 0,
            read_percent: options.read_percent.into(),
        }
    }

    pub(crate) fn block(&mut self) -> u64 {
        match self.pattern {
            Pattern::Random => self.random.below(self.blocks),
            Pattern::Sequential => {
                let block = self.next;
                self.next = (self.next + 1) % self.blocks;
                block
            }
            // Popular blocks are scattered over the unit, as they would be in a real one.
            Pattern::Zipf => mix(self.zipf.rank(&mut self.random)) % self.blocks,
        }
    }

    pub(crate) fn is_write(&mut self) -> bool {
        match self.read_percent {
            0 => true,
            100 => false,
            percent => self.random.below(100) >= percent,
        }
    }
}

/// Zipf's distribution, sampled by inverting an approximation of its sum.
#[derive(Debug)]
struct Zipf {
    count: f64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Self {
        let zeta = zeta(count, theta);
        let n = count as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - theta)) / (1.0 - zeta_of_two(theta) / zeta);
        Self { count: n, theta, zeta, alpha: 1.0 / (1.0 - theta), eta }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is not negative, and a cast from a float saturates"
    )]
    fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        (self.count * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64
    }
}

/// The sum of k^-theta for k from 1 to `count`; the tail of a long one by its integral.
fn zeta(count: u64, theta: f64) -> f64 {
    let exact = count.min(ZETA_TERMS_MAX);
    let sum: f64 = (1..=exact).map(|k| (k as f64).powf(-theta)).sum();
    let power = 1.0 - theta;
    sum + ((count as f64).powf(power) - (exact as f64).powf(power)) / power
}

fn zeta_of_two(theta: f64) -> f64 {
    1.0 + 0.5f64.powf(theta)
}

/// Terms that are summed one by one: enough for five digits, and done in milliseconds.
const ZETA_TERMS_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_limit_and_reach_all_of_it() {
        let mut random = Random::new(7);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(random.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    #[test]
    fn the_first_rank_of_zipf_is_as_likely_as_its_sum_says() {
        // The sum of 1/sqrt(k) for k up to 100 is 18.59, so rank 0 comes in 5.4 % of all cases.
        let zipf = Zipf::new(100, 0.5);
        assert!((zipf.zeta - 18.589_603_8).abs() < 1e-6);
        let mut random = Random::new(3);
        let first = (0..100_000).filter(|_| zipf.rank(&mut random) == 0).count();
        assert!((5_000..5_800).contains(&first), "{first}");
    }

    #[test]
    fn every_rank_of_zipf_is_below_its_count() {
        let zipf = Zipf::new(1000, 0.99);
        let mut random = Random::new(5);
        assert!((0..100_000).all(|_| zipf.rank(&mut random) < 1000));
    }
}
