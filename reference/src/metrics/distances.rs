//! Squared distances between rows by a matrix product, with a bound on how far each is from that of the differences.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use super::features::Rows;
use super::product::rows_by_rows;

/// Rows of a block: a product of two blocks and its factors take 3 · 2048 · max(2048, d) numbers.
const BLOCK: usize = 2048;

/// Where the squared distances of some rows `a_i` to some `b_j` lie. `[eq:distance-bound]`
///
/// # Formula
/// ```text
/// D_ij = fl(‖a_i − b_j‖²) from the differences,   p = fl(a_i − c), q = fl(b_j − c),   n = fl(‖p‖²) + fl(‖q‖²)
/// |D_ij − (n − 2 fl(pᵀq))| ≤ s n + t,     s = 4.04 (d + 16) u,     t = 8 d · 2⁻¹⁰²²
/// ```
/// for every c, and the nearer it is to the rows the smaller n. Of s/4u: the sums of ‖p‖², ‖q‖² and pᵀq in any order take
/// d/2, that of D as much, as D ≤ 2n; rounding of p, q and of the last operations, 16; and n for its exact value, 1 %. t is
/// for products that underflow, to zero even. Where ‖p‖² or ‖q‖² is not below 2¹⁰²⁰ nothing is said.
///
/// # Source
/// Higham 2002, Sec. 3.1: γ_d for a sum of products in any order. The rest is two lines: |‖a − b‖² − ‖p − q‖²| ≤ (2u + u²)
/// Σ(|p_k| + |q_k|)² ≤ (4u + 2u²)(‖p‖² + ‖q‖²).
pub(super) struct Tile {
    /// Which rows of the first matrix.
    pub(super) rows: Range<usize>,
    /// Which of the second.
    pub(super) columns: Range<usize>,
    product: Array2<f64>,
    norms: [Vec<f64>; 2],
    slack: f64,
    floor: f64,
}

/// Between what a squared distance lies; NaN where that is not known, so that no comparison holds.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Tile {
    /// Of row i of the first matrix and row j of the second, counted from the first rows of the tile.
    pub(super) fn bounds(&self, i: usize, j: usize) -> Bounds {
        let n = self.norms[0][i] + self.norms[1][j];
        let distance = n - 2.0 * self.product[[i, j]];
        let error = self.slack * n + self.floor;
        Bounds {
            low: distance - error,
            high: distance + error,
        }
    }
}

/// Rows from which c was taken off, and their squared lengths.
struct Centred {
    rows: Array2<f64>,
    norms: Vec<f64>,
}

impl Centred {
    fn of(x: &Rows<'_>, range: Range<usize>, c: &[f64]) -> Self {
        let mut rows = Array2::zeros((range.len(), x.columns()));
        let norms = rows
            .as_slice_mut()
            .expect("a new matrix is in order")
            .par_chunks_exact_mut(x.columns())
            .zip(range)
            .map(|(centred, i)| {
                let norm = x.centre(i, c, centred);
                // Beyond, a sum of two and what is compared with it could overflow.
                if norm < f64::MAX / 16.0 {
                    norm
                } else {
                    f64::NAN
                }
            })
            .collect();
        Self { rows, norms }
    }
}

/// Calls `f` with the tiles of all pairs of a row of `a` and one of `b`; of rows of one `a` with the columns in order.
pub(super) fn each_tile(a: &Rows<'_>, b: &Rows<'_>, mut f: impl FnMut(&Tile)) {
    let c = centre(&[a, b]);
    for rows in blocks(a.count()) {
        let left = Centred::of(a, rows.clone(), &c);
        for columns in blocks(b.count()) {
            let right = Centred::of(b, columns.clone(), &c);
            f(&tile([&left, &right], [&rows, &columns]));
        }
    }
}

/// The same of all pairs of rows of `a`, each pair of blocks once: the columns are not before the rows.
pub(super) fn each_tile_within(a: &Rows<'_>, mut f: impl FnMut(&Tile)) {
    let c = centre(&[a]);
    for (first, rows) in blocks(a.count()).enumerate() {
        let left = Centred::of(a, rows.clone(), &c);
        for columns in blocks(a.count()).skip(first) {
            let right = Centred::of(a, columns.clone(), &c);
            f(&tile([&left, &right], [&rows, &columns]));
        }
    }
}

fn tile([left, right]: [&Centred; 2], [rows, columns]: [&Range<usize>; 2]) -> Tile {
    let d = left.rows.ncols() as f64;
    Tile {
        rows: rows.clone(),
        columns: columns.clone(),
        product: rows_by_rows(left.rows.view(), right.rows.view(), |p| p),
        norms: [left.norms.clone(), right.norms.clone()],
        slack: 4.04 * (d + 16.0) * (f64::EPSILON / 2.0),
        floor: 8.0 * d * f64::MIN_POSITIVE,
    }
}

/// Rows 0 to n in blocks.
fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(BLOCK).map(move |i| i..(i + BLOCK).min(n))
}

