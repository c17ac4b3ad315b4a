//! `heun`: EDM's second-order sampler.

use super::{Kind, Previous, SamplerKind, Walk, euler_step, slope};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

/// Heun's step z + (σ'_to − σ'_from) (d + d_next)/2, with d_next the slope at Euler's point.
pub fn heun_step(z: &Tensor, d: &Tensor, d_next: &Tensor, from: f64, to: f64) -> Result<Tensor> {
    Ok((z + ((d + d_next)? * (0.5 * (to - from)))?)?)
}

impl SamplerKind {
    /// EDM's second-order sampler (2·steps − 1 evaluations), churned if asked.
    pub const HEUN: Self = Self::new(&Entry::new("heun", Heun));
}

struct Heun;

impl Kind for Heun {
    fn step(
        &self,
        walk: &Walk<'_>,
        z: &Tensor,
        _: &mut Option<Previous>,
        index: u64,
        [from, to]: [f64; 2],
    ) -> Result<Tensor> {
        if !walk.options.family.is_plain() {
            return walk.family_step(z, index, [from, to], true);
        }
        let (z, from) = walk.churned(z, index, from)?;
        let d = slope(&z, &walk.denoised(&z, from)?, from)?;
        let next = euler_step(&z, &d, from, to)?;
        if to == 0.0 {
            return Ok(next);
        }
        let d_next = slope(&next, &walk.denoised(&next, to)?, to)?;
        heun_step(&z, &d, &d_next, from, to)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }

    fn churns(&self) -> bool {
        true
    }

    fn evaluations(&self, steps: usize) -> usize {
        (2 * steps).saturating_sub(1)
    }

    fn steps_within(&self, evaluations: usize) -> usize {
        evaluations.div_ceil(2)
    }
}
