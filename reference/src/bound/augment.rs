//! Bounds for augmented images and their labels.

use std::f64::consts::{LN_2, PI};
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayD, Axis, IxDyn, stack};

use super::{Precision, Tracked};
use crate::augment::{
    AugmentError, Augmentation, Matrix, Pipe, Transform, below_lattice, centre, corners, down,
    image, margin_of, margins, reflected, up,
};

/// [`Pipe::labels`] in precision `p`: whole shifts are decided exactly, and what depends on an angle is computed from it.
pub fn labels(pipe: &Pipe, all: &[Augmentation], size: [usize; 2], p: Precision) -> Tracked {
    let value = pipe.labels(all, size).into_dyn();
    let mut error = ArrayD::zeros(value.raw_dim());
    for (i, image) in all.iter().enumerate() {
        let mut at = 0;
        for transform in pipe.transforms() {
            let of = |half_turns: f64| {
                let angle = angle(half_turns, p);
                [angle.cos(p), angle.sin(p)]
            };
            let errors = match transform {
                Transform::RotateFrac => {
                    let [cos, sin] = of(image.rotation);
                    [cos.add_scalar(-1.0, p), sin].map(|x| x.error.sum())
                }
                Transform::Aniso => {
                    let w = constant(image.aniso);
                    of(image.axis).map(|part| w.mul(&part, p).error.sum())
                }
                Transform::TranslateInt => {
                    // A whole number over an eighth of a side.
                    let quotient = |j: usize| {
                        let one = Tracked::exact(ArrayD::from_elem(IxDyn(&[]), value[[i, at + j]]));
                        one.stored_as(p).scale(1.0, p).error.sum()
                    };
                    [quotient(0), quotient(1)]
                }
                _ => [0.0; 2],
            };
            for (j, e) in errors.into_iter().take(transform.labels()).enumerate() {
                error[[i, at + j]] = e;
            }
            at += transform.labels();
        }
    }
    Tracked { value, error }
}

/// [`Pipe::augment`] of images that are the same numbers in every precision, computed in precision `p` throughout.
///
/// The interpolation is continuous, so that a point that lies δ further moves its value by at most δ times the steepest slope near it.
/// Only the margins are not: where rounding alone may make one of them larger by a pixel, the bound has room for both.
///
/// # Errors
/// Those of [`Pipe::augment`].
pub fn augment(
    pipe: &Pipe,
    images: &ArrayD<f64>,
    all: &[Augmentation],
    p: Precision,
) -> Result<Tracked, AugmentError> {
    augment_some(pipe, images, all, 0..all.len(), p)
}

/// As [`augment`], of computations that have the margins of the reference.
///
/// # Errors
/// Those of [`Pipe::augment`].
pub fn augment_within_margins(
    pipe: &Pipe,
    images: &ArrayD<f64>,
    all: &[Augmentation],
    p: Precision,
) -> Result<Tracked, AugmentError> {
    let size = pipe.size_of(images, all)?;
    let own: Vec<Matrix> = all.iter().map(|a| a.inverse_matrix(size)).collect();
    let own = margins(&own, size);
    bounded(pipe, images, all, (0..all.len(), p), |_, _| vec![own])
}

/// [`Pipe::augment_some`], as [`augment`].
///
/// # Errors
/// Those of [`Pipe::augment_some`].
pub fn augment_some(
    pipe: &Pipe,
    images: &ArrayD<f64>,
    all: &[Augmentation],
    which: Range<usize>,
    p: Precision,
) -> Result<Tracked, AugmentError> {
    bounded(pipe, images, all, (which, p), |matrices, size| {
        possible_margins(matrices, size, p)
    })
}

/// The bound of some images with room for each of these margins.
fn bounded(
    pipe: &Pipe,
    images: &ArrayD<f64>,
    all: &[Augmentation],
    (which, p): (Range<usize>, Precision),
    margins: impl Fn(&[Tracked], [usize; 2]) -> Vec<[usize; 4]>,
) -> Result<Tracked, AugmentError> {
    let value = pipe.augment_some(images, all, which.clone())?;
    let size = pipe.size_of(images, all)?;
    if !pipe.resamples() {
        return Ok(Tracked::exact(value));
    }
    let matrices: Vec<Tracked> = all.iter().map(|a| inverse_matrix(a, size, p)).collect();
    let mut out = Tracked::exact(value);
    for margins in margins(&matrices, size) {
        for (at, i) in which.clone().enumerate() {
            let moved = all[i].moved(&image(images, i));
            let y = resample(&moved, &matrices[i], margins, p);
            let own = out.value.index_axis(Axis(0), at).to_owned();
            let mut error = out.error.index_axis_mut(Axis(0), at);
            ndarray::Zip::from(&mut error)
                .and(&own)
                .and(&y.value)
                .and(&y.error)
                .for_each(|e, own, y, of_y| *e = e.max((own - y).abs() + of_y));
        }
    }
    Ok(out)
}

fn constant(x: f64) -> Tracked {
    Tracked::exact(ArrayD::from_elem(IxDyn(&[]), x))
}

