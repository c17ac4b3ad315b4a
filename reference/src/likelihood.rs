//! Likelihood by the probability-flow ODE: how probable a sample is under a denoiser.

use ndarray::{Array1, ArrayView1};

/// Why a likelihood was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LikelihoodError {
    /// Noise levels that are no interval.
    #[error(
        "noise levels must be finite with 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}"
    )]
    Levels {
        /// The lower one.
        sigma_min: f64,
        /// The upper one.
        sigma_max: f64,
    },
    /// No step at all.
    #[error("the ODE needs at least one step")]
    NoSteps,
    /// A denoiser that answers in another dimension.
    #[error("the denoiser must answer in {dimension} dimensions, got {got}")]
    Dimension {
        /// That of the sample.
        dimension: usize,
        /// That of the answer.
        got: usize,
    },
    /// A quantity that is infinite or NaN.
    #[error("{what} must be finite, got {got}")]
    NotFinite {
        /// Which quantity.
        what: &'static str,
        /// The refused value.
        got: f64,
    },
    /// A spacing of values that is not positive.
    #[error("the spacing of the values must be finite and > 0, got {got}")]
    Spacing {
        /// The refused value.
        got: f64,
    },
    /// No dimensions.
    #[error("a sample must have at least one dimension")]
    Empty,
}

/// A denoiser's output at one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Denoised {
    /// x̂(z, σ), an estimate of x_0 given z = x_0 + σ ε.
    pub x_hat: Array1<f64>,
    /// tr ∂x̂/∂z: exact, or [`hutchinson_trace`].
    pub trace: f64,
}

/// End point of the probability-flow ODE, and the change of the sample's log density.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// z at σ_max.
    pub z: Array1<f64>,
    /// ln p(z; σ_min) − ln p(z; σ_max) = ∫ (d − tr ∂x̂/∂z) d ln σ.
    pub log_density_change: f64,
}

/// The probability-flow ODE from σ_min to σ_max, with the change of density along it. `[eq:flow-likelihood]`
///
/// # Formula
/// ```text
/// dz/d ln σ = z − x̂(z, σ),     d ln p/d ln σ = −tr(I − ∂x̂/∂z)
/// ```
/// in z = x/α and σ = σ_t/α_t of any schedule, by the classical Runge–Kutta method of order 4 in equal steps of ln σ.
/// Then `ln p(z_0; σ_min) = ln p(z; σ_max) + log_density_change`, where the law at σ_max is the data's variance away from
/// N(0, σ_max² I) and the caller's to state.
///
/// # Shapes
/// `z: [d]`; the denoiser answers in the same d.
///
/// # Error
/// O(steps⁻⁴), and O(σ_data²/σ_max²) from a terminal law that leaves the data out.
///
/// # Errors
/// [`LikelihoodError`], or the denoiser's.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), Eq. 39, in the variables of Karras et al. 2022 (arXiv:2206.00364).
pub fn probability_flow<E: From<LikelihoodError>>(
    z: ArrayView1<f64>,
    [sigma_min, sigma_max]: [f64; 2],
    steps: usize,
    mut denoise: impl FnMut(ArrayView1<f64>, f64) -> Result<Denoised, E>,
) -> Result<Flow, E> {
    check_path([sigma_min, sigma_max], steps)?;
    let (low, high) = (sigma_min.ln(), sigma_max.ln());
    let h = (high - low) / steps as f64;
    let mut slope = |z: &Array1<f64>, u: f64| -> Result<(Array1<f64>, f64), E> {
        let answer = denoise(z.view(), u.exp())?;
        check(z.len(), &answer)?;
        Ok((z - &answer.x_hat, z.len() as f64 - answer.trace))
    };
    let (mut z, mut change) = (z.to_owned(), 0.0);
    for k in 0..steps {
        let u = low + k as f64 * h;
        let (d1, l1) = slope(&z, u)?;
        let (d2, l2) = slope(&(&z + &d1 * (h / 2.0)), u + h / 2.0)?;
        let (d3, l3) = slope(&(&z + &d2 * (h / 2.0)), u + h / 2.0)?;
        let (d4, l4) = slope(&(&z + &d3 * h), u + h)?;
        z = z + (d1 + (d2 + d3) * 2.0 + d4) * (h / 6.0);
        change += (l1 + 2.0 * (l2 + l3) + l4) * (h / 6.0);
    }
    Ok(Flow {
        z,
        log_density_change: change,
    })
}

