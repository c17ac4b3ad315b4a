//! Bounds for the denoiser's coefficients and for the denoiser made of them.

use ndarray::{Array1, ArrayD};

use super::precondition::scalars;
use super::{Precision, Tracked};
use crate::parametrisation::{self, Coefficients, LevelError, Parametrisation};

/// Bounds for the coefficients of several samples, each of shape `[N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CoefficientsBound {
    /// Weight of x_t.
    pub skip: Tracked,
    /// Weight of the network's output.
    pub out: Tracked,
    /// Scale of the network's input.
    pub input: Tracked,
    /// The noise level as the network sees it.
    pub noise: Tracked,
}

/// Bound for [`parametrisation::coefficients`] by the printed formulas, with levels and σ_d exact; `alpha` and `sigma`
/// pairwise.
///
/// # Errors
/// As the quantity itself, for the first refused level.
pub fn coefficients(
    kind: Parametrisation,
    alpha: &[f64],
    sigma: &[f64],
    sigma_data: f64,
    p: Precision,
) -> Result<CoefficientsBound, LevelError> {
    let reference = alpha
        .iter()
        .zip(sigma)
        .map(|(&a, &s)| parametrisation::coefficients(kind, a, s, sigma_data))
        .collect::<Result<Vec<_>, _>>()?;
    let array = |values: &[f64]| Tracked::exact(Array1::from(values.to_vec()).into_dyn());
    let of = |part: fn(&Coefficients) -> f64| -> ArrayD<f64> {
        reference
            .iter()
            .map(part)
            .collect::<Array1<f64>>()
            .into_dyn()
    };
    let (a, s) = (array(alpha), array(sigma));
    let ratio = s.div(&a, p);
    let total = a.square(p).add(&s.square(p), p);
    let edm = scalars(&ratio, &array(&vec![sigma_data; alpha.len()]), p);
    let one = array(&vec![1.0; alpha.len()]);
    let (skip, out, input) = match kind {
        Parametrisation::X0 => (one.scale(0.0, p), one.clone(), one),
        Parametrisation::Eps => (a.recip(p), ratio.neg(), one),
        Parametrisation::V => (a.div(&total, p), s.div(&total, p).neg(), one),
        Parametrisation::Ve => (a.recip(p), ratio, a.recip(p)),
        Parametrisation::Edm => (edm.c_skip.div(&a, p), edm.c_out, edm.c_in.div(&a, p)),
    };
    Ok(CoefficientsBound {
        skip: skip.recentred(of(|c| c.skip)),
        out: out.recentred(of(|c| c.out)),
        input: input.recentred(of(|c| c.input)),
        noise: edm.c_noise.recentred(of(|c| c.noise)),
    })
}

/// Bound for `x̂ = skip · x_t + out · F`, all of it tracked.
///
/// # Shapes
/// `x_t`, `network: [N, …]`; `skip`, `out`: broadcasting to them.
pub fn denoised(
    x_t: &Tracked,
    network: &Tracked,
    skip: &Tracked,
    out: &Tracked,
    p: Precision,
) -> Tracked {
    x_t.mul(skip, p).add(&network.mul(out, p), p)
}
