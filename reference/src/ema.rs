//! Exponential moving average of the parameters.

use crate::optim::{OptimError, same_shape};
use ndarray::ArrayD;

/// One update of the average, `e' = decay · e + (1 − decay) · θ`.
///
/// # Range
/// `decay` in [0, 1]: 0 copies θ, 1 keeps e.
///
/// # Errors
/// [`OptimError::Shape`] if the average is not shaped like the parameter.
pub fn ema_update(
    average: &ArrayD<f64>,
    theta: &ArrayD<f64>,
    decay: f64,
) -> Result<ArrayD<f64>, OptimError> {
    same_shape("average", theta, average)?;
    Ok(average * decay + theta * (1.0 - decay))
}

/// Decay of one update for a half-life counted in images, with ramp-up.
///
/// # Formula
/// ```text
/// decay = ½^{batch/h},   h = min(halflife, ramp · images_seen)
/// ```
/// Without a `ramp`, `h = halflife`. While h = 0 (nothing seen yet) the decay is 0: the average is the parameters.
///
/// # Range
/// `halflife > 0`, `ramp ≥ 0`, `batch > 0` → [0, 1).
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.2: the half-life is limited to a fraction of the training so far.
///
/// # Example
/// ```
/// # use sadm_reference::ema::ema_decay;
/// // Half-life 512 limited to 0.05 · 4000 = 200 images: two hundred images are one half.
/// assert_eq!(ema_decay(512.0, Some(0.05), 4000.0, 200.0), 0.5);
/// assert_eq!(ema_decay(512.0, None, 4000.0, 1024.0), 0.25);
/// ```
pub fn ema_decay(halflife: f64, ramp: Option<f64>, images_seen: f64, batch: f64) -> f64 {
    let h = ramp.map_or(halflife, |ramp| halflife.min(ramp * images_seen));
    if h > 0.0 {
        0.5_f64.powf(batch / h)
    } else {
        0.0
    }
}
