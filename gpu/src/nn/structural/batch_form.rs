//! The loss through E, a number for each pair of samples: for batches of no more samples than features.

use std::ops::Range;

use rayon::prelude::*;

use super::super::matrix::{ROWS, add_rows_times, rows_times, rows_times_rows};
use super::super::panels::{Panels, pack_rows, panel_width, turn};
use super::super::product::Begin;
use super::super::real::{Real, vectorised};
use super::super::scratch::Scratch;
use super::super::sums::sum_wide;
use super::rows::{APART, Scales, difference_and_sum};
use super::{BLOCK, Outcome, PolarisedLoss};

/// B ≤ d: through E.
pub(super) fn batch_form<R: Real>(
    scales: &Scales,
    psi: [&[R]; 2],
    width: usize,
    op: &PolarisedLoss,
) -> Outcome<R> {
    let batch = scales.roots.len();
    let pairs = op.pairs(batch);
    let half = half(psi, width, scales);
    let (e, squares) = symmetric_part(&half, batch, op.without_diagonal);
    let gradient = |side: usize| {
        let factor = if side == 0 { 4.0 } else { -4.0 } / pairs;
        let of_column = |j: usize| factor * scales.of_row(j)[side];
        let scaled = columns_scaled(&e, &(0..batch).map(of_column).collect::<Vec<f64>>());
        if batch <= FEW {
            return rows_times_rows(&scaled, batch, psi[side], width, batch);
        }
        let panels = pack_rows(psi[side], width, batch, width);
        let right = Panels::new(&panels, batch, width);
        rows_times(&scaled, batch, right, batch, None)
    };
    let gradients = [0, 1].map(|side: usize| op.wants[side].then(|| gradient(side)));
    (squares / pairs, gradients)
}

/// Samples of which a panel is packed just before it is multiplied.
const FEW: usize = 256;

/// H = P Sᵀ, some features at a time: neither P nor S is ever there as a whole.
fn half<R: Real>(psi: [&[R]; 2], width: usize, scales: &Scales) -> Vec<R> {
    let batch = scales.roots.len();
    // A small H stays in the cache while all features go by; a large one is better met less often.
    let together = if batch <= FEW { 128 } else { 512 };
    let share = batch.div_ceil(rayon::current_num_threads());
    let mut h = vec![R::default(); batch * batch];
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

/// Column j times its scale.
fn columns_scaled<R: Real>(e: &[R], scales: &[f64]) -> Scratch<R> {
    let mut scaled = Scratch::new(e.len());
    scaled
        .par_chunks_mut(BLOCK * scales.len())
        .zip(e.par_chunks(BLOCK * scales.len()))
        .for_each(|(to, from)| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = to.chunks_exact_mut(scales.len());
                    for (to, from) in rows.zip(from.chunks_exact(scales.len())) {
                        for (to, (e, scale)) in to.iter_mut().zip(from.iter().zip(scales)) {
                            *to = R::of(e.wide() * scale);
                        }
                    }
                },
            );
        });
    scaled
}

/// ½(H + Hᵀ), with or without its diagonal, and the sum of its squares.
fn symmetric_part<R: Real>(h: &[R], side: usize, without_diagonal: bool) -> (Vec<R>, f64) {
    let mut e = vec![R::default(); h.len()];
    let squares: Vec<f64> = e
        .par_chunks_mut(BLOCK * side)
        .enumerate()
        .map(|(block, rows)| {
            vectorised(
                #[inline(always)]
                || {
                    let first = block * BLOCK;
                    let mut turned = [R::default(); BLOCK * BLOCK];
                    for start in (0..side).step_by(BLOCK) {
                        let columns = start..(start + BLOCK).min(side);
                        let from = &h[start * side + first..];
                        let count = rows.len() / side;
                        turn(from, side, count, columns.len(), &mut turned, BLOCK, |i| i);
                        for (i, row) in rows.chunks_exact_mut(side).enumerate() {
                            let from = &h[(first + i) * side..][columns.clone()];
                            let terms = from.iter().zip(&turned[i * BLOCK..]);
                            let part = &mut row[columns.clone()];
                            for (e, (&h, &turned)) in part.iter_mut().zip(terms) {
                                *e = R::of(0.5) * (h + turned);
                            }
                            if without_diagonal && columns.contains(&(first + i)) {
                                part[first + i - start] = R::default();
                            }
                        }
                    }
                    sum_wide(rows, |e| e * e)
                },
            )
        })
        .collect();
    (e, squares.into_iter().sum())
}
