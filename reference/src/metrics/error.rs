//! Why a metric was refused, and the checks that metrics share.

use super::features::FeatureView;
use crate::linalg::LinalgError;

/// Why a metric was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// No features at all.
    #[error("`{what}` must have at least one column, got [{rows}, {columns}]")]
    Empty {
        /// Which array.
        what: &'static str,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// Fewer rows than the metric is defined for.
    #[error("`{what}` must hold at least {least} samples for {metric}, got {got}")]
    TooFew {
        /// Which array.
        what: &'static str,
        /// The least number of rows.
        least: usize,
        /// Which metric asks for them.
        metric: &'static str,
        /// The refused number.
        got: usize,
    },
    /// An element is infinite or NaN.
    #[error("`{what}` must be finite, got {got} in row {row}, column {column}")]
    NotFinite {
        /// Which array.
        what: &'static str,
        /// Row of the element.
        row: usize,
        /// Its column.
        column: usize,
        /// The refused value.
        got: f64,
    },
    /// Two sets in different features.
    #[error("`{second}` must have as many columns as `{first}`, {columns}, got {got}")]
    Columns {
        /// One array.
        first: &'static str,
        /// Its columns.
        columns: usize,
        /// The other.
        second: &'static str,
        /// Its columns.
        got: usize,
    },
    /// A k-th neighbour that does not exist.
    #[error(
        "k must be from 1 to {most}, for each of the {samples} samples of `{what}` has {most} neighbours besides itself; got {got}"
    )]
    Neighbours {
        /// Which array.
        what: &'static str,
        /// Its rows.
        samples: usize,
        /// The largest k.
        most: usize,
        /// The refused k.
        got: usize,
    },
    /// A split without samples.
    #[error("splits must be from 1 to {samples}, the number of samples, got {got}")]
    Splits {
        /// Number of samples.
        samples: usize,
        /// The refused number.
        got: usize,
    },
    /// A negative probability.
    #[error("`probabilities` must not be negative, got {got} in row {row}, column {column}")]
    Negative {
        /// Row of the element.
        row: usize,
        /// Its column.
        column: usize,
        /// The refused value.
        got: f64,
    },
    /// A row of probabilities that is no distribution.
    #[error(
        "every row of `probabilities` must sum to 1 (to {allowed:.1e}), but row {row} sums to {got}"
    )]
    RowSum {
        /// The row.
        row: usize,
        /// Its sum.
        got: f64,
        /// What its sum may be off by.
        allowed: f64,
    },
    /// A covariance whose shape is not that of its mean.
    #[error(
        "`{what}` must have a covariance of [{dimension}, {dimension}] like its mean of {dimension}, got {got:?}"
    )]
    CovarianceShape {
        /// Which moments.
        what: &'static str,
        /// Length of the mean.
        dimension: usize,
        /// The refused shape.
        got: Vec<usize>,
    },
    /// A covariance that is not symmetric.
    #[error(
        "the covariance of `{what}` must be symmetric, but elements ({row}, {column}) and ({column}, {row}) differ by {got}"
    )]
    NotSymmetric {
        /// Which moments.
        what: &'static str,
        /// Row of the element.
        row: usize,
        /// Its column.
        column: usize,
        /// The difference.
        got: f64,
    },
    /// A covariance with a negative eigenvalue beyond rounding.
    #[error(
        "the covariance of `{what}` must have no negative eigenvalue, got {got} beside a largest of {largest}"
    )]
    NotPositive {
        /// Which moments.
        what: &'static str,
        /// The refused eigenvalue.
        got: f64,
        /// The largest one.
        largest: f64,
    },
    /// An index beyond the samples.
    #[error("indices into `{what}` must be below {samples}, the number of samples, got {got}")]
    Index {
        /// Which array.
        what: &'static str,
        /// Its rows.
        samples: usize,
        /// The refused index.
        got: usize,
    },
    /// As many subsets of one set as of the other are needed.
    #[error("there must be as many subsets of `b` as of `a`, {a}, at least one, got {b}")]
    Subsets {
        /// Subsets of the first.
        a: usize,
        /// Subsets of the second.
        b: usize,
    },
    /// Nothing to take a statistic of.
    #[error("{what} must hold at least {least} values, got {got}")]
    Values {
        /// What values.
        what: &'static str,
        /// The least number.
        least: usize,
        /// The refused number.
        got: usize,
    },
    /// A value that is no number where a number must be.
    #[error("{what} must be {must}, got {got}")]
    Value {
        /// What.
        what: &'static str,
        /// Its domain.
        must: &'static str,
        /// The refused value.
        got: f64,
    },
    /// A distance matrix that is none.
    #[error(
        "distances must be a symmetric matrix, finite and >= 0 with zero diagonal, but element ({row}, {column}) of [{rows}, {columns}] is {got}"
    )]
    Distances {
        /// Row of the element.
        row: usize,
        /// Its column.
        column: usize,
        /// Rows of the matrix.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// The refused value.
        got: f64,
    },
    /// The result is too large for `f64`.
    #[error("the features are too large: {metric} overflows")]
    Overflow {
        /// Which metric.
        metric: &'static str,
    },
    /// A decomposition failed.
    #[error(transparent)]
    Linalg(#[from] LinalgError),
}

/// Features that a metric can take: at least one column, `least` rows, all finite.
pub(super) fn check<'a>(
    what: &'static str,
    x: impl Into<FeatureView<'a>>,
    least: usize,
    metric: &'static str,
) -> Result<(), MetricError> {
    let x = x.into();
    let (rows, columns) = x.dim();
    if columns == 0 {
        return Err(MetricError::Empty {
            what,
            rows,
            columns,
        });
    }
    if rows < least {
        return Err(MetricError::TooFew {
            what,
            least,
            metric,
            got: rows,
        });
    }
    match x.first_non_finite() {
        None => Ok(()),
        Some((row, column, got)) => Err(MetricError::NotFinite {
            what,
            row,
            column,
            got,
        }),
    }
}

/// Two sets in the same features.
pub(super) fn check_columns(
    first: (&'static str, usize),
    second: (&'static str, usize),
) -> Result<(), MetricError> {
    if first.1 == second.1 {
        Ok(())
    } else {
        Err(MetricError::Columns {
            first: first.0,
            columns: first.1,
            second: second.0,
            got: second.1,
        })
    }
}

/// The value, unless it overflowed.
pub(super) fn finite(metric: &'static str, value: f64) -> Result<f64, MetricError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(MetricError::Overflow { metric })
    }
}
