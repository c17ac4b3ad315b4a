//! Bounds for the schedules, by each of the usual formulas.

use std::f64::consts::FRAC_PI_2;

use ndarray::{Array1, ArrayD};

use super::{Precision, Tracked};
use crate::schedule::{Ddpm, ScheduleError, ScheduleKind};

/// Bounds for a schedule at several times, each of shape `[N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelsBound {
    /// α.
    pub alpha: Tracked,
    /// σ.
    pub sigma: Tracked,
    /// λ.
    pub lambda: Tracked,
    /// dλ/dt.
    pub lambda_grad: Tracked,
}

/// Bounds for α, σ, λ and dλ/dt at the exact times `t`; λ by its own formula or as `2 ln(α/σ)`.
///
/// # Errors
/// [`ScheduleError::OutsideDomain`].
pub fn levels(kind: ScheduleKind, t: &[f64], p: Precision) -> Result<LevelsBound, ScheduleError> {
    let schedule = kind.schedule();
    for &t in t {
        schedule.check(t)?;
    }
    let time = Tracked::exact(Array1::from(t.to_vec()).into_dyn());
    let bound = match kind {
        ScheduleKind::VpLinear => vp_linear(&time, p),
        ScheduleKind::Cosine => cosine(&time, p),
        ScheduleKind::Ddpm => ddpm(&Ddpm::default(), t, p),
        ScheduleKind::Edm => edm(&time, p),
        ScheduleKind::RectifiedFlow => rectified_flow(&time, p),
    };
    let of = |f: &dyn Fn(f64) -> f64| -> ArrayD<f64> {
        t.iter().map(|&t| f(t)).collect::<Array1<f64>>().into_dyn()
    };
    Ok(LevelsBound {
        alpha: bound.alpha.recentred(of(&|t| schedule.alpha(t))),
        sigma: bound.sigma.recentred(of(&|t| schedule.sigma(t))),
        lambda: bound.lambda.recentred(of(&|t| schedule.lambda(t))),
        lambda_grad: bound
            .lambda_grad
            .recentred(of(&|t| schedule.lambda_grad(t))),
    })
}

/// `2 ln(α/σ)`.
fn log_ratio(alpha: &Tracked, sigma: &Tracked, p: Precision) -> Tracked {
    alpha.div(sigma, p).ln(p).scale(2.0, p)
}

/// The same number for every time.
fn constant(c: f64, like: &Tracked, p: Precision) -> Tracked {
    Tracked::scalar(c, p).broadcast_to(like.shape())
}

fn vp_linear(t: &Tracked, p: Precision) -> LevelsBound {
    let (beta_min, beta_max) = (0.1, 20.0);
    let slope = constant(beta_max, t, p).sub(&constant(beta_min, t, p), p);
    let b = t
        .scale(beta_min, p)
        .add(&t.square(p).mul(&slope, p).scale(0.5, p), p);
    let beta = t.mul(&slope, p).add_scalar(beta_min, p);
    let alpha = b.scale(-0.5, p).exp(p);
    let sigma2 = b.neg().expm1(p).neg();
    let sigma = sigma2.sqrt(p);
    LevelsBound {
        lambda: b.expm1(p).ln(p).neg().either(&log_ratio(&alpha, &sigma, p)),
        lambda_grad: beta.div(&sigma2, p).neg(),
        alpha,
        sigma,
    }
}

fn cosine(t: &Tracked, p: Precision) -> LevelsBound {
    let angle = t.scale(FRAC_PI_2, p);
    let complement = constant(1.0, t, p).sub(t, p).scale(FRAC_PI_2, p);
    let alpha = complement.sin(p).either(&angle.cos(p));
    let sigma = angle.sin(p);
    LevelsBound {
        lambda: log_ratio(&alpha, &sigma, p),
        lambda_grad: alpha.mul(&sigma, p).recip(p).scale(-2.0 * FRAC_PI_2, p),
        alpha,
        sigma,
    }
}

/// `ln ᾱ_k` may be a sum of logarithms or the logarithm of a product of k + 1 rounded factors, whose relative error is
/// that of 2(k + 1) roundings.
fn ddpm(schedule: &Ddpm, t: &[f64], p: Precision) -> LevelsBound {
    let steps = schedule.steps();
    let all: Array1<f64> = (0..steps).map(|k| schedule.log_alpha_bar(k)).collect();
    let error: Array1<f64> = all
        .iter()
        .enumerate()
        .map(|(k, log)| {
            let factors = (k + 1) as f64;
            let summed = (factors + super::FUNCTION_ULPS + 4.0) * log.abs();
            (p.unit + Precision::F64.unit) * summed.max(2.0 * factors)
        })
        .collect();
    let log = Tracked {
        value: all.into_dyn(),
        error: error.into_dyn(),
    };
    let lambda = log.neg().expm1(p).ln(p).neg();
    let last = steps - 1;
    let at = |x: &Tracked, pick: &dyn Fn(usize) -> usize| {
        let parts: Vec<Tracked> = t
            .iter()
            .map(|&t| x.narrow(0, pick(schedule.step(t)), 1))
            .collect();
        match parts.as_slice() {
            [] => x.narrow(0, 0, 0),
            parts => Tracked::concat(&parts.iter().collect::<Vec<_>>(), 0),
        }
    };
    let after = at(&lambda, &|k| (k + 1).min(last));
    let before = at(&lambda, &|k| k.saturating_sub(1));
    let spread: Array1<f64> = t
        .iter()
        .map(|&t| {
            let k = schedule.step(t);
            last as f64 / ((k + 1).min(last) - k.saturating_sub(1)) as f64
        })
        .collect();
    let here = at(&log, &|k| k);
    LevelsBound {
        alpha: here.scale(0.5, p).exp(p),
        sigma: here.expm1(p).neg().sqrt(p),
        lambda: at(&lambda, &|k| k),
        lambda_grad: after
            .sub(&before, p)
            .mul(&Tracked::rounded(spread.into_dyn(), p), p),
    }
}

fn edm(t: &Tracked, p: Precision) -> LevelsBound {
    LevelsBound {
        alpha: constant(1.0, t, Precision::F64),
        sigma: t.clone(),
        lambda: t.ln(p).scale(-2.0, p).either(&t.square(p).recip(p).ln(p)),
        lambda_grad: t.recip(p).scale(-2.0, p),
    }
}

fn rectified_flow(t: &Tracked, p: Precision) -> LevelsBound {
    let alpha = constant(1.0, t, p).sub(t, p);
    let logs = alpha.ln(p).sub(&t.ln(p), p).scale(2.0, p);
    LevelsBound {
        lambda: log_ratio(&alpha, t, p).either(&logs),
        lambda_grad: alpha.mul(t, p).recip(p).scale(-2.0, p),
        alpha,
        sigma: t.clone(),
    }
}
