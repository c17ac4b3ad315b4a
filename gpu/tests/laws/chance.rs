//! Tests of laws with a stated probability of a false alarm.
//!
//! | statistic | p-value of a right program | what it sees at n draws (α ≈ 6·10⁻⁹ a judgement) |
//! |---|---|---|
//! | Kolmogorov–Smirnov, D | at most 2 e^{−2nD²} for every n and law (Massart 1990) | a distribution function off by 0.02 at 2.5·10⁴, by 0.005 at 4·10⁵ |
//! | a rate | exact, binomial | 0.45 for 0.5 from 6·10³ on, in more than 99 of 100 runs; a tenth of the rate at 10⁴ |
//! | equal counts, χ² | asymptotic; each count is expected to be 40 and more | a cell off by a factor 1.5, or draws too even |
//! | signs of products | exact, binomial(n, ½) | a correlation of 0.1 at 10⁴, of 0.01 at 10⁶; a repeated draw at 30 |

use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF, Normal};
use std::hash::{BuildHasher, RandomState};

/// The probability that one run of all laws, with random seeds, fails although every draw has its law.
pub const FALSE_ALARM: f64 = 1e-6;

/// How many p-values each test asks for.
pub const SHARES: &[(&str, u32)] = &[
    ("normal numbers", 7),
    ("uniform numbers", 4),
    ("permutations", 2),
    ("resamples", 3),
    ("uniform times", 7),
    ("log-uniform times", 8),
    ("steps of improved DDPM", 4),
    ("soft truncation", 9),
    ("log-normal times", 11),
    ("noise of batches", 8),
    ("dropped labels", 9),
    ("flips", 8),
    ("augmentation", 23),
    ("order", 6),
    ("a live run", 0),
    ("dropout", 6),
    ("pools", 4),
    ("splits", 5),
    ("limit", 2),
    ("classes of samples", 5),
    ("dequantisation", 3),
    ("probes", 4),
    ("starting noise", 5),
    ("noise before a discriminator", 10),
    ("fresh noise", 28),
    ("initial parameters", 15),
];

/// A test's share of the false alarms, and its seeds.
pub struct Chance {
    test: &'static str,
    seed: u64,
    left: u32,
}

impl Chance {
    /// The share of a test that has a line in [`SHARES`].
    pub fn of(test: &'static str) -> Self {
        let share = SHARES.iter().find(|(name, _)| *name == test);
        let (_, left) = *share.expect("a line in SHARES");
        let seed = std::env::var("PROPTEST_RNG_SEED").ok();
        let seed = seed.map(|seed| seed.parse().expect("PROPTEST_RNG_SEED is a number"));
        Self {
            test,
            seed: seed.unwrap_or_else(|| RandomState::new().hash_one(test) >> 1),
            left,
        }
    }

