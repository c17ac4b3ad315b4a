//! Packing of a GEMM's right operand: each panel of a few columns is one contiguous stretch, read from end to end.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::real::{Real, vectorised};
use super::scratch::Scratch;

/// Vectors in a row of a panel.
pub(crate) const VECTORS: usize = 2;

/// Elements from which packing is worth several threads.
const MANY: usize = 1 << 15;

/// A packed right operand: column j is column j % w of panel j / w with w = [`panel_width`]; row p of a panel is
/// contiguous, and so are its rows. The last panel is as wide as the others; what its surplus columns hold does not
/// matter.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, R> {
    values: &'a [R],
    inner: usize,
    columns: usize,
}

impl<'a, R: Real> Panels<'a, R> {
    /// Panels that lie in `values` already, of `inner` rows.
    pub(crate) fn new(values: &'a [R], inner: usize, columns: usize) -> Self {
        Self {
            values,
            inner,
            columns,
        }
    }

    /// Columns of the operand.
    #[inline(always)]
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of the operand.
    #[inline(always)]
    pub(crate) fn inner(&self) -> usize {
        self.inner
    }

    /// First column and elements of each panel.
    #[inline(always)]
    pub(crate) fn panels(&self) -> impl Iterator<Item = (usize, &'a [R])> + use<'a, R> {
        let (panels, width) = (*self, panel_width::<R>());
        (0..self.columns.div_ceil(width)).map(move |i| (i * width, panels.panel(i)))
    }

    /// One panel.
    #[inline(always)]
    pub(crate) fn panel(&self, i: usize) -> &'a [R] {
        let size = self.inner * panel_width::<R>();
        &self.values[i * size..][..size]
    }

    /// The panels after the first `column` columns, if one begins there.
    pub(crate) fn after(&self, column: usize) -> Option<Self> {
        let width = panel_width::<R>();
        column.is_multiple_of(width).then(|| Self {
            values: &self.values[column * self.inner..],
            inner: self.inner,
            columns: self.columns - column,
        })
    }
}

