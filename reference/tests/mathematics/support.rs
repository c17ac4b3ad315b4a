//! Generators and comparisons that the suites share.

use ndarray::{Array2, ArrayD, IxDyn};
use proptest::prelude::*;

/// Unit roundoff of f64.
pub const U: f64 = f64::EPSILON / 2.0;

/// A number exact in f32: mostly k/64, which shrinks well and hits special cases, sometimes a full mantissa.
pub fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (-256i32..=256).prop_map(|k| f64::from(k) / 64.0),
        1 => (-4.0f32..4.0).prop_map(f64::from),
    ]
}

/// A positive number exact in f32, from 1/64 to 16.
pub fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (1i32..=1024).prop_map(|k| f64::from(k) / 64.0),
        1 => (0.015_625f32..16.0).prop_map(f64::from),
    ]
}

/// A time strictly inside (0, 1), k/256.
pub fn time() -> impl Strategy<Value = f64> {
    (1i32..=255).prop_map(|k| f64::from(k) / 256.0)
}

/// Two times s ≤ t, or s < t if `apart`.
pub fn ordered_times(apart: bool) -> impl Strategy<Value = (f64, f64)> {
    let gap = i32::from(apart);
    (1..=255 - gap)
        .prop_flat_map(move |s| (Just(s), s + gap..=255))
        .prop_map(|(s, t)| (f64::from(s) / 256.0, f64::from(t) / 256.0))
}

pub fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f64>> {
    prop::collection::vec(number(), rows * columns).prop_map(move |v| {
        Array2::from_shape_vec((rows, columns), v).expect("rows * columns values")
    })
}

/// An array `[N, a, b]`.
pub fn tensor(shape: [usize; 3]) -> impl Strategy<Value = ArrayD<f64>> {
    prop::collection::vec(number(), shape.iter().product::<usize>()).prop_map(move |v| {
        ArrayD::from_shape_vec(IxDyn(&shape), v).expect("as many values as the shape holds")
    })
}

/// Fails unless `|got − want| ≤ units · u · scale`; NaN fails.
#[track_caller]
pub fn assert_near(got: f64, want: f64, scale: f64, units: f64) {
    let allowed = units * U * scale.abs();
    assert!(
        got == want || (got - want).abs() <= allowed,
        "got {got:e}, want {want:e}, allowed {allowed:e}"
    );
}

/// The same, relative to `want` itself.
#[track_caller]
pub fn assert_close(got: f64, want: f64, units: f64) {
    assert_near(got, want, want, units);
}

/// The same for arrays, relative to the largest element wanted.
#[track_caller]
pub fn assert_all_close<'a>(
    got: impl IntoIterator<Item = &'a f64>,
    want: impl IntoIterator<Item = &'a f64> + Clone,
    units: f64,
) {
    let got: Vec<f64> = got.into_iter().copied().collect();
    let want: Vec<f64> = want.into_iter().copied().collect();
    assert_eq!(got.len(), want.len(), "number of elements");
    let scale = want.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    for (got, want) in got.into_iter().zip(want) {
        assert_near(got, want, scale, units);
    }
}
