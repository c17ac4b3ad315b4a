//! The four operations, each end one place further out.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Interval;

impl Neg for Interval {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(-self.hi, -self.lo)
    }
}

impl Add for Interval {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self::outward(self.lo + b.lo, self.hi + b.hi)
    }
}

impl Sub for Interval {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        Self::outward(self.lo - b.hi, self.hi - b.lo)
    }
}

/// Smallest and largest of four candidates; everything if one is NaN.
fn extremes(candidates: [f64; 4]) -> Interval {
    if candidates.iter().any(|c| c.is_nan()) {
        return Interval::ENTIRE;
    }
    Interval::outward(
        candidates.iter().copied().fold(f64::INFINITY, f64::min),
        candidates.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    )
}

impl Mul for Interval {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        extremes([
            self.lo * b.lo,
            self.lo * b.hi,
            self.hi * b.lo,
            self.hi * b.hi,
        ])
    }
}

impl Div for Interval {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        if b.contains(0.0) {
            return Self::ENTIRE;
        }
        extremes([
            self.lo / b.lo,
            self.lo / b.hi,
            self.hi / b.lo,
            self.hi / b.hi,
        ])
    }
}
