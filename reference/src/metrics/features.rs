//! Features as they are stored, f32 or f64, read as f64 a few rows at a time.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, CowArray, Ix2, Slice};

/// A matrix of features, f32 or f64.
///
/// What comes from a network in f32 need not take the room of f64: every f32 is an f64, so that widening a few rows at a
/// time changes no number.
///
/// # Shapes
/// `[N, d]`.
#[derive(Debug, Clone, Copy)]
pub enum FeatureView<'a> {
    /// Of f32.
    F32(ArrayView2<'a, f32>),
    /// Of f64.
    F64(ArrayView2<'a, f64>),
}

impl<'a> From<ArrayView2<'a, f32>> for FeatureView<'a> {
    fn from(x: ArrayView2<'a, f32>) -> Self {
        Self::F32(x)
    }
}

impl<'a> From<ArrayView2<'a, f64>> for FeatureView<'a> {
    fn from(x: ArrayView2<'a, f64>) -> Self {
        Self::F64(x)
    }
}

impl<'a> FeatureView<'a> {
    /// Rows and columns.
    pub fn dim(self) -> (usize, usize) {
        match self {
            Self::F32(x) => x.dim(),
            Self::F64(x) => x.dim(),
        }
    }

    /// Number of samples.
    pub fn nrows(self) -> usize {
        self.dim().0
    }

    /// Number of features.
    pub fn ncols(self) -> usize {
        self.dim().1
    }

    /// Some rows that follow each other, as f64; copied where they are f32.
    ///
    /// # Panics
    /// If the range goes beyond the rows.
    pub fn rows(self, range: Range<usize>) -> CowArray<'a, f64, Ix2> {
        match self {
            Self::F32(x) => {
                let part = x.slice_axis_move(Axis(0), Slice::from(range));
                CowArray::from(part.mapv(f64::from))
            }
            Self::F64(x) => CowArray::from(x.slice_axis_move(Axis(0), Slice::from(range))),
        }
    }

    /// Copies of some rows, each as often as its index occurs, as f64.
    ///
    /// # Panics
    /// If an index is beyond the rows.
    pub fn select(self, rows: &[usize]) -> Array2<f64> {
        match self {
            Self::F32(x) => x.select(Axis(0), rows).mapv(f64::from),
            Self::F64(x) => x.select(Axis(0), rows),
        }
    }

    /// Calls `f` with row after row.
    pub(super) fn each_row(
        self,
        rows: impl IntoIterator<Item = usize>,
        mut f: impl FnMut(ArrayView1<f64>),
    ) {
        match self {
            Self::F32(x) => {
                let mut wide = vec![0.0; x.ncols()];
                for i in rows {
                    for (wide, x) in wide.iter_mut().zip(x.row(i)) {
                        *wide = f64::from(*x);
                    }
                    f(ArrayView1::from(&wide));
                }
            }
            Self::F64(x) => {
                for i in rows {
                    f(x.row(i));
                }
            }
        }
    }

    /// Row, column and value of the first element that is infinite or NaN.
    pub(super) fn first_non_finite(self) -> Option<(usize, usize, f64)> {
        let found = |((i, j), value): ((usize, usize), f64)| (i, j, value);
        match self {
            Self::F32(x) => x
                .indexed_iter()
                .find(|(_, x)| !x.is_finite())
                .map(|(at, x)| found((at, f64::from(*x)))),
            Self::F64(x) => x
                .indexed_iter()
                .find(|(_, x)| !x.is_finite())
                .map(|(at, x)| found((at, *x))),
        }
    }
}

/// Elements one after the other in memory.
enum Elements<'a> {
    F32(Cow<'a, [f32]>),
    F64(Cow<'a, [f64]>),
}

/// The rows of a matrix of features, one after the other in memory.
pub(super) struct Rows<'a> {
    elements: Elements<'a>,
    count: usize,
    columns: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn of(x: FeatureView<'a>) -> Self {
        let (count, columns) = x.dim();
        let elements = match x {
            FeatureView::F32(x) => Elements::F32(in_order(x)),
            FeatureView::F64(x) => Elements::F64(in_order(x)),
        };
        Self {
            elements,
            count,
            columns,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// ‖a_i − b_j‖² of row i here and row j there.
    pub(super) fn squared_distance(&self, i: usize, other: &Rows<'_>, j: usize) -> f64 {
        let (own, theirs) = (self.place(i), other.place(j));
        match (&self.elements, &other.elements) {
            (Elements::F32(a), Elements::F32(b)) => squared_distance(&a[own], &b[theirs]),
            (Elements::F32(a), Elements::F64(b)) => squared_distance(&a[own], &b[theirs]),
            (Elements::F64(a), Elements::F32(b)) => squared_distance(&a[own], &b[theirs]),
            (Elements::F64(a), Elements::F64(b)) => squared_distance(&a[own], &b[theirs]),
        }
    }

    /// fl(a_i − c) into `centred`; its squared length.
    pub(super) fn centre(&self, i: usize, c: &[f64], centred: &mut [f64]) -> f64 {
        match &self.elements {
            Elements::F32(a) => subtract(&a[self.place(i)], c, centred),
            Elements::F64(a) => subtract(&a[self.place(i)], c, centred),
        }
    }

    fn place(&self, i: usize) -> Range<usize> {
        i * self.columns..(i + 1) * self.columns
    }
}

fn in_order<A: Copy>(x: ArrayView2<'_, A>) -> Cow<'_, [A]> {
    match x.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(x.iter().copied().collect()),
    }
}

fn subtract<A: Copy + Into<f64>>(x: &[A], c: &[f64], centred: &mut [f64]) -> f64 {
    for ((centred, x), c) in centred.iter_mut().zip(x).zip(c) {
        *centred = (*x).into() - c;
    }
    squared_distance(x, c)
}

/// ‖a − b‖². Eight partial sums, so that the CPU can work on several at once.
fn squared_distance<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for k in 0..8 {
            let e = a[k].into() - b[k].into();
            sums[k] += e * e;
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| {
            let e = (*a).into() - (*b).into();
            e * e
        })
        .sum();
    sums.iter().sum::<f64>() + rest
}
