//! Matrix products whose left operand is read where it lies.
//!
//! The inner loop is the usual one: an output tile of a few rows and [`VECTORS`] vectors stays in registers while
//! the inner dimension runs, the left operand's elements are broadcast, the right operand's rows are loaded as
//! vectors. What differs from a library's product is that the inner dimension is a list of [`Run`]s, so that a
//! convolution needs no patch matrix, and that each finished tile goes to a closure, which adds a bias, turns the
//! layout or accumulates.
//!
//! A long inner dimension is walked in blocks of [`DEPTH`], so that the block of a panel stays in the first-level
//! cache while all tiles of some [`HEIGHT`] rows take their turn; their sums wait in between.
//!
//! An element of the result is summed in the order of the inner dimension, with one fused multiply-add per term,
//! whatever the sizes and the number of threads.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::panels::{Panels, VECTORS, turned};
use super::real::{Real, vectorised};
use super::scratch::Scratch;

/// Terms that are added before the next tile's turn: with the rows of a tile, 128 rows of a panel take up half of a
/// first-level cache of 48 KiB. With 256 the panel was read from the second level again for every tile.
const DEPTH: usize = 128;
/// Rows whose sums wait at the same time.
const HEIGHT: usize = 256;
/// Most elements of a tile.
const TILE: usize = 12 * VECTORS * 16;

/// A part of the inner dimension that is contiguous in the left operand: where it begins there, which row of the
/// panels it meets first, and its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub left: usize,
    pub right: usize,
    pub len: usize,
}

/// The left operand: where element (i, p) of a run lies.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// At `starts[i] + run.left + p`; a tile keeps to `segment` rows.
    Rows { starts: &'a [usize], segment: usize },
    /// At `(i / w) · pitch + (run.left + p) · w + i % w` with w = [`strip_width`], for `count` rows i.
    Strips { pitch: usize, count: usize },
}

impl Left<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Rows { starts, .. } => starts.len(),
            Self::Strips { count, .. } => *count,
        }
    }

    /// First row and number of rows of each tile.
    fn tiles(&self, most: usize) -> Vec<(usize, usize)> {
        let segment = match self {
            Self::Rows { segment, .. } => *segment,
            Self::Strips { .. } => usize::MAX,
        };
        let (count, mut row) = (self.count(), 0);
        let mut tiles = Vec::with_capacity(count / most + count / segment.max(1) + 1);
        while row < count {
            let end = count.min((row / segment + 1).saturating_mul(segment));
            let size = most.min(end - row);
            tiles.push((row, size));
            row += size;
        }
        tiles
    }
}

/// A finished part of the product: rows from `row`, columns from `column`, `width` of them in each `pitch`.
pub(super) struct Tile<'a, R> {
    pub row: usize,
    pub column: usize,
    pub width: usize,
    pitch: usize,
    values: &'a [R],
}

impl<R: Real> Tile<'_, R> {
    /// The rows of the tile.
    #[inline(always)]
    pub(super) fn rows(&self) -> impl Iterator<Item = &[R]> {
        self.values
            .chunks_exact(self.pitch)
            .map(|row| &row[..self.width])
    }

    /// Copies the tile, turned, into rows that begin `pitch` elements apart in `to`, from element `at` on; to each of
    /// them its element of `bias` is added.
    pub(super) fn turn_into(&self, to: &mut [R], at: usize, pitch: usize, bias: Option<&[R]>) {
        vectorised(
            #[inline(always)]
            || {
                let bias = |j: usize| bias.map_or(R::default(), |bias| bias[self.column + j]);
                let rows = self.values.len() / self.pitch;
                let row = |i: usize| &self.values[i * self.pitch..][..self.width];
                let start = |i: usize, j: usize| (self.column + j) * pitch + at + i;
                let whole = (rows - rows % 4, self.width - self.width % 4);
                for i in (0..whole.0).step_by(4) {
                    let four = [row(i), row(i + 1), row(i + 2), row(i + 3)];
                    for j in (0..whole.1).step_by(4) {
                        for (k, column) in turned(four, j).into_iter().enumerate() {
                            let bias = bias(j + k);
                            to[start(i, j + k)..][..4].copy_from_slice(&[
                                column[0] + bias,
                                column[1] + bias,
                                column[2] + bias,
                                column[3] + bias,
                            ]);
                        }
                    }
                    for j in whole.1..self.width {
                        let bias = bias(j);
                        let to = &mut to[start(i, j)..][..4];
                        for (to, row) in to.iter_mut().zip(four) {
                            *to = row[j] + bias;
                        }
                    }
                }
                for i in whole.0..rows {
                    for (j, &x) in row(i).iter().enumerate() {
                        to[start(i, j)] = x + bias(j);
                    }
                }
            },
        );
    }
}

/// Rows of a full tile: 12 · 2 accumulators, 2 vectors of the right operand and a broadcast fit into the 32 registers
/// of AVX-512; 4 · 2 into the 16 of AVX2.
#[inline(always)]
fn tile_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 4 }
}

