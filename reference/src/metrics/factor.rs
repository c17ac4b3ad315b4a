//! Mean and covariance of a set of features, and a factor R with covariance RᵀR.

use ndarray::{Array1, Array2, ArrayView2, Axis, Slice, Zip, concatenate};

use super::error::{MetricError, beyond, check, refused, too_few};
use super::features::FeatureView;
use crate::check::first_non_finite;
use crate::linalg::{singular_vectors, triangular_factor};

/// Rows that enter one triangular factorisation; the peak of memory is a few times this many rows.
const BLOCK: usize = 1024;

/// Mean and covariance of a set of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// μ, shape `[d]`.
    pub mean: Array1<f64>,
    /// Σ, shape `[d, d]`, symmetric.
    pub covariance: Array2<f64>,
}

/// Mean of a set of features, and R with RᵀR its covariance.
///
/// R carries the covariance in full precision also where that is singular: a square root taken of an eigenvalue that
/// should be 0 but came out as u‖Σ‖ would be √u‖Σ‖^½ ≈ 1e-8, and a rank-deficient covariance has many of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Factor {
    /// μ, shape `[d]`.
    pub mean: Array1<f64>,
    /// R, shape `[p, d]` with p ≤ d.
    pub root: Array2<f64>,
    /// Number of samples, where known.
    pub samples: Option<usize>,
}

/// Mean of `n` rows, `[d]`, corrected once by the mean of what it leaves. `[eq:feature-mean]`
fn mean<I: IntoIterator<Item = usize>>(
    x: FeatureView<'_>,
    rows: impl Fn() -> I,
    n: usize,
) -> Array1<f64> {
    let mut mean = Array1::<f64>::zeros(x.ncols());
    x.each_row(rows(), |row| mean += &row);
    mean /= n as f64;
    let mut left = Array1::<f64>::zeros(x.ncols());
    x.each_row(rows(), |row| {
        Zip::from(&mut left)
            .and(&row)
            .and(&mean)
            .for_each(|left, x, mean| *left += x - mean);
    });
    mean + left / n as f64
}

/// Mean and covariance over N−1. `[eq:feature-covariance]`
///
/// # Formula
/// ```text
/// μ = 1/N Σ_i x_i,   Σ = 1/(N−1) Σ_i (x_i − μ)(x_i − μ)ᵀ
/// ```
///
/// # Shapes
/// `x: [N, d]`, N ≥ 2.
///
/// # Errors
/// [`MetricError::Argument`].
pub fn moments(what: &'static str, x: ArrayView2<f64>) -> Result<Moments, MetricError> {
    check(what, x, 2, "a covariance")?;
    let n = x.nrows();
    let mean = mean(x.into(), || 0..n, n);
    let centred = &x - &mean;
    let covariance = centred.t().dot(&centred) / (x.nrows() as f64 - 1.0);
    Ok(Moments { mean, covariance })
}

