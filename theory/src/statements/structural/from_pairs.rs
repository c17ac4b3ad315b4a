//! From Eq. 15, a mean over pairs, to Eq. 6, a sum over a batch.

use ndarray::Array2;
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use crate::laws::relation::{exact, relation};
use crate::laws::{tight_weight, tight_weight_of};
use crate::rounding::Rounded;
use crate::statements::setting::{BATCH, FEATURES, batches, built_batches, structural_loss};
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which a relation is observed",
    0.05..=20.0,
    0.75,
);
const RELATION: Parameter = Parameter::whole(
    "relation",
    "0 cosine, 1 inner product, 2 squared Euclidean",
    0.0..=2.0,
    1.0,
);

/// `[thm:equation-six]` The mean of Eq. 15's bracket over the pairs of a batch is 2(L + ½w(γ) S): Eq. 6, with half the weight.
///
/// # Formula `[eq:equation-six]`
/// ```text
/// L = (1/B) Σ_i ‖x^i − x̂^i‖²,   S = (1/B²) Σ_ij e_ij²,   U = (1/(B(B − 1))) Σ_{i≠j} e_ij²,   e_ij = R_ij − R̂_ij
/// (1/B²)        Σ_ij   {‖x^i − x̂^i‖² + ‖x^j − x̂^j‖² + w e_ij²} = 2(L + ½ w S)
/// (1/(B(B − 1))) Σ_{i≠j} {…}                                     = 2(L + ½ w U)          the pairs that Eq. 12 covers: i ≠ j
/// Σ_i ‖x^i − x̂^i‖² + w_K Σ_{i<j} e_ij²                          = B(L + ½ (B − 1) w_K U)   all K = B(B − 1)/2 relations observed at once
/// w_K = (2πγ²)^{−(K − 1)} w
/// ```
/// A pair has two samples and one relation, so that of the two parts the first counts twice. A pair of a sample with itself is not
/// independent, so Eq. 12 does not hold for it, and Eq. 7's diagonal has no place in this derivation. For a batch whose relations
/// are observed together the weight of `[eq:tight-weight-k]` is needed: for B = 64 it has the power −2015 of 2πγ², that is,
/// it is 0 or ∞ in any arithmetic unless γ is next to 1/√(2π). Nothing here fixes the factor before S; a run's λ is a choice.
pub struct EquationSix;

fn kind_of(instance: &Instance) -> Result<Relation, StatementError> {
    Ok(match instance.size(RELATION.name)? {
        0 => Relation::COSINE,
        1 => Relation::INNER_PRODUCT,
        _ => Relation::SQUARED_EUCLIDEAN,
    })
}

/// A batch and its prediction; the features are the samples.
struct Batch {
    real: Array2<f64>,
    predicted: Array2<f64>,
    relation: Relation,
}

impl Batch {
    fn error(&self, i: usize) -> Rounded {
        let pairs = self
            .real
            .row(i)
            .to_vec()
            .into_iter()
            .zip(self.predicted.row(i).to_vec());
        Rounded::sum(pairs.map(|(x, y)| (Rounded::exact(x) - Rounded::exact(y)).square()))
    }

    fn relation_error(&self, i: usize, j: usize) -> Rounded {
        let of = |x: &Array2<f64>| {
            let row = |k: usize| exact(x.row(k).iter().copied());
            relation(self.relation, &row(i), &row(j))
        };
        (of(&self.real) - of(&self.predicted)).square()
    }

    fn size(&self) -> usize {
        self.real.nrows()
    }

    /// The mean of Eq. 15's bracket over the ordered pairs that are kept.
    fn over_pairs(&self, weight: Rounded, keep: impl Fn(usize, usize) -> bool) -> Rounded {
        let count = self.size();
        let pairs: Vec<(usize, usize)> = (0..count)
            .flat_map(|i| (0..count).map(move |j| (i, j)))
            .filter(|&(i, j)| keep(i, j))
            .collect();
        let term = |&(i, j): &(usize, usize)| {
            self.error(i) + self.error(j) + weight * self.relation_error(i, j)
        };
        Rounded::sum(pairs.iter().map(term)) / pairs.len() as f64
    }

