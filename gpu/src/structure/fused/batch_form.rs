//! The loss through E, a number for each pair of samples: for batches of no more samples than features.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::{APART, Scales, difference_and_sum};
use super::{BLOCK, Outcome, PolarisedLoss};
use crate::nn::cpu::gemm::Begin;
use crate::nn::cpu::matrix::{ROWS, add_rows_times, rows_times, rows_times_rows, threads_for};
use crate::nn::cpu::pack::{Panels, pack_rows, panel_width, turn};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;
use crate::nn::cpu::sums::sum_wide;

/// B ≤ d: through E.
pub(crate) fn batch_form<R: Real>(
    scales: &Scales,
    psi: [&[R]; 2],
    width: usize,
    op: &PolarisedLoss,
) -> Outcome<R> {
    let batch = scales.roots.len();
    let pairs = op.pairs(batch);
    let half = half(psi, width, scales);
    let factors = [0, 1].map(|side: usize| {
        let factor = if side == 0 { 4.0 } else { -4.0 } / pairs;
        let of_column = |j: usize| factor * scales.of_row(j)[side];
        op.wants[side].then(|| (0..batch).map(of_column).collect::<Vec<f64>>())
    });
    let (scaled, squares) = symmetric_part(&half, batch, op.without_diagonal, &factors);
    let gradient = |scaled: &[R], psi: &[R]| {
        if batch <= FEW {
            return rows_times_rows(scaled, batch, psi, width, batch);
        }
        let panels = pack_rows(psi, width, batch, width);
        let right = Panels::new(&panels, batch, width);
        rows_times(scaled, batch, right, batch, None)
    };
    let gradients = [0, 1].map(|side: usize| {
        let scaled = scaled[side].as_deref();
        scaled.map(|scaled| gradient(scaled, psi[side]))
    });
    (squares / pairs, gradients)
}

/// Samples of which a panel is packed just before it is multiplied.
const FEW: usize = 256;

/// H = P Sᵀ, some features at a time: neither P nor S is ever there as a whole.
fn half<R: Real>(psi: [&[R]; 2], width: usize, scales: &Scales) -> Scratch<R> {
    let batch = scales.roots.len();
    // A small H stays in the cache while all features go by; a large one is better met less often.
    let together = if batch <= FEW { 128 } else { 512 };
    let share = batch.div_ceil(threads_for(batch * batch * width));
    // Tiles have four rows or more.
    let share = share.next_multiple_of(4);
    let mut h = Scratch::new(batch * batch);
    h.par_chunks_mut(share * batch)
        .enumerate()
        .for_each(|(i, h)| {
            let own = i * share..i * share + h.len() / batch;
            let mut begin = Begin::Zero;
            for first in (0..width).step_by(together) {
                let features = first..width.min(first + together);
                let len = features.len();
                let (p, s) = polarised(psi, width, features, scales, &own);
                let right = Panels::new(&s, len, batch);
                for (h, p) in h
                    .chunks_mut(ROWS * batch)
                    .zip(p.chunks(ROWS * (len + APART)))
                {
                    add_rows_times(p, len + APART, right, begin, h);
                }
                begin = Begin::Held;
            }
        });
    h
}

/// Some features of the rows p_i of some samples, [`APART`], and of all s_i, packed to be multiplied with; both rounded once
/// from f64.
fn polarised<R: Real>(
    psi: [&[R]; 2],
    width: usize,
    features: Range<usize>,
    scales: &Scales,
    own: &Range<usize>,
) -> (Scratch<R>, Scratch<R>) {
    let (batch, panel, len) = (scales.roots.len(), panel_width::<R>(), features.len());
    let mut p = Scratch::new(own.len() * (len + APART));
    let mut s = Scratch::new(batch.next_multiple_of(panel) * len);
    let mut rows = Scratch::new(panel * len);
    let mut unused = Scratch::new(len);
    let panels = s.chunks_exact_mut(panel * len);
    for (first, to) in (0..batch).step_by(panel).zip(panels) {
        let samples = first..batch.min(first + panel);
        vectorised(
            #[inline(always)]
            || {
                for (i, row) in samples.clone().zip(rows.chunks_exact_mut(len)) {
                    let p = if own.contains(&i) {
                        &mut p[(i - own.start) * (len + APART)..][..len]
                    } else {
                        &mut unused[..]
                    };
                    let [x, y] = psi.map(|psi| &psi[i * width..][features.clone()]);
                    difference_and_sum(p, row, x, y, scales.of_row(i));
                }
                turn(&rows, len, len, samples.len(), to, panel, |p| p);
            },
        );
    }
    (p, s)
}

