//! Sine, cosine, arctangent and π on numbers that carry their bounds.

use crate::laws::finite::two_pi;
use crate::rounding::Rounded;

/// Error of a library function in units of u, as [`Rounded`] charges `exp` and `ln`.
const FUNCTION_UNITS: f64 = 4.0;
const UNIT: f64 = f64::EPSILON / 2.0;

/// A library function of slope at most one: the operand's error passes through, plus the function's own. The
/// last factor covers the three roundings of the bound itself.
fn non_expanding(x: Rounded, f: fn(f64) -> f64) -> Rounded {
    let value = f(x.value);
    let error = (x.error + FUNCTION_UNITS * UNIT * value.abs() + f64::MIN_POSITIVE)
        * (1.0 + 4.0 * f64::EPSILON);
    Rounded::within(value, error)
}

/// sin x.
pub fn sine(x: Rounded) -> Rounded {
    non_expanding(x, f64::sin)
}

/// cos x.
pub fn cosine(x: Rounded) -> Rounded {
    non_expanding(x, f64::cos)
}

/// arctan x.
pub fn arctangent(x: Rounded) -> Rounded {
    non_expanding(x, f64::atan)
}

/// The constant π.
pub fn pi() -> Rounded {
    two_pi() * 0.5
}

/// The constant ln 2.
pub fn ln_2() -> Rounded {
    Rounded::exact(2.0).ln()
}

/// An upper bound on |x|, itself rounded upwards.
pub fn magnitude(x: Rounded) -> f64 {
    (x.value.abs() + x.error) * (1.0 + f64::EPSILON)
}

/// Σ_i a_i b_i with `a` exact.
pub fn dot(a: &[f64], b: &[Rounded]) -> Rounded {
    Rounded::sum(a.iter().zip(b).map(|(&a, &b)| b * a))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half-angle identities at generic points, and the far end of an interval.
    #[test]
    fn functions_are_themselves_and_carry_their_operands_error() {
        let x = Rounded::exact(0.7);
        let one = sine(x).square() + cosine(x).square();
        assert!((one.value - 1.0).abs() <= one.error && one.error < 1e-14);
        let back = arctangent(sine(x) / cosine(x));
        assert!((back.value - 0.7).abs() <= back.error && back.error < 1e-14);
        let wide = Rounded::within(0.7, 0.25);
        assert!(sine(wide).error >= 0.25 && sine(wide).error < 0.2501);
        assert!((sine(pi()).value).abs() <= sine(pi()).error);
        assert!((ln_2().value - std::f64::consts::LN_2).abs() <= ln_2().error);
        assert!(magnitude(Rounded::within(-2.0, 0.5)) >= 2.5);
        assert!(magnitude(Rounded::within(-2.0, 0.5)) < 2.500_001);
        let product = dot(&[2.0, -1.0], &[Rounded::exact(3.0), Rounded::exact(0.5)]);
        assert!((product.value - 5.5).abs() <= product.error);
    }
}
