//! The Jensen-Shannon divergence of two Gaussians of equal variance, with a rigorous bound.

use crate::laws::finite::normal_density;
use crate::rounding::Rounded;
use crate::statements::elementary::{ln_2, magnitude};

/// Beyond this distance the bracket of [`jensen_shannon`] is narrower than a rounding: e^{−20²/8} < 2⁻⁵³.
const FAR: f64 = 20.0;
/// No strip wider than this: the bound e^{a²/2} on the Gaussian grows faster than the strip gains.
const WIDEST: f64 = 6.0;
/// The sum runs over |u| < 9, beyond which the Gaussian is below 2⁻⁵⁸.
const REACH: f64 = 9.0;
/// Rounding of a truncation bound: a dozen operations on exponents below 200, 200·4u each.
const OUTWARD: f64 = 1.0 + 4096.0 * f64::EPSILON;

/// The trapezoidal rule for E f(u), u ~ N(0, 1).
///
/// # Formula `[eq:trapezoid]`
/// ```text
/// |h Σ_k φ(kh) f(kh) − E f| ≤ 2M/(e^{2πa/h} − 1),    M ≥ ∫ |φ f|(x + ib) dx  for all |b| < a
/// ```
/// As |φ(x + ib)| = φ(x) e^{b²/2}, M = e^{a²/2} F will do, with F ≥ E|f(u + ib)|. If |f(u)| ≤ A + B|u|, the terms
/// beyond |u| = L ≥ 1, which decrease, add up to less than their integral, 2(A/L + B) φ(L).
///
/// # Source
/// Trefethen & Weideman 2014, SIAM Review 56, Theorem 5.1.
struct Strip {
    /// Half-width a of the strip in which f is analytic.
    half_width: f64,
    /// Bound on E|f(u + ib)| in the strip.
    size: f64,
    /// A and B of |f(u)| ≤ A + B|u| on the real line.
    growth: (f64, f64),
}

impl Strip {
    /// A step h = 2⁻ᵐ for which the bound of the rule is below e^{−40}: nodes are then exact numbers.
    fn step(&self) -> f64 {
        let a = self.half_width;
        (std::f64::consts::TAU * a / (40.0 + a * a / 2.0))
            .log2()
            .floor()
            .exp2()
    }

    fn mean(&self, f: impl Fn(f64) -> Rounded) -> Rounded {
        let h = self.step();
        let nodes = (REACH / h).ceil();
        let reach = nodes * h;
        let mut total = Rounded::exact(0.0);
        let mut k = -nodes;
        while k <= nodes {
            total = total + normal_density(k * h, Rounded::exact(0.0), 1.0) * f(k * h);
            k += 1.0;
        }
        total * h + Rounded::within(0.0, self.omitted(h, reach))
    }

    /// The rule's error and the terms beyond `reach`.
    fn omitted(&self, h: f64, reach: f64) -> f64 {
        let a = self.half_width;
        let rule = 2.0 * self.size * (a * a / 2.0).exp() / (std::f64::consts::TAU * a / h).exp_m1();
        let tail = 2.0
            * (self.growth.0 / reach + self.growth.1)
            * magnitude(normal_density(reach, Rounded::exact(0.0), 1.0));
        (rule + tail) * OUTWARD
    }
}

/// ln(1 + e^z) without overflow.
fn softplus(z: Rounded) -> Rounded {
    let one = Rounded::exact(1.0);
    if z.value > 0.0 {
        z + (one + (-z).exp()).ln()
    } else {
        (one + z.exp()).ln()
    }
}

/// JSD(N(0, 1), N(δ, 1)) in nats.
///
/// # Formula `[eq:jsd]`
/// ```text
/// J(δ) = ln 2 − E ln(1 + e^{δu − δ²/2}),   u ~ N(0, 1)
/// max(0, ln 2 − e^{−δ²/8}) ≤ J(δ) ≤ min(ln 2, δ²/8)
/// ```
/// The integrand is analytic for |Im u| < π/|δ|; on half of that strip |ln(1 + e^z)| ≤ ln(1 + e^{Re z}) + π/2, so
/// its mean is at most ln 2 + π/2. An error on δ enters with the slope, at most (δ/4)e^{−δ²/8} ≤ 1/3.
///
/// # Range
/// [0, ln 2); beyond |δ| = 20 the lower bracket decides.
/// # Error
/// at most 1e-12 in absolute terms for an exact δ.
pub fn jensen_shannon(delta: Rounded) -> Rounded {
    let d = delta.value.abs();
    if d > FAR {
        let gap = (-(Rounded::exact(d) - Rounded::exact(delta.error)).square() / 8.0).exp();
        return ln_2() + Rounded::within(0.0, magnitude(gap));
    }
    let half_square = Rounded::exact(d).square() * 0.5;
    let strip = Strip {
        half_width: half_width(d),
        size: std::f64::consts::LN_2 + std::f64::consts::FRAC_PI_2,
        growth: (std::f64::consts::LN_2, d),
    };
    let mean = strip.mean(|u| softplus(Rounded::exact(d) * u - half_square));
    ln_2() - mean + Rounded::within(0.0, delta.error / 3.0)
}

