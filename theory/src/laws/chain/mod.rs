//! A generative chain that is linear and Gaussian: its likelihood, its evidence bound and the gap between them, exactly.

mod bound;
mod data;
mod gap;

use ndarray::Array1;

use super::finite::two_pi;
use super::small_matrix::{
    Cholesky, Matrix, Vector, apply, congruence, difference, multiple_of_identity, plus, product,
    scaled, trace,
};
use crate::rounding::Rounded;

pub use bound::Parts;
pub use data::Data;

/// Why a chain, or a question to it, was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A chain needs at least one step.
    #[error("a chain must have at least one step, got none")]
    NoSteps,
    /// Everything lives in one space.
    #[error("{what} must have dimension {dimension}, got {got}")]
    Dimension {
        /// Which array.
        what: &'static str,
        /// The dimension of the first denoiser.
        dimension: usize,
        /// The refused size.
        got: usize,
    },
    /// A covariance must be positive definite beyond its rounding error.
    #[error("{what} must be positive definite, by more than its rounding error")]
    NotDefinite {
        /// Which covariance.
        what: &'static str,
    },
}

/// Signal α and noise σ > 0 at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// α.
    pub alpha: Rounded,
    /// σ.
    pub sigma: Rounded,
}

impl Level {
    /// Signal-to-noise ratio α²/σ².
    pub fn snr(self) -> Rounded {
        (self.alpha / self.sigma).square()
    }
}

/// A denoiser x̂(z) = A z + b, A `[n, n]`, b `[n]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// A.
    pub matrix: Matrix,
    /// b.
    pub shift: Vector,
}

/// One step t → s of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The earlier time s.
    pub to: Level,
    /// The later time t.
    pub from: Level,
    /// σ²_{t|s} > 0, the variance of the forward step.
    pub sigma2_ts: Rounded,
    /// x̂_θ(·, t).
    pub denoiser: Affine,
}

impl Step {
    /// SNR_s − SNR_t in the form α_s² σ²_{t|s}/(σ_s² σ_t²), which does not cancel.
    pub fn snr_drop(&self) -> Rounded {
        (self.to.alpha / (self.to.sigma * self.from.sigma)).square() * self.sigma2_ts
    }
}

/// The generative chain p_θ of ancestral sampling with an affine denoiser.
///
/// # Formula `[eq:chain]`
/// ```text
/// p(z_T) = N(0, I),   p(z_s | z_t) = q(z_s | z_t, x = x̂_θ(z_t, t)),   p(x | z_0) = N(z_0/α_0, (σ_0²/α_0²) I)
/// q(z_s | z_t, x) = N(c_t z_t + c_0 x, v I)
/// c_t = (α_t/α_s) σ_s²/σ_t²,   c_0 = α_s σ²_{t|s}/σ_t²,   v = σ²_{t|s} σ_s²/σ_t²
/// ```
/// Linear-Gaussian throughout, so p_θ(x) is a Gaussian whose mean and covariance are carried from z_T to x:
/// ```text
/// z_t ~ N(μ, S)   ⇒   z_s ~ N(M μ + c_0 b, M S Mᵀ + v I),   M = c_t I + c_0 A
/// ```
/// # Source
/// Kingma et al. 2021 (arXiv:2107.00630), Sec. 3.3 and Appendix A.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    steps: Vec<Step>,
    dimension: usize,
}

impl Chain {
    /// A chain from its steps, latest time first; step k + 1 starts where step k ends.
    ///
    /// # Errors
    /// [`ChainError::NoSteps`]; [`ChainError::Dimension`] if the denoisers differ in size.
    pub fn new(steps: Vec<Step>) -> Result<Self, ChainError> {
        let dimension = steps
            .first()
            .ok_or(ChainError::NoSteps)?
            .denoiser
            .shift
            .len();
        for step in &steps {
            let (rows, columns) = step.denoiser.matrix.dim();
            for got in [rows, columns, step.denoiser.shift.len()] {
                if got != dimension {
                    return Err(ChainError::Dimension {
                        what: "every denoiser",
                        dimension,
                        got,
                    });
                }
            }
        }
        Ok(Self { steps, dimension })
    }

    /// The steps, latest time first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// z_T's level and z_0's.
    fn ends(&self) -> (Level, Level) {
        // There is at least one step.
        (self.steps[0].from, self.steps[self.steps.len() - 1].to)
    }

    fn check(&self, data: &Data) -> Result<(), ChainError> {
        let (rows, columns) = data.covariance.dim();
        for got in [data.mean.len(), rows, columns] {
            if got != self.dimension {
                return Err(ChainError::Dimension {
                    what: "the data",
                    dimension: self.dimension,
                    got,
                });
            }
        }
        Ok(())
    }

    /// Mean `[n]` and covariance `[n, n]` of p_θ(x).
    pub fn marginal(&self) -> (Vector, Matrix) {
        let n = self.dimension;
        let mut mean: Vector = Array1::from_elem(n, 0.0.into());
        let mut covariance = multiple_of_identity(1.0.into(), n);
        for step in &self.steps {
            let ratio = (step.to.sigma / step.from.sigma).square();
            let from_z = step.from.alpha / step.to.alpha * ratio;
            let from_x = step.to.alpha * step.sigma2_ts / step.from.sigma.square();
            let motion = plus(
                &multiple_of_identity(from_z, n),
                &scaled(&step.denoiser.matrix, from_x),
            );
            mean = plus_vector(&apply(&motion, &mean), &step.denoiser.shift, from_x);
            covariance = plus(
                &congruence(&motion, &covariance),
                &multiple_of_identity(step.sigma2_ts * ratio, n),
            );
        }
        let (_, clean) = self.ends();
        let gain = Rounded::exact(1.0) / clean.alpha;
        let noise = multiple_of_identity(clean.sigma.square(), n);
        (
            mean.mapv(|v| v * gain),
            scaled(&plus(&covariance, &noise), gain.square()),
        )
    }

