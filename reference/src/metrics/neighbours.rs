//! Nearest neighbours among the rows of a matrix, from squared distances formed by differences, a row at a time.

use std::borrow::Cow;

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::error::{MetricError, check, check_columns};

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

/// ‖a − b‖². Eight partial sums, so that the processor can work on several at once.
pub(super) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for k in 0..8 {
            let e = a[k] - b[k];
            sums[k] += e * e;
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    sums.iter().sum::<f64>() + rest
}

/// The rows of a matrix, one after the other in memory.
pub(super) struct Rows<'a> {
    elements: Cow<'a, [f64]>,
    columns: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn of(x: ArrayView2<'a, f64>) -> Self {
        let columns = x.ncols();
        let elements = match x.to_slice() {
            Some(slice) => Cow::Borrowed(slice),
            None => Cow::Owned(x.iter().copied().collect()),
        };
        Self { elements, columns }
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.elements[i * self.columns..(i + 1) * self.columns]
    }
}

/// Squared distance of each row to its k-th nearest neighbour among the other rows. `[eq:neighbour-radius]`
///
/// # Shapes
/// `x: [N, d]`, 1 ≤ k ≤ N−1 → `[N]`. A row is not its own neighbour, but a row equal to it is, at distance 0.
///
/// # Errors
/// [`MetricError::Neighbours`], [`MetricError::NotFinite`], [`MetricError::Empty`], [`MetricError::Overflow`].
pub fn neighbour_radii(
    what: &'static str,
    x: ArrayView2<f64>,
    k: usize,
) -> Result<Vec<f64>, MetricError> {
    check(what, x, 1, "neighbours")?;
    let n = x.nrows();
    if k == 0 || k >= n {
        return Err(MetricError::Neighbours {
            what,
            samples: n,
            most: n - 1,
            got: k,
        });
    }
    let x = Rows::of(x);
    let radii: Vec<f64> = (0..n)
        .into_par_iter()
        .map_init(
            || Vec::with_capacity(n),
            |distances, i| {
                let own = x.row(i);
                distances.clear();
                let others = (0..n).filter(|j| *j != i);
                distances.extend(others.map(|j| squared_distance(own, x.row(j))));
                *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
            },
        )
        .collect();
    refuse_overflow(radii.iter().copied())?;
    Ok(radii)
}

/// The nearest rows of `training` to each row of `queries`. `[eq:nearest]`
///
/// # Shapes
/// `queries: [N, d]`, `training: [M, d]`, M ≥ 1 → `[N]`.
///
/// # Errors
/// [`MetricError`]: what is wrong with which set and where.
pub fn nearest(
    queries: ArrayView2<f64>,
    training: ArrayView2<f64>,
) -> Result<Vec<Nearest>, MetricError> {
    check_columns(("queries", queries.ncols()), ("training", training.ncols()))?;
    check("queries", queries, 1, "neighbours")?;
    check("training", training, 1, "neighbours")?;
    let (n, m) = (queries.nrows(), training.nrows());
    let (queries, training) = (Rows::of(queries), Rows::of(training));
    let found: Vec<Nearest> = (0..n)
        .into_par_iter()
        .map(|i| nearest_of(queries.row(i), &training, m))
        .collect();
    refuse_overflow(found.iter().map(|f| f.distance))?;
    Ok(found)
}

fn nearest_of(query: &[f64], training: &Rows<'_>, m: usize) -> Nearest {
    let mut best = (0, f64::INFINITY);
    let mut second = f64::INFINITY;
    for j in 0..m {
        let distance = squared_distance(query, training.row(j));
        if distance < best.1 {
            second = best.1;
            best = (j, distance);
        } else if distance < second {
            second = distance;
        }
    }
    Nearest {
        index: best.0,
        distance: best.1.sqrt(),
        second: second.sqrt(),
    }
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
