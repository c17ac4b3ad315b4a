//! Bounds for single sampling steps. Sample, prediction and noise may carry errors of their own.

use super::{Precision, Tracked};
use crate::forward::{ForwardError, Posterior, posterior};
use crate::sampler::{SamplerError, edm_sigmas};
use crate::schedule::Schedule;
use ndarray::Array1;

/// Bound for [`edm_sigmas`] by the printed formula, shape `[steps + 1]`.
///
/// A power `x^y` is `exp(y ln x)` here: its result is worth as many digits as `y ln x` has.
///
/// # Errors
/// As the quantity itself.
pub fn sigmas(
    steps: usize,
    rho: f64,
    sigma_min: f64,
    sigma_max: f64,
    p: Precision,
) -> Result<Tracked, SamplerError> {
    let reference = Array1::from(edm_sigmas(steps, rho, sigma_min, sigma_max)?).into_dyn();
    let root = |x: f64| {
        Tracked::exact(ndarray::arr1(&[x]).into_dyn())
            .ln(p)
            .scale(1.0 / rho, p)
            .exp(p)
    };
    let (from, to) = (root(sigma_max), root(sigma_min));
    let ramp: Array1<f64> = (0..steps)
        .map(|i| i as f64 / steps.saturating_sub(1).max(1) as f64)
        .collect();
    let ramp = Tracked::rounded(ramp.into_dyn(), p);
    let mixed = from.add(&to.sub(&from, p).mul(&ramp, p), p);
    let levels = mixed.ln(p).scale(rho, p).exp(p);
    let zero = Tracked::exact(ndarray::arr1(&[0.0]).into_dyn());
    Ok(Tracked::concat(&[&levels, &zero], 0).recentred(reference))
}

/// Bound for the Euler step in either form, `D + (σ'/σ)(z − D)` or `z + (σ' − σ)(z − D)/σ`.
pub fn euler_step(
    z: &Tracked,
    denoised: &Tracked,
    sigma: f64,
    sigma_next: f64,
    p: Precision,
) -> Tracked {
    let (from, to) = (Tracked::scalar(sigma, p), Tracked::scalar(sigma_next, p));
    let residual = z.sub(denoised, p);
    let interpolated = denoised.add(&residual.mul(&to.div(&from, p), p), p);
    let stepped = z.add(&residual.div(&from, p).mul(&to.sub(&from, p), p), p);
    interpolated.either(&stepped)
}

/// Bound for [`heun_correction`](crate::sampler::heun_correction).
pub fn heun_correction(
    z: &Tracked,
    denoised: &Tracked,
    z_euler: &Tracked,
    denoised_euler: &Tracked,
    [sigma, sigma_next]: [f64; 2],
    p: Precision,
) -> Tracked {
    let (from, to) = (Tracked::scalar(sigma, p), Tracked::scalar(sigma_next, p));
    let slope = z.sub(denoised, p).div(&from, p);
    let slope_euler = z_euler.sub(denoised_euler, p).div(&to, p);
    let mean = slope.add(&slope_euler, p).scale(0.5, p);
    z.add(&mean.mul(&to.sub(&from, p), p), p)
}

