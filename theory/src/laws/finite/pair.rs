//! A pair of independent samples on a finite law, and its relation: density, tilted weights, scores.

use ndarray::{Array2, ArrayView1};
use sadm_reference::relation::{Relation, affinity};

use super::{FiniteLaw, LawError, log_normal_density, normal_density, softmax};
use crate::laws::relation::{dot, exact, relation, relation_grad};
use crate::rounding::Rounded;

/// What is observed of a pair: a relation R(x^i, x^j), its value r, and the standard deviation γ of the observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The relation R.
    pub relation: Relation,
    /// Its observed value r.
    pub r: f64,
    /// Standard deviation γ > 0.
    pub gamma: f64,
}

/// The posterior of a pair: independent samples that share t have the product posterior over K² pair atoms.
#[derive(Debug, Clone, PartialEq)]
pub struct PairPosterior {
    /// Weights of the first sample's atoms `[K]`.
    pub first: Vec<Rounded>,
    /// Weights of the second sample's atoms `[K]`.
    pub second: Vec<Rounded>,
    /// Logarithms of the weights, which do not underflow `[K]` each.
    logs: [Vec<Rounded>; 2],
}

/// The posterior of a pair once its relation is known too.
#[derive(Debug, Clone, PartialEq)]
pub struct Tilted {
    /// π_kl = q(a_k, a_l | y_t, r) `[K, K]`.
    pub weights: Array2<Rounded>,
    /// ln q_t(r | y_t).
    pub log_density: Rounded,
}

/// A gradient with respect to both noised points of a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PairScore {
    /// With respect to y_i `[n]`.
    pub first: Vec<Rounded>,
    /// With respect to y_j `[n]`.
    pub second: Vec<Rounded>,
}

impl Observation {
    /// Refuses an r that is not finite and a γ that is not finite and positive.
    pub(crate) fn check(&self) -> Result<(), LawError> {
        check_gamma(self.gamma)?;
        if self.r.is_finite() {
            Ok(())
        } else {
            Err(LawError::Observed {
                index: 0,
                got: self.r,
            })
        }
    }

    /// ln g(r | R = m).
    pub fn log_density(&self, m: Rounded) -> Rounded {
        log_normal_density(self.r, m, self.gamma)
    }

    /// g(r | R = m).
    pub fn density(&self, m: Rounded) -> Rounded {
        normal_density(self.r, m, self.gamma)
    }

    /// ∂ ln g(r | R(a, b))/∂a = (r − R)/γ² · ∂R/∂a.
    pub(crate) fn log_grad(&self, a: &[Rounded], b: &[Rounded]) -> Vec<Rounded> {
        let misfit = Rounded::exact(self.r) - relation(self.relation, a, b);
        let factor = misfit / Rounded::exact(self.gamma).square();
        relation_grad(self.relation, a, b)
            .into_iter()
            .map(|g| factor * g)
            .collect()
    }
}

pub(crate) fn check_gamma(gamma: f64) -> Result<(), LawError> {
    if gamma.is_finite() && gamma > 0.0 {
        Ok(())
    } else {
        Err(LawError::Gamma { got: gamma })
    }
}

impl FiniteLaw {
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
        let (first, log_first) = self.log_weights(yi, alpha, sigma)?;
        let (second, log_second) = self.log_weights(yj, alpha, sigma)?;
        Ok(PairPosterior {
            first,
            second,
            logs: [log_first, log_second],
        })
    }

    /// Posterior weights given x_t, and their logarithms.
    pub(super) fn log_weights(
        &self,
        x: &[f64],
        alpha: f64,
        sigma: f64,
    ) -> Result<(Vec<Rounded>, Vec<Rounded>), LawError> {
        let terms = self.log_terms(x, alpha, sigma)?;
        let (weights, total) = softmax(&terms);
        Ok((weights, terms.into_iter().map(|t| t - total).collect()))
    }

    /// R over every pair of atoms `[K, K]`, with bounds.
    ///
    /// # Errors
    /// [`LawError::Relation`] if the relation cannot be taken between the atoms.
    pub fn relation_over_atoms(&self, kind: Relation) -> Result<Array2<Rounded>, LawError> {
        affinity(kind, &self.atoms)?;
        let row = |k: usize| exact(self.atoms.row(k).iter().copied());
        let count = self.atoms.nrows();
        Ok(Array2::from_shape_fn((count, count), |(k, l)| {
            relation(kind, &row(k), &row(l))
        }))
    }

    /// Score of the relation of a noised pair, exactly.
    ///
    /// # Formula `[eq:relation-score]`
    /// ```text
    /// ∇_{y_i} ln q_t(r | y_t) = (α/σ²) (E[x^i | y_t, r] − E[x^i | y_t]) = (α/σ²) Σ_kl π_kl (a_k − x̂_i)
    /// π_kl ∝ w_k v_l g(r | R(a_k, a_l))
    /// ```
    /// The relation moves the denoiser's output to the posterior mean that also knows r.
    ///
    /// # Shapes
    /// y_i, y_j `[n]` → two gradients `[n]`.
    ///
    /// # Errors
    /// As [`FiniteLaw::posterior`]; [`LawError::Relation`], [`LawError::Gamma`], [`LawError::Observed`].
    ///
    /// # Source
    /// SADM (arXiv:2402.17563), Eq. 12–13; derivation in the book.
    pub fn relation_score(
        &self,
        yi: &[f64],
        yj: &[f64],
        alpha: f64,
        sigma: f64,
        observation: &Observation,
    ) -> Result<PairScore, LawError> {
        let pair = self.pair(yi, yj, alpha, sigma)?;
        let tilted = pair.given(
            observation,
            &self.relation_over_atoms(observation.relation)?,
        )?;
        let scale = Rounded::exact(alpha) / Rounded::exact(sigma).square();
        let score = |weights: &[Rounded], tilted: Vec<Rounded>| -> Vec<Rounded> {
            (0..self.atoms.ncols())
                .map(|i| {
                    let mean = self.expectation(weights, |a| a[i].into());
                    scale * self.expectation(&tilted, |a: ArrayView1<f64>| mean_free(a[i], mean))
                })
                .collect()
        };
        Ok(PairScore {
            first: score(&pair.first, tilted.first()),
            second: score(&pair.second, tilted.second()),
        })
    }

    /// Score of the plug-in relation, through the ideal denoiser x̂(y) = E\[x_0|y\].
    ///
    /// # Formula `[eq:plug-in-score]`
    /// ```text
    /// ∇_{y_i} ln g(r | R(x̂_i, x̂_j)) = (α/σ²) Cov[x^i | y_i] ∇_1R(x̂_i, x̂_j) (r − R(x̂_i, x̂_j))/γ²
    /// ```
    /// since the Jacobian of the posterior mean is ∂x̂/∂y = (α/σ²) Cov\[x_0|y\].
    ///
    /// # Shapes
    /// y_i, y_j `[n]` → two gradients `[n]`.
    ///
    /// # Errors
    /// As [`FiniteLaw::relation_score`]; [`LawError::Relation`] also if a posterior mean is zero under cosine.
    pub fn plug_in_score(
        &self,
        yi: &[f64],
        yj: &[f64],
        alpha: f64,
        sigma: f64,
        observation: &Observation,
    ) -> Result<PairScore, LawError> {
        observation.check()?;
        let (pi, pj) = (
            self.posterior(yi, alpha, sigma)?,
            self.posterior(yj, alpha, sigma)?,
        );
        check_vectors(observation.relation, &pi.mean, &pj.mean)?;
        let scale = Rounded::exact(alpha) / Rounded::exact(sigma).square();
        let through = |covariance: &Array2<Rounded>, grad: Vec<Rounded>| -> Vec<Rounded> {
            covariance
                .rows()
                .into_iter()
                .map(|row| scale * dot(&row.to_vec(), &grad))
                .collect()
        };
        Ok(PairScore {
            first: through(&pi.covariance, observation.log_grad(&pi.mean, &pj.mean)),
            second: through(&pj.covariance, observation.log_grad(&pj.mean, &pi.mean)),
        })
    }
}

