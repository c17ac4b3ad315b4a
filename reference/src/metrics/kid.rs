//! The kernel distance: squared maximum mean discrepancy under a cubic kernel.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis};

use super::error::{MetricError, beyond, check, check_columns, finite, refused};
use super::features::FeatureView;
use super::product::rows_by_rows;

/// Rows of a block of kernel values.
const BLOCK: usize = 1024;
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
/// Its mean over independent samples is 0 where the laws agree in their first three moments, so it is sometimes negative. Of samples of
/// C equally likely classes in equal shares it is lower by `[eq:kid-shares]`
/// ```text
/// (C−1)/C (k_w − k_b)/(N−1)      k_w: mean kernel of two samples of one class, k_b: of two classes
/// ```
///
/// # Errors
/// [`MetricError`]: what is wrong with which set and where.
///
/// # Source
/// Bińkowski et al. 2018 (arXiv:1801.01401), Sec. 4.
pub fn kid<'a, 'b>(
    a: impl Into<FeatureView<'a>>,
    b: impl Into<FeatureView<'b>>,
) -> Result<f64, MetricError> {
    let (a, b) = (a.into(), b.into());
    check_columns(("a", a.ncols()), ("b", b.ncols()))?;
    check("a", a, 2, METRIC)?;
    check("b", b, 2, METRIC)?;
    let (n, m) = (a.nrows() as f64, b.nrows() as f64);
    let sum = |rows: Vec<f64>| rows.iter().sum::<f64>();
    let within_a = sum(sums_within(a)) / (n * (n - 1.0));
    let within_b = sum(sums_within(b)) / (m * (m - 1.0));
    let across = sum(sums_across(a, b).0) / (n * m);
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
pub fn kid_estimate<'a, 'b>(
    a: impl Into<FeatureView<'a>>,
    b: impl Into<FeatureView<'b>>,
) -> Result<KidEstimate, MetricError> {
    let (a, b) = (a.into(), b.into());
    check_columns(("a", a.ncols()), ("b", b.ncols()))?;
    check("a", a, 3, METRIC)?;
    check("b", b, 3, METRIC)?;
    let (n, m) = (a.nrows() as f64, b.nrows() as f64);
    let (aa, bb) = (sums_within(a), sums_within(b));
    let (ab, ba) = sums_across(a, b);
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
/// As [`kid`]; [`MetricError::Argument`] for subsets that do not fit.
pub fn kid_of_subsets<'a, 'b>(
    a: impl Into<FeatureView<'a>>,
    b: impl Into<FeatureView<'b>>,
    of_a: &[Vec<usize>],
    of_b: &[Vec<usize>],
) -> Result<KidSubsets, MetricError> {
    let (a, b) = (a.into(), b.into());
    if of_a.len() != of_b.len() || of_a.is_empty() {
        let must = format!(
            "be as many as the subsets of `a`, {}, at least one",
            of_a.len()
        );
        return Err(refused("the subsets of `b`", must, of_b.len()));
    }
    let rows = |what, x: FeatureView<'_>, indices: &[usize]| match indices
        .iter()
        .find(|&&i| i >= x.nrows())
    {
        Some(&got) => Err(beyond(what, x.nrows(), got)),
        None => Ok(x.select(indices)),
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

/// Σ_j k(x_i, x_j) over j ≠ i, for every i: of two blocks the kernel is computed once.
fn sums_within(x: FeatureView<'_>) -> Vec<f64> {
    let mut sums = vec![0.0; x.nrows()];
    for (first, rows) in blocks(x.nrows()).enumerate() {
        let part = x.rows(rows.clone());
        for columns in blocks(x.nrows()).skip(first) {
            let mut k = kernel(part.view(), x.rows(columns.clone()).view());
            if rows == columns {
                k.diag_mut().fill(0.0);
            } else {
                add(&mut sums[columns], &k, Axis(0));
            }
            add(&mut sums[rows.clone()], &k, Axis(1));
        }
    }
    sums
}

/// Σ_j k(x_i, y_j) for every i, and Σ_i k(x_i, y_j) for every j.
fn sums_across(x: FeatureView<'_>, y: FeatureView<'_>) -> (Vec<f64>, Vec<f64>) {
    let mut sums = (vec![0.0; x.nrows()], vec![0.0; y.nrows()]);
    for rows in blocks(x.nrows()) {
        let part = x.rows(rows.clone());
        for columns in blocks(y.nrows()) {
            let k = kernel(part.view(), y.rows(columns.clone()).view());
            add(&mut sums.0[rows.clone()], &k, Axis(1));
            add(&mut sums.1[columns], &k, Axis(0));
        }
    }
    sums
}

fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(BLOCK).map(move |i| i..(i + BLOCK).min(n))
}

/// (⟨a_i, b_j⟩/d + 1)³.
fn kernel(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let d = a.ncols() as f64;
    rows_by_rows(a, b, |p| (p / d + 1.0).powi(3))
}

/// Adds the sums of a matrix over an axis.
fn add(sums: &mut [f64], k: &Array2<f64>, axis: Axis) {
    for (sum, more) in sums.iter_mut().zip(k.sum_axis(axis)) {
        *sum += more;
    }
}
