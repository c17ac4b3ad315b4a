//! The tracker itself: its values are those of plain f64, its errors cover what f32 really does.

use ndarray::{ArrayD, Axis, IxDyn, array};
use proptest::prelude::*;
use sadm_reference::bound::{FUNCTION_ULPS, Precision, Tracked};

use crate::support::{number, positive, tensor};

const P: Precision = Precision::F32;

fn exact(values: &[f64]) -> Tracked {
    Tracked::exact(ndarray::Array1::from(values.to_vec()).into_dyn())
}

/// One tracked number in [value − error, value + error].
fn around(value: f64, error: f64) -> Tracked {
    exact(&[value]).widened(&array![error].into_dyn())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the subject"
)]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[test]
fn precisions_have_their_unit_roundoff() {
    assert_eq!(Precision::F64.unit, 2f64.powi(-53));
    assert_eq!(Precision::F32.unit, 2f64.powi(-24));
    assert_eq!(Precision::TF32.unit, 2f64.powi(-11));
    assert_eq!(Precision::BF16.unit, 2f64.powi(-8));
    assert_eq!(Precision::F64.tiny, 2f64.powi(-1022));
    for p in [Precision::F32, Precision::TF32, Precision::BF16] {
        assert_eq!(p.tiny, 2f64.powi(-126));
    }
    assert_eq!(FUNCTION_ULPS, 4.0);
}

/// Errors worked by hand, in units of u = 2⁻²⁴, to first order.
#[test]
fn errors_are_the_hand_worked_ones() {
    let u = P.unit;
    let (a, b) = (around(3.0, 4.0 * u), around(-2.0, 6.0 * u));
    let error = |t: Tracked| t.error.sum() / u;
    let near =
        |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-6, "got {got}, want {want}");
    near(error(a.add(&b, P)), 4.0 + 6.0 + 1.0);
    near(error(a.sub(&b, P)), 4.0 + 6.0 + 5.0);
    near(error(a.mul(&b, P)), 3.0 * 6.0 + 2.0 * 4.0 + 6.0);
    near(error(a.div(&b, P)), 2.0 + 1.5 * 3.0 + 1.5);
    near(error(a.scale(0.5, P)), 2.0);
    near(error(a.scale(5.0, P)), 20.0 + 15.0 + 15.0);
    near(error(a.add_scalar(1.5, P)), 4.0 + 1.5 + 4.5);
    near(error(a.neg()), 4.0);
    near(error(b.abs()), 6.0);
    near(error(a.square(P)), 24.0 + 9.0);
    near(error(a.recip(P)), 4.0 / 9.0 + 1.0 / 3.0);
    near(error(a.sqrt(P)), 2.0 / 3f64.sqrt() + 3f64.sqrt());
    near(
        error(a.sqrt_of_nonnegative(P)),
        2.0 / 3f64.sqrt() + 3f64.sqrt(),
    );
    near(error(a.exp(P)), 3f64.exp() * (4.0 + 4.0));
    near(error(a.expm1(P)), 3f64.exp() * 4.0 + 4.0 * 3f64.exp_m1());
    near(error(a.ln(P)), 4.0 / 3.0 + 4.0 * 3f64.ln());
    near(error(a.ln1p(P)), 4.0 / 4.0 + 4.0 * 3f64.ln_1p());
    near(
        error(a.tanh(P)),
        4.0 / 3f64.cosh().powi(2) + 4.0 * 3f64.tanh(),
    );
    let logistic = 1.0 / (1.0 + (-3f64).exp());
    near(
        error(a.sigmoid(P)),
        4.0 * logistic * (1.0 - logistic) + 7.0 * logistic,
    );
    near(error(a.sin(P)), 4.0 + 4.0 * 3f64.sin());
    near(error(a.cos(P)), 4.0 - 4.0 * 3f64.cos());
    near(error(a.maximum(&b)), 6.0);
    near(error(a.clamp(0.0, 1.0)), 4.0);
    near(error(a.stored_as(Precision::BF16)), 4.0 + 3.0 * 65536.0);
    near(error(Tracked::rounded(array![3.0].into_dyn(), P)), 3.0);
    let rows = Tracked::concat(&[&a, &b, &a], 0);
    near(error(rows.sum_all(P)), 14.0 + 2.0 * 8.0);
    near(
        error(rows.mean_axis(0, false, P)),
        14.0 / 3.0 + 16.0 / 3.0 + 2.0 * 4.0 / 3.0,
    );
    let (row, column) = (rows.reshape(&[1, 3]), rows.reshape(&[3, 1]));
    // Σ 2|x|e + 3 Σ x²
    near(
        error(row.matmul(&column, P)),
        2.0 * (12.0 + 12.0 + 12.0) + 3.0 * 22.0,
    );
}

