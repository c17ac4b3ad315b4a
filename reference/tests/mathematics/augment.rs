//! Augmentation: its filter, its map, its labels, and what must hold of images whatever was drawn.

use ndarray::{Array3, ArrayD, Axis, IxDyn, array};
use proptest::prelude::*;
use sadm_reference::augment::{
    AugmentError, Augmentation, Pipe, SYM6, Transform, margins, reflected, resample,
};
use sadm_reference::bound::{self, Precision};

use crate::support::number;

/// Unit roundoff of the taps.
const TAP: f64 = 1.0 / (1_u32 << 24) as f64;

fn taps() -> [f64; 12] {
    SYM6.map(f64::from)
}

/// Σ_t h_t h_{t+2k}.
fn correlation(k: usize) -> [f64; 2] {
    let h = taps();
    let pairs = h.iter().zip(&h[2 * k..]);
    [
        pairs.clone().map(|(a, b)| a * b).sum(),
        pairs.map(|(a, b)| (a * b).abs()).sum(),
    ]
}

/// The three laws of its definition up to the rounding of the taps: each errs by 2⁻²⁴ of itself, a product by twice that.
#[test]
fn the_filter_is_orthogonal_and_has_six_vanishing_moments() {
    for k in 0..6 {
        let [sum, size] = correlation(k);
        let want = if k == 0 { 1.0 } else { 0.0 };
        assert!((sum - want).abs() <= 2.1 * TAP * size, "{k}: {sum}");
    }
    for m in 0..6 {
        let term = |(t, h): (usize, f64)| {
            let sign = if t % 2 == 0 { 1.0 } else { -1.0 };
            sign * (t as f64).powi(m) * h
        };
        let terms = || taps().into_iter().enumerate().map(term);
        let (sum, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
        assert!(sum.abs() <= 1.1 * TAP * size, "moment {m}: {sum}");
    }
    let (sum, size) = (
        taps().iter().sum::<f64>(),
        taps().iter().map(|h| h.abs()).sum::<f64>(),
    );
    assert!((sum - 2f64.sqrt()).abs() <= 1.1 * TAP * size, "{sum}");
}

/// What a round trip through twice the resolution may change in an image of size 1: the rows of D U − 1 in each of two directions.
fn round_trip() -> f64 {
    let of = |k: usize| {
        let [sum, _] = correlation(k);
        if k == 0 {
            (sum - 1.0).abs()
        } else {
            2.0 * sum.abs()
        }
    };
    let row: f64 = (0..6).map(of).sum();
    (1.0 + row).powi(2) - 1.0 + 1e-14
}

fn of_sides(sides: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Array3<f64>> {
    (1..=2_usize, sides.clone(), sides).prop_flat_map(|(c, h, w)| {
        prop::collection::vec(number(), c * h * w)
            .prop_map(move |v| Array3::from_shape_vec((c, h, w), v).expect("c · h · w numbers"))
    })
}

fn image() -> impl Strategy<Value = Array3<f64>> {
    of_sides(1..=7)
}

/// At least as large as the margins of a map that changes nothing: of a smaller one less is reflected than the filters reach.
fn large() -> impl Strategy<Value = Array3<f64>> {
    of_sides(7..=10)
}

fn small() -> impl Strategy<Value = f64> {
    (-192..=192_i32).prop_map(|k| f64::from(k) / 64.0)
}

/// Parts of a whole turn, as half turns.
fn half_turns() -> impl Strategy<Value = f64> {
    (-64..64_i32).prop_map(|k| f64::from(k) / 64.0)
}

fn augmentation() -> impl Strategy<Value = Augmentation> {
    (
        (any::<bool>(), any::<bool>(), -64..=64_i32, -64..=64_i32),
        (small(), half_turns(), small(), half_turns()),
        (small(), small()),
    )
        .prop_map(
            |((xflip, yflip, x, y), (scale, rotation, aniso, axis), translation)| Augmentation {
                xflip,
                yflip,
                turns: 0,
                shift: [x, y].map(|k| f64::from(k) / 64.0),
                scale,
                rotation,
                aniso,
                axis,
                translation: [translation.0, translation.1],
            },
        )
}

fn size(x: &Array3<f64>) -> [usize; 2] {
    [x.dim().1, x.dim().2]
}

fn largest<'a>(x: impl IntoIterator<Item = &'a f64>) -> f64 {
    x.into_iter().fold(0.0, |m, x| m.max(x.abs()))
}

fn batch(x: &Array3<f64>) -> ArrayD<f64> {
    x.clone().insert_axis(Axis(0)).into_dyn()
}

fn all() -> Pipe {
    let eight = Transform::ALL
        .into_iter()
        .filter(|t| *t != Transform::RotateInt);
    Pipe::new(eight.map(|t| (t, 1.0))).expect("probabilities")
}

proptest! {
    /// Up to the rounding of the taps.
    #[test]
    fn what_is_left_as_it_was_comes_back(x in large()) {
        let identity = Augmentation::default().inverse_matrix(size(&x));
        prop_assert_eq!(&identity, &ndarray::Array2::<f64>::eye(3));
        let margins = margins(std::slice::from_ref(&identity), size(&x));
        let y = resample(&x, &identity, margins);
        let apart = largest(&(&y - &x));
        prop_assert_eq!(margins, [6; 4]);
        prop_assert!(apart <= round_trip() * largest(&x), "{}", apart);
    }

    /// A shift by whole pixels moves the pixels that come from inside, right and down for positive numbers.
    #[test]
    fn a_shift_by_whole_pixels_moves_pixels(right in -3..=3_isize, below in -3..=3_isize, seed in prop::collection::vec(number(), 144)) {
        let x = Array3::from_shape_vec((1, 12, 12), seed).expect("144 numbers");
        // An eighth of twelve pixels is one and a half.
        let one = Augmentation { translation: [right, below].map(|n| n as f64 / 1.5), ..Augmentation::default() };
        let matrix = one.inverse_matrix([12, 12]);
        let margins = margins(std::slice::from_ref(&matrix), [12, 12]);
        let y = resample(&x, &matrix, margins);
        let allowed = round_trip() * largest(&x) + 1e-12;
        for ((_, i, j), got) in y.indexed_iter() {
            let [row, column] = [i.cast_signed() - below, j.cast_signed() - right];
            let want = x[[0, reflected(row, 12), reflected(column, 12)]];
            prop_assert!((got - want).abs() <= allowed, "{i} {j}: {got}, not {want}");
        }
    }

    #[test]
    fn augmentation_is_linear_in_images(x in image(), one in augmentation(), a in number(), b in number()) {
        let pipe = all();
        let y = x.mapv(|v| (3.0 * v).sin());
        let [of_x, of_y, of_both] = [&x, &y, &(&x * a + &y * b)].map(|x| {
            pipe.augment(&batch(x), &[one]).expect("an image")
        });
        let apart = largest(&(of_x * a + of_y * b - of_both));
        prop_assert!(apart <= 1e-11 * (1.0 + largest(&x)) * (1.0 + a.abs() + b.abs()), "{}", apart);
    }

    /// As long as no zero beyond the margins is seen a constant image stays one: both filters keep constants up to their taps.
    #[test]
    fn constants_stay(level in number(), rotation in half_turns(), scale in 0..=64_i32) {
        let x = Array3::from_elem((1, 16, 16), level);
        // Smaller sources than targets, so that margins suffice.
        let one = Augmentation { rotation, scale: 2.75 + f64::from(scale) / 64.0, ..Augmentation::default() };
        let y = Pipe::edm(1.0).expect("p").augment(&batch(&x), &[one]).expect("an image");
        let apart = largest(&(y - level));
        prop_assert!(apart <= 1e-6 * level.abs(), "{}", apart);
    }

    /// Areas change by the scale alone.
    #[test]
    fn the_map_has_the_determinant_of_its_scale(one in augmentation()) {
        let g = one.inverse_matrix([5, 9]);
        let determinant = g[[0, 0]] * g[[1, 1]] - g[[0, 1]] * g[[1, 0]];
        let want = (-0.4 * one.scale).exp2();
        prop_assert!((determinant - want).abs() <= 1e-13 * (want + 1.0) * (0.4 * one.aniso.abs()).exp2());
        prop_assert_eq!(g.row(2).to_vec(), vec![0.0, 0.0, 1.0]);
    }

    /// Six pixels beyond the furthest mapped corner, or all that there is.
    #[test]
    fn margins_reach_beyond_every_corner(several in prop::collection::vec(augmentation(), 1..4), h in 1..=9_usize, w in 1..=9_usize) {
        let matrices: Vec<_> = several.iter().map(|a| a.inverse_matrix([h, w])).collect();
        let [left, top, right, bottom] = margins(&matrices, [h, w]).map(|m| m as f64);
        let (x, y) = ((w as f64 - 1.0) / 2.0, (h as f64 - 1.0) / 2.0);
        let mut touched = false;
        for g in &matrices {
            for corner in [[-x, -y], [x, -y], [-x, y], [x, y]] {
                let at = g.dot(&array![corner[0], corner[1], 1.0]);
                let enough = |far: f64, margin: f64, half: f64, side: usize| {
                    far + 6.0 - half <= margin + 1e-9 || margin >= side as f64 - 1.0
                };
                prop_assert!(enough(-at[0], left, x, w) && enough(at[0], right, x, w));
                prop_assert!(enough(-at[1], top, y, h) && enough(at[1], bottom, y, h));
                touched |= at[0] + 6.0 - x > right - 1.0 - 1e-9 || right == 0.0;
            }
        }
        prop_assert!(touched, "a margin larger than needed by a pixel");
    }

    #[test]
    fn bounds_grow_with_the_precision_and_hold_their_own_centre(x in image(), one in augmentation()) {
        let pipe = all();
        let value = pipe.augment(&batch(&x), &[one]).expect("an image");
        let of = |p| bound::augment::augment(&pipe, &batch(&x), &[one], p).expect("an image");
        let (narrow, wide) = (of(Precision::F64), of(Precision::F32));
        prop_assert!(narrow.worst_ratio(&value) <= 1.0 && narrow.value == value);
        for (narrow, wide) in narrow.error.iter().zip(&wide.error) {
            prop_assert!(narrow <= wide);
        }
        let largest = largest(&value) + largest(&x);
        // Some hundred roundings in f64, unless rounding may choose between two margins.
        let labels = bound::augment::labels(&pipe, &[one], size(&x), Precision::F64);
        prop_assert!(labels.error.iter().all(|e| *e <= 1e-14));
        prop_assert!(narrow.error.iter().all(|e| e.is_finite() && *e <= 0.2 * largest));
    }

    #[test]
    fn reflection_repeats_and_never_leaves(i in -60..60_isize, n in 1..=9_usize) {
        let place = reflected(i, n);
        prop_assert!(place < n);
        prop_assert_eq!(place, reflected(-i, n));
        prop_assert_eq!(place, reflected(i + 2 * (n.cast_signed() - 1), n));
        if i >= 0 && i.unsigned_abs() < n {
            prop_assert_eq!(place, i.unsigned_abs());
        }
    }

    /// Flips of flips and four quarter turns change nothing; labels are zeros exactly where nothing was done.
    #[test]
    fn exact_moves_are_a_group(x in image()) {
        let flipped = Augmentation { xflip: true, yflip: true, ..Augmentation::default() };
        prop_assert_eq!(&flipped.moved(&flipped.moved(&x)), &x);
        let square = x.slice_axis(Axis(1), ndarray::Slice::from(..1)).to_owned();
        let square = square.slice_axis(Axis(2), ndarray::Slice::from(..1)).to_owned();
        let quarter = Augmentation { turns: 1, ..Augmentation::default() };
        prop_assert_eq!(&quarter.moved(&square), &square);
        let once = |n| Augmentation { turns: n, ..Augmentation::default() };
        let grid = Array3::from_shape_fn((1, 3, 3), |(_, i, j)| (3 * i + j) as f64);
        let turned = once(1).moved(&grid);
        prop_assert_eq!(once(1).moved(&turned), once(2).moved(&grid));
        prop_assert_eq!(once(3).moved(&turned), grid);
    }
}

/// Generic points by hand: two images, every transformation of EDM's, each number in its place.
#[test]
fn draws_are_read_in_their_order() {
    let pipe = Pipe::edm(0.5).expect("a probability");
    assert_eq!((pipe.label_dim(), pipe.draws()), (9, [11, 4]));
    // Of each pair of rows the first image is transformed, the second is not, but for the flip, which is always made.
    let uniform = [
        [0.5, 0.75], // xflip
        [0.9, 0.1],
        [0.6, 0.6], // yflip
        [0.49, 0.5],
        [0.1, 0.7],  // scale
        [0.25, 0.9], // rotate_frac
        [0.3, 0.5],
        [0.875, 0.75], // aniso: axis
        [0.2, 0.99],
        [0.4, 0.4], // its axis is used, also where there is no stretch
        [0.0, 0.8], // translate_frac
    ];
    let normal = [[0.7, 0.8], [-1.3, 1.1], [0.2, 0.3], [-0.4, 0.6]];
    let all = pipe.drawn(2, uniform.as_flattened(), normal.as_flattened());
    let all = all.expect("as many as are asked for");
    let [one, other] = all[..] else {
        panic!("two images")
    };
    assert_eq!(
        one,
        Augmentation {
            xflip: true,
            yflip: true,
            scale: 0.7,
            rotation: -0.5,
            aniso: -1.3,
            axis: 0.75,
            translation: [0.2, -0.4],
            ..Augmentation::default()
        }
    );
    assert_eq!(
        other,
        Augmentation {
            xflip: true,
            axis: 0.5,
            ..Augmentation::default()
        }
    );
    let labels = pipe.labels(&all, [8, 8]);
    let root = 0.5_f64.sqrt();
    let want = array![
        [
            1.0,
            1.0,
            0.7,
            -1.0,
            -1.0,
            1.3 * root,
            -1.3 * root,
            0.2,
            -0.4
        ],
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    ];
    assert!(largest(&(labels - want)) < 1e-15);
}

#[test]
fn without_a_probability_nothing_is_done() {
    let pipe = Pipe::edm(0.0).expect("a probability");
    let all = pipe.drawn(1, &[0.0; 11], &[1.0; 4]).expect("draws");
    assert_eq!(
        pipe.labels(&all, [4, 4]),
        ndarray::Array2::<f64>::zeros((1, 9))
    );
}

#[test]
fn what_cannot_be_augmented_is_refused() {
    let turns = Pipe::new([(Transform::RotateInt, 1.0)]).expect("a probability");
    let zeros = |shape: &[usize]| ArrayD::<f64>::zeros(IxDyn(shape));
    let one = [Augmentation::default()];
    assert_eq!(
        turns.augment(&zeros(&[1, 1, 2, 3]), &one),
        Err(AugmentError::NotSquare {
            height: 2,
            width: 3
        })
    );
    assert!(matches!(
        turns.augment(&zeros(&[1, 2, 2]), &one),
        Err(AugmentError::Shape { .. })
    ));
    assert!(matches!(
        turns.augment(&zeros(&[1, 1, 0, 0]), &one),
        Err(AugmentError::Shape { .. })
    ));
    assert_eq!(
        turns.augment(&zeros(&[2, 1, 2, 2]), &one),
        Err(AugmentError::Count { images: 2, got: 1 })
    );
    let mut nan = zeros(&[1, 1, 2, 2]);
    nan[[0, 0, 1, 0]] = f64::NAN;
    assert_eq!(
        turns.augment(&nan, &one),
        Err(AugmentError::NotFinite {
            at: vec![0, 0, 1, 0]
        })
    );
    assert_eq!(
        turns.drawn(2, &[0.0; 3], &[]),
        Err(AugmentError::Draws {
            law: "uniform",
            must: 4,
            got: 3
        })
    );
    for p in [-0.1, 1.5, f64::NAN] {
        assert!(matches!(
            Pipe::edm(p),
            Err(AugmentError::Probability { .. })
        ));
    }
}
