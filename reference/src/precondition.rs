//! EDM preconditioning: the scalars that wrap the raw network F, so that its input and its target have unit variance.

/// Why a noise level was refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SigmaError {
    /// σ must be a positive, finite standard deviation.
    #[error("noise level sigma must be finite and > 0, got {got:?}")]
    NotPositive {
        /// The refused value.
        got: f64,
    },
}

/// A standard deviation σ ∈ (0, ∞), of noise or of data, checked once.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Sigma(f64);

impl Sigma {
    /// Accepts a finite positive number.
    ///
    /// # Errors
    /// [`SigmaError::NotPositive`] otherwise.
    pub fn new(sigma: f64) -> Result<Self, SigmaError> {
        if sigma.is_finite() && sigma > 0.0 {
            Ok(Self(sigma))
        } else {
            Err(SigmaError::NotPositive { got: sigma })
        }
    }

    /// The plain number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// Weight of the noisy input in the denoiser's output.
///
/// # Formula `[eq:c-skip]`
/// ```text
/// c_skip(σ) = σ_d² / (σ² + σ_d²)
/// ```
/// computed as `1 / (1 + (σ/σ_d)²)`, so that no square over- or underflows alone.
///
/// # Range
/// (0, 1): towards 1 as σ → 0, where the input is trusted, and towards 0 as σ → ∞.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Table 1, as for all of this module.
///
/// # Example
/// ```
/// # use sadm_reference::precondition::{Sigma, SigmaError, c_skip};
/// assert_eq!(c_skip(Sigma::new(1.0)?, Sigma::new(0.5)?), 0.2);
/// # Ok::<(), SigmaError>(())
/// ```
pub fn c_skip(sigma: Sigma, sigma_data: Sigma) -> f64 {
    let r = sigma.0 / sigma_data.0;
    1.0 / (1.0 + r * r)
}

/// Weight of the network's output, `c_out(σ) = σ σ_d / √(σ² + σ_d²)`. `[eq:c-out]`
///
/// # Range
/// (0, min(σ, σ_d)).
pub fn c_out(sigma: Sigma, sigma_data: Sigma) -> f64 {
    sigma.0 / (sigma.0 / sigma_data.0).hypot(1.0)
}

/// Scale of the network's input, `c_in(σ) = 1 / √(σ² + σ_d²)`. `[eq:c-in]`
pub fn c_in(sigma: Sigma, sigma_data: Sigma) -> f64 {
    1.0 / sigma.0.hypot(sigma_data.0)
}

/// The noise level as the network sees it, `c_noise(σ) = ln(σ)/4`. `[eq:c-noise]`
pub fn c_noise(sigma: Sigma) -> f64 {
    sigma.0.ln() / 4.0
}

/// Loss weight `w(σ) = (σ² + σ_d²)/(σ σ_d)² = σ⁻² + σ_d⁻²`, for which `w c_out² = 1`. `[eq:edm-weight]`
pub fn loss_weight(sigma: Sigma, sigma_data: Sigma) -> f64 {
    sigma.0.powi(-2) + sigma_data.0.powi(-2)
}

/// `∂c_skip/∂σ = −2 c_skip (1 − c_skip)/σ`. `[eq:c-skip-grad]`
pub fn c_skip_grad(sigma: Sigma, sigma_data: Sigma) -> f64 {
    let r = sigma.0 / sigma_data.0;
    let skip = c_skip(sigma, sigma_data);
    // 1 − c_skip = r² c_skip, without cancellation at small σ.
    -2.0 * r * skip * skip / sigma_data.0
}

/// `∂c_out/∂σ = (c_out/σ)³`. `[eq:c-out-grad]`
pub fn c_out_grad(sigma: Sigma, sigma_data: Sigma) -> f64 {
    (sigma.0 / sigma_data.0).hypot(1.0).powi(-3)
}

/// `∂c_in/∂σ = −σ c_in³`. `[eq:c-in-grad]`
pub fn c_in_grad(sigma: Sigma, sigma_data: Sigma) -> f64 {
    -sigma.0 * c_in(sigma, sigma_data).powi(3)
}