/// a − x̂.
fn mean_free(a: f64, mean: Rounded) -> Rounded {
    Rounded::exact(a) - mean
}

/// Refuses two vectors between which the reference does not take this relation.
pub(crate) fn check_vectors(kind: Relation, a: &[Rounded], b: &[Rounded]) -> Result<(), LawError> {
    let both = [a, b];
    let vectors = Array2::from_shape_fn((2, a.len()), |(row, i)| both[row][i].value);
    affinity(kind, &vectors)?;
    Ok(())
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
    /// [`LawError::RelationShape`] if the relation is not over these atoms, [`LawError::Gamma`] if γ is refused.
    ///
    /// # Source
    /// SADM (arXiv:2402.17563), Eq. 13.
    pub fn relation_density(
        &self,
        r: f64,
        relation: &Array2<f64>,
        gamma: f64,
    ) -> Result<Rounded, LawError> {
        self.check_shape(relation.dim())?;
        check_gamma(gamma)?;
        Ok(self.expectation(|k, l| normal_density(r, relation[[k, l]].into(), gamma)))
    }

    /// The pair's posterior once its relation is observed: Bayes' rule over pair atoms, in logarithms.
    ///
    /// # Formula `[eq:tilted-weights]`
    /// ```text
    /// π_kl = w_k v_l g(r | R(a_k, a_l)) / q_t(r | y_t)
    /// ```
    /// # Shapes
    /// relation `[K, K]` as [`FiniteLaw::relation_over_atoms`] gives it → weights `[K, K]`.
    ///
    /// # Errors
    /// [`LawError::RelationShape`], [`LawError::Gamma`], [`LawError::Observed`].
    pub fn given(
        &self,
        observation: &Observation,
        relation: &Array2<Rounded>,
    ) -> Result<Tilted, LawError> {
        self.check_shape(relation.dim())?;
        observation.check()?;
        let log = |((k, l), &m): ((usize, usize), &Rounded)| {
            self.logs[0][k] + self.logs[1][l] + observation.log_density(m)
        };
        let terms: Vec<Rounded> = relation.indexed_iter().map(log).collect();
        let (weights, log_density) = softmax(&terms);
        let atoms = self.first.len();
        Ok(Tilted {
            weights: Array2::from_shape_fn((atoms, atoms), |(k, l)| weights[k * atoms + l]),
            log_density,
        })
    }

    fn check_shape(&self, (rows, columns): (usize, usize)) -> Result<(), LawError> {
        let atoms = self.first.len();
        if (rows, columns) == (atoms, atoms) {
            Ok(())
        } else {
            Err(LawError::RelationShape {
                atoms,
                rows,
                columns,
            })
        }
    }
}

impl Tilted {
    /// Weights of the first sample's atoms given y_t and r `[K]`.
    pub fn first(&self) -> Vec<Rounded> {
        let rows = self.weights.rows().into_iter();
        rows.map(|r| Rounded::sum(r.iter().copied())).collect()
    }

    /// Weights of the second sample's atoms given y_t and r `[K]`.
    pub fn second(&self) -> Vec<Rounded> {
        let columns = self.weights.columns().into_iter();
        columns.map(|c| Rounded::sum(c.iter().copied())).collect()
    }
}
