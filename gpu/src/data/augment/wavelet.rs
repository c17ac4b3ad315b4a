//! Resampling between two applications of an orthogonal lowpass filter, so that neither a larger nor a smaller image is aliased.

use super::affine::Affine;

/// sym6, in single precision as published. The tap at [`ON_PIXEL`] stands on a pixel itself.
const TAPS: [f32; 12] = [
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
const ON_PIXEL: usize = 5;
/// Pixels that are computed beyond each border, so that the filter finds what it needs: a quarter of the taps.
const BEYOND: usize = 3;

/// The pixel that a place outside shows, mirrored on the outermost pixels.
pub(super) fn mirror(mut place: isize, side: usize) -> usize {
    let last = side.cast_signed() - 1;
    if last <= 0 {
        return 0;
    }
    while !(0..=last).contains(&place) {
        place = if place < 0 { -place } else { 2 * last - place };
    }
    place.unsigned_abs()
}

/// One side of images, and how far they are continued beyond both borders.
#[derive(Debug, Clone, Copy)]
struct Side {
    pixels: usize,
    before: usize,
    after: usize,
}

impl Side {
    /// With enough on both sides for maps that reach from `low` to `high` from the centre.
    fn new(pixels: usize, low: f64, high: f64) -> Self {
        let half = (pixels as f64 - 1.0) / 2.0;
        let margin = |far: f64| {
            let needed = far + 2.0 * BEYOND as f64 - half;
            // No reflection shows more than the other border.
            (0..pixels.saturating_sub(1))
                .take_while(|&margin| needed > margin as f64)
                .count()
        };
        Self {
            pixels,
            before: margin(-low),
            after: margin(high),
        }
    }

    /// Half pixels of the continued image.
    fn doubled(self) -> usize {
        2 * (self.before + self.pixels + self.after)
    }

    /// The half pixel that a place lies on, counted from the centre of the image.
    fn half_pixel(self, place: f64) -> f64 {
        2.0 * place + (self.pixels + 2 * self.before) as f64 - 1.0
    }

    /// Places, half a pixel apart, at which the transformed image is needed.
    fn places(self) -> impl Iterator<Item = f64> + Clone {
        let first = (1.0 - self.pixels as f64) / 2.0 - BEYOND as f64;
        (0..self.needed()).map(move |k| first + k as f64 / 2.0)
    }

    fn needed(self) -> usize {
        2 * (self.pixels + 2 * BEYOND)
    }

    /// What half pixel `k` is made of: pixels of the image with their weights.
    fn sources(self, k: usize) -> impl Iterator<Item = (usize, f64)> {
        let all = self.before + self.pixels + self.after;
        let taps = TAPS.iter().enumerate();
        taps.filter_map(move |(tap, &weight)| {
            let twice = (ON_PIXEL + k).checked_sub(tap)?;
            let inside = twice.is_multiple_of(2) && twice / 2 < all;
            let place = (twice / 2).cast_signed() - self.before.cast_signed();
            inside.then(|| (mirror(place, self.pixels), f64::from(weight)))
        })
    }
}

/// Resampling of images of one size with the margins of one batch.
#[derive(Debug)]
pub(super) struct Resampler {
    vertical: Side,
    horizontal: Side,
}

impl Resampler {
    /// For all maps of a batch together: the one that reaches furthest decides.
    pub(super) fn new<'a>(
        [height, width]: [usize; 2],
        maps: impl Iterator<Item = &'a Affine>,
    ) -> Self {
        let half = [width, height].map(|side| (side as f64 - 1.0) / 2.0);
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for map in maps {
            let [down_to, up_to] = map.reach(half);
            for axis in 0..2 {
                low[axis] = low[axis].min(down_to[axis]);
                high[axis] = high[axis].max(up_to[axis]);
            }
        }
        Self {
            horizontal: Side::new(width, low[0], high[0]),
            vertical: Side::new(height, low[1], high[1]),
        }
    }

    /// Resamples the planes of an image.
    pub(super) fn apply(&self, image: &mut [f64], map: &Affine) {
        let (rows, columns) = (self.vertical, self.horizontal);
        let plane = rows.pixels * columns.pixels;
        let doubled: Vec<Vec<f64>> = image
            .chunks_exact(plane)
            .map(|plane| self.doubled(plane))
            .collect();
        let needed = [rows.needed(), columns.needed()];
        let mut mapped = vec![vec![0.0; needed[0] * needed[1]]; doubled.len()];
        for (k, y) in rows.places().enumerate() {
            for (l, x) in columns.places().enumerate() {
                let [x, y] = map.at(x, y);
                let corners = Corners::of(
                    [rows.half_pixel(y), columns.half_pixel(x)],
                    [rows.doubled(), columns.doubled()],
                );
                for (mapped, doubled) in mapped.iter_mut().zip(&doubled) {
                    mapped[k * needed[1] + l] = corners.value(doubled);
                }
            }
        }
        for (plane, mapped) in image.chunks_exact_mut(plane).zip(&mapped) {
            self.halved(mapped, plane);
        }
    }

    /// A plane at twice the resolution, first along its rows.
    fn doubled(&self, plane: &[f64]) -> Vec<f64> {
        let (rows, columns) = (self.vertical, self.horizontal);
        let wide = columns.doubled();
        let mut stretched = vec![0.0; rows.pixels * wide];
        for k in 0..wide {
            for (column, weight) in columns.sources(k) {
                for row in 0..rows.pixels {
                    stretched[row * wide + k] += weight * plane[row * columns.pixels + column];
                }
            }
        }
        let mut out = vec![0.0; rows.doubled() * wide];
        for (k, line) in out.chunks_exact_mut(wide).enumerate() {
            for (row, weight) in rows.sources(k) {
                for (to, from) in line.iter_mut().zip(&stretched[row * wide..]) {
                    *to += weight * from;
                }
            }
        }
        out
    }

    /// Every second half pixel of a mapped plane, filtered, first along its columns.
    fn halved(&self, mapped: &[f64], plane: &mut [f64]) {
        let columns = self.horizontal;
        let wide = columns.needed();
        // Half pixel 2·BEYOND is pixel 0.
        let first = |pixel: usize| 2 * pixel + 2 * BEYOND - ON_PIXEL;
        let mut line = vec![0.0; wide];
        for (row, out) in plane.chunks_exact_mut(columns.pixels).enumerate() {
            line.fill(0.0);
            let from = mapped[first(row) * wide..].chunks_exact(wide);
            for (&tap, from) in TAPS.iter().zip(from) {
                for (to, from) in line.iter_mut().zip(from) {
                    *to += f64::from(tap) * from;
                }
            }
            for (column, pixel) in out.iter_mut().enumerate() {
                let from = &line[first(column)..];
                *pixel = TAPS
                    .iter()
                    .zip(from)
                    .map(|(&tap, x)| f64::from(tap) * x)
                    .sum();
            }
        }
    }
}

/// The four half pixels around a place, as many of them as there are, with their weights.
struct Corners([(usize, f64); 4]);

impl Corners {
    /// Around a row and a column; what lies outside is black nothing: weight 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be inside"
    )]
    fn of([row, column]: [f64; 2], [rows, columns]: [usize; 2]) -> Self {
        let (top, left) = (row.floor(), column.floor());
        let (down, right) = (row - top, column - left);
        let corner = |i: f64, j: f64, weight: f64| {
            let inside = i >= 0.0 && j >= 0.0 && i < rows as f64 && j < columns as f64;
            if inside {
                (i as usize * columns + j as usize, weight)
            } else {
                (0, 0.0)
            }
        };
        Self([
            corner(top, left, (1.0 - down) * (1.0 - right)),
            corner(top, left + 1.0, (1.0 - down) * right),
            corner(top + 1.0, left, down * (1.0 - right)),
            corner(top + 1.0, left + 1.0, down * right),
        ])
    }

    fn value(&self, plane: &[f64]) -> f64 {
        self.0.iter().map(|&(at, weight)| weight * plane[at]).sum()
    }
}
