//! eˣ without branches, and the logistic function.

use super::real::Real;

/// eˣ for x ≤ 0 in f32, free of branches so that a loop over it becomes vector code.
///
/// # Formula
/// ```text
/// eˣ = 2ⁿ eʳ,  n = round(x / ln 2),  r = x − n ln 2 ∈ [−ln 2 / 2, ln 2 / 2]
/// ```
/// with eʳ by its Taylor polynomial of degree 7, whose remainder r⁸/8! · eʳ is below 0.09 u. ln 2 is
/// split as 355/512 plus a rest: n has at most 8 bits and 355 has 9, so `n · 355/512` is exact.
/// Adding 1.5·2²³ rounds to an integer and leaves n in the low bits of the sum. 2ⁿ is applied as two
/// factors, which reaches the subnormal numbers.
///
/// # Error
/// ≤ 2 ulp (tested over the whole range); x < −104 gives 0, NaN gives NaN.
#[inline(always)]
pub(crate) fn exp_nonpositive(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4; // ln 2 − 355/512
    let x = if x < -104.0 { -104.0 } else { x }; // not `max`, which would swallow NaN
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut tail = 1.0 / 5040.0;
    tail = tail * r + 1.0 / 720.0;
    tail = tail * r + 1.0 / 120.0;
    tail = tail * r + 1.0 / 24.0;
    tail = tail * r + 1.0 / 6.0;
    tail = tail * r + 0.5;
    let e_r = 1.0 + (r + r * r * tail);
    let n = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .cast_signed();
    let half = n >> 1;
    e_r * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2ᵏ for −126 ≤ k ≤ 127.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits(k.wrapping_add(127).cast_unsigned() << 23)
}

/// The logistic function and its complement, `(σ(x), 1 − σ(x))`, each to full relative accuracy.
#[inline(always)]
pub(crate) fn sigmoid<R: Real>(x: R) -> (R, R) {
    let one = R::of(1.0);
    let z = (-x.abs()).exp_nonpositive();
    let large = one / (one + z);
    let small = z * large;
    if x >= R::default() {
        (large, small)
    } else {
        (small, large)
    }
}

#[cfg(test)]
mod tests {
    use super::{Real, sigmoid};

    /// Distance in units of the last place of `want`, subnormal spacing at the bottom.
    fn ulps(got: f32, want: f64) -> f64 {
        let exponent = want.abs().log2().floor().max(-126.0);
        (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
    }

    #[test]
    fn exp_stays_within_two_ulp_on_its_whole_range() {
        let mut worst: f64 = 0.0;
        // Every 97th float of [−104, −2⁻³⁰]: all exponents, all phases of the reduction.
        for bits in ((-9.313_226e-10_f32).to_bits()..=(-104.0_f32).to_bits()).step_by(97) {
            let x = f32::from_bits(bits);
            let error = ulps(x.exp_nonpositive(), f64::from(x).exp());
            assert!(!error.is_nan(), "NaN at {x}");
            worst = worst.max(error);
        }
        assert!(worst <= 2.0, "worst error {worst} ulp");
        assert!(
            worst > 0.5,
            "the measure of the error is broken: {worst} ulp"
        );
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(0.0_f32.exp_nonpositive().to_bits(), 1.0_f32.to_bits());
        assert_eq!((-0.0_f32).exp_nonpositive().to_bits(), 1.0_f32.to_bits());
        assert_eq!((-1e30_f32).exp_nonpositive().to_bits(), 0);
        assert_eq!(f32::NEG_INFINITY.exp_nonpositive().to_bits(), 0);
        assert!(f32::NAN.exp_nonpositive().is_nan());
    }

    #[test]
    fn sigmoid_keeps_relative_accuracy_in_both_tails() {
        for x in [-80.0_f32, -20.0, -1.5, -1e-3, 0.0, 0.7, 3.0, 30.0, 80.0] {
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let complement = 1.0 / (1.0 + f64::from(x).exp());
            let (s, c) = sigmoid(x);
            // exp 2 ulp, then an addition, a division and a product at ½ ulp each, doubled at a
            // binade boundary.
            assert!(ulps(s, exact) <= 7.0, "sigmoid({x}) = {s}, want {exact}");
            assert!(
                ulps(c, complement) <= 7.0,
                "1 − sigmoid({x}) = {c}, want {complement}"
            );
        }
        assert!(sigmoid(f32::NAN).0.is_nan());
    }
}