#[test]
fn exact_operations_stay_exact() {
    let x = exact(&[1.5, -2.0, 0.0]);
    let zero = exact(&[0.0; 3]);
    for t in [
        x.sub(&x, P),
        x.mul(&zero, P),
        x.add(&zero, P),
        zero.add(&x, P),
        x.sum_axis(0, false, P)
            .sub(&exact(&[-0.5]), P)
            .narrow(0, 0, 0),
        x.abs().neg().clamp(-1.0, 1.0),
        x.maximum(&zero),
        x.sign(),
        zero.exp(P),
        zero.square(P),
        zero.sqrt(P),
        zero.expm1(P),
        zero.sin(P),
        zero.tanh(P),
        zero.matmul_like(),
    ] {
        assert!(t.error.iter().all(|&e| e == 0.0), "{t:?}");
    }
    assert_eq!(exact(&[1.0]).ln(P), exact(&[0.0]));
    assert_eq!(zero.exp(P).value, array![1.0, 1.0, 1.0].into_dyn());
    assert_eq!(x.sign().value, array![1.0, -1.0, 0.0].into_dyn());
    // Scaling by a power of two costs an underflow at most.
    assert!(x.scale(0.25, P).error.iter().all(|&e| e <= P.tiny));
}

/// What has underflowed to 0 in f64 may be the smallest numbers in another order of operations.
#[test]
fn what_underflows_to_zero_is_not_exact() {
    let p = Precision::F64;
    let small = exact(&[1e-200]);
    let outer = |x: &Tracked, y: &Tracked| {
        x.reshape(&[1, 1])
            .matmul(&y.reshape(&[1, 1]), p)
            .reshape(&[1])
    };
    for t in [
        small.mul(&small, p),
        small.square(p),
        small.div(&exact(&[1e200]), p),
        exact(&[-800.0]).exp(p),
        exact(&[-800.0]).sigmoid(p),
        exact(&[1e-320]).scale(2.0_f64.powi(-20), p),
        exact(&[1e-320]).scale(1e-20, p),
        outer(&small, &small),
    ] {
        assert_eq!(t.value, array![0.0].into_dyn());
        assert!(t.error[0] >= p.tiny && t.error[0] < 1e-290, "{t:?}");
    }
    // 0 · x is exact all the same, in a sum of products too.
    let zero = exact(&[0.0]);
    assert_eq!(outer(&zero, &small).error, array![0.0].into_dyn());
    // 1e-200 · 1e-200 · 1e200 is 0 or 1e-200.
    let product = small.mul(&small, p).mul(&exact(&[1e200]), p);
    assert!(product.worst_ratio(&array![1e-200 * (1e-200 * 1e200)].into_dyn()) <= 1.0);
    // An exponent in doubt may reach numbers that do not underflow.
    let doubtful = around(-800.0, 100.0).exp(p);
    assert!(doubtful.worst_ratio(&array![(-700.0_f64).exp()].into_dyn()) <= 1.0);
}

trait MatmulLike {
    fn matmul_like(&self) -> Tracked;
}

impl MatmulLike for Tracked {
    /// The outer product with itself.
    fn matmul_like(&self) -> Tracked {
        let n = self.value.len();
        self.reshape(&[n, 1]).matmul(&self.reshape(&[1, n]), P)
    }
}

#[test]
fn what_may_blow_up_promises_nothing() {
    let infinite = |t: Tracked| assert_eq!(t.error, array![f64::INFINITY].into_dyn());
    let doubtful = around(0.5, 0.5);
    infinite(exact(&[1.0]).div(&doubtful, P));
    infinite(doubtful.recip(P));
    infinite(around(-0.5, 0.75).recip(P));
    infinite(doubtful.ln(P));
    infinite(around(0.25, 0.5).sqrt(P));
    infinite(exact(&[0.0]).mul(&around(1.0, f64::INFINITY), P));
    // The largest f32 is 2¹²⁸ (1 − u).
    infinite(exact(&[2f64.powi(127)]).add(&exact(&[2f64.powi(127)]), P));
    infinite(exact(&[2f64.powi(64)]).square(P));
    infinite(Tracked::rounded(array![2f64.powi(128)].into_dyn(), P));
    infinite(exact(&[2f64.powi(127); 2]).sum_all(P).reshape(&[1]));
    infinite(exact(&[2f64.powi(64)]).matmul_like().reshape(&[1]));
    assert!(
        exact(&[2f64.powi(126)])
            .add(&exact(&[2f64.powi(126)]), P)
            .error
            .sum()
            .is_finite()
    );
    assert!(
        exact(&[89.0]).exp(P).error.sum().is_infinite()
            && exact(&[88.0]).exp(P).error.sum().is_finite()
    );
    assert!(around(0.25, 0.5).sqrt_of_nonnegative(P).error.sum() < 0.51);
    assert!(around(0.0, 0.25).sqrt_of_nonnegative(P).error.sum() >= 0.5);
    // Bounded functions stay bounded.
    let anything = around(0.5, f64::INFINITY);
    for t in [
        anything.tanh(P),
        anything.sin(P),
        anything.cos(P),
        anything.clamp(-1.0, 1.0),
        anything.sigmoid(P),
    ] {
        assert!(t.error.sum() <= 2.1, "{t:?}");
    }
    assert_eq!(
        doubtful.sub(&exact(&[0.25]), P).sign().error,
        array![2.0].into_dyn()
    );
    assert_eq!(around(0.0, 0.1).sign().error, array![1.0].into_dyn());
}

