//! Answers of the finite law for other programs: plain f64, whole batches, values of the tracked computations.
//!
//! The inputs of a question are one [`Finite`]; every row of a batch has its own α and σ.

use ndarray::{Array1, Array2, Array3, ArrayView1};

use super::finite::{LARGEST_LOG_RATIO, check_gamma, check_vectors, log_ratio};
use super::relation::{exact, relation};
use super::{FiniteLaw, LawError, Observation, PairPosterior, tight_weight};
use crate::rounding::Rounded;

/// A finite law and the noise levels of a batch of N noised points or pairs.
#[derive(Debug, Clone, Copy)]
pub struct Finite<'a> {
    /// The law.
    pub law: &'a FiniteLaw,
    /// α of each row `[N]`.
    pub alpha: &'a [f64],
    /// σ of each row `[N]`.
    pub sigma: &'a [f64],
}

/// What [`Finite::posterior`] answers.
#[derive(Debug, Clone, PartialEq)]
pub struct PosteriorAnswer {
    /// q(a_k | x_t) `[N, K]`.
    pub weights: Array2<f64>,
    /// E[x_0 | x_t] `[N, n]`.
    pub mean: Array2<f64>,
    /// Cov[x_0 | x_t] `[N, n, n]`.
    pub covariance: Array3<f64>,
    /// ∇ log q_t(x_t) `[N, n]`.
    pub score: Array2<f64>,
    /// log q_t(x_t) `[N]`.
    pub log_density: Array1<f64>,
}

/// What [`Finite::jensen`] answers, one number for each pair `[N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct JensenAnswer {
    /// q_t(r|y_t) = E[g(r|y_0) | y_t].
    pub q_r: Array1<f64>,
    /// g(r|ŷ_0).
    pub plug_in: Array1<f64>,
    /// (q_r − plug_in)².
    pub error2: Array1<f64>,
    /// Var[g | y_t].
    pub gap: Array1<f64>,
    /// E[(g − plug_in)² | y_t] = error2 + gap.
    pub jensen: Array1<f64>,
    /// w(γ) E[(R(y_0) − R(ŷ_0))² | y_t] ≥ jensen, w(γ) = 1/(2πeγ⁴).
    pub bound: Array1<f64>,
}

/// What [`Finite::relation_score`] answers `[N, n]` each.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreAnswer {
    /// ∇_{y_i} ln q_t(r|y_t).
    pub grad_yi: Array2<f64>,
    /// ∇_{y_j} ln q_t(r|y_t).
    pub grad_yj: Array2<f64>,
    /// ∇_{y_i} ln g(r|R(x̂_i, x̂_j)).
    pub plug_in_grad_yi: Array2<f64>,
    /// ∇_{y_j} ln g(r|R(x̂_i, x̂_j)).
    pub plug_in_grad_yj: Array2<f64>,
}

/// Noised pairs with an observed relation.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// First points `[N, n]`.
    pub yi: &'a Array2<f64>,
    /// Second points `[N, n]`.
    pub yj: &'a Array2<f64>,
    /// Observed relations `[N]`.
    pub r: &'a [f64],
    /// The relation, and γ. Its own `r` is not read.
    pub observation: Observation,
}

/// E[(g − ĝ)²] and its parts, for one pair.
struct Jensen {
    q_r: Rounded,
    plug_in: Rounded,
    error2: Rounded,
    gap: Rounded,
    total: Rounded,
    bound: Rounded,
}

