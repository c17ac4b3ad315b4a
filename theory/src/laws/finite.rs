//! A law with finitely many atoms: every expectation under its posterior is a finite sum.

use ndarray::{Array2, ArrayView1};

use crate::rounding::Rounded;

/// Why a finite-support law, or a question to it, was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LawError {
    /// There must be at least one atom in at least one dimension.
    #[error("atoms must be a [K, n] array with K ≥ 1 and n ≥ 1, got [{atoms}, {dimension}]")]
    Empty {
        /// Number of atoms given.
        atoms: usize,
        /// Dimension given.
        dimension: usize,
    },
    /// Atoms must be finite.
    #[error("atom {atom} must be finite, got {got} in coordinate {coordinate}")]
    NotFinite {
        /// Index of the atom.
        atom: usize,
        /// Index of the coordinate.
        coordinate: usize,
        /// The refused value.
        got: f64,
    },
    /// One prior weight per atom.
    #[error("prior must have one weight per atom ({atoms}), got {got}")]
    PriorLength {
        /// Number of atoms.
        atoms: usize,
        /// Number of weights given.
        got: usize,
    },
    /// Prior weights must be finite and positive.
    #[error("prior weight {atom} must be finite and > 0, got {got}")]
    PriorWeight {
        /// Index of the weight.
        atom: usize,
        /// The refused value.
        got: f64,
    },
    /// The noised point must live in the space of the atoms.
    #[error("x_t must have the dimension of the atoms ({dimension}), got {got}")]
    PointLength {
        /// Dimension of the atoms.
        dimension: usize,
        /// Length given.
        got: usize,
    },
    /// α must be finite and σ finite and positive.
    #[error("alpha must be finite and sigma finite and > 0, got alpha = {alpha}, sigma = {sigma}")]
    Noise {
        /// The α given.
        alpha: f64,
        /// The σ given.
        sigma: f64,
    },
    /// A relation over atoms is a [K, K] matrix.
    #[error("relation must be [{atoms}, {atoms}] over the atoms, got [{rows}, {columns}]")]
    RelationShape {
        /// Number of atoms.
        atoms: usize,
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
}

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
    /// Cov[x_0 | x_t] `[n, n]`.
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
        if x.len() != self.atoms.ncols() {
            return Err(LawError::PointLength {
                dimension: self.atoms.ncols(),
                got: x.len(),
            });
        }
        if !(alpha.is_finite() && sigma.is_finite() && sigma > 0.0) {
            return Err(LawError::Noise { alpha, sigma });
        }
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
    /// The largest exponent is taken out before `exp`, so nothing overflows and the weights sum to one at any σ.
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
        let mean: Vec<Rounded> = (0..n)
            .map(|i| self.expectation(&weights, |a| a[i].into()))
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
            self.expectation(&weights, |a| {
                (Rounded::exact(a[i]) - mean[i]) * (Rounded::exact(a[j]) - mean[j])
            })
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

    /// Posterior of an independent pair (x^i, x^j) given (y_i, y_j), both noised at the same time.
    ///
    /// # Errors
    /// As [`FiniteLaw::posterior`].
    pub fn pair(
        &self,
        yi: &[f64],
        yj: &[f64],
        alpha: f64,
        sigma: f64,
    ) -> Result<PairPosterior, LawError> {
        Ok(PairPosterior {
            first: softmax(&self.log_terms(yi, alpha, sigma)?).0,
            second: softmax(&self.log_terms(yj, alpha, sigma)?).0,
        })
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

/// The posterior of a pair: independent samples that share t have the product posterior over K² pair atoms.
#[derive(Debug, Clone, PartialEq)]
pub struct PairPosterior {
    /// Weights of the first sample's atoms `[K]`.
    pub first: Vec<Rounded>,
    /// Weights of the second sample's atoms `[K]`.
    pub second: Vec<Rounded>,
}

impl PairPosterior {
    /// E[f(k, l) | y_t] over pair atoms (a_k, a_l).
    pub fn expectation(&self, f: impl Fn(usize, usize) -> Rounded) -> Rounded {
        let inner =
            |k: usize| Rounded::sum(self.second.iter().enumerate().map(|(l, &w)| w * f(k, l)));
        Rounded::sum(self.first.iter().enumerate().map(|(k, &w)| w * inner(k)))
    }

    /// Var[f(k, l) | y_t] in the form ½ Σ w w' (f − f')², which is exactly zero for a constant f and shares
    /// no subtraction with `E[f²] − E[f]²`.
    pub fn variance(&self, f: impl Fn(usize, usize) -> Rounded) -> Rounded {
        self.expectation(|k, l| {
            let here = f(k, l);
            self.expectation(|m, n| (here - f(m, n)).square())
        }) * 0.5
    }

    /// Density of the relation given the noised pair.
    ///
    /// # Formula `[eq:relation-density]`
    /// ```text
    /// q_t(r | y_t) = E[g(r | y_0) | y_t],     g(r | y_0) = N(r; R(y_0), γ²)
    /// ```
    /// # Shapes
    /// relation `[K, K]`: R over every pair of atoms, as `sadm_reference::relation::affinity` of the atoms gives it.
    ///
    /// # Errors
    /// [`LawError::RelationShape`] if the relation is not over these atoms.
    ///
    /// # Source
    /// SADM (arXiv:2402.17563), Eq. 13.
    pub fn relation_density(
        &self,
        r: f64,
        relation: &Array2<f64>,
        gamma: f64,
    ) -> Result<Rounded, LawError> {
        let atoms = self.first.len();
        let (rows, columns) = relation.dim();
        if (rows, columns) != (atoms, atoms) {
            return Err(LawError::RelationShape {
                atoms,
                rows,
                columns,
            });
        }
        Ok(self.expectation(|k, l| normal_density(r, relation[[k, l]].into(), gamma)))
    }
}

/// N(r; m, γ²), the density with which a relation is observed.
///
/// # Formula `[eq:observation]`
/// ```text
/// g(r) = exp(−(r − m)²/2γ²) / (γ √(2π))
/// ```
pub fn normal_density(r: f64, mean: Rounded, gamma: f64) -> Rounded {
    let gamma = Rounded::exact(gamma);
    let z = (Rounded::exact(r) - mean) / gamma;
    (-(z.square() * 0.5)).exp() / (gamma * two_pi().sqrt())
}

/// The constant 2π, known to half an ulp.
pub fn two_pi() -> Rounded {
    Rounded::within(
        std::f64::consts::TAU,
        std::f64::consts::TAU * f64::EPSILON / 2.0,
    )
}

/// ‖x − α a‖².
fn squared_distance(x: &[f64], atom: ArrayView1<f64>, alpha: f64) -> Rounded {
    Rounded::sum(
        x.iter()
            .zip(atom)
            .map(|(&x, &a)| (Rounded::exact(x) - Rounded::exact(alpha) * a).square()),
    )
}

/// Softmax of the terms and the logarithm of their exponentials' sum; the largest term is taken out first.
fn softmax(terms: &[Rounded]) -> (Vec<Rounded>, Rounded) {
    // Any shift is exact mathematically, so the computed maximum is taken as an exact number.
    let top = Rounded::exact(terms.iter().fold(f64::NEG_INFINITY, |m, t| m.max(t.value)));
    let scaled: Vec<Rounded> = terms.iter().map(|&t| (t - top).exp()).collect();
    let total = Rounded::sum(scaled.iter().copied());
    let weights = scaled.into_iter().map(|s| s / total).collect();
    (weights, top + total.ln())
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
    fn normal_density_is_normalised_and_has_its_width() {
        let sum: f64 = (-800..800)
            .map(|k| normal_density(f64::from(k) / 64.0, 0.75.into(), 0.5).value / 64.0)
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let (top, side) = (
            normal_density(0.75, 0.75.into(), 0.5),
            normal_density(1.25, 0.75.into(), 0.5),
        );
        let ratio = side / top;
        assert!((ratio.value - (-0.5_f64).exp()).abs() <= ratio.error + f64::EPSILON);
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
        let pair = law.pair(&[1.0], &[0.0], 1.0, 1.0).expect("a pair");
        assert!(
            pair.relation_density(0.0, &Array2::zeros((2, 2)), 1.0)
                .is_err()
        );
    }
}
