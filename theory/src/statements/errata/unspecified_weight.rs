//! E4: Eq. 14 ends in a weight w(γ) that the paper leaves unspecified.

use crate::laws::tight_weight;
use crate::rounding::Rounded;
use crate::statements::jensen::near_slope;
use crate::statements::{
    About, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const BOUND: Parameter = Parameter::logarithmic(
    "W",
    "a weight that is claimed to be enough for every gamma",
    1e-3..=1e12,
    1000.0,
);

/// Distance from the steepest point, in units of γ: 1 − 3k² > ½.
const NEARNESS: f64 = 1.0 / 16.0;

/// `[thm:e4]` The paper says that w depends on γ, without a value, and is right: no weight independent of γ makes Eq. 14 true: the smallest one is 1/(2πeγ⁴) → ∞ as γ → 0.
///
/// # Formula `[eq:diverging-weight]`
/// ```text
/// for every W, at γ = (4πeW)^{−1/4}:   w(γ) = 2W   and   |g₁ − g₂|² ≥ 2W(1 − 3k²) |m₁ − m₂|² > W |m₁ − m₂|²
/// ```
/// for relations within γk of r + γ, k = 1/16. A weight read as a constant therefore fails for a precise enough observation;
/// the tight one holds at the same points.
pub struct UnspecifiedWeight;

/// γ with w(γ) = 2W, as computed; then taken as an exact number.
fn precise_gamma(w: f64) -> f64 {
    (2.0 * std::f64::consts::TAU * std::f64::consts::E * w).powf(-0.25)
}

impl Statement for UnspecifiedWeight {
    fn about(&self) -> About {
        About {
            id: "e4",
            source: "SADM (arXiv:2402.17563), Eq. 14: \"w(gamma)\" without a value",
            kind: Kind::Erratum(Finding::Reading),
            summary: "the weight of Eq. 14 must grow like 1/gamma^4: no constant will do",
            terms: &[],
            parameters: &[BOUND],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let bound = instance.get(BOUND.name)?;
        let gamma = precise_gamma(bound);
        let mut claims = vec![Evidence::equal(
            "w((4πeW)^(-1/4)) = 2W, within the rounding of γ",
            // γ carries the rounding of powf and its three factors, four times over in γ⁴.
            Rounded::within(
                tight_weight(gamma).value,
                tight_weight(gamma).error + 48.0 * f64::EPSILON * bound,
            ),
            Rounded::exact(bound) * 2.0,
        )];
        for side in [1.0, -1.0] {
            let (left, distance2) = near_slope(0.0, gamma, side, NEARNESS);
            claims.push(Evidence::at_most(
                format!("W |m1 - m2|² ≤ |g1 - g2|² near r + ({side})γ: W is not enough"),
                Rounded::exact(bound) * distance2,
                left,
            ));
            claims.push(Evidence::at_most(
                format!("|g1 - g2|² ≤ w(γ) |m1 - m2|² near r + ({side})γ"),
                left,
                tight_weight(gamma) * distance2,
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let claim = |text: &str, weight: Rounded, gamma: f64| {
            let (left, distance2) = near_slope(0.0, gamma, 1.0, NEARNESS);
            Evidence::at_most(text, left, weight * distance2)
        };
        Ok(vec![
            claim(
                "as read, w a constant, 1: |g1 - g2|² ≤ |m1 - m2|² at γ = 1/10",
                Rounded::exact(1.0),
                0.1,
            ),
            claim(
                "as read, w a constant, its value at γ = 1: enough at γ = 1/2",
                tight_weight(1.0),
                0.5,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4πe·W = 16 at W = 4/(πe): γ = ½.
    #[test]
    fn the_precise_gamma_is_as_by_hand() {
        let w = 4.0 / (std::f64::consts::PI * std::f64::consts::E);
        assert!((precise_gamma(w) - 0.5).abs() < 1e-15);
    }
}
