//! Differences and sums of the two batches' features, which the loss is made of.

use rayon::prelude::*;

use super::PolarisedLoss;
use crate::nn::cpu::buffer::CHUNK;
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;
use crate::nn::cpu::sums::sum_wide;

/// Elements between the rows of P or `[P S]` beyond their own: rows that begin a multiple of 4 KiB apart would all fall into the same
/// sets of the first-level cache.
pub(crate) const APART: usize = 32;

/// What the rows of features are multiplied with.
pub(crate) struct Scales {
    /// Norms of the features, 1 unless the relation is cosine.
    pub(crate) norms: [Vec<f64>; 2],
    /// q_i, or 1 where one η is common to all and taken out.
    pub(crate) roots: Vec<f64>,
    /// η where it is common to all.
    pub(crate) common: f64,
}

impl Scales {
    /// All but the norms, which are 1.
    fn of_eta(eta: &[f64], batch: usize) -> Self {
        let (roots, common) = match eta {
            [eta] => (vec![1.0; batch], *eta),
            eta => (eta.iter().map(|eta| eta.sqrt().sqrt()).collect(), 1.0),
        };
        Self {
            norms: [vec![1.0; batch], vec![1.0; batch]],
            roots,
            common,
        }
    }

    pub(crate) fn new<R: Real>(psi: [&[R]; 2], width: usize, op: &PolarisedLoss) -> Self {
        let mut scales = Self::of_eta(&op.eta, psi[0].len() / width);
        if op.cosine {
            for (norms, psi) in scales.norms.iter_mut().zip(psi) {
                let together = CHUNK.div_ceil(width);
                norms
                    .par_chunks_mut(together)
                    .zip(psi.par_chunks(together * width))
                    .for_each(|(norms, psi)| {
                        vectorised(
                            #[inline(always)]
                            || {
                                for (own, row) in norms.iter_mut().zip(psi.chunks_exact(width)) {
                                    *own = norm(row);
                                }
                            },
                        );
                    });
            }
        }
        scales
    }

    /// q_i over the norm, of both rows i.
    #[inline(always)]
    pub(crate) fn of_row(&self, i: usize) -> [f64; 2] {
        let [own, other] = &self.norms;
        [self.roots[i] / own[i], self.roots[i] / other[i]]
    }
}

/// The rows p_i and s_i, rounded once from f64.
pub(crate) struct Rows<R: Real> {
    pub(crate) width: usize,
    /// Elements from one row to the next.
    pub(crate) pitch: usize,
    /// p_i, s_i and [`APART`] more, for each i.
    pub(crate) both: Scratch<R>,
    pub(crate) scales: Scales,
}

impl<R: Real> Rows<R> {
    pub(crate) fn new(psi: [&[R]; 2], width: usize, op: &PolarisedLoss) -> Self {
        let batch = psi[0].len() / width;
        let mut scales = Scales::of_eta(&op.eta, batch);
        let [own, other] = &mut scales.norms;
        let roots = &scales.roots;
        let pitch = 2 * width + APART;
        let mut both = Scratch::new(batch * pitch);
        both.par_chunks_mut(pitch)
            .zip((own.par_iter_mut(), other.par_iter_mut()))
            .enumerate()
            .for_each(|(i, (both, (own, other)))| {
                let [x, y] = psi.map(|psi| &psi[i * width..][..width]);
                let (p, s) = both[..2 * width].split_at_mut(width);
                vectorised(
                    #[inline(always)]
                    || {
                        if op.cosine {
                            (*own, *other) = (norm(x), norm(y));
                        }
                        let scales = [roots[i] / *own, roots[i] / *other];
                        difference_and_sum(p, s, x, y, scales);
                    },
                );
            });
        Self {
            width,
            pitch,
            both,
            scales,
        }
    }

    pub(crate) fn batch(&self) -> usize {
        self.scales.roots.len()
    }

    /// p_i and s_i.
    pub(crate) fn row(&self, i: usize) -> (&[R], &[R]) {
        self.both[i * self.pitch..][..2 * self.width].split_at(self.width)
    }

    /// The rows s_i, and what follows each: to be read with the same pitch.
    pub(crate) fn sums(&self) -> &[R] {
        &self.both[self.width..]
    }
}

#[inline(always)]
fn norm<R: Real>(row: &[R]) -> f64 {
    sum_wide(row, |x| x * x).sqrt()
}

/// p = x a − y b and s = x a + y b; with one factor, x and y are subtracted before it is applied: exactly, where they are near
/// (Sterbenz).
#[inline(always)]
pub(crate) fn difference_and_sum<R: Real>(
    p: &mut [R],
    s: &mut [R],
    x: &[R],
    y: &[R],
    [a, b]: [f64; 2],
) {
    let rows = p.iter_mut().zip(s).zip(x.iter().zip(y));
    if a.total_cmp(&b).is_eq() {
        for ((p, s), (x, y)) in rows {
            let (x, y) = (x.wide(), y.wide());
            (*p, *s) = (R::of((x - y) * a), R::of((x + y) * a));
        }
    } else {
        for ((p, s), (x, y)) in rows {
            let (x, y) = (x.wide() * a, y.wide() * b);
            (*p, *s) = (R::of(x - y), R::of(x + y));
        }
    }
}
