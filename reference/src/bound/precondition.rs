//! Bounds for EDM's preconditioning scalars.

use ndarray::{Array1, ArrayD};

use super::{Precision, Tracked};
use crate::parametrisation::NoiseCondition;
use crate::precondition::{self, Sigma, SigmaError};
use crate::sampler::Family;
use crate::schedule::{Ddpm, ScheduleKind};

/// Bounds for the preconditioning scalars of several noise levels, each of shape `[N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PreconditionBound {
    /// c_skip.
    pub c_skip: Tracked,
    /// c_out.
    pub c_out: Tracked,
    /// c_in.
    pub c_in: Tracked,
    /// c_noise.
    pub c_noise: Tracked,
    /// The loss weight.
    pub loss_weight: Tracked,
}

/// Bound for the functions of [`mod@precondition`] by the printed formulas, with σ and σ_d exact.
pub fn precondition(sigma: &[Sigma], sigma_data: Sigma, p: Precision) -> PreconditionBound {
    let plain: Array1<f64> = sigma.iter().map(|s| s.get()).collect();
    let data = Tracked::exact(Array1::from_elem(plain.len(), sigma_data.get()).into_dyn());
    scalars(&Tracked::exact(plain.into_dyn()), &data, p).recentred(sigma, sigma_data)
}

/// The printed formulas on tracked σ and σ_d.
pub(crate) fn scalars(s: &Tracked, d: &Tracked, p: Precision) -> PreconditionBound {
    let total = s.square(p).add(&d.square(p), p);
    let root = total.sqrt(p);
    let product = s.mul(d, p);
    PreconditionBound {
        c_skip: d.square(p).div(&total, p),
        c_out: product.div(&root, p),
        c_in: root.recip(p),
        c_noise: s.ln(p).scale(0.25, p),
        loss_weight: total.div(&product.square(p), p),
    }
}

/// Bound for [`NoiseCondition::at`] by the printed formulas at tracked levels σ' `[N]`.
///
/// The number of a step is exact, but where two steps are as near as λ and their own λ_k are known it may be either.
///
/// # Errors
/// A level that is not finite and positive.
pub fn noise_condition(
    kind: NoiseCondition,
    ratio: &Tracked,
    p: Precision,
) -> Result<Tracked, SigmaError> {
    let levels = ratio.value.iter().map(|&s| Sigma::new(s));
    let exact = levels.map(|level| Ok(kind.at(level?)));
    let exact = exact
        .collect::<Result<Array1<f64>, SigmaError>>()?
        .into_dyn();
    let lambda = ratio.ln(p).scale(-2.0, p);
    let bound = match kind {
        NoiseCondition::LogSigma => ratio.ln(p).scale(0.25, p),
        NoiseCondition::VpTime => {
            let slope = Tracked::scalar(20.0, p).sub(&Tracked::scalar(0.1, p), p);
            let b = ratio.square(p).ln1p(p).either(&lambda.neg().exp(p).ln1p(p));
            let slope = slope.broadcast_to(b.shape());
            let root = b
                .mul(&slope, p)
                .scale(2.0, p)
                .add_scalar(0.1 * 0.1, p)
                .sqrt(p);
            b.scale(2.0, p)
                .div(&root.add_scalar(0.1, p), p)
                .scale(999.0, p)
        }
        NoiseCondition::DdpmStep => {
            let error = exact.iter().zip(lambda.value.iter().zip(&lambda.error));
            let error = error.map(|(&step, (&at, &own))| steps_in_doubt(step, at, own, p));
            Tracked {
                error: error.collect::<Array1<f64>>().into_dyn(),
                value: exact.clone(),
            }
        }
        NoiseCondition::LogHalfSigma => ratio.scale(0.5, p).ln(p),
        NoiseCondition::IddpmStep => {
            let levels = super::sampler::iddpm(&Family::default(), p);
            let error = exact.iter().zip(ratio.value.iter().zip(&ratio.error));
            let error = error.map(|(&step, (&at, &own))| level_in_doubt(&levels, step, at, own));
            Tracked {
                error: error.collect::<Array1<f64>>().into_dyn(),
                value: exact.clone(),
            }
        }
    };
    Ok(bound.recentred(exact))
}

/// 1 where another level of improved DDPM is as near to σ' as can be told, 0 elsewhere.
fn level_in_doubt(levels: &[Tracked], step: f64, at: f64, error: f64) -> f64 {
    let steps = levels.len() - 1;
    let number = |x: &Tracked| [&x.value, &x.error].map(|x| x.iter().sum::<f64>());
    let of = |j: usize| {
        let [value, doubt] = number(&levels[j]);
        ((value - at).abs(), doubt)
    };
    let own = (0..steps).find(|j| ((steps - 1 - j) as f64 - step).abs() < 0.5);
    let Some(own) = own else { return 1.0 };
    let (nearest, doubt) = of(own);
    let doubtful = [own.checked_sub(1), Some(own + 1).filter(|j| *j < steps)]
        .into_iter()
        .flatten()
        .any(|j| of(j).0 - nearest <= doubt + of(j).1 + 2.0 * error);
    f64::from(u8::from(doubtful))
}

/// 1 where a neighbour of `step` is as near to λ as can be told, 0 elsewhere.
fn steps_in_doubt(step: f64, lambda: f64, error: f64, p: Precision) -> f64 {
    let last = (Ddpm::default().steps() - 1) as f64;
    let at = |step: f64| super::schedule::levels(ScheduleKind::DDPM, &[step / last], p);
    let apart = |level: &Tracked| (level.value[[0]] - lambda).abs();
    let neighbours = [step - 1.0, step + 1.0].into_iter();
    let doubtful = neighbours.filter(|k| (0.0..=last).contains(k)).any(|k| {
        let (Ok(own), Ok(other)) = (at(step), at(k)) else {
            return true;
        };
        let doubt = own.lambda.error[[0]] + other.lambda.error[[0]] + 2.0 * error;
        apart(&other.lambda) - apart(&own.lambda) <= doubt
    });
    f64::from(u8::from(doubtful))
}

impl PreconditionBound {
    fn recentred(self, sigma: &[Sigma], sigma_data: Sigma) -> Self {
        let of = |f: fn(Sigma, Sigma) -> f64| -> ArrayD<f64> {
            sigma
                .iter()
                .map(|&s| f(s, sigma_data))
                .collect::<Array1<f64>>()
                .into_dyn()
        };
        Self {
            c_skip: self.c_skip.recentred(of(precondition::c_skip)),
            c_out: self.c_out.recentred(of(precondition::c_out)),
            c_in: self.c_in.recentred(of(precondition::c_in)),
            c_noise: self.c_noise.recentred(of(|s, _| precondition::c_noise(s))),
            loss_weight: self.loss_weight.recentred(of(precondition::loss_weight)),
        }
    }
}
