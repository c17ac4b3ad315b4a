//! `euler`: the first-order half of EDM's sampler.

use super::{Kind, Previous, SamplerKind, Walk};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

/// dz/dσ' = (z − x̂)/σ', the probability-flow ODE.
pub fn slope(z: &Tensor, denoised: &Tensor, sigma: f64) -> Result<Tensor> {
    Ok(((z - denoised)? * sigma.recip())?)
}

/// Euler's step z + (σ'_to − σ'_from) d.
pub fn euler_step(z: &Tensor, d: &Tensor, from: f64, to: f64) -> Result<Tensor> {
    Ok((z + (d * (to - from))?)?)
}

impl SamplerKind {
    /// The first-order half of EDM's sampler (one evaluation a step), churned if asked.
    pub const EULER: Self = Self::new(&Entry::new("euler", Euler));
}

struct Euler;

impl Kind for Euler {
    fn step(
        &self,
        walk: &Walk<'_>,
        z: &Tensor,
        _: &mut Option<Previous>,
        index: u64,
        [from, to]: [f64; 2],
    ) -> Result<Tensor> {
        if !walk.options.family.is_plain() {
            return walk.family_step(z, index, [from, to], false);
        }
        let (z, from) = walk.churned(z, index, from)?;
        let d = slope(&z, &walk.denoised(&z, from)?, from)?;
        euler_step(&z, &d, from, to)
    }

    fn order(&self) -> Option<f64> {
        Some(1.0)
    }

    fn churns(&self) -> bool {
        true
    }
}