impl Finite<'_> {
    /// Posteriors of a batch of noised points, [`FiniteLaw::posterior`] by rows.
    ///
    /// # Shapes
    /// x `[N, n]`.
    ///
    /// # Errors
    /// [`LawError::Shape`] if α or σ has not one value per row; as [`FiniteLaw::posterior`].
    pub fn posterior(&self, x: &Array2<f64>) -> Result<PosteriorAnswer, LawError> {
        let (rows, n) = x.dim();
        self.check_rows(rows)?;
        let mut answer = PosteriorAnswer {
            weights: Array2::zeros((rows, self.law.prior().len())),
            mean: Array2::zeros((rows, n)),
            covariance: Array3::zeros((rows, n, n)),
            score: Array2::zeros((rows, n)),
            log_density: Array1::zeros(rows),
        };
        for (row, point) in x.rows().into_iter().enumerate() {
            let p = self
                .law
                .posterior(&point.to_vec(), self.alpha[row], self.sigma[row])?;
            answer.weights.row_mut(row).assign(&values(&p.weights));
            answer.mean.row_mut(row).assign(&values(&p.mean));
            answer.score.row_mut(row).assign(&values(&p.score));
            let mut covariance = answer.covariance.index_axis_mut(ndarray::Axis(0), row);
            covariance.assign(&p.covariance.mapv(|c| c.value));
            answer.log_density[row] = p.log_density.value;
        }
        Ok(answer)
    }

    /// The terms of Eq. 14 for a batch of noised pairs.
    ///
    /// # Formula `[eq:jensen-terms]`
    /// ```text
    /// E[(g − ĝ)² | y_t] = (q_t(r|y_t) − ĝ)² + Var[g | y_t] ≤ w(γ) E[(R(y_0) − R(ŷ_0))² | y_t]
    /// ĝ = g(r | R(x̂_i, x̂_j)),      w(γ) = 1/(2πeγ⁴)
    /// ```
    /// No difference is taken of two computed densities: g − ĝ = ĝ (e^{ln g − ln ĝ} − 1) with `[eq:log-ratio]`, from R − R(ŷ_0),
    /// for the posterior means by `[eq:relation-step]` from the heaviest atoms. So `error2` keeps its digits where the
    /// posterior has nearly all weight on one pair atom, and where g is flat.
    ///
    /// # Shapes
    /// predictions: x̂_i and x̂_j `[N, n]` each; without them the posterior means.
    ///
    /// # Errors
    /// [`LawError::Shape`] if the rows do not agree, [`LawError::Relation`] if the relation cannot be taken between two
    /// atoms or predictions, [`LawError::Gamma`], [`LawError::Observed`]; as [`FiniteLaw::posterior`].
    pub fn jensen(
        &self,
        pairs: &Pairs<'_>,
        predictions: Option<(&Array2<f64>, &Array2<f64>)>,
    ) -> Result<JensenAnswer, LawError> {
        self.check_pairs(pairs)?;
        if let Some((first, second)) = predictions {
            check_shape("x_hat_i", first, pairs.yi.shape())?;
            check_shape("x_hat_j", second, pairs.yi.shape())?;
        }
        let over_atoms = self.law.relation_over_atoms(pairs.observation.relation)?;
        let rows = (0..pairs.r.len())
            .map(|row| self.jensen_of(pairs, &over_atoms, predictions, row))
            .collect::<Result<Vec<_>, _>>()?;
        let column = |f: fn(&Jensen) -> Rounded| -> Array1<f64> {
            rows.iter().map(|t| f(t).value).collect()
        };
        Ok(JensenAnswer {
            q_r: column(|t| t.q_r),
            plug_in: column(|t| t.plug_in),
            error2: column(|t| t.error2),
            gap: column(|t| t.gap),
            jensen: column(|t| t.total),
            bound: column(|t| t.bound),
        })
    }

    /// Scores of the relation of a batch of noised pairs, exactly and through the ideal denoiser.
    ///
    /// # Errors
    /// As [`Finite::jensen`].
    pub fn relation_score(&self, pairs: &Pairs<'_>) -> Result<ScoreAnswer, LawError> {
        self.check_pairs(pairs)?;
        let over_atoms = self.law.relation_over_atoms(pairs.observation.relation)?;
        let zeros = Array2::zeros(pairs.yi.dim());
        let mut answer = ScoreAnswer {
            grad_yi: zeros.clone(),
            grad_yj: zeros.clone(),
            plug_in_grad_yi: zeros.clone(),
            plug_in_grad_yj: zeros,
        };
        for row in 0..pairs.r.len() {
            let (yi, yj) = (pairs.yi.row(row).to_vec(), pairs.yj.row(row).to_vec());
            let (alpha, sigma) = (self.alpha[row], self.sigma[row]);
            let seen = pairs.observation(row);
            let pair = self.law.pair(&yi, &yj, alpha, sigma)?;
            let exact = self
                .law
                .score_over(&pair, alpha, sigma, &seen, &over_atoms)?;
            let plug_in = self.law.plug_in_score(&yi, &yj, alpha, sigma, &seen)?;
            answer.grad_yi.row_mut(row).assign(&values(&exact.first));
            answer.grad_yj.row_mut(row).assign(&values(&exact.second));
            let (first, second) = (values(&plug_in.first), values(&plug_in.second));
            answer.plug_in_grad_yi.row_mut(row).assign(&first);
            answer.plug_in_grad_yj.row_mut(row).assign(&second);
        }
        Ok(answer)
    }

    fn jensen_of(
        &self,
        pairs: &Pairs<'_>,
        over_atoms: &Array2<Rounded>,
        predictions: Option<(&Array2<f64>, &Array2<f64>)>,
        row: usize,
    ) -> Result<Jensen, LawError> {
        let (yi, yj) = (pairs.yi.row(row).to_vec(), pairs.yj.row(row).to_vec());
        let (alpha, sigma) = (self.alpha[row], self.sigma[row]);
        let seen = pairs.observation(row);
        let pair = self.law.pair(&yi, &yj, alpha, sigma)?;
        let (predicted, gaps) = match predictions {
            Some((first, second)) => {
                let (first, second) = (given(first.row(row)), given(second.row(row)));
                check_vectors(seen.relation, &first, &second)?;
                let predicted = relation(seen.relation, &first, &second);
                (predicted, over_atoms.mapv(|m| m - predicted))
            }
            None => self.law.gaps_to_mean(&pair, seen.relation, over_atoms)?,
        };
        Ok(jensen_terms(&pair, over_atoms, predicted, &gaps, &seen))
    }

    fn check_rows(&self, rows: usize) -> Result<(), LawError> {
        for (what, got) in [("alpha", self.alpha.len()), ("sigma", self.sigma.len())] {
            if got != rows {
                return Err(LawError::Shape {
                    what,
                    want: vec![rows],
                    got: vec![got],
                });
            }
        }
        Ok(())
    }

    fn check_pairs(&self, pairs: &Pairs<'_>) -> Result<(), LawError> {
        let rows = pairs.yi.nrows();
        self.check_rows(rows)?;
        check_shape("y_j", pairs.yj, pairs.yi.shape())?;
        if pairs.r.len() != rows {
            return Err(LawError::Shape {
                what: "r",
                want: vec![rows],
                got: vec![pairs.r.len()],
            });
        }
        check_gamma(pairs.observation.gamma)?;
        match pairs.r.iter().enumerate().find(|(_, r)| !r.is_finite()) {
            Some((index, &got)) => Err(LawError::Observed { index, got }),
            None => Ok(()),
        }
    }
}

