//! Joint sample diffusion on a finite law: the relation of a noised pair, and where a plug-in errs.

use sadm_reference::relation::{Relation, affinity};

use super::setting::{ATOMS, DIMENSION, NoisedLaw, SCHEDULE, TIME, noised_law};
use super::{About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError};
use crate::laws::finite::{log_normal_density, log_ratio, normal_density, softmax};
use crate::laws::{Observation, tight_weight};
use crate::rounding::Rounded;

/// The relation, by its place in the list.
pub(super) const RELATION: Parameter = Parameter::whole(
    "relation",
    "0 cosine, 1 inner product, 2 squared Euclidean, 3 Euclidean, 4 RBF with bandwidth 1.25",
    0.0..=4.0,
    1.0,
);
const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation is observed",
    1e-3..=1e3,
    1.5,
);
const OBSERVED: Parameter = Parameter::linear("r", "the observed relation", -4.0..=12.0, 5.5);
const BIAS: Parameter = Parameter::linear(
    "bias",
    "factor on the ideal denoiser's output (1: the posterior mean)",
    0.5..=1.5,
    1.125,
);

/// The relation an instance names.
pub(super) fn relation(instance: &Instance) -> Result<Relation, StatementError> {
    Ok(match instance.size(RELATION.name)? {
        0 => Relation::COSINE,
        1 => Relation::INNER_PRODUCT,
        2 => Relation::SQUARED_EUCLIDEAN,
        3 => Relation::EUCLIDEAN,
        _ => Relation::RBF.with(1.25),
    })
}

/// `[thm:relation-by-bayes]` q_t(r | y_t) = E[g(r|y_0) | y_t].
///
/// Left: the quotient of joint densities q_t(r, y_t)/q_t(y_t), each summed directly over the K² pair atoms.
/// Right: the posterior expectation of [`FiniteLaw::pair`](crate::laws::FiniteLaw::pair). The same in logarithms, against
/// `Tilted::log_density`: for small γ every g may underflow, and the claim in logarithms is then the one that says something.
pub struct RelationByBayes;

impl RelationByBayes {
    /// ln of the terms of Σ p_k p_l N(y_i; α a_k, σ²) N(y_j; α a_l, σ²) f(k, l): Bayes' rule with nothing taken out.
    fn joint(setting: &NoisedLaw, log_f: impl Fn(usize, usize) -> Rounded) -> Vec<Rounded> {
        let k = setting.law.prior().len();
        let likelihood = |point: usize, atom: usize| {
            let one = |(&y, &a): (&f64, &f64)| {
                log_normal_density(y, Rounded::exact(setting.alpha) * a, setting.sigma)
            };
            let prior = Rounded::exact(setting.law.prior()[atom]).ln();
            setting.points[point]
                .iter()
                .zip(setting.law.atoms().row(atom))
                .map(one)
                .fold(prior, |p, q| p + q)
        };
        let pairs = (0..k).flat_map(|i| (0..k).map(move |j| (i, j)));
        pairs
            .map(|(i, j)| likelihood(0, i) + likelihood(1, j) + log_f(i, j))
            .collect()
    }

    /// Both sides of the identity, and of its logarithm; and ln q(r, y_t).
    fn sides(instance: &Instance) -> Result<([Rounded; 2], [Rounded; 2], Rounded), StatementError> {
        let setting = noised_law(instance, 2)?;
        let observation = Observation {
            relation: relation(instance)?,
            r: instance.get(OBSERVED.name)?,
            gamma: instance.get(GAMMA.name)?,
        };
        let over_atoms = affinity(observation.relation, setting.law.atoms())?;
        let pair = setting.pair()?;
        let log_g = |k: usize, l: usize| observation.log_density(over_atoms[[k, l]].into());
        let (observed, unobserved) = (
            Self::joint(&setting, log_g),
            Self::joint(&setting, |_, _| Rounded::exact(0.0)),
        );
        let total = |terms: &[Rounded]| Rounded::sum(terms.iter().map(|t| t.exp()));
        let direct = [
            total(&observed) / total(&unobserved),
            pair.relation_density(observation.r, &over_atoms, observation.gamma)?,
        ];
        let log_joint = softmax(&observed).1;
        let tilted = pair.given(&observation, &over_atoms.mapv(Rounded::exact))?;
        let logs = [log_joint - softmax(&unobserved).1, tilted.log_density];
        Ok((direct, logs, log_joint))
    }
}