/// An angle of some half turns.
fn angle(half_turns: f64, p: Precision) -> Tracked {
    // Half turns may be what is left of whole ones: πu − π, say.
    let whole = ArrayD::from_elem(IxDyn(&[]), 2.0 * PI * p.unit);
    let angle = constant(half_turns).scale(PI, p);
    if half_turns == 0.0 {
        angle
    } else {
        angle.widened(&whole)
    }
}

/// A matrix of numbers.
fn matrix(rows: [[&Tracked; 3]; 3]) -> Tracked {
    let part = |pick: fn(&Tracked) -> f64| {
        Array2::from_shape_fn((3, 3), |(i, j)| pick(rows[i][j])).into_dyn()
    };
    Tracked {
        value: part(|x| x.value.sum()),
        error: part(|x| x.error.sum()),
    }
}

/// [`Augmentation::inverse_matrix`].
fn inverse_matrix(a: &Augmentation, [height, width]: [usize; 2], p: Precision) -> Tracked {
    let (zero, one) = (constant(0.0), constant(1.0));
    let power = |x: f64| constant(x).scale(0.2, p).scale(LN_2, p).exp(p);
    let scaling = |x: &Tracked, y: &Tracked| {
        matrix([[x, &zero, &zero], [&zero, y, &zero], [&zero, &zero, &one]])
    };
    let rotation = |half_turns: f64| {
        let angle = angle(half_turns, p);
        let (cos, sin) = (angle.cos(p), angle.sin(p));
        matrix([
            [&cos, &sin.neg(), &zero],
            [&sin, &cos, &zero],
            [&zero, &zero, &one],
        ])
    };
    let half = power(a.scale).recip(p);
    let stretch = power(a.aniso);
    let shift = |w: f64, side: usize| constant(-w).scale(side as f64 * 0.125, p);
    let [x, y] = [
        shift(a.translation[0], width),
        shift(a.translation[1], height),
    ];
    let translation = matrix([[&one, &zero, &x], [&zero, &one, &y], [&zero, &zero, &one]]);
    [
        scaling(&half, &half),
        rotation(a.rotation),
        rotation(-a.axis),
        scaling(&stretch.recip(p), &stretch),
        rotation(a.axis),
        translation,
    ]
    .into_iter()
    .reduce(|product, next| product.matmul(&next, p))
    .unwrap_or(one)
}

/// Every choice of margins that rounding may lead to.
fn possible_margins(matrices: &[Tracked], size: [usize; 2], p: Precision) -> Vec<[usize; 4]> {
    let corners = Tracked::exact(corners(size).into_dyn());
    let mut far = [[f64::NEG_INFINITY; 2]; 4];
    for matrix in matrices {
        let at = matrix.matmul(&corners, p);
        for (side, [least, most]) in far.iter_mut().enumerate() {
            let sign = if side < 2 { -1.0 } else { 1.0 };
            for corner in 0..4 {
                let (x, e) = (at.value[[side % 2, corner]], at.error[[side % 2, corner]]);
                *least = least.max(sign * x - e);
                *most = most.max(sign * x + e);
            }
        }
    }
    let mut all = vec![[0; 4]];
    for (side, [least, most]) in far.into_iter().enumerate() {
        let n = size[1 - side % 2];
        // Two sums with numbers of the size of a side.
        let rounding = 4.0 * p.unit * (least.abs().max(most.abs()) + n as f64 + 6.0);
        let few = margin_of(least - rounding, n);
        let many = margin_of(most + rounding, n);
        all = all
            .into_iter()
            .flat_map(|margins| {
                (few..=many).map(move |margin| {
                    let mut margins = margins;
                    margins[side] = margin;
                    margins
                })
            })
            .collect();
    }
    all
}

/// [`crate::augment::resample`] by a matrix that has errors.
fn resample(x: &Array3<f64>, inverse: &Tracked, margins: [usize; 4], p: Precision) -> Tracked {
    let (_, height, width) = x.dim();
    let [left, top, right, bottom] = margins;
    let places = |n: usize, before: usize, after: usize| -> Vec<usize> {
        (0..before + n + after)
            .map(|i| reflected(i.cast_signed() - before.cast_signed(), n))
            .collect()
    };
    let padded = x
        .select(Axis(1), &places(height, top, bottom))
        .select(Axis(2), &places(width, left, right));
    let (_, rows, columns) = padded.dim();
    let u = both_ways(
        &Tracked::exact(padded.into_dyn()),
        [&up(rows), &up(columns)],
        p,
    );

    let (rows, columns) = (below_lattice(height), below_lattice(width));
    let (of_rows, of_columns) = (rows.clone().count(), columns.clone().count());
    let points: Vec<[f64; 3]> = rows
        .flat_map(|y| columns.clone().map(move |x| [x, y, 1.0]))
        .collect();
    let points = Array2::from(points).reversed_axes().into_dyn();
    let from = inverse.matmul(&Tracked::exact(points), p);
    let place = |axis: usize, n: usize, before: usize| {
        let x = from.index(0, axis);
        x.add_scalar(centre(n) + before as f64, p).scale(2.0, p)
    };
    let v = interpolated(&u, &place(1, height, top), &place(0, width, left), p);
    let v = v.reshape(&[u.shape()[0], of_rows, of_columns]);
    both_ways(&v, [&down(height), &down(width)], p)
}

