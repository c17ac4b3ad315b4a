//! Layers of frozen networks: laws that pin them, worked examples, refusals.

use crate::draw::array;
use ndarray::{Array4, ArrayD, Axis, array as arr};
use proptest::prelude::*;
use sadm_reference::nn::{
    Conv2dOptions, Interpolation, NnError, avg_pool, batch_norm, interpolate, max_pool,
};

const FITS: &str = "the shapes were drawn to fit";
const RULES: [Interpolation; 3] = [
    Interpolation::Centres,
    Interpolation::Corners,
    Interpolation::Bicubic,
];
/// Sums of at most 36 products of numbers below 4, with weights that err by some units: far below the least grid step, 1/64.
const ROUNDING: f64 = 1e-12;

fn image() -> impl Strategy<Value = ArrayD<f64>> {
    (1usize..=2, 1usize..=2, 1usize..=6, 1usize..=6)
        .prop_flat_map(|(b, c, h, w)| array(&[b, c, h, w]))
}

fn window() -> impl Strategy<Value = Conv2dOptions> {
    (1usize..=2, 0usize..=1).prop_map(|(stride, padding)| Conv2dOptions { stride, padding })
}

/// Images of at least three pixels a side.
fn wide_image() -> impl Strategy<Value = ArrayD<f64>> {
    (1usize..=2, 1usize..=2, 3usize..=6, 3usize..=6)
        .prop_flat_map(|(b, c, h, w)| array(&[b, c, h, w]))
}

fn furthest(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    assert_eq!(a.shape(), b.shape(), "shapes");
    let distances = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // NaN stays.
    distances.fold(0.0, |m, d| if d <= m { m } else { d })
}

fn flipped(x: &ArrayD<f64>) -> ArrayD<f64> {
    let mut x = x.clone();
    x.invert_axis(Axis(3));
    x.as_standard_layout().into_owned()
}

/// `k` in column k.
fn ramp(width: usize) -> ArrayD<f64> {
    Array4::from_shape_fn((1, 1, 1, width), |(_, _, _, k)| k as f64).into_dyn()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes, weights sum to 1: a constant image stays what it is.
    #[test]
    fn constants_survive_every_resizing(x in image(), to in (1usize..=9, 1usize..=9), c in -3i32..=3) {
        let flat = x.mapv(|_| f64::from(c));
        for rule in RULES {
            let y = interpolate(&flat, rule, to).expect(FITS);
            prop_assert!(y.iter().all(|y| (y - f64::from(c)).abs() <= ROUNDING), "{rule:?}: {y}");
        }
        let around = Conv2dOptions { stride: 1, padding: 1 };
        if x.shape()[2] >= 3 && x.shape()[3] >= 3 {
            prop_assert_eq!(&avg_pool(&flat, 3, around).expect(FITS), &flat);
        }
    }

    #[test]
    fn the_same_size_is_the_same_image(x in image()) {
        let to = (x.shape()[2], x.shape()[3]);
        for rule in RULES {
            prop_assert!(furthest(&interpolate(&x, rule, to).expect(FITS), &x) <= ROUNDING, "{rule:?}");
        }
    }

    /// Left and right are alike, except between corners, where the grid hangs to the upper left.
    #[test]
    fn mirrors_commute_with_centred_rules(x in image(), to in (1usize..=9, 1usize..=9)) {
        for rule in [Interpolation::Centres, Interpolation::Bicubic] {
            let (a, b) = (interpolate(&flipped(&x), rule, to), interpolate(&x, rule, to));
            prop_assert!(furthest(&a.expect(FITS), &flipped(&b.expect(FITS))) <= ROUNDING, "{rule:?}");
        }
    }

    /// A ramp's value is the position that was read: where each rule looks.
    #[test]
    fn ramps_say_where_a_rule_looks(from in 1usize..=9, to in 1usize..=20) {
        let (r, last) = (from as f64 / to as f64, from as f64 - 1.0);
        for (rule, at) in [
            (Interpolation::Centres, &(|i: f64| ((i + 0.5) * r - 0.5).clamp(0.0, last)) as &dyn Fn(f64) -> f64),
            (Interpolation::Corners, &|i: f64| (i * r).min(last)),
        ] {
            let y = interpolate(&ramp(from), rule, (1, to)).expect(FITS);
            for (i, y) in y.iter().enumerate() {
                prop_assert!((y - at(i as f64)).abs() <= ROUNDING, "{rule:?} at {i}: {y}");
            }
        }
        // Keys's kernel is exact on ramps where none of it is cut off.
        let y = interpolate(&ramp(from), Interpolation::Bicubic, (1, to)).expect(FITS);
        for (i, y) in y.iter().enumerate() {
            let centre = (i as f64 + 0.5) * r;
            if r <= 1.0 && centre >= 1.5 && centre <= from as f64 - 1.5 {
                prop_assert!((y - (centre - 0.5)).abs() <= ROUNDING, "bicubic at {i}: {y}");
            }
        }
    }

    #[test]
    fn a_mean_lies_between_the_least_and_the_greatest(x in wide_image(), options in window()) {
        let most = max_pool(&x, 3, options).expect(FITS);
        let least = max_pool(&-&x, 3, options).expect(FITS);
        let mean = avg_pool(&x, 3, options).expect(FITS);
        for ((most, least), mean) in most.iter().zip(&least).zip(&mean) {
            prop_assert!(-least <= mean + ROUNDING && mean - ROUNDING <= *most);
        }
        prop_assert!(most.iter().all(|y| x.iter().any(|x| (x - y).abs() == 0.0)), "a maximum is a pixel");
        if options.stride == 1 && options.padding == 1 {
            prop_assert!(most.iter().zip(&x).all(|(y, x)| y >= x), "each window has its pixel");
        }
    }

    /// Normalised by its own statistics, a channel has mean β and variance γ² v/(v + ε).
    #[test]
    fn own_statistics_standardise(x in array(&[2, 2, 3, 3]), gamma in array(&[2]), beta in array(&[2])) {
        let eps = 1e-3;
        let moments = |x: &ArrayD<f64>| {
            let channel = |c: usize| x.index_axis(Axis(1), c).to_owned();
            let mean = |c: usize| channel(c).mean().expect("pixels");
            let spread = |c: usize| channel(c).mapv(|v| (v - mean(c)).powi(2)).mean().expect("pixels");
            (arr![mean(0), mean(1)].into_dyn(), arr![spread(0), spread(1)].into_dyn())
        };
        let (mean, variance) = moments(&x);
        let y = batch_norm(&x, [&gamma, &beta], [&mean, &variance], eps).expect(FITS);
        let (new_mean, new_variance) = moments(&y);
        let want = &gamma * &gamma * &variance / (&variance + eps);
        // Divided by √ε at worst: 1/0.03, squared in the variance.
        prop_assert!(furthest(&new_mean, &beta) <= 1e-10, "{new_mean} {beta}");
        prop_assert!(furthest(&new_variance, &want) <= 1e-10, "{new_variance} {want}");
    }
}

