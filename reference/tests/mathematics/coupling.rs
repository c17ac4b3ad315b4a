//! Costs and assignments: against every permutation where there are few, by their certificate where there are many.

use ndarray::{Array2, array, s};
use proptest::prelude::*;
use sadm_reference::coupling::{Assignment, Cost, CouplingError, assign, costs, rounding, total};
use serde_json::Value;

use crate::support::{U, matrix};

/// Every permutation of 0..N that keeps to the classes, with its cost.
fn least(costs: &Array2<f64>, classes: Option<&[u32]>) -> f64 {
    fn extend(
        costs: &Array2<f64>,
        classes: Option<&[u32]>,
        taken: &mut Vec<usize>,
        so_far: f64,
    ) -> f64 {
        let image = taken.len();
        if image == costs.nrows() {
            return so_far;
        }
        let mut best = f64::INFINITY;
        for noise in 0..costs.ncols() {
            if !taken.contains(&noise) && classes.is_none_or(|c| c[image] == c[noise]) {
                taken.push(noise);
                best = best.min(extend(
                    costs,
                    classes,
                    taken,
                    so_far + costs[[image, noise]],
                ));
                taken.pop();
            }
        }
        best
    }
    extend(costs, classes, &mut Vec::new(), 0.0)
}

/// A permutation inside the classes, with u + v ≤ c but for one rounding of each term, and tight on it but for the way's.
fn assert_certified(costs: &Array2<f64>, classes: Option<&[u32]>, best: &Assignment) {
    let again = total(costs, &best.permutation).expect("a permutation");
    assert_eq!(again, best.total);
    if let Some(classes) = classes {
        assert!((best.permutation.iter().enumerate()).all(|(i, &j)| classes[i] == classes[j]));
    }
    let largest = costs.iter().fold(0.0_f64, |m, c| m.max(c.abs()));
    let violation = best.violation(costs, classes);
    assert!(
        violation <= 8.0 * U * largest,
        "u + v exceeds c by {violation:e}"
    );
    let slack = best.slack(costs, &best.permutation);
    let worst = slack.into_iter().fold(0.0, f64::max);
    assert!(
        worst <= rounding(costs),
        "{worst:e} above {:e}",
        rounding(costs)
    );
}

/// Whole numbers, whose sums are exact.
fn whole(n: usize) -> impl Strategy<Value = Array2<f64>> {
    prop::collection::vec(-9i32..=9, n * n)
        .prop_map(move |v| Array2::from_shape_fn((n, n), |(i, j)| f64::from(v[i * n + j])))
}

fn with_classes(n: usize) -> impl Strategy<Value = Option<Vec<u32>>> {
    prop::option::of(prop::collection::vec(0..3u32, n))
}