/// Bound for [`dpmpp_2m_step`](crate::sampler::dpmpp_2m_step) with the step before as (D₋, σ₋), in either form.
///
/// The three numbers that depend on the levels alone, σ'/σ, 1 − σ'/σ and h/(2 h₋), are computed in f64, as every
/// sampler does on the host, and rounded to `p` where they meet the tensors.
pub fn dpmpp_2m_step(
    z: &Tracked,
    denoised: &Tracked,
    previous: Option<(&Tracked, f64)>,
    [sigma, sigma_next]: [f64; 2],
    p: Precision,
) -> Tracked {
    let host = if p.unit < Precision::F64.unit {
        p
    } else {
        Precision::F64
    };
    let level = |x: f64| Tracked::exact(ndarray::arr0(x).into_dyn());
    let ratio = level(sigma_next).div(&level(sigma), host);
    let rest = ratio.neg().add_scalar(1.0, host).stored_as(p);
    let middle = match previous {
        Some((before, sigma_before)) if sigma_next > 0.0 => {
            let log_ratio = |from: f64, to: f64| level(from).div(&level(to), host).ln(host);
            let c = log_ratio(sigma, sigma_next)
                .div(&log_ratio(sigma_before, sigma), host)
                .scale(0.5, host);
            let by_difference = denoised.sub(before, p).mul(&c.stored_as(p), p);
            let weight = c.add_scalar(1.0, host).stored_as(p);
            let by_weights = denoised.mul(&weight, p);
            by_weights
                .sub(&before.mul(&c.stored_as(p), p), p)
                .either(&denoised.add(&by_difference, p))
        }
        _ => denoised.clone(),
    };
    let ratio = ratio.stored_as(p);
    let interpolated = middle.add(&z.sub(&middle, p).mul(&ratio, p), p);
    let weighted = z.mul(&ratio, p).add(&middle.mul(&rest, p), p);
    weighted.either(&interpolated)
}

/// Bound for [`ddim_step`](crate::sampler::ddim_step), the levels rounded to `p`; through ε̂ or with σ_s/σ_t first.
pub fn ddim_step(
    x_t: &Tracked,
    x0_hat: &Tracked,
    schedule: &dyn Schedule,
    s: f64,
    t: f64,
    p: Precision,
) -> Tracked {
    let level = |x| Tracked::scalar(x, p);
    let (sigma_s, sigma_t) = (level(schedule.sigma(s)), level(schedule.sigma(t)));
    let noise = x_t.sub(&x0_hat.mul(&level(schedule.alpha(t)), p), p);
    let signal = x0_hat.mul(&level(schedule.alpha(s)), p);
    let ratio_first = signal.add(&noise.mul(&sigma_s.div(&sigma_t, p), p), p);
    let eps_first = signal.add(&noise.div(&sigma_t, p).mul(&sigma_s, p), p);
    ratio_first.either(&eps_first)
}

/// Bound for [`ddpm_step`](crate::sampler::ddpm_step), the posterior's coefficients rounded to `p`.
///
/// # Errors
/// As the quantity itself.
pub fn ddpm_step(
    x_t: &Tracked,
    x0_hat: &Tracked,
    noise: &Tracked,
    schedule: &dyn Schedule,
    [s, t]: [f64; 2],
    p: Precision,
) -> Result<Tracked, ForwardError> {
    let Posterior {
        coef_xt,
        coef_x0,
        var,
    } = posterior(schedule, s, t)?;
    let level = |x| Tracked::scalar(x, p);
    let mean = x_t
        .mul(&level(coef_xt), p)
        .add(&x0_hat.mul(&level(coef_x0), p), p);
    Ok(mean.add(&noise.mul(&level(var).sqrt_of_nonnegative(p), p), p))
}

/// Bound for [`churn_step`](crate::sampler::churn_step)'s sample; `√(σ̂² − σ²)` may be formed by subtraction.
pub fn churn_step(
    z: &Tracked,
    noise: &Tracked,
    sigma: f64,
    gamma: f64,
    s_noise: f64,
    p: Precision,
) -> Tracked {
    let level = |x| Tracked::scalar(x, p);
    let raised = level(sigma).mul(&level(gamma).add_scalar(1.0, p), p);
    let subtracted = raised
        .square(p)
        .sub(&level(sigma).square(p), p)
        .sqrt_of_nonnegative(p);
    let factored = level(gamma)
        .mul(&level(gamma).add_scalar(2.0, p), p)
        .sqrt_of_nonnegative(p)
        .mul(&level(sigma), p);
    let scale = factored.either(&subtracted).mul(&level(s_noise), p);
    z.add(&noise.mul(&scale, p), p)
}

/// Bound for [`guide`](crate::sampler::guide).
pub fn guide(
    unconditional: &Tracked,
    conditional: &Tracked,
    guidance: f64,
    p: Precision,
) -> Tracked {
    let g = Tracked::scalar(guidance, p);
    unconditional.add(&conditional.sub(unconditional, p).mul(&g, p), p)
}
