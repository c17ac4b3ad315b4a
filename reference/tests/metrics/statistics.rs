//! Intervals, lines, ranks and means against brute force.

use ndarray::{Array2, ArrayView2};
use proptest::prelude::*;
use sadm_reference::metrics::{
    basic_interval, bootstrap_means, extrapolate, mann_whitney, mean_pairwise_distance,
    mean_pairwise_of_deviations, percentile_interval, quantile,
};

use crate::support::{U, number};

fn values() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), 1..=9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quantiles_grow_from_the_least_to_the_largest(v in values(), p in 0.0..=1.0f64, q in 0.0..=1.0f64) {
        let at = |q| quantile(&v, q).expect("values");
        let least = v.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert_eq!((at(0.0), at(1.0)), (least, largest));
        prop_assert!(at(p.min(q)) <= at(p.max(q)) + 4.0 * U * 8.0);
    }

    #[test]
    fn a_basic_interval_mirrors_the_percentile_one(v in values(), at in number(), level in 0.1..0.99f64) {
        let inner = percentile_interval(&v, level).expect("values");
        let mirrored = basic_interval(at, &v, level).expect("values");
        prop_assert!(inner.low <= inner.high + 32.0 * U);
        prop_assert_eq!(mirrored.low, 2.0 * at - inner.high);
        prop_assert_eq!(mirrored.high, 2.0 * at - inner.low);
    }

    #[test]
    fn a_resample_of_everything_has_the_mean(v in values()) {
        let all: Vec<usize> = (0..v.len()).collect();
        let rows = ArrayView2::from_shape((1, v.len()), &all).expect("one row");
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        prop_assert_eq!(bootstrap_means(&v, rows).expect("indices"), vec![mean]);
    }

    #[test]
    fn a_line_is_found_again(intercept in number(), slope in number(), first in 1..=100usize) {
        let points: Vec<_> = [first, first + 3, 3 * first + 7]
            .map(|n| (n, intercept + slope / n as f64))
            .to_vec();
        let got = extrapolate(&points).expect("three sizes");
        // The sizes are at least a factor 1.03 apart, so 1/N loses at most 200 units.
        let allowed = 4096.0 * 100.0 * U * (intercept.abs() + slope.abs() + 1.0);
        prop_assert!((got.intercept - intercept).abs() <= allowed);
        prop_assert!((got.slope - slope).abs() <= allowed * (3 * first + 7) as f64);
        let two = extrapolate(&points[..2]).expect("two sizes");
        prop_assert!(two.standard_error.is_none());
    }

    #[test]
    fn ranks_count_pairs(a in values(), b in values()) {
        let got = mann_whitney(&a, &b).expect("values");
        let pair = |x: f64, y: f64| if x < y { 1.0 } else if x == y { 0.5 } else { 0.0 };
        let sum: f64 = a.iter().flat_map(|x| b.iter().map(move |y| pair(*x, *y))).sum();
        let want = sum / (a.len() * b.len()) as f64;
        prop_assert!((got.below - want).abs() <= 4.0 * U);
        let swapped = mann_whitney(&b, &a).expect("values");
        prop_assert!((got.z + swapped.z).abs() <= 256.0 * U * (1.0 + got.z.abs()));
        prop_assert!(got.z.is_finite());
    }

    #[test]
    fn a_mean_distance_is_that_of_the_pairs(v in prop::collection::vec(number(), 2..=6)) {
        let n = v.len();
        let d = Array2::from_shape_fn((n, n), |(i, j)| (v[i] - v[j]).abs());
        let mut pairs = Vec::new();
        for i in 0..n {
            for j in i + 1..n {
                pairs.push((v[i] - v[j]).abs());
            }
        }
        let want = pairs.iter().sum::<f64>() / pairs.len() as f64;
        let got = mean_pairwise_distance(d.view()).expect("distances");
        prop_assert!((got - want).abs() <= 32.0 * U * want);
    }

    /// Huygens's identity and its jackknife, against all pairs, with and without each sample.
    #[test]
    fn squared_distances_need_no_pairs(v in prop::collection::vec((number(), number()), 3..=6)) {
        let mean_of_pairs = |v: &[(f64, f64)]| {
            let d = Array2::from_shape_fn((v.len(), v.len()), |(i, j)| {
                (v[i].0 - v[j].0).powi(2) + (v[i].1 - v[j].1).powi(2)
            });
            mean_pairwise_distance(d.view()).expect("distances")
        };
        let n = v.len() as f64;
        let centre = v.iter().fold((0.0, 0.0), |c, x| (c.0 + x.0 / n, c.1 + x.1 / n));
        let q: Vec<f64> = v
            .iter()
            .map(|x| (x.0 - centre.0).powi(2) + (x.1 - centre.1).powi(2))
            .collect();
        let got = mean_pairwise_of_deviations(&q).expect("deviations");
        let size = v.iter().fold(1.0, |m, x| m + x.0 * x.0 + x.1 * x.1);
        prop_assert!((got.value - mean_of_pairs(&v)).abs() <= 256.0 * U * size);
        let without: Vec<f64> = (0..v.len())
            .map(|k| {
                let rest: Vec<_> = (0..v.len()).filter(|i| *i != k).map(|i| v[i]).collect();
                mean_of_pairs(&rest)
            })
            .collect();
        let middle = without.iter().sum::<f64>() / n;
        let spread: f64 = without.iter().map(|d| (d - middle).powi(2)).sum();
        let want = ((n - 1.0) / n * spread).sqrt();
        prop_assert!((got.standard_error - want).abs() <= 1e-7 * size, "{} for {want}", got.standard_error);
    }
}
