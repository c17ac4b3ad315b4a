//! A generative chain that is linear and Gaussian: its likelihood, its evidence bound and the gap between them, exactly.

use ndarray::Array1;

use super::finite::two_pi;
use super::small_matrix::{
    Cholesky, Matrix, Vector, apply, congruence, inner, multiple_of_identity, product, trace,
};
use crate::rounding::Rounded;

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

/// A law N(m, C) of x; C = 0 stands for the point m.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// m `[n]`.
    pub mean: Vector,
    /// C `[n, n]`.
    pub covariance: Matrix,
}

impl Data {
    /// The point x.
    pub fn point(x: &[f64]) -> Self {
        Self {
            mean: x.iter().map(|&v| Rounded::exact(v)).collect(),
            covariance: multiple_of_identity(0.0.into(), x.len()),
        }
    }

    /// Entropy ½(n log 2πe + log det C).
    ///
    /// # Errors
    /// [`ChainError::NotDefinite`] for a singular C.
    pub fn entropy(&self) -> Result<Rounded, ChainError> {
        let log_det = factor(&self.covariance, "the data's covariance")?.log_det();
        let per_dimension = two_pi().ln() + Rounded::exact(1.0);
        Ok((per_dimension * self.mean.len() as f64 + log_det) * 0.5)
    }

    /// E‖B x − c‖² over this law.
    fn squared_norm(&self, b: &Matrix, c: &Vector) -> Rounded {
        let mean = difference(&apply(b, &self.mean), c);
        inner(&mean, &mean) + trace(&congruence(b, &self.covariance))
    }
}

/// The three parts of the evidence bound, or of its gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// What z_T owes to the prior.
    pub prior: Rounded,
    /// What x owes to the decoder.
    pub reconstruction: Rounded,
    /// What the steps owe to the denoiser.
    pub diffusion: Rounded,
}

