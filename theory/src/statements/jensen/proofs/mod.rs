//! The bounds of Eq. 14 proved on whole boxes by interval branch-and-bound.
//!
//! The proofs in the statements' docs are of two lines; these share little of their reasoning (the mean value theorem, and
//! Taylor's in the piece of the integrated bound that meets 0), and trust IEEE 754 arithmetic for the rest.

mod several;

pub use several::prove_density_difference_of;

use crate::branch_and_bound::{Decision, Outcome, cover};
use crate::interval::Interval;

/// The slope of φ relative to its largest: s(w) = |w| e^{(1−w²)/2}, so that |φ'(w)| = e^{−1/2} s(w).
fn slope(w: Interval) -> Interval {
    w.abs() * half_gap(w).exp()
}

/// (1 − w²)/2.
fn half_gap(w: Interval) -> Interval {
    (Interval::point(1.0) - w.square()) * Interval::point(0.5)
}

/// s''(w) = w(w² − 3) e^{(1−w²)/2} for w > 0.
fn slope_curvature(w: Interval) -> Interval {
    w * (w.square() - Interval::point(3.0)) * half_gap(w).exp()
}

/// Whether s ≤ 1 on all of w.
///
/// Away from |w| = 1 by evaluation. Around it, where s = 1 and s' = 0, by Taylor: s(w) = 1 + ½ s''(ξ)(w − 1)² with ξ
/// between w and 1, so s'' ≤ 0 on the hull of w and 1 is enough. That holds up to √3; a w that reaches further is cut in two
/// near there.
fn slope_is_at_most_one(w: Interval) -> bool {
    const CUT: f64 = 1.73;
    let near = |w: Interval| slope_curvature(w.hull(Interval::point(1.0))).hi() <= 0.0;
    let w = w.abs();
    if w.lo() < CUT && CUT < w.hi() {
        near(Interval::new(w.lo(), CUT)) && slope(Interval::new(CUT, w.hi())).hi() <= 1.0
    } else {
        slope(w).hi() <= 1.0 || near(w)
    }
}

/// Half-width of the boxes. Beyond it, |w| ≥ 8: e^{(w²−1)/2} ≥ (w² − 1)/2 ≥ 3|w|, so s ≤ 1/3.
pub const REACH: f64 = 8.0;

/// `[thm:slope-proved]` |φ'(w)| ≤ e^{−1/2} for |w| ≤ 8, by cover; [`REACH`] says why for larger |w|.
pub fn prove_slope(budget: usize) -> Outcome {
    cover(&[Interval::new(-REACH, REACH)], budget, |b| {
        if slope_is_at_most_one(b[0]) {
            Decision::Holds
        } else {
            Decision::Unknown
        }
    })
}

/// `[thm:density-difference-proved]` |φ(u) − φ(v)| ≤ c e^{−1/2} |u − v| on (u, v) ∈ [−8, 8]².
///
/// With `factor` c = 1 this is Eq. 14 with the tight w(γ) (squared, times 1/(2πγ²)), for every γ and r; the same with
/// c < 1 is refuted. Off the diagonal by evaluation of both sides; on boxes that meet it, where both sides vanish, by the
/// mean value theorem: the quotient is e^{−1/2} s(ξ) with ξ in the hull of u and v. A box with s > c on its whole hull is a
/// counter-example at every point with u ≠ v.
///
/// Outside the box: if both |u|, |v| ≥ 8 lie on one side, s ≤ 1/3 there. Otherwise move the outer one to ±8: the right side
/// shrinks by e^{−1/2} times the distance and the left side changes by less, since s ≤ 1/3 on the way.
pub fn prove_density_difference(factor: f64, budget: usize) -> Outcome {
    let side = Interval::new(-REACH, REACH);
    let c = Interval::point(factor);
    cover(&[side, side], budget, |b| {
        let (u, v) = (b[0], b[1]);
        let hull = u.hull(v);
        let steepest = slope(hull);
        let mean_value = steepest.hi() <= factor || (factor >= 1.0 && slope_is_at_most_one(hull));
        if mean_value || apart(u, v, c) {
            Decision::Holds
        } else if steepest.lo() > factor {
            Decision::Fails
        } else {
            Decision::Unknown
        }
    })
}

/// Whether |e^{(1−u²)/2} − e^{(1−v²)/2}| ≤ c |u − v| by evaluation: both sides times e^{1/2}.
fn apart(u: Interval, v: Interval, c: Interval) -> bool {
    let left = (half_gap(u).exp() - half_gap(v).exp()).abs();
    left.hi() <= (c * (u - v).abs()).lo()
}

