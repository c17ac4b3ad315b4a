//! GEMM whose left operand is read in place, not packed.
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

mod part;
mod strips;
mod tile;

use pulp::{Arch, Simd, WithSimd};

use super::pack::{Panels, VECTORS, copy};
use super::real::Real;
use super::scratch::Scratch;
use part::Part;
use strips::tile_rows;
pub(crate) use strips::{strip_width, strips};
pub(crate) use tile::Tile;

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
pub(crate) struct Run {
    pub left: usize,
    pub right: usize,
    pub len: usize,
}

/// The left operand: where element (i, p) of a run lies.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
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

/// Calls `store` with every tile of the product.
pub(crate) fn multiply<R: Real>(
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

/// Initial value of a product's sums.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin<'a, R> {
    /// Nothing.
    Zero,
    /// The same row for all rows.
    Row(&'a [R]),
    /// What is there.
    Held,
}

/// The product, in rows of `to` that begin `pitch` elements apart.
pub(crate) fn multiply_into<R: Real>(
    left: &[R],
    rows: Left<'_>,
    right: Panels<'_, R>,
    begin: Begin<'_, R>,
    (to, pitch): (&mut [R], usize),
) {
    debug_assert!(right.inner() > 0, "without a term nothing is written");
    Arch::new().dispatch(MultiplyInto {
        left,
        rows,
        right,
        begin,
        to,
        pitch,
    });
}

struct MultiplyInto<'a, R> {
    left: &'a [R],
    rows: Left<'a>,
    right: Panels<'a, R>,
    begin: Begin<'a, R>,
    to: &'a mut [R],
    pitch: usize,
}

impl<R: Real> WithSimd for MultiplyInto<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, most) = (VECTORS * R::lanes::<S>(), tile_rows::<S>());
        let (inner, columns, count) = (self.right.inner(), self.right.columns(), self.rows.count());
        let pitch = self.pitch;
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
                first: done == 0 && matches!(self.begin, Begin::Zero),
            };
            for row in (0..count).step_by(most) {
                let size = most.min(count - row);
                let to = &mut self.to[row * pitch + column..];
                if let (0, Begin::Row(bias)) = (done, self.begin) {
                    for to in to.chunks_mut(pitch).take(size) {
                        copy(&mut to[..used], &bias[column..][..used]);
                    }
                }
                if used == width && size.is_multiple_of(4) {
                    part.add_some(simd, row, size, to, pitch);
                    continue;
                }
                let tile = &mut tile[..most * width];
                for (tile, to) in tile.chunks_mut(width).zip(to.chunks(pitch)).take(size) {
                    tile[..used].copy_from_slice(&to[..used]);
                }
                part.add_some(simd, row, size, tile, width);
                for (tile, to) in tile.chunks(width).zip(to.chunks_mut(pitch)).take(size) {
                    to[..used].copy_from_slice(&tile[..used]);
                }
            }
        }
    }
}

/// Adds to the rows of `to`, each as wide as the panel, the product of all left rows with one panel; what `to` held counts
/// only if `adds`. It has room for whole tiles of 4 rows.
pub(crate) fn multiply_panel<R: Real>(
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