/// Columns of a panel: two vectors of the widest kind that the CPU has.
pub(crate) fn panel_width<R: Real>() -> usize {
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

/// Room for panels of `inner` rows, filled panel by panel: `fill(panel, first column, its columns, its width)`.
pub(crate) fn pack<R: Real>(
    inner: usize,
    columns: usize,
    fill: impl Fn(&mut [R], usize, usize, usize) + Sync,
) -> Scratch<R> {
    let width = panel_width::<R>();
    let mut panels = Scratch::new(columns.div_ceil(width) * inner * width);
    let size = (inner * width).max(1);
    let fill = |(i, panel): (usize, &mut [R])| {
        let first = i * width;
        vectorised(
            #[inline(always)]
            || fill(panel, first, width.min(columns - first), width),
        );
    };
    if panels.len() < MANY {
        panels.chunks_exact_mut(size).enumerate().for_each(fill);
    } else {
        panels.par_chunks_exact_mut(size).enumerate().for_each(fill);
    }
    panels
}

/// Panels of a row-major matrix whose rows begin `stride` elements apart.
pub(crate) fn pack_rows<R: Real>(
    values: &[R],
    stride: usize,
    inner: usize,
    columns: usize,
) -> Scratch<R> {
    pack(
        inner,
        columns,
        #[inline(always)]
        |panel, first, count, width| {
            for (p, to) in panel.chunks_exact_mut(width).enumerate() {
                copy(&mut to[..count], &values[p * stride + first..][..count]);
            }
        },
    )
}

/// Copies a row as long as a panel is wide, most often: a call of the library for so few elements takes longer than
/// the copy.
#[inline(always)]
pub(crate) fn copy<R: Copy>(to: &mut [R], from: &[R]) {
    match (to.as_chunks_mut::<32>(), from.as_chunks::<32>()) {
        (([to], []), ([from], [])) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// Panels of the transpose of a row-major matrix whose rows begin `stride` elements apart.
pub(crate) fn pack_columns<R: Real>(
    values: &[R],
    stride: usize,
    inner: usize,
    columns: usize,
) -> Scratch<R> {
    pack(
        inner,
        columns,
        #[inline(always)]
        |panel, first, count, width| {
            let from = &values[first * stride..];
            turn(from, stride, inner, count, panel, width, |p| p);
        },
    )
}

/// Writes `count` rows of `from`, `stride` elements apart, into the columns of rows of `width`: element p < `len` of
/// row j to row `place(p)`, column j.
#[inline(always)]
pub(crate) fn turn<R: Real>(
    from: &[R],
    stride: usize,
    len: usize,
    count: usize,
    to: &mut [R],
    width: usize,
    place: impl Fn(usize) -> usize,
) {
    // Some terms at a time, so that the part of the panel that they fall into stays in the first-level cache.
    for start in (0..len).step_by(TERMS) {
        let terms = TERMS.min(len - start);
        let row = |j: usize| &from[j * stride + start..][..terms];
        let (lines, fours) = (count - count % LINE, count - count % 4);
        for j in (0..lines).step_by(LINE) {
            let rows: [&[R]; LINE] = rows_from(row, j);
            turn_rows(rows, to, |p| place(start + p) * width + j);
        }
        for j in (lines..fours).step_by(4) {
            let rows: [&[R]; 4] = rows_from(row, j);
            turn_rows(rows, to, |p| place(start + p) * width + j);
        }
        for j in fours..count {
            for (p, &x) in row(j).iter().enumerate() {
                to[place(start + p) * width + j] = x;
            }
        }
    }
}

/// Rows that are turned together: what they make is a line of the cache of f32.
const LINE: usize = 16;

#[inline(always)]
fn rows_from<'a, R, const N: usize>(row: impl Fn(usize) -> &'a [R], j: usize) -> [&'a [R]; N] {
    let mut rows: [&[R]; N] = [&[]; N];
    for (i, to) in rows.iter_mut().enumerate() {
        *to = row(j + i);
    }
    rows
}

/// Writes element p of N rows of one length, N at most [`LINE`] and a multiple of 4, to N elements from `at(p)` on.
#[inline(always)]
fn turn_rows<R: Real, const N: usize>(rows: [&[R]; N], to: &mut [R], at: impl Fn(usize) -> usize) {
    let mut fours: [&[[R; 4]]; N] = [&[]; N];
    for (four, row) in fours.iter_mut().zip(rows) {
        // Cut to one length that the compiler sees: indices are then not looked at again.
        *four = &row.as_chunks().0[..rows[0].len() / 4];
    }
    for p in 0..rows[0].len() / 4 {
        let mut squares = [[[R::default(); 4]; 4]; LINE / 4];
        for (square, rows) in squares.iter_mut().zip(fours.as_chunks::<4>().0) {
            *square = R::turned([rows[0][p], rows[1][p], rows[2][p], rows[3][p]]);
        }
        for i in 0..4 {
            let to = &mut to[at(4 * p + i)..][..N];
            for (to, square) in to.as_chunks_mut().0.iter_mut().zip(&squares) {
                *to = square[i];
            }
        }
    }
    for p in rows[0].len() / 4 * 4..rows[0].len() {
        let to = &mut to[at(p)..][..N];
        for (to, row) in to.iter_mut().zip(rows) {
            *to = row[p];
        }
    }
}

/// The columns p to p + 3 of four rows.
#[inline(always)]
pub(crate) fn turned<R: Real>(rows: [&[R]; 4], p: usize) -> [[R; 4]; 4] {
    let mut four = [[R::default(); 4]; 4];
    for (four, row) in four.iter_mut().zip(rows) {
        four.copy_from_slice(&row[p..p + 4]);
    }
    R::turned(four)
}

/// Terms that [`turn`] moves at a time.
const TERMS: usize = 144;

/// One panel of rows that begin anywhere: row p at `starts[p] + offset`, read to the panel's full width.
pub(crate) fn gather<R: Real>(values: &[R], starts: &[usize], offset: usize, panel: &mut [R]) {
    Arch::new().dispatch(Gather {
        values,
        starts,
        offset,
        panel,
    });
}

struct Gather<'a, R> {
    values: &'a [R],
    starts: &'a [usize],
    offset: usize,
    panel: &'a mut [R],
}

impl<R: Real> WithSimd for Gather<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = VECTORS * R::lanes::<S>();
        let (panel, _) = R::vectors_mut::<S>(self.panel);
        let (rows, _) = panel.as_chunks_mut::<VECTORS>();
        for (to, start) in rows.iter_mut().zip(self.starts) {
            let (from, _) = R::vectors::<S>(&self.values[start + self.offset..][..width]);
            to[0] = from[0];
            to[1] = from[1];
        }
    }
}
