//! Neighbours, and the shares built on them, against brute force and under swaps, copies and scalings.

use ndarray::{Array2, ArrayView1, Axis, concatenate};
use proptest::prelude::*;
use sadm_reference::metrics::{Ball, Prdc, nearest, neighbour_radii, prdc, prdc_samples};

use crate::support::{sets, shuffled};

fn squared(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    (&a - &b).iter().map(|e| e * e).sum()
}

fn of(real: &Array2<f64>, generated: &Array2<f64>, k: usize, ball: Ball) -> Prdc {
    prdc(real.view(), generated.view(), k, ball).expect("two sets")
}

/// Two sets and a k that both allow.
fn cases() -> impl Strategy<Value = (Array2<f64>, Array2<f64>, usize)> {
    sets().prop_flat_map(|[a, b]: [Array2<f64>; 2]| {
        let most = a.nrows().min(b.nrows()) - 1;
        (Just(a), Just(b), 1..=most)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Squared distances of at most five terms are formed in one order here and there: equal to the bit.
    #[test]
    fn radii_are_those_of_a_sort((a, _, k) in cases()) {
        let got = neighbour_radii("a", a.view(), k).expect("a set");
        for (i, got) in got.into_iter().enumerate() {
            let others = (0..a.nrows()).filter(|j| *j != i);
            let mut distances: Vec<f64> = others.map(|j| squared(a.row(i), a.row(j))).collect();
            distances.sort_by(f64::total_cmp);
            prop_assert_eq!(got, distances[k - 1]);
        }
    }

    #[test]
    fn the_nearest_is_the_first_of_the_least([a, b] in sets()) {
        for (i, found) in nearest(a.view(), b.view()).expect("two sets").into_iter().enumerate() {
            let mut all: Vec<(f64, usize)> =
                (0..b.nrows()).map(|j| (squared(a.row(i), b.row(j)), j)).collect();
            all.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
            prop_assert_eq!(found.index, all[0].1);
            prop_assert_eq!(found.distance, all[0].0.sqrt());
            prop_assert_eq!(found.second, all[1].0.sqrt());
            prop_assert!((0.0..=1.0).contains(&found.ratio()));
        }
    }

    #[test]
    fn a_swap_of_the_sets_swaps_precision_and_recall((a, b, k) in cases()) {
        for ball in [Ball::Closed, Ball::Open] {
            let (one, other) = (of(&a, &b, k, ball), of(&b, &a, k, ball));
            prop_assert_eq!(one.precision, other.recall);
            prop_assert_eq!(one.recall, other.precision);
        }
    }

    #[test]
    fn a_set_holds_itself((a, _, _) in cases()) {
        let closed = of(&a, &a, 1, Ball::Closed);
        prop_assert_eq!((closed.precision, closed.recall), (1.0, 1.0));
    }

    /// Every ball of distinct points holds its centre: open ones too.
    #[test]
    fn distinct_points_cover_themselves(n in 2..=9usize, k in 1..=1usize) {
        let line = Array2::from_shape_fn((n, 1), |(i, _)| (i * i) as f64);
        let open = of(&line, &line, k, Ball::Open);
        prop_assert_eq!((open.precision, open.recall, open.coverage), (1.0, 1.0, 1.0));
    }

    #[test]
    fn order_and_powers_of_two_leave_them((a, b, k) in cases(), seed in any::<u64>(), power in -3i32..=3) {
        let s = f64::from(power).exp2();
        let moved = of(&(shuffled(&a, seed) * s), &(shuffled(&b, seed) * s), k, Ball::Closed);
        prop_assert_eq!(of(&a, &b, k, Ball::Closed), moved);
    }

    #[test]
    fn closed_balls_and_more_neighbours_hold_more((a, b, k) in cases()) {
        let (closed, open) = (of(&a, &b, k, Ball::Closed), of(&a, &b, k, Ball::Open));
        prop_assert!(closed.precision >= open.precision && closed.recall >= open.recall);
        prop_assert_eq!((closed.density, closed.coverage), (open.density, open.coverage));
        let fewer = of(&a, &b, 1, Ball::Closed);
        prop_assert!(closed.precision >= fewer.precision && closed.recall >= fewer.recall);
        prop_assert!(closed.coverage >= fewer.coverage);
    }

    /// Both count the pairs of a ball and a sample: that a sample has a holder is open precision, that a ball holds is
    /// coverage.
    #[test]
    fn samples_and_balls_count_the_same_pairs((a, b, k) in cases()) {
        let samples = prdc_samples(a.view(), b.view(), k, Ball::Open).expect("two sets");
        for (held, holders) in samples.precise.iter().zip(&samples.holders) {
            prop_assert_eq!(*held, *holders > 0);
        }
        let (any_held, any_ball) = (samples.precise.contains(&true), samples.covered.contains(&true));
        prop_assert_eq!(any_held, any_ball);
        prop_assert_eq!(samples.precise.len(), b.nrows());
        prop_assert_eq!(samples.covered.len(), a.nrows());
    }

    /// More real samples than one CPU's share, in more columns than one block of the distance: still brute force.
    #[test]
    fn wide_rows_are_compared_in_full(seed in 0u64..64, n in 2..=4usize) {
        let wide = |salt: usize| Array2::from_shape_fn((n, 21), |(i, j)| {
            (((i * 31 + j * 17 + salt) as u64 + seed * 7) % 13) as f64
        });
        let (a, b) = (wide(1), wide(5));
        for (i, found) in nearest(a.view(), b.view()).expect("two sets").into_iter().enumerate() {
            let least = b.rows().into_iter().map(|r| squared(a.row(i), r)).fold(f64::INFINITY, f64::min);
            prop_assert_eq!(found.distance, least.sqrt());
        }
    }
}

#[test]
fn a_transposed_view_is_read_by_its_rows() {
    let a = ndarray::array![[0.0, 3.0, 10.0], [0.0, 4.0, 0.0]];
    let radii = neighbour_radii("a", a.t(), 1).expect("three rows");
    assert_eq!(radii, [25.0, 25.0, 65.0]);
}

#[test]
fn a_copy_of_a_training_sample_has_ratio_zero() {
    let training = ndarray::array![[0.0, 0.0], [3.0, 4.0]];
    let queries = concatenate![
        Axis(0),
        training.row(1).insert_axis(Axis(0)),
        ndarray::array![[0.0, 1.0]]
    ];
    let found = nearest(queries.view(), training.view()).expect("two sets");
    assert_eq!(
        (found[0].index, found[0].distance, found[0].ratio()),
        (1, 0.0, 0.0)
    );
    assert_eq!((found[1].index, found[1].distance), (0, 1.0));
    assert_eq!(found[1].second, 18.0_f64.sqrt());
}
