//! Eq. 12: the score of a pair that knows its relation is the sum of the samples' scores and the relation's.

use ndarray::array;
use sadm_reference::relation::Relation;

use super::joint::{RELATION, relation};
use super::setting::{ATOMS, DIMENSION, NoisedLaw, SCHEDULE, TIME, noised_law};
use super::{About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError};
use crate::laws::finite::{log_normal_density, softmax};
use crate::laws::{FiniteLaw, Observation};
use crate::rounding::Rounded;

/// γ of the observation.
pub(super) const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation is observed",
    1e-3..=1e3,
    2.5,
);
/// r of the observation.
pub(super) const OBSERVED: Parameter =
    Parameter::linear("r", "the observed relation", -4.0..=12.0, 5.5);

/// What an instance observes.
pub(super) fn observation(instance: &Instance) -> Result<Observation, StatementError> {
    Ok(Observation {
        relation: relation(instance)?,
        r: instance.get(OBSERVED.name)?,
        gamma: instance.get(GAMMA.name)?,
    })
}

/// `[thm:relation-score]` ∇ log q_t(y_t | r) = (∇ log q_t(x_t^i), ∇ log q_t(x_t^j)) + ∇ log q_t(r | y_t) for an independent pair, σ_t > 0.
///
/// Eq. 12 prints Σ_s ∇_x log q_t(x_t^s), a sum of n-vectors, in an equation between 2n-vectors: what is meant is their stacking, the gradient
/// in y_t of the sum of logarithms.
///
/// Left: the gradient of ln Σ_kl p_k p_l g_kl N(y_i; α a_k, σ²) N(y_j; α a_l, σ²) over pair atoms, the sum as it stands but
/// for its terms being taken as logarithms, so that no γ makes them underflow.
/// Right: the two scores of [`FiniteLaw::posterior`] and the one of [`FiniteLaw::relation_score`]. The controls drop
/// or double the relation's score, or make the pair dependent: then the sum of the samples' scores is not the score
/// of the pair, and the formula fails by the gradient of ln q_t(y_t) − Σ_s ln q_t(x_t^s).
pub struct RelationScore;

/// ∇_{y_i} and ∇_{y_j} of ln Σ_kl f(k, l) N(y_i; α a_k, σ² I) N(y_j; α a_l, σ² I), one after the other `[2n]`, from ln f.
fn mixture_score(setting: &NoisedLaw, log_f: impl Fn(usize, usize) -> Rounded) -> Vec<Rounded> {
    let (count, n) = setting.law.atoms().dim();
    let noised = |k: usize, i: usize| Rounded::exact(setting.alpha) * setting.law.atoms()[[k, i]];
    let log_density = |point: usize, k: usize| {
        Rounded::sum(
            (0..n)
                .map(|i| log_normal_density(setting.points[point][i], noised(k, i), setting.sigma)),
        )
    };
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|k| (0..count).map(move |l| (k, l)))
        .collect();
    let terms: Vec<Rounded> = pairs
        .iter()
        .map(|&(k, l)| log_f(k, l) + log_density(0, k) + log_density(1, l))
        .collect();
    let (weights, _) = softmax(&terms);
    let variance = Rounded::exact(setting.sigma).square();
    let component = |point: usize, i: usize| {
        let pull = |(&(k, l), &w): (&(usize, usize), &Rounded)| {
            let atom = if point == 0 { k } else { l };
            w * (noised(atom, i) - Rounded::exact(setting.points[point][i]))
        };
        Rounded::sum(pairs.iter().zip(&weights).map(pull)) / variance
    };
    (0..2)
        .flat_map(|point| (0..n).map(move |i| (point, i)))
        .map(|(point, i)| component(point, i))
        .collect()
}

/// Σ_s ∇ log q_t(x_t^s) `[2n]`, each sample under this law.
fn own_scores(setting: &NoisedLaw, law: &FiniteLaw) -> Result<Vec<Rounded>, StatementError> {
    let mut scores = Vec::new();
    for point in &setting.points {
        scores.extend(law.posterior(point, setting.alpha, setting.sigma)?.score);
    }
    Ok(scores)
}

/// The two sides of Eq. 12, and the relation's part of the right one, by coordinate.
fn sides(instance: &Instance) -> Result<Vec<(Rounded, Rounded, Rounded)>, StatementError> {
    let setting = noised_law(instance, 2)?;
    let observation = observation(instance)?;
    let over_atoms = setting.law.relation_over_atoms(observation.relation)?;
    let left = mixture_score(&setting, |k, l| {
        let prior = Rounded::exact(setting.law.prior()[k]) * setting.law.prior()[l];
        prior.ln() + observation.log_density(over_atoms[[k, l]])
    });
    let relation = setting.law.relation_score(
        &setting.points[0],
        &setting.points[1],
        setting.alpha,
        setting.sigma,
        &observation,
    )?;
    let relation = relation.first.into_iter().chain(relation.second);
    let own = own_scores(&setting, &setting.law)?;
    Ok(left
        .into_iter()
        .zip(own)
        .zip(relation)
        .map(|((left, own), relation)| (left, own, relation))
        .collect())
}

