//! The training losses, which candle differentiates, and the bound in bits.

use std::f64::consts::{FRAC_2_PI, LN_2};

use candle_core::Tensor;

use super::process::{GaussianDiffusion, of_steps};
use crate::Result;
use crate::forward::loss_dtype;

/// What training descends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaussianObjective {
    /// Mean of (ε̂ − ε)², and the bound's term of learnt variances, through which no gradient reaches ε̂.
    Noise,
    /// The same with T/1000 of the bound's term.
    RescaledNoise,
    /// T times the bound's term alone.
    Bound,
}

/// Terms of each sample, `[B]`.
#[derive(Debug, Clone)]
pub struct LossTerms {
    /// Mean of (ε̂ − ε)².
    pub mse: Option<Tensor>,
    /// The bound's term in bits per element, with its factor.
    pub vb: Option<Tensor>,
    /// What is descended.
    pub loss: Tensor,
}

/// The losses of an output for x_t.
///
/// # Formula `[eq:learned-variance-loss]`
/// ```text
/// L = mean (ε̂ − ε)² + KL(q(x_{t−1} | x_t, x_0) ‖ N(μ, σ²))/ln 2       at t = 0: −log₂ of the probability of an 8-bit image
/// ```
/// # Errors
/// Shapes or steps that do not fit.
///
/// # Source
/// Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 16.
pub fn training_losses(
    diffusion: &GaussianDiffusion,
    objective: GaussianObjective,
    output: &Tensor,
    (x0, noise): (&Tensor, &Tensor),
    t: &[usize],
) -> Result<LossTerms> {
    let x_t = diffusion.noised(x0, t, noise)?;
    let (eps, v) = diffusion.halves(output, x0)?;
    let steps = diffusion.count() as f64;
    if objective == GaussianObjective::Bound {
        let loss = (bound(diffusion, output, (x0, &x_t), t, false)?.0 * steps)?;
        return Ok(LossTerms {
            mse: None,
            vb: None,
            loss,
        });
    }
    let mse = each_mean(&(&eps - noise)?.sqr()?)?;
    let vb = match v {
        None => None,
        Some(v) => {
            // Only variances are moved by the bound.
            let held = Tensor::cat(&[&eps.detach(), &v], 1)?;
            let (bits, _) = bound(diffusion, &held, (x0, &x_t), t, false)?;
            let factor = if objective == GaussianObjective::RescaledNoise {
                steps / 1000.0
            } else {
                1.0
            };
            Some((bits * factor)?)
        }
    };
    let loss = match &vb {
        None => mse.clone(),
        Some(vb) => (&mse + vb)?,
    };
    Ok(LossTerms {
        mse: Some(mse),
        vb,
        loss,
    })
}

/// What learnt variances `v` cost at a noised batch, `[]`: the bound's term in bits, summed over the elements of a sample and meant over the batch, as the
/// denoising loss sums. ε̂ is a constant. In f32 at least.
///
/// # Errors
/// Shapes or steps that do not fit.
pub fn variance_loss(
    diffusion: &GaussianDiffusion,
    (eps, v): (&Tensor, &Tensor),
    (x0, x_t): (&Tensor, &Tensor),
    t: &[usize],
) -> Result<Tensor> {
    let dtype = loss_dtype(v.dtype());
    let wide = |x: &Tensor| x.to_dtype(dtype);
    let (x0, x_t) = (wide(x0)?, wide(x_t)?);
    let held = Tensor::cat(&[&wide(&eps.detach())?, &wide(v)?], 1)?;
    let (bits, _) = bound(diffusion, &held, (&x0, &x_t), t, false)?;
    let each = x0.elem_count() as f64 / t.len().max(1) as f64;
    Ok((bits.mean_all()? * each)?)
}

