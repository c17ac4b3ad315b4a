//! Steps backwards.

use super::{Diffusion, GaussianError, Variance, column, refused, same_shape};
use ndarray::{ArrayD, Axis, Slice};

/// Mean and variance of a step backwards from x_t, with the clean image that they say.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Mean of x_{t−1}.
    pub mean: ArrayD<f64>,
    /// Logarithm of its variance, element by element.
    pub log_variance: ArrayD<f64>,
    /// The clean image x̂_0.
    pub x0: ArrayD<f64>,
}

/// The prediction of a network that predicts ε, and of its variances where they are learnt; `clip` keeps x̂_0 in [−1, 1]. `[eq:learned-range]`
///
/// # Formula
/// ```text
/// x̂_0 = x_t/√ᾱ_t − √(1/ᾱ_t − 1) ε̂;   μ = c_0 x̂_0 + c_t x_t
/// ln σ² = f ln β_t + (1 − f) ln β̃_t,   f = (v + 1)/2
/// ```
/// # Shapes
/// `x_t: [B, C, …]`, `output: [B, 2C, …]` of learnt variances, else as `x_t`.
///
/// # Errors
/// Shapes or steps that do not fit.
///
/// # Source
/// Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 15.
pub fn predict(
    diffusion: &Diffusion,
    output: &ArrayD<f64>,
    x_t: &ArrayD<f64>,
    t: &[usize],
    clip: bool,
) -> Result<Prediction, GaussianError> {
    let d = diffusion;
    d.check(t, x_t)?;
    let (eps, v) = d.halves(output, x_t)?;
    let log_variance = match (v, d.variance) {
        (Some(v), Variance::LearnedRange) => {
            let (low, high) = (
                column(t, x_t, |t| d.posterior_log_variance[t]),
                column(t, x_t, |t| d.betas[t].ln()),
            );
            let f = (v + 1.0) / 2.0;
            &f * &high + &(1.0 - &f) * &low
        }
        _ => ArrayD::zeros(x_t.raw_dim()) + column(t, x_t, |t| d.fixed_log_variance(t)),
    };
    let over = column(t, x_t, |t| d.alphas_bar[t].recip().sqrt());
    let noise = column(t, x_t, |t| (d.alphas_bar[t].recip() - 1.0).sqrt());
    let mut x0 = x_t * &over - eps * &noise;
    if clip {
        x0.mapv_inplace(|x| x.clamp(-1.0, 1.0));
    }
    let mean = &x0 * &column(t, x_t, |t| d.of_x0[t]) + x_t * &column(t, x_t, |t| d.of_x_t[t]);
    Ok(Prediction {
        mean,
        log_variance,
        x0,
    })
}

/// x_{t−1} of DDPM: the mean, and beyond the first step noise of the predicted variance.
///
/// # Errors
/// Shapes or steps that do not fit.
pub fn ddpm_step(
    prediction: &Prediction,
    t: &[usize],
    noise: &ArrayD<f64>,
) -> Result<ArrayD<f64>, GaussianError> {
    same_shape("noise", noise, &prediction.mean)?;
    let drawn = column(t, noise, |t| if t == 0 { 0.0 } else { 1.0 });
    let deviation = prediction.log_variance.mapv(|l| (0.5 * l).exp());
    Ok(&prediction.mean + &(deviation * noise * &drawn))
}

/// x_{t−1} of DDIM with η, from x̂_0, for which ε is computed again.
///
/// # Formula
/// ```text
/// ε = (x_t/√ᾱ_t − x̂_0)/√(1/ᾱ_t − 1),   σ = η √((1 − ᾱ_{t−1})/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_{t−1})
/// x_{t−1} = √ᾱ_{t−1} x̂_0 + √(1 − ᾱ_{t−1} − σ²) ε + σ z       z = 0 at the first step
/// ```
/// # Errors
/// Shapes or steps that do not fit; η outside [0, 1].
///
/// # Source
/// Song et al. 2021 (arXiv:2010.02502), Eq. 12 and 16.
pub fn ddim_step(
    diffusion: &Diffusion,
    prediction: &Prediction,
    x_t: &ArrayD<f64>,
    t: &[usize],
    eta: f64,
    noise: &ArrayD<f64>,
) -> Result<ArrayD<f64>, GaussianError> {
    let d = diffusion;
    d.check(t, x_t)?;
    same_shape("noise", noise, x_t)?;
    if !(0.0..=1.0).contains(&eta) {
        return Err(refused("eta", "be in [0, 1]", eta));
    }
    let eps = d.noise_of(&prediction.x0, x_t, t);
    let sigma = |t: usize| {
        let (now, before) = (d.alphas_bar[t], d.before(t));
        eta * ((1.0 - before) / (1.0 - now)).sqrt() * (1.0 - now / before).sqrt()
    };
    let drawn = column(t, x_t, |t| if t == 0 { 0.0 } else { sigma(t) });
    let clean = column(t, x_t, |t| d.before(t).sqrt());
    let rest = column(t, x_t, |t| {
        (1.0 - d.before(t) - sigma(t).powi(2)).max(0.0).sqrt()
    });
    Ok(&prediction.x0 * &clean + eps * &rest + noise * &drawn)
}

impl Diffusion {
    /// The noise that x̂_0 leaves of x_t.
    pub(super) fn noise_of(&self, x0: &ArrayD<f64>, x_t: &ArrayD<f64>, t: &[usize]) -> ArrayD<f64> {
        let over = column(t, x_t, |t| self.alphas_bar[t].recip().sqrt());
        let noise = column(t, x_t, |t| (self.alphas_bar[t].recip() - 1.0).sqrt());
        (x_t * &over - x0) / &noise
    }
}

/// Classifier-free guidance of an output whose first half of samples has classes and whose second has none: both become
/// `u + s (c − u)` in the first `channels` channels, and stay in the others.
///
/// # Errors
/// An odd number of samples, fewer channels.
///
/// # Source
/// Ho and Salimans 2022 (arXiv:2207.12598), Eq. 6. The published transformers guide three channels, of latents with four.
pub fn guided_pair(
    output: &ArrayD<f64>,
    scale: f64,
    channels: usize,
) -> Result<ArrayD<f64>, GaussianError> {
    let (samples, there) = match output.shape() {
        [samples, there, ..] => (*samples, *there),
        _ => (0, 0),
    };
    if samples % 2 == 1 || channels > there || samples == 0 {
        let must = format!("have an even number of samples and at least {channels} channels");
        return Err(refused(
            "output",
            must,
            format!("shape {:?}", output.shape()),
        ));
    }
    let mut guided = output.clone();
    let first = Slice::from(0..channels);
    let (with, without) = output.view().split_at(Axis(0), samples / 2);
    let (c, u) = (
        with.slice_axis(Axis(1), first),
        without.slice_axis(Axis(1), first),
    );
    let both = &u + &((&c - &u) * scale);
    for half in 0..2 {
        let rows = Slice::from(half * samples / 2..(half + 1) * samples / 2);
        let mut half = guided.slice_axis_mut(Axis(0), rows);
        half.slice_axis_mut(Axis(1), first).assign(&both);
    }
    Ok(guided)
}
