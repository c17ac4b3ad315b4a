//! What makes the Fréchet distance one: it is a metric, and it moves with the features as it should.

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate};
use proptest::prelude::*;
use sadm_reference::linalg::{orthonormal_factor, symmetric_eigen, symmetric_eigenvalues};
use sadm_reference::metrics::{
    Factor, Frechet, Moments, frechet, frechet_of_factors, frechet_of_moments, moments,
};

use crate::support::{U, matrix, sets, shuffled, size};

/// Rounding units per row and column that enter: decompositions of at most 7 by 5 matrices, on both sides.
const UNITS: f64 = 1024.0;

fn fd(a: &Array2<f64>, b: &Array2<f64>) -> Frechet {
    frechet(a.view(), b.view()).expect("two sets of the same columns")
}

/// What a distance may be off by, of features of these sizes.
fn rounding(sets: &[&Array2<f64>]) -> f64 {
    UNITS * U * sets.iter().map(|x| size(x.view())).sum::<f64>()
}

/// Σ^{1/2} by LAPACK's eigenvectors.
fn root(s: &Array2<f64>) -> Array2<f64> {
    let (lambda, q) = symmetric_eigen(s).expect("a symmetric matrix");
    (&q * &lambda.mapv(|l| l.max(0.0).sqrt())).dot(&q.t())
}

/// The trace term as printed, by eigenvalues of Σ_a^{1/2} Σ_b Σ_a^{1/2}.
fn trace_term_as_printed(a: &Moments, b: &Moments) -> f64 {
    let r = root(&a.covariance);
    let product = r.dot(&b.covariance).dot(&r);
    let lambda = symmetric_eigenvalues(&product).expect("a symmetric matrix");
    let cross: f64 = lambda.iter().map(|l| l.max(0.0).sqrt()).sum();
    a.covariance.diag().sum() + b.covariance.diag().sum() - 2.0 * cross
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_symmetric_and_never_negative([a, b] in sets()) {
        let (ab, ba) = (fd(&a, &b), fd(&b, &a));
        prop_assert!(ab.mean_term >= 0.0 && ab.trace_term >= 0.0);
        prop_assert_eq!(ab.mean_term, ba.mean_term);
        prop_assert!((ab.trace_term - ba.trace_term).abs() <= rounding(&[&a, &b]));
        prop_assert_eq!(ab.rank_deficient, a.nrows().min(b.nrows()) <= a.ncols());
    }

    /// Relative to the distance, not to the traces: the square of what a factor is off by.
    #[test]
    fn a_set_is_at_no_distance_from_itself([a] in sets(), seed in any::<u64>()) {
        let other = shuffled(&a, seed);
        prop_assert!(fd(&a, &other).distance() <= (UNITS * U).powi(2) * size(a.view()));
    }

    /// √FD is a metric. An error e of FD² near 0 is an error √e of the root, so the roots' errors are those of R.
    #[test]
    fn roots_obey_the_triangle_inequality([a, b, c] in sets()) {
        let root = |x: &Array2<f64>, y: &Array2<f64>| fd(x, y).distance().sqrt();
        let scale = [&a, &b, &c].iter().map(|x| size(x.view()).sqrt()).sum::<f64>();
        prop_assert!(root(&a, &c) <= root(&a, &b) + root(&b, &c) + UNITS * U * scale);
    }

    #[test]
    fn rotations_and_shifts_of_both_leave_it(
        ([a, b], turn, shift) in sets().prop_flat_map(|s: [Array2<f64>; 2]| {
            let d = s[0].ncols();
            (Just(s), matrix(d, d), matrix(1, d))
        })
    ) {
        let q = orthonormal_factor(&(&turn + &(Array2::<f64>::eye(turn.nrows()) * 16.0))).expect("a matrix");
        let moved = |x: &Array2<f64>| x.dot(&q) + &shift;
        let (before, after) = (fd(&a, &b), fd(&moved(&a), &moved(&b)));
        let allowed = rounding(&[&a, &b, &moved(&a), &moved(&b)]);
        prop_assert!((before.mean_term - after.mean_term).abs() <= allowed);
        prop_assert!((before.trace_term - after.trace_term).abs() <= allowed);
    }

    #[test]
    fn a_power_of_two_scales_it_exactly([a, b] in sets(), power in -3i32..=3) {
        let s = f64::from(power).exp2();
        let (one, scaled) = (fd(&a, &b), fd(&(&a * s), &(&b * s)));
        prop_assert_eq!(scaled.mean_term, s * s * one.mean_term);
        prop_assert!((scaled.trace_term - s * s * one.trace_term).abs() <= s * s * rounding(&[&a, &b]));
    }

    #[test]
    fn a_shift_of_one_set_is_the_mean_term_alone(
        (a, shift) in (2..=7usize, 1..=5usize).prop_flat_map(|(n, d)| (matrix(n, d), matrix(1, d)))
    ) {
        let got = fd(&a, &(&a + &shift));
        let allowed = rounding(&[&a, &(&a + &shift)]);
        prop_assert!((got.mean_term - shift.iter().map(|v| v * v).sum::<f64>()).abs() <= allowed);
        prop_assert!(got.trace_term <= allowed);
    }

    /// Covariances that commute: Σ (√λ_a − √λ_b)².
    #[test]
    fn a_scaled_set_has_its_closed_form([a] in sets(), s in (1i32..=192).prop_map(|k| f64::from(k) / 64.0)) {
        let centred = &a - &a.mean_axis(Axis(0)).expect("rows");
        let trace = size(centred.view());
        let got = fd(&centred, &(&centred * s));
        prop_assert!((got.trace_term - (1.0 - s).powi(2) * trace).abs() <= (1.0 + s * s) * rounding(&[&a]));
    }

    /// Twice the rows: the same law, the covariance over 2N−1 instead of 2N−2.
    #[test]
    fn repeated_rows_differ_by_the_divisor([a] in sets()) {
        let twice = concatenate![Axis(0), a, a];
        let got = moments("a", twice.view()).expect("a set").covariance;
        let n = a.nrows() as f64;
        let want = moments("a", a.view()).expect("a set").covariance * ((2.0 * n - 2.0) / (2.0 * n - 1.0));
        prop_assert!((&got - &want).iter().all(|x| x.abs() <= rounding(&[&a])));
    }

    /// The factor's square is the covariance, and both ways to the distance agree: to √(d·u) where a covariance is
    /// singular, because its elements hold its root to half their digits only.
    #[test]
    fn moments_and_features_agree([a, b] in sets()) {
        let factor = Factor::of_features("a", a.view()).expect("a set");
        let (of_a, of_b) = (moments("a", a.view()).expect("a set"), moments("b", b.view()).expect("a set"));
        let apart = factor.root.t().dot(&factor.root) - &of_a.covariance;
        prop_assert!(apart.iter().all(|x| x.abs() <= rounding(&[&a])));
        let direct = fd(&a, &b).trace_term;
        let stored = frechet_of_moments(&of_a, &of_b).expect("moments").trace_term;
        let d = a.ncols() as f64;
        let singular = 8.0 * d * (d * U).sqrt() * (size(a.view()) + size(b.view()));
        prop_assert!((direct - stored).abs() <= singular, "{direct:e} {stored:e}");
        let printed = trace_term_as_printed(&of_a, &of_b);
        prop_assert!((direct - printed).abs() <= singular, "{direct:e} {printed:e}");
    }
}

