//! What the metrics refuse, and what they say.

use ndarray::{Array1, Array2, array};
use sadm_reference::metrics::{
    Ball, MetricError, Moments, basic_interval, bootstrap_means, extrapolate, frechet,
    frechet_of_moments, inception_score, inception_score_of_splits, kid, kid_of_subsets,
    mann_whitney, mean_pairwise_distance, nearest, neighbour_radii, percentile_interval, prdc,
    quantile, wilson_interval,
};

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, MetricError>, parts: &[&str]) {
    let message = result.expect_err("a refusal").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn square() -> Array2<f64> {
    array![[0.0, 1.0], [2.0, 3.5], [1.0, -1.0]]
}

#[test]
fn sets_that_are_too_small_empty_or_different_are_named() {
    let (x, one) = (square(), array![[1.0, 2.0]]);
    says(
        frechet(x.view(), one.view()),
        &["`b`", "at least 2", "got 1"],
    );
    says(
        frechet(one.view(), x.view()),
        &["`a`", "at least 2", "got 1"],
    );
    says(kid(one.view(), x.view()), &["`a`", "at least 2", "kernel"]);
    says(kid(x.view(), one.view()), &["`b`", "at least 2"]);
    says(
        prdc(x.view(), one.view(), 1, Ball::Closed),
        &["`generated`", "at least 2"],
    );
    let wide = array![[1.0, 2.0, 3.0], [1.0, 2.0, 4.0]];
    says(
        frechet(x.view(), wide.view()),
        &["`b`", "columns", "`a`, 2", "got 3"],
    );
    says(kid(x.view(), wide.view()), &["columns"]);
    says(
        prdc(x.view(), wide.view(), 1, Ball::Closed),
        &["`generated`", "`real`, 2", "got 3"],
    );
    says(nearest(x.view(), wide.view()), &["`training`", "got 3"]);
    let none = Array2::<f64>::zeros((3, 0));
    says(
        frechet(none.view(), none.view()),
        &["at least one column", "[3, 0]"],
    );
}

#[test]
fn what_is_not_a_number_is_named_with_its_place() {
    let mut x = square();
    x[[1, 0]] = f64::NAN;
    for message in [
        frechet(square().view(), x.view())
            .expect_err("NaN")
            .to_string(),
        kid(square().view(), x.view()).expect_err("NaN").to_string(),
        prdc(square().view(), x.view(), 1, Ball::Open)
            .expect_err("NaN")
            .to_string(),
    ] {
        assert!(message.contains("NaN in row 1, column 0"), "{message}");
    }
    says(inception_score(x.view(), 1), &["`probabilities`", "NaN"]);
}

#[test]
fn neighbours_and_splits_that_do_not_exist_are_refused() {
    let x = square();
    says(
        prdc(x.view(), x.view(), 3, Ball::Closed),
        &["k must be from 1 to 2", "`real`", "got 3"],
    );
    says(
        neighbour_radii("x", x.view(), 0),
        &["k must be from 1 to 2", "got 0"],
    );
    let four = array![[0.0, 1.0], [2.0, 3.5], [1.0, -1.0], [5.0, 5.0]];
    says(
        prdc(four.view(), x.view(), 3, Ball::Closed),
        &["`generated`", "got 3"],
    );
    let p = array![[0.5, 0.5], [0.25, 0.75]];
    says(
        inception_score(p.view(), 3),
        &["splits must be from 1 to 2", "got 3"],
    );
    says(inception_score(p.view(), 0), &["got 0"]);
    says(
        inception_score_of_splits(p.view(), &[0..1, 0..3]),
        &["below 2", "got 2"],
    );
    says(
        inception_score_of_splits(p.view(), &[0..1, 1..1]),
        &["at least 1"],
    );
    says(inception_score_of_splits(p.view(), &[]), &["at least 1"]);
}

#[test]
fn rows_that_are_no_distribution_are_refused() {
    says(
        inception_score(array![[0.5, 0.5], [0.5, 0.6]].view(), 1),
        &["row 1 of `probabilities` must sum to 1", "got 1.1"],
    );
    says(
        inception_score(array![[1.25, -0.25]].view(), 1),
        &["-0.25", "row 0, column 1"],
    );
    // An f32 softmax is off by less than what is allowed.
    let rounded = array![[f64::from(1.0_f32 / 3.0), f64::from(2.0_f32 / 3.0)]];
    assert!(inception_score(rounded.view(), 1).is_ok());
    assert!(inception_score(array![[0.3333, 0.6666]].view(), 1).is_err());
}

#[test]
fn what_is_no_covariance_is_refused() {
    let at = |covariance: Array2<f64>| Moments {
        mean: Array1::zeros(2),
        covariance,
    };
    let eye = at(Array2::eye(2));
    let against = |other: Array2<f64>| frechet_of_moments(&eye, &at(other));
    says(against(Array2::eye(3)), &["`b`", "[2, 2]", "got [3, 3]"]);
    says(
        against(array![[1.0, 0.5], [0.0, 1.0]]),
        &["`b`", "symmetric", "(0, 1)"],
    );
    says(
        against(array![[1.0, 2.0], [2.0, 1.0]]),
        &["`b`", "negative eigenvalue"],
    );
    says(
        against(array![[1.0, f64::NAN], [f64::NAN, 1.0]]),
        &["`b`", "NaN"],
    );
    assert_eq!(
        against(Array2::zeros((2, 2)))
            .expect("no spread")
            .trace_term,
        2.0
    );
}

#[test]
fn what_overflows_is_refused() {
    let huge = square() * 1e200;
    says(frechet(square().view(), huge.view()), &["overflow"]);
    says(kid(square().view(), huge.view()), &["overflow"]);
    says(
        prdc(square().view(), huge.view(), 1, Ball::Closed),
        &["overflow"],
    );
    says(nearest(square().view(), huge.view()), &["overflow"]);
}

#[test]
fn indices_and_subsets_must_exist() {
    let x = square();
    let all = vec![0, 1, 2];
    says(
        kid_of_subsets(
            x.view(),
            x.view(),
            std::slice::from_ref(&all),
            &[vec![0, 3]],
        ),
        &["`b`", "below 3", "got 3"],
    );
    says(
        kid_of_subsets(x.view(), x.view(), &[all.clone(), all], &[]),
        &["subsets of `b` must be as many"],
    );
    says(
        bootstrap_means(&[1.0, 2.0], array![[0, 2]].view()),
        &["below 2", "got 2"],
    );
    says(bootstrap_means(&[], array![[0]].view()), &["at least 1"]);
}

#[test]
fn statistics_of_nothing_are_refused() {
    says(quantile(&[], 0.5), &["at least 1"]);
    says(quantile(&[1.0], 1.5), &["from 0 to 1", "1.5"]);
    says(quantile(&[f64::INFINITY], 0.5), &["finite", "inf"]);
    says(percentile_interval(&[1.0], 1.0), &["between 0 and 1"]);
    says(basic_interval(f64::NAN, &[1.0], 0.9), &["finite", "NaN"]);
    says(wilson_interval(0, 0, 2.0), &["at least 1"]);
    says(wilson_interval(4, 3, 2.0), &["below 4", "got 4"]);
    says(wilson_interval(1, 3, 0.0), &["> 0"]);
    says(mann_whitney(&[], &[1.0]), &["first", "at least 1"]);
    says(mann_whitney(&[1.0], &[f64::NAN]), &["second", "NaN"]);
    says(extrapolate(&[(5, 1.0), (5, 2.0)]), &["at least 2", "got 1"]);
    says(extrapolate(&[]), &["at least 2", "got 0"]);
    says(extrapolate(&[(0, 1.0), (5, 2.0)]), &["at least 1"]);
    says(extrapolate(&[(1, f64::NAN), (5, 2.0)]), &["finite"]);
}

#[test]
fn what_is_no_distance_matrix_is_refused() {
    says(
        mean_pairwise_distance(array![[0.0]].view()),
        &["at least 2"],
    );
    says(
        mean_pairwise_distance(array![[0.0, 1.0], [2.0, 0.0]].view()),
        &["(0, 1)", "symmetric"],
    );
    says(
        mean_pairwise_distance(array![[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]].view()),
        &["[2, 3]"],
    );
    says(
        mean_pairwise_distance(array![[0.0, -1.0], [-1.0, 0.0]].view()),
        &["-1"],
    );
    says(
        mean_pairwise_distance(array![[1.0, 1.0], [1.0, 0.0]].view()),
        &["(0, 0)"],
    );
    assert_eq!(
        mean_pairwise_distance(array![[0.0, 3.0], [3.0, 0.0]].view()).expect("a pair"),
        3.0
    );
}
