//! `ddpm`: ancestral sampling.

use super::{Kind, Previous, SamplerKind, Walk, posterior_std};
use crate::choice::Entry;
use crate::error::Result;
use crate::gaussian::StepNoise;
use candle_core::Tensor;

/// The DDPM step: a draw from q(z_to | z_from, x_0 = x̂).
///
/// # Formula
/// ```text
/// r = σ'_to²/σ'_from²,   z ← r z + (1 − r) x̂ + σ'_to √(1 − r) ε
/// ```
pub fn ancestral_step(
    z: &Tensor,
    denoised: &Tensor,
    noise: &Tensor,
    from: f64,
    to: f64,
) -> Result<Tensor> {
    let r = (to / from).powi(2);
    let mean = ((z * r)? + (denoised * (1.0 - r))?)?;
    Ok((mean + (noise * posterior_std(from, to))?)?)
}

impl SamplerKind {
    /// DDPM ancestral sampling from q(x_s | x_t, x̂).
    pub const DDPM: Self = Self::new(&Entry::new("ddpm", Ddpm));
}

struct Ddpm;

impl Kind for Ddpm {
    fn step(
        &self,
        walk: &Walk<'_>,
        z: &Tensor,
        _: &mut Option<Previous>,
        index: u64,
        [from, to]: [f64; 2],
    ) -> Result<Tensor> {
        let noise = walk.noise("sampler-noise", index, z)?;
        ancestral_step(z, &walk.denoised(z, from)?, &noise, from, to)
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn discrete(&self, _: f64) -> Option<StepNoise> {
        Some(StepNoise::Ddpm)
    }
}
