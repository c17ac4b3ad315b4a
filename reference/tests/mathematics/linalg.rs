//! The decompositions rebuild their matrix from factors of the kind they promise.

use ndarray::{Array2, ShapeBuilder, array};
use proptest::prelude::*;
use sadm_reference::linalg::{polar_factor, symmetric_eigen, symmetric_eigenvalues};

use crate::support::{U, matrix};

fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn norm(a: &Array2<f64>) -> f64 {
    distance(a, &Array2::zeros(a.dim()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// LAPACK is backward stable with a constant of a few n; 64 n covers it and the products formed here.
    #[test]
    fn eigenvectors_rebuild_the_matrix(a in (1..=5_usize).prop_flat_map(|n| matrix(n, n))) {
        let symmetric = &a + &a.t();
        let n = a.nrows();
        let units = 64.0 * n as f64 * U;
        let (lambda, q) = symmetric_eigen(&symmetric).expect("a symmetric matrix");
        prop_assert!(distance(&q.t().dot(&q), &Array2::eye(n)) <= units * n as f64);
        let rebuilt = (&q * &lambda).dot(&q.t());
        prop_assert!(distance(&rebuilt, &symmetric) <= units * norm(&symmetric));
        prop_assert!(lambda.windows(2).into_iter().all(|w| w[0] <= w[1]));
        let alone = symmetric_eigenvalues(&symmetric).expect("a symmetric matrix");
        let allowed = units * norm(&symmetric);
        prop_assert!((&lambda - &alone).iter().all(|x| x.abs() <= allowed));
    }

    /// With W the polar factor, Wᵀ a is symmetric with no negative eigenvalue: that makes ⟨a, W⟩ the largest.
    #[test]
    fn polar_factors_leave_a_positive_part(a in (1..=5_usize).prop_flat_map(|n| matrix(n, n))) {
        let n = a.nrows();
        let units = 64.0 * n as f64 * U;
        let w = polar_factor(&a).expect("a matrix");
        prop_assert!(distance(&w.t().dot(&w), &Array2::eye(n)) <= units * n as f64);
        let part = w.t().dot(&a);
        prop_assert!(distance(&part, &part.t().to_owned()) <= units * norm(&a));
        let least = symmetric_eigenvalues(&part).expect("a symmetric matrix")[0];
        prop_assert!(least >= -units * norm(&a));
    }
}

/// Whatever stands above the diagonal, and however the array lies in memory.
#[test]
fn only_the_lower_triangle_is_read() {
    let n = 5;
    let lower = |i: usize, j: usize| ((3 * i + 7 * j) % 11) as f64 - 4.5;
    let whole = Array2::from_shape_fn((n, n), |(i, j)| lower(i.max(j), i.min(j)));
    let (lambda, q) = symmetric_eigen(&whole).expect("a symmetric matrix");
    for above in [f64::NAN, 1e9] {
        let entry = |i: usize, j: usize| if i < j { above } else { lower(i, j) };
        let by_row = Array2::from_shape_fn((n, n), |(i, j)| entry(i, j));
        let by_column = Array2::from_shape_fn((n, n).f(), |(i, j)| entry(i, j));
        for a in [by_row, by_column] {
            assert_eq!(symmetric_eigenvalues(&a).expect("a matrix"), lambda);
            assert_eq!(symmetric_eigen(&a).expect("a matrix").1, q);
        }
    }
}

#[test]
fn a_quarter_turn_is_its_own_polar_factor() {
    let turn = array![[0.0, -1.0], [1.0, 0.0]];
    let w = polar_factor(&(&turn * 3.0)).expect("a matrix");
    assert!(distance(&w, &turn) <= 16.0 * U);
    assert!(symmetric_eigen(&Array2::zeros((2, 3))).is_err());
}
