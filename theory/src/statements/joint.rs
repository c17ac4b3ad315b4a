//! Joint sample diffusion on a finite law: the relation of a noised pair, and where a plug-in errs.

use sadm_reference::relation::{Relation, affinity};

use super::setting::{ATOMS, DIMENSION, NoisedLaw, SCHEDULE, TIME, noised_law};
use super::{Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError};
use crate::laws::finite::normal_density;
use crate::rounding::Rounded;

/// The relation, by its place in the list.
pub(super) const RELATION: Parameter = Parameter {
    name: "relation",
    meaning: "0 cosine, 1 inner product, 2 squared Euclidean, 3 Euclidean, 4 RBF with bandwidth 1.25",
    low: 0.0,
    high: 4.0,
    default: 1.0,
    scale: Scale::Integer,
};
const GAMMA: Parameter = Parameter {
    name: "gamma",
    meaning: "standard deviation with which the relation is observed",
    low: 0.1,
    high: 1000.0,
    default: 1.5,
    scale: Scale::Log,
};
const OBSERVED: Parameter = Parameter {
    name: "r",
    meaning: "the observed relation",
    low: -4.0,
    high: 12.0,
    default: 5.5,
    scale: Scale::Linear,
};
const BIAS: Parameter = Parameter {
    name: "bias",
    meaning: "factor on the ideal denoiser's output (1: the posterior mean)",
    low: 0.5,
    high: 1.5,
    default: 1.125,
    scale: Scale::Linear,
};

/// The relation an instance names.
pub(super) fn relation(instance: &Instance) -> Result<Relation, StatementError> {
    Ok(match instance.size(RELATION.name)? {
        0 => Relation::Cosine,
        1 => Relation::InnerProduct,
        2 => Relation::SquaredEuclidean,
        3 => Relation::Euclidean,
        _ => Relation::Rbf { bandwidth: 1.25 },
    })
}

/// `[thm:relation-by-bayes]` q_t(r | y_t) = E[g(r|y_0) | y_t].
///
/// Left: the quotient of joint densities q_t(r, y_t)/q_t(y_t), each summed directly over the K² pair atoms.
/// Right: the posterior expectation of [`FiniteLaw::pair`](crate::laws::FiniteLaw::pair).
pub struct RelationByBayes;

impl RelationByBayes {
    /// Σ p_k p_l N(y_i; α a_k, σ²) N(y_j; α a_l, σ²) f(k, l): Bayes' rule with nothing taken out.
    fn joint(setting: &NoisedLaw, f: impl Fn(usize, usize) -> Rounded) -> Rounded {
        let k = setting.law.prior().len();
        let likelihood = |point: usize, atom: usize| {
            let one = |(&y, &a): (&f64, &f64)| {
                normal_density(y, Rounded::exact(setting.alpha) * a, setting.sigma)
            };
            let prior = Rounded::exact(setting.law.prior()[atom]);
            setting.points[point]
                .iter()
                .zip(setting.law.atoms().row(atom))
                .map(one)
                .fold(prior, |p, q| p * q)
        };
        let pairs = (0..k).flat_map(|i| (0..k).map(move |j| (i, j)));
        Rounded::sum(pairs.map(|(i, j)| likelihood(0, i) * likelihood(1, j) * f(i, j)))
    }
}

impl Statement for RelationByBayes {
    fn id(&self) -> &'static str {
        "eq-13"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Eq. 13"
    }
    fn kind(&self) -> Kind {
        Kind::Identity
    }
    fn summary(&self) -> &'static str {
        "the density of a noised pair's relation is the posterior mean of g"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[SCHEDULE, TIME, ATOMS, DIMENSION, RELATION, GAMMA, OBSERVED]
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = noised_law(instance, 2)?;
        let over_atoms = affinity(relation(instance)?, setting.law.atoms())?;
        let (r, gamma) = (instance.get(OBSERVED.name)?, instance.get(GAMMA.name)?);
        let pair = setting.pair()?;
        let g = |k: usize, l: usize| normal_density(r, over_atoms[[k, l]].into(), gamma);
        let quotient = Self::joint(&setting, g) / Self::joint(&setting, |_, _| Rounded::exact(1.0));
        let expectation = pair.relation_density(r, &over_atoms, gamma)?;
        Ok(vec![Evidence::equal(
            "q(r, y_t)/q(y_t) = E[g(r|y_0) | y_t]",
            quotient,
            expectation,
        )])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let instance = self.default_instance();
        let setting = noised_law(&instance, 2)?;
        let over_atoms = affinity(relation(&instance)?, setting.law.atoms())?;
        let (r, gamma) = (OBSERVED.default, GAMMA.default);
        let pair = setting.pair()?;
        let joint = Self::joint(&setting, |k, l| {
            normal_density(r, over_atoms[[k, l]].into(), gamma)
        });
        let expectation = pair.relation_density(r, &over_atoms, gamma)?;
        Ok(vec![Evidence::equal(
            "control: the joint density is already the conditional one",
            joint,
            expectation,
        )])
    }
}

