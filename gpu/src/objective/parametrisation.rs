//! Parametrisation: the quantity that the network predicts.

use crate::error::{Error, Result};
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
    /// −ε, from the sample at its own scale x_t/α (variance exploding).
    Ve,
}

impl Parametrisation {
    /// Every parametrisation.
    pub const ALL: [Self; 5] = [Self::X0, Self::Eps, Self::V, Self::Edm, Self::Ve];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::X0 => "x0",
            Self::Eps => "eps",
            Self::V => "v",
            Self::Edm => "edm",
            Self::Ve => "ve",
        }
    }

    /// skip, out and input at one noise level, of x̂ = skip·x_t + out·F(input·x_t, …).
    ///
    /// # Formula
    /// | | skip | out | input |
    /// |---|---|---|---|
    /// | `x0` | 0 | 1 | 1 |
    /// | `eps` | 1/α | −σ/α | 1 |
    /// | `v` | α/(α²+σ²) | −σ/(α²+σ²) | 1 |
    /// | `edm` | c_skip(σ')/α | c_out(σ') | c_in(σ')/α |
    /// | `ve` | 1/α | σ' | 1/α |
    ///
    /// with σ' = σ/α, c_skip = σ_d²/(σ'²+σ_d²), c_out = σ'σ_d/√(σ'²+σ_d²), c_in = 1/√(σ'²+σ_d²);
    /// the `edm` row is computed as ασ_d²/h², σσ_d/h, 1/h with h = √(σ² + α²σ_d²), which needs
    /// neither σ' nor 1/α.
    /// # Source
    /// Karras et al. (arXiv:2206.00364), Table 1; Salimans and Ho (arXiv:2202.00512) for v.
    pub(super) fn factors(self, alpha: f64, sigma: f64, sigma_data: f64) -> [f64; 3] {
        match self {
            Self::X0 => [0.0, 1.0, 1.0],
            Self::Eps => [1.0 / alpha, -sigma / alpha, 1.0],
            Self::V => {
                let square = alpha * alpha + sigma * sigma;
                [alpha / square, -sigma / square, 1.0]
            }
            Self::Edm => {
                let h = sigma.hypot(alpha * sigma_data);
                let relative = sigma_data / h;
                [alpha * relative * relative, sigma * relative, 1.0 / h]
            }
            Self::Ve => [alpha.recip(), sigma / alpha, alpha.recip()],
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