impl Pairs<'_> {
    /// What is observed of one pair.
    fn observation(&self, row: usize) -> Observation {
        Observation {
            r: self.r[row],
            ..self.observation
        }
    }
}

/// The terms from R over the atoms, R(ŷ_0), and their differences R − R(ŷ_0).
fn jensen_terms(
    pair: &PairPosterior,
    over_atoms: &Array2<Rounded>,
    predicted: Rounded,
    gaps: &Array2<Rounded>,
    seen: &Observation,
) -> Jensen {
    let g = |k: usize, l: usize| seen.density(over_atoms[[k, l]]);
    let plug_in = seen.density(predicted);
    let logs = Array2::from_shape_fn(gaps.dim(), |at| {
        log_ratio(seen.r, over_atoms[at], gaps[at], seen.gamma)
    });
    let direct = plug_in.value == 0.0 || logs.iter().any(|t| t.value > LARGEST_LOG_RATIO);
    let error = Array2::from_shape_fn(gaps.dim(), |(k, l)| {
        if direct {
            g(k, l) - plug_in
        } else {
            plug_in * logs[[k, l]].exp_m1()
        }
    });
    Jensen {
        q_r: pair.expectation(g),
        plug_in,
        error2: pair.expectation(|k, l| error[[k, l]]).square(),
        gap: pair.variance(|k, l| error[[k, l]]),
        total: pair.expectation(|k, l| error[[k, l]].square()),
        bound: pair.expectation(|k, l| gaps[[k, l]].square()) * tight_weight(seen.gamma),
    }
}

fn values(x: &[Rounded]) -> Array1<f64> {
    x.iter().map(|x| x.value).collect()
}

fn given(x: ArrayView1<f64>) -> Vec<Rounded> {
    exact(x.iter().copied())
}

fn check_shape(what: &'static str, got: &Array2<f64>, want: &[usize]) -> Result<(), LawError> {
    if got.shape() == want {
        Ok(())
    } else {
        Err(LawError::Shape {
            what,
            want: want.to_vec(),
            got: got.shape().to_vec(),
        })
    }
}
