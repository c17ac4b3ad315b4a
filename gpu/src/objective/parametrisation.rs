//! What the network predicts, and how its output becomes the clean batch x̂.

use crate::error::{Error, Result};
use crate::forward::scale_samples;
use crate::forward::schedule::Schedule;
use crate::network::Denoiser;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The quantity a network's output stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parametrisation {
    /// The clean sample x_0.
    X0,
    /// The noise ε.
    Eps,
    /// v = α ε − σ x_0.
    V,
    /// The EDM-preconditioned residual, at noise level σ' = σ/α.
    Edm,
}

/// The scalars of x̂ = skip·x_t + out·F(input·x_t, noise).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Factor of x_t in x̂.
    pub skip: f64,
    /// Factor of the network's output in x̂.
    pub out: f64,
    /// Factor of x_t at the network's input.
    pub input: f64,
    /// Noise condition c_noise = ln(σ/α)/4.
    pub noise: f64,
}

/// A prediction with what led to it.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Predicted clean batch, `[B, C, H, W]`.
    pub x_hat: Tensor,
    /// The network's output F, `[B, C, H, W]`.
    pub network_out: Tensor,
    /// One set of coefficients per sample.
    pub coefficients: Vec<Coefficients>,
}

impl Parametrisation {
    /// Every parametrisation.
    pub const ALL: [Self; 4] = [Self::X0, Self::Eps, Self::V, Self::Edm];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::X0 => "x0",
            Self::Eps => "eps",
            Self::V => "v",
            Self::Edm => "edm",
        }
    }

    /// The coefficients at one noise level.
    ///
    /// # Formula
    /// | | skip | out | input |
    /// |---|---|---|---|
    /// | `x0` | 0 | 1 | 1 |
    /// | `eps` | 1/α | −σ/α | 1 |
    /// | `v` | α/(α²+σ²) | −σ/(α²+σ²) | 1 |
    /// | `edm` | c_skip(σ')/α | c_out(σ') | c_in(σ')/α |
    ///
    /// with σ' = σ/α, c_skip = σ_d²/(σ'²+σ_d²), c_out = σ'σ_d/√(σ'²+σ_d²), c_in = 1/√(σ'²+σ_d²);
    /// the `edm` row is computed as ασ_d²/h², σσ_d/h, 1/h with h = √(σ² + α²σ_d²), which needs
    /// neither σ' nor 1/α. The noise condition is ln(σ')/4 in every row.
    /// # Limits
    /// `eps` is infinite at α = 0; `noise` is −∞ at σ = 0 and +∞ at α = 0.
    /// # Source
    /// Karras et al. (arXiv:2206.00364), Table 1; Salimans and Ho (arXiv:2202.00512) for v.
    pub fn coefficients(self, alpha: f64, sigma: f64, sigma_data: f64) -> Coefficients {
        let (skip, out, input) = match self {
            Self::X0 => (0.0, 1.0, 1.0),
            Self::Eps => (1.0 / alpha, -sigma / alpha, 1.0),
            Self::V => {
                let square = alpha * alpha + sigma * sigma;
                (alpha / square, -sigma / square, 1.0)
            }
            Self::Edm => {
                let h = sigma.hypot(alpha * sigma_data);
                let relative = sigma_data / h;
                (alpha * relative * relative, sigma * relative, 1.0 / h)
            }
        };
        Coefficients {
            skip,
            out,
            input,
            noise: 0.25 * (sigma / alpha).ln(),
        }
    }
}

impl fmt::Display for Parametrisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Parametrisation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| Error::unknown_name("parametrisation", text, &Self::ALL.map(Self::name)))
    }
}

/// The clean batch that a network predicts from a noised one, with what led to it.
///
/// # Formula
/// ```text
/// x̂_i = skip_i x_t,i + out_i F(input_i x_t,i, noise_i, label_i)
/// ```
/// # Shapes
/// `x_t: [B, C, H, W]`; `t`: B times or one for the whole batch; `labels`: B classes.
/// # Errors
/// A time at which a coefficient is not finite (σ_t = 0 or α_t = 0), another number of times, and
/// whatever the network refuses.
pub fn predict(
    network: &dyn Denoiser,
    x_t: &Tensor,
    t: &[f64],
    schedule: Schedule,
    parametrisation: Parametrisation,
    sigma_data: f64,
    labels: Option<&[u32]>,
) -> Result<Prediction> {
    let batch = x_t.dim(0)?;
    if t.len() != batch && t.len() != 1 {
        let must = format!("be the batch size {batch} or 1");
        return Err(Error::invalid("number of times t", must, t.len()));
    }
    let coefficients = (0..batch)
        .map(|i| finite_coefficients(parametrisation, schedule, t[i % t.len()], sigma_data))
        .collect::<Result<Vec<Coefficients>>>()?;
    let column =
        |part: fn(&Coefficients) -> f64| coefficients.iter().map(part).collect::<Vec<f64>>();

    let input = scale_samples(x_t, &column(|c| c.input))?;
    let network_out = network.forward(&input, &column(|c| c.noise), labels)?;
    let skipped = scale_samples(x_t, &column(|c| c.skip))?;
    let x_hat = (skipped + scale_samples(&network_out, &column(|c| c.out))?)?;
    Ok(Prediction {
        x_hat,
        network_out,
        coefficients,
    })
}

fn finite_coefficients(
    parametrisation: Parametrisation,
    schedule: Schedule,
    t: f64,
    sigma_data: f64,
) -> Result<Coefficients> {
    let c = parametrisation.coefficients(schedule.alpha(t), schedule.sigma(t), sigma_data);
    if [c.skip, c.out, c.input, c.noise]
        .iter()
        .all(|v| v.is_finite())
    {
        return Ok(c);
    }
    let what = format!("time t of schedule {schedule}");
    let must = format!("have finite {parametrisation} coefficients (α_t > 0 and σ_t > 0)");
    Err(Error::invalid(what, must, t))
}
