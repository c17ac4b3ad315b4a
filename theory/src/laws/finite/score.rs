//! Scores of a noised pair's relation, exactly and through the ideal denoiser.

use ndarray::Array2;

use sadm_reference::relation::Relation;

use super::observation::check_vectors;
use super::{FiniteLaw, LawError, Observation, PairPosterior};
use crate::laws::relation::{dot, exact, relation, relation_step};
use crate::rounding::Rounded;

/// A gradient with respect to both noised points of a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PairScore {
    /// With respect to y_i `[n]`.
    pub first: Vec<Rounded>,
    /// With respect to y_j `[n]`.
    pub second: Vec<Rounded>,
}

impl FiniteLaw {
    /// Score of the relation of a noised pair, exactly.
    ///
    /// # Formula `[eq:relation-score]`
    /// ```text
    /// ∇_{y_i} ln q_t(r | y_t) = (α/σ²) (E[x^i | y_t, r] − E[x^i | y_t]) = (α/σ²) Σ_kl π_kl (a_k − x̂_i)
    /// π_kl ∝ w_k v_l g(r | R(a_k, a_l))
    /// ```
    /// The relation moves the denoiser's output to the posterior mean that also knows r. The sum is taken as
    /// Σ_{k≠d} (Σ_l π_kl − w_k)(a_k − a_d) about the heaviest atom a_d, with the changes of weight `[eq:weight-change]`: so
    /// it keeps its digits where the posterior has nearly all weight on one atom, and where the relation says little.
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
        let over_atoms = self.relation_over_atoms(observation.relation)?;
        self.score_over(&pair, alpha, sigma, observation, &over_atoms)
    }

    /// [`FiniteLaw::relation_score`] where the relation over the atoms is known already.
    pub(crate) fn score_over(
        &self,
        pair: &PairPosterior,
        alpha: f64,
        sigma: f64,
        observation: &Observation,
        over_atoms: &Array2<Rounded>,
    ) -> Result<PairScore, LawError> {
        let scale = Rounded::exact(alpha) / Rounded::exact(sigma).square();
        let [first, second] = pair.weight_change(observation, over_atoms)?;
        let score = |weights: &[Rounded], change: &[Rounded]| -> Vec<Rounded> {
            let moved = self.displacement(weights, change);
            moved.into_iter().map(|m| scale * m).collect()
        };
        Ok(PairScore {
            first: score(&pair.first, &first),
            second: score(&pair.second, &second),
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

    /// R(x̂_i, x̂_j) at the posterior means of a pair, and R − R(x̂_i, x̂_j) over its atoms `[K, K]`: from the heaviest pair atom,
    /// whose own difference is the step `[eq:relation-step]` to the means.
    ///
    /// # Errors
    /// [`LawError::Relation`] if the relation cannot be taken between the means.
    pub(crate) fn gaps_to_mean(
        &self,
        pair: &PairPosterior,
        kind: Relation,
        over_atoms: &Array2<Rounded>,
    ) -> Result<(Rounded, Array2<Rounded>), LawError> {
        let (mu, nu) = (self.centred(&pair.first), self.centred(&pair.second));
        let centre = (mu.heaviest, nu.heaviest);
        let atom = |k: usize| exact(self.atoms.row(k).iter().copied());
        let (a, b) = (atom(centre.0), atom(centre.1));
        let step = relation_step(kind, [&a, &b], [&mu.mean, &nu.mean]);
        let sum = |x: &[Rounded], s: &[Rounded]| -> Vec<Rounded> {
            x.iter().zip(s).map(|(&x, &s)| x + s).collect()
        };
        let (first, second) = (sum(&a, &mu.mean), sum(&b, &nu.mean));
        check_vectors(kind, &first, &second)?;
        let gaps = Array2::from_shape_fn(over_atoms.dim(), |at| {
            if at == centre {
                -step
            } else {
                over_atoms[at] - over_atoms[centre] - step
            }
        });
        Ok((relation(kind, &first, &second), gaps))
    }
}
