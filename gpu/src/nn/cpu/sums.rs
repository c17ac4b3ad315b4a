//! Deterministic summation: in an order that depends on nothing but the length.

use super::real::Real;

/// Independent partial sums of a reduction: enough for four AVX2 registers, and the same number on
/// every machine, so that a sum does not depend on the CPU.
const LANES: usize = 32;
/// Partial sums that are kept together.
const GROUP: usize = 8;

/// Partial sums in groups of [`GROUP`], which the compiler keeps in registers; as one array they stay in memory, and are
/// added to an element at a time.
type Lanes<S> = [[S; GROUP]; LANES / GROUP];

/// `Σ f(x_i)` in a fixed order of [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn sum<R: Real>(x: &[R], f: impl Fn(R) -> R) -> R {
    sum_in_lanes(x, f)
}

/// `Σ x_i` in the order of [`sum`].
#[inline(always)]
pub(crate) fn plain_sum<R: Real>(x: &[R]) -> R {
    // Adding 0 is not nothing (it is −0 that would be): of sums of what is loaded the compiler makes halves of vectors.
    sum(x, |x| x + R::default())
}

/// [`sum`] of terms of any type.
#[inline(always)]
fn sum_in_lanes<R: Real, S: Real>(x: &[R], f: impl Fn(R) -> S) -> S {
    let mut lanes = Lanes::<S>::default();
    let (body, rest) = x.as_chunks::<LANES>();
    for x in body {
        for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<GROUP>().0) {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane += f(x);
            }
        }
    }
    let mut lanes = flat(lanes);
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    total(lanes)
}

/// `Σ f(x_i, y_i)` in the order of [`sum`].
#[inline(always)]
pub(crate) fn sum2<R: Real>(x: &[R], y: &[R], f: impl Fn(R, R) -> R) -> R {
    sum2_in_lanes(x, y, f)
}

/// [`sum2`] of terms of any type.
#[inline(always)]
fn sum2_in_lanes<R: Real, S: Real>(x: &[R], y: &[R], f: impl Fn(R, R) -> S) -> S {
    let mut lanes = Lanes::<S>::default();
    let (body_x, rest_x) = x.as_chunks::<LANES>();
    let (body_y, rest_y) = y.as_chunks::<LANES>();
    for (x, y) in body_x.iter().zip(body_y) {
        let groups = x.as_chunks::<GROUP>().0.iter().zip(y.as_chunks().0);
        for (lanes, (x, y)) in lanes.iter_mut().zip(groups) {
            let y: &[R; GROUP] = y;
            for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
                *lane += f(x, y);
            }
        }
    }
    let mut lanes = flat(lanes);
    for (lane, (&x, &y)) in lanes.iter_mut().zip(rest_x.iter().zip(rest_y)) {
        *lane += f(x, y);
    }
    total(lanes)
}

/// `Σ f(x_i)` in f64, in the order of [`sum`].
#[inline(always)]
pub(crate) fn sum_wide<R: Real>(x: &[R], f: impl Fn(f64) -> f64) -> f64 {
    sum_in_lanes(x, |x| f(x.wide()))
}

/// `Σ f(x_i, y_i)` in f64, in the order of [`sum`].
#[inline(always)]
pub(crate) fn sum2_wide<R: Real>(x: &[R], y: &[R], f: impl Fn(f64, f64) -> f64) -> f64 {
    sum2_in_lanes(x, y, |x, y| f(x.wide(), y.wide()))
}

/// The groups, one after the other.
#[inline(always)]
fn flat<S: Real>(lanes: Lanes<S>) -> [S; LANES] {
    let mut all = [S::default(); LANES];
    for (all, lanes) in all.as_chunks_mut().0.iter_mut().zip(lanes) {
        *all = lanes;
    }
    all
}

/// Pairwise total of the partial sums.
#[inline(always)]
fn total<R: Real>(mut lanes: [R; LANES]) -> R {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element, −∞ for none; NaN elements are passed over (the sums that follow keep them).
#[inline(always)]
pub(crate) fn maximum<R: Real>(x: &[R]) -> R {
    let mut lanes = [[R::of(f64::NEG_INFINITY); GROUP]; LANES / GROUP];
    let (body, rest) = x.as_chunks::<LANES>();
    for x in body {
        for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<GROUP>().0) {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane = larger(x, *lane);
            }
        }
    }
    let mut lanes = flat(lanes);
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(x, *lane);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = larger(lanes[i + width], lanes[i]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger of two numbers; the second if either is NaN.
#[inline(always)]
fn larger<R: Real>(x: R, y: R) -> R {
    if x > y { x } else { y }
}

/// Mean and `1/√(variance + eps)` of `x`, the variance by a second pass over the deviations.
#[inline(always)]
pub(crate) fn moments<R: Real>(x: &[R], eps: f64) -> (R, R) {
    let count = R::of(x.len() as f64);
    let mean = plain_sum(x) / count;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
    (mean, R::of(1.0) / (variance + R::of(eps)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::{maximum, plain_sum, sum, sum2};

    #[test]
    fn sums_and_maxima_take_every_element_once() {
        for n in [0_u16, 1, 15, 16, 17, 31, 32, 100] {
            let x: Vec<f64> = (1..=n).map(f64::from).collect();
            let n = f64::from(n);
            assert!((plain_sum(&x) - n * (n + 1.0) / 2.0).abs() < 0.5);
            let squares = n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
            assert!((sum(&x, |x| x * x) - squares).abs() < 0.5);
            assert!((sum2(&x, &x, |x, y| x * y) - squares).abs() < 0.5);
            let largest = if x.is_empty() { f64::NEG_INFINITY } else { n };
            assert!(maximum(&x).total_cmp(&largest).is_eq());
        }
    }

    #[test]
    fn a_maximum_passes_over_nan_wherever_it_is() {
        for n in [1, 31, 33, 64] {
            for i in 0..n {
                let mut x = vec![-2.0_f32; n];
                x[i] = f32::NAN;
                let largest = if n == 1 { f32::NEG_INFINITY } else { -2.0 };
                assert!(maximum(&x).total_cmp(&largest).is_eq(), "{i} of {n}");
            }
        }
    }
}
