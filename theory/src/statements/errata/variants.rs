//! E7: three relations and two weights under one name.

use ndarray::{Array2, Axis, array};
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use crate::rounding::Rounded;
use crate::statements::setting::{BATCH, ETA, FEATURES, batches, structural_loss};
use crate::statements::{Evidence, Instance, Kind, Parameter, Statement, StatementError};

/// `[thm:e7]` Sec. 4.1 and 4.2 name different losses; they meet on unit rows, up to constants.
///
/// # Formula `[eq:unit-rows]`
/// ```text
/// unit rows:   ⟨ψ_i, ψ_j⟩ = cos(ψ_i, ψ_j),    ‖ψ_i − ψ_j‖² = 2 − 2 cos(ψ_i, ψ_j)
/// hence        S_inner = S_cosine,            S_squared-euclidean = 4 S_cosine      (D squared)
/// and          S with weight η = η · S with weight 1                                (Eq. 8 against Eq. 6)
/// ```
pub struct Variants;

fn options(relation: Relation) -> StructureOptions {
    StructureOptions {
        relation,
        distance: Distance::Squared,
        diagonal: Diagonal::Include,
    }
}

/// Rows divided by their norms, and how far each is from unit length: a relative error of (d + 4)u on the norm
/// (d squares and sums, a root) and one division.
fn unit_rows(features: &Array2<f64>) -> (Array2<f64>, f64) {
    let mut rows = features.clone();
    for mut row in rows.axis_iter_mut(Axis(0)) {
        let norm = row.dot(&row).sqrt();
        row.mapv_inplace(|v| v / norm);
    }
    (rows, (features.ncols() as f64 + 4.0) * f64::EPSILON)
}

impl Statement for Variants {
    fn id(&self) -> &'static str {
        "e7"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Sec. 4.1 against 4.2: R Euclidean, cosine or inner product; D without or with eta_t"
    }
    fn kind(&self) -> Kind {
        Kind::Erratum
    }
    fn summary(&self) -> &'static str {
        "the printed variants are different losses; on unit rows they differ by constants"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[BATCH, FEATURES, ETA]
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = batches(instance)?;
        let eta = instance.get(ETA.name)?;
        let ((real, defect), (generated, _)) = (unit_rows(&real), unit_rows(&generated));
        let loss = |relation| structural_loss(&real, &generated, eta, &options(relation));
        let (inner, cosine, squared) = (
            loss(Relation::InnerProduct)?,
            loss(Relation::Cosine)?,
            loss(Relation::SquaredEuclidean)?,
        );
        // Norms off by `defect` move an affinity by at most 2·defect (4·defect for the squared distance), hence a
        // difference e by twice that, and e² with |e| ≤ 2 (≤ 4) by 4·2·2·defect (≤ 8·2·4·defect) and a second order
        // that one more unit covers.
        let off = |units: f64| Rounded::within(0.0, units * eta * defect);
        let unweighted = structural_loss(&real, &generated, 1.0, &options(Relation::Cosine))?;
        Ok(vec![
            Evidence::equal("unit rows: S_inner = S_cosine", inner, cosine + off(17.0)),
            Evidence::equal(
                "unit rows: S_squared-euclidean = 4 S_cosine",
                squared,
                cosine * 4.0 + off(65.0),
            ),
            Evidence::equal("Eq. 8 = η · Eq. 6", cosine, unweighted * eta),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = (
            array![[1.0, 2.0], [0.5, -1.0]],
            array![[1.0, 1.0], [0.5, 2.0]],
        );
        let loss = |relation, eta| structural_loss(&real, &generated, eta, &options(relation));
        let cosine = loss(Relation::Cosine, 1.0)?;
        Ok(vec![
            Evidence::equal(
                "as printed: cosine and inner product are one R",
                cosine,
                loss(Relation::InnerProduct, 1.0)?,
            ),
            Evidence::equal(
                "as printed: cosine and Euclidean are one R",
                cosine,
                loss(Relation::Euclidean, 1.0)?,
            ),
            Evidence::equal(
                "as printed: Euclidean and inner product are one R",
                loss(Relation::Euclidean, 1.0)?,
                loss(Relation::InnerProduct, 1.0)?,
            ),
            Evidence::equal(
                "as printed: D of Eq. 6 and of Eq. 8 are one D at t = 0.25",
                cosine,
                loss(Relation::Cosine, 4.0)?,
            ),
            Evidence::equal(
                "control: S_squared-euclidean = 4 S_cosine without unit rows",
                loss(Relation::SquaredEuclidean, 1.0)?,
                cosine * 4.0,
            ),
        ])
    }
}