/// E = ½(H + Hᵀ), with or without its diagonal, its column j times each of the factors j; and the sum of the squares of E.
fn symmetric_part<R: Real>(
    h: &[R],
    side: usize,
    without_diagonal: bool,
    factors: &[Option<Vec<f64>>; 2],
) -> ([Option<Scratch<R>>; 2], f64) {
    let mut scaled = factors
        .each_ref()
        .map(|factors| factors.as_ref().map(|_| Scratch::new(h.len())));
    let [first, second] = scaled
        .each_mut()
        .map(|to| to.as_deref_mut().unwrap_or_default());
    let count = side.div_ceil(BLOCK);
    let blocks = in_blocks(first, BLOCK * side, count).zip(in_blocks(second, BLOCK * side, count));
    let squares: Vec<f64> = blocks
        .enumerate()
        .map(|(block, (first, second))| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = block * BLOCK..side.min((block + 1) * BLOCK);
                    let (mut e, mut sum) = ([R::default(); BLOCK * BLOCK], 0.0);
                    for start in (0..side).step_by(BLOCK) {
                        let columns = start..(start + BLOCK).min(side);
                        let len = columns.len();
                        let e = &mut e[..rows.len() * len];
                        block_of_e(h, side, without_diagonal, &rows, &columns, e);
                        sum += sum_wide(e, |e| e * e);
                        for (to, factors) in [&mut *first, &mut *second].into_iter().zip(factors) {
                            let Some(factors) = factors else { continue };
                            let factors = &factors[columns.clone()];
                            for (to, e) in to.chunks_exact_mut(side).zip(e.chunks_exact(len)) {
                                let terms = e.iter().zip(factors);
                                for (to, (e, factor)) in to[columns.clone()].iter_mut().zip(terms) {
                                    *to = R::of(e.wide() * factor);
                                }
                            }
                        }
                    }
                    sum
                },
            )
        })
        .collect();
    (scaled, squares.into_iter().sum())
}

/// Blocks of so many elements; as many empty ones if there are no elements.
fn in_blocks<R: Real>(
    values: &mut [R],
    size: usize,
    count: usize,
) -> impl IndexedParallelIterator<Item = &mut [R]> {
    let mut blocks: Vec<&mut [R]> = values.chunks_mut(size).collect();
    blocks.resize_with(count, Default::default);
    blocks.into_par_iter()
}

/// Some rows and columns of E.
#[inline(always)]
fn block_of_e<R: Real>(
    h: &[R],
    side: usize,
    without_diagonal: bool,
    rows: &Range<usize>,
    columns: &Range<usize>,
    e: &mut [R],
) {
    let len = columns.len();
    let mut turned = [R::default(); BLOCK * BLOCK];
    let from = &h[columns.start * side + rows.start..];
    turn(from, side, rows.len(), len, &mut turned, BLOCK, |i| i);
    let lines = e.chunks_exact_mut(len).zip(turned.chunks_exact(BLOCK));
    for (i, (e, turned)) in rows.clone().zip(lines) {
        let terms = h[i * side..][columns.clone()].iter().zip(turned);
        for (e, (&h, &turned)) in e.iter_mut().zip(terms) {
            *e = R::of(0.5) * (h + turned);
        }
        if without_diagonal && columns.contains(&i) {
            e[i - columns.start] = R::default();
        }
    }
}