impl Statement for RelationByBayes {
    fn about(&self) -> About {
        About {
            id: "eq-13",
            source: "SADM (arXiv:2402.17563), Eq. 13",
            kind: Kind::Identity,
            summary: "the density of a noised pair's relation is the posterior mean of g",
            terms: &[],
            parameters: &[SCHEDULE, TIME, ATOMS, DIMENSION, RELATION, GAMMA, OBSERVED],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(noised_law(instance, 2)?.built())
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (direct, logs, _) = Self::sides(instance)?;
        Ok(vec![
            Evidence::equal("q(r, y_t)/q(y_t) = E[g(r|y_0) | y_t]", direct[0], direct[1]),
            Evidence::equal("ln q(r, y_t) - ln q(y_t) = ln q(r | y_t)", logs[0], logs[1]),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (direct, _, log_joint) = Self::sides(&self.default_instance())?;
        let sharp = self
            .default_instance()
            .with(self.parameters(), GAMMA.name, GAMMA.low)?;
        let (_, logs, sharp_joint) = Self::sides(&sharp)?;
        let text = "control: the joint density is already the conditional one";
        Ok(vec![
            Evidence::equal(text, log_joint.exp(), direct[1]),
            Evidence::equal(
                format!("{text}, in logarithms at γ = {}", GAMMA.low),
                sharp_joint,
                logs[1],
            ),
        ])
    }
}

/// `[thm:relation-error-splits]` E[(g − ĝ)² | y_t] = (E[g|y_t] − ĝ)² + Var[g|y_t], for any ĝ.
///
/// The Jensen gap of Eq. 14 is the posterior variance of g: it does not vanish for a perfect denoiser. The
/// variance on the right is evaluated about the computed mean, without reference to ĝ. Both sides are also taken over the square
/// of the largest of the densities g and ĝ, too, which cancels: so they do not all underflow at small γ. The inequalities of Eq. 14
/// are also tried at r = R̂ + γ, where g is steepest in the relation and w(γ) is attained: at an r that is far away, both densities are
/// nearly 0 and the inequalities say little.
pub struct RelationErrorSplits;

/// g(r; m)/g(r; m₀): one exponential of a difference that does not cancel.
fn over_largest(r: f64, m: f64, nearest: f64, gamma: f64) -> Rounded {
    let difference = Rounded::exact(m) - Rounded::exact(nearest);
    log_ratio(r, m.into(), difference, gamma).exp()
}

/// The terms of the identity.
struct Terms {
    error: Rounded,
    bias: Rounded,
    variance: Rounded,
    /// E[(R − R̂)²].
    relation: Rounded,
}

impl RelationErrorSplits {
    /// The terms where r is observed, which may depend on R̂; as they stand, or over the square of the largest density.
    fn terms(
        instance: &Instance,
        observed: impl Fn(f64) -> f64,
        over_square: bool,
    ) -> Result<Terms, StatementError> {
        let setting = noised_law(instance, 2)?;
        let relation = relation(instance)?;
        let over_atoms = affinity(relation, setting.law.atoms())?;
        let (gamma, bias) = (instance.get(GAMMA.name)?, instance.get(BIAS.name)?);
        let mut predicted = ndarray::Array2::zeros((2, setting.law.atoms().ncols()));
        for (point, mut row) in setting.points.iter().zip(predicted.rows_mut()) {
            let posterior = setting.law.posterior(point, setting.alpha, setting.sigma)?;
            row.iter_mut()
                .zip(&posterior.mean)
                .for_each(|(p, m)| *p = bias * m.value);
        }
        let predicted = affinity(relation, &predicted)?[[0, 1]];
        let r = observed(predicted);
        let nearer = |a: f64, b: &f64| if (b - r).abs() < (a - r).abs() { *b } else { a };
        let nearest = over_atoms.iter().fold(predicted, nearer);
        let density = |m: f64| {
            if over_square {
                over_largest(r, m, nearest, gamma)
            } else {
                normal_density(r, m.into(), gamma)
            }
        };
        let plug_in = density(predicted);
        let pair = setting.pair()?;
        let g = |k: usize, l: usize| density(over_atoms[[k, l]]);
        Ok(Terms {
            error: pair.expectation(|k, l| (g(k, l) - plug_in).square()),
            bias: (pair.expectation(g) - plug_in).square(),
            variance: pair.variance(g),
            relation: pair.expectation(|k, l| {
                (Rounded::exact(over_atoms[[k, l]]) - Rounded::exact(predicted)).square()
            }),
        })
    }
}

impl Statement for RelationErrorSplits {
    fn about(&self) -> About {
        About {
            id: "eq-14a",
            source: "SADM (arXiv:2402.17563), Eq. 14, first step; the gap as a variance is ours",
            kind: Kind::Identity,
            summary: "the Jensen gap of a plug-in relation is the posterior variance of g",
            terms: &[],
            parameters: &[
                SCHEDULE, TIME, ATOMS, DIMENSION, RELATION, GAMMA, OBSERVED, BIAS,
            ],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(noised_law(instance, 2)?.built())
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (r, gamma) = (instance.get(OBSERVED.name)?, instance.get(GAMMA.name)?);
        let Terms {
            error,
            bias,
            variance,
            relation,
        } = Self::terms(instance, |_| r, false)?;
        let weight = tight_weight(gamma);
        let scaled = Self::terms(instance, |_| r, true)?;
        let near = Self::terms(instance, |predicted| predicted + gamma, false)?;
        Ok(vec![
            Evidence::equal("E[(g - ĝ)²] = (E g - ĝ)² + Var g", error, bias + variance),
            Evidence::at_most("(E g - ĝ)² ≤ E[(g - ĝ)²]", bias, error),
            Evidence::at_most(
                "Eq. 14 as a whole: (E g - ĝ)² ≤ w(γ) E[(R - R̂)²]",
                bias,
                weight * relation,
            ),
            Evidence::at_most("E[(g - ĝ)²] ≤ w(γ) E[(R - R̂)²]", error, weight * relation),
            Evidence::equal(
                "E[(g - ĝ)²] = (E g - ĝ)² + Var g, over the square of the largest density",
                scaled.error,
                scaled.bias + scaled.variance,
            ),
            Evidence::at_most(
                "Eq. 14 as a whole, where the density is steepest, r = R̂ + γ",
                near.bias,
                weight * near.relation,
            ),
            Evidence::at_most(
                "E[(g - ĝ)²] ≤ w(γ) E[(R - R̂)²], there",
                near.error,
                weight * near.relation,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let Terms {
            error,
            bias,
            variance,
            relation,
        } = Self::terms(&self.default_instance(), |_| OBSERVED.default, false)?;
        let weight = tight_weight(GAMMA.default);
        let wide = self
            .default_instance()
            .with(self.parameters(), GAMMA.name, GAMMA.high)?;
        let near = Self::terms(&wide, |predicted| predicted + GAMMA.high, false)?;
        Ok(vec![
            Evidence::equal("control: the two errors are equal", error, bias),
            Evidence::at_most(
                "control: a hundredth of w(γ) is enough",
                error,
                weight * relation * 0.01,
            ),
            Evidence::at_most("control: the gap runs the other way", error, bias),
            Evidence::equal(
                "control: the gap is twice the variance",
                error,
                bias + variance * 2.0,
            ),
            Evidence::at_most(
                format!(
                    "control: 0.999 w(γ) is enough at r = R̂ + γ, γ = {}",
                    GAMMA.high
                ),
                near.error,
                tight_weight(GAMMA.high) * 0.999 * near.relation,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_named_by_their_numbers() {
        let want = [
            Relation::COSINE,
            Relation::INNER_PRODUCT,
            Relation::SQUARED_EUCLIDEAN,
            Relation::EUCLIDEAN,
            Relation::RBF.with(1.25),
        ];
        for (k, want) in want.into_iter().enumerate() {
            let instance = RelationErrorSplits.default_instance();
            let known = RelationErrorSplits.parameters();
            let named = instance
                .with(known, "relation", k as f64)
                .expect("a relation");
            assert_eq!(relation(&named), Ok(want));
        }
    }

    /// g(1.5; 0.5)/g(1.5; 1.25) at γ = ½ is e^{−(1 − 1/16)·2}, 1 at the nearest, and the density's own quotient.
    #[test]
    fn densities_over_the_largest_are_as_by_hand() {
        let got = over_largest(1.5, 0.5, 1.25, 0.5);
        assert!((got.value - (-1.875_f64).exp()).abs() <= got.error + 1e-16);
        assert_eq!(
            over_largest(1.5, 1.25, 1.25, 1e-3).value.to_bits(),
            1.0_f64.to_bits()
        );
        let seen = Observation {
            relation: Relation::COSINE,
            r: 1.5,
            gamma: 0.5,
        };
        let want = seen.density(0.5.into()) / seen.density(1.25.into());
        assert!((got.value - want.value).abs() <= got.error + want.error);
    }

    /// At γ = 10⁻³ the default's densities underflow, and neither statement is reduced to 0 = 0.
    #[test]
    fn small_gammas_say_something() -> Result<(), StatementError> {
        let sharp = |s: &dyn Statement| s.default_instance().with(s.parameters(), "gamma", 1e-3);
        let (direct, logs, _) = RelationByBayes::sides(&sharp(&RelationByBayes)?)?;
        assert!(direct[1].value < 1e-300 && logs[1].value < -1e3);
        assert!(logs[1].error < 1e-12 * logs[1].value.abs());
        let terms =
            RelationErrorSplits::terms(&sharp(&RelationErrorSplits)?, |_| OBSERVED.default, true)?;
        assert!(terms.error.value > 1e-6 && terms.error.error < 1e-12);
        Ok(())
    }

    /// A prediction is `bias` times the posterior mean: with one atom, which is its own mean, nothing errs at bias 1, and
    /// something at another.
    #[test]
    fn predictions_are_scaled_means() {
        let known = RelationErrorSplits.parameters();
        let error = |bias: f64, atoms: f64| {
            let mut instance = RelationErrorSplits.default_instance();
            for (name, value) in [("relation", 1.0), ("atoms", atoms), ("bias", bias)] {
                instance = instance.with(known, name, value).expect("in range");
            }
            RelationErrorSplits::terms(&instance, |_| OBSERVED.default, true).expect("terms")
        };
        let exact = error(1.0, 1.0);
        assert!(
            exact.bias.value.abs() <= exact.bias.error + 1e-30,
            "{:?}",
            exact.bias
        );
        let biased = error(1.25, 1.0);
        assert!(biased.bias.value > biased.bias.error, "{:?}", biased.bias);
    }
}