proptest! {
    #[test]
    fn few_images_get_the_best_of_all_permutations(
        (c, classes) in (1..=7usize).prop_flat_map(|n| (whole(n), with_classes(n)))
    ) {
        let classes = classes.as_deref();
        let best = assign(&c, classes).expect("it has a solution");
        prop_assert_eq!(best.total, least(&c, classes));
        prop_assert!(best.violation(&c, classes) <= 0.0);
        prop_assert!(best.slack(&c, &best.permutation).iter().all(|s| *s == 0.0));
        // Complementary slackness: what the potentials promise is what is paid.
        let promised: f64 = best.dual_images.iter().chain(&best.dual_noise).sum();
        prop_assert_eq!(promised, best.total);
    }

    #[test]
    fn real_costs_are_certified(
        (x, eps, classes) in (1..=12usize, 1..=20usize)
            .prop_flat_map(|(n, d)| (matrix(n, d), matrix(n, d), with_classes(n))),
        cost in prop::sample::select(&Cost::ALL[..]),
    ) {
        let c = costs(x.view(), eps.view(), cost).expect("finite costs");
        let best = assign(&c, classes.as_deref()).expect("it has a solution");
        assert_certified(&c, classes.as_deref(), &best);
    }

    #[test]
    fn a_cost_is_a_distance_in_any_layout(
        (x, eps) in (1..=5usize, 1..=20usize).prop_flat_map(|(n, d)| (matrix(n, d), matrix(n, d)))
    ) {
        let square = costs(x.view(), eps.view(), Cost::SquaredEuclidean).expect("finite");
        let root = costs(x.view(), eps.view(), Cost::Euclidean).expect("finite");
        let (x, eps) = (x.reversed_axes(), eps.reversed_axes());
        let columns = Array2::from_shape_vec(x.dim(), x.iter().copied().collect()).expect("a copy");
        let strided = costs(columns.t(), eps.t(), Cost::SquaredEuclidean).expect("finite");
        for ((at, &c), (&r, &other)) in square.indexed_iter().zip(root.iter().zip(&strided)) {
            let d = x.nrows() as f64;
            let want: f64 = (0..x.nrows()).map(|k| (x[[k, at.0]] - eps[[k, at.1]]).powi(2)).sum();
            prop_assert!((c - want).abs() <= 2.0 * (d + 2.0) * U * want, "{c} for {want}");
            prop_assert!((other - want).abs() <= 2.0 * (d + 2.0) * U * want, "{other} for {want}");
            prop_assert!((r * r - c).abs() <= 4.0 * U * c, "{r}² for {c}");
        }
    }
}

/// Numbers of the golden ratio's multiples modulo 1: as even as random ones, in any order.
fn spread(rows: usize, columns: usize, from: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let at = from + (i * columns + j) as f64;
        (at * 0.618_033_988_749_894_9 + at * at * 0.324_717_957_244_746).fract()
    })
}

#[test]
fn two_thousand_images_are_certified() {
    for (n, d) in [(100, 3), (512, 3), (2048, 24)] {
        let (x, eps) = (spread(n, d, 1.0), spread(n, d, 1e7));
        let c = costs(x.view(), eps.view(), Cost::Euclidean).expect("finite costs");
        let best = assign(&c, None).expect("it has a solution");
        assert_certified(&c, None, &best);
        let drawn = c.diag().sum();
        assert!(best.total < 0.9 * drawn, "{} of {drawn}", best.total);
    }
}

#[test]
fn published_assignments_of_real_images_are_found() {
    let suite: Value = serde_json::from_str(include_str!("../../../fixtures/assignment.json"))
        .expect("a JSON file");
    let number = |v: &Value| v.as_f64().expect("a number");
    let count = |v: &Value| usize::try_from(v.as_u64().expect("a count")).expect("a size");
    let tests = suite["tests"].as_array().expect("tests");
    assert_eq!(suite["numberOfTests"].as_u64(), Some(tests.len() as u64));
    for test in tests {
        let stored = &suite["costs"][test["input"]["costs"].as_str().expect("a name")];
        let data: Vec<f64> = stored["data"]
            .as_array()
            .expect("data")
            .iter()
            .map(number)
            .collect();
        let c = Array2::from_shape_vec((32, 32), data).expect("a matrix");
        let classes = test["input"]["classes"].as_array().map(|labels| {
            labels
                .iter()
                .map(|l| u32::try_from(count(l)).expect("a class"))
                .collect::<Vec<u32>>()
        });
        let best = assign(&c, classes.as_deref()).expect("it has a solution");
        let want = test["output"]["permutation"].as_array().expect("a list");
        let want: Vec<usize> = want.iter().map(count).collect();
        assert_eq!(best.permutation, want, "{}", test["comment"]);
        // A sum of 32 terms, there and here.
        let sum = number(&test["output"]["total"]);
        assert!(
            (best.total - sum).abs() <= 64.0 * U * sum,
            "{} for {sum}",
            best.total
        );
        assert_certified(&c, classes.as_deref(), &best);
    }
}

