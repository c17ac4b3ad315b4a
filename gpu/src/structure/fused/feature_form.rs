//! The loss through A, C and X, a number for each pair of features: for batches of more samples than features.

use rayon::prelude::*;

use super::rows::Rows;
use super::{BLOCK, Outcome, PolarisedLoss};
use crate::nn::cpu::matrix::{columns_times, rows_times};
use crate::nn::cpu::pack::{Panels, pack, pack_rows, turn};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;
use crate::nn::cpu::sums::sum2_wide;

/// d < B: through `Pᵀ[P S]` = [A X] and SᵀS = C.
pub(crate) fn feature_form<R: Real>(rows: &Rows<R>, op: &PolarisedLoss) -> Outcome<R> {
    let (batch, width) = (rows.batch(), rows.width);
    let pairs = op.pairs(batch);
    let (ax, c) = {
        let panels = pack_rows(&rows.both, rows.pitch, batch, 2 * width);
        let both = Panels::new(&panels, batch, 2 * width);
        let ax = columns_times(&rows.both, rows.pitch, 0..width, both);
        let own: Scratch<R>;
        let sums = if let Some(sums) = both.after(width) {
            sums
        } else {
            own = pack_rows(rows.sums(), rows.pitch, batch, width);
            Panels::new(&own, batch, width)
        };
        let chosen = width..2 * width;
        (ax, columns_times(&rows.both, rows.pitch, chosen, sums))
    };
    let own: Option<Vec<f64>> = (op.without_diagonal && !op.cosine).then(|| diagonal(rows));
    let excluded: f64 = own.iter().flatten().map(|e| e * e).sum();
    let value = (0.5 * traces(&ax, &c, width) - excluded) / pairs;
    let gradient = |sign: f64| {
        let panels = gradient_factor(&ax, &c, width, [sign, 1.0 / pairs]);
        let right = Panels::new(&panels, 2 * width, width);
        let mut gradient = rows_times(&rows.both, rows.pitch, right, batch, None);
        if let Some(own) = &own {
            without_own(rows, own, &mut gradient, [sign, 2.0 / pairs]);
        }
        gradient
    };
    let [real, generated] = op.wants;
    (
        value,
        [
            real.then(|| gradient(1.0)),
            generated.then(|| gradient(-1.0)),
        ],
    )
}

/// ⟨A, C⟩ + tr X², in f64; `[A X]` in rows of 2d.
fn traces<R: Real>(ax: &[R], c: &[R], width: usize) -> f64 {
    let row = |i: usize| ax[i * 2 * width..][..2 * width].split_at(width);
    let sums: Vec<f64> = c
        .par_chunks(BLOCK * width)
        .enumerate()
        .map(|(block, c)| {
            vectorised(
                #[inline(always)]
                || {
                    let (mut sum, mut turned) = (0.0, [R::default(); BLOCK * BLOCK]);
                    for start in (0..width).step_by(BLOCK) {
                        let columns = start..(start + BLOCK).min(width);
                        let from = &ax[(2 * start + 1) * width + block * BLOCK..];
                        let (pitch, count) = (2 * width, c.len() / width);
                        turn(from, pitch, count, columns.len(), &mut turned, BLOCK, |i| i);
                        for (i, c) in c.chunks_exact(width).enumerate() {
                            let (a, x) = row(block * BLOCK + i);
                            let (a, c) = (&a[columns.clone()], &c[columns.clone()]);
                            sum += sum2_wide(a, c, |a, c| a * c);
                            let turned = &turned[i * BLOCK..][..columns.len()];
                            sum += sum2_wide(&x[columns.clone()], turned, |x, y| x * y);
                        }
                    }
                    sum
                },
            )
        })
        .collect();
    sums.into_iter().sum()
}

/// What `[P S]` is multiplied with for a gradient, packed: `factor (± C + Xᵀ)` above `factor (± X + A)`.
fn gradient_factor<R: Real>(
    ax: &[R],
    c: &[R],
    width: usize,
    [sign, factor]: [f64; 2],
) -> Scratch<R> {
    pack(
        2 * width,
        width,
        #[inline(always)]
        |panel, first, count, pitch| {
            let (above, below) = panel.split_at_mut(width * pitch);
            // Xᵀ, to which ± C is added where it lies.
            let x = &ax[(2 * first + 1) * width..];
            turn(x, 2 * width, width, count, above, pitch, |p| p);
            for (p, to) in above.chunks_exact_mut(pitch).enumerate() {
                let c = &c[p * width + first..];
                for (to, c) in to[..count].iter_mut().zip(c) {
                    *to = R::of(factor * (sign * c.wide() + to.wide()));
                }
            }
            for (p, to) in below.chunks_exact_mut(pitch).enumerate() {
                let (a, x) = ax[p * 2 * width..][..2 * width].split_at(width);
                let terms = a[first..].iter().zip(&x[first..]);
                for (to, (a, x)) in to[..count].iter_mut().zip(terms) {
                    *to = R::of(factor * (sign * x.wide() + a.wide()));
                }
            }
        },
    )
}

/// E_ii = ⟨p_i, s_i⟩.
fn diagonal<R: Real>(rows: &Rows<R>) -> Vec<f64> {
    let own = |i: usize| {
        let (p, s) = rows.row(i);
        vectorised(
            #[inline(always)]
            || sum2_wide(p, s, |p, s| p * s),
        )
    };
    (0..rows.batch()).into_par_iter().map(own).collect()
}

/// Takes the share of the excluded pairs from a gradient: E_ii (± s_i + p_i) times a factor, twice ψ_i or −ψ̂_i being s_i ± p_i.
fn without_own<R: Real>(rows: &Rows<R>, own: &[f64], gradient: &mut [R], [sign, factor]: [f64; 2]) {
    gradient
        .par_chunks_mut(rows.width)
        .enumerate()
        .for_each(|(i, g)| {
            let (p, s) = rows.row(i);
            let share = factor * own[i];
            vectorised(
                #[inline(always)]
                || {
                    for (g, (p, s)) in g.iter_mut().zip(p.iter().zip(s)) {
                        *g = R::of(g.wide() - share * (sign * s.wide() + p.wide()));
                    }
                },
            );
        });
}