/// Rows of a strip of [`Left::Strips`]: those of a full tile.
pub(super) fn strip_width() -> usize {
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
pub(super) fn strips<R: Real>(x: &[R], width: usize, columns: Range<usize>) -> Scratch<R> {
    let strip = strip_width();
    let size = x.len() / width.max(1) * strip;
    let mut strips = Scratch::new(columns.len().div_ceil(strip) * size);
    for (i, to) in strips.chunks_exact_mut(size.max(1)).enumerate() {
        let first = columns.start + i * strip;
        let count = strip.min(columns.end - first);
        for (to, from) in to.chunks_exact_mut(strip).zip(x.chunks_exact(width)) {
            to[..count].copy_from_slice(&from[first..][..count]);
        }
    }
    strips
}

/// Calls `store` with every tile of the product.
pub(super) fn multiply<R: Real>(
    left: &[R],
    rows: Left<'_>,
    right: Panels<'_, R>,
    runs: &[Run],
    store: impl FnMut(Tile<'_, R>),
) {
    Arch::new().dispatch(Multiply {
        left,
        rows,
        right,
        runs,
        store,
    });
}

/// The runs, cut so that each block has at most [`DEPTH`] terms; none if they are no more than that together.
fn blocks(runs: &[Run]) -> Vec<Vec<Run>> {
    if runs.iter().map(|run| run.len).sum::<usize>() <= DEPTH {
        return Vec::new();
    }
    let (mut blocks, mut block, mut room) = (Vec::new(), Vec::new(), DEPTH);
    for &run in runs {
        let mut rest = run;
        while rest.len > 0 {
            let len = rest.len.min(room);
            block.push(Run { len, ..rest });
            rest = Run {
                left: rest.left + len,
                right: rest.right + len,
                len: rest.len - len,
            };
            room -= len;
            if room == 0 {
                blocks.push(std::mem::take(&mut block));
                room = DEPTH;
            }
        }
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}

struct Multiply<'a, R, F> {
    left: &'a [R],
    rows: Left<'a>,
    right: Panels<'a, R>,
    runs: &'a [Run],
    store: F,
}

impl<R: Real, F: FnMut(Tile<'_, R>)> WithSimd for Multiply<'_, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (pitch, most) = (VECTORS * R::lanes::<S>(), tile_rows::<S>());
        let tiles = self.rows.tiles(most);
        let cut = blocks(self.runs);
        let blocks: &[&[Run]] = if cut.is_empty() {
            &[self.runs]
        } else {
            &cut.iter().map(Vec::as_slice).collect::<Vec<_>>()
        };
        let together = (HEIGHT / most).min(tiles.len()).max(1);
        let mut sums = Scratch::new(cut.len().min(1) * together * most * pitch);
        let mut tile = [R::default(); TILE];
        for tiles in tiles.chunks(together) {
            for (column, panel) in self.right.panels() {
                let width = pitch.min(self.right.columns() - column);
                for (b, &block) in blocks.iter().enumerate() {
                    let part = Part {
                        left: self.left,
                        rows: self.rows,
                        panel,
                        block,
                        first: b == 0,
                    };
                    for (t, &(row, size)) in tiles.iter().enumerate() {
                        let values = match sums.get_mut(t * most * pitch..) {
                            Some(sums) if blocks.len() > 1 => &mut sums[..most * pitch],
                            _ => &mut tile[..most * pitch],
                        };
                        if size > 8 {
                            part.add_to::<S, 12>(simd, row, values);
                        } else if size > 4 {
                            part.add_to::<S, 8>(simd, row, values);
                        } else {
                            part.add_to::<S, 4>(simd, row, values);
                        }
                        if b + 1 == blocks.len() {
                            (self.store)(Tile {
                                row,
                                column,
                                width,
                                pitch,
                                values: &values[..size * pitch],
                            });
                        }
                    }
                }
            }
        }
    }
}

/// What a block of the inner dimension adds to the tiles of a panel.
struct Part<'a, R> {
    left: &'a [R],
    rows: Left<'a>,
    panel: &'a [R],
    block: &'a [Run],
    /// Whether the sums begin here.
    first: bool,
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
    /// Adds to the sums of the M rows from `row` on; rows beyond the last one repeat it.
    #[inline(always)]
    fn add_to<S: Simd, const M: usize>(&self, simd: S, row: usize, to: &mut [R]) {
        let (to, _) = R::vectors_mut::<S>(to);
        let to = &mut to[..VECTORS * M];
        let mut sums = [[R::splat(simd, R::default()); VECTORS]; M];
        if !self.first {
            unroll!(i < M, { sums[i] = [to[VECTORS * i], to[VECTORS * i + 1]] });
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
            to[VECTORS * i] = sums[i][0];
            to[VECTORS * i + 1] = sums[i][1];
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
