//! The arithmetic of a trainer: exact to f64, or with every result moved by at most one unit at random.

use ndarray::ArrayD;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sadm_reference::{
    bound::Precision,
    network::{Parameters, graph::Graph},
};
use std::cell::RefCell;

/// A relative move that f64 resolves well: deviations are linear in so small a one, and are scaled to f64's own.
pub(super) const MOVE: f64 = 1.0 / (1_u64 << 44) as f64;

/// Rounding of intermediate results.
pub(super) struct Arithmetic(Option<Box<dyn Fn(f64) -> f64>>);

impl Arithmetic {
    /// f64 as it is.
    pub(super) fn exact() -> Self {
        Self(None)
    }

    /// Each result times 1 + [`MOVE`]·ξ, ξ uniform on [−1, 1).
    pub(super) fn moved(seed: u64) -> Self {
        let generator = RefCell::new(ChaCha8Rng::seed_from_u64(seed));
        Self(Some(Box::new(move |x| {
            let bits = generator.borrow_mut().next_u64() >> 11;
            x * (1.0 + MOVE * (bits as f64 * 2.0_f64.powi(-52) - 1.0))
        })))
    }

    pub(super) fn one(&self, x: f64) -> f64 {
        self.0.as_ref().map_or(x, |round| round(x))
    }

    pub(super) fn array(&self, x: ArrayD<f64>) -> ArrayD<f64> {
        match &self.0 {
            None => x,
            Some(round) => x.mapv_into(round),
        }
    }

    /// A number that may err by `error` in arithmetic of unit roundoff [`MOVE`], moved within that.
    pub(super) fn within(&self, x: f64, error: f64) -> f64 {
        match &self.0 {
            None => x,
            Some(round) => x + error * (round(1.0) - 1.0) / MOVE,
        }
    }

    /// The precision in which a bound says how much that is; none where nothing moves.
    pub(super) fn precision(&self) -> Option<Precision> {
        self.0.as_ref().map(|_| Precision {
            unit: MOVE,
            ..Precision::F64
        })
    }

    /// A tape over parameters.
    pub(super) fn graph<'a>(&'a self, parameters: &'a Parameters) -> Graph<'a> {
        match &self.0 {
            None => Graph::new(parameters),
            Some(round) => Graph::rounded(parameters, round.as_ref()),
        }
    }
}
