//! The forward process: from clean data to noise, one step of it, and one step back.

pub mod schedule;

use ndarray::{ArrayD, ArrayRefD, Axis, Zip};

use schedule::{Schedule, ScheduleError};

/// Why a forward-process computation was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// Data and noise differ in shape.
    #[error("noise must have the shape of the data, {data:?}, got {noise:?}")]
    Shape {
        /// Shape of the data.
        data: Vec<usize>,
        /// The refused shape.
        noise: Vec<usize>,
    },
    /// Not one level per sample.
    #[error("{name} must hold one value per sample, {samples}, got {got}")]
    Levels {
        /// Which levels: alpha or sigma.
        name: &'static str,
        /// Number of samples.
        samples: usize,
        /// The refused number.
        got: usize,
    },
    /// A batch needs a first axis.
    #[error("a batch must have at least one axis, got a scalar")]
    NoBatchAxis,
    /// A time or a pair of times was refused.
    #[error(transparent)]
    Time(#[from] ScheduleError),
}

/// Noised data `x_t = α_t x_0 + σ_t ε`. `[eq:diffuse]`
///
/// # Shapes
/// `x0`, `eps` and the result: any, the same.
///
/// # Errors
/// [`ForwardError::Shape`].
///
/// # Source
/// SADM (arXiv:2402.17563), Eq. 1.
pub fn diffuse(
    x0: &ArrayRefD<f64>,
    eps: &ArrayRefD<f64>,
    alpha: f64,
    sigma: f64,
) -> Result<ArrayD<f64>, ForwardError> {
    check_shape(x0, eps)?;
    Ok(Zip::from(x0)
        .and(eps)
        .map_collect(|&x, &e| alpha * x + sigma * e))
}

/// Noised data `x_t^i = α_i x_0^i + σ_i ε^i` where every sample has its own level. `[eq:diffuse]`
///
/// # Shapes
/// `x0`, `eps: [N, …]`, `alpha`, `sigma: [N]` → `[N, …]`.
///
/// # Errors
/// [`ForwardError::Shape`], [`ForwardError::Levels`], [`ForwardError::NoBatchAxis`].
pub fn diffuse_batch(
    x0: &ArrayRefD<f64>,
    eps: &ArrayRefD<f64>,
    alpha: &[f64],
    sigma: &[f64],
) -> Result<ArrayD<f64>, ForwardError> {
    check_shape(x0, eps)?;
    let &samples = x0.shape().first().ok_or(ForwardError::NoBatchAxis)?;
    for (name, levels) in [("alpha", alpha), ("sigma", sigma)] {
        if levels.len() != samples {
            return Err(ForwardError::Levels {
                name,
                samples,
                got: levels.len(),
            });
        }
    }
    let mut x_t = x0.to_owned();
    for (i, mut row) in x_t.axis_iter_mut(Axis(0)).enumerate() {
        row.zip_mut_with(&eps.index_axis(Axis(0), i), |x, &e| {
            *x = alpha[i] * *x + sigma[i] * e;
        });
    }
    Ok(x_t)
}

fn check_shape(x0: &ArrayRefD<f64>, eps: &ArrayRefD<f64>) -> Result<(), ForwardError> {
    if x0.shape() == eps.shape() {
        return Ok(());
    }
    Err(ForwardError::Shape {
        data: x0.shape().to_vec(),
        noise: eps.shape().to_vec(),
    })
}

/// One step of the forward process, `q(x_t | x_s) = N(α_{t|s} x_s, σ²_{t|s} I)`. `[eq:transition]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// `α_{t|s} = α_t/α_s`.
    pub alpha_ts: f64,
    /// `σ²_{t|s} = −expm1(λ_t − λ_s) σ_t² ≥ 0`.
    pub sigma2_ts: f64,
}

/// The forward process from s to t ≥ s; the identity at s = t.
///
/// # Errors
/// [`ForwardError::Time`] for a time outside the domain or s > t.
///
/// # Source
/// Kingma et al. 2021 (arXiv:2107.00630), Eq. 3.
pub fn transition(schedule: &dyn Schedule, s: f64, t: f64) -> Result<Transition, ForwardError> {
    schedule.check_pair(s, t)?;
    // At s = t the quotient below would be 0/0 where α = 0.
    let alpha_ts = if s < t {
        schedule.alpha(t) / schedule.alpha(s)
    } else {
        1.0
    };
    Ok(Transition {
        alpha_ts,
        sigma2_ts: schedule.sigma2_transition(s, t),
    })
}

/// One exact step back, `q(x_s | x_t, x_0) = N(c_t x_t + c_0 x_0, v I)`. `[eq:posterior]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// `c_t = α_{t|s} σ_s²/σ_t²`.
    pub coef_xt: f64,
    /// `c_0 = α_s σ²_{t|s}/σ_t²`.
    pub coef_x0: f64,
    /// `v = σ²_{t|s} σ_s²/σ_t²`.
    pub var: f64,
}

/// The law of x_s between x_t and x_0, for s ≤ t.
///
/// # Limits
/// s = t: x_s is x_t, also at σ_t = 0. s → 0: x_s is x_0, where the schedule starts at σ = 0.
///
/// # Errors
/// [`ForwardError::Time`] for a time outside the domain or s > t.
///
/// # Source
/// SADM (arXiv:2402.17563), Eq. 2; Kingma et al. 2021 (arXiv:2107.00630), Eq. 25.
pub fn posterior(schedule: &dyn Schedule, s: f64, t: f64) -> Result<Posterior, ForwardError> {
    let Transition {
        alpha_ts,
        sigma2_ts,
    } = transition(schedule, s, t)?;
    if s >= t {
        return Ok(Posterior {
            coef_xt: 1.0,
            coef_x0: 0.0,
            var: 0.0,
        });
    }
    let ratio = schedule.sigma(s) / schedule.sigma(t);
    Ok(Posterior {
        coef_xt: alpha_ts * ratio * ratio,
        coef_x0: schedule.alpha(s) * (sigma2_ts / schedule.sigma(t).powi(2)),
        var: sigma2_ts * ratio * ratio,
    })
}