    /// E[−log p_θ(x)] over the data: exact.
    ///
    /// # Errors
    /// [`ChainError::Dimension`], [`ChainError::NotDefinite`].
    pub fn nll(&self, data: &Data) -> Result<Rounded, ChainError> {
        self.check(data)?;
        let (mean, covariance) = self.marginal();
        let factor = factor(&covariance, "the chain's covariance")?;
        let spread = trace(&product(&factor.inverse(), &data.covariance));
        let volume = two_pi().ln() * self.dimension as f64 + factor.log_det();
        Ok((volume + factor.quadratic(&difference(&data.mean, &mean)) + spread) * 0.5)
    }
}

fn factor(matrix: &Matrix, what: &'static str) -> Result<Cholesky, ChainError> {
    Cholesky::new(matrix).ok_or(ChainError::NotDefinite { what })
}

/// a + c b.
fn plus_vector(a: &Vector, b: &Vector, c: Rounded) -> Vector {
    Vector::from_shape_fn(a.len(), |i| a[i] + b[i] * c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::small_matrix::exact;
    use ndarray::array;

    fn level(alpha: f64, sigma: f64) -> Level {
        Level {
            alpha: alpha.into(),
            sigma: sigma.into(),
        }
    }

    /// α_t = ½, σ_t = ¾ from α_s = 1, σ_s = ½: σ²_{t|s} = 9/16 − ¼·¼ = ½.
    fn step(matrix: f64, shift: f64) -> Step {
        Step {
            to: level(1.0, 0.5),
            from: level(0.5, 0.75),
            sigma2_ts: 0.5.into(),
            denoiser: Affine {
                matrix: exact(&array![[matrix]]),
                shift: array![shift.into()],
            },
        }
    }

    fn near(got: Rounded, want: f64) {
        assert!(
            (got.value - want).abs() <= got.error + 1e-15 * (1.0 + want.abs()),
            "{got:?} {want}"
        );
        assert!(got.error < 1e-13, "{got:?}");
    }

    /// c_t = ½·¼/(9/16) = 2/9, c_0 = ½/(9/16) = 8/9, v = ½·¼/(9/16) = 2/9; with A = ¾, b = ½: M = 8/9,
    /// z_0 ~ N(4/9, 64/81 + 2/9), x ~ N(4/9, 82/81 + ¼).
    #[test]
    fn one_step_is_as_by_hand() {
        let chain = Chain::new(vec![step(0.75, 0.5)]).expect("a chain");
        let (mean, covariance) = chain.marginal();
        near(mean[0], 4.0 / 9.0);
        let variance = 82.0 / 81.0 + 0.25;
        near(covariance[[0, 0]], variance);
        let nll = chain.nll(&Data::point(&[2.0])).expect("an answer");
        let want = 0.5
            * ((std::f64::consts::TAU * variance).ln() + (2.0 - 4.0 / 9.0_f64).powi(2) / variance);
        near(nll, want);
        near(chain.steps()[0].snr_drop(), 4.0 - 4.0 / 9.0);
    }

    /// x = 2: prior ½(9/16 + 1 − 1 − ln 9/16); reconstruction ½ ln(2π/4) + ½; E‖x − x̂‖² = (2(1 − 3/8) − ½)² + 81/256.
    #[test]
    fn the_objective_is_as_by_hand() {
        let chain = Chain::new(vec![step(0.75, 0.5)]).expect("a chain");
        let parts = chain.objective(&Data::point(&[2.0])).expect("an answer");
        near(parts.prior, 0.5 * (0.5625 - 0.5625_f64.ln()));
        near(
            parts.reconstruction,
            0.5 * ((std::f64::consts::TAU / 4.0).ln() + 1.0),
        );
        near(parts.diffusion, 16.0 / 9.0 * (0.5625 + 81.0 / 256.0));
        near(
            parts.total(),
            parts.prior.value + parts.reconstruction.value + parts.diffusion.value,
        );
    }

    #[test]
    fn refusals_say_what_was_got() {
        assert_eq!(Chain::new(vec![]), Err(ChainError::NoSteps));
        let chain = Chain::new(vec![step(1.0, 0.0)]).expect("a chain");
        let two = Data::point(&[1.0, 2.0]);
        for refused in [chain.nll(&two), chain.objective(&two).map(Parts::total)] {
            let message = refused.expect_err("two dimensions").to_string();
            assert!(message.contains("dimension 1, got 2"), "{message}");
        }
        let point = Data::point(&[1.0]);
        assert!(matches!(
            chain.gap(&point),
            Err(ChainError::NotDefinite { .. })
        ));
        assert!(point.entropy().is_err());
        let mut wide = step(1.0, 0.0);
        wide.denoiser.matrix = exact(&array![[1.0, 0.0]]);
        assert!(Chain::new(vec![step(1.0, 0.0), wide]).is_err());
    }
}
