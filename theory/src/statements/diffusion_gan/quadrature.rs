//! The slopes of the Jensen-Shannon divergence from its definition, enclosed on an interval of distances.

use crate::interval::Interval;

/// Exponent of the quadrature's error: e^{−26} < 10⁻¹¹.
const EXPONENT: f64 = 26.0;
/// No strip wider than this is useful.
const WIDEST: f64 = 2.0;
/// The sum runs over |v| ≤ 8, beyond which the Gaussian is below 10⁻¹⁴.
const REACH: f64 = 8.0;
/// Enough for δ up to 100; beyond, what is omitted grows and nothing is proved.
const MOST_NODES: i32 = 8 << 8;

/// What σ ∂JSD/∂θ and σ ∂JSD/∂σ are for every δ = θ/σ of an interval, and how they change with δ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slopes {
    /// σ ∂JSD/∂θ at the middle of the interval.
    pub distance: Interval,
    /// Its derivative in δ, less what the quadrature omits.
    pub distance_rate: Interval,
    /// σ ∂JSD/∂σ at the middle of the interval.
    pub noise: Interval,
    /// Its derivative in δ, less what the quadrature omits.
    pub noise_rate: Interval,
}

/// Slopes of JSD(N(0, σ²), N(θ, σ²)) for all θ/σ in `delta` > 0, from the definition of the divergence.
///
/// # Formula `[eq:jsd-slopes]`
/// ```text
/// JSD = ½∫p ln(2p/(p + q)) + ½∫q ln(2q/(p + q)),     ln(2q/(p + q)) = ℓ(δv + δ²/2),   v = (x − θ)/σ
/// σ ∂JSD/∂θ = ½ E[v ℓ(δv + δ²/2)],     σ ∂JSD/∂σ = E[(v² − 1) ℓ(δv + δ²/2)],     v ~ N(0, 1)
/// ℓ(z) = ln 2 − ln(1 + e^{−z}),        ℓ'(z) = 1/(1 + e^z)
/// ```
/// The terms with a derivative of a logarithm add up to ∫(∂p + ∂q) = 0; the two halves of ∂/∂σ are equal by reflection. No
/// sign can be read off: v and v² − 1 take both.
///
/// # Error
/// The trapezoidal rule `[eq:trapezoid]` with step h on the strip |Im v| < a = π/(2δ), where |Im z| < π/2, hence
/// |ℓ| ≤ 2 ln 2 + π/2 + δ|x| ≤ 3 + δ|x|. With E|x| ≤ 1 = E x² and E|x|³ ≤ 2, what it omits, and the terms beyond L = 8, are
/// ```text
/// ∂/∂θ:   e^{a²/2} (1 + a)(3 + δ)/(e^{2πa/h} − 1)        + φ(L) (1.4 + δ(L + 1/L))
/// ∂/∂σ:   2 e^{a²/2} (3 + 2a + a²)(3 + δ)/(e^{2πa/h} − 1) + 2φ(L) (1.4(L + 1/L) + δ(L² + 2))
/// ```
/// Every number is an interval with outward rounding: no library function is trusted.
pub fn slopes(delta: Interval) -> Slopes {
    let rule = Rule::new(delta);
    let middle = Interval::point(delta.lo() + 0.5 * delta.width());
    let zero = Interval::point(0.0);
    let mut sums = [zero; 4];
    for k in -rule.nodes..=rule.nodes {
        let v = Interval::point(f64::from(k) * rule.step);
        let weight = density(v) * Interval::point(rule.step);
        let (level, rate) = (
            log_ratio(argument(middle, v)),
            log_ratio_rate(argument(delta, v)),
        );
        let moved = rate * (v + delta); // ∂z/∂δ = v + δ
        let (first, second) = (v * Interval::point(0.5), v.square() - Interval::point(1.0));
        for (sum, term) in
            sums.iter_mut()
                .zip([first * level, first * moved, second * level, second * moved])
        {
            *sum = *sum + weight * term;
        }
    }
    let [distance, distance_rate, noise, noise_rate] = sums;
    Slopes {
        distance: distance + both_sides(rule.omitted_distance()),
        distance_rate,
        noise: noise + both_sides(rule.omitted_noise()),
        noise_rate,
    }
}

