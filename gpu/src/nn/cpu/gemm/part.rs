//! The GEMM's micro-kernel: the inner loop.

use pulp::Simd;

use super::{Left, Run, tile_rows};
use crate::nn::cpu::pack::VECTORS;
use crate::nn::cpu::real::Real;

/// Micro-kernel: the contribution of a block of the inner dimension to the tiles of a panel.
pub(crate) struct Part<'a, R> {
    pub(crate) left: &'a [R],
    pub(crate) rows: Left<'a>,
    pub(crate) panel: &'a [R],
    pub(crate) block: &'a [Run],
    /// Whether the sums begin here.
    pub(crate) first: bool,
}

/// `$body` for `$i` = 0, 1, … below `$m`, written out: the compiler keeps an array in registers only if all its
/// indices are constants, and gives up unrolling a loop of this size.
macro_rules! unroll {
    ($i:ident < $m:ident, $body:block) => {
        unroll!(@ $i $m $body 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $i:ident $m:ident $body:block $($n:literal)*) => {
        $(if $n < $m {
            let $i: usize = $n;
            $body
        })*
    };
}

type Sums<R, S, const M: usize> = [[<R as Real>::Vector<S>; VECTORS]; M];

impl<R: Real> Part<'_, R> {
    /// Adds to the sums of some rows from `row` on, and of the next up to a multiple of 4; they begin `pitch` elements apart.
    #[inline(always)]
    pub(crate) fn add_some<S: Simd>(
        &self,
        simd: S,
        row: usize,
        rows: usize,
        to: &mut [R],
        pitch: usize,
    ) {
        if rows > 8 {
            self.add_to::<S, 12>(simd, row, to, pitch);
        } else if rows > 4 {
            self.add_to::<S, 8>(simd, row, to, pitch);
        } else {
            self.add_to::<S, 4>(simd, row, to, pitch);
        }
    }

    /// Adds to the sums of the M rows from `row` on; rows beyond the last one repeat it.
    #[inline(always)]
    fn add_to<S: Simd, const M: usize>(&self, simd: S, row: usize, to: &mut [R], pitch: usize) {
        let width = VECTORS * R::lanes::<S>();
        let mut sums = [[R::splat(simd, R::default()); VECTORS]; M];
        if !self.first {
            unroll!(i < M, {
                let (from, _) = R::vectors::<S>(&to[i * pitch..][..width]);
                sums[i] = [from[0], from[1]];
            });
        }
        for run in self.block {
            sums = match self.rows {
                Left::Rows { starts, .. } => {
                    let last = starts.len() - 1;
                    let mut left: [&[R]; M] = [&[]; M];
                    unroll!(i < M, {
                        left[i] = &self.left[starts[(row + i).min(last)] + run.left..][..run.len];
                    });
                    self.add_rows::<S, M>(simd, sums, left, run)
                }
                Left::Strips { pitch, .. } => {
                    let width = tile_rows::<S>();
                    let start = row / width * pitch + run.left * width;
                    let left = &self.left[start..][..run.len * width];
                    self.add_strip::<S, M>(simd, sums, left, run)
                }
            };
        }
        // Vector by vector: a copy of whole arrays would keep the sums in memory.
        unroll!(i < M, {
            let (to, _) = R::vectors_mut::<S>(&mut to[i * pitch..][..width]);
            to[0] = sums[i][0];
            to[1] = sums[i][1];
        });
    }

    /// The rows of the panel that a run meets.
    #[inline(always)]
    fn right<S: Simd>(&self, run: &Run) -> &[[R::Vector<S>; VECTORS]] {
        let width = VECTORS * R::lanes::<S>();
        let (vectors, _) = R::vectors::<S>(&self.panel[run.right * width..][..run.len * width]);
        vectors.as_chunks().0
    }

    /// Adds a run to the sums of a tile whose left rows are contiguous.
    #[inline(always)]
    fn add_rows<S: Simd, const M: usize>(
        &self,
        simd: S,
        mut sums: Sums<R, S, M>,
        mut left: [&[R]; M],
        run: &Run,
    ) -> Sums<R, S, M> {
        let right = self.right::<S>(run);
        // Cut to one length that the compiler sees: indices are then not looked at again.
        unroll!(i < M, { left[i] = &left[i][..right.len()] });
        for (p, vectors) in right.iter().enumerate() {
            unroll!(i < M, {
                let x = R::splat(simd, left[i][p]);
                sums[i] = [
                    R::mul_add(simd, x, vectors[0], sums[i][0]),
                    R::mul_add(simd, x, vectors[1], sums[i][1]),
                ];
            });
        }
        sums
    }

    /// Adds a run to the sums of a tile that is (part of) a strip.
    #[inline(always)]
    fn add_strip<S: Simd, const M: usize>(
        &self,
        simd: S,
        mut sums: Sums<R, S, M>,
        left: &[R],
        run: &Run,
    ) -> Sums<R, S, M> {
        let right = self.right::<S>(run);
        for (left, vectors) in left.chunks_exact(tile_rows::<S>()).zip(right) {
            let left = &left[..M];
            unroll!(i < M, {
                let x = R::splat(simd, left[i]);
                sums[i] = [
                    R::mul_add(simd, x, vectors[0], sums[i][0]),
                    R::mul_add(simd, x, vectors[1], sums[i][1]),
                ];
            });
        }
        sums
    }
}