/// A hash of the place as a number in [−1, 1): features of full rank without a generator.
fn hashed(rows: usize, columns: usize, salt: u64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let mut h = (i as u64 * 0x9E37_79B9 + j as u64 * 0x85EB_CA6B + salt)
            .wrapping_mul(0xD6E8_FEB8_6659_FD93);
        h ^= h >> 32;
        h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (h >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// The divide-and-conquer path against LAPACK's QR iteration on the printed formula, at a size where blocks, threads
/// and padding are at work: more rows than one block, and fewer rows than columns.
#[test]
fn the_large_path_agrees_with_the_printed_formula() {
    let d = 96;
    let a = hashed(5000, d, 1);
    let b = hashed(700, d, 2) * 1.25 + 0.125;
    let both = |x: ArrayView2<f64>| moments("x", x).expect("a set");
    let (of_a, of_b) = (both(a.view()), both(b.view()));
    let got = fd(&a, &b);
    let want = trace_term_as_printed(&of_a, &of_b);
    // Full rank with condition below 10: eigenvalues to d·u of the largest, roots alike.
    let traces = of_a.covariance.diag().sum() + of_b.covariance.diag().sum();
    let allowed = 16.0 * d as f64 * U * traces;
    assert!(
        (got.trace_term - want).abs() <= allowed,
        "{} {want}",
        got.trace_term
    );
    assert!(!got.rank_deficient);

    let few = hashed(40, d, 3);
    let got = fd(&few, &a);
    assert!(got.rank_deficient);
    // One covariance has 57 null eigenvalues, of which the printed formula takes roots: √(d·u) each.
    let of_few = both(few.view());
    let want = trace_term_as_printed(&of_few, &of_a);
    let traces = of_few.covariance.diag().sum() + of_a.covariance.diag().sum();
    let largest = 2.0 * traces / d as f64;
    let allowed = 2.0 * d as f64 * (d as f64 * U).sqrt() * largest;
    assert!(
        (got.trace_term - want).abs() <= allowed,
        "{} {want}",
        got.trace_term
    );
}

/// Rows by index, repeated and in another order, are the set laid out.
#[test]
fn rows_by_index_are_the_set_laid_out() {
    let x = hashed(9, 4, 6);
    let rows = [8, 0, 3, 3, 1, 8, 5];
    let by_index = Factor::of_rows("x", x.view(), &rows).expect("rows");
    let laid_out = x.select(Axis(0), &rows);
    assert_eq!(
        by_index,
        Factor::of_features("x", laid_out.view()).expect("a set")
    );
    assert!(Factor::of_rows("x", x.view(), &[0, 9]).is_err());
    assert!(Factor::of_rows("x", x.view(), &[0]).is_err());
}

#[test]
fn factors_may_be_kept_and_compared_again() {
    let (a, b) = (hashed(9, 3, 4), hashed(8, 3, 5));
    let factor = |x: &Array2<f64>| Factor::of_features("x", x.view()).expect("a set");
    let kept = frechet_of_factors(&factor(&a), &factor(&b)).expect("factors");
    assert_eq!(kept, fd(&a, &b));
}

/// Stored moments have no number of samples: their rank is that of the covariance.
#[test]
fn stored_moments_are_rank_deficient_where_their_covariance_is() {
    let diagonal = |values: [f64; 3]| Moments {
        mean: Array1::zeros(3),
        covariance: Array2::from_diag(&Array1::from(values.to_vec())),
    };
    let (flat, full) = (diagonal([1.0, 1.0, 0.0]), diagonal([1.0; 3]));
    let deficient = |a: &Moments, b: &Moments| {
        let got = frechet_of_moments(a, b).expect("moments");
        got.rank_deficient
    };
    assert!(deficient(&flat, &full) && deficient(&full, &flat));
    assert!(!deficient(&full, &full));
}
