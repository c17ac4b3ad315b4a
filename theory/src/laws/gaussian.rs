//! The Gaussian law N(m, C): everything in closed form, in the eigenbasis of C.

use std::f64::consts::TAU;

use ndarray::{Array1, Array2, ArrayView1, Axis};
use sadm_reference::linalg::{LinalgError, polar_factor, singular_vectors, symmetric_eigen};

use super::LawError;
use super::finite::{check_noise, check_point};

/// The law N(m, C) of x_0 in Rⁿ; C may be rank deficient.
///
/// # Shapes
/// m `[n]`, C `[n, n]`.
///
/// # Error
/// C is represented as Q diag(λ) Qᵀ. Eigenvalues at or below 8 n u λ_max, which LAPACK cannot tell from 0, are 0; of a law that is
/// given by a factor of C, singular values at or below 8 n u of the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianLaw {
    mean: Array1<f64>,
    lambda: Array1<f64>,
    q: Array2<f64>,
}

/// The posterior of x_0 given x_t under a law with a density, with what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct SmoothPosterior {
    /// E[x_0 | x_t] `[n]`: the ideal denoiser.
    pub mean: Array1<f64>,
    /// Cov[x_0 | x_t] `[n, n]`.
    pub covariance: Array2<f64>,
    /// ∇ log q_t(x_t) `[n]`.
    pub score: Array1<f64>,
    /// log q_t(x_t).
    pub log_density: f64,
}

impl From<LinalgError> for LawError {
    fn from(e: LinalgError) -> Self {
        Self::Linalg(e.to_string())
    }
}

impl GaussianLaw {
    /// A law from its mean `[n]` and covariance `[n, n]`.
    ///
    /// # Errors
    /// [`LawError::Empty`] if n = 0, [`LawError::PointNotFinite`] if the mean is not finite, [`LawError::Shape`],
    /// [`LawError::Covariance`] if C is not finite, symmetric to the bit and positive semidefinite to rounding.
    pub fn new(mean: Array1<f64>, covariance: &Array2<f64>) -> Result<Self, LawError> {
        let n = mean.len();
        if n == 0 {
            return Err(LawError::Empty {
                atoms: 1,
                dimension: 0,
            });
        }
        check_point(&mean.to_vec(), n)?;
        if covariance.dim() != (n, n) {
            return Err(LawError::Shape {
                what: "covariance",
                want: vec![n, n],
                got: covariance.shape().to_vec(),
            });
        }
        check_symmetric(covariance)?;
        let (mut lambda, q) = symmetric_eigen(covariance)?;
        let largest = lambda.fold(0.0_f64, |m, l| m.max(l.abs()));
        let zero = 4.0 * n as f64 * f64::EPSILON * largest;
        if let Some(l) = lambda.iter().find(|&&l| l < -zero) {
            return Err(LawError::Covariance {
                why: format!("an eigenvalue is {l:e}"),
            });
        }
        lambda.mapv_inplace(|l| if l <= zero { 0.0 } else { l });
        Ok(Self { mean, lambda, q })
    }

    /// N(m, v I).
    ///
    /// # Errors
    /// As [`GaussianLaw::new`].
    pub fn isotropic(mean: Array1<f64>, variance: f64) -> Result<Self, LawError> {
        let n = mean.len();
        Self::new(mean, &Array2::from_diag(&Array1::from_elem(n, variance)))
    }

    /// m `[n]`.
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// C `[n, n]`.
    pub fn covariance(&self) -> Array2<f64> {
        self.spectral(|l| l)
    }

    /// Q diag(f(λ)) Qᵀ.
    fn spectral(&self, f: impl Fn(f64) -> f64) -> Array2<f64> {
        (&self.q * &self.lambda.mapv(f)).dot(&self.q.t())
    }

    /// The law of x_t = α x_0 + σ ε: N(α m, α² C + σ² I).
    ///
    /// # Errors
    /// [`LawError::Noise`].
    pub fn noised(&self, alpha: f64, sigma: f64) -> Result<Self, LawError> {
        check_noise(alpha, sigma)?;
        Ok(Self {
            mean: &self.mean * alpha,
            lambda: self.lambda.mapv(|l| alpha * alpha * l + sigma * sigma),
            q: self.q.clone(),
        })
    }

