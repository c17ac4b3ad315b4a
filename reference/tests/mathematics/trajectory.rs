//! Straightness of paths: worked examples, what leaves it unchanged, what does not.

use ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use sadm_reference::trajectory::{PathError, Straightness, straightness};

use crate::support::assert_close;

fn of(points: &Array2<f64>, times: &Array1<f64>) -> Straightness {
    straightness(points.view(), times.view()).expect("a path")
}

#[test]
fn a_right_angle_by_hand() {
    // Legs 3 and 4 in times 1 and 2: C = 5, L = 7, V = 3 (9/1 + 16/2)/25 − 1 = 26/25.
    let points = array![[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]];
    let got = of(&points, &array![5.0, 6.0, 8.0]);
    assert_eq!((got.chord, got.arc), (5.0, 7.0));
    assert_close(got.deviation, 26.0 / 25.0, 8.0);
    assert_close(got.curvature(), 2.0 / 7.0, 4.0);
    assert_close(got.straightness(), 5.0 / 7.0, 4.0);
    // Downwards in time as well.
    assert_eq!(of(&points, &array![-5.0, -6.0, -8.0]), got);
}

#[test]
fn a_half_circle_tends_to_its_known_curvature() {
    // Of K equal chords: L = 2K sin(π/2K), C = 2; the curve itself has 1 − 2/π.
    for k in [1_usize, 2, 3, 64] {
        let angle = |i: usize| std::f64::consts::PI * i as f64 / k as f64;
        let points = Array2::from_shape_fn((k + 1, 2), |(i, j)| {
            if j == 0 {
                angle(i).cos()
            } else {
                angle(i).sin()
            }
        });
        let times = Array1::from_iter((0..=k).map(|i| i as f64));
        let got = of(&points, &times);
        let half = std::f64::consts::FRAC_PI_2 / k as f64;
        assert_close(got.arc, 2.0 * k as f64 * half.sin(), 16.0);
        // Constant speed: V = (L/C)² − 1.
        let square = (got.arc / got.chord).powi(2) - 1.0;
        assert!((got.deviation - square).abs() < 1e-14, "{got:?}");
        let curve = 1.0 - 2.0 / std::f64::consts::PI;
        // The polygon is below the curve by a relative (π/2K)²/6 of its length.
        assert!(got.curvature() <= curve && curve - got.curvature() < half * half);
    }
}

#[test]
fn bad_paths_are_refused_with_their_place() {
    let refused = |points: Array2<f64>, times: Array1<f64>| {
        straightness(points.view(), times.view()).expect_err("a bad path")
    };
    let two = array![[0.0], [1.0]];
    assert_eq!(
        refused(array![[0.0]], array![0.0]),
        PathError::TooShort { got: 1 }
    );
    assert_eq!(
        refused(two.clone(), array![0.0]),
        PathError::Times {
            points: 2,
            times: 1
        }
    );
    for times in [
        array![0.0, 1.0, 1.0],
        array![0.0, 1.0, 0.5],
        array![1.0, 0.0, 0.5],
        array![0.0, 1.0, f64::INFINITY],
    ] {
        let error = refused(array![[0.0], [1.0], [2.0]], times.clone());
        assert!(
            matches!(error, PathError::Order { index: 2, .. }),
            "{times}: {error}"
        );
    }
    assert!(matches!(
        refused(array![[0.0, 0.0], [1.0, f64::NAN]], array![0.0, 1.0]),
        PathError::NotFinite {
            index: 1,
            coordinate: 1,
            ..
        }
    ));
    assert_eq!(
        refused(array![[1.0], [2.0], [1.0]], array![0.0, 1.0, 2.0]),
        PathError::Closed
    );
}

/// Points `[K + 1, 3]` with ends apart, and times with steps in [1/4, 4).
fn path() -> impl Strategy<Value = (Array2<f64>, Array1<f64>)> {
    (2..=6_usize).prop_flat_map(|k| {
        let points = prop::collection::vec(-4.0..4.0f64, 3 * (k + 1));
        let steps = prop::collection::vec(0.25..4.0f64, k);
        (points, steps).prop_map(move |(points, steps)| {
            let mut points = Array2::from_shape_vec((k + 1, 3), points).expect("as many");
            points[[k, 0]] = 8.0;
            let mut times = vec![1.0];
            for step in steps {
                times.push(times[times.len() - 1] + step);
            }
            (points, Array1::from(times))
        })
    })
}

