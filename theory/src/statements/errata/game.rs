//! E1: without normalised features the game of Eq. 8–10 has no value.

use ndarray::array;
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use crate::rounding::Rounded;
use crate::statements::setting::{BATCH, ETA, FEATURES, batches, structural_loss};
use crate::statements::{Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError};

const STRETCH: Parameter = Parameter {
    name: "s",
    meaning: "factor on all features: what the encoder can do by scaling its last layer",
    low: 0.125,
    high: 8.0,
    default: 3.0,
    scale: Scale::Log,
};

const INNER: StructureOptions = StructureOptions {
    relation: Relation::InnerProduct,
    distance: Distance::Squared,
    diagonal: Diagonal::Include,
};
const COSINE: StructureOptions = StructureOptions {
    relation: Relation::Cosine,
    ..INNER
};

/// `[thm:e1]` The inner-product game is unbounded in φ; cosine bounds it by 4η.
///
/// # Formula `[eq:homogeneity]`
/// ```text
/// S(sΨ, sΨ̂) = s⁴ S(Ψ, Ψ̂)            inner product, squared distance
/// S(Ψ, Ψ̂) ≤ 4η (1 − 1/|B|) < 4η      cosine: |M_ij − M̂_ij| ≤ 2, and 0 on the diagonal
/// ```
/// The encoder raises Eq. 9 without limit by scaling its last layer, whatever θ does, as soon as S > 0.
pub struct UnboundedRelation;

impl Statement for UnboundedRelation {
    fn id(&self) -> &'static str {
        "e1"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Eq. 8-10"
    }
    fn kind(&self) -> Kind {
        Kind::Erratum
    }
    fn summary(&self) -> &'static str {
        "the inner-product game is unbounded; unit rows (cosine) bound it by 4 eta"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[BATCH, FEATURES, ETA, STRETCH]
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = batches(instance)?;
        let (eta, stretch) = (instance.get(ETA.name)?, instance.get(STRETCH.name)?);
        // A power of two scales the features without rounding them.
        let stretch = stretch.log2().round().exp2();
        let stretched = structural_loss(&(&real * stretch), &(&generated * stretch), eta, &INNER)?;
        let inner = structural_loss(&real, &generated, eta, &INNER)?;
        let cosine = structural_loss(&real, &generated, eta, &COSINE)?;
        let most = Rounded::exact(4.0)
            * eta
            * (Rounded::exact(1.0) - Rounded::exact(1.0) / real.nrows() as f64);
        Ok(vec![
            Evidence::equal(
                "S(sΨ, sΨ̂) = s⁴ S(Ψ, Ψ̂), inner product",
                stretched,
                inner * stretch.powi(4),
            ),
            Evidence::at_most("S ≤ 4η (1 - 1/B), cosine", cosine, most),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = (
            array![[1.0, 2.0], [0.5, -1.0]],
            array![[1.0, 1.0], [0.5, 2.0]],
        );
        let mut claims = Vec::new();
        for stretch in [8.0, 1024.0] {
            let scaled = structural_loss(&(&real * stretch), &(&generated * stretch), 1.0, &INNER)?;
            let cap = Rounded::exact(4.0 * stretch.powi(3));
            claims.push(Evidence::at_most(
                format!(
                    "as printed: the maximum over φ exists; features times {stretch} stay below {}",
                    cap.value
                ),
                scaled,
                cap,
            ));
        }
        // Two rows agree, their images oppose: the bound 4η(1 − 1/B) is attained, so nothing smaller holds.
        let opposed = structural_loss(&array![[1.0], [1.0]], &array![[1.0], [-1.0]], 1.0, &COSINE)?;
        claims.push(Evidence::at_most(
            "control: a smaller constant bounds cosine",
            opposed,
            Rounded::exact(1.999),
        ));
        Ok(claims)
    }
}
