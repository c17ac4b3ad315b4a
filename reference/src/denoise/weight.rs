//! Weights w(λ_t) of the denoising loss, for predictions x̂ of the clean data.

use ndarray::ArrayD;

use super::DenoiseError;
use crate::bound::schedule::LevelsBound;
use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Named, Parameter, Registry};
use crate::schedule::Schedule;

/// A weight of the denoising loss, by name.
pub type Weight = Choice<dyn Kind>;

/// The entries of the registry.
const ALL: &[&dyn Kind] = &[
    &Constant,
    &Elbo,
    &Snr,
    &OnePlusSnr,
    &MinSnr,
    &Edm,
    &SoftTruncation,
];

/// A weight and its rounding bound; σ_d is the standard deviation of the data, `number` the value of [`Named::parameter`].
pub trait Kind: Named {
    /// w at time t.
    fn at(&self, schedule: &dyn Schedule, t: f64, sigma_data: f64, number: f64) -> f64;

    /// Bound for w at times with these levels and signal-to-noise ratios.
    fn bound(
        &self,
        levels: &LevelsBound,
        snr: &Tracked,
        sigma_data: f64,
        number: f64,
        p: Precision,
    ) -> Tracked;
}

impl Registry for dyn Kind {
    const WHAT: &'static str = "weight";
    fn entries() -> &'static [&'static Self] {
        ALL
    }
}

impl Weight {
    /// `constant`: 1.
    pub const CONSTANT: Self = Self::new(&Constant);
    /// `elbo`: −½ dSNR/dt, the continuous-time bound on −log p.
    pub const ELBO: Self = Self::new(&Elbo);
    /// `snr`: SNR, the unweighted loss on ε̂.
    pub const SNR: Self = Self::new(&Snr);
    /// `one-plus-snr`: 1 + SNR, the unweighted loss on v̂ of a variance-preserving schedule.
    pub const ONE_PLUS_SNR: Self = Self::new(&OnePlusSnr);
    /// `min-snr`: min(SNR, γ), γ > 0, 5 if not given.
    pub const MIN_SNR: Self = Self::new(&MinSnr);
    /// `edm`: (σ'² + σ_d²)/(σ' σ_d)² with σ' = σ/α, the unweighted loss on EDM's target.
    pub const EDM: Self = Self::new(&Edm);
    /// `soft-truncation`: the ELBO weight; what is softened is the law of t, uniform on [τ, 1] with random τ.
    pub const SOFT_TRUNCATION: Self = Self::new(&SoftTruncation);
}

/// The loss weight at time t, of data with standard deviation `sigma_data` (which only `edm` looks at).
///
/// # Formula `[eq:loss-weights]`
/// ```text
/// constant 1    elbo −½ dSNR/dt = −½ SNR dλ/dt    snr SNR    one-plus-snr 1 + SNR
/// min-snr min(SNR, γ)    edm 1/σ_d² + SNR
/// ```
/// (EDM's weight at σ' = σ/α: σ'⁻² is the SNR.)
///
/// # Errors
/// [`DenoiseError::Time`], [`DenoiseError::Parameter`], and [`DenoiseError::InfiniteWeight`] where the SNR or its
/// slope is infinite and the weight with it.
///
/// # Source
/// Kingma & Gao 2023 (arXiv:2303.00848); Hang et al. 2023 (arXiv:2303.09556); Kim et al. 2022 (arXiv:2106.05527).
pub fn weight(
    kind: Weight,
    schedule: &dyn Schedule,
    t: f64,
    sigma_data: f64,
) -> Result<f64, DenoiseError> {
    schedule.check(t)?;
    if let Some((parameter, got)) = kind.refused() {
        let name = parameter.name;
        return Err(DenoiseError::Parameter { name, got });
    }
    if !(sigma_data.is_finite() && sigma_data > 0.0) {
        return Err(DenoiseError::Parameter {
            name: "sigma_data",
            got: sigma_data,
        });
    }
    let w = kind.at(schedule, t, sigma_data, kind.number());
    if w.is_finite() {
        Ok(w)
    } else {
        Err(DenoiseError::InfiniteWeight { weight: kind, t })
    }
}

/// `−½ SNR dλ/dt`; 0 at the end without signal, where dSNR/dt ∝ α α' vanishes while dλ/dt does not exist.
fn elbo(schedule: &dyn Schedule, t: f64) -> f64 {
    let snr = schedule.snr(t);
    if snr == 0.0 {
        0.0
    } else {
        -0.5 * snr * schedule.lambda_grad(t)
    }
}

