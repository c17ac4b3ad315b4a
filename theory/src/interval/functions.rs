//! Elementary functions that trust no library.

use super::Interval;

/// Number of Taylor terms of `exp` on [0, ½]; the remainder is relative 2⁻¹⁶/16! < 10⁻¹⁸.
const TERMS: u32 = 16;
/// Ends tried for `ln`, each twice as far from the library's as the one before, from 2⁵ places on.
const TRIES: u32 = 20;

impl Interval {
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

    /// {ln x}; everything unless all of x is positive.
    ///
    /// # Formula
    /// ```text
    /// e^a ≤ x ≤ e^b   ⇒   a ≤ ln x ≤ b
    /// ```
    /// The library's `ln` proposes an end, [`Interval::exp`] checks it, and a few places more are tried until it passes:
    /// nothing is trusted.
    #[must_use]
    pub fn ln(self) -> Self {
        if self.lo > 0.0 {
            Self::new(ln_end(self.lo, -1.0), ln_end(self.hi, 1.0))
        } else {
            Self::ENTIRE
        }
    }
}

/// A number below ln x (side −1) or above it (side 1), within a few hundred places if x is an ordinary number.
fn ln_end(x: f64, side: f64) -> f64 {
    let (guess, place) = (x.ln(), f64::EPSILON * (1.0 + x.ln().abs()));
    (5..TRIES)
        .map(|k| guess + side * place * f64::from(1 << k))
        .find(|&end| {
            let power = exp_at(end);
            if side < 0.0 {
                power.hi <= x
            } else {
                x <= power.lo
            }
        })
        .unwrap_or(side * f64::INFINITY)
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

#[cfg(test)]
mod tests {
    use super::*;

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

    /// ln 2 = 0.69314718055994530941…, ln 10⁻⁹ = −20.72326583694641115616…
    #[test]
    fn ln_encloses_known_values_narrowly() {
        for (x, want) in [
            (2.0, std::f64::consts::LN_2),
            (1e-9, -20.723_265_836_946_41),
            (1.0, 0.0),
        ] {
            let got = Interval::point(x).ln();
            assert!(got.contains(want) && got.width() < 1e-12, "{got:?}");
        }
        let wide = Interval::new(0.5, 4.0).ln();
        assert!(
            wide.contains(-std::f64::consts::LN_2) && wide.contains(2.0 * std::f64::consts::LN_2)
        );
        assert!(wide.width() < 2.08 && !wide.contains(1.39) && !wide.contains(-0.70));
        assert_eq!(Interval::new(0.0, 1.0).ln(), Interval::ENTIRE);
        assert_eq!(Interval::new(-2.0, -1.0).ln(), Interval::ENTIRE);
        // Where `exp` encloses too widely to confirm an end, less is known, and nothing false.
        let least = Interval::point(f64::MIN_POSITIVE).ln();
        assert!(least.lo() < -708.39 && least.hi() > -708.40, "{least:?}");
        assert!(
            Interval::point(f64::MAX).ln().hi().is_infinite()
                || Interval::point(f64::MAX).ln().hi() > 709.78
        );
    }
}
