//! Matrix products whose operands are read where they lie.
//!
//! The inner loop is the usual one: an output tile of a few rows and [`VECTORS`] vectors stays in registers while
//! the inner dimension runs, the left operand's elements are broadcast, the right operand's rows are loaded as
//! vectors. What differs from a library's product is that the inner dimension is a list of [`Run`]s, so that a
//! convolution needs no patch matrix, and that each finished tile goes to a closure, which adds a bias, turns the
//! layout or accumulates.
//!
//! An element of the result is summed in the order of the inner dimension, with one fused multiply-add per term,
//! whatever the sizes and the number of threads.

use pulp::{Arch, Simd, WithSimd};

use super::real::Real;

/// Vectors in a row of an output tile.
const VECTORS: usize = 2;
/// Most rows of an output tile: 8 · 2 accumulators, 2 vectors of the right operand and a broadcast fit into the 32
/// registers of AVX-512; 4 · 2 into the 16 of AVX2.
const ROWS: usize = 8;
/// Most elements of an output tile.
const TILE: usize = ROWS * VECTORS * 16;

/// A part of the inner dimension that is contiguous in both operands: where it begins in each, and its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub left: usize,
    pub right: usize,
    pub len: usize,
}

/// The left operand: where element (i, p) of a run lies.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// At `starts[i] + run.left + p`.
    Rows(&'a [usize]),
    /// At `run.left + p · stride + i`, for `count` rows i.
    Columns { stride: usize, count: usize },
}

impl Left<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Rows(starts) => starts.len(),
            Self::Columns { count, .. } => *count,
        }
    }
}

/// The right operand: element (p, j) of a run lies at `run.right + p · stride + j` of the panel that holds column j;
/// panels of [`panel_width`] columns begin `panel` elements apart. A panel is read to its full width.
#[derive(Clone, Copy)]
pub(super) struct Right<'a, R> {
    pub values: &'a [R],
    pub stride: usize,
    pub panel: usize,
    pub columns: usize,
}

impl<'a, R: Real> Right<'a, R> {
    /// What [`pack`] made from `inner` rows.
    pub(super) fn packed(values: &'a [R], inner: usize, columns: usize) -> Self {
        let width = panel_width::<R>();
        Self {
            values,
            stride: width,
            panel: inner * width,
            columns,
        }
    }

    /// A row-major matrix whose rows begin `stride` elements apart; beyond the last column of the last row there
    /// must be room to read a panel.
    pub(super) fn rows(values: &'a [R], stride: usize, columns: usize) -> Self {
        Self {
            values,
            stride,
            panel: panel_width::<R>(),
            columns,
        }
    }
}

impl<R: Real> Right<'_, R> {
    /// Each panel by itself.
    pub(super) fn panels(self) -> impl Iterator<Item = (usize, Self)> {
        let width = panel_width::<R>();
        (0..self.columns.div_ceil(width)).map(move |i| {
            let panel = Self {
                values: &self.values[i * self.panel..],
                columns: width.min(self.columns - i * width),
                ..self
            };
            (i * width, panel)
        })
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

impl<R> Tile<'_, R> {
    /// The rows of the tile.
    #[inline(always)]
    pub(super) fn rows(&self) -> impl Iterator<Item = &[R]> {
        self.values
            .chunks_exact(self.pitch)
            .map(|row| &row[..self.width])
    }

    /// Copies the tile, turned, into rows that begin `pitch` elements apart in `to`, from element `at` on.
    #[inline(always)]
    pub(super) fn transpose_into(&self, to: &mut [R], at: usize, pitch: usize)
    where
        R: Copy,
    {
        let rows = self.values.len() / self.pitch;
        for j in 0..self.width {
            let to = &mut to[(self.column + j) * pitch + at..][..rows];
            for (i, to) in to.iter_mut().enumerate() {
                *to = self.values[i * self.pitch + j];
            }
        }
    }
}

/// Columns of a panel: two vectors of the widest kind that the processor has.
pub(super) fn panel_width<R: Real>() -> usize {
    struct Width<R>(std::marker::PhantomData<R>);
    impl<R: Real> WithSimd for Width<R> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            VECTORS * R::lanes::<S>()
        }
    }
    Arch::new().dispatch(Width::<R>(std::marker::PhantomData))
}

/// Panels of a matrix of `inner` rows and `columns` columns, element (p, j) given by `row(p)(j)`.
pub(super) fn pack<R: Real, At: Fn(usize) -> R>(
    inner: usize,
    columns: usize,
    row: impl Fn(usize) -> At,
) -> Vec<R> {
    let width = panel_width::<R>();
    let mut panels = vec![R::default(); columns.div_ceil(width) * inner * width];
    for (i, panel) in panels.chunks_exact_mut((inner * width).max(1)).enumerate() {
        let first = i * width;
        for (p, to) in panel.chunks_exact_mut(width).enumerate() {
            let at = row(p);
            for (j, to) in to.iter_mut().take(columns - first).enumerate() {
                *to = at(first + j);
            }
        }
    }
    panels
}

