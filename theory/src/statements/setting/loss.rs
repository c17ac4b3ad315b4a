//! The reference's structural loss and other of its numbers, with their bounds.

use ndarray::Array2;
use sadm_reference::bound;
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use crate::laws::relation::relation;
use crate::rounding::Rounded;
use crate::statements::StatementError;

/// The structural loss of the reference (its `value` is the reference's own) with its running-error bound.
pub fn structural_loss(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: f64,
    options: &StructureOptions,
) -> Result<Rounded, StatementError> {
    let bound =
        bound::structure::structural_loss(real, generated, &[eta], options, bound::Precision::F64)?;
    Ok(Rounded::within(
        bound.loss.value.sum(),
        bound.loss.error.sum(),
    ))
}

/// Squared distance, diagonal included: the game of Eq. 8–10 with this relation.
pub const fn squared(relation: Relation) -> StructureOptions {
    StructureOptions {
        relation,
        distance: Distance::SQUARED,
        diagonal: Diagonal::Include,
    }
}

/// The reference's loss `[eq:structural-loss]` with the options [`squared`], of features that are known to within bounds.
///
/// The same sum on tracked numbers, (η/B²) Σ_ij (M_ij − M̂_ij)², has an error e that covers every batch within the bounds:
/// the exact loss of the features as stored, on which the reference is evaluated, and that of the features meant are both
/// within e of it, so at most 2e apart.
pub fn loss_of_rounded(
    real: &Array2<Rounded>,
    generated: &Array2<Rounded>,
    eta: f64,
    kind: Relation,
) -> Result<Rounded, StatementError> {
    let stored = |features: &Array2<Rounded>| features.mapv(|x| x.value);
    let reference = structural_loss(&stored(real), &stored(generated), eta, &squared(kind))?;
    let affinity = |psi: &Array2<Rounded>, i: usize, j: usize| {
        relation(kind, &psi.row(i).to_vec(), &psi.row(j).to_vec())
    };
    let batch = real.nrows();
    let pairs = (0..batch).flat_map(|i| (0..batch).map(move |j| (i, j)));
    let sum = Rounded::sum(
        pairs.map(|(i, j)| (affinity(real, i, j) - affinity(generated, i, j)).square()),
    );
    let tracked = sum * eta / (batch * batch) as f64;
    Ok(reference + Rounded::within(0.0, 2.0 * tracked.error))
}

/// A number of the reference as an approximation of the exact one that the tracked number `by` approximates too.
///
/// |value − exact| ≤ |value − by| + `by.error`, whatever the value. Where it is further from `by` than twice its bound it
/// is not that quotient in another order of operations, and nothing is said of it.
pub fn known(value: f64, by: Rounded) -> Rounded {
    let off = (value - by.value).abs();
    let error = if off <= 2.0 * by.error {
        (off + by.error) * (1.0 + 2.0 * f64::EPSILON)
    } else {
        f64::INFINITY
    };
    Rounded::within(value, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Features off by δ move S by ∂S/∂ψ δ, and the allowance covers that without being far more: S = (ψ² − ψ̂²)² for
    /// one number each, ψ = 1.5, ψ̂ = ½, δ = 2⁻²⁰, hence 4·1.5·2·δ = 12δ to first order.
    #[test]
    fn a_loss_of_rounded_features_covers_their_bounds() -> Result<(), StatementError> {
        let delta = 2.0_f64.powi(-20);
        let off = array![[Rounded::within(1.5, delta)]];
        let other = array![[Rounded::exact(0.5)]];
        let got = loss_of_rounded(&off, &other, 3.0, Relation::INNER_PRODUCT)?;
        let moved = |d: f64| 3.0 * ((1.5 + d).powi(2) - 0.25).powi(2);
        assert!((got.value - 12.0).abs() < 1e-14);
        for end in [-delta, delta] {
            assert!((got.value - moved(end)).abs() <= got.error);
        }
        assert!(got.error < 2.001 * 36.0 * delta, "{got:?}");
        let same = loss_of_rounded(&other, &other, 3.0, Relation::COSINE)?;
        assert!(same.value.abs() <= same.error && same.error < 1e-14);
        Ok(())
    }

    /// The error reaches what `by` allows on its far side, and no further; what is not that number is not known.
    #[test]
    fn a_number_is_known_only_as_the_quotient_it_is() {
        let by = Rounded::within(2.0, 0.125);
        for (value, error) in [(2.25, 0.375), (1.875, 0.25), (2.0, 0.125)] {
            let got = known(value, by);
            assert!((got.error - error).abs() < 1e-15, "{got:?}");
            assert!(got.value - got.error <= 1.875 && got.value + got.error >= 2.125);
        }
        assert!(known(2.5, by).error.is_infinite() && known(1.5, by).error.is_infinite());
    }
}
