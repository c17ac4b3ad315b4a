//! An image under an affine map, without aliasing: twice the resolution, bilinear, half of it again.

use ndarray::{Array2, Array3, Axis, arr1, arr2};

/// A map of the plane in homogeneous coordinates `[3, 3]`.
pub type Matrix = Array2<f64>;

/// The taps of the wavelet filter sym6, each rounded to single precision as the published program has them.
///
/// Of the orthogonal filters of twelve taps with six vanishing moments the one that is nearest to symmetric:
/// ```text
/// Σ_t h_t h_{t+2k} = [k = 0],        Σ_t (−1)^t t^m h_t = 0 for m < 6,        Σ_t h_t = √2
/// ```
/// up to their rounding, 6·10⁻⁸. So an image that is made larger and smaller again, and not mapped in between, comes back up to as much.
///
/// # Source
/// Daubechies 1992, *Ten Lectures on Wavelets*, Sec. 8.1.1 and Table 6.3; `fixtures/make.py` computes them from the definition.
pub const SYM6: [f32; 12] = [
    0.015_404_109,
    0.003_490_712,
    -0.117_990_114,
    -0.048_311_744,
    0.491_055_94,
    0.787_641_17,
    0.337_929_43,
    -0.072_637_52,
    -0.021_060_292,
    0.044_724_9,
    0.001_767_711_8,
    -0.007_800_708_5,
];

/// Pixels that a filter reaches beyond the border, on a side.
pub(crate) const SUPPORT: usize = SYM6.len() / 4;

/// The tap that stands on a pixel itself.
const CENTRE: usize = 5;