/// Calls `store` with every tile of the product.
pub(super) fn multiply<R: Real>(
    left: &[R],
    rows: Left<'_>,
    right: Right<'_, R>,
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

struct Multiply<'a, R, F> {
    left: &'a [R],
    rows: Left<'a>,
    right: Right<'a, R>,
    runs: &'a [Run],
    store: F,
}

impl<R: Real, F: FnMut(Tile<'_, R>)> WithSimd for Multiply<'_, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let pitch = VECTORS * R::lanes::<S>();
        let most = if S::REGISTER_COUNT >= 32 {
            ROWS
        } else {
            ROWS / 2
        };
        let (count, columns) = (self.rows.count(), self.right.columns);
        let mut values = [R::default(); TILE];
        for panel in 0..columns.div_ceil(pitch) {
            let column = panel * pitch;
            let right = &self.right.values[panel * self.right.panel..];
            for row in (0..count).step_by(most) {
                let size = most.min(count - row);
                let values = &mut values[..size * pitch];
                match size {
                    1 => self.tile::<S, 1>(simd, row, right, values),
                    2 => self.tile::<S, 2>(simd, row, right, values),
                    3 => self.tile::<S, 3>(simd, row, right, values),
                    4 => self.tile::<S, 4>(simd, row, right, values),
                    5 => self.tile::<S, 5>(simd, row, right, values),
                    6 => self.tile::<S, 6>(simd, row, right, values),
                    7 => self.tile::<S, 7>(simd, row, right, values),
                    _ => self.tile::<S, 8>(simd, row, right, values),
                }
                (self.store)(Tile {
                    row,
                    column,
                    width: pitch.min(columns - column),
                    pitch,
                    values,
                });
            }
        }
    }
}

impl<R: Real, F> Multiply<'_, R, F> {
    #[inline(always)]
    fn tile<S: Simd, const M: usize>(&self, simd: S, row: usize, right: &[R], to: &mut [R]) {
        let mut sums = [[R::splat(simd, R::default()); VECTORS]; M];
        for run in self.runs {
            sums = match self.rows {
                Left::Rows(starts) => {
                    let starts = &starts[row..][..M];
                    let mut left: [&[R]; M] = [&[]; M];
                    for (left, start) in left.iter_mut().zip(starts) {
                        *left = &self.left[start + run.left..][..run.len];
                    }
                    add_rows::<R, S, M>(simd, sums, left, right, run, self.right.stride)
                }
                Left::Columns { stride, .. } => {
                    let left = &self.left[run.left + row..];
                    add_columns::<R, S, M>(simd, sums, left, stride, right, run, self.right.stride)
                }
            };
        }
        // Element by element: a copy of whole arrays would keep the sums in memory.
        let (to, _) = R::vectors_mut::<S>(to);
        for i in 0..M {
            for v in 0..VECTORS {
                to[i * VECTORS + v] = sums[i][v];
            }
        }
    }
}

type Sums<R, S, const M: usize> = [[<R as Real>::Vector<S>; VECTORS]; M];

/// Adds a run to the sums of a tile whose left rows are contiguous.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "p indexes each of the M rows, the loop over which is unrolled"
)]
fn add_rows<R: Real, S: Simd, const M: usize>(
    simd: S,
    mut sums: Sums<R, S, M>,
    left: [&[R]; M],
    right: &[R],
    run: &Run,
    stride: usize,
) -> Sums<R, S, M> {
    let len = run.len;
    let mut at = run.right;
    for p in 0..len {
        let row = vectors_at::<R, S>(right, at);
        for i in 0..M {
            // Each row was cut to `len` elements, so this is not looked at again.
            let x = R::splat(simd, left[i][..len][p]);
            for v in 0..VECTORS {
                sums[i][v] = R::mul_add(simd, x, row[v], sums[i][v]);
            }
        }
        at += stride;
    }
    sums
}

/// Adds a run to the sums of a tile whose left columns are contiguous.
#[inline(always)]
fn add_columns<R: Real, S: Simd, const M: usize>(
    simd: S,
    mut sums: Sums<R, S, M>,
    left: &[R],
    left_stride: usize,
    right: &[R],
    run: &Run,
    stride: usize,
) -> Sums<R, S, M> {
    let (mut at, mut left_at) = (run.right, 0);
    for _ in 0..run.len {
        let row = vectors_at::<R, S>(right, at);
        let column = &left[left_at..][..M];
        for i in 0..M {
            let x = R::splat(simd, column[i]);
            for v in 0..VECTORS {
                sums[i][v] = R::mul_add(simd, x, row[v], sums[i][v]);
            }
        }
        at += stride;
        left_at += left_stride;
    }
    sums
}

/// One row of a panel.
#[inline(always)]
fn vectors_at<R: Real, S: Simd>(right: &[R], at: usize) -> [R::Vector<S>; VECTORS] {
    let width = VECTORS * R::lanes::<S>();
    let (vectors, _) = R::vectors::<S>(&right[at..][..width]);
    [vectors[0], vectors[1]]
}