    /// L.
    fn denoising(&self) -> Rounded {
        Rounded::sum((0..self.size()).map(|i| self.error(i))) / self.size() as f64
    }

    /// S or U, the reference's with η = 1.
    fn structure(&self, diagonal: Diagonal) -> Result<Rounded, StatementError> {
        let options = StructureOptions {
            relation: self.relation,
            distance: Distance::SQUARED,
            diagonal,
        };
        structural_loss(&self.real, &self.predicted, 1.0, &options)
    }

    /// Σ_i ‖x^i − x̂^i‖² + w Σ_{i<j} e_ij².
    fn at_once(&self, weight: Rounded) -> Rounded {
        let count = self.size();
        let own = Rounded::sum((0..count).map(|i| self.error(i)));
        let pairs = (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
        own + weight * Rounded::sum(pairs.map(|(i, j)| self.relation_error(i, j)))
    }
}

/// (2πγ²)^{−(K − 1)} w.
fn in_powers(count: usize, gamma: f64) -> Rounded {
    let factor = crate::laws::finite::two_pi() * Rounded::exact(gamma).square();
    (1..count).fold(tight_weight(gamma), |w, _| w / factor)
}

impl Statement for EquationSix {
    fn about(&self) -> About {
        About {
            id: "eq-6",
            source: "SADM (arXiv:2402.17563), Eq. 6 as a finite-sample version of Eq. 15",
            kind: Kind::Identity,
            summary: "the mean of Eq. 15's bracket over a batch's pairs is 2 (L + w S / 2): Eq. 6 with half the weight of the relation",
            terms: &[
                ("L", "mean squared error of the batch's samples"),
                (
                    "S, U",
                    "mean squared error of the relations over all ordered pairs, and over those with i ≠ j",
                ),
                (
                    "w, w_K",
                    "smallest weight of Eq. 14 for one relation, and for K observed together",
                ),
            ],
            parameters: &[BATCH, FEATURES, GAMMA, RELATION],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        built_batches(instance)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (real, predicted) = batches(instance)?;
        let gamma = instance.get(GAMMA.name)?;
        let weight = tight_weight(gamma);
        let batch = Batch {
            real,
            predicted,
            relation: kind_of(instance)?,
        };
        let count = batch.size();
        let relations = count * (count - 1) / 2;
        let joint = tight_weight_of(relations, gamma);
        let (all, others) = (
            batch.structure(Diagonal::Include)?,
            batch.structure(Diagonal::Exclude)?,
        );
        let own = batch.denoising();
        Ok(vec![
            Evidence::equal(
                "mean of Eq. 15's bracket over all ordered pairs = 2(L + ½ w S)",
                batch.over_pairs(weight, |_, _| true),
                (own + weight * all * 0.5) * 2.0,
            ),
            Evidence::equal(
                "over the pairs i ≠ j, which Eq. 12 covers: = 2(L + ½ w U)",
                batch.over_pairs(weight, |i, j| i != j),
                (own + weight * others * 0.5) * 2.0,
            ),
            Evidence::equal(
                "all K relations observed at once: = B(L + ½ (B - 1) w_K U)",
                batch.at_once(joint),
                (own + joint * others * (0.5 * (count as f64 - 1.0))) * count as f64,
            ),
            Evidence::equal(
                "w_K = (2πγ²)^{-(K - 1)} w",
                joint,
                in_powers(relations, gamma),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (real, predicted) = batches(&self.default_instance())?;
        let batch = Batch {
            real,
            predicted,
            relation: Relation::INNER_PRODUCT,
        };
        let weight = tight_weight(GAMMA.default);
        let (all, own) = (batch.structure(Diagonal::Include)?, batch.denoising());
        let mean = batch.over_pairs(weight, |_, _| true);
        Ok(vec![
            Evidence::equal(
                "control: the mean over pairs has Eq. 6's parts in the proportion 1 : w",
                mean,
                (own + weight * all) * 2.0,
            ),
            Evidence::equal(
                "control: pairs of a sample with itself change nothing",
                mean,
                batch.over_pairs(weight, |i, j| i != j),
            ),
            Evidence::equal(
                "control: three relations observed at once have the weight of one",
                tight_weight_of(3, GAMMA.default),
                weight,
            ),
        ])
    }
}
