//! Stateless random streams: every number is a function of (seed, purpose, index).
//!
//! A run that is resumed draws what an uninterrupted one would have drawn, and no generator state
//! has to be saved. Nothing is drawn on a device: candle's CPU generator cannot be seeded.

use crate::device::transfer::to_device;
use crate::error::Result;
use candle_core::{DType, Device, Shape, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The family of random streams of one seed.
///
/// Stream `(purpose, index)` is ChaCha8 under the key SHA-256(seed ‖ index ‖ purpose): streams of
/// different purposes or indices (the step, the epoch, …) are independent.
///
/// # Example
/// ```
/// use sadm_gpu::random::Streams;
/// let streams = Streams::new(7);
/// assert_eq!(streams.uniform("time", 3, 2), streams.uniform("time", 3, 2));
/// assert_ne!(streams.uniform("time", 3, 2), streams.uniform("noise", 3, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed they were made from.
    pub fn seed(self) -> u64 {
        self.seed
    }

    /// Streams of their own, independent of these.
    #[must_use]
    pub fn branch(self, name: &str) -> Self {
        let seed = self.rng(name, u64::MAX).next_u64();
        Self { seed }
    }

    /// The generator of stream `(purpose, index)`, at its beginning.
    pub fn rng(self, purpose: &str, index: u64) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        hash.update(purpose.as_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }

    /// The first `n` standard normal numbers of the stream, each rounded once from f64 to f32.
    pub fn normal(self, purpose: &str, index: u64, n: usize) -> Vec<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
        standard_normals(&mut self.rng(purpose, index), n)
            .into_iter()
            .map(|z| z as f32)
            .collect()
    }

    /// The first `n` numbers of the stream uniform on [0, 1), multiples of 2⁻⁵³.
    pub fn uniform(self, purpose: &str, index: u64, n: usize) -> Vec<f64> {
        let mut rng = self.rng(purpose, index);
        (0..n).map(|_| unit_uniform(&mut rng)).collect()
    }

    /// [`Streams::normal`] as a tensor.
    ///
    /// Every dtype of at least 24 bits of mantissa holds the same numbers; bf16 and f16 round them.
    pub fn normal_tensor(
        self,
        purpose: &str,
        index: u64,
        shape: impl Into<Shape>,
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let values = self.normal(purpose, index, shape.elem_count());
        Ok(to_device(values, shape, device)?.to_dtype(dtype)?)
    }

    /// A uniformly random permutation of `0..n` (Fisher–Yates).
    pub fn permutation(self, purpose: &str, index: u64, n: usize) -> Vec<usize> {
        let mut rng = self.rng(purpose, index);
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, below(&mut rng, i + 1));
        }
        order
    }

    /// `n` numbers drawn from `0..n` with replacement: one resample of a bootstrap.
    pub fn resample(self, purpose: &str, index: u64, n: usize) -> Vec<usize> {
        let mut rng = self.rng(purpose, index);
        let below = n as u128;
        // The bias of a product of 64 bits is below n/2⁶⁴.
        #[expect(clippy::cast_possible_truncation, reason = "the high half is below n")]
        let number = |_| ((u128::from(rng.next_u64()) * below) >> 64) as usize;
        (0..n).map(number).collect()
    }
}

/// One number uniform on [0, 1), a multiple of 2⁻⁵³.
pub fn unit_uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * 2f64.powi(-53)
}

/// `n` independent standard normal numbers by the Box–Muller transform in f64.
///
/// # Formula
/// ```text
/// (z₁, z₂) = √(−2 ln(1 − u₁)) (cos 2πu₂, sin 2πu₂),   u₁, u₂ ~ U[0, 1)
/// ```
/// so |z| ≤ √(106 ln 2) ≈ 8.57 and never infinite.
pub fn standard_normals(rng: &mut impl Rng, n: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let radius = (-2.0 * (1.0 - unit_uniform(rng)).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit_uniform(rng)).sin_cos();
        values.extend([radius * cos, radius * sin]);
    }
    values.truncate(n);
    values
}

/// An integer uniform on `0..bound`, without bias: draws that would favour small values are
/// rejected (Lemire, arXiv:1805.10941).
fn below(rng: &mut impl Rng, bound: usize) -> usize {
    let bound = bound as u64;
    let biased = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low and the high half are meant"
        )]
        let (low, high) = (product as u64, (product >> 64) as usize);
        if low >= biased {
            return high;
        }
    }
}