/// `[thm:relation-error-splits]` E[(g − ĝ)² | y_t] = (E[g|y_t] − ĝ)² + Var[g|y_t], for any ĝ.
///
/// The Jensen gap of Eq. 14 is the posterior variance of g: it does not vanish for a perfect denoiser. The
/// variance on the right is evaluated about the computed mean, without reference to ĝ.
pub struct RelationErrorSplits;

/// The terms of the identity.
struct Terms {
    error: Rounded,
    bias: Rounded,
    variance: Rounded,
}

impl RelationErrorSplits {
    fn terms(instance: &Instance) -> Result<Terms, StatementError> {
        let setting = noised_law(instance, 2)?;
        let relation = relation(instance)?;
        let over_atoms = affinity(relation, setting.law.atoms())?;
        let (r, gamma) = (instance.get(OBSERVED.name)?, instance.get(GAMMA.name)?);
        let bias = instance.get(BIAS.name)?;
        let mut predicted = ndarray::Array2::zeros((2, setting.law.atoms().ncols()));
        for (point, mut row) in setting.points.iter().zip(predicted.rows_mut()) {
            let posterior = setting.law.posterior(point, setting.alpha, setting.sigma)?;
            row.iter_mut()
                .zip(&posterior.mean)
                .for_each(|(p, m)| *p = bias * m.value);
        }
        let plug_in = normal_density(r, affinity(relation, &predicted)?[[0, 1]].into(), gamma);
        let pair = setting.pair()?;
        let g = |k: usize, l: usize| normal_density(r, over_atoms[[k, l]].into(), gamma);
        Ok(Terms {
            error: pair.expectation(|k, l| (g(k, l) - plug_in).square()),
            bias: (pair.relation_density(r, &over_atoms, gamma)? - plug_in).square(),
            variance: pair.variance(g),
        })
    }
}

impl Statement for RelationErrorSplits {
    fn id(&self) -> &'static str {
        "eq-14a"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Eq. 14, first step; the gap as a variance is ours"
    }
    fn kind(&self) -> Kind {
        Kind::Identity
    }
    fn summary(&self) -> &'static str {
        "the Jensen gap of a plug-in relation is the posterior variance of g"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[
            SCHEDULE, TIME, ATOMS, DIMENSION, RELATION, GAMMA, OBSERVED, BIAS,
        ]
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let Terms {
            error,
            bias,
            variance,
        } = Self::terms(instance)?;
        Ok(vec![
            Evidence::equal("E[(g - ĝ)²] = (E g - ĝ)² + Var g", error, bias + variance),
            Evidence::at_most("(E g - ĝ)² ≤ E[(g - ĝ)²]", bias, error),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let Terms {
            error,
            bias,
            variance,
        } = Self::terms(&self.default_instance())?;
        Ok(vec![
            Evidence::equal("control: the two errors are equal", error, bias),
            Evidence::at_most("control: the gap runs the other way", error, bias),
            Evidence::equal(
                "control: the gap is twice the variance",
                error,
                bias + variance * 2.0,
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
            Relation::Cosine,
            Relation::InnerProduct,
            Relation::SquaredEuclidean,
            Relation::Euclidean,
            Relation::Rbf { bandwidth: 1.25 },
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
            RelationErrorSplits::terms(&instance).expect("terms")
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
