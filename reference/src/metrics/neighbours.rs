//! Nearest neighbours among the rows of a matrix, from squared distances formed by differences: so that ties are ties. Bounds
//! from a matrix product say which of them need not be formed.

use rayon::prelude::*;

use super::distances::{Tile, each_tile, each_tile_within};
use super::error::{MetricError, check, check_columns, refused};
use super::features::{FeatureView, Rows};

/// Most neighbours that are kept for each row while the others go by.
const MOST_KEPT: usize = 64;

/// A sample's nearest neighbours in another set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Row of the nearest one, the first of them where several are as near.
    pub index: usize,
    /// Its distance.
    pub distance: f64,
    /// Distance of the second nearest; infinite where the other set has one row.
    pub second: f64,
}

impl Nearest {
    /// Distance of the nearest over that of the second nearest, in [0, 1]; 0 where the nearest coincides.
    pub fn ratio(&self) -> f64 {
        if self.distance == 0.0 {
            0.0
        } else {
            self.distance / self.second
        }
    }
}

/// Squared distance of each row to its k-th nearest neighbour among the other rows. `[eq:neighbour-radius]`
///
/// # Shapes
/// `x: [N, d]`, 1 ≤ k ≤ N−1 → `[N]`. A row is not its own neighbour, but a row equal to it is, at distance 0.
///
/// # Error
/// Each is the k-th smallest fl(‖x_i − x_j‖²), to the last bit: the product of blocks of rows only rules out distances
/// that its bound puts above k others.
///
/// # Errors
/// [`MetricError::Argument`], [`MetricError::Overflow`].
pub fn neighbour_radii<'a>(
    what: &'static str,
    x: impl Into<FeatureView<'a>>,
    k: usize,
) -> Result<Vec<f64>, MetricError> {
    let x = x.into();
    check(what, x, 1, "neighbours")?;
    let n = x.nrows();
    if k == 0 || k >= n {
        let most = n - 1;
        let must = format!(
            "be from 1 to {most}, for each of the {n} samples of `{what}` has {most} neighbours besides itself"
        );
        return Err(refused("k", must, k));
    }
    let x = Rows::of(x);
    let radii = if k > MOST_KEPT {
        radii_one_by_one(&x, k)
    } else {
        radii_by_tiles(&x, k)
    };
    refuse_overflow(radii.iter().copied())?;
    Ok(radii)
}

/// From all distances of a row at once.
fn radii_one_by_one(x: &Rows<'_>, k: usize) -> Vec<f64> {
    let n = x.count();
    let radius = |distances: &mut Vec<f64>, i| {
        distances.clear();
        let others = (0..n).filter(|j| *j != i);
        distances.extend(others.map(|j| x.squared_distance(i, x, j)));
        *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
    };
    (0..n)
        .into_par_iter()
        .map_init(|| Vec::with_capacity(n), radius)
        .collect()
}

/// From the k smallest distances of every row so far; a new one is formed where its bound does not put it above them.
fn radii_by_tiles(x: &Rows<'_>, k: usize) -> Vec<f64> {
    let mut smallest = vec![f64::INFINITY; x.count() * k];
    let offer = |kept: &mut [f64], low: f64, i: usize, j: usize| {
        if i != j && !ruled_out(low, kept[k - 1]) {
            insert(kept, x.squared_distance(i, x, j));
        }
    };
    each_tile_within(x, |tile| {
        let Tile { rows, columns, .. } = tile;
        let own = smallest[rows.start * k..rows.end * k].par_chunks_exact_mut(k);
        own.enumerate().for_each(|(row, kept)| {
            for (column, j) in columns.clone().enumerate() {
                offer(kept, tile.bounds(row, column).low, rows.start + row, j);
            }
        });
        if rows == columns {
            return;
        }
        let own = smallest[columns.start * k..columns.end * k].par_chunks_exact_mut(k);
        own.enumerate().for_each(|(column, kept)| {
            for (row, i) in rows.clone().enumerate() {
                offer(
                    kept,
                    tile.bounds(row, column).low,
                    columns.start + column,
                    i,
                );
            }
        });
    });
    smallest.chunks_exact(k).map(|kept| kept[k - 1]).collect()
}

/// Whether a distance is at least `most`; not where its bound is NaN.
fn ruled_out(low: f64, most: f64) -> bool {
    low >= most
}

/// Puts a value among others in ascending order, the last of which falls out if it is larger.
fn insert(kept: &mut [f64], value: f64) {
    let at = kept.partition_point(|other| *other <= value);
    if let Some(above) = kept.get_mut(at..)
        && let Some(last) = above.last_mut()
    {
        *last = value;
        above.rotate_right(1);
    }
}

/// The nearest rows of `training` to each row of `queries`. `[eq:nearest]`
///
/// # Shapes
/// `queries: [N, d]`, `training: [M, d]`, M ≥ 1 → `[N]`.
///
/// # Error
/// As of [`neighbour_radii`].
///
/// # Errors
/// [`MetricError`]: what is wrong with which set and where.
pub fn nearest<'a, 'b>(
    queries: impl Into<FeatureView<'a>>,
    training: impl Into<FeatureView<'b>>,
) -> Result<Vec<Nearest>, MetricError> {
    let (queries, training) = (queries.into(), training.into());
    check_columns(("queries", queries.ncols()), ("training", training.ncols()))?;
    check("queries", queries, 1, "neighbours")?;
    check("training", training, 1, "neighbours")?;
    let found = nearest_by_tiles(&Rows::of(queries), &Rows::of(training));
    refuse_overflow(found.iter().map(|f| f.distance))?;
    Ok(found)
}

/// From the two smallest distances of every row so far, with the columns in order.
fn nearest_by_tiles(queries: &Rows<'_>, training: &Rows<'_>) -> Vec<Nearest> {
    // Squared, until all have gone by.
    let none = Nearest {
        index: 0,
        distance: f64::INFINITY,
        second: f64::INFINITY,
    };
    let mut found = vec![none; queries.count()];
    each_tile(queries, training, |tile| {
        let own = found[tile.rows.clone()].par_iter_mut().enumerate();
        own.for_each(|(i, found)| {
            for (column, j) in tile.columns.clone().enumerate() {
                if ruled_out(tile.bounds(i, column).low, found.second) {
                    continue;
                }
                let distance = queries.squared_distance(tile.rows.start + i, training, j);
                if distance < found.distance {
                    found.second = found.distance;
                    (found.index, found.distance) = (j, distance);
                } else if distance < found.second {
                    found.second = distance;
                }
            }
        });
    });
    for found in &mut found {
        found.distance = found.distance.sqrt();
        found.second = found.second.sqrt();
    }
    found
}

/// Refuses distances that overflowed.
fn refuse_overflow(mut distances: impl Iterator<Item = f64>) -> Result<(), MetricError> {
    if distances.all(f64::is_finite) {
        Ok(())
    } else {
        Err(MetricError::Overflow {
            metric: "a distance",
        })
    }
}
