//! E1: without normalised features the game of Eq. 8–10 has no value; with the cosine, which the paragraph above Eq. 8 chooses, it has.

use ndarray::{Array2, array};
use sadm_reference::relation::Relation;
use sadm_reference::structure::StructureOptions;

use crate::rounding::Rounded;
use crate::statements::setting::{
    BATCH, ETA, FEATURES, batches, built_batches, loss_of_rounded, squared, structural_loss,
};
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const STRETCH: Parameter = Parameter::logarithmic(
    "s",
    "factor on all features: what the encoder can do by scaling its last layer",
    0.125..=8.0,
    3.0,
);

const INNER: StructureOptions = squared(Relation::INNER_PRODUCT);
const COSINE: StructureOptions = squared(Relation::COSINE);

/// `[thm:e1]` The inner-product game is unbounded in φ; the cosine, chosen above Eq. 8, bounds it by 2η.
///
/// # Formula `[eq:homogeneity]`
/// ```text
/// S(sΨ, sΨ̂) = s⁴ S(Ψ, Ψ̂)            inner product, squared distance
/// S(Ψ, Ψ̂) ≤ 2η                       cosine, by [eq:cosine-bound]
/// ```
/// Eq. 8 by itself prints inner products of features; the paragraph above it takes the cosine, and with unit features Eq. 8 is that. The
/// condition is missing from the equation, not from the paper.
/// The encoder raises Eq. 9 without limit by scaling its last layer, whatever θ does, as soon as S > 0.
///
/// The factor s is any real number: sΨ is rounded where it is not a power of two, and the allowance covers that.
pub struct UnboundedRelation;

/// sΨ, each number with the bound of its product.
fn stretched(features: &Array2<f64>, stretch: f64) -> Array2<Rounded> {
    features.mapv(|x| Rounded::exact(x) * stretch)
}

impl Statement for UnboundedRelation {
    fn about(&self) -> About {
        About {
            id: "e1",
            source: "SADM (arXiv:2402.17563), Eq. 8-10",
            kind: Kind::Erratum(Finding::MissingCondition),
            summary: "Eq. 8 by itself is unbounded; with unit features, the cosine of the paragraph above it, S is at most 2 eta",
            terms: &[],
            parameters: &[BATCH, FEATURES, ETA, STRETCH],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        built_batches(instance)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (real, generated) = batches(instance)?;
        let (eta, stretch) = (instance.get(ETA.name)?, instance.get(STRETCH.name)?);
        let (psi, psi_hat) = (stretched(&real, stretch), stretched(&generated, stretch));
        let moved = loss_of_rounded(&psi, &psi_hat, eta, Relation::INNER_PRODUCT)?;
        let inner = structural_loss(&real, &generated, eta, &INNER)?;
        let cosine = structural_loss(&real, &generated, eta, &COSINE)?;
        let most = Rounded::exact(2.0) * eta;
        Ok(vec![
            Evidence::equal(
                "S(sΨ, sΨ̂) = s⁴ S(Ψ, Ψ̂), inner product",
                moved,
                inner * Rounded::exact(stretch).square().square(),
            ),
            Evidence::at_most("S ≤ 2η, cosine", cosine, most),
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
                    "as printed, Eq. 8 by itself: the maximum over φ exists; features times {stretch} stay below {}",
                    cap.value
                ),
                scaled,
                cap,
            ));
        }
        // Two rows agree, their images oppose: the bound 2η is attained, so nothing smaller holds.
        let opposed = structural_loss(&array![[1.0], [1.0]], &array![[1.0], [-1.0]], 1.0, &COSINE)?;
        claims.push(Evidence::at_most(
            "control: a smaller constant bounds cosine",
            opposed,
            Rounded::exact(1.999),
        ));
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// s = 3 is not a power of two: 3⁴ = 81 times the loss of s = 1, not 256 times; and the two sides are two computations.
    #[test]
    fn the_stretch_is_the_one_asked_for() -> Result<(), StatementError> {
        let claim = |s: f64| {
            let instance = UnboundedRelation.default_instance();
            let instance = instance.with(UnboundedRelation.parameters(), "s", s)?;
            UnboundedRelation
                .evidence(&instance)
                .map(|mut e| e.remove(0))
        };
        let (once, thrice) = (claim(1.0)?, claim(3.0)?);
        assert!((thrice.lhs / once.lhs - 81.0).abs() < 1e-10, "{thrice}");
        let worst = [1.1, 1.9, 2.7, 3.0, 5.3, 7.7].map(|s| claim(s).map_or(0.0, |e| e.ratio()));
        assert!(worst.iter().any(|r| *r > 0.0), "{worst:?}");
        Ok(())
    }
}
