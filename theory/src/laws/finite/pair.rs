//! A pair of independent samples on a finite law: its posterior over pair atoms, before and after its relation is known.

use ndarray::Array2;
use sadm_reference::relation::{Relation, affinity};

use super::observation::{Observation, check_gamma};
use super::{FiniteLaw, LawError, heaviest, log_ratio, normal_density, softmax};
use crate::laws::relation::{dot, exact, relation};
use crate::rounding::Rounded;

/// Beyond this logarithm of g/g' the quotient is not formed: e^700 is near the end of f64's range.
pub(crate) const LARGEST_LOG_RATIO: f64 = 600.0;

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
}

impl PairPosterior {
    /// E[f(k, l) | y_t] over pair atoms (a_k, a_l).
    ///
    /// Of a relation f it is what the squared error asks the denoiser for: the relation of the posterior means for the
    /// inner product, more than that for the squared distance. `[eq:mean-relation]`
    pub fn expectation(&self, f: impl Fn(usize, usize) -> Rounded) -> Rounded {
        let inner =
            |k: usize| Rounded::sum(self.second.iter().enumerate().map(|(l, &w)| w * f(k, l)));
        Rounded::sum(self.first.iter().enumerate().map(|(k, &w)| w * inner(k)))
    }

    /// Var[f(k, l) | y_t] in two passes over the K² pair atoms.
    ///
    /// # Formula `[eq:two-pass-variance]`
    /// ```text
    /// Var f = E[(f − c)²] − (E[f − c])²      for every number c
    /// ```
    /// with c the value of f at the heaviest pair atom, whose term is then exactly 0. The second term is at most K² times the
    /// variance, as (c − E f)² ≤ Var f/w_d, so little cancels, and nothing where one pair atom has nearly all weight.
    ///
    /// # Source
    /// Chan, Golub & LeVeque 1983, The American Statistician 37(3), doi:10.1080/00031305.1983.10483115.
    pub fn variance(&self, f: impl Fn(usize, usize) -> Rounded) -> Rounded {
        let shape = (self.first.len(), self.second.len());
        let values = Array2::from_shape_fn(shape, |(k, l)| f(k, l));
        let centre = self.heaviest();
        let off = Array2::from_shape_fn(shape, |at| {
            if at == centre {
                Rounded::exact(0.0)
            } else {
                values[at] - values[centre]
            }
        });
        let rest = self.expectation(|k, l| off[[k, l]]);
        self.expectation(|k, l| off[[k, l]].square()) - rest.square()
    }

    /// The pair atom of the largest weight.
    pub(crate) fn heaviest(&self) -> (usize, usize) {
        (heaviest(&self.first), heaviest(&self.second))
    }

    /// How knowing the relation changes each sample's weights, Σ_l π_kl − w_k and Σ_k π_kl − v_l.
    ///
    /// # Formula `[eq:weight-change]`
    /// ```text
    /// Σ_l π_kl − w_k = w_k (ε_k − ε)/(1 + ε),   ε_k = Σ_l v_l e_kl,  ε = Σ_k w_k ε_k,  e_kl = g_kl/g_d − 1
    /// ```
    /// with g_d that of the heaviest pair atom, e_kl by `exp_m1`: nothing cancels where the relation says little. Where a
    /// quotient g_kl/g_d would overflow, the difference as it stands.
    pub(crate) fn weight_change(
        &self,
        observation: &Observation,
        relation: &Array2<Rounded>,
    ) -> Result<[Vec<Rounded>; 2], LawError> {
        let tilted = self.given(observation, relation)?;
        let centre = self.heaviest();
        let logs = Array2::from_shape_fn(relation.dim(), |at| {
            if at == centre {
                return Rounded::exact(0.0);
            }
            let difference = relation[at] - relation[centre];
            log_ratio(observation.r, relation[at], difference, observation.gamma)
        });
        if logs.iter().any(|t| t.value > LARGEST_LOG_RATIO) {
            let difference = |after: Vec<Rounded>, before: &[Rounded]| -> Vec<Rounded> {
                after.iter().zip(before).map(|(&p, &w)| p - w).collect()
            };
            return Ok([
                difference(tilted.first(), &self.first),
                difference(tilted.second(), &self.second),
            ]);
        }
        let excess = logs.mapv(Rounded::exp_m1);
        let change = |excess: Array2<Rounded>, own: &[Rounded], partner: &[Rounded]| {
            let each: Vec<Rounded> = excess
                .rows()
                .into_iter()
                .map(|row| dot(&row.to_vec(), partner))
                .collect();
            let mean = dot(&each, own);
            let total = mean + Rounded::exact(1.0);
            let term = |(&w, &e): (&Rounded, &Rounded)| w * (e - mean) / total;
            own.iter().zip(&each).map(term).collect()
        };
        Ok([
            change(excess.clone(), &self.first, &self.second),
            change(excess.reversed_axes(), &self.second, &self.first),
        ])
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
        let terms: Vec<Rounded> = self.log_terms(observation, relation)?.into_iter().collect();
        let (weights, log_density) = softmax(&terms);
        let atoms = self.first.len();
        Ok(Tilted {
            weights: Array2::from_shape_fn((atoms, atoms), |(k, l)| weights[k * atoms + l]),
            log_density,
        })
    }