impl Parts {
    /// Their sum.
    pub fn total(self) -> Rounded {
        self.prior + self.reconstruction + self.diffusion
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

    /// The evidence bound, averaged over the data.
    ///
    /// # Formula `[eq:elbo]`
    /// ```text
    /// prior           KL(q(z_T|x) ‖ p(z_T)) = ½(n σ_T² + α_T² ‖x‖² − n − n log σ_T²)
    /// reconstruction  E[−log p(x|z_0)]      = ½ n log(2π σ_0²/α_0²) + ½ n
    /// diffusion       Σ ½ (SNR_s − SNR_t) E‖x − x̂_θ(z_t, t)‖²
    /// E‖x − x̂‖² = E‖(I − αA) x − b‖² + σ² ‖A‖²
    /// ```
    /// # Errors
    /// [`ChainError::Dimension`].
    pub fn objective(&self, data: &Data) -> Result<Parts, ChainError> {
        self.check(data)?;
        let n = self.dimension as f64;
        let (noisy, clean) = self.ends();
        let one = Rounded::exact(1.0);
        let identity = multiple_of_identity(one, self.dimension);
        let zero = data.mean.mapv(|_| Rounded::exact(0.0));
        let sigma2 = noisy.sigma.square();
        let signal = noisy.alpha.square() * data.squared_norm(&identity, &zero);
        let diffusion = self
            .steps
            .iter()
            .map(|s| s.snr_drop() * denoising_error(s, data) * 0.5);
        Ok(Parts {
            prior: ((sigma2 - one - sigma2.ln()) * n + signal) * 0.5,
            reconstruction: ((two_pi() / clean.snr()).ln() + one) * (0.5 * n),
            diffusion: Rounded::sum(diffusion),
        })
    }

    /// By how much the averaged bound exceeds the entropy of the data: three Kullback-Leibler divergences.
    ///
    /// # Formula `[eq:elbo-gap]`
    /// ```text
    /// E[objective] = H(x) + KL(q(z_T)‖p(z_T)) + Σ E KL(q(z_s|z_t)‖p(z_s|z_t)) + E KL(q(x|z_0)‖p(x|z_0))
    /// ```
    /// because both sides are E log q(x, z_0, …, z_T)/p(x, z_0, …, z_T) + H(x), once factored forwards and once backwards.
    /// With P_t = (C⁻¹ + SNR_t I)⁻¹ = Cov[x|z_t] and D_t = E[x|z_t] = (α_t/σ_t²) P_t z_t + h_t:
    /// ```text
    /// step:            ½[(SNR_s − SNR_t)(tr P_t + E‖D_t − x̂‖²) − log det(I + (SNR_s − SNR_t) P_t)]
    /// reconstruction:  ½[SNR_0 (tr P_0 + E‖D_0 − z_0/α_0‖²) − n − log det(SNR_0 P_0)]
    /// ```
    /// # Errors
    /// [`ChainError::Dimension`], [`ChainError::NotDefinite`] for a singular C.
    pub fn gap(&self, data: &Data) -> Result<Parts, ChainError> {
        self.check(data)?;
        let n = self.dimension;
        let (noisy, clean) = self.ends();
        let ideal = |level: Level| Ideal::new(data, level);
        let last = ideal(noisy)?;
        let log_det = factor(&last.noised.covariance, "the noised data's covariance")?.log_det();
        let mean2 = inner(&last.noised.mean, &last.noised.mean);
        let count = Rounded::exact(n as f64);
        let first = ideal(clean)?;
        let (inverse, snr) = (Rounded::exact(1.0) / clean.alpha, clean.snr());
        let decoder = Affine {
            matrix: multiple_of_identity(inverse, n),
            shift: data.mean.mapv(|_| 0.0.into()),
        };
        let reconstruction = snr * first.error_of(&decoder)
            - count
            - factor(&scaled(&first.spread, snr), "Cov[x|z_0]")?.log_det();
        let mut diffusion = Rounded::exact(0.0);
        for step in &self.steps {
            let (here, drop) = (ideal(step.from)?, step.snr_drop());
            let growth = plus(
                &multiple_of_identity(1.0.into(), n),
                &scaled(&here.spread, drop),
            );
            let log_det = factor(&growth, "I + (SNR_s - SNR_t) Cov[x|z_t]")?.log_det();
            diffusion = diffusion + (drop * here.error_of(&step.denoiser) - log_det) * 0.5;
        }
        Ok(Parts {
            prior: (trace(&last.noised.covariance) + mean2 - count - log_det) * 0.5,
            reconstruction: reconstruction * 0.5,
            diffusion,
        })
    }
}

/// E‖x − x̂(z_t)‖² over x and z_t = αx + σε.
fn denoising_error(step: &Step, data: &Data) -> Rounded {
    let Affine { matrix, shift } = &step.denoiser;
    let n = shift.len();
    let kept = plus(
        &multiple_of_identity(1.0.into(), n),
        &scaled(matrix, -step.from.alpha),
    );
    let noise = Rounded::sum(matrix.iter().map(|a| a.square()));
    data.squared_norm(&kept, shift) + step.from.sigma.square() * noise
}

/// The posterior of Gaussian data at one level.
struct Ideal {
    /// The law of z_t.
    noised: Data,
    /// E[x|z_t].
    denoiser: Affine,
    /// Cov[x|z_t].
    spread: Matrix,
}

impl Ideal {
    fn new(data: &Data, level: Level) -> Result<Self, ChainError> {
        let n = data.mean.len();
        let precision = factor(&data.covariance, "the data's covariance")?.inverse();
        let sharper = plus(&precision, &multiple_of_identity(level.snr(), n));
        let spread = factor(&sharper, "the posterior precision")?.inverse();
        let gain = scaled(&spread, level.alpha / level.sigma.square());
        let explained = apply(&gain, &data.mean.mapv(|v| v * level.alpha));
        let noised = Data {
            mean: data.mean.mapv(|v| v * level.alpha),
            covariance: plus(
                &scaled(&data.covariance, level.alpha.square()),
                &multiple_of_identity(level.sigma.square(), n),
            ),
        };
        Ok(Self {
            noised,
            denoiser: Affine {
                matrix: gain,
                shift: difference(&data.mean, &explained),
            },
            spread,
        })
    }

    /// E‖x − x̂(z_t)‖² = tr Cov[x|z_t] + E‖E[x|z_t] − x̂(z_t)‖².
    fn error_of(&self, other: &Affine) -> Rounded {
        let matrix = plus(&self.denoiser.matrix, &scaled(&other.matrix, (-1.0).into()));
        let shift = difference(&other.shift, &self.denoiser.shift);
        trace(&self.spread) + self.noised.squared_norm(&matrix, &shift)
    }
}

fn factor(matrix: &Matrix, what: &'static str) -> Result<Cholesky, ChainError> {
    Cholesky::new(matrix).ok_or(ChainError::NotDefinite { what })
}

fn scaled(a: &Matrix, c: Rounded) -> Matrix {
    a.mapv(|v| v * c)
}

fn plus(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_shape_fn(a.dim(), |index| a[index] + b[index])
}

fn difference(a: &Vector, b: &Vector) -> Vector {
    Vector::from_shape_fn(a.len(), |i| a[i] - b[i])
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
