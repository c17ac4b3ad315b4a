//! `ddim`: deterministic at η = 0, ancestral at η = 1.

use super::{Kind, Previous, SamplerKind, Walk, posterior_std, slope};
use crate::choice::Entry;
use crate::error::Result;
use crate::gaussian::StepNoise;
use candle_core::Tensor;

/// The DDIM step, written for z = x/α.
///
/// # Formula
/// ```text
/// ε̂ = (z − x̂)/σ'_from,   v = η² σ'_to² (1 − σ'_to²/σ'_from²)
/// z ← x̂ + √(σ'_to² − v) ε̂ + √v ε
/// ```
/// Without `noise`, ε = 0 (right for η = 0 only).
/// # Source
/// Song et al. (arXiv:2010.02502), Eq. 12 and 16.
pub fn ddim_step(
    z: &Tensor,
    denoised: &Tensor,
    noise: Option<&Tensor>,
    from: f64,
    to: f64,
    eta: f64,
) -> Result<Tensor> {
    let added = eta * posterior_std(from, to);
    let kept = ((to - added) * (to + added)).sqrt();
    let direction = slope(z, denoised, from)?;
    let z = (denoised + (direction * kept)?)?;
    match noise {
        Some(noise) => Ok((z + (noise * added)?)?),
        None => Ok(z),
    }
}

impl SamplerKind {
    /// DDIM: deterministic at η = 0, ancestral at η = 1.
    pub const DDIM: Self = Self::new(&Entry::new("ddim", Ddim));
}

struct Ddim;

impl Kind for Ddim {
    fn step(
        &self,
        walk: &Walk<'_>,
        z: &Tensor,
        _: &mut Option<Previous>,
        index: u64,
        [from, to]: [f64; 2],
    ) -> Result<Tensor> {
        let denoised = walk.denoised(z, from)?;
        let eta = walk.options.ddim_eta;
        if eta == 0.0 || to == 0.0 {
            return ddim_step(z, &denoised, None, from, to, 0.0);
        }
        let noise = walk.noise("sampler-noise", index, z)?;
        ddim_step(z, &denoised, Some(&noise), from, to, eta)
    }

    fn order(&self) -> Option<f64> {
        Some(1.0)
    }

    fn discrete(&self, eta: f64) -> Option<StepNoise> {
        Some(StepNoise::Ddim { eta })
    }
}
