//! The one comparison everything here uses. It fails on NaN and on shape, and it says where.

use ndarray::{ArrayD, IxDyn, Zip};
use serde::{Deserialize, Serialize};

/// One computed quantity held against what it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The largest `|got − want| / allowed`; at most 1 when the quantity is right. A NaN, an infinity in
    /// the wrong place or a wrong shape counts as infinite.
    #[serde(with = "crate::report::ratio")]
    pub worst: f64,
    /// Where the largest ratio is, with the numbers.
    pub place: String,
    /// How many elements were compared.
    pub elements: usize,
    /// True when the allowance says nothing: infinite somewhere, or nowhere below the largest number
    /// of the quantity. Such a comparison cannot fail, so it is counted apart.
    pub vacuous: bool,
}

impl Comparison {
    /// Whether every element lies within its allowance.
    pub fn holds(&self) -> bool {
        self.worst <= 1.0
    }

    fn refused(place: String) -> Self {
        Self {
            worst: f64::INFINITY,
            place,
            elements: 0,
            vacuous: false,
        }
    }
}

/// Judges `|got − want| ≤ allowed`, elementwise.
///
/// # Formula
/// ```text
/// ratio = |got − want| / allowed      (0 when got and want are the same number, ∞ when either is NaN)
/// ```
/// `allowed` is an absolute error, the size of what was added up times the unit roundoff: relative to
/// `want` it would be wrong wherever terms cancel.
///
/// # Shapes
/// All three alike; anything else is refused as an infinite ratio.
pub fn compare(
    name: &str,
    got: &ArrayD<f64>,
    want: &ArrayD<f64>,
    allowed: &ArrayD<f64>,
) -> Comparison {
    if got.shape() != want.shape() || allowed.shape() != want.shape() {
        return Comparison::refused(format!(
            "`{name}`: shape must be {:?}, got {:?} (allowance {:?})",
            want.shape(),
            got.shape(),
            allowed.shape()
        ));
    }
    let mut result = Comparison {
        worst: 0.0,
        place: format!("`{name}`"),
        elements: got.len(),
        vacuous: says_nothing(want, allowed),
    };
    // The place is looked for when the worst is known: an index for each element would cost more than the comparison.
    Zip::from(got)
        .and(want)
        .and(allowed)
        .for_each(|&got, &want, &allowed| {
            let ratio = ratio(got, want, allowed);
            if ratio > result.worst {
                result.worst = ratio;
            }
        });
    let mut all = got.iter().zip(want).zip(allowed);
    let worst = all.position(|((got, want), allowed)| ratio(*got, *want, *allowed) >= result.worst);
    if let Some(position) = worst.filter(|_| result.worst > 0.0) {
        let at = index(got.shape(), position);
        let place = (got[&at], want[&at], allowed[&at]);
        result.place = describe(name, &at, place.0, place.1, place.2);
    }
    result
}

/// The index of an element in row-major order.
fn index(shape: &[usize], mut position: usize) -> IxDyn {
    let mut at = vec![0; shape.len()];
    for (at, size) in at.iter_mut().zip(shape).rev() {
        (*at, position) = (position % size, position / size);
    }
    IxDyn(&at)
}

/// `|got − want| / allowed`, written so that no NaN can pass for a small number.
fn ratio(got: f64, want: f64, allowed: f64) -> f64 {
    let error = (got - want).abs();
    if error == 0.0 || (allowed.is_infinite() && allowed > 0.0 && !want.is_nan()) {
        return 0.0;
    }
    let ratio = error / allowed;
    if ratio.is_nan() || ratio < 0.0 {
        f64::INFINITY
    } else {
        ratio
    }
}

