//! Numbers that carry a bound on their own rounding error.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// Unit roundoff of f64, u = 2⁻⁵³.
const UNIT: f64 = f64::EPSILON / 2.0;
/// Spacing of the subnormal numbers: the absolute error of a result that underflows.
const TINY: f64 = f64::MIN_POSITIVE * f64::EPSILON;
/// Error of `exp`, `ln` and other library functions, in units of u: the platform's libm documents less
/// than 1 ulp (= 2u); twice that is assumed, as in `sadm_reference::bound`.
const FUNCTION_UNITS: f64 = 4.0;
/// The bounds are themselves computed in f64: at most a dozen roundings per operation, each of relative
/// size u, all of positive terms.
const OUTWARD: f64 = 1.0 + 16.0 * UNIT;

/// A computed value and a bound on its distance from the exact one: |`value` − exact| ≤ `error`.
///
/// # Formula `[eq:running-error]`
/// ```text
/// |fl(a ∘ b) − A ∘ B| ≤ u·|fl(a ∘ b)| + (propagated errors of a and b) + tiny
/// ```
/// Every operation adds its own rounding and carries the errors of its operands to first and second order,
/// so a formula written with `Rounded` yields its rounding allowance as it is evaluated.
///
/// # Limits
/// A division by, or the logarithm or root of, an interval that contains 0 has error ∞: such a value
/// supports no claim and no refutation.
///
/// # Source
/// Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.3 (running error analysis).
///
/// # Example
/// ```
/// use sadm_theory::rounding::Rounded;
/// let third = Rounded::exact(1.0) / Rounded::exact(3.0);
/// let one = third + third + third;
/// assert!((one.value - 1.0).abs() <= one.error && one.error < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounded {
    /// The number as computed.
    pub value: f64,
    /// Bound on its distance from the exact number; ∞ when nothing is known.
    pub error: f64,
}

impl Rounded {
    /// A number taken as it is: error 0.
    pub fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// A number known to within `error` (from another bound).
    pub fn within(value: f64, error: f64) -> Self {
        Self { value, error }
    }

    /// A correctly rounded result with the propagated error of its operands.
    fn operation(value: f64, propagated: f64) -> Self {
        Self {
            value,
            error: (propagated + UNIT * value.abs() + TINY) * OUTWARD,
        }
    }

    /// The result of a library function with the propagated error of its operand.
    fn function(value: f64, propagated: f64) -> Self {
        Self {
            value,
            error: (propagated + FUNCTION_UNITS * UNIT * value.abs() + TINY) * OUTWARD,
        }
    }

    /// e^x. The propagated part is e^x·(e^{δ} − 1).
    #[must_use]
    pub fn exp(self) -> Self {
        let value = self.value.exp();
        Self::function(value, value * self.error.exp_m1())
    }

    /// e^x − 1 without the cancellation at small x. Propagated as in [`Rounded::exp`].
    #[must_use]
    pub fn exp_m1(self) -> Self {
        let propagated = self.value.exp() * self.error.exp_m1();
        Self::function(self.value.exp_m1(), propagated)
    }

    /// ln x; error ∞ unless the whole interval is positive. The propagated part is −ln(1 − δ/x).
    #[must_use]
    pub fn ln(self) -> Self {
        let value = self.value.ln();
        if self.value > self.error {
            Self::function(value, -(-self.error / self.value).ln_1p())
        } else {
            Self {
                value,
                error: f64::INFINITY,
            }
        }
    }

    /// √x; error ∞ unless the whole interval is positive (or x is exactly 0).
    #[must_use]
    pub fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        if self.value > self.error {
            Self::operation(
                value,
                self.error / (value + (self.value - self.error).sqrt()),
            )
        } else if self.value == 0.0 && self.error == 0.0 {
            Self::exact(0.0)
        } else {
            Self {
                value,
                error: f64::INFINITY,
            }
        }
    }

    /// x², propagated as 2|x|δ + δ².
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// Σ x_i, each addition tracked.
    pub fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        terms
            .into_iter()
            .fold(Self::exact(0.0), |total, x| total + x)
    }
}

impl From<f64> for Rounded {
    fn from(value: f64) -> Self {
        Self::exact(value)
    }
}

impl Neg for Rounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            value: -self.value,
            error: self.error,
        }
    }
}

impl Add for Rounded {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self::operation(self.value + b.value, self.error + b.error)
    }
}

impl Sub for Rounded {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        Self::operation(self.value - b.value, self.error + b.error)
    }
}

impl Mul for Rounded {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        let propagated =
            self.value.abs() * b.error + b.value.abs() * self.error + self.error * b.error;
        Self::operation(self.value * b.value, propagated)
    }
}

