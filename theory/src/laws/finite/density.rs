//! The normal density with which a relation is observed, and the softmax of log weights.

use crate::rounding::Rounded;

/// N(r; m, γ²), the density with which a relation is observed.
///
/// # Formula `[eq:observation]`
/// ```text
/// g(r) = exp(−(r − m)²/2γ²) / (γ √(2π))
/// ```
pub fn normal_density(r: f64, mean: Rounded, gamma: f64) -> Rounded {
    let gamma = Rounded::exact(gamma);
    let z = (Rounded::exact(r) - mean) / gamma;
    (-(z.square() * 0.5)).exp() / (gamma * two_pi().sqrt())
}

/// ln N(r; m, γ²): finite where [`normal_density`] underflows.
pub fn log_normal_density(r: f64, mean: Rounded, gamma: f64) -> Rounded {
    let gamma = Rounded::exact(gamma);
    let z = (Rounded::exact(r) - mean) / gamma;
    -(z.square() * 0.5) - gamma.ln() - two_pi().ln() * 0.5
}

/// ln N(r; m, γ²) − ln N(r; m', γ²) from m and the difference m − m', whose digits it keeps.
///
/// # Formula `[eq:log-ratio]`
/// ```text
/// ((r − m')² − (r − m)²)/2γ² = (m − m')(2(r − m) + (m − m'))/2γ²
/// ```
pub(crate) fn log_ratio(r: f64, mean: Rounded, difference: Rounded, gamma: f64) -> Rounded {
    let reach = (Rounded::exact(r) - mean) * 2.0 + difference;
    difference * reach / (Rounded::exact(gamma).square() * 2.0)
}

/// The constant 2π, known to half an ulp.
pub fn two_pi() -> Rounded {
    Rounded::within(
        std::f64::consts::TAU,
        std::f64::consts::TAU * f64::EPSILON / 2.0,
    )
}

/// Softmax of the terms and the logarithm of their exponentials' sum; the largest term is taken out first.
pub(crate) fn softmax(terms: &[Rounded]) -> (Vec<Rounded>, Rounded) {
    // Any shift is exact mathematically, so the computed maximum is taken as an exact number.
    let top = Rounded::exact(terms.iter().fold(f64::NEG_INFINITY, |m, t| m.max(t.value)));
    let scaled: Vec<Rounded> = terms.iter().map(|&t| (t - top).exp()).collect();
    let total = Rounded::sum(scaled.iter().copied());
    let weights = scaled.into_iter().map(|s| s / total).collect();
    (weights, top + total.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_density_is_normalised_and_has_its_width() {
        let sum: f64 = (-800..800)
            .map(|k| normal_density(f64::from(k) / 64.0, 0.75.into(), 0.5).value / 64.0)
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let (top, side) = (
            normal_density(0.75, 0.75.into(), 0.5),
            normal_density(1.25, 0.75.into(), 0.5),
        );
        let ratio = side / top;
        assert!((ratio.value - (-0.5_f64).exp()).abs() <= ratio.error + f64::EPSILON);
    }

    /// Against the two densities, and where their difference would have no digit left.
    #[test]
    fn a_ratio_is_a_difference_of_logarithms_and_keeps_digits() {
        let (r, m, gamma) = (1.75, Rounded::exact(0.5), 0.75);
        let got = log_ratio(r, m, Rounded::exact(-0.25), gamma);
        let want = log_normal_density(r, m, gamma) - log_normal_density(r, 0.75.into(), gamma);
        assert!((got.value - want.value).abs() <= got.error + want.error);
        let tiny = log_ratio(r, m, Rounded::exact(1e-30), gamma);
        assert!((tiny.value / (1e-30 * 1.25 / 0.5625) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_log_density_is_the_logarithm_and_survives_underflow() {
        for (r, gamma) in [(1.75, 0.5), (-2.0, 3.0)] {
            let (log, direct) = (
                log_normal_density(r, 0.75.into(), gamma),
                normal_density(r, 0.75.into(), gamma).ln(),
            );
            assert!((log.value - direct.value).abs() <= log.error + direct.error);
            assert!(log.error < 1e-14);
        }
        let far = log_normal_density(1e6, 0.0.into(), 0.5);
        assert!((far.value + 2e12).abs() < 1.0);
    }
}