/// z = δv + δ²/2.
fn argument(delta: Interval, v: Interval) -> Interval {
    delta * v + delta.square() * Interval::point(0.5)
}

/// ℓ(z).
fn log_ratio(z: Interval) -> Interval {
    let one = Interval::point(1.0);
    Interval::point(2.0).ln() - (one + (-z).exp()).ln()
}

/// ℓ'(z).
fn log_ratio_rate(z: Interval) -> Interval {
    let one = Interval::point(1.0);
    one / (one + z.exp())
}

/// φ(v), the standard normal density.
fn density(v: Interval) -> Interval {
    let norm = (Interval::PI * Interval::point(2.0)).sqrt();
    (v.square() * Interval::point(-0.5)).exp() / norm
}

/// [−x, x] for the upper end of x.
fn both_sides(x: Interval) -> Interval {
    Interval::new(-x.hi(), x.hi())
}

/// A trapezoidal rule for all δ of an interval.
struct Rule {
    /// The largest δ.
    delta: Interval,
    /// Half-width a of the strip.
    half_width: Interval,
    /// h, a power of two: nodes are exact.
    step: f64,
    /// Nodes on each side of 0.
    nodes: i32,
}

impl Rule {
    fn new(delta: Interval) -> Self {
        let largest = Interval::point(delta.hi());
        let widest = (Interval::PI / (Interval::point(2.0) * largest)).lo();
        let a = widest.clamp(0.0, WIDEST);
        let wanted = std::f64::consts::TAU * a / (EXPONENT + a * a / 2.0);
        let (mut step, mut nodes) = (1.0, 8); // nodes · step = REACH
        while step > wanted && nodes < MOST_NODES {
            (step, nodes) = (step * 0.5, nodes * 2);
        }
        Self {
            delta: largest,
            half_width: Interval::point(a),
            step,
            nodes,
        }
    }

    /// e^{a²/2}/(e^{2πa/h} − 1).
    fn decay(&self) -> Interval {
        let (a, one) = (self.half_width, Interval::point(1.0));
        let turns = Interval::PI * Interval::point(2.0) * a / Interval::point(self.step);
        (a.square() * Interval::point(0.5)).exp() / (turns.exp() - one)
    }

    fn omitted_distance(&self) -> Interval {
        let (a, reach) = (self.half_width, Interval::point(REACH));
        let (one, three) = (Interval::point(1.0), Interval::point(3.0));
        let rule = self.decay() * (one + a) * (three + self.delta);
        let tail = Interval::point(1.4) + self.delta * (reach + one / reach);
        rule + density(reach) * tail
    }

