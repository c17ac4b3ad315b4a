//! Quantities built from an instance, to be shown to a reader.

use ndarray::Array2;

/// Numbers that a statement builds from an instance's free values, with the name they have in its formulas.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The name.
    pub name: String,
    /// The numbers, one row for each sample.
    pub rows: Array2<f64>,
}

impl Built {
    pub(super) fn rows(name: impl Into<String>, rows: Array2<f64>) -> Self {
        let name = name.into();
        Self { name, rows }
    }

    pub(super) fn row(name: impl Into<String>, values: &[f64]) -> Self {
        Self::rows(
            name,
            Array2::from_shape_fn((1, values.len()), |(_, j)| values[j]),
        )
    }

    /// A square image by rows.
    pub(super) fn square(name: impl Into<String>, pixels: &[f64], side: usize) -> Self {
        Self::rows(
            name,
            Array2::from_shape_fn((side, side), |(i, j)| pixels[i * side + j]),
        )
    }

    /// Rows of the same length.
    pub(super) fn list<R: AsRef<[f64]>>(name: impl Into<String>, rows: &[R]) -> Self {
        let width = rows.first().map_or(0, |row| row.as_ref().len());
        let all = Array2::from_shape_fn((rows.len(), width), |(i, j)| rows[i].as_ref()[j]);
        Self::rows(name, all)
    }
}
