//! A law with finitely many atoms: every expectation under its posterior is a finite sum.

mod batch;
mod density;
mod error;
mod observation;
mod pair;
mod score;

use ndarray::{Array2, ArrayView1};

use crate::rounding::Rounded;

pub use batch::{BatchPosterior, BatchTilted, MOST_PRODUCTS};
pub use density::{log_normal_density, normal_density, two_pi};
pub use error::LawError;
pub use observation::Observation;
pub(crate) use pair::LARGEST_LOG_RATIO;
pub use pair::{PairPosterior, Tilted};
pub use score::PairScore;

pub(crate) use density::{log_ratio, softmax};
pub(crate) use observation::{check_gamma, check_vectors};

/// The law Σ_k p_k δ(a_k) of x_0 in Rⁿ.
///
/// # Shapes
/// atoms `[K, n]`, prior `[K]`; the prior is normalised by its sum.
#[derive(Debug, Clone, PartialEq)]
pub struct FiniteLaw {
    atoms: Array2<f64>,
    prior: Vec<f64>,
}

/// The posterior of x_0 given x_t, with what follows from it. Every number carries its rounding bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Weights w_k = q(a_k | x_t) `[K]`.
    pub weights: Vec<Rounded>,
    /// E[x_0 | x_t] `[n]`: the ideal denoiser.
    pub mean: Vec<Rounded>,
    /// Cov[x_0 | x_t] `[n, n]`; its trace is what the loss of the best denoiser keeps. `[eq:best-denoiser]`
    pub covariance: Array2<Rounded>,
    /// ∇ log q_t(x_t) `[n]`.
    pub score: Vec<Rounded>,
    /// log q_t(x_t).
    pub log_density: Rounded,
}

impl FiniteLaw {
    /// A law from its atoms `[K, n]` and positive weights `[K]`.
    ///
    /// # Errors
    /// [`LawError`] if there is no atom, a value is not finite, a weight is not positive, or the lengths differ.
    pub fn new(atoms: Array2<f64>, prior: Vec<f64>) -> Result<Self, LawError> {
        let (count, dimension) = atoms.dim();
        if count == 0 || dimension == 0 {
            return Err(LawError::Empty {
                atoms: count,
                dimension,
            });
        }
        if let Some(((atom, coordinate), &got)) = atoms.indexed_iter().find(|(_, v)| !v.is_finite())
        {
            return Err(LawError::NotFinite {
                atom,
                coordinate,
                got,
            });
        }
        if prior.len() != count {
            return Err(LawError::PriorLength {
                atoms: count,
                got: prior.len(),
            });
        }
        if let Some((atom, &got)) = prior
            .iter()
            .enumerate()
            .find(|(_, p)| !(p.is_finite() && **p > 0.0))
        {
            return Err(LawError::PriorWeight { atom, got });
        }
        Ok(Self { atoms, prior })
    }

    /// A law with equal weights on its atoms `[K, n]`.
    ///
    /// # Errors
    /// As [`FiniteLaw::new`].
    pub fn uniform(atoms: Array2<f64>) -> Result<Self, LawError> {
        let prior = vec![1.0; atoms.nrows()];
        Self::new(atoms, prior)
    }

    /// The atoms `[K, n]`.
    pub fn atoms(&self) -> &Array2<f64> {
        &self.atoms
    }

    /// The weights as given, before normalisation `[K]`.
    pub fn prior(&self) -> &[f64] {
        &self.prior
    }

    /// log p_k − ‖x_t − α a_k‖²/(2σ²), up to the prior's normalisation `[K]`.
    fn log_terms(&self, x: &[f64], alpha: f64, sigma: f64) -> Result<Vec<Rounded>, LawError> {
        check_point(x, self.atoms.ncols())?;
        check_noise(alpha, sigma)?;
        let two_variance = Rounded::exact(sigma).square() * 2.0;
        let term = |(atom, &p): (ArrayView1<f64>, &f64)| {
            Rounded::exact(p).ln() - squared_distance(x, atom, alpha) / two_variance
        };
        Ok(self
            .atoms
            .rows()
            .into_iter()
            .zip(&self.prior)
            .map(term)
            .collect())
    }

