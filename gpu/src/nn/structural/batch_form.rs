//! The loss through E, a number for each pair of samples: for batches of no more samples than features.

use rayon::prelude::*;

use super::super::matrix::rows_times;
use super::super::panels::{Panels, pack_columns, pack_rows, turn};
use super::super::real::{Real, vectorised};
use super::super::scratch::Scratch;
use super::super::sums::sum_wide;
use super::rows::Rows;
use super::{BLOCK, Outcome, PolarisedLoss};

/// B ≤ d: through E.
pub(super) fn batch_form<R: Real>(
    rows: &Rows<R>,
    psi: [&[R]; 2],
    op: &PolarisedLoss,
) -> Outcome<R> {
    let (batch, width) = (rows.batch(), rows.width);
    let pairs = op.pairs(batch);
    let panels = pack_columns(rows.sums(), rows.pitch, width, batch);
    let right = Panels::new(&panels, width, batch);
    let half = rows_times(&rows.both, rows.pitch, right, batch, None);
    let (e, squares) = symmetric_part(&half, batch, op.without_diagonal);
    let gradient = |side: usize| {
        let factor = if side == 0 { 4.0 } else { -4.0 } / pairs;
        let scales = rows.roots.iter().zip(&rows.norms[side]);
        let scales: Vec<f64> = scales.map(|(root, norm)| factor * root / norm).collect();
        let scaled = columns_scaled(&e, &scales);
        let panels = pack_rows(psi[side], width, batch, width);
        let right = Panels::new(&panels, batch, width);
        rows_times(&scaled, batch, right, batch, None)
    };
    let gradients = [0, 1].map(|side: usize| op.wants[side].then(|| gradient(side)));
    (squares / pairs, gradients)
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
