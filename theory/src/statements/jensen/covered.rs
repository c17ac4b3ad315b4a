//! The bounds of Eq. 14 on whole boxes: the covers of [`super::proofs`] as statements.

use super::proofs::{
    prove_density_difference, prove_density_difference_of, prove_integrated, prove_slope,
    prove_third_derivative,
};
use crate::statements::{About, Evidence, Instance, Kind, Parameter, Statement, StatementError};

const COMPONENTS: Parameter =
    Parameter::whole("K", "number of components of the relation", 1.0..=2.0, 2.0);
const REACH: Parameter = Parameter::logarithmic(
    "reach",
    "half-width of the box of (m1 - r)/gamma and (m2 - r)/gamma, 2K numbers",
    0.25..=4.0,
    4.0,
);

/// Pieces looked at before a cover gives up.
const BUDGET: usize = 200_000;

/// `[thm:eq-14b-box]` Eq. 14b, its K-dimensional and its integrated form hold on whole boxes, not on samples of them.
///
/// Interval branch-and-bound covers the box by pieces on each of which outward-rounded arithmetic decides the claim; a proof
/// on [−4, 4]^{2K} is one on all of R^{2K} ([`prove_density_difference_of`] says why), and γ and r have dropped out. The
/// K = 2 is enough for every K ≥ 2: both sides are functions of |u|, |v| and |u − v|, which no rotation changes, and any
/// u, v ∈ R^K lie in a plane, which a rotation carries to R². So the proof on R⁴ is one on R^{2K}. The
/// integrated form has the same x = |Δ|²/4γ² for every K, since ∫g_a g_b dr = (4πγ²)^{−K/2} e^{−x}.
///
/// An "equality" here is a truth value: 1 = 1 where every piece holds, 0 = 1 where a piece is a counter-example.
pub struct CoveredBounds;

impl Statement for CoveredBounds {
    fn about(&self) -> About {
        About {
            id: "eq-14b-box",
            source: "ours, for SADM (arXiv:2402.17563), Eq. 14, last step, by interval branch-and-bound",
            kind: Kind::Bound,
            summary: "Eq. 14b, for one and two components and integrated, is proved on whole boxes by intervals",
            terms: &[],
            parameters: &[COMPONENTS, REACH],
        }
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (count, reach) = (instance.size(COMPONENTS.name)?, instance.get(REACH.name)?);
        Ok(vec![
            Evidence::covered(
                "|φ(u) - φ(v)| ≤ e^{-1/2} |u - v| on [-reach, reach]^{2K}",
                &prove_density_difference_of(count, reach, 1.0, BUDGET),
            ),
            Evidence::covered("|φ'| ≤ e^{-1/2} on [-8, 8]", &prove_slope(BUDGET)),
            Evidence::covered(
                "|φ'''| ≤ 3/2 on [-8, 8]: the constant is approached",
                &prove_third_derivative(1.5, BUDGET),
            ),
            Evidence::covered(
                "x - x²/2 ≤ 1 - e^{-x} ≤ x on [0, 64]: integrated over r",
                &prove_integrated(1.0, BUDGET),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        Ok(vec![
            Evidence::covered(
                "control: 0.99 of the constant is enough for K = 1",
                &prove_density_difference(0.99, BUDGET),
            ),
            Evidence::covered(
                "control: 0.97 of the constant is enough for K = 2",
                &prove_density_difference_of(2, REACH.high, 0.97, BUDGET),
            ),
            Evidence::covered(
                "control: |φ'''| ≤ 5/4",
                &prove_third_derivative(1.25, BUDGET),
            ),
            Evidence::covered(
                "control: 0.99 of the integrated constant is enough",
                &prove_integrated(0.99, BUDGET),
            ),
        ])
    }
}