#[test]
fn corners_hang_to_the_upper_left() {
    let x = arr![[[[0.0, 1.0]]]].into_dyn();
    let y = |rule, x: &ArrayD<f64>| interpolate(x, rule, (1, 4)).expect(FITS);
    assert_eq!(
        y(Interpolation::Corners, &x),
        arr![[[[0.0, 0.5, 1.0, 1.0]]]].into_dyn()
    );
    assert_eq!(
        y(Interpolation::Centres, &x),
        arr![[[[0.0, 0.25, 0.75, 1.0]]]].into_dyn()
    );
    assert_ne!(
        y(Interpolation::Corners, &flipped(&x)),
        flipped(&y(Interpolation::Corners, &x))
    );
}

#[test]
fn the_edge_has_fewer_pixels() {
    let x = arr![[[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]]]].into_dyn();
    let around = Conv2dOptions {
        stride: 1,
        padding: 1,
    };
    let mean = avg_pool(&x, 3, around).expect(FITS);
    assert!((mean[[0, 0, 0, 0]] - 27.0 / 4.0).abs() < 1e-15, "{mean}");
    assert!((mean[[0, 0, 0, 1]] - 63.0 / 6.0).abs() < 1e-15, "{mean}");
    assert!((mean[[0, 0, 1, 1]] - 511.0 / 9.0).abs() < 1e-13, "{mean}");
    let most = max_pool(&-x, 3, around).expect(FITS);
    assert!(
        (most[[0, 0, 2, 2]] + 16.0).abs() == 0.0,
        "no zero of the padding"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = ArrayD::zeros(vec![1, 2, 2, 2]);
    let one = ArrayD::ones(vec![1]);
    let two = ArrayD::ones(vec![2]);
    let message = |e: Result<ArrayD<f64>, NnError>| e.expect_err("it does not fit").to_string();
    let wrong = batch_norm(&x, [&two, &two], [&one, &two], 1e-3);
    assert!(message(wrong).contains("mean must have shape [2]"));
    let plain = Conv2dOptions {
        stride: 1,
        padding: 0,
    };
    assert!(message(max_pool(&x, 3, plain)).contains("window side"));
    let wide = Conv2dOptions {
        stride: 1,
        padding: 3,
    };
    assert!(message(avg_pool(&x, 3, wide)).contains("padding"));
    assert!(message(interpolate(&x, Interpolation::Corners, (0, 1))).contains("image side"));
}
