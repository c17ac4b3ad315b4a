//! EDM's churn.

use crate::error::Result;
use candle_core::Tensor;

/// EDM's churn: fresh noise before a step of `heun` or `euler`.
///
/// # Formula
/// ```text
/// γ = min(S_churn/steps, √2 − 1) for σ' in [S_min, S_max], else 0
/// σ̂ = (1 + γ) σ',   z ← z + √(σ̂² − σ'²) S_noise ε
/// ```
/// # Source
/// Karras et al. (arXiv:2206.00364), Algorithm 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// S_churn ≥ 0; 0 is the deterministic sampler.
    pub amount: f64,
    /// S_min.
    pub sigma_min: f64,
    /// S_max.
    pub sigma_max: f64,
    /// S_noise.
    pub noise: f64,
}

impl Default for Churn {
    fn default() -> Self {
        Self {
            amount: 0.0,
            sigma_min: 0.0,
            sigma_max: f64::INFINITY,
            noise: 1.0,
        }
    }
}

/// γ of [`Churn`] at level σ'.
pub fn churn_gamma(churn: &Churn, steps: usize, sigma: f64) -> f64 {
    if (churn.sigma_min..=churn.sigma_max).contains(&sigma) {
        (churn.amount / steps as f64).min(std::f64::consts::SQRT_2 - 1.0)
    } else {
        0.0
    }
}

/// z at the raised level σ̂: z + √(σ̂² − σ'²) S_noise ε.
pub fn churn_step(
    z: &Tensor,
    noise: &Tensor,
    noise_scale: f64,
    sigma: f64,
    raised: f64,
) -> Result<Tensor> {
    let added = ((raised - sigma) * (raised + sigma)).sqrt() * noise_scale;
    Ok((z + (noise * added)?)?)
}