/// `A x Bᵀ` of each channel, first the one or the other.
fn both_ways(x: &Tracked, [vertical, horizontal]: [&Matrix; 2], p: Precision) -> Tracked {
    let channel = |c: usize| {
        let x = x.index(0, c);
        let rows_first = applied(horizontal, &applied(vertical, &x, p).transpose(), p).transpose();
        let columns_first = applied(
            vertical,
            &applied(horizontal, &x.transpose(), p).transpose(),
            p,
        );
        rows_first.either(&columns_first)
    };
    let channels: Vec<Tracked> = (0..x.shape()[0]).map(channel).collect();
    let join = |pick: fn(&Tracked) -> &ArrayD<f64>| {
        let views: Vec<_> = channels.iter().map(|c| pick(c).view()).collect();
        stack(Axis(0), &views).expect("channels of one shape")
    };
    Tracked {
        value: join(|c| &c.value),
        error: join(|c| &c.error),
    }
}

/// A product whose left factor has few numbers in a row, and those exactly.
fn applied(sparse: &Matrix, x: &Tracked, p: Precision) -> Tracked {
    let rows = sparse.outer_iter().map(|row| {
        let there: Vec<usize> = (0..row.len()).filter(|&k| row[k] != 0.0).collect();
        let few = |x: &ArrayD<f64>| x.select(Axis(0), &there);
        let weights = row.select(Axis(0), &there).insert_axis(Axis(0)).into_dyn();
        let x = Tracked {
            value: few(&x.value),
            error: few(&x.error),
        };
        Tracked::exact(weights).matmul(&x, p)
    });
    let rows: Vec<Tracked> = rows.collect();
    Tracked::concat(&rows.iter().collect::<Vec<_>>(), 0)
}

/// Bilinear interpolation at places that have errors, `[C, N]`.
///
/// In a region of all cells that the place may lie in, let m be the largest |u| with its error, and s, z the steepest slopes: a place
/// (δ, ε) away changes the value by δs + εz; the weights are products of two factors that err by u, which makes 4·3u m, and the sum of four
/// products 4u m.
fn interpolated(u: &Tracked, row: &Tracked, column: &Tracked, p: Precision) -> Tracked {
    const ROUNDINGS: f64 = 16.0;
    let channels = u.shape()[0];
    let shape = [channels, row.value.len()];
    let mut out = Tracked::exact(ArrayD::zeros(IxDyn(&shape)));
    let at = |x: &ArrayD<f64>, c: usize, [i, j]: [f64; 2]| inside(x, c, [i, j]);
    let places = row.value.iter().zip(&row.error);
    let places = places.zip(column.value.iter().zip(&column.error));
    for (k, ((&i, &di), (&j, &dj))) in places.enumerate() {
        let (down, right) = (i - i.floor(), j - j.floor());
        let known = di <= 1.0 && dj <= 1.0;
        let span = |x: f64, d: f64| {
            let (first, last) = ((x - d).floor(), (x + d).floor() + 1.0);
            std::iter::successors(Some(first), |x| Some(x + 1.0)).take_while(move |x| *x <= last)
        };
        for c in 0..channels {
            let near = |a: f64, b: f64| at(&u.value, c, [i.floor() + a, j.floor() + b]);
            let value = (1.0 - down) * ((1.0 - right) * near(0.0, 0.0) + right * near(0.0, 1.0))
                + down * ((1.0 - right) * near(1.0, 0.0) + right * near(1.0, 1.0));
            out.value[[c, k]] = value;
            if !known {
                out.error[[c, k]] = f64::INFINITY;
                continue;
            }
            let (mut size, mut inherited) = (0.0_f64, 0.0_f64);
            let (mut steep_i, mut steep_j) = (0.0_f64, 0.0_f64);
            for a in span(i, di) {
                for b in span(j, dj) {
                    let here = at(&u.value, c, [a, b]);
                    let error = at(&u.error, c, [a, b]);
                    inherited = inherited.max(error);
                    size = size.max(here.abs() + error);
                    steep_i = steep_i.max((at(&u.value, c, [a + 1.0, b]) - here).abs());
                    steep_j = steep_j.max((at(&u.value, c, [a, b + 1.0]) - here).abs());
                }
            }
            let own = Precision::F64.unit * size;
            out.error[[c, k]] = inherited
                + di * (steep_i + 2.0 * inherited)
                + dj * (steep_j + 2.0 * inherited)
                + ROUNDINGS * ((p.unit * size + own) * (1.0 + ROUNDINGS * p.unit) + p.tiny);
        }
    }
    out
}

/// A number of a channel by whole numbers; zero outside.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be inside"
)]
fn inside(x: &ArrayD<f64>, c: usize, [i, j]: [f64; 2]) -> f64 {
    let shape = x.shape();
    if i >= 0.0 && j >= 0.0 && i < shape[1] as f64 && j < shape[2] as f64 {
        x[[c, i as usize, j as usize]]
    } else {
        0.0
    }
}