/// Bits per element of each sample, and x̂_0.
fn bound(
    diffusion: &GaussianDiffusion,
    output: &Tensor,
    (x0, x_t): (&Tensor, &Tensor),
    t: &[usize],
    clip: bool,
) -> Result<(Tensor, Tensor)> {
    let said = diffusion.predict(output, x_t, t, clip)?;
    let truth = diffusion.posterior_mean(x0, x_t, t)?;
    let exact = of_steps(t, x0, |t| diffusion.posterior_log_variance(t))?;
    let log = &said.log_variance;
    let ratio = exact.broadcast_sub(log)?;
    let square = ((truth - &said.mean)?.sqr()? * log.neg()?.exp()?)?;
    let divergence = (((ratio.exp()? - &ratio)? + square)?.affine(0.5, -0.5))?;
    let nats = if t.contains(&0) {
        let first = of_steps(t, x0, |t| if t == 0 { 1.0 } else { 0.0 })?;
        let likelihood = negative_log_likelihood(x0, &said.mean, log)?;
        let others = first.affine(-1.0, 1.0)?;
        (divergence.broadcast_mul(&others)? + likelihood.broadcast_mul(&first)?)?
    } else {
        divergence
    };
    Ok(((each_mean(&nats)? / LN_2)?, said.x0))
}

/// −ln of the probability of the bin of width 2/255 around each number, which has no end below −0.999 and above 0.999.
fn negative_log_likelihood(x: &Tensor, mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    let precision = (log_variance * -0.5)?.exp()?;
    let centred = (x - mean)?;
    let below = |edge: f64| normal_below(&((&centred + edge)? * &precision)?);
    let (upper, lower) = (below(1.0 / 255.0)?, below(-1.0 / 255.0)?);
    let within = (&upper - &lower)?;
    let above = lower.affine(-1.0, 1.0)?;
    let probability = x
        .lt(-0.999)?
        .where_cond(&upper, &x.gt(0.999)?.where_cond(&above, &within)?)?;
    Ok(probability.maximum(1e-12)?.log()?.neg()?)
}

/// The approximation of the normal law's distribution function by tanh.
fn normal_below(z: &Tensor) -> Result<Tensor> {
    let inner = (z.affine(FRAC_2_PI.sqrt(), 0.0)?
        + (z * z.sqr()?)?.affine(FRAC_2_PI.sqrt() * 0.044_715, 0.0)?)?;
    Ok(inner.tanh()?.affine(0.5, 0.5)?)
}

/// Mean over all sides but the first.
fn each_mean(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(1)?.mean(1)?)
}

/// One step of the bound, of each sample.
#[derive(Debug, Clone)]
pub struct Bits {
    /// Bits per element.
    pub vb: Tensor,
    /// Mean of (x̂_0 − x_0)².
    pub x0_mse: Tensor,
    /// Mean of (ε − ε(x̂_0))².
    pub mse: Tensor,
}

/// Bits of one step for an output at x_t; `clip` keeps x̂_0 in [−1, 1].
///
/// # Errors
/// Shapes or steps that do not fit.
pub fn bits_per_dimension(
    diffusion: &GaussianDiffusion,
    output: &Tensor,
    (x0, noise): (&Tensor, &Tensor),
    t: &[usize],
    clip: bool,
) -> Result<Bits> {
    let x_t = diffusion.noised(x0, t, noise)?;
    let (vb, said) = bound(diffusion, output, (x0, &x_t), t, clip)?;
    let left = diffusion.noise_of(&said, &x_t, t)?;
    Ok(Bits {
        vb,
        x0_mse: each_mean(&(said - x0)?.sqr()?)?,
        mse: each_mean(&(left - noise)?.sqr()?)?,
    })
}

/// Bits per element of KL(q(x_T | x_0) ‖ N(0, 1)), of each sample.
///
/// # Errors
/// candle's.
pub fn prior_bits(diffusion: &GaussianDiffusion, x0: &Tensor) -> Result<Tensor> {
    let last = diffusion.bars[diffusion.count() - 1];
    let rest = 1.0 - last;
    let nats = x0
        .sqr()?
        .affine(0.5 * last, 0.5 * (rest - 1.0 - rest.ln()))?;
    Ok((each_mean(&nats)? / LN_2)?)
}