    /// Posterior of x_0 given x_t = α x_0 + σ ε.
    ///
    /// # Formula `[eq:gaussian-posterior]`
    /// ```text
    /// C = Q diag(λ) Qᵀ,   v = α² λ + σ²,   z = Qᵀ(x_t − α m)
    /// E[x_0|x_t] = m + Q (α λ z / v)                Cov[x_0|x_t] = Q diag(σ² λ / v) Qᵀ
    /// ∇ log q_t(x_t) = −Q (z / v)                   log q_t(x_t) = −½ Σ (z²/v + ln 2πv)
    /// ```
    /// # Shapes
    /// x `[n]`.
    ///
    /// # Errors
    /// [`LawError::PointLength`], [`LawError::PointNotFinite`], [`LawError::Noise`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), sadm_theory::laws::LawError> {
    /// use ndarray::array;
    /// use sadm_theory::laws::GaussianLaw;
    /// // One dimension: N(1, 4), α = ½, σ² = ¼, so v = 1 + ¼ and E[x_0|x_t] = 1 + ½·4·(x_t − ½)/v.
    /// let law = GaussianLaw::new(array![1.0], &array![[4.0]])?;
    /// let posterior = law.posterior(&[1.5], 0.5, 0.5)?;
    /// assert!((posterior.mean[0] - 2.6).abs() < 1e-15);
    /// assert!((posterior.covariance[[0, 0]] - 0.8).abs() < 1e-15);
    /// # Ok(()) }
    /// ```
    pub fn posterior(
        &self,
        x: &[f64],
        alpha: f64,
        sigma: f64,
    ) -> Result<SmoothPosterior, LawError> {
        check_noise(alpha, sigma)?;
        check_point(x, self.mean.len())?;
        let v = self.lambda.mapv(|l| alpha * alpha * l + sigma * sigma);
        let z = self
            .q
            .t()
            .dot(&(&ArrayView1::from(x) - &(&self.mean * alpha)));
        let pull = &z / &v;
        let terms = &z * &pull + v.mapv(|v| (TAU * v).ln());
        Ok(SmoothPosterior {
            mean: &self.mean + &self.q.dot(&(&self.lambda * &pull * alpha)),
            covariance: self.spectral(|l| sigma * sigma * l / (alpha * alpha * l + sigma * sigma)),
            score: -self.q.dot(&pull),
            log_density: -0.5 * terms.sum(),
        })
    }

    /// The law of x_0 given that a linear relation r = vᵀx_0 + γε of it was observed: a Gaussian again.
    ///
    /// # Formula `[eq:gaussian-relation]`
    /// ```text
    /// k = C v/(vᵀC v + γ²),     N(m + k (r − vᵀm), C'),     C' = (I − k vᵀ) C (I − k vᵀ)ᵀ + γ² k kᵀ
    /// C = S Sᵀ,  w = Sᵀv = ‖w‖ H e₁, H orthogonal:          C' = S H diag(γ²/(‖w‖² + γ²), 1, …, 1) Hᵀ Sᵀ
    /// ```
    /// with S = Q √λ and H a reflection. C' is taken from the singular values of its factor, so what γ leaves along v keeps its
    /// digits. I − k vᵀ as it stands would lose them: in one dimension it is γ²/(vᵀC v + γ²).
    ///
    /// Its posterior given x_t is that of x_0 given both: the noise of the two observations is independent.
    ///
    /// # Shapes
    /// v `[n]`.
    ///
    /// # Errors
    /// [`LawError::PointLength`], [`LawError::PointNotFinite`]; [`LawError::Noise`] unless γ > 0.
    pub fn given_linear(&self, v: &[f64], r: f64, gamma: f64) -> Result<Self, LawError> {
        check_noise(1.0, gamma)?;
        check_point(v, self.mean.len())?;
        check_point(&[r], 1)?;
        let v = ArrayView1::from(v);
        let root = &self.q * &self.lambda.mapv(f64::sqrt);
        let w = root.t().dot(&v);
        let length = w.fold(0.0_f64, |length, &x| length.hypot(x));
        if length == 0.0 {
            return Ok(self.clone()); // vᵀx_0 is known: nothing is learned
        }
        let spread = length.hypot(gamma);
        let unit = w / length;
        let pull = (length / spread) * ((r - v.dot(&self.mean)) / spread);
        let mean = &self.mean + &(root.dot(&unit) * pull);
        check_point(&mean.to_vec(), mean.len())?;
        let mut factor = root.dot(&reflection(&unit));
        factor.column_mut(0).mapv_inplace(|x| x * (gamma / spread));
        let (q, singular, _) = singular_vectors(&factor)?;
        let zero = 4.0 * mean.len() as f64 * f64::EPSILON * singular[0];
        let lambda = singular.mapv(|s| if s <= zero { 0.0 } else { s * s });
        Ok(Self { mean, lambda, q })
    }