/// An allowance that no wrong number could exceed: some element infinite, or every element as large as
/// the largest number of the quantity. A quantity that is zero throughout has no size to compare with.
fn says_nothing(want: &ArrayD<f64>, allowed: &ArrayD<f64>) -> bool {
    let size = want.iter().fold(
        0.0_f64,
        |size, w| if w.abs() > size { w.abs() } else { size },
    );
    let infinite = allowed.iter().any(|a| !a.is_finite());
    infinite || (size > 0.0 && allowed.iter().all(|a| *a >= size))
}

fn describe(name: &str, at: &IxDyn, got: f64, want: f64, allowed: f64) -> String {
    let at: &[usize] = ndarray::Dimension::slice(at);
    format!("`{name}` at {at:?}: got {got:e}, must be {want:e} within {allowed:.3e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, arr1, arr2};

    fn judge(got: &[f64], want: &[f64], allowed: &[f64]) -> Comparison {
        let array = |values: &[f64]| arr1(values).into_dyn();
        compare("q", &array(got), &array(want), &array(allowed))
    }

    #[test]
    fn ratio_is_error_over_allowance_and_names_the_place() {
        let result = judge(&[1.0, 2.5], &[1.0, 2.0], &[0.1, 0.25]);
        assert!(
            (result.worst - 2.0).abs() < 1e-15,
            "0.5 / 0.25 became {}",
            result.worst
        );
        assert!(
            result.place.contains("[1]") && result.place.contains("2.5"),
            "no place: {}",
            result.place
        );
        assert!(!result.holds(), "twice the allowance passes");
        assert!(
            judge(&[1.05, 2.25], &[1.0, 2.0], &[0.1, 0.25]).holds(),
            "exactly the allowance is refused"
        );
    }

    #[test]
    fn nan_and_infinity_fail_whatever_the_allowance() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(
                !judge(&[bad, 2.0], &[1.0, 2.0], &[1e9, 1e9]).holds(),
                "{bad} passes"
            );
        }
        assert!(
            !judge(&[f64::NAN], &[f64::NAN], &[1.0]).holds(),
            "NaN equals NaN"
        );
        assert!(
            !judge(&[1.0], &[f64::NAN], &[f64::INFINITY]).holds(),
            "a NaN reference passes"
        );
        assert!(
            !judge(&[1.0], &[2.0], &[f64::NAN]).holds(),
            "a NaN allowance passes"
        );
        assert!(
            !judge(&[1.0], &[2.0], &[-1.0]).holds(),
            "a negative allowance passes"
        );
    }

    #[test]
    fn zero_allowance_asks_for_equality() {
        assert!(
            judge(&[0.0], &[0.0], &[0.0]).holds(),
            "equal numbers are refused"
        );
        assert!(
            !judge(&[1e-300], &[0.0], &[0.0]).holds(),
            "a tiny difference passes"
        );
    }

    #[test]
    fn a_shape_is_part_of_the_answer() {
        let one = Array::ones(IxDyn(&[2, 1]));
        let result = compare("q", &arr2(&[[1.0, 1.0]]).into_dyn(), &one, &one);
        assert!(
            !result.holds() && result.place.contains("[2, 1]"),
            "transposed shape passes: {result:?}"
        );
        let broadcast = compare("q", &one, &one, &arr1(&[1.0]).into_dyn());
        assert!(
            !broadcast.holds(),
            "an allowance of another shape is broadcast"
        );
    }

    #[test]
    fn an_allowance_that_cannot_be_exceeded_is_counted_apart() {
        assert!(
            judge(&[1.0], &[1.0], &[f64::INFINITY]).vacuous,
            "infinite allowance"
        );
        assert!(
            judge(&[1.0, 0.5], &[1.0, 0.5], &[1.0, 2.0]).vacuous,
            "allowance as large as the quantity"
        );
        assert!(
            !judge(&[1.0, 0.5], &[1.0, 0.5], &[1e-7, 2.0]).vacuous,
            "one element is still held"
        );
        assert!(
            !judge(&[0.0], &[0.0], &[1e-9]).vacuous,
            "a zero with a small allowance is held"
        );
    }
}
