//! Bounds for the optimiser: AdamW, clipping, the moving average.
//!
//! The scalars (rates, decays, bias corrections) are computed on the host in `f64` and rounded once.

use crate::bound::{FUNCTION_ULPS, Precision, Tracked};
use crate::optim::{AdamW, Moments, OptimError, clip_by_global_norm};
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;

/// Bounds for the results of one [`AdamW::step`].
#[derive(Debug, Clone, PartialEq)]
pub struct AdamWBound {
    /// The new parameter.
    pub theta: Tracked,
    /// The new first moment.
    pub m: Tracked,
    /// The new second moment.
    pub v: Tracked,
}

/// [`AdamW::step`] in precision `p`, after `steps` earlier steps.
///
/// # Errors
/// Those of [`AdamW::step`].
pub fn adamw_step(
    options: &AdamW,
    theta: &Tracked,
    grad: &Tracked,
    [m, v]: [&Tracked; 2],
    steps: u32,
    p: Precision,
) -> Result<AdamWBound, OptimError> {
    let state = Moments {
        steps,
        m: m.value.clone(),
        v: v.value.clone(),
    };
    options.step(&theta.value, &grad.value, &state)?;
    let m = moving_average(m, grad, options.beta1, p);
    let v = moving_average(v, &grad.square(p), options.beta2, p);
    let step = steps.saturating_add(1);
    let m_hat = m.div(&correction(options.beta1, step, p), p);
    let denominator = root_of_corrected(&v, options.beta2, step, p).add_scalar(options.eps, p);
    let direction = m_hat.mul(&denominator.recip(p), p);

    let decay = options.lr * options.weight_decay;
    let decayed = theta
        .scale(1.0 - decay, p)
        .either(&theta.sub(&theta.scale(decay, p), p));
    let decoupled = decayed.sub(&direction.scale(options.lr, p), p);
    let together = direction.add(&theta.scale(options.weight_decay, p), p);
    let theta = decoupled.either(&theta.sub(&together.scale(options.lr, p), p));
    Ok(AdamWBound { theta, m, v })
}

/// [`ema_update`](crate::ema::ema_update) in precision `p`.
///
/// # Errors
/// Those of [`ema_update`](crate::ema::ema_update).
pub fn ema_update(
    average: &Tracked,
    theta: &Tracked,
    decay: f64,
    p: Precision,
) -> Result<Tracked, OptimError> {
    crate::ema::ema_update(&average.value, &theta.value, decay)?;
    Ok(moving_average(average, theta, decay, p))
}

/// 1 − [`ema_decay`](crate::ema::ema_decay) in precision `p`, as a power, an exponential or by `expm1`. Shape `[]`.
pub fn ema_step(
    halflife: f64,
    ramp: Option<f64>,
    images_seen: f64,
    batch: f64,
    p: Precision,
) -> Tracked {
    let number = |x: f64| Tracked::exact(ArrayD::from_elem(IxDyn(&[]), x));
    let value = 1.0 - crate::ema::ema_decay(halflife, ramp, images_seen, batch);
    let full = number(halflife);
    let (half_life, nothing_seen) = match ramp.filter(|ramp| ramp.is_finite()) {
        None => (full, false),
        Some(ramp) => {
            let ramped = number(ramp).mul(&number(images_seen), p);
            let nothing = ramped.value.sum() <= 0.0;
            let shorter = ramped.value.sum() < halflife;
            (if shorter { ramped } else { full }, nothing)
        }
    };
    if nothing_seen {
        return number(1.0);
    }
    let nats = number(batch)
        .div(&half_life, p)
        .scale(-std::f64::consts::LN_2, p);
    let power = number(1.0).sub(&nats.exp(p), p);
    power
        .either(&nats.expm1(p).neg())
        .recentred(number(value).value)
}

/// Bounds for the results of [`clip_by_global_norm`].
#[derive(Debug, Clone, PartialEq)]
pub struct ClipBound {
    /// The gradients after clipping.
    pub grads: BTreeMap<String, Tracked>,
    /// The norm before it, shape `[]`.
    pub norm: Tracked,
}

/// [`clip_by_global_norm`] in precision `p`. A norm that is certainly small enough leaves the gradients untouched.
///
/// # Errors
/// Those of [`clip_by_global_norm`].
pub fn clip_by_norm(
    grads: &BTreeMap<String, Tracked>,
    max_norm: f64,
    p: Precision,
) -> Result<ClipBound, OptimError> {
    let values = grads
        .iter()
        .map(|(name, g)| (name.clone(), g.value.clone()))
        .collect();
    clip_by_global_norm(&values, max_norm)?;
    let zero = Tracked::exact(ArrayD::zeros(IxDyn(&[1])));
    let flat: Vec<Tracked> = grads
        .values()
        .map(|g| g.reshape(&[g.value.len()]))
        .collect();
    let parts: Vec<&Tracked> = std::iter::once(&zero).chain(&flat).collect();
    let norm = Tracked::concat(&parts, 0)
        .square(p)
        .sum_all(p)
        .sqrt_of_nonnegative(p);

    let certainly_small = norm
        .value
        .iter()
        .zip(&norm.error)
        .all(|(n, e)| n + e < max_norm);
    let limit = Tracked::scalar(max_norm, p);
    let factor = limit.div(&norm.maximum(&limit), p);
    let clip = |g: &Tracked| {
        if certainly_small {
            g.clone()
        } else {
            g.mul(&factor, p)
        }
    };
    let grads = grads
        .iter()
        .map(|(name, g)| (name.clone(), clip(g)))
        .collect();
    Ok(ClipBound { grads, norm })
}

/// `decay · a + (1 − decay) · x`, or `a + (1 − decay)(x − a)`.
fn moving_average(a: &Tracked, x: &Tracked, decay: f64, p: Precision) -> Tracked {
    let weighted = a.scale(decay, p).add(&x.scale(1.0 - decay, p), p);
    weighted.either(&a.add(&x.sub(a, p).scale(1.0 - decay, p), p))
}

/// `1 − β^k`, a power in `f64` of up to k products, rounded once.
fn correction(beta: f64, step: u32, p: Precision) -> Tracked {
    let power = beta.powf(f64::from(step));
    let exact = |x: f64| ArrayD::from_elem(IxDyn(&[]), x);
    Tracked {
        value: exact(1.0 - power),
        error: exact((f64::from(step) + FUNCTION_ULPS) * Precision::F64.unit * power),
    }
    .stored_as(p)
}

/// `√(v/c)` or `√v/√c` for the correction c of the second moment, which no computation makes negative.
fn root_of_corrected(v: &Tracked, beta2: f64, step: u32, p: Precision) -> Tracked {
    let c = correction(beta2, step, p);
    let inside = v.div(&c, p).sqrt_of_nonnegative(p);
    inside.either(&v.sqrt_of_nonnegative(p).div(&c.sqrt_of_nonnegative(p), p))
}
