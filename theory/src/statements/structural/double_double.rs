//! Numbers of twice the digits of f64, for the truth that f64 itself is measured against.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// hi + lo with |lo| ≤ u|hi|: about 32 digits.
///
/// Sums and products are those of Dekker and Knuth with a fused multiply-add; every operation has a relative error of at most
/// [`Wide::UNIT`] (at most 9.8u² is proved for these algorithms, u = 2⁻⁵³: Joldes, Muller and Popescu 2017).
#[derive(Debug, Clone, Copy)]
pub struct Wide {
    hi: f64,
    lo: f64,
}

impl Wide {
    /// Bound on the relative error of one operation.
    pub const UNIT: f64 = 1.0 / (1_u128 << 102) as f64;

    /// hi + lo, exactly, from two numbers of any sizes.
    fn two_sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let part = hi - a;
        Self {
            hi,
            lo: (a - (hi - part)) + (b - part),
        }
    }

    /// The same where |a| ≥ |b|.
    fn ordered_sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        Self {
            hi,
            lo: b - (hi - a),
        }
    }

    /// √x for x > 0: one Newton step from the root of the leading part.
    pub fn sqrt(self) -> Self {
        let root = Self::from(self.hi.sqrt());
        let rest = self - root * root;
        root + rest / (root + root)
    }

    /// The nearest f64.
    pub fn value(self) -> f64 {
        self.hi + self.lo
    }
}

impl From<f64> for Wide {
    fn from(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }
}

impl Neg for Wide {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }
}

impl Add for Wide {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        let (high, low) = (Self::two_sum(self.hi, b.hi), Self::two_sum(self.lo, b.lo));
        let once = Self::ordered_sum(high.hi, high.lo + low.hi);
        Self::ordered_sum(once.hi, once.lo + low.lo)
    }
}

impl Sub for Wide {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        self + -b
    }
}

impl Mul for Wide {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        let hi = self.hi * b.hi;
        let lo = self.hi.mul_add(b.hi, -hi);
        let cross = self.hi.mul_add(b.lo, self.lo * b.hi);
        Self::ordered_sum(hi, lo + cross)
    }
}

impl Div for Wide {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let first = Self::from(self.hi / b.hi);
        let rest = self - first * b;
        let second = Self::from(rest.hi / b.hi);
        let rest = rest - second * b;
        first + second + Self::from(rest.hi / b.hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirds add up to one, and the root of two squares to two, to 30 digits; what f64 drops is kept.
    #[test]
    fn thirty_digits_are_kept() {
        let one = Wide::from(1.0);
        let third = one / Wide::from(3.0);
        assert!((third + third + third - one).value().abs() < 1e-31);
        let root = Wide::from(2.0).sqrt();
        assert!((root * root - Wide::from(2.0)).value().abs() < 1e-31);
        let kept = one + Wide::from(1e-25) - one;
        assert!((kept.value() - 1e-25).abs() < 1e-56);
        assert!((Wide::UNIT - 2.0_f64.powi(-102)).abs() < 1e-45);
        // (1 + 2⁻⁶⁰)² = 1 + 2⁻⁵⁹ + 2⁻¹²⁰.
        let near = one + Wide::from(2.0_f64.powi(-60));
        let square = near * near - one - Wide::from(2.0_f64.powi(-59));
        assert!(square.value().abs() < 2.0_f64.powi(-100));
    }
}