impl Factor {
    /// From the features themselves: the triangular factor of (x − μ)/√(N−1), block by block, or that matrix itself
    /// where it has no more rows than columns.
    ///
    /// # Errors
    /// As [`moments`]; [`MetricError::Overflow`]; [`MetricError::Linalg`].
    pub fn of_features<'a>(
        what: &'static str,
        x: impl Into<FeatureView<'a>>,
    ) -> Result<Self, MetricError> {
        let x = x.into();
        check(what, x, 2, "a covariance")?;
        let (n, d) = x.dim();
        let size = BLOCK.max(d);
        let blocks = (0..n)
            .step_by(size)
            .map(|i| x.rows(i..(i + size).min(n)).into_owned());
        Self::of_blocks(mean(x, || 0..n, n), n, blocks)
    }

    /// From some rows of the features, each as often as its index occurs: a resample that is never laid out.
    ///
    /// # Errors
    /// As [`Factor::of_features`]; [`MetricError::Argument`] for a row beyond the samples.
    pub fn of_rows<'a>(
        what: &'static str,
        x: impl Into<FeatureView<'a>>,
        rows: &[usize],
    ) -> Result<Self, MetricError> {
        let x = x.into();
        check(what, x, 2, "a covariance")?;
        if let Some(&got) = rows.iter().find(|row| **row >= x.nrows()) {
            return Err(beyond(what, x.nrows(), got));
        }
        if rows.len() < 2 {
            return Err(too_few(what, 2, "a covariance", rows.len()));
        }
        let mean = mean(x, || rows.iter().copied(), rows.len());
        let blocks = rows.chunks(BLOCK.max(x.ncols())).map(|rows| x.select(rows));
        Self::of_blocks(mean, rows.len(), blocks)
    }

    fn of_blocks(
        mean: Array1<f64>,
        samples: usize,
        blocks: impl Iterator<Item = Array2<f64>>,
    ) -> Result<Self, MetricError> {
        let scale = (samples as f64 - 1.0).sqrt();
        let d = mean.len();
        let mut root = Array2::zeros((0, d));
        for mut block in blocks {
            block -= &mean;
            block /= scale;
            if first_non_finite(&block).is_some() {
                return Err(MetricError::Overflow {
                    metric: "the covariance",
                });
            }
            root = concatenate![Axis(0), root, block];
            if root.nrows() > d {
                root = triangular_factor(&root)?;
            }
        }
        Ok(Self {
            mean,
            root,
            samples: Some(samples),
        })
    }

    /// From a mean and a covariance: R = Λ^½Qᵀ of Σ = QΛQᵀ.
    ///
    /// An eigenvalue below d·u·λ_max is rounding and taken for 0. One below −d·2⁻²⁴·λ_max is more than storage in f32
    /// explains and is refused.
    ///
    /// # Errors
    /// [`MetricError::Argument`], [`MetricError::Linalg`].
    pub fn of_moments(
        what: &'static str,
        moments: &Moments,
        samples: Option<usize>,
    ) -> Result<Self, MetricError> {
        let d = moments.mean.len();
        check_covariance(what, moments)?;
        let (u, lambda, vt) = singular_vectors(&moments.covariance)?;
        let largest = lambda.iter().fold(0.0_f64, |most, &l| most.max(l));
        let noise = d as f64 * f64::EPSILON / 2.0 * largest;
        let lost = d as f64 * f64::from(f32::EPSILON) / 2.0 * largest;
        let mut rows = Vec::new();
        for (k, &value) in lambda.iter().enumerate() {
            let signed = value * u.column(k).dot(&vt.row(k)).signum();
            if signed < -lost {
                let must = "have no negative eigenvalue";
                let got = format!("{signed} beside a largest of {largest}");
                return Err(refused(format!("the covariance of `{what}`"), must, got));
            }
            if signed > noise {
                rows.push(k);
            }
        }
        let mut root = Array2::zeros((rows.len(), d));
        for (mut row, &k) in root.rows_mut().into_iter().zip(&rows) {
            row.assign(&(&vt.row(k) * lambda[k].sqrt()));
        }
        Ok(Self {
            mean: moments.mean.clone(),
            root,
            samples,
        })
    }

    /// Whether the covariance is not of full rank: N ≤ d samples, as its rank is at most N−1, or a stored one with eigenvalues
    /// that are 0.
    pub fn is_rank_deficient(&self) -> bool {
        let d = self.mean.len();
        self.samples.is_some_and(|n| n <= d) || self.root.nrows() < d
    }

    /// R with rows of zeros below, `rows` in all; RᵀR is the same.
    pub(super) fn padded(&self, rows: usize) -> Array2<f64> {
        let mut padded = Array2::zeros((rows, self.root.ncols()));
        padded
            .slice_axis_mut(Axis(0), Slice::from(..self.root.nrows()))
            .assign(&self.root);
        padded
    }
}

/// Square, finite, and symmetric to what storage in f32 explains.
fn check_covariance(what: &'static str, moments: &Moments) -> Result<(), MetricError> {
    let d = moments.mean.len();
    let c = &moments.covariance;
    if c.dim() != (d, d) {
        let must = format!("have a covariance of [{d}, {d}] like its mean of {d}");
        return Err(refused(
            format!("`{what}`"),
            must,
            format!("{:?}", c.shape()),
        ));
    }
    check(what, moments.mean.view().insert_axis(Axis(0)), 1, "a mean")?;
    check(what, c.view(), 1, "a covariance")?;
    let largest = c.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    for ((row, column), &value) in c.indexed_iter() {
        let got = value - c[[column, row]];
        if got.abs() > d as f64 * f64::from(f32::EPSILON) * largest {
            let must =
                format!("be symmetric, elements ({row}, {column}) and ({column}, {row}) alike");
            let got = format!("a difference of {got}");
            return Err(refused(format!("the covariance of `{what}`"), must, got));
        }
    }
    Ok(())
}
