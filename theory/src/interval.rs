//! Intervals with outward rounding: enclosures of every value that a formula takes on a whole box.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// Number of Taylor terms of `exp` on [0, ½]; the remainder is relative 2⁻¹⁶/16! < 10⁻¹⁸.
const TERMS: u32 = 16;

/// The closed interval [lo, hi] of real numbers.
///
/// # Formula `[eq:interval]`
/// ```text
/// X ∘ Y ⊇ {x ∘ y : x ∈ X, y ∈ Y}
/// ```
/// IEEE 754 rounds + − × ÷ √ correctly, so the exact result lies between the neighbours of the computed one: each end
/// is moved outwards by one place. No rounding mode is switched, so this needs no processor feature.
///
/// # Limits
/// Division by an interval that contains 0, and every operation that meets NaN, gives (−∞, ∞): it proves nothing.
///
/// # Source
/// Moore, Kearfott & Cloud, *Introduction to Interval Analysis* (2009), ch. 2 and 5.
///
/// # Example
/// ```
/// use sadm_theory::interval::Interval;
/// let third = Interval::point(1.0) / Interval::point(3.0);
/// assert!((third * Interval::point(3.0)).contains(1.0) && third.width() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    lo: f64,
    hi: f64,
}

impl Interval {
    /// All real numbers: what is known when nothing is known.
    pub const ENTIRE: Self = Self {
        lo: f64::NEG_INFINITY,
        hi: f64::INFINITY,
    };

    /// [lo, hi]; everything if the ends are out of order or NaN.
    pub fn new(lo: f64, hi: f64) -> Self {
        if lo <= hi {
            Self { lo, hi }
        } else {
            Self::ENTIRE
        }
    }

    /// The one number x.
    pub fn point(x: f64) -> Self {
        Self::new(x, x)
    }

    /// Computed ends, each moved outwards by one place.
    fn outward(lo: f64, hi: f64) -> Self {
        Self::new(lo.next_down(), hi.next_up())
    }

    /// Lower end.
    pub fn lo(self) -> f64 {
        self.lo
    }

    /// Upper end.
    pub fn hi(self) -> f64 {
        self.hi
    }

    /// Whether x lies in it.
    pub fn contains(self, x: f64) -> bool {
        self.lo <= x && x <= self.hi
    }

    /// hi − lo as computed: a size to steer by, not a bound.
    pub fn width(self) -> f64 {
        self.hi - self.lo
    }

    /// The halves [lo, c] and [c, hi]; `None` if no number lies strictly between the ends.
    pub fn halves(self) -> Option<(Self, Self)> {
        let centre = self.lo + 0.5 * (self.hi - self.lo);
        (self.lo < centre && centre < self.hi)
            .then(|| (Self::new(self.lo, centre), Self::new(centre, self.hi)))
    }

    /// The smallest interval that contains both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self::new(self.lo.min(other.lo), self.hi.max(other.hi))
    }

    /// {|x|}.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.lo >= 0.0 {
            self
        } else if self.hi <= 0.0 {
            -self
        } else {
            Self::new(0.0, self.hi.max(-self.lo))
        }
    }

    /// {x²}: without the dependency loss of x·x.
    #[must_use]
    pub fn square(self) -> Self {
        let a = self.abs();
        let squared = Self::outward(a.lo * a.lo, a.hi * a.hi);
        Self::new(squared.lo.max(0.0), squared.hi)
    }

    /// {√x}, of the part that is not negative; everything if there is no such part.
    #[must_use]
    pub fn sqrt(self) -> Self {
        if self.hi < 0.0 {
            return Self::ENTIRE;
        }
        let root = Self::outward(self.lo.max(0.0).sqrt(), self.hi.sqrt());
        Self::new(root.lo.max(0.0), root.hi)
    }

    /// {eˣ}.
    ///
    /// # Formula `[eq:interval-exp]`
    /// ```text
    /// x ∈ [0, ½]:   eˣ = 1 + x(1 + x/2(1 + x/3(… (1 + x/N·θ)))),    θ = Σ_{n≥N} x^{n−N} N!/n! ∈ [1, 2]
    /// x > ½:        eˣ = (e^{x/2^j})^{2^j}           x < 0:   eˣ = 1/e^{−x}
    /// ```
    /// θ ≤ Σ (x/(N+1))^k ≤ 2 is the whole remainder, so the enclosure holds without trust in a library's `exp`. Monotone
    /// in x: the ends come from the ends.
    ///
    /// # Error
    /// Relative width about 40·2^j·2⁻⁵³ with 2^j ≤ 4|x|.
    #[must_use]
    pub fn exp(self) -> Self {
        Self::new(exp_at(self.lo).lo, exp_at(self.hi).hi)
    }
}