#[test]
fn ratios_judge_a_computation() {
    let t = around(1.0, 0.5);
    assert_eq!(t.worst_ratio(&array![1.0].into_dyn()), 0.0);
    assert_eq!(t.worst_ratio(&array![1.25].into_dyn()), 0.5);
    assert_eq!(t.worst_ratio(&array![0.0].into_dyn()), 2.0);
    assert_eq!(t.worst_ratio(&array![f64::NAN].into_dyn()), f64::INFINITY);
    assert_eq!(t.worst_ratio(&array![1.0, 1.0].into_dyn()), f64::INFINITY);
    assert_eq!(
        exact(&[1.0]).worst_ratio(&array![1.5].into_dyn()),
        f64::INFINITY
    );
    // A number that may overflow has, or has not; it is a number.
    let overflowing = exact(&[89.0]).exp(P);
    let ratio = |x: f64| overflowing.worst_ratio(&array![x].into_dyn());
    assert_eq!(
        [f64::INFINITY, 4e38, f64::NAN].map(ratio),
        [0.0, 0.0, f64::INFINITY]
    );
    let infinite = exact(&[f64::INFINITY]);
    assert_eq!(infinite.worst_ratio(&infinite.value), 0.0);
    assert_eq!(
        around(1.0, 0.5).recentred(array![1.25].into_dyn()).error,
        array![0.75].into_dyn()
    );
    let both = around(1.0, 0.5).either(&around(1.5, 0.25));
    assert_eq!(
        (both.value, both.error),
        (array![1.0].into_dyn(), array![0.75].into_dyn())
    );
}

#[test]
fn rearrangements_move_value_and_error_together() {
    let value = ArrayD::from_shape_fn(IxDyn(&[2, 3]), |at| (at[0] * 3 + at[1]) as f64);
    let t = Tracked::exact(value.clone()).widened(&(&value * 0.5));
    let same = |t: &Tracked| assert_eq!(t.error, &t.value * 0.5);
    let moved = t.transpose();
    assert_eq!(moved.value, value.t());
    same(&moved);
    assert_eq!(t.permute(&[1, 0]), moved);
    assert_eq!(
        moved.reshape(&[6]).value,
        array![0.0, 3.0, 1.0, 4.0, 2.0, 5.0].into_dyn()
    );
    let narrowed = t.narrow(1, 1, 2);
    assert_eq!(narrowed.value, array![[1.0, 2.0], [4.0, 5.0]].into_dyn());
    same(&narrowed);
    assert_eq!(Tracked::concat(&[&t.narrow(1, 0, 1), &narrowed], 1), t);
    let wide = t.insert_axis(1).broadcast_to(&[2, 2, 3]);
    assert_eq!(wide.index(1, 1), t);
    same(&wide);
    let mask = value.mapv(|v| v > 2.5);
    let selected = Tracked::select(&mask, &t, &t.neg());
    assert_eq!(
        selected.value,
        array![[0.0, -1.0, -2.0], [3.0, 4.0, 5.0]].into_dyn()
    );
    assert_eq!(selected.error, t.error);
    assert_eq!(t.max_axis(1, true).value, array![[2.0], [5.0]].into_dyn());
    same(&t.max_axis(0, false));
    assert_eq!(t.sum_axis(1, true, P).shape(), [2, 1]);
    assert_eq!(t.sum_all(P).shape(), [0; 0]);
    assert_eq!(
        t.neg().max_axis(1, false).value,
        array![0.0, -3.0].into_dyn()
    );
}

#[test]
fn operands_broadcast_from_both_sides() {
    let column = exact(&[1.0, 2.0]).reshape(&[2, 1]);
    let row = exact(&[10.0, 20.0, 30.0]);
    assert_eq!(
        column.add(&row, P).value,
        array![[11.0, 21.0, 31.0], [12.0, 22.0, 32.0]].into_dyn()
    );
    assert_eq!(row.sub(&column, P).value, -column.sub(&row, P).value);
}