impl Div for Rounded {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let value = self.value / b.value;
        let smallest = b.value.abs() - b.error;
        if smallest > 0.0 {
            let propagated = (self.error + value.abs() * b.error) / (smallest * (1.0 - UNIT));
            // |value| is itself rounded: its part of the propagated error is covered by OUTWARD.
            Self::operation(value, propagated)
        } else {
            Self {
                value,
                error: f64::INFINITY,
            }
        }
    }
}

impl Mul<f64> for Rounded {
    type Output = Self;
    fn mul(self, b: f64) -> Self {
        self * Self::exact(b)
    }
}

impl Div<f64> for Rounded {
    type Output = Self;
    fn div(self, b: f64) -> Self {
        self / Self::exact(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 − e^{−x} by subtraction: the bound grows as the digits cancel and still covers the error.
    #[test]
    fn cancellation_is_seen_and_covered() {
        for x in [1e-12, 1e-6, 0.3, 5.0] {
            let got = Rounded::exact(1.0) - (-Rounded::exact(x)).exp();
            let exact = -(-x).exp_m1();
            assert!((got.value - exact).abs() <= got.error, "x = {x}");
            assert!(got.error <= 16.0 * UNIT, "x = {x}");
        }
    }

    #[test]
    fn division_by_an_interval_around_zero_says_nothing() {
        let near_zero = Rounded::within(1e-3, 2e-3);
        assert!((Rounded::exact(1.0) / near_zero).error.is_infinite());
        assert!(near_zero.ln().error.is_infinite());
        assert!(near_zero.sqrt().error.is_infinite());
    }

    /// Each bound is its formula, rounded upwards, and at most a part in 10¹⁴ more: u = 2⁻⁵³, functions 4u, the smallest number.
    #[test]
    fn bounds_are_their_formulas_and_hardly_more() {
        let u = 2.0_f64.powi(-53);
        let (two, three) = (Rounded::exact(2.0), Rounded::exact(3.0));
        let wide = Rounded::within(3.0, 0.5);
        for (got, want) in [
            (two + three, 5.0 * u),
            (two - three, u),
            (two * three, 6.0 * u),
            (three / two, 1.5 * u),
            (two * 3.0, 6.0 * u),
            (three / 2.0, 1.5 * u),
            (Rounded::exact(4.0).sqrt(), 2.0 * u),
            (three.square(), 9.0 * u),
            (Rounded::exact(1.0).exp(), 4.0 * u * std::f64::consts::E),
            (
                Rounded::exact(1.0).exp_m1(),
                4.0 * u * (std::f64::consts::E - 1.0),
            ),
            (two.ln(), 4.0 * u * std::f64::consts::LN_2),
            (-wide, 0.5),
            (wide + wide, 1.0 + 6.0 * u),
            (wide * wide, 3.25 + 9.0 * u),
            (wide / Rounded::within(2.0, 0.25), 0.875 / 1.75 + 1.5 * u),
        ] {
            assert!(got.error >= want, "{got:?} {want:e}");
            assert!(got.error <= want * (1.0 + 1e-14), "{got:?} {want:e}");
        }
        let least = f64::from_bits(1);
        let nothing = Rounded::exact(0.0) + Rounded::exact(0.0);
        assert!(nothing.error >= least && nothing.error <= 2.0 * least);
        let none = (-Rounded::exact(1e4)).exp();
        assert!(none.error >= least && none.error <= 2.0 * least);
        assert_eq!(Rounded::exact(0.0).sqrt(), Rounded::exact(0.0));
    }

    /// Where the interval touches 0 but does not contain negative numbers, still nothing is said.
    #[test]
    fn an_interval_that_touches_zero_is_refused() {
        let touching = Rounded::within(1.0, 1.0);
        assert!(touching.sqrt().error.is_infinite() && touching.ln().error.is_infinite());
        assert!((Rounded::exact(1.0) / touching).error.is_infinite());
        assert!(Rounded::within(0.0, 1e-9).sqrt().error.is_infinite());
    }

    #[test]
    fn propagated_errors_reach_the_far_end_of_the_interval() {
        let x = Rounded::within(2.0, 0.25);
        for (f, far) in [
            (x.square(), 2.25 * 2.25),
            (x.exp(), 2.25_f64.exp()),
            (x.exp_m1(), 2.25_f64.exp_m1()),
            (x.ln(), 1.75_f64.ln()),
            (x.sqrt(), 1.75_f64.sqrt()),
            (Rounded::exact(1.0) / x, 1.0 / 1.75),
            (x - Rounded::within(1.0, 0.5), 1.75),
        ] {
            assert!((f.value - far).abs() <= f.error, "{f:?} must reach {far}");
            assert!(
                f.error <= (f.value - far).abs() * (1.0 + 1e-12),
                "{f:?} is not tight"
            );
        }
    }
}