    /// A seed; the tests take this and the next ones.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn judge(&mut self, what: &str, p: f64, seen: &str) {
        let Self { test, seed, .. } = *self;
        self.left = self
            .left
            .checked_sub(1)
            .unwrap_or_else(|| panic!("{test}: more judgements than SHARES says"));
        let all: u32 = SHARES.iter().map(|(_, share)| share).sum();
        let level = FALSE_ALARM / f64::from(all);
        assert!(
            p >= level,
            "{test}: {what}: {seen}; if all were right this had a probability of {p:.1e} at most, below {level:.1e} \
             (PROPTEST_RNG_SEED={seed} repeats it)"
        );
    }

    /// Whether independent values have a continuous distribution function: Kolmogorov–Smirnov on F(x), which is uniform then.
    pub fn follows(
        &mut self,
        what: &str,
        values: impl IntoIterator<Item = f64>,
        cdf: impl Fn(f64) -> f64,
    ) {
        let mut places: Vec<f64> = values.into_iter().map(cdf).collect();
        places.sort_by(f64::total_cmp);
        let n = places.len() as f64;
        let between =
            |(i, place): (usize, &f64)| (place - i as f64 / n).max((i as f64 + 1.0) / n - place);
        let distance = places.iter().enumerate().map(between).fold(0.0, f64::max);
        assert!(
            places.iter().all(|place| (0.0..=1.0).contains(place)),
            "{what}: no distribution function"
        );
        self.judge(
            what,
            2.0 * (-2.0 * n * distance * distance).exp(),
            &format!("D = {distance:.4} of {n} values"),
        );
    }

    /// Whether independent values are standard normal.
    pub fn normal(&mut self, what: &str, values: impl IntoIterator<Item = f64>) {
        let law = Normal::standard();
        self.follows(what, values, |z| law.cdf(z));
    }

    /// Whether independent events, each of probability `p`, were met `hits` times.
    pub fn rate(&mut self, what: &str, events: impl IntoIterator<Item = bool>, p: f64) {
        let (mut hits, mut n) = (0, 0);
        for event in events {
            hits += u64::from(event);
            n += 1;
        }
        let law = Binomial::new(p, n).expect("a probability");
        let below = law.cdf(hits);
        let above = if hits == 0 { 1.0 } else { law.sf(hits - 1) };
        self.judge(
            what,
            (2.0 * below.min(above)).min(1.0),
            &format!("{hits} of {n}, where a rate of {p} was expected"),
        );
    }

    /// Whether numbers of median 0 are unrelated: the signs of products of pairs are then fair coins.
    pub fn unrelated(&mut self, what: &str, pairs: impl IntoIterator<Item = (f64, f64)>) {
        let signs = pairs.into_iter().map(|(a, b)| (a > 0.0) == (b > 0.0));
        self.rate(&format!("signs of {what}"), signs, 0.5);
    }

    /// Whether events of probability `p` are unrelated: just one of two happens with probability 2p(1 − p).
    pub fn unrelated_events(
        &mut self,
        what: &str,
        pairs: impl IntoIterator<Item = (bool, bool)>,
        p: f64,
    ) {
        let differ = pairs.into_iter().map(|(a, b)| a != b);
        self.rate(what, differ, 2.0 * p * (1.0 - p));
    }

    /// Whether a statistic is from χ² with so many degrees of freedom, neither too large nor too small.
    pub fn chi_squared(&mut self, what: &str, statistic: f64, freedom: usize) {
        let law = ChiSquared::new(freedom as f64).expect("degrees of freedom");
        let p = 2.0 * law.cdf(statistic).min(law.sf(statistic));
        self.judge(
            what,
            p.min(1.0),
            &format!("χ² = {statistic:.1} with {freedom} degrees of freedom"),
        );
    }

    /// Whether independent draws fell into cells of these probabilities.
    pub fn counts(&mut self, what: &str, counts: &[usize], probabilities: &[f64]) {
        let n = counts.iter().sum::<usize>() as f64;
        let terms = counts.iter().zip(probabilities).map(|(count, p)| {
            assert!(n * p >= 40.0, "{what}: too few draws");
            (*count as f64 - n * p).powi(2) / (n * p)
        });
        let statistic = terms.sum();
        self.chi_squared(what, statistic, counts.len() - 1);
    }

    /// Whether permutations of `0..n` are uniformly random: of each thing at each place, as often as not elsewhere.
    ///
    /// Of R permutations a thing is R/n times at each place; the n² counts, bound by the sums of rows and columns, give
    /// (n − 1)/n χ² with (n − 1)² degrees of freedom.
    pub fn permutations(&mut self, what: &str, permutations: &[Vec<usize>]) {
        let n = permutations[0].len();
        let mut counts = vec![0_usize; n * n];
        for permutation in permutations {
            for (place, thing) in permutation.iter().enumerate() {
                counts[place * n + thing] += 1;
            }
        }
        let expected = permutations.len() as f64 / n as f64;
        assert!(expected >= 40.0, "{what}: too few permutations");
        let squares: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2)).sum();
        let statistic = squares / expected * (n - 1) as f64 / n as f64;
        self.chi_squared(what, statistic, (n - 1) * (n - 1));
    }

    /// Whether random subsets of m out of n things, R of them, hold each thing equally often; several kinds of things at once.
    ///
    /// `(counts, m, R)` of each kind. Σ (c − Rm/n)²/(R m/n (1 − m/n)) · (n − 1)/n is from χ² with n − 1 degrees of freedom.
    pub fn subsets(&mut self, what: &str, kinds: &[(Vec<usize>, usize, usize)]) {
        let (mut statistic, mut freedom) = (0.0, 0);
        for (counts, chosen, times) in kinds {
            let n = counts.len() as f64;
            let (share, times) = (*chosen as f64 / n, *times as f64);
            assert!(times * share >= 40.0, "{what}: too few subsets");
            let squares: f64 = counts
                .iter()
                .map(|&c| (c as f64 - times * share).powi(2))
                .sum();
            statistic += squares / (times * share * (1.0 - share)) * (n - 1.0) / n;
            freedom += counts.len() - 1;
        }
        self.chi_squared(what, statistic, freedom);
    }
}