    /// ln w_k + ln v_l + ln g(r | R(a_k, a_l)) `[K, K]`.
    pub(crate) fn log_terms(
        &self,
        observation: &Observation,
        relation: &Array2<Rounded>,
    ) -> Result<Array2<Rounded>, LawError> {
        self.check_shape(relation.dim())?;
        observation.check()?;
        Ok(Array2::from_shape_fn(relation.dim(), |(k, l)| {
            self.logs[0][k] + self.logs[1][l] + observation.log_density(relation[[k, l]])
        }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Σ over pairs of pair atoms, ½ Σ w w' (f − f')²: K⁴ terms, and exactly 0 for a constant f.
    fn variance_of_differences(
        pair: &PairPosterior,
        f: impl Fn(usize, usize) -> Rounded,
    ) -> Rounded {
        pair.expectation(|k, l| {
            let here = f(k, l);
            pair.expectation(|m, n| (here - f(m, n)).square())
        }) * 0.5
    }

    fn atoms_and_points() -> impl Strategy<Value = (Array2<f64>, Vec<f64>, [f64; 2])> {
        (1..=5_usize).prop_flat_map(|count| {
            let atom = (-128..=128_i32).prop_map(|k| f64::from(k) / 64.0);
            (
                proptest::collection::vec(atom, count),
                proptest::collection::vec(0.05..1.0_f64, count),
                [-3.0..3.0_f64, -3.0..3.0_f64],
            )
                .prop_map(move |(atoms, prior, y)| {
                    (
                        Array2::from_shape_fn((count, 1), |(k, _)| atoms[k]),
                        prior,
                        y,
                    )
                })
        })
    }

    proptest! {
        /// Two formulas for one variance agree within their own bounds, which are small: relative to the largest square.
        #[test]
        fn the_variance_is_that_of_all_differences(
            (atoms, prior, y) in atoms_and_points(), sigma in 0.1..2.0_f64, shift in -1e6..1e6_f64
        ) {
            let law = FiniteLaw::new(atoms.clone(), prior).expect("a law");
            let pair = law.pair(&y[..1], &y[1..], 0.75, sigma).expect("a posterior");
            let at = |k: usize| Rounded::exact(atoms[[k, 0]]);
            let f = |k: usize, l: usize| at(k) * at(l) + at(l);
            let (got, want) = (pair.variance(f), variance_of_differences(&pair, f));
            prop_assert!((got.value - want.value).abs() <= got.error + want.error, "{got:?} {want:?}");
            prop_assert!(got.error <= 1e-11, "{got:?}");
            // A shift changes nothing but the roundings of f itself: at most 1e6 u on a spread of at most 12.
            let shifted = pair.variance(|k, l| f(k, l) + Rounded::exact(shift));
            prop_assert!((shifted.value - got.value).abs() <= shifted.error + got.error, "{shifted:?} {got:?}");
            prop_assert!(shifted.error <= 1e-6, "{shifted:?}");
        }
    }

    /// Weights ¾, ¼ on each side and f = 0, 1, 0, 1: Var = 3/16.
    #[test]
    fn the_variance_is_as_by_hand() {
        let half = |w: f64| vec![Rounded::exact(w), Rounded::exact(1.0 - w)];
        let pair = PairPosterior {
            first: half(0.25),
            second: half(0.75),
            logs: [half(0.25), half(0.75)],
        };
        let got = pair.variance(|_, l| Rounded::exact(l as f64));
        assert!((got.value - 0.1875).abs() <= got.error && got.error < 1e-15);
        let none = pair.variance(|_, _| Rounded::exact(0.1));
        assert!(none.value.abs() <= none.error && none.error < 1e-15);
    }
}
