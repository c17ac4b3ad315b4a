//! Weights w(λ_t) of the denoising loss, for predictions x̂ of the clean data.

use ndarray::ArrayD;

use super::DenoiseError;
use crate::bound::schedule::LevelsBound;
use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Entry, Slot};
use crate::schedule::Schedule;

/// A weight of the denoising loss, by name.
pub type Weight = Choice<Kind>;

/// A weight and its rounding bound; σ_d is the standard deviation of the data, the last number the parameter's value.
pub struct Kind {
    /// w at time t of a schedule, with σ_d.
    pub at: fn(&dyn Schedule, f64, f64, f64) -> f64,
    /// Bound for w at times with these levels and signal-to-noise ratios, with σ_d.
    pub bound: fn(&LevelsBound, &Tracked, f64, f64, Precision) -> Tracked,
}

impl Slot for Kind {
    const NAME: &'static str = "weight";
    const ALL: &'static [Choice<Self>] = &[
        Weight::CONSTANT,
        Weight::ELBO,
        Weight::SNR,
        Weight::ONE_PLUS_SNR,
        Weight::MIN_SNR,
        Weight::EDM,
        Weight::SOFT_TRUNCATION,
    ];
}

const CONSTANT: Kind = Kind {
    at: |_, _, _, _| 1.0,
    bound: |_, snr, _, _, _| all(1.0, snr),
};

const ELBO: Kind = Kind {
    at: |schedule, t, _, _| elbo(schedule, t),
    bound: |levels, snr, _, _, p| elbo_bound(levels, snr, p),
};

const SNR: Kind = Kind {
    at: |schedule, t, _, _| schedule.snr(t),
    bound: |_, snr, _, _, _| snr.clone(),
};

const ONE_PLUS_SNR: Kind = Kind {
    at: |schedule, t, _, _| 1.0 + schedule.snr(t),
    bound: |_, snr, _, _, p| snr.add_scalar(1.0, p),
};

const MIN_SNR: Kind = Kind {
    at: |schedule, t, _, gamma| schedule.snr(t).min(gamma),
    bound: |_, snr, _, gamma, _| snr.neg().maximum(&all(-gamma, snr)).neg(),
};

const EDM: Kind = Kind {
    at: |schedule, t, sigma_data, _| sigma_data.powi(-2) + schedule.snr(t),
    bound: |_, snr, sigma_data, _, p| snr.add(&all(sigma_data, snr).square(p).recip(p), p),
};

impl Weight {
    /// `constant`: 1.
    pub const CONSTANT: Self = Self::new(&Entry::new("constant", CONSTANT));
    /// `elbo`: −½ dSNR/dt, the continuous-time bound on −log p.
    pub const ELBO: Self = Self::new(&Entry::new("elbo", ELBO));
    /// `snr`: SNR, the unweighted loss on ε̂.
    pub const SNR: Self = Self::new(&Entry::new("snr", SNR));
    /// `one-plus-snr`: 1 + SNR, the unweighted loss on v̂ of a variance-preserving schedule.
    pub const ONE_PLUS_SNR: Self = Self::new(&Entry::new("one-plus-snr", ONE_PLUS_SNR));
    /// `min-snr`: min(SNR, γ), γ > 0, 5 if not given.
    pub const MIN_SNR: Self = Self::new(&Entry::with("min-snr", "gamma", 5.0, MIN_SNR));
    /// `edm`: (σ'² + σ_d²)/(σ' σ_d)² with σ' = σ/α, the unweighted loss on EDM's target.
    pub const EDM: Self = Self::new(&Entry::new("edm", EDM));
    /// `soft-truncation`: the ELBO weight; what is softened is the law of t, uniform on [τ, 1] with random τ.
    pub const SOFT_TRUNCATION: Self = Self::new(&Entry::new("soft-truncation", ELBO));
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
    if let Some((name, must, got)) = kind.refused() {
        return Err(DenoiseError::Parameter { name, must, got });
    }
    if !(sigma_data.is_finite() && sigma_data > 0.0) {
        return Err(DenoiseError::Parameter {
            name: "sigma_data",
            must: "be finite and > 0",
            got: sigma_data,
        });
    }
    let w = (kind.at)(schedule, t, sigma_data, kind.number());
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

/// The same number as often as there are times.
fn all(number: f64, like: &Tracked) -> Tracked {
    Tracked::exact(ArrayD::from_elem(like.value.raw_dim(), number))
}
