//! DPM-Solver++(2M): second order for one evaluation a step, by what the step before found.

use super::{SamplerError, check_shape, check_step};
use ndarray::{ArrayD, Zip};

/// State of a multistep sampler.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    /// The denoised data D₋ of that step.
    pub denoised: &'a ArrayD<f64>,
    /// Its noise level σ₋, above the level of this step.
    pub sigma: f64,
}

/// One step of DPM-Solver++(2M) in z-space. `[eq:dpmpp-2m]`
/// ```text
/// h = ln(σ/σ'),   h₋ = ln(σ₋/σ),   D̄ = D + h/(2 h₋) (D − D₋)
/// z' = (σ'/σ) z + (1 − σ'/σ) D̄
/// ```
/// D̄ extrapolates the denoised data, linearly in ln σ, to the middle of the step; the rest of the equation is
/// solved exactly. The published form has r = h₋/h and −α(e^{−h} − 1), with e^{−h} = σ'/σ. Without a step before,
/// and at σ' = 0, where h = ∞ lies outside what can be extrapolated to, D̄ = D: a DDIM step.
///
/// # Errors
/// [`SamplerError::Step`] for this step or the one before; [`SamplerError::Shape`].
///
/// # Source
/// Lu et al. 2022 (arXiv:2211.01095), Algorithm 2.
pub fn dpmpp_2m_step(
    z: &ArrayD<f64>,
    denoised: &ArrayD<f64>,
    previous: Option<Previous<'_>>,
    sigma: f64,
    sigma_next: f64,
) -> Result<ArrayD<f64>, SamplerError> {
    check_step(sigma, sigma_next)?;
    check_shape("the denoised sample", z, denoised)?;
    let ratio = sigma_next / sigma;
    let step = |z: f64, middle: f64| middle + ratio * (z - middle);
    let Some(previous) = previous else {
        return Ok(Zip::from(z).and(denoised).map_collect(|&z, &d| step(z, d)));
    };
    check_shape("the previous denoised sample", z, previous.denoised)?;
    let c = extrapolation(previous.sigma, sigma, sigma_next)?;
    Ok(Zip::from(z)
        .and(denoised)
        .and(previous.denoised)
        .map_collect(|&z, &d, &before| step(z, d + c * (d - before))))
}

/// `h/(2 h₋)`, or 0 at σ' = 0.
fn extrapolation(before: f64, sigma: f64, next: f64) -> Result<f64, SamplerError> {
    if !(before.is_finite() && before > sigma) {
        return Err(SamplerError::Step {
            sigma: before,
            sigma_next: sigma,
        });
    }
    if next == 0.0 {
        return Ok(0.0);
    }
    Ok(0.5 * (sigma / next).ln() / (before / sigma).ln())
}