/// `−½ SNR dλ/dt`, or by the closed form of dSNR/dt where the schedule has one: a cube and two products more.
fn elbo_bound(levels: &LevelsBound, snr: &Tracked, p: Precision) -> Tracked {
    let product = snr.mul(&levels.lambda_grad, p).scale(-0.5, p);
    let Some(factor) = levels.snr_slope else {
        return product;
    };
    let cube = levels.sigma.square(p).mul(&levels.sigma, p).recip(p);
    let closed = levels.alpha.mul(&cube, p).scale(0.5 * factor, p);
    product.widened(&closed.error)
}

struct Constant;

impl Named for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
}

impl Kind for Constant {
    fn at(&self, _: &dyn Schedule, _: f64, _: f64, _: f64) -> f64 {
        1.0
    }
    fn bound(&self, _: &LevelsBound, snr: &Tracked, _: f64, _: f64, _: Precision) -> Tracked {
        Tracked::exact(ArrayD::ones(snr.value.raw_dim()))
    }
}

struct Elbo;

impl Named for Elbo {
    fn name(&self) -> &'static str {
        "elbo"
    }
}

impl Kind for Elbo {
    fn at(&self, schedule: &dyn Schedule, t: f64, _: f64, _: f64) -> f64 {
        elbo(schedule, t)
    }
    fn bound(&self, levels: &LevelsBound, snr: &Tracked, _: f64, _: f64, p: Precision) -> Tracked {
        elbo_bound(levels, snr, p)
    }
}

struct Snr;

impl Named for Snr {
    fn name(&self) -> &'static str {
        "snr"
    }
}

impl Kind for Snr {
    fn at(&self, schedule: &dyn Schedule, t: f64, _: f64, _: f64) -> f64 {
        schedule.snr(t)
    }
    fn bound(&self, _: &LevelsBound, snr: &Tracked, _: f64, _: f64, _: Precision) -> Tracked {
        snr.clone()
    }
}

struct OnePlusSnr;

impl Named for OnePlusSnr {
    fn name(&self) -> &'static str {
        "one-plus-snr"
    }
}

impl Kind for OnePlusSnr {
    fn at(&self, schedule: &dyn Schedule, t: f64, _: f64, _: f64) -> f64 {
        1.0 + schedule.snr(t)
    }
    fn bound(&self, _: &LevelsBound, snr: &Tracked, _: f64, _: f64, p: Precision) -> Tracked {
        snr.add_scalar(1.0, p)
    }
}

struct MinSnr;

impl Named for MinSnr {
    fn name(&self) -> &'static str {
        "min-snr"
    }

    fn parameter(&self) -> Option<Parameter> {
        Some(Parameter {
            name: "gamma",
            default: 5.0,
        })
    }
}

impl Kind for MinSnr {
    fn at(&self, schedule: &dyn Schedule, t: f64, _: f64, gamma: f64) -> f64 {
        schedule.snr(t).min(gamma)
    }
    fn bound(&self, _: &LevelsBound, snr: &Tracked, _: f64, gamma: f64, _: Precision) -> Tracked {
        let gamma = Tracked::exact(ArrayD::from_elem(snr.value.raw_dim(), -gamma));
        snr.neg().maximum(&gamma).neg()
    }
}

struct Edm;

impl Named for Edm {
    fn name(&self) -> &'static str {
        "edm"
    }
}

impl Kind for Edm {
    fn at(&self, schedule: &dyn Schedule, t: f64, sigma_data: f64, _: f64) -> f64 {
        sigma_data.powi(-2) + schedule.snr(t)
    }
    fn bound(
        &self,
        _: &LevelsBound,
        snr: &Tracked,
        sigma_data: f64,
        _: f64,
        p: Precision,
    ) -> Tracked {
        let data = Tracked::exact(ArrayD::from_elem(snr.value.raw_dim(), sigma_data));
        snr.add(&data.square(p).recip(p), p)
    }
}

struct SoftTruncation;

impl Named for SoftTruncation {
    fn name(&self) -> &'static str {
        "soft-truncation"
    }
}

impl Kind for SoftTruncation {
    fn at(&self, schedule: &dyn Schedule, t: f64, _: f64, _: f64) -> f64 {
        elbo(schedule, t)
    }
    fn bound(&self, levels: &LevelsBound, snr: &Tracked, _: f64, _: f64, p: Precision) -> Tracked {
        elbo_bound(levels, snr, p)
    }
}