/// dJ/dδ.
///
/// # Formula `[eq:jsd-grad]`
/// ```text
/// J'(δ) = (δ/2) ∫ pq/(p + q) du = (δ/4) e^{−δ²/8} E sech(δv/2),   v ~ N(0, 1)
/// ```
/// It has the sign of δ: J increases strictly in |δ|. On the half strip |sech(z)| ≤ 1/cos(π/4). Beyond |δ| = 20 it
/// is only known to lie within (|δ|/4) e^{−δ²/8} of 0, as sech ≤ 1.
pub fn jensen_shannon_grad(delta: f64) -> Rounded {
    if delta.abs() > FAR {
        let d = Rounded::exact(delta.abs());
        return Rounded::within(0.0, magnitude(d * 0.25 * (-(d.square() / 8.0)).exp()));
    }
    let strip = Strip {
        half_width: half_width(delta.abs()),
        size: std::f64::consts::SQRT_2,
        growth: (1.0, 0.0),
    };
    let mean = strip.mean(|v| {
        let e = (Rounded::exact(delta) * v * 0.5).exp();
        Rounded::exact(2.0) / (e + Rounded::exact(1.0) / e)
    });
    let delta = Rounded::exact(delta);
    mean * delta * 0.25 * (-(delta.square() / 8.0)).exp()
}

/// Half of the strip of analyticity, |Im u| < π/(2|δ|), or the widest useful one. Rounded down.
fn half_width(d: f64) -> f64 {
    (std::f64::consts::FRAC_PI_2 / d * (1.0 - 4.0 * f64::EPSILON)).min(WIDEST)
}

/// A bound on |J''| over [−d, d]: (1 + d²)/4 + 1, by |s'| ≤ 1, |s''| ≤ 1/4 as below.
pub fn second_derivative_bound(d: f64) -> f64 {
    (1.0 + d * d) / 4.0 + 1.0
}

/// A bound on |J'''| over [−d, d].
///
/// # Formula
/// ```text
/// J''' = −E[s'''(z)(u − δ)³ − 3 s''(z)(u − δ)],   s = softplus, |s''| ≤ 1/4, |s'''| ≤ 1/(6√3) ≤ 0.0963
/// E|u − δ| ≤ (1 + δ²)^{1/2},   E|u − δ|³ ≤ (3 + 6δ² + δ⁴)^{3/4}
/// ```
pub fn third_derivative_bound(d: f64) -> f64 {
    let square = d * d;
    let cubic = (3.0 + 6.0 * square + square * square).powf(0.75);
    (0.0963 * cubic + 0.75 * (1.0 + square).sqrt()) * OUTWARD
}

