//! Generators and comparisons that the suites share.

use ndarray::{Array2, ArrayView2, Axis};
use proptest::prelude::*;

/// Unit roundoff of f64.
pub const U: f64 = f64::EPSILON / 2.0;

/// A number exact in f32: mostly k/64, sometimes a full mantissa.
pub fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (-256i32..=256).prop_map(|k| f64::from(k) / 64.0),
        1 => (-4.0f32..4.0).prop_map(f64::from),
    ]
}

pub fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f64>> {
    prop::collection::vec(number(), rows * columns).prop_map(move |v| {
        Array2::from_shape_vec((rows, columns), v).expect("rows * columns values")
    })
}

/// Several sets of features with the same columns, from 2 rows on: often fewer rows than columns.
pub fn sets<const N: usize>() -> impl Strategy<Value = [Array2<f64>; N]> {
    (prop::array::uniform::<_, N>(2..=7usize), 1..=5usize)
        .prop_flat_map(|(rows, columns)| rows.map(|n| matrix(n, columns)))
}

/// The rows in an order drawn from `seed`.
pub fn shuffled(x: &Array2<f64>, seed: u64) -> Array2<f64> {
    let mut order: Vec<usize> = (0..x.nrows()).collect();
    let mut state = seed | 1;
    for i in (1..order.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let j = usize::try_from(state >> 33).expect("31 bits") % (i + 1);
        order.swap(i, j);
    }
    x.select(Axis(0), &order)
}

/// Σ ‖row‖²/(N−1): bounds the trace of the covariance and what rounding scales with.
pub fn size(x: ArrayView2<f64>) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>() / (x.nrows() as f64 - 1.0)
}

/// Fails unless `|got − want| ≤ allowed`; NaN fails.
#[track_caller]
pub fn assert_within(what: &str, got: f64, want: f64, allowed: f64) {
    assert!(
        got == want || (got - want).abs() <= allowed,
        "{what}: got {got:e}, want {want:e}, off by {:e}, allowed {allowed:e}",
        (got - want).abs()
    );
}