#[test]
#[should_panic(expected = "do not broadcast")]
fn shapes_that_do_not_broadcast_panic() {
    let _ = exact(&[1.0, 2.0]).add(&exact(&[1.0, 2.0, 3.0]), P);
}

/// Sums in the orders that libraries use.
fn sums(x: &[f32]) -> [f32; 4] {
    fn pairwise(x: &[f32]) -> f32 {
        match x {
            [] => 0.0,
            [a] => *a,
            _ => {
                let (left, right) = x.split_at(x.len() / 2);
                pairwise(left) + pairwise(right)
            }
        }
    }
    let strided = |lanes: usize| {
        let mut parts = vec![0.0_f32; lanes];
        for (i, v) in x.iter().enumerate() {
            parts[i % lanes] += v;
        }
        parts.iter().sum::<f32>()
    };
    [
        x.iter().sum(),
        x.iter().rev().sum(),
        pairwise(x),
        strided(4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_and_products_in_f32_keep_their_bounds(
        x in (1..=40usize).prop_flat_map(|n| prop::collection::vec((-4.0f32..4.0, -4.0f32..4.0), n))
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = x.into_iter().unzip();
        let wide = |x: &[f32]| exact(&x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let sum = wide(&a).sum_all(P);
        for got in sums(&a) {
            prop_assert!(sum.worst_ratio(&ArrayD::from_elem(IxDyn(&[]), f64::from(got))) <= 1.0);
        }
        let n = a.len();
        let dot = wide(&a).reshape(&[1, n]).matmul(&wide(&b).reshape(&[n, 1]), P);
        let products: Vec<f32> = a.iter().zip(&b).map(|(x, y)| x * y).collect();
        let fused = a.iter().zip(&b).fold(0.0_f32, |sum, (x, y)| x.mul_add(*y, sum));
        for got in sums(&products).into_iter().chain([fused]) {
            prop_assert!(dot.worst_ratio(&array![[f64::from(got)]].into_dyn()) <= 1.0);
        }
    }

    /// Elementwise chains in f32, the error of each step feeding the next.
    #[test]
    fn chains_in_f32_keep_their_bounds(x in number(), y in positive()) {
        let (a, b) = (exact(&[x]), exact(&[y]));
        let (s, t) = (narrow(x), narrow(y));
        let keeps = |tracked: &Tracked, got: f32| {
            let ratio = tracked.worst_ratio(&array![f64::from(got)].into_dyn());
            assert!(ratio <= 1.0, "{tracked:?}, got {got}, ratio {ratio}");
        };
        let quotient = a.div(&b, P);
        keeps(&quotient, s / t);
        keeps(&quotient.exp(P), (s / t).exp());
        keeps(&quotient.expm1(P), (s / t).exp_m1());
        keeps(&quotient.tanh(P), (s / t).tanh());
        keeps(&quotient.sigmoid(P), 1.0 / (1.0 + (-(s / t)).exp()));
        keeps(&quotient.sin(P), (s / t).sin());
        keeps(&quotient.cos(P), (s / t).cos());
        let root = a.square(P).add(&b, P).sqrt(P);
        keeps(&root, (s * s + t).sqrt());
        keeps(&root.ln(P), (s * s + t).sqrt().ln());
        keeps(&root.ln1p(P), (s * s + t).sqrt().ln_1p());
        keeps(&root.recip(P), 1.0 / (s * s + t).sqrt());
        keeps(&root.scale(0.3, P), (s * s + t).sqrt() * 0.3);
        keeps(&root.add_scalar(-0.7, P), (s * s + t).sqrt() - 0.7);
        keeps(&root.sub(&b, P).abs().neg(), -((s * s + t).sqrt() - t).abs());
        keeps(&root.clamp(0.5, 2.0).maximum(&b), (s * s + t).sqrt().clamp(0.5, 2.0).max(t));
    }

    /// Values are those of plain f64.
    #[test]
    fn values_are_plain(a in tensor([2, 2, 3]), b in tensor([2, 3, 2])) {
        let (x, y) = (Tracked::exact(a.clone()), Tracked::exact(b.clone()));
        let product = x.batched_matmul(&y, P);
        for i in 0..2 {
            prop_assert_eq!(product.index(0, i), x.index(0, i).matmul(&y.index(0, i), P));
            let plain = a.index_axis(Axis(0), i).into_dimensionality::<ndarray::Ix2>()?
                .dot(&b.index_axis(Axis(0), i).into_dimensionality::<ndarray::Ix2>()?);
            prop_assert_eq!(product.index(0, i).value, plain.into_dyn());
        }
        prop_assert_eq!(x.mean_axis(1, false, P).value, a.sum_axis(Axis(1)) * 0.5);
        prop_assert_eq!(x.square(P).value, a.mapv(|v| v * v));
    }
}