pub(super) fn scaling(x: f64, y: f64) -> Matrix {
    arr2(&[[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])
}

pub(super) fn rotation(angle: f64) -> Matrix {
    let (sin, cos) = angle.sin_cos();
    arr2(&[[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
}

pub(super) fn translation(x: f64, y: f64) -> Matrix {
    arr2(&[[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
}

/// ρ(i): the pixel that a place beyond the border shows, as in a mirror that stands on the outermost pixel.
///
/// # Formula
/// ```text
/// ρ(i) = n − 1 − |n − 1 − (i mod (2n − 2))|,    0 for n = 1
/// ```
pub fn reflected(i: isize, n: usize) -> usize {
    if n <= 1 {
        return 0;
    }
    let i = i.rem_euclid((2 * n - 2).cast_signed()).unsigned_abs();
    i.min(2 * n - 2 - i)
}

/// The corners of an image `[3, 4]`: pixels' centres, from the image's centre.
pub(crate) fn corners([height, width]: [usize; 2]) -> Matrix {
    let [y, x] = [height, width].map(centre);
    arr2(&[[-x, x, x, -x], [-y, -y, y, y], [1.0; 4]])
}

/// Half the side between the outermost pixels.
pub(crate) fn centre(side: usize) -> f64 {
    (side as f64 - 1.0) / 2.0
}

/// How far an image must be continued beyond its left, top, right and bottom border, so that no image of the batch shows what is
/// beyond that. `[eq:augment-margins]`
///
/// # Formula
/// ```text
/// m = ⌈min(max(far + 6 − (n−1)/2, 0), n − 1)⌉
/// ```
/// where far is how far a mapped corner of any image of the batch lies on that side of the centre, and n the side. Beyond n − 1 there
/// is nothing that a reflection could show: zeros.
///
/// # Source
/// The published program; the paper only says that images are reflected.
pub fn margins(matrices: &[Matrix], size: [usize; 2]) -> [usize; 4] {
    let corners = corners(size);
    let mut far = [f64::NEG_INFINITY; 4];
    for matrix in matrices {
        let at = matrix.dot(&corners);
        for (side, far) in far.iter_mut().enumerate() {
            let sign = if side < 2 { -1.0 } else { 1.0 };
            for &x in at.row(side % 2) {
                *far = far.max(sign * x);
            }
        }
    }
    let mut margins = [0; 4];
    for (side, (margin, far)) in margins.iter_mut().zip(far).enumerate() {
        *margin = margin_of(far, size[1 - side % 2]);
    }
    margins
}

/// The margin on a side of an image `n` pixels long or wide.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to n − 1"
)]
pub(crate) fn margin_of(far: f64, n: usize) -> usize {
    let needed = far + (2 * SUPPORT) as f64 - centre(n);
    needed.clamp(0.0, n as f64 - 1.0).ceil() as usize
}

/// Twice the resolution: an operator `[2n, n]` that puts pixel m at 2m.
///
/// # Formula
/// ```text
/// U[k, m] = h[5 + k − 2m]
/// ```
pub(crate) fn up(n: usize) -> Array2<f64> {
    Array2::from_shape_fn((2 * n, n), |(k, m)| tap((CENTRE + k).checked_sub(2 * m)))
}

/// Half the resolution: an operator `[n, 2(n + 6)]` that takes pixel j from 6 + 2j.
///
/// # Formula
/// ```text
/// D[j, k] = h[k − 2j − 1]
/// ```
pub(crate) fn down(n: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, 2 * (n + 2 * SUPPORT)), |(j, k)| {
        tap(k.checked_sub(2 * j + 2 * SUPPORT - CENTRE))
    })
}

fn tap(t: Option<usize>) -> f64 {
    t.and_then(|t| SYM6.get(t)).map_or(0.0, |&h| f64::from(h))
}

/// The places that `down` reads, from the centre of an image of side `n`, and the number of places.
pub(crate) fn below_lattice(n: usize) -> impl Iterator<Item = f64> + Clone {
    let count = 2 * (n + 2 * SUPPORT);
    (0..count).map(move |k| (k as f64 - (2 * SUPPORT) as f64) / 2.0 - centre(n))
}

/// The image at twice the resolution, continued by `margins` (left, top, right, bottom).
fn enlarged(x: &Array3<f64>, [left, top, right, bottom]: [usize; 4]) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let places = |n: usize, before: usize, after: usize| -> Vec<usize> {
        let all = 0..before + n + after;
        all.map(|i| reflected(i.cast_signed() - before.cast_signed(), n))
            .collect()
    };
    let (rows, columns) = (places(height, top, bottom), places(width, left, right));
    let padded = x.select(Axis(1), &rows).select(Axis(2), &columns);
    let (vertical, horizontal) = (up(rows.len()), up(columns.len()));
    let mut out = Array3::zeros((channels, 2 * rows.len(), 2 * columns.len()));
    for (mut to, from) in out.outer_iter_mut().zip(padded.outer_iter()) {
        to.assign(&vertical.dot(&from).dot(&horizontal.t()));
    }
    out
}

/// An image `[C, H, W]` whose every point comes from where `inverse` says. `[eq:augment-resampling]`
///
/// # Formula
/// With pixels counted from the image's centre, h = sym6 and x reflected at its borders, zero beyond the margins:
/// ```text
/// u(k/2)    = Σ_m h_{5+k−2m} x(m)                      in both directions: twice the resolution
/// v(q)      = bilinear interpolation of u at G⁻¹ q
/// y(j)      = Σ_t h_t v(j + (t − 5)/2)                 in both directions
/// ```
/// # Source
/// Karras et al. 2020 (arXiv:2006.06676), App. B and Table 3: an orthogonal lowpass filter before and after.
pub fn resample(x: &Array3<f64>, inverse: &Matrix, margins: [usize; 4]) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let u = enlarged(x, margins);
    let [left, top, ..] = margins;
    let (rows, columns) = (below_lattice(height), below_lattice(width));
    let mut v = Array3::zeros((channels, rows.clone().count(), columns.clone().count()));
    for (k, y) in rows.enumerate() {
        for (l, x) in columns.clone().enumerate() {
            let from = inverse.dot(&arr1(&[x, y, 1.0]));
            let column = 2.0 * (from[0] + centre(width) + left as f64);
            let row = 2.0 * (from[1] + centre(height) + top as f64);
            for c in 0..channels {
                v[[c, k, l]] = bilinear(&u, c, [row, column]);
            }
        }
    }
    let (vertical, horizontal) = (down(height), down(width));
    let mut y = Array3::zeros((channels, height, width));
    for (mut to, from) in y.outer_iter_mut().zip(v.outer_iter()) {
        to.assign(&vertical.dot(&from).dot(&horizontal.t()));
    }
    y
}

/// u of a channel between its pixels; zero beyond them.
fn bilinear(u: &Array3<f64>, c: usize, [row, column]: [f64; 2]) -> f64 {
    let (down, right) = (row - row.floor(), column - column.floor());
    let at = |i: f64, j: f64| pixel(u, c, [row.floor() + i, column.floor() + j]);
    (1.0 - down) * ((1.0 - right) * at(0.0, 0.0) + right * at(0.0, 1.0))
        + down * ((1.0 - right) * at(1.0, 0.0) + right * at(1.0, 1.0))
}

/// A pixel by whole numbers; zero outside.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be inside"
)]
pub(crate) fn pixel(u: &Array3<f64>, c: usize, at: [f64; 2]) -> f64 {
    let (_, height, width) = u.dim();
    let [row, column] = at;
    let inside = row >= 0.0 && column >= 0.0 && row < height as f64 && column < width as f64;
    if inside {
        u[[c, row as usize, column as usize]]
    } else {
        0.0
    }
}