/// JSD of two laws on the same finitely many points, with 0 ln 0 = 0.
pub fn discrete_jensen_shannon(p: &[f64], q: &[f64]) -> Rounded {
    let half = |a: f64, b: f64| {
        if a == 0.0 {
            return Rounded::exact(0.0);
        }
        let middle = (Rounded::exact(a) + Rounded::exact(b)) * 0.5;
        (Rounded::exact(a) / middle).ln() * (a / 2.0)
    };
    Rounded::sum(p.iter().zip(q).map(|(&a, &b)| half(a, b) + half(b, a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a = 2, h = ½, F = 3, A = 1, B = ½, L = 4: 6 e²/(e^{8π} − 1) + 1.5 φ(4), and hardly more.
    #[test]
    fn what_a_rule_omits_is_as_by_hand() {
        let strip = Strip {
            half_width: 2.0,
            size: 3.0,
            growth: (1.0, 0.5),
        };
        let rule = 6.0 * 2.0_f64.exp() / (8.0 * std::f64::consts::PI).exp_m1();
        let tail = 1.5 * (-8.0_f64).exp() / std::f64::consts::TAU.sqrt();
        let got = strip.omitted(0.5, 4.0);
        assert!(got <= (rule + tail) * (1.0 + 1e-11), "{got:e}");
        assert!(got > (rule + tail) * (1.0 + 1e-13), "{got:e}"); // rounded outwards
        assert_eq!(second_derivative_bound(2.0).to_bits(), 2.25_f64.to_bits());
    }

    /// ½∫p ln(2p/(p + q)) + ½∫q ln(2q/(p + q)), summed in 40 digits on a grid of 1/64 (Python `decimal`).
    const BY_DEFINITION: [(f64, f64); 4] = [
        (0.25, 0.007_752_088_595_212_258),
        (1.3, 0.175_381_055_852_900_17),
        (4.0, 0.632_720_193_736_867),
        (11.0, 0.693_147_123_003_849_5),
    ];

    #[test]
    fn the_divergence_is_the_definitions() {
        for (delta, want) in BY_DEFINITION {
            for sign in [1.0, -1.0] {
                let got = jensen_shannon(Rounded::exact(sign * delta));
                assert!(
                    (got.value - want).abs() <= got.error + f64::EPSILON,
                    "{got:?} at {delta}"
                );
                assert!(got.error <= 1e-13, "{got:?}");
            }
        }
    }

    #[test]
    fn far_apart_the_bracket_takes_over_and_meets_the_rule() {
        let (near, far) = (
            jensen_shannon(Rounded::exact(FAR)),
            jensen_shannon(Rounded::exact(FAR + 1e-9)),
        );
        assert!((near.value - far.value).abs() <= near.error + far.error);
        assert!(far.error <= 1e-15, "{far:?}");
        assert!(jensen_shannon(Rounded::within(21.0, 19.0)).error >= 0.6);
    }

    #[test]
    fn an_uncertain_distance_moves_the_divergence_by_at_most_a_third_of_it() {
        let wide = jensen_shannon(Rounded::within(2.0, 0.5));
        for end in [1.5, 2.5] {
            let there = jensen_shannon(Rounded::exact(end));
            assert!((there.value - wide.value).abs() <= wide.error);
        }
        assert!(wide.error < 0.17);
    }

    #[test]
    fn the_slope_is_odd_and_small_far_out() {
        let (up, down) = (jensen_shannon_grad(1.3), jensen_shannon_grad(-1.3));
        assert!((up.value + down.value).abs() <= up.error + down.error);
        assert!(jensen_shannon_grad(0.0).value.abs() <= jensen_shannon_grad(0.0).error);
        assert!(jensen_shannon_grad(19.0).value.abs() < 1e-15);
        // Where e^{δv/2} would overflow: (δ/4)e^{−δ²/8} at 20.5 is 7.8e-23, at 177 below the smallest number.
        let far = jensen_shannon_grad(-20.5).error;
        assert!(far > 7.7e-23 && far < 7.9e-23, "{far:e}");
        assert!(jensen_shannon_grad(177.0).error < 1e-300);
    }

    /// Its largest value over a grid, by third differences, is below the bound, which is computed
    /// by hand at 0 and 2.
    #[test]
    fn the_third_derivative_is_bounded() {
        assert!((third_derivative_bound(0.0) - (0.0963 * 3.0_f64.powf(0.75) + 0.75)).abs() < 1e-9);
        assert!(
            (third_derivative_bound(2.0) - (0.0963 * 43.0_f64.powf(0.75) + 0.75 * 5.0_f64.sqrt()))
                .abs()
                < 1e-9
        );
        let h = 0.05;
        for k in 0..60 {
            let at =
                |steps: f64| jensen_shannon(Rounded::exact(f64::from(k) * 0.1 + steps * h)).value;
            let third = (at(2.0) - 2.0 * at(1.0) + 2.0 * at(-1.0) - at(-2.0)) / (2.0 * h * h * h);
            assert!(third.abs() <= third_derivative_bound(f64::from(k) * 0.1 + 0.1));
        }
    }

    #[test]
    fn discrete_laws_that_share_nothing_are_ln_2_apart() {
        let apart = discrete_jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]);
        assert!((apart.value - std::f64::consts::LN_2).abs() <= apart.error);
        // By hand: ½·¾ ln(3/2) + ½·¼ ln(1/2) + the same with the points exchanged.
        let near = discrete_jensen_shannon(&[0.75, 0.25], &[0.25, 0.75]);
        let want = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((near.value - want).abs() <= near.error + f64::EPSILON);
    }
}
