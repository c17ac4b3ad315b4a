//! Theorem 1's monotonicity proved on whole boxes of separations and noise levels.

use super::quadrature::slopes;
use crate::branch_and_bound::{Decision, Outcome, cover};
use crate::interval::Interval;

/// Which way the divergence is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Along the separation θ, in which it grows.
    Distance,
    /// Along the noise level σ, in which it falls.
    Noise,
}

/// `[thm:dg-theorem-1-proved]` The divergence of N(0, σ²) and N(θ, σ²) grows with θ and falls with σ on a whole box of (θ, σ).
///
/// # Formula `[eq:jsd-monotone]`
/// ```text
/// σ ∂JSD/∂θ ≥ c (δ/4) e^{−δ²/8}     and     −σ ∂JSD/∂σ ≥ c (δ²/4) e^{−δ²/8},      δ = θ/σ
/// ```
/// With c > 0 that is strict monotonicity with a rate. The left sides come from the definition of the divergence by rigorous
/// quadrature, `slopes`; the closed form of J', whose sign can be read off, is not used. Both sides depend on θ and σ
/// through δ alone, so the box is covered along δ ∈ [θ_low/σ_high, θ_high/σ_low], in mean-value form: with G the difference
/// of the sides, G(δ) ∈ G(m) + G'(Δ)(Δ − m) on a piece Δ with middle m.
///
/// # Range
/// θ and σ positive. The largest possible c on δ ≤ 6 is E sech(3v) = 0.3737 by the closed form.
pub fn prove_monotone(
    along: Along,
    theta: Interval,
    sigma: Interval,
    part: f64,
    budget: usize,
) -> Outcome {
    cover(&[theta / sigma], budget, |b| {
        let margin = margin(along, b[0], part);
        if margin.lo() >= 0.0 {
            Decision::Holds
        } else if margin.hi() < 0.0 {
            Decision::Fails
        } else {
            Decision::Unknown
        }
    })
}

/// Left side less right side, for every δ of a piece.
fn margin(along: Along, delta: Interval, part: f64) -> Interval {
    let at = slopes(delta);
    let middle = Interval::point(delta.lo() + 0.5 * delta.width());
    let (least, least_rate) = (least(along, middle), least_rate(along, delta));
    let (slope, rate) = match along {
        Along::Distance => (at.distance, at.distance_rate),
        Along::Noise => (-at.noise, -at.noise_rate),
    };
    let part = Interval::point(part);
    slope - part * least + (rate - part * least_rate) * (delta - middle)
}

/// (δ/4) e^{−δ²/8} or (δ²/4) e^{−δ²/8}.
fn least(along: Along, delta: Interval) -> Interval {
    let quarter = Interval::point(0.25) * fall(delta);
    match along {
        Along::Distance => delta * quarter,
        Along::Noise => delta.square() * quarter,
    }
}

/// Its derivative in δ: ¼(1 − δ²/4) e^{−δ²/8} or ¼ δ(2 − δ²/4) e^{−δ²/8}.
fn least_rate(along: Along, delta: Interval) -> Interval {
    let square = delta.square() * Interval::point(0.25);
    let quarter = Interval::point(0.25) * fall(delta);
    match along {
        Along::Distance => (Interval::point(1.0) - square) * quarter,
        Along::Noise => delta * (Interval::point(2.0) - square) * quarter,
    }
}

/// e^{−δ²/8}.
fn fall(delta: Interval) -> Interval {
    (delta.square() * Interval::point(-0.125)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 2000;

    fn on_the_box(along: Along, part: f64) -> Outcome {
        prove_monotone(
            along,
            Interval::new(0.5, 3.0),
            Interval::new(0.5, 2.0),
            part,
            BUDGET,
        )
    }

    #[test]
    fn the_divergence_is_monotone_on_the_box() {
        for along in [Along::Distance, Along::Noise] {
            for part in [0.0, 0.37] {
                let outcome = on_the_box(along, part);
                assert!(outcome.is_proved(), "{along:?} {part}: {outcome:?}");
                assert!(outcome.boxes() > 1);
            }
        }
    }

    /// E sech(3v) = 0.3737: 3/8 is too much, at the far end.
    #[test]
    fn a_slightly_larger_rate_fails_at_the_far_end() {
        for along in [Along::Distance, Along::Noise] {
            let Outcome::CounterExample { at, .. } = on_the_box(along, 0.375) else {
                panic!("{along:?}")
            };
            assert!(at[0].lo() > 5.5, "{at:?}");
        }
    }

    /// The bounds and their rates at δ = 2: e^{−1/2}/2 and 0, e^{−1/2} and e^{−1/2}/2.
    #[test]
    fn bounds_and_rates_are_as_by_hand() {
        let two = Interval::point(2.0);
        let fall = (-0.5_f64).exp();
        for (got, want) in [
            (least(Along::Distance, two), 0.5 * fall),
            (least_rate(Along::Distance, two), 0.0),
            (least(Along::Noise, two), fall),
            (least_rate(Along::Noise, two), 0.5 * fall),
            (
                least_rate(Along::Noise, Interval::point(1.0)),
                0.4375 * (-0.125_f64).exp(),
            ),
            (
                least_rate(Along::Distance, Interval::point(1.0)),
                0.1875 * (-0.125_f64).exp(),
            ),
        ] {
            assert!(
                (got.lo() - want).abs() < 1e-14 && got.width() < 1e-14,
                "{got:?} {want}"
            );
        }
    }
}
