//! Bounds for the denoising loss.

use ndarray::{ArrayD, IxDyn};

use super::forward::per_sample;
use super::{Precision, Tracked};
use crate::denoise::{self, DenoiseError, Weight};
use crate::schedule::ScheduleKind;

/// Bounds for a denoising loss and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct DenoisingBound {
    /// The loss, shape `[]`.
    pub loss: Tracked,
    /// Its gradient with respect to the prediction, shape `[N, …]`.
    pub grad_prediction: Tracked,
}

/// Bound for [`fn@denoise::weight`] at several times, `[N]`; SNR as (α/σ)² or e^λ.
///
/// # Errors
/// [`DenoiseError::Time`].
pub fn weight(
    kind: Weight,
    schedule: ScheduleKind,
    t: &[f64],
    sigma_data: f64,
    p: Precision,
) -> Result<Tracked, DenoiseError> {
    let levels = super::schedule::levels(schedule, t, p)?;
    let ratio = levels.alpha.div(&levels.sigma, p);
    let snr = ratio.square(p).either(&levels.lambda.exp(p));
    Ok((kind.bound)(&levels, &snr, sigma_data, kind.number(), p))
}

/// Bound for [`denoise::denoising_loss`]: differences, squares, weights rounded to `p`, one sum over everything in any
/// order, and the factor 1/N.
///
/// # Errors
/// As the quantity itself.
pub fn denoising_loss(
    x_hat: &ArrayD<f64>,
    x0: &ArrayD<f64>,
    w: &[f64],
    p: Precision,
) -> Result<DenoisingBound, DenoiseError> {
    let reference = denoise::denoising_loss(x_hat, x0, w)?;
    let one_over_n = 1.0 / w.len() as f64;
    let w = per_sample(w, x0.ndim(), p);
    let residual = Tracked::exact(x_hat.clone()).sub(&Tracked::exact(x0.clone()), p);
    let loss = residual
        .square(p)
        .mul(&w, p)
        .sum_all(p)
        .scale(one_over_n, p);
    let grad = residual.mul(&w, p).scale(2.0, p).scale(one_over_n, p);
    Ok(DenoisingBound {
        loss: loss.recentred(ArrayD::from_elem(IxDyn(&[]), reference.loss)),
        grad_prediction: grad.recentred(reference.grad_prediction),
    })
}
