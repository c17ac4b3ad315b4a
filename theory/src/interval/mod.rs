//! Intervals with outward rounding: enclosures of every value that a formula takes on a whole box.
//!
//! Why not a crate: `docs/adr/0006-intervals-of-our-own.md`.

mod arithmetic;
mod functions;

/// The closed interval [lo, hi] of real numbers.
///
/// # Formula `[eq:interval]`
/// ```text
/// X ∘ Y ⊇ {x ∘ y : x ∈ X, y ∈ Y}
/// ```
/// IEEE 754 rounds + − × ÷ √ correctly, so the exact result lies between the neighbours of the computed one: each end
/// is moved outwards by one place. No rounding mode is switched, so this needs no CPU feature.
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

    /// π, between two neighbouring numbers.
    pub const PI: Self = Self {
        lo: std::f64::consts::PI, // 3.141592653589793116 < π
        hi: std::f64::consts::PI.next_up(),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        // sin π = 0 lies between the sines of the ends.
        assert!(Interval::PI.lo().sin() > 0.0 && Interval::PI.hi().sin() < 0.0);
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
            prop_assert!(a <= 0.0 || x.ln().contains(a.ln()));
        }
    }
}
