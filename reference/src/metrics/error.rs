//! Why a metric was refused, and the checks that metrics share.

use std::fmt::Display;

use super::features::FeatureView;
use crate::linalg::LinalgError;

/// Why a metric was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// An argument that the metric cannot take.
    #[error("{what} must {must}, got {got}")]
    Argument {
        /// Which.
        what: String,
        /// What it must be or hold.
        must: String,
        /// What it is or holds, and where.
        got: String,
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

/// [`MetricError::Argument`].
pub(super) fn refused(
    what: impl Into<String>,
    must: impl Into<String>,
    got: impl Display,
) -> MetricError {
    MetricError::Argument {
        what: what.into(),
        must: must.into(),
        got: got.to_string(),
    }
}

/// Fewer samples than `metric` is defined for.
pub(super) fn too_few(what: &str, least: usize, metric: &str, got: usize) -> MetricError {
    let must = format!("hold at least {least} samples for {metric}");
    refused(format!("`{what}`"), must, got)
}

/// Fewer values than a statistic is defined for.
pub(super) fn too_few_values(what: &str, least: usize, got: usize) -> MetricError {
    refused(what, format!("hold at least {least} values"), got)
}

/// An index beyond the samples.
pub(super) fn beyond(what: &str, samples: usize, got: usize) -> MetricError {
    let must = format!("be below {samples}, the number of samples");
    refused(format!("indices into `{what}`"), must, got)
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
        let got = format!("[{rows}, {columns}]");
        return Err(refused(
            format!("`{what}`"),
            "have at least one column",
            got,
        ));
    }
    if rows < least {
        return Err(too_few(what, least, metric, rows));
    }
    match x.first_non_finite() {
        None => Ok(()),
        Some((row, column, got)) => {
            let got = format!("{got} in row {row}, column {column}");
            Err(refused(format!("`{what}`"), "be finite", got))
        }
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
        let must = format!("have as many columns as `{}`, {}", first.0, first.1);
        Err(refused(format!("`{}`", second.0), must, second.1))
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
