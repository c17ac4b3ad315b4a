//! The kernel distance: squared maximum mean discrepancy under a cubic kernel.

use ndarray::{ArrayView2, Axis};

use super::error::{MetricError, check, check_columns, finite};

/// Rows of kernel values held at a time.
const BLOCK: usize = 256;
const METRIC: &str = "the kernel distance";

/// The kernel distance over several subsets.
#[derive(Debug, Clone, PartialEq)]
pub struct KidSubsets {
    /// Mean of the subsets' distances.
    pub mean: f64,
    /// Their standard deviation over n, not n−1, as torch-fidelity's.
    pub std: f64,
    /// One distance per pair of subsets.
    pub values: Vec<f64>,
}

/// Unbiased squared maximum mean discrepancy under the cubic kernel, in one block. `[eq:kid]`
///
/// # Formula
/// ```text
/// k(x, y) = (xᵀy/d + 1)³
/// KID = 1/(N(N−1)) Σ_{i≠j} k(a_i, a_j) + 1/(M(M−1)) Σ_{i≠j} k(b_i, b_j) − 2/(NM) Σ_ij k(a_i, b_j)
/// ```
///
/// # Shapes
/// `a: [N, d]`, `b: [M, d]`, N, M ≥ 2.
///
/// # Range
/// Its mean over samples is 0 where the laws agree in their first three moments, so it is sometimes negative.
///
/// # Errors
/// [`MetricError`]: what is wrong with which set and where.
///
/// # Source
/// Bińkowski et al. 2018 (arXiv:1801.01401), Sec. 4.
pub fn kid(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Result<f64, MetricError> {
    check_columns(("a", a.ncols()), ("b", b.ncols()))?;
    check("a", a, 2, METRIC)?;
    check("b", b, 2, METRIC)?;
    let (n, m) = (a.nrows() as f64, b.nrows() as f64);
    let within_a = kernel_sum(a, a, true) / (n * (n - 1.0));
    let within_b = kernel_sum(b, b, true) / (m * (m - 1.0));
    let across = kernel_sum(a, b, false) / (n * m);
    finite(METRIC, within_a + within_b - 2.0 * across)
}

/// The kernel distance with an error bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KidEstimate {
    /// [`kid`].
    pub value: f64,
    /// Its standard error by the jackknife.
    pub standard_error: f64,
}

/// [`kid`] with its jackknife standard error. `[eq:kid-jackknife]`
///
/// # Formula
/// ```text
/// s² = (N−1)/N Σ_i (K_(i) − K_(·))² + (M−1)/M Σ_j (K^(j) − K^(·))²
/// ```
/// with K_(i) the distance without a_i, K^(j) without b_j, and (·) their means: all of them from the row sums of the
/// kernel, at no more cost than the distance itself.
///
/// # Shapes
/// `a: [N, d]`, `b: [M, d]`, N, M ≥ 3.
///
/// # Errors
/// As [`kid`].
///
/// # Source
/// Arvesen 1969, for two-sample U-statistics.
pub fn kid_estimate(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Result<KidEstimate, MetricError> {
    check_columns(("a", a.ncols()), ("b", b.ncols()))?;
    check("a", a, 3, METRIC)?;
    check("b", b, 3, METRIC)?;
    let (n, m) = (a.nrows() as f64, b.nrows() as f64);
    let (aa, bb) = (row_sums(a, a, true), row_sums(b, b, true));
    let (ab, ba) = (row_sums(a, b, false), row_sums(b, a, false));
    let (within_a, within_b) = (aa.iter().sum::<f64>(), bb.iter().sum::<f64>());
    let across = ab.iter().sum::<f64>();
    let value = within_a / (n * (n - 1.0)) + within_b / (m * (m - 1.0)) - 2.0 * across / (n * m);
    // Leaving out a row takes its sum off twice within, once across.
    let without = |within: f64, own: &[f64], other: &[f64], n: f64, m: f64| {
        let left: Vec<f64> = own
            .iter()
            .zip(other)
            .map(|(own, other)| {
                (within - 2.0 * own) / ((n - 1.0) * (n - 2.0))
                    - 2.0 * (across - other) / ((n - 1.0) * m)
            })
            .collect();
        let mean = left.iter().sum::<f64>() / n;
        (n - 1.0) / n * left.iter().map(|v| (v - mean).powi(2)).sum::<f64>()
    };
    let variance = without(within_a, &aa, &ab, n, m) + without(within_b, &bb, &ba, m, n);
    Ok(KidEstimate {
        value: finite(METRIC, value)?,
        standard_error: finite(METRIC, variance)?.sqrt(),
    })
}

/// The kernel distance of each pair of subsets, given by the indices of their rows.
///
/// # Errors
/// As [`kid`]; [`MetricError::Index`]; [`MetricError::Subsets`].
pub fn kid_of_subsets(
    a: ArrayView2<f64>,
    b: ArrayView2<f64>,
    of_a: &[Vec<usize>],
    of_b: &[Vec<usize>],
) -> Result<KidSubsets, MetricError> {
    if of_a.len() != of_b.len() || of_a.is_empty() {
        return Err(MetricError::Subsets {
            a: of_a.len(),
            b: of_b.len(),
        });
    }
    let rows = |what, x: ArrayView2<f64>, indices: &[usize]| match indices
        .iter()
        .find(|&&i| i >= x.nrows())
    {
        Some(&got) => Err(MetricError::Index {
            what,
            samples: x.nrows(),
            got,
        }),
        None => Ok(x.select(Axis(0), indices)),
    };
    let values = of_a
        .iter()
        .zip(of_b)
        .map(|(i, j)| kid(rows("a", a, i)?.view(), rows("b", b, j)?.view()))
        .collect::<Result<Vec<_>, _>>()?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    Ok(KidSubsets {
        mean,
        std: variance.sqrt(),
        values,
    })
}

/// Σ_ij k(x_i, y_j), without i = j if `off_diagonal`. Rows are summed first, so the result does not depend on the block.
fn kernel_sum(x: ArrayView2<f64>, y: ArrayView2<f64>, off_diagonal: bool) -> f64 {
    row_sums(x, y, off_diagonal).iter().sum()
}

/// Σ_j k(x_i, y_j) for every i.
fn row_sums(x: ArrayView2<f64>, y: ArrayView2<f64>, off_diagonal: bool) -> Vec<f64> {
    let d = x.ncols() as f64;
    let mut rows = Vec::with_capacity(x.nrows());
    for (block, part) in x.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
        let mut k = part.dot(&y.t());
        k.mapv_inplace(|product| (product / d + 1.0).powi(3));
        for (i, mut row) in k.rows_mut().into_iter().enumerate() {
            if off_diagonal {
                row[block * BLOCK + i] = 0.0;
            }
            rows.push(row.sum());
        }
    }
    rows
}