    /// Posterior of x_0 given x_t = α x_0 + σ ε.
    ///
    /// # Formula `[eq:finite-posterior]`
    /// ```text
    /// w_k ∝ p_k exp(−‖x_t − α a_k‖² / 2σ²)
    /// E[x_0|x_t] = Σ_k w_k a_k          Cov = Σ_k w_k (a_k − E)(a_k − E)ᵀ
    /// ∇ log q_t(x_t) = −Σ_k w_k (x_t − α a_k)/σ²
    /// log q_t(x_t) = ln Σ_k p_k exp(…) − ln Σ_k p_k − (n/2) ln(2πσ²)
    /// ```
    /// The largest exponent is taken out before `exp`, so nothing overflows and the weights sum to one at any σ. Mean and
    /// covariance are taken about the heaviest atom (`[eq:centred-moments]`), so a concentrated posterior keeps its digits.
    ///
    /// # Shapes
    /// x `[n]` → weights `[K]`, mean and score `[n]`, covariance `[n, n]`.
    ///
    /// # Errors
    /// [`LawError::PointLength`] if x has another dimension, [`LawError::Noise`] if α or σ is refused.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), sadm_theory::laws::LawError> {
    /// use ndarray::array;
    /// use sadm_theory::laws::FiniteLaw;
    /// // Atoms ±1: the posterior mean of a standard channel is tanh(x α/σ²).
    /// let law = FiniteLaw::uniform(array![[-1.0], [1.0]])?;
    /// let posterior = law.posterior(&[0.3], 0.8, 0.6)?;
    /// let want = (0.3_f64 * 0.8 / 0.36).tanh();
    /// assert!((posterior.mean[0].value - want).abs() <= posterior.mean[0].error + 1e-16);
    /// # Ok(()) }
    /// ```
    pub fn posterior(&self, x: &[f64], alpha: f64, sigma: f64) -> Result<Posterior, LawError> {
        let terms = self.log_terms(x, alpha, sigma)?;
        let (weights, log_total) = softmax(&terms);
        let n = self.atoms.ncols();
        let centred = self.centred(&weights);
        let centre = self.atoms.row(centred.heaviest);
        let mean: Vec<Rounded> = centre
            .iter()
            .zip(&centred.mean)
            .map(|(&a, &m)| Rounded::exact(a) + m)
            .collect();
        let variance = Rounded::exact(sigma).square();
        let score = (0..n)
            .map(|i| {
                let pull = |a: ArrayView1<f64>| {
                    (Rounded::exact(alpha) * a[i] - Rounded::exact(x[i])) / variance
                };
                self.expectation(&weights, pull)
            })
            .collect();
        let covariance = Array2::from_shape_fn((n, n), |(i, j)| {
            let product = |offset: &[Rounded]| offset[i] * offset[j];
            let raw = Rounded::sum(
                weights
                    .iter()
                    .zip(&centred.offsets)
                    .map(|(&w, o)| w * product(o)),
            );
            raw - product(&centred.mean)
        });
        let prior_total = Rounded::sum(self.prior.iter().map(|&p| p.into()));
        let log_volume = (variance * two_pi()).ln() * (n as f64 / 2.0);
        let log_density = log_total - prior_total.ln() - log_volume;
        Ok(Posterior {
            weights,
            mean,
            covariance,
            score,
            log_density,
        })
    }

    /// Moments about the heaviest atom a_d.
    ///
    /// # Formula `[eq:centred-moments]`
    /// ```text
    /// E[x_0] = a_d + μ,  μ = Σ_{k≠d} w_k (a_k − a_d)      Cov = Σ_{k≠d} w_k (a_k − a_d)(a_k − a_d)ᵀ − μμᵀ
    /// ```
    /// No digit is lost where all weight but w_d is small. The subtraction loses at most a factor K: on the diagonal
    /// μ_i² = (a_d − E)_i² ≤ Cov_ii/w_d ≤ K·Cov_ii.
    fn centred(&self, weights: &[Rounded]) -> Centred {
        let heaviest = heaviest(weights);
        let centre = self.atoms.row(heaviest);
        let offset = |(k, atom): (usize, ArrayView1<f64>)| -> Vec<Rounded> {
            let difference = |(&a, &c): (&f64, &f64)| {
                if k == heaviest {
                    Rounded::exact(0.0)
                } else {
                    Rounded::exact(a) - Rounded::exact(c)
                }
            };
            atom.iter().zip(centre).map(difference).collect()
        };
        let offsets: Vec<Vec<Rounded>> = self
            .atoms
            .rows()
            .into_iter()
            .enumerate()
            .map(offset)
            .collect();
        let mean = (0..self.atoms.ncols())
            .map(|i| Rounded::sum(weights.iter().zip(&offsets).map(|(&w, o)| w * o[i])))
            .collect();
        Centred {
            heaviest,
            offsets,
            mean,
        }
    }

    /// Σ_k δ_k a_k for numbers δ_k that add up to 0: about the heaviest atom, Σ_{k≠d} δ_k (a_k − a_d).
    fn displacement(&self, weights: &[Rounded], change: &[Rounded]) -> Vec<Rounded> {
        let offsets = self.centred(weights).offsets;
        (0..self.atoms.ncols())
            .map(|i| Rounded::sum(change.iter().zip(&offsets).map(|(&c, o)| c * o[i])))
            .collect()
    }

