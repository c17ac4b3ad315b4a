//! w(γ), the constant of Eq. 14, in one place.

use super::finite::two_pi;
use crate::rounding::Rounded;

/// w(γ) = 1/(2πeγ⁴): the weight `[eq:tight-weight]` of a scalar relation.
///
/// # Range
/// γ > 0; beyond about 1e±77 the fourth power leaves the range of f64 and the error says so.
/// # Source
/// ours, for SADM (arXiv:2402.17563), Eq. 14, last step, which leaves the value open.
///
/// # Example
/// ```
/// // e^{-1}/(2π) = 0.05854983152431917 at γ = 1, a sixteenth of it at γ = 2.
/// let w = sadm_theory::laws::tight_weight(2.0);
/// assert!((16.0 * w.value - 0.05854983152431917).abs() < 1e-16);
/// ```
pub fn tight_weight(gamma: f64) -> Rounded {
    tight_weight_of(1, gamma)
}

/// w_K(γ) = (2πγ²)^{−K} e^{−1}/γ²: the weight `[eq:tight-weight-k]` of a relation with K components.
///
/// # Range
/// As [`tight_weight`], which is K = 1.
pub fn tight_weight_of(components: usize, gamma: f64) -> Rounded {
    let gamma2 = Rounded::exact(gamma).square();
    let volume = (0..components).fold(Rounded::exact(1.0), |v, _| v * two_pi() * gamma2);
    Rounded::exact(1.0) / (volume * Rounded::exact(1.0).exp() * gamma2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1/(2πe) = 0.058549831524319…, and (2π/4)^{−2}·4/e = 16/(eπ²) = 0.596383686675…: γ = ½, K = 2.
    #[test]
    fn weights_are_as_by_hand() {
        for (got, want) in [
            (tight_weight(2.0), 0.058_549_831_524_319_17 / 16.0),
            (tight_weight_of(1, 0.5), 0.058_549_831_524_319_17 * 16.0),
            (tight_weight_of(2, 0.5), 0.596_383_686_674_756_9),
        ] {
            assert!(
                (got.value - want).abs() <= got.error + 4.0 * f64::EPSILON * want,
                "{got:?} {want}"
            );
            assert!(got.error < 1e-14 * want, "{got:?}");
        }
    }

    #[test]
    fn outside_the_range_of_f64_nothing_is_known() {
        assert!(tight_weight(1e-90).error.is_infinite());
    }
}
