//! E2: the sum of Eq. 7 runs over i = j.

use ndarray::array;
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use crate::rounding::Rounded;
use crate::statements::setting::{BATCH, ETA, FEATURES, batches, built_batches, structural_loss};
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Statement, StatementError,
};

/// `[thm:e2]` With the diagonal the structural loss is a V-statistic, not the mean over pairs.
///
/// # Formula `[eq:v-statistic]`
/// ```text
/// V = η/B² Σ_ij D(e_ij)        U = η/(B(B−1)) Σ_{i≠j} D(e_ij)        V = (1 − 1/B) U   if e_ii = 0
/// ```
/// The diagonal vanishes for cosine, RBF and both Euclidean relations, whose M_ii is a constant; for the inner
/// product M_ii = ‖ψ_i‖² and it does not.
pub struct DiagonalIncluded;

/// V and U for one relation.
fn both(
    relation: Relation,
    distance: Distance,
    instance: &Instance,
) -> Result<(Rounded, Rounded), StatementError> {
    let (real, generated) = batches(instance)?;
    let eta = instance.get(ETA.name)?;
    let options = |diagonal| StructureOptions {
        relation,
        distance,
        diagonal,
    };
    Ok((
        structural_loss(&real, &generated, eta, &options(Diagonal::Include))?,
        structural_loss(&real, &generated, eta, &options(Diagonal::Exclude))?,
    ))
}

impl Statement for DiagonalIncluded {
    fn about(&self) -> About {
        About {
            id: "e2",
            source: "SADM (arXiv:2402.17563), Eq. 7",
            kind: Kind::Erratum(Finding::Reading),
            summary: "with i = j included the loss is V = (1 - 1/B) U where the diagonal cancels",
            terms: &[],
            parameters: &[BATCH, FEATURES, ETA],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        built_batches(instance)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let part = Rounded::exact(1.0) - Rounded::exact(1.0) / instance.get(BATCH.name)?;
        let mut claims = Vec::new();
        for relation in [
            Relation::COSINE,
            Relation::SQUARED_EUCLIDEAN,
            Relation::EUCLIDEAN,
            Relation::RBF.with(1.25),
        ] {
            for distance in [
                Distance::SQUARED,
                Distance::ABSOLUTE,
                Distance::HUBER.with(0.375),
            ] {
                let (v, u) = both(relation, distance, instance)?;
                claims.push(Evidence::equal(
                    format!("V = (1 - 1/B) U, {}, {}", relation.name(), distance.name()),
                    v,
                    part * u,
                ));
            }
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = (
            array![[1.0, 2.0], [0.5, -1.0]],
            array![[1.0, 1.0], [0.5, 2.0]],
        );
        let loss = |relation, diagonal| {
            let options = StructureOptions {
                relation,
                distance: Distance::SQUARED,
                diagonal,
            };
            structural_loss(&real, &generated, 1.0, &options)
        };
        let (v, u) = (
            loss(Relation::COSINE, Diagonal::Include)?,
            loss(Relation::COSINE, Diagonal::Exclude)?,
        );
        let inner = (
            loss(Relation::INNER_PRODUCT, Diagonal::Include)?,
            loss(Relation::INNER_PRODUCT, Diagonal::Exclude)?,
        );
        Ok(vec![
            Evidence::equal(
                "as read: Eq. 7 is the mean distance over pairs, cosine",
                v,
                u,
            ),
            Evidence::equal(
                "control: V = (1 - 1/B) U for the inner product too",
                inner.0,
                inner.1 * 0.5,
            ),
        ])
    }
}