#[test]
fn the_two_costs_assign_differently() {
    // Erratum E13: straight on costs 2√(17/16) and 2.125, crossed 2 and 4.
    let x = array![[0.0, 0.0], [1.0, 0.25]];
    let eps = array![[1.0, 0.25], [2.0, 0.0]];
    let best = |cost| {
        let c = costs(x.view(), eps.view(), cost).expect("finite costs");
        assign(&c, None).expect("it has a solution")
    };
    assert_eq!(best(Cost::Euclidean).permutation, [1, 0]);
    assert_eq!(best(Cost::SquaredEuclidean).permutation, [0, 1]);
    assert_eq!(best(Cost::SquaredEuclidean).total, 2.125);
}

#[test]
fn a_worse_matching_or_worse_potentials_are_not_certified() {
    let c = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
    let best = assign(&c, None).expect("it has a solution");
    let greedy = [2, 1, 0]; // the cheapest pair first, then the cheapest of the rest
    let slack: f64 = best.slack(&c, &greedy).iter().sum();
    assert_eq!(
        slack,
        total(&c, &greedy).expect("a permutation") - best.total
    );
    assert!(slack > 0.5, "{slack}");
    let mut shifted = best.clone();
    shifted.dual_noise[0] += 0.5;
    assert!(shifted.violation(&c, None) >= 0.5);
    assert!(best.violation(&c, None) <= 0.0);
}

#[test]
fn the_only_image_of_a_class_keeps_its_noise() {
    let c = array![[5.0, 0.0, 0.0], [0.0, 5.0, 1.0], [0.0, 1.0, 5.0]];
    let best = assign(&c, Some(&[4, 2, 2])).expect("it has a solution");
    assert_eq!((best.permutation, best.total), (vec![0, 2, 1], 7.0));
}

#[test]
fn refusals_say_what_was_got() {
    let c = array![[1.0, 2.0], [3.0, 4.0]];
    let said = |refused: CouplingError| refused.to_string();
    let wide = said(assign(&Array2::zeros((2, 3)), None).expect_err("not square"));
    assert!(wide.contains("[N, N]") && wide.contains("[2, 3]"), "{wide}");
    assert!(said(assign(&Array2::zeros((0, 0)), None).expect_err("empty")).contains("[0, 0]"));
    let infinite = array![[1.0, f64::INFINITY], [0.0, 0.0]];
    let infinite = said(assign(&infinite, None).expect_err("infinite"));
    assert!(
        infinite.contains("cost [0, 1]") && infinite.contains("inf"),
        "{infinite}"
    );
    let classes = said(assign(&c, Some(&[1])).expect_err("one class"));
    assert!(classes.contains("2 images, got 1"), "{classes}");
    for (wrong, part) in [
        (vec![0, 0], "got 0 at 1"),
        (vec![0, 2], "got 2 at 1"),
        (vec![1], "got 1 at 1"),
    ] {
        let refused = said(total(&c, &wrong).expect_err("no permutation"));
        assert!(refused.contains(part), "{refused}");
    }
    let (x, nan) = (array![[1.0, 2.0]], array![[1.0, f64::NAN]]);
    let of = |x: &Array2<f64>, eps: &Array2<f64>| {
        said(costs(x.view(), eps.view(), Cost::SquaredEuclidean).expect_err("refused"))
    };
    assert!(of(&nan, &x).contains("images [0, 1]"));
    assert!(of(&x, &nan).contains("noise [0, 1]"));
    assert!(of(&(&x * 1e200), &(&x * -1e200)).contains("cost [0, 0]"));
    assert!(of(&x, &x.slice(s![.., ..1]).to_owned()).contains("[1, 1]"));
    assert!(of(&Array2::zeros((0, 2)), &Array2::zeros((0, 2))).contains("[0, 2]"));
    assert!(
        "manhattan"
            .parse::<Cost>()
            .expect_err("unknown")
            .to_string()
            .contains("euclidean")
    );
}
