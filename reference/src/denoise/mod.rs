//! The denoising objective and its weights.

pub mod weight;

use ndarray::{ArrayD, ArrayRefD, Axis};

use crate::check::first_non_finite;
use crate::schedule::{Schedule, ScheduleError};

pub use weight::{Weight, weight};

/// Why a denoising computation was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DenoiseError {
    /// Prediction and clean data differ in shape.
    #[error("prediction must have the shape of the clean data, {data:?}, got {prediction:?}")]
    Shape {
        /// Shape of the clean data.
        data: Vec<usize>,
        /// The refused shape.
        prediction: Vec<usize>,
    },
    /// Nothing to average over.
    #[error("a batch must hold at least one sample, got shape {got:?}")]
    Empty {
        /// The refused shape.
        got: Vec<usize>,
    },
    /// Not one weight per sample.
    #[error("weights must hold one value per sample, {samples}, got {got}")]
    Weights {
        /// Number of samples.
        samples: usize,
        /// The refused number.
        got: usize,
    },
    /// An input element is infinite or NaN.
    #[error("{name} must be finite, got {got:?} at {at:?}")]
    NotFinite {
        /// Which input.
        name: &'static str,
        /// Where.
        at: Vec<usize>,
        /// The refused value.
        got: f64,
    },
    /// A parameter of a weight outside its range.
    #[error("{name} of the loss weight must {must}, got {got:?}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// Its range.
        must: &'static str,
        /// The refused value.
        got: f64,
    },
    /// The weight is infinite at this time.
    #[error("loss weight {weight} must be finite, but is not at t = {t:?}")]
    InfiniteWeight {
        /// The weight's name.
        weight: Weight,
        /// The time.
        t: f64,
    },
    /// A time was refused.
    #[error(transparent)]
    Time(#[from] ScheduleError),
}

/// Weight of one step s < t of the discrete bound, `½ (SNR_s − SNR_t)`. `[eq:discrete-elbo]`
///
/// Computed as `½ SNR_s σ²_{t|s}/σ_t²`, which does not cancel as s → t.
///
/// # Errors
/// [`DenoiseError::Time`]; [`DenoiseError::InfiniteWeight`] at σ_s = 0.
///
/// # Source
/// Kingma et al. 2021 (arXiv:2107.00630), Eq. 14.
pub fn discrete_elbo_weight(schedule: &dyn Schedule, s: f64, t: f64) -> Result<f64, DenoiseError> {
    schedule.check_pair(s, t)?;
    let drop = schedule.sigma2_transition(s, t) / schedule.sigma(t).powi(2);
    let w = 0.5 * schedule.snr(s) * drop;
    if w.is_finite() {
        Ok(w)
    } else {
        Err(DenoiseError::InfiniteWeight {
            weight: Weight::ELBO,
            t: s,
        })
    }
}

/// A denoising loss and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct DenoisingLoss {
    /// `L = Σ_i w_i ‖x̂_i − x0_i‖² / N`.
    pub loss: f64,
    /// `∂L/∂x̂_i = 2 w_i (x̂_i − x0_i)/N`, shape `[N, …]`.
    pub grad_prediction: ArrayD<f64>,
}

/// Weighted mean over the batch of the squared distance to the clean data.
///
/// # Formula `[eq:denoising-loss]`
/// ```text
/// L = Σ_i w_i ‖x̂_i − x0_i‖² / N        ∂L/∂x̂_i = 2 w_i (x̂_i − x0_i)/N
/// ```
/// The norm sums over all elements of a sample: no mean over pixels.
///
/// # Shapes
/// `x_hat`, `x0: [N, …]`, `w: [N]`.
///
/// # Errors
/// [`DenoiseError`]: shapes, an empty batch, an element that is not finite.
///
/// # Source
/// SADM (arXiv:2402.17563), Eq. 3-4.
pub fn denoising_loss(
    x_hat: &ArrayRefD<f64>,
    x0: &ArrayRefD<f64>,
    w: &[f64],
) -> Result<DenoisingLoss, DenoiseError> {
    check_inputs(x_hat, x0, w)?;
    let n = w.len() as f64;
    let mut loss = 0.0;
    let mut grad_prediction = x_hat - x0;
    for (mut residual, &w_i) in grad_prediction.axis_iter_mut(Axis(0)).zip(w) {
        loss += w_i * residual.fold(0.0, |sum, &e| sum + e * e) / n;
        residual.mapv_inplace(|e| 2.0 * w_i * e / n);
    }
    Ok(DenoisingLoss {
        loss,
        grad_prediction,
    })
}

fn check_inputs(
    x_hat: &ArrayRefD<f64>,
    x0: &ArrayRefD<f64>,
    w: &[f64],
) -> Result<(), DenoiseError> {
    if x_hat.shape() != x0.shape() {
        return Err(DenoiseError::Shape {
            data: x0.shape().to_vec(),
            prediction: x_hat.shape().to_vec(),
        });
    }
    let samples = x0.shape().first().copied().unwrap_or(0);
    if samples == 0 {
        return Err(DenoiseError::Empty {
            got: x0.shape().to_vec(),
        });
    }
    if w.len() != samples {
        return Err(DenoiseError::Weights {
            samples,
            got: w.len(),
        });
    }
    if let Some(i) = w.iter().position(|v| !v.is_finite()) {
        return Err(DenoiseError::NotFinite {
            name: "weight",
            at: vec![i],
            got: w[i],
        });
    }
    for (name, x) in [("prediction", x_hat), ("x0", x0)] {
        if let Some(at) = first_non_finite(x) {
            let got = x[at.as_slice()];
            return Err(DenoiseError::NotFinite { name, at, got });
        }
    }
    Ok(())
}
