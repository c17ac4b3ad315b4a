//! The random streams: stream (purpose, index) of a seed is ChaCha8 under the key SHA-256(seed ‖ index ‖ purpose), numbers
//! little-endian.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream, at its beginning.
pub fn stream(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let mut key = Vec::from(seed.to_le_bytes());
    key.extend(index.to_le_bytes());
    key.extend(purpose.as_bytes());
    ChaCha8Rng::from_seed(Sha256::digest(&key).into())
}

/// The first number of a stream: a seed of other streams.
pub fn seed_of(seed: u64, purpose: &str, index: u64) -> u64 {
    stream(seed, purpose, index).next_u64()
}

/// Uniform on [0, 1): the 53 upper bits.
pub fn uniform(seed: u64, purpose: &str, index: u64, n: usize) -> Vec<f64> {
    let mut bits = stream(seed, purpose, index);
    (0..n)
        .map(|_| (bits.next_u64() >> 11) as f64 / (1_u64 << 53) as f64)
        .collect()
}

/// Standard normal by Box and Muller, rounded to f32: of two uniform numbers a cosine and a sine.
pub fn normal(seed: u64, purpose: &str, index: u64, n: usize) -> Vec<f64> {
    let pairs = uniform(seed, purpose, index, n + n % 2);
    let mut values: Vec<f64> = pairs
        .chunks_exact(2)
        .flat_map(|pair| {
            let radius = (-2.0 * (1.0 - pair[0]).ln()).sqrt();
            let angle = 2.0 * std::f64::consts::PI * pair[1];
            [radius * angle.cos(), radius * angle.sin()]
        })
        .map(rounded)
        .collect();
    values.truncate(n);
    values
}

/// To f32 and back.
#[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
pub fn rounded(x: f64) -> f64 {
    f64::from(x as f32)
}

/// A uniform number below `bound`: the high half of a product, drawn again where its low half falls short of 2⁶⁴ mod bound.
fn below(bits: &mut ChaCha8Rng, bound: usize, unbiased: bool) -> usize {
    let bound = bound as u128;
    let short = (1_u128 << 64) % bound;
    loop {
        let product = u128::from(bits.next_u64()) * bound;
        if !unbiased || product % (1_u128 << 64) >= short {
            return usize::try_from(product >> 64).expect("below the bound");
        }
    }
}

/// A random order of `0..n`: Fisher and Yates, from the last place down.
pub fn order(seed: u64, purpose: &str, index: u64, n: usize) -> Vec<usize> {
    let mut bits = stream(seed, purpose, index);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let other = below(&mut bits, last + 1, true);
        order.swap(last, other);
    }
    order
}

/// Resample `r` of `n` rows, with replacement.
pub fn resample(seed: u64, purpose: &str, r: u64, n: usize) -> Vec<usize> {
    let mut bits = stream(seed, &format!("bootstrap-{purpose}"), r);
    (0..n).map(|_| below(&mut bits, n, false)).collect()
}

/// Classes drawn in proportion to whole weights, from stream `classes`.
pub fn classes(seed: u64, weights: &[usize], count: usize) -> Vec<u32> {
    let total = weights.iter().sum::<usize>() as f64;
    let drawn = uniform(seed, "classes", 0, count);
    let of = |u: f64| {
        let mut before = 0;
        for (class, weight) in (0..).zip(weights) {
            before += weight;
            if u * total < before as f64 {
                return class;
            }
        }
        panic!("{u} of {weights:?}")
    };
    drawn.into_iter().map(of).collect()
}
