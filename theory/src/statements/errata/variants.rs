//! E7: three relations and two weights under one name.

use ndarray::{Array2, array};
use sadm_reference::relation::Relation;

use crate::laws::relation::{dot, exact};
use crate::rounding::Rounded;
use crate::statements::setting::{
    BATCH, ETA, FEATURES, batches, built_batches, loss_of_rounded, squared, structural_loss,
};
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Statement, StatementError,
};

/// `[thm:e7]` Sec. 4.1 and 4.2 name different losses; they meet on unit rows, up to constants.
///
/// # Formula `[eq:unit-rows]`
/// ```text
/// unit rows:   ⟨ψ_i, ψ_j⟩ = cos(ψ_i, ψ_j),    ‖ψ_i − ψ_j‖² = 2 − 2 cos(ψ_i, ψ_j)
/// hence        S_inner = S_cosine,            S_squared-euclidean = 4 S_cosine      (D squared)
/// and          S with weight η = η · S with weight 1                                (Eq. 8 against Eq. 6)
/// ```
pub struct Variants;

/// Rows divided by their norms: stored numbers that are unit rows to within their bounds.
fn unit_rows(features: &Array2<f64>) -> Array2<Rounded> {
    let mut rows = features.mapv(Rounded::exact);
    for (mut unit, row) in rows.rows_mut().into_iter().zip(features.rows()) {
        let row = exact(row.iter().copied());
        let norm = dot(&row, &row).sqrt();
        unit.mapv_inplace(|v| v / norm);
    }
    rows
}

impl Statement for Variants {
    fn about(&self) -> About {
        About {
            id: "e7",
            source: "SADM (arXiv:2402.17563), Sec. 4.1 against 4.2: R Euclidean, cosine or inner product; D without or with eta_t",
            kind: Kind::Erratum(Finding::Reading),
            summary: "the printed variants are different losses; on unit rows they differ by constants",
            terms: &[],
            parameters: &[BATCH, FEATURES, ETA],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        built_batches(instance)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = batches(instance)?;
        let eta = instance.get(ETA.name)?;
        let (real, generated) = (unit_rows(&real), unit_rows(&generated));
        let loss = |relation| loss_of_rounded(&real, &generated, eta, relation);
        let (inner, cosine, squared) = (
            loss(Relation::INNER_PRODUCT)?,
            loss(Relation::COSINE)?,
            loss(Relation::SQUARED_EUCLIDEAN)?,
        );
        let unweighted = loss_of_rounded(&real, &generated, 1.0, Relation::COSINE)?;
        Ok(vec![
            Evidence::equal("unit rows: S_inner = S_cosine", inner, cosine),
            Evidence::equal(
                "unit rows: S_squared-euclidean = 4 S_cosine",
                squared,
                cosine * 4.0,
            ),
            Evidence::equal("Eq. 8 = η · Eq. 6", cosine, unweighted * eta),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = (
            array![[1.0, 2.0], [0.5, -1.0]],
            array![[1.0, 1.0], [0.5, 2.0]],
        );
        let loss = |relation, eta| structural_loss(&real, &generated, eta, &squared(relation));
        let cosine = loss(Relation::COSINE, 1.0)?;
        Ok(vec![
            Evidence::equal(
                "as read: cosine and inner product are one R",
                cosine,
                loss(Relation::INNER_PRODUCT, 1.0)?,
            ),
            Evidence::equal(
                "as read: cosine and Euclidean are one R",
                cosine,
                loss(Relation::EUCLIDEAN, 1.0)?,
            ),
            Evidence::equal(
                "as read: Euclidean and inner product are one R",
                loss(Relation::EUCLIDEAN, 1.0)?,
                loss(Relation::INNER_PRODUCT, 1.0)?,
            ),
            Evidence::equal(
                "as read: D of Eq. 6 and of Eq. 8 are one D at t = 0.25",
                cosine,
                loss(Relation::COSINE, 4.0)?,
            ),
            Evidence::equal(
                "control: S_squared-euclidean = 4 S_cosine without unit rows",
                loss(Relation::SQUARED_EUCLIDEAN, 1.0)?,
                cosine * 4.0,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_divided_by_their_own_norms() {
        let got = unit_rows(&array![[3.0, -4.0], [0.0, 2.0]]);
        for (got, want) in got.iter().zip([0.6, -0.8, 0.0, 1.0]) {
            assert!((got.value - want).abs() <= got.error + 1e-16 && got.error < 1e-15);
        }
    }
}