    fn omitted_noise(&self) -> Interval {
        let (a, reach) = (self.half_width, Interval::point(REACH));
        let (one, two, three) = (
            Interval::point(1.0),
            Interval::point(2.0),
            Interval::point(3.0),
        );
        let rule = self.decay() * (three + two * a + a.square()) * (three + self.delta);
        let tail =
            Interval::point(1.4) * (reach + one / reach) + self.delta * (reach.square() + two);
        two * (rule + density(reach) * tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::Rounded;
    use crate::statements::diffusion_gan::divergence::{jensen_shannon, jensen_shannon_grad};

    /// The definition's slopes are J'(δ) and −δ J'(δ) of the closed form, and no wider than 1e-8.
    #[test]
    fn slopes_by_definition_are_those_of_the_closed_form() {
        for delta in [0.25, 1.3, 3.0, 6.0] {
            let got = slopes(Interval::point(delta));
            let want = jensen_shannon_grad(delta);
            for (got, want) in [(got.distance, want), (got.noise, want * -delta)] {
                assert!(
                    got.lo() <= want.value + want.error && want.value - want.error <= got.hi(),
                    "{got:?} {want:?}"
                );
                assert!(got.width() < 1e-8, "{got:?}");
            }
        }
    }

    /// The rates enclose difference quotients of the slopes at both ends.
    #[test]
    fn rates_carry_the_slopes_to_the_ends() {
        let delta = Interval::new(1.0, 1.25);
        let whole = slopes(delta);
        let half = Interval::point(0.125);
        for (end, side) in [(1.0, -half), (1.25, half)] {
            let there = slopes(Interval::point(end));
            for (middle, rate, there) in [
                (whole.distance, whole.distance_rate, there.distance),
                (whole.noise, whole.noise_rate, there.noise),
            ] {
                let moved = middle + rate * side;
                assert!(
                    moved.lo() <= there.lo() && there.hi() <= moved.hi(),
                    "{moved:?} {there:?}"
                );
                assert!(moved.width() < 0.1, "{moved:?}");
            }
        }
    }

    /// d/dσ of J(θ/σ) by a difference quotient of the quadrature of the divergence itself.
    #[test]
    fn the_slopes_are_of_the_divergence() {
        let (theta, sigma, step) = (1.5, 1.25, 2.0_f64.powi(-13));
        let at = |theta: f64, sigma: f64| jensen_shannon(Rounded::exact(theta / sigma)).value;
        let got = slopes(Interval::point(theta / sigma));
        for (slope, up, down) in [
            (
                got.distance,
                at(theta + step, sigma),
                at(theta - step, sigma),
            ),
            (got.noise, at(theta, sigma + step), at(theta, sigma - step)),
        ] {
            let quotient = sigma * (up - down) / (2.0 * step);
            assert!((slope.lo() - quotient).abs() < 1e-7, "{slope:?} {quotient}");
        }
    }

    /// δ = 2: a = π/4, h = 1/8 = 2⁻³ as 2πa/(26 + a²/2) = 0.187; δ = ½: a = 2 (not π), h = ¼.
    #[test]
    fn rules_and_what_they_omit_are_as_by_hand() {
        let rule = Rule::new(Interval::new(1.5, 2.0));
        assert_eq!((rule.step, rule.nodes), (0.125, 64));
        let a = std::f64::consts::FRAC_PI_4;
        let decay = (a * a / 2.0).exp() / (std::f64::consts::TAU * a * 8.0).exp_m1();
        let tail = (-32.0_f64).exp() / std::f64::consts::TAU.sqrt();
        for (got, want) in [
            (rule.decay(), decay),
            (
                rule.omitted_distance(),
                decay * (1.0 + a) * 5.0 + tail * (1.4 + 2.0 * (8.0 + 1.0 / 8.0)),
            ),
            (
                rule.omitted_noise(),
                2.0 * decay * (3.0 + 2.0 * a + a * a) * 5.0
                    + 2.0 * tail * (1.4 * (8.0 + 1.0 / 8.0) + 2.0 * 66.0),
            ),
        ] {
            assert!((got.hi() / want - 1.0).abs() < 1e-9, "{got:?} {want}");
        }
        let wide = Rule::new(Interval::point(0.5));
        assert_eq!((wide.step, wide.nodes), (0.25, 32));
        assert!((wide.half_width.lo() - WIDEST).abs() < 1e-15);
    }

    #[test]
    fn pieces_are_as_by_hand() {
        let near = |got: Interval, want: f64| {
            assert!(
                got.lo() <= want + 1e-15 && want <= got.hi() + 1e-15,
                "{got:?} {want}"
            );
            assert!(got.width() < 1e-13, "{got:?}");
        };
        let at = |x: f64| Interval::point(x);
        near(argument(at(2.0), at(-0.5)), 1.0);
        near(log_ratio(at(0.0)), 0.0);
        near(log_ratio(at(1.0)), 2.0_f64.ln() - (-1.0_f64).exp().ln_1p());
        near(log_ratio_rate(at(1.0)), 1.0 / (1.0 + 1.0_f64.exp()));
        near(
            density(at(1.0)),
            (-0.5_f64).exp() / std::f64::consts::TAU.sqrt(),
        );
    }
}