/// `[thm:third-derivative-proved]` |φ'''(w)| = |3w − w³| e^{−w²/2} ≤ 3/2 for |w| ≤ 8: the curvature that tightness uses.
///
/// Only |w| ≤ 1.5 is needed there.
pub fn prove_third_derivative(bound: f64, budget: usize) -> Outcome {
    cover(&[Interval::new(-REACH, REACH)], budget, |b| {
        let w = b[0];
        let third = (w * (Interval::point(3.0) - w.square())).abs()
            * (w.square() * Interval::point(-0.5)).exp();
        if third.hi() <= bound {
            Decision::Holds
        } else if third.lo() > bound {
            Decision::Fails
        } else {
            Decision::Unknown
        }
    })
}

/// `[thm:integrated-proved]` x − x²/2 ≤ 1 − e^{−x} ≤ c x for x ∈ [0, 64], the integrated bound with x = Δ²/4γ².
///
/// With `factor` c = 1 it holds. For x ≤ 1, because all sides vanish at 0, by Taylor's formula there: 1 − e^{−x} =
/// x − ½ x² e^{−ξ} with 0 < e^{−ξ} < 1, which is both claims. Otherwise by evaluation. Beyond 64: 1 − e^{−x} ≤ 1 ≤ x, and
/// x − x²/2 < 0.
pub fn prove_integrated(factor: f64, budget: usize) -> Outcome {
    let one = Interval::point(1.0);
    cover(&[Interval::new(0.0, 64.0)], budget, |b| {
        let x = b[0];
        let middle = one - (-x).exp();
        let upper = Interval::point(factor) * x;
        let lower = x - x.square() * Interval::point(0.5);
        let by_taylor = factor >= 1.0 && x.hi() <= 1.0;
        if by_taylor || (middle.hi() <= upper.lo() && lower.hi() <= middle.lo()) {
            Decision::Holds
        } else if middle.lo() > upper.hi() {
            Decision::Fails
        } else {
            Decision::Unknown
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 100_000;

    #[test]
    fn the_slope_is_bounded_everywhere() {
        let outcome = prove_slope(BUDGET);
        assert!(outcome.is_proved(), "{outcome:?}");
    }

    #[test]
    fn eq_14b_is_proved_for_every_gamma() {
        let outcome = prove_density_difference(1.0, BUDGET);
        assert!(outcome.is_proved(), "{outcome:?}");
        assert!(outcome.boxes() > 10, "{outcome:?}");
    }

    #[test]
    fn a_smaller_constant_has_a_counter_example_at_slope_one() {
        for factor in [0.5, 0.99] {
            let outcome = prove_density_difference(factor, BUDGET);
            let Outcome::CounterExample { at, .. } = outcome else {
                panic!("{factor}: {outcome:?}")
            };
            for side in at {
                assert!(
                    factor < 0.9 || (side.abs().lo() - 1.0).abs() < 0.25,
                    "{side:?}"
                );
            }
        }
    }

    #[test]
    fn the_third_derivative_is_at_most_three_halves_and_not_five_quarters() {
        assert!(prove_third_derivative(1.5, BUDGET).is_proved());
        assert!(prove_third_derivative(1.25, BUDGET).is_refuted());
    }

    #[test]
    fn the_integrated_bound_is_proved_and_no_smaller_one() {
        assert!(prove_integrated(1.0, BUDGET).is_proved());
        assert!(prove_integrated(0.99, BUDGET).is_refuted());
    }

    /// At w = 1 the expansion's pieces are s = 1 and s'' = −2; at w = 2, 2e^{−3/2} and 2e^{−3/2}.
    #[test]
    fn slope_and_curvature_are_as_by_hand() {
        let near = |got: Interval, want: f64| {
            assert!(
                got.contains(want) || (got.lo() - want).abs() < 1e-14,
                "{got:?} {want}"
            );
            assert!(got.width() < 1e-12, "{got:?}");
        };
        near(slope(Interval::point(1.0)), 1.0);
        near(slope_curvature(Interval::point(1.0)), -2.0);
        near(slope(Interval::point(-2.0)), 2.0 * (-1.5_f64).exp());
        near(
            slope_curvature(Interval::point(2.0)),
            2.0 * (-1.5_f64).exp(),
        );
        assert!(slope_is_at_most_one(Interval::new(0.9, 1.1)));
        assert!(slope_is_at_most_one(Interval::new(-1.1, -0.9)));
        assert!(slope_is_at_most_one(Interval::new(0.5, 2.5)));
        assert!(!slope_is_at_most_one(Interval::new(0.5, 3.5)));
    }
}
