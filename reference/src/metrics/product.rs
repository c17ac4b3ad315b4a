//! A function of the elements of a matrix product, on all threads.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Most rows of the product that one task makes.
const PART: usize = 256;

/// `f(⟨a_i, b_j⟩)` for the rows of `a` and of `b`, of equal length.
pub(super) fn rows_by_rows(
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    f: impl Fn(f64) -> f64 + Sync,
) -> Array2<f64> {
    let mut product = Array2::zeros((a.nrows(), b.nrows()));
    let share = a.nrows().div_ceil(rayon::current_num_threads());
    let share = share.clamp(1, PART);
    let parts = product.axis_chunks_iter_mut(Axis(0), share);
    parts
        .zip(a.axis_chunks_iter(Axis(0), share))
        .par_bridge()
        .for_each(|(mut part, a)| {
            general_mat_mul(1.0, &a, &b.t(), 0.0, &mut part);
            part.mapv_inplace(&f);
        });
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_its_own_rows_product() {
        for rows in [0, 1, PART, 2 * PART + 3] {
            let a = Array2::from_shape_fn((rows, 3), |(i, j)| (3 * i + j) as f64);
            let b = Array2::from_shape_fn((5, 3), |(i, j)| (i * i + 7 * j) as f64);
            let product = rows_by_rows(a.view(), b.view(), |p| 2.0 * p + 1.0);
            assert_eq!(product.dim(), (rows, 5));
            // Sums of small integers are exact.
            for ((i, j), x) in product.indexed_iter() {
                let want: f64 = a.row(i).iter().zip(b.row(j)).map(|(a, b)| a * b).sum();
                assert_eq!(x.to_bits(), (2.0 * want + 1.0).to_bits(), "{i} {j}");
            }
        }
    }
}
