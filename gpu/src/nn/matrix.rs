//! Products of whole row-major matrices with packed ones, in parallel over their rows.

use std::ops::Range;

use rayon::prelude::*;

use super::panels::Panels;
use super::product::{Left, multiply_into, strip_width, strips};
use super::real::Real;

/// Rows of the result that one task makes: most, and fewer where there are few.
const ROWS: usize = 192;

/// `y = x B (+ bias)` for the first columns of x, as many as B has rows; rows of x begin `pitch` elements apart.
pub(super) fn rows_times<R: Real>(
    x: &[R],
    pitch: usize,
    right: Panels<'_, R>,
    rows: usize,
    bias: Option<&[R]>,
) -> Vec<R> {
    let columns = right.columns();
    let task = rows_of_task(rows);
    let starts: Vec<usize> = (0..task).map(|i| i * pitch).collect();
    let mut y = vec![R::default(); rows * columns];
    y.par_chunks_mut(task * columns)
        .zip(x.par_chunks(task * pitch))
        .for_each(|(y, x)| {
            let rows = Left::Rows {
                starts: &starts[..y.len() / columns],
                segment: usize::MAX,
            };
            multiply_into(x, rows, right, bias, y);
        });
    y
}

/// `y = xᵀ B` for some columns of a row-major x with rows of `width` elements.
pub(super) fn columns_times<R: Real>(
    x: &[R],
    width: usize,
    chosen: Range<usize>,
    right: Panels<'_, R>,
) -> Vec<R> {
    let (rows, columns) = (right.inner(), right.columns());
    let task = rows_of_task(chosen.len());
    let mut y = vec![R::default(); chosen.len() * columns];
    y.par_chunks_mut(task * columns)
        .enumerate()
        .for_each(|(i, y)| {
            let count = y.len() / columns;
            let first = chosen.start + i * task;
            let strips = strips(x, width, first..first + count);
            let left = Left::Strips {
                pitch: strip_width() * rows,
                count,
            };
            multiply_into(&strips, left, right, None, y);
        });
    y
}

/// A thread's share of the rows, in whole strips, but at most [`ROWS`]: how rows are shared changes no sum.
fn rows_of_task(rows: usize) -> usize {
    let strip = strip_width();
    rows.div_ceil(rayon::current_num_threads())
        .next_multiple_of(strip)
        .clamp(strip, ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::panels::pack_rows;

    /// Both orders of panels and blocks, with and without a bias: of small integers the sums are exact.
    #[test]
    fn blocks_of_small_and_large_results_are_all_added() {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let one = one.expect("a pool");
        for (rows, inner, columns) in [(30, 300, 40), (ROWS + 3, 300, 700), (25, 129, 33)] {
            let x: Vec<f32> = (0..rows * inner)
                .map(|i| (i * 7 % 13) as f32 - 6.0)
                .collect();
            let b: Vec<f32> = (0..inner * columns)
                .map(|i| (i * 5 % 11) as f32 - 5.0)
                .collect();
            let bias: Vec<f32> = (0..columns).map(|j| j as f32).collect();
            for bias in [None, Some(&*bias)] {
                let y = one.install(|| {
                    let panels = pack_rows(&b, columns, inner, columns);
                    rows_times(&x, inner, Panels::new(&panels, inner, columns), rows, bias)
                });
                for (i, y) in y.chunks(columns).enumerate() {
                    let mut want = bias.map_or(vec![0.0; columns], <[f32]>::to_vec);
                    for (x, b) in x[i * inner..][..inner].iter().zip(b.chunks(columns)) {
                        want.iter_mut().zip(b).for_each(|(want, b)| *want += x * b);
                    }
                    assert!(y == want, "row {i} of {rows}×{inner}×{columns}");
                }
            }
        }
    }
}