/// e^x at one number.
fn exp_at(x: f64) -> Interval {
    let one = Interval::point(1.0);
    if x.is_nan() {
        return Interval::ENTIRE;
    }
    if x < 0.0 {
        let inverse = one / exp_at(-x);
        return Interval::new(inverse.lo.max(0.0), inverse.hi.min(1.0));
    }
    if x > 710.0 {
        return Interval::new(f64::MAX, f64::INFINITY); // e^710 > 2^1024
    }
    let mut reduced = x;
    let mut doublings = 0;
    while reduced > 0.5 {
        reduced *= 0.5; // exact: x > ½ is far from the subnormal numbers
        doublings += 1;
    }
    let mut sum = Interval::new(1.0, 2.0);
    for n in (1..=TERMS).rev() {
        sum = one + Interval::point(reduced) / Interval::point(f64::from(n)) * sum;
    }
    (0..doublings).fold(sum, |power, _| power.square())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// e to 40 digits, rounded down and up to the neighbouring f64.
    #[test]
    fn exp_encloses_known_values_narrowly() {
        let e = Interval::point(1.0).exp();
        assert!(
            e.contains(std::f64::consts::E) && e.width() < 1e-13,
            "{e:?}"
        );
        // e^-20 = 2.061153622438557827965940380155820976…e-9, e^30 = 1.06864745815244621499… e13
        let small = Interval::point(-20.0).exp();
        assert!(
            small.contains(2.061_153_622_438_558e-9) && small.width() < 1e-21,
            "{small:?}"
        );
        let large = Interval::point(30.0).exp();
        assert!(
            large.contains(1.068_647_458_152_446_2e13) && large.width() < 10.0,
            "{large:?}"
        );
        assert_eq!(
            Interval::point(0.0).exp().lo().max(1.0).to_bits(),
            1.0_f64.to_bits()
        );
    }

    #[test]
    fn exp_of_the_extremes_stays_an_enclosure() {
        let wide = Interval::ENTIRE.exp();
        assert!(wide.lo() <= 0.0 && wide.hi().is_infinite(), "{wide:?}");
        let overflow = Interval::point(1000.0).exp();
        assert!(overflow.hi().is_infinite() && overflow.lo() <= f64::MAX);
        let underflow = Interval::point(-1000.0).exp();
        assert!(
            underflow.contains(0.0) && underflow.hi() < 1e-300,
            "{underflow:?}"
        );
    }

    #[test]
    fn nothing_is_known_after_nan_or_division_by_zero() {
        let x = Interval::new(1.0, 2.0);
        assert_eq!(x / Interval::new(-1.0, 1.0), Interval::ENTIRE);
        assert_eq!(x / Interval::new(0.0, 1.0), Interval::ENTIRE);
        assert_eq!(Interval::new(2.0, 1.0), Interval::ENTIRE);
        assert_eq!(Interval::point(f64::NAN), Interval::ENTIRE);
        assert_eq!(Interval::point(0.0) * Interval::ENTIRE, Interval::ENTIRE);
        assert_eq!(Interval::new(-2.0, -1.0).sqrt(), Interval::ENTIRE);
    }

    #[test]
    fn operations_are_as_by_hand_and_one_place_wider() {
        let (x, y) = (Interval::new(-1.0, 2.0), Interval::new(3.0, 4.0));
        let near = |got: Interval, lo: f64, hi: f64| {
            assert!(
                got.lo() <= lo && hi <= got.hi(),
                "{got:?} misses [{lo}, {hi}]"
            );
            assert!(
                lo - got.lo() < 1e-14 && got.hi() - hi < 1e-14,
                "{got:?} is too wide"
            );
        };
        near(x + y, 2.0, 6.0);
        near(x - y, -5.0, -1.0);
        near(x * y, -4.0, 8.0);
        near(y * x, -4.0, 8.0);
        near(x / y, -1.0 / 3.0, 2.0 / 3.0);
        near(x.square(), 0.0, 4.0);
        near((-y).square(), 9.0, 16.0);
        near(y.sqrt(), 3.0_f64.sqrt(), 2.0);
        near(x.sqrt(), 0.0, 2.0_f64.sqrt());
        near(x.abs(), 0.0, 2.0);
        near((-y).abs(), 3.0, 4.0);
        near(x.hull(y), -1.0, 4.0);
        assert_eq!(
            x.halves(),
            Some((Interval::new(-1.0, 0.5), Interval::new(0.5, 2.0)))
        );
        assert_eq!(Interval::new(1.0, 1.0_f64.next_up()).halves(), None);
    }

    proptest! {
        /// Integers over 64 are added and multiplied without rounding, so membership is exact.
        #[test]
        fn operations_enclose_the_operation_on_members(
            ends in proptest::collection::vec(-256..256_i32, 4), part in 0..=4_i32, other in 0..=4_i32
        ) {
            let at = |k: i32| f64::from(k) / 64.0;
            let (x, y) = (
                Interval::new(at(ends[0].min(ends[1])), at(ends[0].max(ends[1]))),
                Interval::new(at(ends[2].min(ends[3])), at(ends[2].max(ends[3]))),
            );
            let inside = |i: Interval, part: i32| i.lo() + i.width() * f64::from(part) / 4.0;
            let (a, b) = (inside(x, part), inside(y, other));
            prop_assert!((x + y).contains(a + b));
            prop_assert!((x - y).contains(a - b));
            prop_assert!((x * y).contains(a * b));
            prop_assert!(y.contains(0.0) || (x / y).contains(a / b));
            prop_assert!(x.square().contains(a * a));
            prop_assert!(a < 0.0 || x.sqrt().contains(a.sqrt()));
            // The library's exp is within 1 ulp; the enclosure is wider than that.
            prop_assert!(x.exp().contains(a.exp()));
        }
    }
}