/// The rotation by `angle` in the plane of two axes, then in that of another two.
fn rotated(points: &Array2<f64>, angle: f64, other: f64) -> Array2<f64> {
    let ((s, c), (s2, c2)) = (angle.sin_cos(), other.sin_cos());
    let first = array![[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]];
    let second = array![[1.0, 0.0, 0.0], [0.0, c2, -s2], [0.0, s2, c2]];
    points.dot(&first).dot(&second)
}

fn near(got: f64, want: f64) -> bool {
    // Sums of at most 7 squares of 3 coordinates, over a chord of at least 4 of a diameter of at most 16.
    (got - want).abs() <= 1e-12 * (1.0 + want.abs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_straight_line_is_straight_whatever_its_clock((points, times) in path()) {
        let (from, to) = (points.row(0), points.row(points.nrows() - 1));
        let (begin, end) = (times[0], times[times.len() - 1]);
        let line = |clock: fn(f64) -> f64| Array2::from_shape_fn(points.dim(), |(k, j)| {
            let share = clock((times[k] - begin) / (end - begin));
            from[j] + share * (to[j] - from[j])
        });
        let steady = of(&line(|s| s), &times);
        prop_assert!(steady.curvature() <= 1e-14, "{steady:?}");
        prop_assert!(steady.deviation <= 1e-13, "{steady:?}");
        // Another clock on the same line: still straight, no longer at constant speed.
        let hurried = of(&line(|s| s * s), &times);
        prop_assert!(hurried.curvature() <= 1e-14, "{hurried:?}");
        prop_assert!(hurried.deviation > 1e-4, "{hurried:?}");
    }

    #[test]
    fn rotation_translation_and_scale_change_nothing((points, times) in path(), angle in 0.0..6.3f64, other in 0.0..6.3f64, scale in 0.1..10.0f64) {
        let here = of(&points, &times);
        let there = of(&(&(rotated(&points, angle, other) * scale) + &array![1.0, -2.0, 0.5]), &times);
        prop_assert!(near(there.curvature(), here.curvature()), "{here:?} {there:?}");
        prop_assert!(near(there.deviation, here.deviation), "{here:?} {there:?}");
        prop_assert!(near(there.arc, here.arc * scale), "{here:?} {there:?}");
    }

    /// Curvature does not know the clock; V knows it up to a linear change.
    #[test]
    fn another_clock((points, times) in path(), rate in 0.1..10.0f64) {
        let here = of(&points, &times);
        let curved = of(&points, &times.mapv(|t| t * t));
        prop_assert_eq!((curved.chord, curved.arc), (here.chord, here.arc));
        let linear = of(&points, &times.mapv(|t| 3.0 - rate * t));
        prop_assert!(near(linear.deviation, here.deviation), "{here:?} {linear:?}");
        prop_assert!((curved.deviation - here.deviation).abs() > 1e-9, "V must change with the clock");
    }

    #[test]
    fn deviation_is_at_least_that_of_constant_speed((points, times) in path()) {
        let got = of(&points, &times);
        let constant = (got.arc / got.chord).powi(2) - 1.0;
        prop_assert!(got.deviation >= constant - 1e-12 * (1.0 + constant), "{got:?}");
        // The clock that runs with the arc attains it.
        let mut clock = vec![0.0];
        for k in 1..points.nrows() {
            let step = (&points.row(k) - &points.row(k - 1)).mapv(|x| x * x).sum().sqrt();
            clock.push(clock[k - 1] + step);
        }
        let steady = of(&points, &Array1::from(clock));
        prop_assert!(near(steady.deviation, constant), "{steady:?}");
    }

    /// Points between change the arc, never the chord, and a finer polygon is never shorter.
    #[test]
    fn leaving_out_a_point_shortens((points, times) in path()) {
        let keep: Vec<usize> = (0..points.nrows()).filter(|&k| k != 1).collect();
        let (whole, less) = (of(&points, &times), of(&points.select(ndarray::Axis(0), &keep), &times.select(ndarray::Axis(0), &keep)));
        prop_assert_eq!(whole.chord, less.chord);
        prop_assert!(less.arc <= whole.arc * (1.0 + 1e-14) && less.deviation <= whole.deviation + 1e-12 * (1.0 + whole.deviation));
    }
}
