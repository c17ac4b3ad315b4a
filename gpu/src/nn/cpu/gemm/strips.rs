//! Register tiles of the GEMM: their number of rows, and left operands cut into strips of as many.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::nn::cpu::real::Real;
use crate::nn::cpu::scratch::Scratch;

/// Rows of a full tile: 12 · 2 accumulators, 2 vectors of the right operand and a broadcast fit into the 32 registers
/// of AVX-512; 4 · 2 into the 16 of AVX2.
#[inline(always)]
pub(crate) fn tile_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 4 }
}

/// Rows of a strip of [`Left::Strips`]: those of a full tile.
pub(crate) fn strip_width() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            tile_rows::<S>()
        }
    }
    Arch::new().dispatch(Width)
}

/// Strips of the transpose of a row-major matrix, cut from some of its columns: what [`Left::Strips`] reads. Read where
/// they lie the columns would be a whole row apart, which for some widths is always the same place in the cache.
pub(crate) fn strips<R: Real>(x: &[R], width: usize, columns: Range<usize>) -> Scratch<R> {
    let strip = strip_width();
    let size = x.len() / width.max(1) * strip;
    let mut strips = Scratch::new(columns.len().div_ceil(strip) * size);
    // Some strips at a time, since the rows are pages of their own.
    for (i, group) in strips.chunks_mut((TOGETHER * size).max(1)).enumerate() {
        let columns = columns.start + i * TOGETHER * strip..columns.end;
        for (p, row) in x.chunks_exact(width).enumerate() {
            let from = row[columns.clone()].chunks(strip);
            for (to, from) in group.chunks_exact_mut(size).zip(from) {
                let to = &mut to[p * strip..][..from.len()];
                match (to.as_chunks_mut::<12>(), from.as_chunks::<12>()) {
                    (([to], []), ([from], [])) => *to = *from,
                    // A call of the library for so few takes longer than the copy.
                    _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                }
            }
        }
    }
    strips
}

/// Strips that are cut together.
const TOGETHER: usize = 8;
