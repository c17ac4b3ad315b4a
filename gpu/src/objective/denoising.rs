//! The weighted denoising objective.

use crate::error::{Error, Result};
use crate::forward::schedule::Schedule;
use crate::forward::{loss_dtype, per_sample};
use crate::names::{NameAndNumber, with_number};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The weight w(λ_t) of the denoising loss, by name.
///
/// Configurations write `min-snr` or, with a number, `min-snr(5)`.
///
/// # Formula
/// | name | w |
/// |---|---|
/// | `constant` | 1 |
/// | `elbo` | −½ dSNR/dt = −½ SNR dλ/dt |
/// | `snr` | SNR (an unweighted loss on ε) |
/// | `one-plus-snr` | 1 + SNR (an unweighted loss on v, for a variance preserving schedule) |
/// | `min-snr` (γ = 5) | min(SNR, γ) |
/// | `edm` | (σ'² + σ_d²)/(σ'σ_d)² = SNR + 1/σ_d², σ' = σ/α |
/// | `soft-truncation` | as `elbo`; what is soft is the range that times are drawn from |
///
/// # Source
/// SADM Eq. 3–4; Kingma et al. (arXiv:2107.00630), Hang et al. (arXiv:2303.09556), Karras et al.
/// (arXiv:2206.00364), Kim et al. (arXiv:2106.05527).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Weight {
    /// 1.
    Constant,
    /// −½ dSNR/dt.
    Elbo,
    /// SNR.
    Snr,
    /// 1 + SNR.
    OnePlusSnr,
    /// min(SNR, γ).
    MinSnr {
        /// The cap γ > 0.
        gamma: f64,
    },
    /// SNR + 1/σ_d².
    Edm,
    /// −½ dSNR/dt with times from a random range.
    SoftTruncation,
}

impl Weight {
    /// The names in configurations.
    pub const NAMES: [&'static str; 7] = [
        "constant",
        "elbo",
        "snr",
        "one-plus-snr",
        "min-snr",
        "edm",
        "soft-truncation",
    ];
    /// γ of a bare `min-snr`.
    pub const DEFAULT_GAMMA: f64 = 5.0;

    /// The weight at one time.
    ///
    /// # Range
    /// [0, ∞]; infinite at σ_t = 0 except for `constant` and `min-snr`.
    pub fn at(self, schedule: Schedule, t: f64, sigma_data: f64) -> f64 {
        let snr = schedule.snr(t);
        match self {
            Self::Constant => 1.0,
            Self::Elbo | Self::SoftTruncation => -0.5 * schedule.snr_grad(t),
            Self::Snr => snr,
            Self::OnePlusSnr => 1.0 + snr,
            Self::MinSnr { gamma } => snr.min(gamma),
            Self::Edm => snr + sigma_data.powi(-2),
        }
    }

    /// The weights of a batch of times.
    pub fn weights(self, schedule: Schedule, t: &[f64], sigma_data: f64) -> Vec<f64> {
        t.iter()
            .map(|&t| self.at(schedule, t, sigma_data))
            .collect()
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Elbo => "elbo",
            Self::Snr => "snr",
            Self::OnePlusSnr => "one-plus-snr",
            Self::MinSnr { gamma } => return with_number(f, "min-snr", *gamma),
            Self::Edm => "edm",
            Self::SoftTruncation => "soft-truncation",
        })
    }
}

impl FromStr for Weight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = NameAndNumber::parse("weight", text)?;
        Ok(match parsed.name {
            "constant" => parsed.alone(Self::Constant)?,
            "elbo" => parsed.alone(Self::Elbo)?,
            "snr" => parsed.alone(Self::Snr)?,
            "one-plus-snr" => parsed.alone(Self::OnePlusSnr)?,
            "min-snr" => Self::MinSnr {
                gamma: parsed.positive("gamma", Self::DEFAULT_GAMMA)?,
            },
            "edm" => parsed.alone(Self::Edm)?,
            "soft-truncation" => parsed.alone(Self::SoftTruncation)?,
            other => return Err(Error::unknown_name("weight", other, &Self::NAMES)),
        })
    }
}

impl TryFrom<String> for Weight {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Weight> for String {
    fn from(weight: Weight) -> Self {
        weight.to_string()
    }
}

/// The weighted denoising loss of a batch, a scalar tensor that candle differentiates.
///
/// # Formula
/// ```text
/// L = Σ_i w_i ‖x̂_i − x_0,i‖² / B                       [SADM Eq. 4]
/// ```
/// the norm over all elements of a sample; w_i/B is formed in f64 and rounded once.
/// # Shapes
/// `x_hat`, `x0`: `[B, …]`, equal; `weights`: B numbers, or one for all → `[]`, in f32 (f64 if
/// `x_hat` is f64), the precision of every reduction.
/// # Errors
/// Different shapes, another number of weights.
pub fn denoising_loss(x_hat: &Tensor, x0: &Tensor, weights: &[f64]) -> Result<Tensor> {
    if x_hat.dims() != x0.dims() {
        let must = format!("{:?} as x0 has", x0.dims());
        return Err(Error::shape("prediction x_hat", must, x_hat.dims()));
    }
    let dtype = loss_dtype(x_hat.dtype());
    let difference = (x_hat.to_dtype(dtype)? - x0.to_dtype(dtype)?)?;
    let batch = difference.dim(0)?;
    let squares = difference.sqr()?.reshape((batch, ()))?.sum_keepdim(1)?;
    let factors: Vec<f64> = weights.iter().map(|w| w / batch as f64).collect();
    let factors = per_sample(&factors, &squares)?;
    Ok(squares.broadcast_mul(&factors)?.sum_all()?)
}