/// About the mean of all rows: any c is right, and this one makes the norms small.
fn centre(sets: &[&Rows<'_>]) -> Vec<f64> {
    let columns = sets[0].columns();
    let zero = vec![0.0; columns];
    let mut sum = vec![0.0; columns];
    let mut row = vec![0.0; columns];
    let mut count = 0.0;
    for set in sets {
        for i in 0..set.count() {
            set.centre(i, &zero, &mut row);
            for (sum, x) in sum.iter_mut().zip(&row) {
                *sum += x;
            }
        }
        count += set.count() as f64;
    }
    sum.iter().map(|sum| sum / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::FeatureView;

    /// Sums of 12 numbers of a hash: nearly normal, of variance 1.
    fn points(rows: usize, columns: usize, salt: u64) -> Array2<f64> {
        let mut state = salt;
        Array2::from_shape_simple_fn((rows, columns), || {
            let uniform = (0..12).map(|_| {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut h = state;
                h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                h = (h ^ (h >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                ((h ^ (h >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
            });
            uniform.sum::<f64>() - 6.0
        })
    }

    /// The largest |D − (n − 2 pᵀq)| over its bound.
    fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        let (a, b) = (FeatureView::from(a.view()), FeatureView::from(b.view()));
        let (a, b) = (Rows::of(a), Rows::of(b));
        let mut worst = 0.0_f64;
        each_tile(&a, &b, |tile| {
            for (row, i) in tile.rows.clone().enumerate() {
                for (column, j) in tile.columns.clone().enumerate() {
                    let Bounds { low, high } = tile.bounds(row, column);
                    let distance = a.squared_distance(i, &b, j);
                    assert!(
                        low <= distance && distance <= high,
                        "{low} {distance} {high}"
                    );
                    let off = (2.0 * distance - low - high).abs() / (high - low);
                    assert!(!off.is_nan(), "{low} {distance} {high}");
                    worst = worst.max(off);
                }
            }
        });
        worst
    }

    /// The bound holds, and without centring it would say nothing: an offset of 2³⁰ leaves it as good as it was.
    #[test]
    fn the_bound_holds_for_every_offset() {
        let (a, b) = (points(300, 40, 1), points(200, 40, 2));
        for offset in [0.0, 1.0 / 3.0, 1e3, 1e9] {
            let worst = worst(&(&a + offset), &(&b + offset));
            assert!(worst > 1e-3 && worst <= 1.0, "{offset}: {worst}");
        }
        let (a, b) = (a.mapv(f64::round) / 3.0, b.mapv(f64::round) / 3.0);
        assert!(worst(&a, &b) <= 1.0, "ties");
    }

    /// What the bounds are for: of points without ties they leave hardly a comparison open.
    #[test]
    fn bounds_decide() {
        let (a, b) = (points(400, 64, 3) + 1e3, points(400, 64, 4) + 1e3);
        let (a, b) = (FeatureView::from(a.view()), FeatureView::from(b.view()));
        let (a, b) = (Rows::of(a), Rows::of(b));
        let mut undecided = 0;
        each_tile(&a, &b, |tile| {
            for i in 0..400 {
                for j in 0..400 {
                    // Against the distance of the next pair.
                    let radius = a.squared_distance(i, &b, (j + 1) % 400);
                    let Bounds { low, high } = tile.bounds(i, j);
                    undecided += usize::from(low <= radius && radius <= high);
                }
            }
        });
        assert_eq!(undecided, 0);
    }

    #[test]
    fn where_squares_may_overflow_nothing_is_said() {
        let x = ndarray::array![[4e153], [-4e153]];
        let rows = Rows::of(FeatureView::from(x.view()));
        each_tile(&rows, &rows, |tile| {
            let Bounds { low, high } = tile.bounds(0, 1);
            assert!(low.is_nan() && high.is_nan(), "{low} {high}");
        });
    }

    #[test]
    fn every_pair_of_rows_is_in_one_tile() {
        let x = points(2 * BLOCK + 1, 1, 5);
        let rows = Rows::of(FeatureView::from(x.view()));
        let (mut all, mut within) = (Vec::new(), Vec::new());
        each_tile(&rows, &rows, |tile| {
            all.push((tile.rows.clone(), tile.columns.clone()));
        });
        each_tile_within(&rows, |tile| {
            within.push((tile.rows.clone(), tile.columns.clone()));
        });
        assert_eq!((all.len(), within.len()), (9, 6));
        assert!(
            within
                .iter()
                .all(|(rows, columns)| rows.start <= columns.start)
        );
        let pairs = |tiles: &[(Range<usize>, Range<usize>)]| -> usize {
            tiles
                .iter()
                .map(|(rows, columns)| rows.len() * columns.len())
                .sum()
        };
        let n = 2 * BLOCK + 1;
        assert_eq!(pairs(&all), n * n);
        assert_eq!(2 * pairs(&within) - pairs(&within[..1]) * 2 - 1, n * n);
    }
}
