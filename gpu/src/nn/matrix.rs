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