/// Whether there is a way from the one level to the other.
pub(crate) fn check_path(
    [sigma_min, sigma_max]: [f64; 2],
    steps: usize,
) -> Result<(), LikelihoodError> {
    if !(sigma_min > 0.0 && sigma_min < sigma_max && sigma_max.is_finite()) {
        return Err(LikelihoodError::Levels {
            sigma_min,
            sigma_max,
        });
    }
    if steps == 0 {
        return Err(LikelihoodError::NoSteps);
    }
    Ok(())
}

fn check(dimension: usize, answer: &Denoised) -> Result<(), LikelihoodError> {
    if answer.x_hat.len() != dimension {
        return Err(LikelihoodError::Dimension {
            dimension,
            got: answer.x_hat.len(),
        });
    }
    let all = answer.x_hat.iter().chain([&answer.trace]);
    match all.copied().find(|v| !v.is_finite()) {
        Some(got) => Err(LikelihoodError::NotFinite {
            what: "a denoiser's answer",
            got,
        }),
        None => Ok(()),
    }
}

/// Skilling–Hutchinson estimate of a trace, vᵀ J v. `[eq:hutchinson]`
///
/// Its mean over v with E vvᵀ = I is tr J: over independent signs, or standard normals. Only the product J v is needed.
///
/// # Shapes
/// `v: [d]`, `jv: [d]`.
///
/// # Source
/// Hutchinson 1990; Grathwohl et al. 2019 (arXiv:1810.01367).
pub fn hutchinson_trace(v: ArrayView1<f64>, jv: ArrayView1<f64>) -> f64 {
    v.dot(&jv)
}

/// ln N(z; 0, σ² I), the terminal law that leaves the data out. `[eq:terminal-density]`
pub fn terminal_log_density(z: ArrayView1<f64>, sigma: f64) -> f64 {
    let d = z.len() as f64;
    let squares = z.iter().map(|z| (z / sigma) * (z / sigma)).sum::<f64>();
    -0.5 * (squares + d * (2.0 * std::f64::consts::PI).ln()) - d * sigma.ln()
}

/// Bits per dimension of a density of values that are `spacing` apart. `[eq:bits-per-dimension]`
///
/// # Formula
/// ```text
/// −ln p/(d ln 2) − log₂ Δ
/// ```
/// For bytes brought to [−1, 1] Δ = 2/255; for the digits' 17 levels 1/8. With uniform dequantisation it bounds the
/// discrete code length from above.
///
/// # Errors
/// [`LikelihoodError::Empty`], [`LikelihoodError::Spacing`], [`LikelihoodError::NotFinite`].
///
/// # Source
/// Theis et al. 2016 (arXiv:1511.01844), Sec. 3.1.
pub fn bits_per_dimension(
    log_density: f64,
    dimension: usize,
    spacing: f64,
) -> Result<f64, LikelihoodError> {
    if dimension == 0 {
        return Err(LikelihoodError::Empty);
    }
    if !(spacing.is_finite() && spacing > 0.0) {
        return Err(LikelihoodError::Spacing { got: spacing });
    }
    if !log_density.is_finite() {
        return Err(LikelihoodError::NotFinite {
            what: "a log density",
            got: log_density,
        });
    }
    Ok(-log_density / (dimension as f64 * std::f64::consts::LN_2) - spacing.log2())
}