/// A pair on the atoms ±1 that prefers equal signs: P(++) = P(−−) = 0.4, P(+−) = P(−+) = 0.1, each marginal even.
fn dependent_sides() -> Result<Vec<(Rounded, Rounded)>, StatementError> {
    let setting = NoisedLaw {
        law: FiniteLaw::uniform(array![[-1.0], [1.0]])?,
        alpha: 0.8,
        sigma: 0.6,
        points: vec![vec![0.3], vec![0.7]],
    };
    let observation = Observation {
        relation: Relation::INNER_PRODUCT,
        r: 0.25,
        gamma: 1.5,
    };
    let over_atoms = setting.law.relation_over_atoms(observation.relation)?;
    let joint = |k: usize, l: usize| Rounded::exact(if k == l { 0.4 } else { 0.1 }).ln();
    let left = mixture_score(&setting, |k, l| {
        joint(k, l) + observation.log_density(over_atoms[[k, l]])
    });
    let unobserved = mixture_score(&setting, joint);
    let own = own_scores(&setting, &setting.law)?;
    // By Bayes' rule, which needs no independence, ∇ log q(r|y) = ∇ log q(y|r) − ∇ log q(y).
    let printed = |i: usize| own[i] + (left[i] - unobserved[i]);
    Ok((0..left.len()).map(|i| (left[i], printed(i))).collect())
}

impl Statement for RelationScore {
    fn about(&self) -> About {
        About {
            id: "eq-12",
            source: "SADM (arXiv:2402.17563), Eq. 12",
            kind: Kind::Identity,
            summary: "the score given the relation is the samples' scores plus the relation's, for an independent pair",
            terms: &[],
            parameters: &[SCHEDULE, TIME, ATOMS, DIMENSION, RELATION, GAMMA, OBSERVED],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(noised_law(instance, 2)?.built())
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let claim = |(i, (left, own, relation)): (usize, (Rounded, Rounded, Rounded))| {
            Evidence::equal(
                format!("coordinate {i} of ∇ log q(y_t|r) = Σ ∇ log q(x_t^s) + ∇ log q(r|y_t)"),
                left,
                own + relation,
            )
        };
        Ok(sides(instance)?
            .into_iter()
            .enumerate()
            .map(claim)
            .collect())
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let mut claims = Vec::new();
        let all = sides(&self.default_instance())?;
        let n = all.len() / 2;
        let (left, own, relation) = all[0];
        claims.push(Evidence::equal(
            "control: Σ_s read as a sum of n-vectors, as Eq. 12 prints it, coordinate 0",
            left,
            own + all[n].1 + relation,
        ));
        for (left, own, relation) in all {
            claims.extend([
                Evidence::equal("control: the relation has no score", left, own),
                Evidence::equal(
                    "control: twice the relation's score",
                    left,
                    own + relation * 2.0,
                ),
            ]);
        }
        for (left, printed) in dependent_sides()? {
            claims.push(Evidence::equal(
                "control: Eq. 12 for a dependent pair, which prefers equal signs",
                left,
                printed,
            ));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For the dependent pair everything is elementary: with a = α/σ² = 20/9 and g(±1) = N(±1; ¼, 1.5²),
    /// q(y) ∝ 0.4·2 cosh(a(y_i + y_j)) + 0.1·2 cosh(a(y_i − y_j)), up to a factor exp(−(y_i² + y_j²)/2σ²).
    #[test]
    fn the_dependent_witness_is_as_by_hand() -> Result<(), StatementError> {
        let (a, variance) = (0.8 / 0.36, 0.36);
        let g = |m: f64| (-(0.25 - m).powi(2) / (2.0 * 2.25)).exp();
        let (same, opposite) = ((a * 1.0_f64), (a * -0.4_f64));
        let score = |s: f64, o: f64, sign: f64, y: f64| {
            let (top, bottom) = (
                s * same.sinh() + sign * o * opposite.sinh(),
                s * same.cosh() + o * opposite.cosh(),
            );
            a * top / bottom - y / variance
        };
        let sides = dependent_sides()?;
        // The printed formula is off by 0.61 in y_i and by 0.095 in y_j.
        let witness = [(1.0, 0.3, 0.61), (-1.0, 0.7, 0.095)];
        for ((left, printed), (sign, y, off)) in sides.into_iter().zip(witness) {
            let given = score(0.4 * g(1.0), 0.1 * g(-1.0), sign, y);
            let unobserved = score(0.4, 0.1, sign, y);
            let own = a * (a * y).tanh() - y / variance;
            assert!((left.value - given).abs() < 1e-13);
            assert!((printed.value - (own + given - unobserved)).abs() < 1e-13);
            assert!((left.value - printed.value - off).abs() < 0.005);
        }
        Ok(())
    }
}