    /// Samples of x_0 from standard normals: m + Q √λ z by rows.
    ///
    /// # Shapes
    /// z `[N, n]` → `[N, n]`.
    ///
    /// # Errors
    /// [`LawError::Shape`].
    pub fn sample(&self, z: &Array2<f64>) -> Result<Array2<f64>, LawError> {
        let n = self.mean.len();
        if z.ncols() != n {
            return Err(LawError::Shape {
                what: "standard normals",
                want: vec![z.nrows(), n],
                got: z.shape().to_vec(),
            });
        }
        let root = &self.q * &self.lambda.mapv(f64::sqrt);
        Ok(z.dot(&root.t()) + self.mean.view().insert_axis(Axis(0)))
    }

    /// Squared Wasserstein-2 distance to another Gaussian: the Fréchet distance of FID.
    ///
    /// # Formula `[eq:gaussian-wasserstein]`
    /// ```text
    /// W² = ‖m₁ − m₂‖² + Tr(C₁ + C₂ − 2 (C₁^{1/2} C₂ C₁^{1/2})^{1/2}) = ‖m₁ − m₂‖² + min_U ‖C₁^{1/2} − C₂^{1/2} U‖²
    /// ```
    /// over orthogonal U, attained at the transposed polar factor of C₁^{1/2} C₂^{1/2}. The second form is a sum of
    /// squares: never negative, without the cancellation of the first where the laws are close, and defined for
    /// rank-deficient covariances.
    ///
    /// # Errors
    /// [`LawError::PointLength`] if the other law lives in another dimension, [`LawError::Linalg`].
    pub fn wasserstein2_squared(&self, other: &Self) -> Result<f64, LawError> {
        check_point(&other.mean.to_vec(), self.mean.len())?;
        let (s1, s2) = (self.spectral(f64::sqrt), other.spectral(f64::sqrt));
        let u = polar_factor(&s1.dot(&s2))?.reversed_axes();
        let square = |total: f64, x: &f64| total + x * x;
        let means = (&self.mean - &other.mean).iter().fold(0.0, square);
        Ok((s1 - s2.dot(&u)).iter().fold(means, square))
    }
}

/// The reflection H with H e₁ = ±u for a unit vector u `[n]`, the sign such that nothing cancels.
fn reflection(u: &Array1<f64>) -> Array2<f64> {
    let mut normal = u.clone();
    normal[0] += 1.0_f64.copysign(u[0]);
    let twice = 2.0 / normal.dot(&normal);
    let column = normal.view().insert_axis(Axis(1));
    Array2::eye(u.len()) - column.dot(&column.t()) * twice
}

/// Refuses a matrix with an entry that is not finite or differs from its mirror image.
fn check_symmetric(c: &Array2<f64>) -> Result<(), LawError> {
    for ((i, j), &v) in c.indexed_iter() {
        if !v.is_finite() || v.to_bits() != c[[j, i]].to_bits() {
            return Err(LawError::Covariance {
                why: format!(
                    "entries [{i}, {j}] and [{j}, {i}] are {v} and {}",
                    c[[j, i]]
                ),
            });
        }
    }
    Ok(())
}