    /// Σ_k w_k f(a_k).
    fn expectation(&self, weights: &[Rounded], f: impl Fn(ArrayView1<f64>) -> Rounded) -> Rounded {
        Rounded::sum(
            self.atoms
                .rows()
                .into_iter()
                .zip(weights)
                .map(|(a, &w)| w * f(a)),
        )
    }
}

/// What [`FiniteLaw::centred`] returns.
struct Centred {
    /// d.
    heaviest: usize,
    /// a_k − a_d `[K][n]`.
    offsets: Vec<Vec<Rounded>>,
    /// μ `[n]`.
    mean: Vec<Rounded>,
}

/// The place of the largest weight, the first of several.
pub(crate) fn heaviest(weights: &[Rounded]) -> usize {
    let larger =
        |d: usize, (k, w): (usize, &Rounded)| if w.value > weights[d].value { k } else { d };
    weights.iter().enumerate().fold(0, larger)
}

/// Refuses a noised point of another dimension, or one that is not finite.
pub(crate) fn check_point(x: &[f64], dimension: usize) -> Result<(), LawError> {
    if x.len() != dimension {
        return Err(LawError::PointLength {
            dimension,
            got: x.len(),
        });
    }
    match x.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((coordinate, &got)) => Err(LawError::PointNotFinite { coordinate, got }),
        None => Ok(()),
    }
}

/// Refuses an α that is not finite and a σ that is not finite and positive.
pub(crate) fn check_noise(alpha: f64, sigma: f64) -> Result<(), LawError> {
    if alpha.is_finite() && sigma.is_finite() && sigma > 0.0 {
        Ok(())
    } else {
        Err(LawError::Noise { alpha, sigma })
    }
}

/// ‖x − α a‖².
fn squared_distance(x: &[f64], atom: ArrayView1<f64>, alpha: f64) -> Rounded {
    Rounded::sum(
        x.iter()
            .zip(atom)
            .map(|(&x, &a)| (Rounded::exact(x) - Rounded::exact(alpha) * a).square()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_far_point_gives_weights_that_sum_to_one_without_overflow() -> Result<(), LawError> {
        let law = FiniteLaw::uniform(array![[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])?;
        let posterior = law.posterior(&[300.0, -200.0], 1.0, 0.002)?;
        let total = Rounded::sum(posterior.weights.iter().copied());
        assert!((total.value - 1.0).abs() <= total.error);
        assert!(posterior.log_density.value < -1e9 && posterior.log_density.value.is_finite());
        Ok(())
    }

    #[test]
    fn one_atom_is_a_gaussian() -> Result<(), LawError> {
        let law = FiniteLaw::new(array![[0.75]], vec![3.0])?;
        let p = law.posterior(&[1.5], 0.5, 2.0)?;
        let want = -0.5 * (1.125_f64 / 2.0).powi(2) - 0.5 * (std::f64::consts::TAU * 4.0).ln();
        assert!((p.log_density.value - want).abs() <= p.log_density.error + 4.0 * f64::EPSILON);
        assert!((p.score[0].value + 1.125 / 4.0).abs() <= p.score[0].error);
        assert_eq!(p.covariance[[0, 0]].value.to_bits(), 0.0_f64.to_bits());
        Ok(())
    }

    #[test]
    fn refusals_name_what_was_got() {
        let message = |r: Result<FiniteLaw, LawError>| r.expect_err("must be refused").to_string();
        assert!(message(FiniteLaw::uniform(Array2::zeros((0, 2)))).contains("[0, 2]"));
        assert!(message(FiniteLaw::uniform(array![[1.0, f64::NAN]])).contains("coordinate 1"));
        assert!(message(FiniteLaw::new(array![[1.0]], vec![0.0])).contains("weight 0"));
        assert!(message(FiniteLaw::new(array![[1.0]], vec![])).contains("got 0"));
        let law = FiniteLaw::uniform(array![[1.0]]).expect("one atom");
        assert!(law.posterior(&[1.0, 2.0], 1.0, 1.0).is_err());
        assert!(law.posterior(&[1.0], 1.0, 0.0).is_err());
        assert!(law.posterior(&[1.0], 1.0, f64::INFINITY).is_err());
        assert!(law.posterior(&[1.0], f64::NAN, 1.0).is_err());
        assert!(matches!(
            law.posterior(&[f64::NAN], 1.0, 1.0),
            Err(LawError::PointNotFinite { coordinate: 0, .. })
        ));
    }
}
