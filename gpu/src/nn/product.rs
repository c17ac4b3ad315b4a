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

use super::panels::{Panels, VECTORS, copy, turned};
use super::real::{Real, vectorised};
use super::scratch::Scratch;

/// Terms that are added before the next tile's turn: with the rows of a tile, 128 rows of a panel take up half of a
/// first-level cache of 48 KiB. With 256 the panel was read from the second level again for every tile.
const DEPTH: usize = 128;
/// Rows whose sums wait at the same time.
const HEIGHT: usize = 256;
/// Elements of a result that may wait as a whole: half of a second-level cache of 1 MiB, in f32.
const WAITING: usize = 1 << 17;
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

/// The product, row-major in `to`, plus a row if there is one.
pub(super) fn multiply_into<R: Real>(
    left: &[R],
    rows: Left<'_>,
    right: Panels<'_, R>,
    bias: Option<&[R]>,
    to: &mut [R],
) {
    Arch::new().dispatch(MultiplyInto {
        left,
        rows,
        right,
        bias,
        to,
    });
}

struct MultiplyInto<'a, R> {
    left: &'a [R],
    rows: Left<'a>,
    right: Panels<'a, R>,
    bias: Option<&'a [R]>,
    to: &'a mut [R],
}

impl<R: Real> WithSimd for MultiplyInto<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, most) = (VECTORS * R::lanes::<S>(), tile_rows::<S>());
        let (inner, columns, count) = (self.right.inner(), self.right.columns(), self.rows.count());
        let mut tile = [R::default(); TILE];
        let (panels, blocks) = (columns.div_ceil(width), inner.div_ceil(DEPTH));
        // A small result waits in the cache while each block of both operands is met once; of a large one only the part of
        // a panel does.
        let blocks_first = count * columns <= WAITING;
        for i in 0..panels * blocks {
            let (panel, block) = if blocks_first {
                (i % panels, i / panels)
            } else {
                (i / blocks, i % blocks)
            };
            let (column, done) = (panel * width, block * DEPTH);
            let used = width.min(columns - column);
            let part = Part {
                left: self.left,
                rows: self.rows,
                panel: self.right.panel(panel),
                block: &[Run {
                    left: done,
                    right: done,
                    len: DEPTH.min(inner - done),
                }],
                first: done == 0 && self.bias.is_none(),
            };
            for row in (0..count).step_by(most) {
                let size = most.min(count - row);
                let to = &mut self.to[row * columns + column..];
                if let (0, Some(bias)) = (done, self.bias) {
                    for to in to.chunks_mut(columns).take(size) {
                        copy(&mut to[..used], &bias[column..][..used]);
                    }
                }
                if used == width && size.is_multiple_of(4) {
                    part.add_some(simd, row, size, to, columns);
                    continue;
                }
                let tile = &mut tile[..most * width];
                for (tile, to) in tile.chunks_mut(width).zip(to.chunks(columns)).take(size) {
                    tile[..used].copy_from_slice(&to[..used]);
                }
                part.add_some(simd, row, size, tile, width);
                for (tile, to) in tile.chunks(width).zip(to.chunks_mut(columns)).take(size) {
                    to[..used].copy_from_slice(&tile[..used]);
                }
            }
        }
    }
}

/// Adds to the rows of `to`, each as wide as the panel, the product of all left rows with one panel; what `to` held counts
/// only if `adds`. It has room for whole tiles of 4 rows.
pub(super) fn multiply_panel<R: Real>(
    left: &[R],
    rows: Left<'_>,
    panel: &[R],
    run: Run,
    to: &mut [R],
    adds: bool,
) {
    Arch::new().dispatch(MultiplyPanel {
        left,
        rows,
        panel,
        run,
        to,
        adds,
    });
}

struct MultiplyPanel<'a, R> {
    left: &'a [R],
    rows: Left<'a>,
    panel: &'a [R],
    run: Run,
    to: &'a mut [R],
    adds: bool,
}

impl<R: Real> WithSimd for MultiplyPanel<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (pitch, most, count) = (
            VECTORS * R::lanes::<S>(),
            tile_rows::<S>(),
            self.rows.count(),
        );
        for done in (0..self.run.len).step_by(DEPTH) {
            let part = Part {
                left: self.left,
                rows: self.rows,
                panel: self.panel,
                block: &[Run {
                    left: self.run.left + done,
                    right: self.run.right + done,
                    len: DEPTH.min(self.run.len - done),
                }],
                first: done == 0 && !self.adds,
            };
            for row in (0..count).step_by(most) {
                let size = most.min(count - row);
                part.add_some(simd, row, size, &mut self.to[row * pitch..], pitch);
            }
        }
    }
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
                        part.add_some(simd, row, size, values, pitch);
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
    /// Adds to the sums of some rows from `row` on, and of the next up to a multiple of 4; they begin `pitch` elements apart.
    #[inline(always)]
    fn add_some<S: Simd>(&self, simd: S, row: usize, rows: usize, to: &mut [R], pitch: usize) {
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
