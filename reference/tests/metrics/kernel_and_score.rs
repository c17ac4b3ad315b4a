//! Laws of the kernel distance and of the inception score.

use ndarray::{Array2, Axis, array, concatenate};
use proptest::prelude::*;
use sadm_reference::metrics::{inception_score, kid, kid_estimate};

use crate::support::{U, matrix, sets, shuffled};

fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    kid(a.view(), b.view()).expect("two sets")
}

/// The largest kernel value between any two rows.
fn largest(sets: &[&Array2<f64>]) -> f64 {
    let squares = sets
        .iter()
        .flat_map(|x| x.rows().into_iter().map(|r| r.dot(&r)));
    let most = squares.fold(0.0_f64, f64::max);
    (most / sets[0].ncols() as f64 + 1.0).powi(3)
}

/// Rows that sum to 1 up to rounding, with zeros among them.
fn probabilities() -> impl Strategy<Value = Array2<f64>> {
    (2..=9usize, 2..=5usize).prop_flat_map(|(n, c)| {
        prop::collection::vec(0i32..=8, n * c).prop_map(move |k| {
            let mut p = Array2::from_shape_vec((n, c), k.into_iter().map(f64::from).collect())
                .expect("n * c values");
            for (i, mut row) in p.rows_mut().into_iter().enumerate() {
                if row.sum() == 0.0 {
                    row[i % c] = 1.0;
                }
                let sum = row.sum();
                row /= sum;
            }
            p
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_kernel_distance_is_symmetric_and_blind_to_order([a, b] in sets(), seed in any::<u64>()) {
        let allowed = 64.0 * U * largest(&[&a, &b]);
        prop_assert!((distance(&a, &b) - distance(&b, &a)).abs() <= allowed);
        prop_assert!((distance(&a, &b) - distance(&shuffled(&a, seed), &b)).abs() <= allowed);
    }

    /// Over all ways to split one set in two, the mean of an unbiased estimator of zero is zero.
    #[test]
    fn over_all_splits_of_one_set_the_kernel_distance_is_zero(
        (pool, first) in (4..=6usize, 1..=3usize, 2..=2usize).prop_flat_map(|(n, d, k)| (matrix(n, d), Just(k)))
    ) {
        let n = pool.nrows();
        let (mut sum, mut splits) = (0.0, 0.0);
        for chosen in 0u32..1 << n {
            if chosen.count_ones() as usize == first {
                let (a, b): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| chosen >> i & 1 == 1);
                sum += distance(&pool.select(Axis(0), &a), &pool.select(Axis(0), &b));
                splits += 1.0;
            }
        }
        prop_assert!((sum / splits).abs() <= 64.0 * U * largest(&[&pool]));
    }

    /// Every row left out and the distance computed anew.
    #[test]
    fn the_jackknife_leaves_out_every_row_once([a, b] in sets().prop_map(|[a, b]: [Array2<f64>; 2]| {
        [&a, &b].map(|x| concatenate![Axis(0), x.view(), x.view()])
    })) {
        let got = kid_estimate(a.view(), b.view()).expect("two sets");
        prop_assert_eq!(got.value, distance(&a, &b));
        let spread = |x: &Array2<f64>, of: &dyn Fn(&Array2<f64>) -> f64| {
            let n = x.nrows();
            let left: Vec<f64> = (0..n)
                .map(|out| {
                    let kept: Vec<usize> = (0..n).filter(|i| *i != out).collect();
                    of(&x.select(Axis(0), &kept))
                })
                .collect();
            let mean = left.iter().sum::<f64>() / n as f64;
            (n as f64 - 1.0) / n as f64 * left.iter().map(|v| (v - mean).powi(2)).sum::<f64>()
        };
        let want = spread(&a, &|x| distance(x, &b)) + spread(&b, &|x| distance(&a, x));
        let kernel = largest(&[&a, &b]);
        let slack = 4096.0 * U * kernel * (kernel + want.sqrt());
        prop_assert!((got.standard_error.powi(2) - want).abs() <= slack);
    }

    #[test]
    fn the_inception_score_lies_between_one_and_the_classes(p in probabilities(), splits in 1..=2usize) {
        let got = inception_score(p.view(), splits).expect("probabilities");
        let slack = 64.0 * U * p.ncols() as f64;
        prop_assert!(got.scores.iter().all(|s| *s >= 1.0 - slack && *s <= p.ncols() as f64 + slack));
        prop_assert_eq!(got.scores.len(), splits);
        prop_assert!(got.std >= 0.0);
    }

    #[test]
    fn the_inception_score_is_blind_to_order_and_to_names_of_classes(p in probabilities(), seed in any::<u64>()) {
        let score = |p: &Array2<f64>| inception_score(p.view(), 1).expect("probabilities").mean;
        let renamed = shuffled(&p.t().to_owned(), seed).reversed_axes();
        let slack = 64.0 * U * p.ncols() as f64;
        prop_assert!((score(&p) - score(&shuffled(&p, seed))).abs() <= slack);
        prop_assert!((score(&p) - score(&renamed)).abs() <= slack);
    }

    /// exp H(p̄) if every row is certain; and rows that all agree score 1.
    #[test]
    fn equal_rows_score_one(p in probabilities(), copies in 1..=5usize) {
        let row = p.row(0).insert_axis(Axis(0)).to_owned();
        let same = concatenate(Axis(0), &vec![row.view(); copies]).expect("equal rows");
        let got = inception_score(same.view(), 1).expect("probabilities").mean;
        prop_assert!((got - 1.0).abs() <= 64.0 * U * p.ncols() as f64);
    }
}

#[test]
fn two_certain_classes_have_the_exponential_of_their_entropy() {
    let p = ndarray::array![[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
    let entropy = -(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
    let got = inception_score(p.view(), 1).expect("probabilities").mean;
    assert!((got - entropy.exp()).abs() <= 8.0 * U);
}

/// The mean of the distance over all choices of one point for each place, all equally likely.
fn mean_over_choices(places: &[&[f64]], reference: &Array2<f64>) -> f64 {
    let choices: usize = places.iter().map(|points| points.len()).product();
    let total: f64 = (0..choices)
        .map(|mut choice| {
            let sample = places.iter().map(|points| {
                let point = points[choice % points.len()];
                choice /= points.len();
                point
            });
            let sample =
                Array2::from_shape_vec((places.len(), 1), sample.collect()).expect("a column");
            distance(&sample, reference)
        })
        .sum();
    total / choices as f64
}

/// Every sample of classes in equal shares, and every independent one: the means differ by what the formula says, exactly.
#[test]
fn equal_shares_lower_the_kernel_distance_by_what_is_said() {
    let reference = array![[0.5], [-1.0], [2.0]];
    let k = |x: &f64, y: &f64| (x * y + 1.0).powi(3);
    let mean = |xs: &[f64], ys: &[f64]| {
        let all = xs.iter().flat_map(|x| ys.iter().map(move |y| k(x, y)));
        all.sum::<f64>() / (xs.len() * ys.len()) as f64
    };
    for (classes, each) in [
        (vec![vec![1.0, 1.5], vec![-2.0, -1.0]], 2),
        (vec![vec![1.0, 1.5], vec![-2.0, -1.0], vec![0.25, 3.0]], 1),
    ] {
        let (c, n) = (classes.len(), classes.len() * each);
        let all = classes.concat();
        let shares: Vec<&[f64]> = (0..n).map(|i| &*classes[i % c]).collect();
        let got =
            mean_over_choices(&shares, &reference) - mean_over_choices(&vec![&*all; n], &reference);
        let within = classes.iter().map(|x| mean(x, x)).sum::<f64>() / c as f64;
        let c = c as f64;
        let between = (mean(&all, &all) - within / c) * c / (c - 1.0);
        let want = -(c - 1.0) / c * (within - between) / (n as f64 - 1.0);
        assert!(want < -0.1, "nothing to see: {want}");
        // Some hundred distances of sums of kernels up to 10³ = (3·3 + 1)³.
        assert!((got - want).abs() <= 1e-10, "{got}, not {want}");
    }
}