impl Drop for Chance {
    /// A judgement that was never made would be a share for nothing, or a test that looks at nothing.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                self.left, 0,
                "{}: fewer judgements than SHARES says",
                self.test
            );
        }
    }
}

/// The distribution function of the uniform law on [low, high].
pub fn uniform(low: f64, high: f64) -> impl Fn(f64) -> f64 {
    move |x| ((x - low) / (high - low)).clamp(0.0, 1.0)
}

/// Fails unless `broken` is judged wrong.
fn is_noticed(broken: impl FnOnce(&mut Chance) + std::panic::UnwindSafe) {
    let judged = std::panic::catch_unwind(|| {
        let mut chance = Chance {
            test: "a planted fault",
            seed: 1,
            left: 1,
        };
        broken(&mut chance);
    });
    assert!(judged.is_err(), "a planted fault passed");
}

/// Each statistic can fail.
#[test]
fn wrong_laws_are_noticed() {
    let steps = |n: usize| (0..n).map(move |i| (i as f64 + 0.5) / n as f64);
    let coins = |n: usize, every: usize| (0..n).map(move |i| i % every == 0);
    is_noticed(move |c| {
        c.follows(
            "a shifted law",
            steps(25_000).map(|u| u + 0.025),
            uniform(0.0, 1.0),
        );
    });
    is_noticed(move |c| {
        c.follows(
            "a narrow law",
            steps(25_000).map(|u| 0.03 + 0.94 * u),
            uniform(0.0, 1.0),
        );
    });
    is_noticed(move |c| {
        c.normal(
            "a wide normal law",
            steps(100_000).map(|u| 1.06 * Normal::standard().inverse_cdf(u)),
        );
    });
    is_noticed(move |c| c.rate("a small rate", (0..8000).map(|i| i % 20 < 9), 0.5));
    is_noticed(move |c| c.rate("a large rate", coins(8000, 5), 0.15));
    is_noticed(move |c| {
        c.unrelated(
            "a repeated draw",
            (0..30).map(|i| (f64::from(i % 3) - 0.5, f64::from(i % 3) - 0.5)),
        );
    });
    is_noticed(move |c| {
        c.unrelated_events("a repeated event", coins(200, 5).zip(coins(200, 5)), 0.2);
    });
    is_noticed(move |c| c.counts("unequal counts", &[650, 350, 500, 500], &[0.25; 4]));
    is_noticed(move |c| c.counts("too equal counts", &[500; 40], &[0.025; 40]));
    is_noticed(move |c| c.permutations("no permutations", &vec![vec![0, 1, 2]; 200]));
    is_noticed(move |c| c.subsets("the same subset", &[(vec![200, 200, 0, 0, 0, 0], 2, 200)]));
}
