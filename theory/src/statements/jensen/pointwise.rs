//! The constant of Eq. 14 for a scalar relation.

use super::{GAMMA, NEARNESS};
use crate::laws::finite::normal_density;
use crate::laws::tight_weight;
use crate::rounding::Rounded;
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const OBSERVED: Parameter = Parameter::linear("r", "the observed relation", -4.0..=4.0, 0.6875);
const FIRST: Parameter =
    Parameter::linear("u", "first relation, (m1 - r)/gamma", -8.0..=8.0, 0.625);
const SECOND: Parameter =
    Parameter::linear("v", "second relation, (m2 - r)/gamma", -8.0..=8.0, 1.75);

/// `[thm:density-difference]` |g(r;m₁) − g(r;m₂)|² ≤ w(γ)|m₁ − m₂|² with the smallest possible w(γ) = 1/(2πeγ⁴).
///
/// # Formula `[eq:tight-weight]`
/// ```text
/// |φ(u) − φ(v)| = |φ'(ξ)| |u − v|,    |φ'(w)| = |w| e^{−w²/2} ≤ e^{−1/2},   equality at w = ±1
/// ```
/// The bound on |φ'| is e^{(w²−1)/2} ≥ 1 + (w² − 1)/2 = (1 + w²)/2 ≥ |w|; [`super::proofs`] has it, and the bound
/// itself, by interval branch-and-bound. That nothing smaller will do: φ''(±1) = 0 and |φ'''| ≤ 3/2, hence within k of the
/// steepest point |φ'| ≥ e^{−1/2} − ¾k² and
/// ```text
/// |g₁ − g₂|² ≥ w(γ) (1 − ¾√e k²)² |m₁ − m₂|² ≥ w(γ) (1 − 3k²) |m₁ − m₂|²    for m₁, m₂ within γk of r + γ
/// ```
pub struct DensityDifference;

/// |g(r;m₁) − g(r;m₂)|² and |m₁ − m₂|².
fn sides(r: f64, gamma: f64, m: [f64; 2]) -> (Rounded, Rounded) {
    let g = |m: f64| normal_density(r, m.into(), gamma);
    let (first, second) = (Rounded::exact(m[0]), Rounded::exact(m[1]));
    ((g(m[0]) - g(m[1])).square(), (first - second).square())
}

/// The two sides at m = r + sγ(1 ± k), around the steepest point of side s = ±1.
pub fn near_slope(r: f64, gamma: f64, side: f64, k: f64) -> (Rounded, Rounded) {
    let m = |k: f64| r + side * gamma * (1.0 + k);
    sides(r, gamma, [m(-k), m(k)])
}

impl Statement for DensityDifference {
    fn about(&self) -> About {
        About {
            id: "eq-14b",
            source: "SADM (arXiv:2402.17563), Eq. 14, last step; the constant is ours",
            kind: Kind::Bound,
            summary: "densities of two relations differ by at most w(gamma) |m1 - m2|^2, w = 1/(2 pi e gamma^4), and no less",
            terms: &[],
            parameters: &[GAMMA, OBSERVED, FIRST, SECOND, NEARNESS],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (r, gamma) = (instance.get(OBSERVED.name)?, instance.get(GAMMA.name)?);
        let k = instance.get(NEARNESS.name)?;
        let place = |name: &str| Ok::<_, StatementError>(r + gamma * instance.get(name)?);
        let (left, distance2) = sides(r, gamma, [place(FIRST.name)?, place(SECOND.name)?]);
        let weight = tight_weight(gamma);
        let mut claims = vec![Evidence::at_most(
            "|g1 - g2|² ≤ w(γ) |m1 - m2|²",
            left,
            weight * distance2,
        )];
        let nearly = Rounded::exact(1.0) - Rounded::exact(k).square() * 3.0;
        for (side, name) in [(1.0, "r + γ"), (-1.0, "r - γ")] {
            let (left, distance2) = near_slope(r, gamma, side, k);
            claims.push(Evidence::at_most(
                format!("w(γ)(1 - 3k²) |m1 - m2|² ≤ |g1 - g2|² within γk of {name}"),
                weight * nearly * distance2,
                left,
            ));
            claims.push(Evidence::at_most(
                format!("|g1 - g2|² ≤ w(γ) |m1 - m2|² within γk of {name}"),
                left,
                weight * distance2,
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let mut claims = Vec::new();
        for gamma in [1e-3, 0.75, 1e3] {
            for side in [1.0, -1.0] {
                let (left, distance2) = near_slope(OBSERVED.default, gamma, side, 1.0 / 64.0);
                claims.push(Evidence::at_most(
                    format!("control: 0.999 w(γ) is enough, at γ = {gamma}, m → r + ({side})γ"),
                    left,
                    tight_weight(gamma) * 0.999 * distance2,
                ));
            }
        }
        let (left, distance2) = near_slope(OBSERVED.default, 0.5, 1.0, 1.0 / 64.0);
        claims.push(Evidence::at_most(
            "control: w = 1/(2πeγ²) is enough, at γ = 1/2",
            left,
            tight_weight(0.5) * 0.25 * distance2,
        ));
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_of_the_points_asked_for() {
        let (left, distance2) = near_slope(0.5, 2.0, -1.0, 0.25);
        let (g1, g2) = ((-0.5 * 0.5625_f64).exp(), (-0.5 * 1.5625_f64).exp());
        let want = ((g1 - g2) / (2.0 * std::f64::consts::TAU.sqrt())).powi(2);
        assert!(
            (left.value - want).abs() <= left.error + 1e-16,
            "{left:?} {want}"
        );
        assert!((distance2.value - 1.0).abs() <= distance2.error);
    }
}
