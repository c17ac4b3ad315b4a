//! The random streams of a run, from their description in the book (`docs/src/loop.md`, "What is drawn").

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The streams of one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams(pub(super) u64);

impl Streams {
    /// The generator of a purpose and a number: its key is the digest of seed, number and purpose.
    fn generator(self, purpose: &str, number: u64) -> ChaCha8Rng {
        let mut text = [self.0.to_le_bytes(), number.to_le_bytes()].concat();
        text.extend_from_slice(purpose.as_bytes());
        ChaCha8Rng::from_seed(Sha256::digest(text).into())
    }

    /// The first numbers of a stream, uniform on [0, 1).
    pub(super) fn uniform(self, purpose: &str, number: u64, count: usize) -> Vec<f64> {
        let mut generator = self.generator(purpose, number);
        (0..count).map(|_| fraction(&mut generator)).collect()
    }

    /// The first numbers of a stream, standard normal.
    pub(super) fn normal(self, purpose: &str, number: u64, count: usize) -> Vec<f64> {
        let mut generator = self.generator(purpose, number);
        let pair = || {
            let r = (-2.0 * (1.0 - fraction(&mut generator)).ln()).sqrt();
            let angle = TAU * fraction(&mut generator);
            [r * angle.cos(), r * angle.sin()]
        };
        let pairs = std::iter::repeat_with(pair).flatten();
        pairs.take(count).collect()
    }

    /// The numbers 0..count in random order.
    pub(super) fn order(self, purpose: &str, number: u64, count: usize) -> Vec<usize> {
        let mut generator = self.generator(purpose, number);
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = whole(&mut generator, last as u64 + 1);
            order.swap(last, other);
        }
        order
    }
}

/// The 53 upper bits of a draw, as a fraction.
fn fraction(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A whole number below `below`: the upper half of draw · below, unless the lower half is below 2⁶⁴ mod `below`.
fn whole(generator: &mut ChaCha8Rng, below: u64) -> usize {
    const TWO_TO_64: u128 = 1 << 64;
    loop {
        let product = u128::from(generator.next_u64()) * u128::from(below);
        if product % TWO_TO_64 >= TWO_TO_64 % u128::from(below) {
            return usize::try_from(product / TWO_TO_64).unwrap_or(usize::MAX);
        }
    }
}

/// The stream of a parameter's first value: keyed by seed and name, numbers in the middles of 2⁵³ intervals of (0, 1).
pub(super) fn first_values(seed: u64, name: &str) -> impl Iterator<Item = f64> {
    let text = [&seed.to_le_bytes(), name.as_bytes()].concat();
    let mut generator = ChaCha8Rng::from_seed(Sha256::digest(text).into());
    std::iter::repeat_with(move || {
        ((generator.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    })
}
