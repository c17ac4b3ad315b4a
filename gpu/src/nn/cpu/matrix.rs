//! GEMM of row-major matrices with packed ones, in parallel over rows.

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Begin, Left, multiply_into, strip_width, strips};
use super::pack::{Panels, pack_rows, panel_width};
use super::real::Real;

/// Rows of the result that one task makes: most, and fewer where there are few.
pub(crate) const ROWS: usize = 192;

/// `y = x B (+ bias)` for the first columns of x, as many as B has rows; rows of x begin `pitch` elements apart.
pub(crate) fn rows_times<R: Real>(
    x: &[R],
    pitch: usize,
    right: Panels<'_, R>,
    rows: usize,
    bias: Option<&[R]>,
) -> Vec<R> {
    let columns = right.columns();
    let task = rows_of_task(rows, right.inner() * columns);
    let mut y = vec![R::default(); rows * columns];
    let begin = bias.map_or(Begin::Zero, Begin::Row);
    y.par_chunks_mut(task * columns)
        .zip(x.par_chunks(task * pitch))
        .for_each(|(y, x)| add_rows_times(x, pitch, right, begin, y));
    y
}

/// `y = x B`, or what it begins with and that; rows of x begin `pitch` elements apart.
pub(crate) fn add_rows_times<R: Real>(
    x: &[R],
    pitch: usize,
    right: Panels<'_, R>,
    begin: Begin<'_, R>,
    y: &mut [R],
) {
    let columns = right.columns();
    let starts: Vec<usize> = (0..y.len() / columns).map(|i| i * pitch).collect();
    let rows = Left::Rows {
        starts: &starts,
        segment: usize::MAX,
    };
    multiply_into(x, rows, right, begin, (y, columns));
}

/// [`rows_times`] with a row-major B of `inner` rows, packed a panel at a time, which is then still in the first-level cache.
///
/// Every thread packs its own: for a B of few rows, as little is done twice.
pub(crate) fn rows_times_rows<R: Real>(
    x: &[R],
    inner: usize,
    b: &[R],
    columns: usize,
    rows: usize,
) -> Vec<R> {
    let (task, width) = (rows_of_task(rows, inner * columns), panel_width::<R>());
    let starts: Vec<usize> = (0..task).map(|i| i * inner).collect();
    let mut y = vec![R::default(); rows * columns];
    y.par_chunks_mut(task * columns)
        .zip(x.par_chunks(task * inner))
        .for_each(|(y, x)| {
            let rows = Left::Rows {
                starts: &starts[..y.len() / columns],
                segment: usize::MAX,
            };
            for column in (0..columns).step_by(width) {
                let used = width.min(columns - column);
                let panel = pack_rows(&b[column..], columns, inner, used);
                let right = Panels::new(&panel, inner, used);
                multiply_into(x, rows, right, Begin::Zero, (&mut y[column..], columns));
            }
        });
    y
}

/// `y = xᵀ B` for some columns of a row-major x with rows of `width` elements.
pub(crate) fn columns_times<R: Real>(
    x: &[R],
    width: usize,
    chosen: Range<usize>,
    right: Panels<'_, R>,
) -> Vec<R> {
    let (rows, columns) = (right.inner(), right.columns());
    let task = rows_of_task(chosen.len(), rows * columns);
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
            multiply_into(&strips, left, right, Begin::Zero, (y, columns));
        });
    y
}

/// Threads that share so many multiplications: waking another takes some microseconds, in which one thread does a small
/// product by itself.
pub(crate) fn threads_for(multiplications: usize) -> usize {
    const WORTH: usize = 1 << 20;
    if multiplications < WORTH {
        1
    } else {
        rayon::current_num_threads()
    }
}

/// A thread's share of the rows, in whole strips, but at most [`ROWS`]: how rows are shared changes no sum.
fn rows_of_task(rows: usize, multiplications_of_row: usize) -> usize {
    let strip = strip_width();
    rows.div_ceil(threads_for(rows * multiplications_of_row))
        .next_multiple_of(strip)
        .clamp(strip, ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

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
