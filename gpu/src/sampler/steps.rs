//! One step of each sampler, as functions of tensors and levels.

use super::Churn;
use crate::error::{Error, Result};
use candle_core::Tensor;

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

/// dz/dσ' = (z − x̂)/σ', the probability-flow ODE.
pub fn slope(z: &Tensor, denoised: &Tensor, sigma: f64) -> Result<Tensor> {
    Ok(((z - denoised)? * sigma.recip())?)
}

/// Euler's step z + (σ'_to − σ'_from) d.
pub fn euler_step(z: &Tensor, d: &Tensor, from: f64, to: f64) -> Result<Tensor> {
    Ok((z + (d * (to - from))?)?)
}

/// Heun's step z + (σ'_to − σ'_from) (d + d_next)/2, with d_next the slope at Euler's point.
pub fn heun_step(z: &Tensor, d: &Tensor, d_next: &Tensor, from: f64, to: f64) -> Result<Tensor> {
    Ok((z + ((d + d_next)? * (0.5 * (to - from)))?)?)
}

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

/// Standard deviation of q(z_to | z_from, x_0): σ'_to √(1 − σ'_to²/σ'_from²).
fn posterior_std(from: f64, to: f64) -> f64 {
    let ratio = to / from;
    to * ((1.0 - ratio) * (1.0 + ratio)).sqrt()
}

/// Classifier-free guidance.
///
/// # Formula
/// ```text
/// x̂ = x̂_u + g (x̂_c − x̂_u)
/// ```
/// g = 0 is unconditional, g = 1 conditional, beyond it an extrapolation.
/// # Source
/// Ho and Salimans (arXiv:2207.12598).
pub fn guided(unconditional: &Tensor, conditional: &Tensor, g: f64) -> Result<Tensor> {
    Ok((unconditional + ((conditional - unconditional)? * g)?)?)
}

/// What a multistep sampler remembers of the step before.
#[derive(Debug, Clone)]
pub struct Previous {
    /// x̂ of that step.
    pub denoised: Tensor,
    /// Its level σ'_prev, above that of the present step.
    pub sigma: f64,
}

/// The step of DPM-Solver++(2M), for z = x/α.
///
/// # Formula
/// ```text
/// λ = −ln σ',   h = λ_to − λ_from,   r = (λ_from − λ_prev)/h
/// D = (1 + 1/2r) x̂ − 1/2r x̂_prev
/// z ← (σ'_to/σ'_from) z − (e^{−h} − 1) D
/// ```
/// Without a previous step, and down to σ'_to = 0 (where h = ∞), D = x̂: the step of DDIM.
/// # Errors
/// A previous level that is not above `from`.
/// # Source
/// Lu et al. (arXiv:2211.01095), Algorithm 2.
pub fn dpmpp_2m_step(
    z: &Tensor,
    denoised: &Tensor,
    previous: Option<&Previous>,
    from: f64,
    to: f64,
) -> Result<Tensor> {
    let h = (from / to).ln();
    let pull = -(-h).exp_m1();
    let kept = (z * (to / from))?;
    let Some(previous) = previous.filter(|_| to > 0.0) else {
        return Ok((kept + (denoised * pull)?)?);
    };
    let before = (previous.sigma / from).ln();
    if before.is_nan() || before <= 0.0 {
        let must = format!("be above the level of the step, {from}");
        return Err(Error::invalid(
            "the previous noise level",
            must,
            previous.sigma,
        ));
    }
    let half_inverse_r = 0.5 * h / before;
    let extrapolated =
        ((denoised * (1.0 + half_inverse_r))? - (&previous.denoised * half_inverse_r)?)?;
    Ok((kept + (extrapolated * pull)?)?)
}
