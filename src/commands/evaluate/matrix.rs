//! Features in the precision they came in.

use anyhow::Result;
use candle_core::{Device, Tensor, WithDType};
use ndarray::{Array2, ArrayView1, Axis};
use sadm_reference::metrics::FeatureView;

/// Rows that are worked on at a time.
const ROWS: usize = 1024;

/// Features `[N, d]` of a set: f32 where a network or a file gives them so, which is half the room of f64 and the same
/// numbers.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// Of f32.
    F32(Array2<f32>),
    /// Of f64.
    F64(Array2<f64>),
}

impl Matrix {
    /// What metrics read.
    pub fn view(&self) -> FeatureView<'_> {
        match self {
            Self::F32(x) => x.view().into(),
            Self::F64(x) => x.view().into(),
        }
    }

    /// The given rows, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::F32(x) => Self::F32(x.select(Axis(0), rows)),
            Self::F64(x) => Self::F64(x.select(Axis(0), rows)),
        }
    }
}

/// Every element of some features, rounded by `round`.
pub fn rounded(x: FeatureView<'_>, round: impl Fn(f64) -> f32) -> Array2<f32> {
    let mut all = Array2::zeros(x.dim());
    let parts = all.axis_chunks_iter_mut(Axis(0), ROWS);
    for (mut part, rows) in parts.zip(blocks(x)) {
        part.zip_mut_with(&rows, |rounded, x| *rounded = round(*x));
    }
    all
}

/// Rows after rows of some features, as f64.
pub fn blocks(
    x: FeatureView<'_>,
) -> impl Iterator<Item = ndarray::CowArray<'_, f64, ndarray::Ix2>> {
    let n = x.nrows();
    (0..n)
        .step_by(ROWS)
        .map(move |i| x.rows(i..(i + ROWS).min(n)))
}

/// Rows that arrive in batches, laid down once where they stay.
pub struct Rows<T> {
    count: usize,
    next: usize,
    all: Option<Array2<T>>,
}

impl<T: WithDType> Rows<T> {
    /// Room for `count` rows, taken when the first arrive.
    pub fn new(count: usize) -> Self {
        Self {
            count,
            next: 0,
            all: None,
        }
    }

    /// Copies a matrix into the next rows.
    ///
    /// # Errors
    /// The device's; a tensor of other than two axes.
    pub fn push(&mut self, x: &Tensor) -> Result<()> {
        let x = x.to_device(&Device::Cpu)?.to_dtype(T::DTYPE)?;
        let shape = (self.count, x.dim(1)?);
        let all = self
            .all
            .get_or_insert_with(|| Array2::from_elem(shape, T::from_f64(0.0)));
        for values in x.to_vec2::<T>()? {
            all.row_mut(self.next).assign(&ArrayView1::from(&values));
            self.next += 1;
        }
        Ok(())
    }

    /// All of them; nothing where none arrived.
    pub fn all(self) -> Option<Array2<T>> {
        self.all
    }
}
