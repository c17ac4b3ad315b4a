//! Bounds for EDM's preconditioning scalars.

use ndarray::{Array1, ArrayD};

use super::{Precision, Tracked};
use crate::precondition::{self, Sigma};

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
