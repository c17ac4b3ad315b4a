//! Relations R between the features of two samples, and the affinity matrix of a batch.

use std::fmt;
use std::str::FromStr;

use ndarray::{Array1, Array2, ArrayView1, Axis, Zip};

use crate::check::first_non_finite;
use crate::name::{UnknownName, parse};

/// Why features were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RelationError {
    /// No samples or no features.
    #[error("features must have at least one row and one column, got [{rows}, {columns}]")]
    Empty {
        /// Number of samples.
        rows: usize,
        /// Number of features.
        columns: usize,
    },
    /// A feature is infinite or NaN.
    #[error("features must be finite, got {got:?} in row {row}, column {column}")]
    NotFinite {
        /// Row of the refused feature.
        row: usize,
        /// Its column.
        column: usize,
        /// The refused value.
        got: f64,
    },
    /// A vector without direction.
    #[error("features must not be zero under cosine, but all of row {row} are")]
    ZeroRow {
        /// The row.
        row: usize,
    },
    /// A width that is not positive.
    #[error("bandwidth must be finite and > 0, got {got:?}")]
    Bandwidth {
        /// The refused value.
        got: f64,
    },
    /// The affinity is too large for `f64`.
    #[error("affinities must be finite, but that of rows {row} and {column} overflows")]
    Overflow {
        /// One of the two rows.
        row: usize,
        /// The other.
        column: usize,
    },
    /// The gradient of an affinity matrix has its shape.
    #[error("the gradient must be [{rows}, {rows}] like the affinities, got {got:?}")]
    GradShape {
        /// Number of samples.
        rows: usize,
        /// The refused shape.
        got: Vec<usize>,
    },
}

/// How two feature vectors are related. `[eq:relation]`
///
/// # Source
/// SADM (arXiv:2402.17563), Sec. 4.1 (Euclidean), 4.2 (cosine), Eq. 8 (inner product).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Relation {
    /// `cosine`: ψ_i·ψ_j/(‖ψ_i‖‖ψ_j‖).
    Cosine,
    /// `inner-product`: ψ_i·ψ_j.
    InnerProduct,
    /// `squared-euclidean`: ‖ψ_i − ψ_j‖².
    SquaredEuclidean,
    /// `euclidean`: ‖ψ_i − ψ_j‖.
    Euclidean,
    /// `rbf`: exp(−‖ψ_i − ψ_j‖²/(2 b²)).
    Rbf {
        /// Bandwidth b > 0.
        bandwidth: f64,
    },
}

impl Relation {
    /// Every relation; bandwidth 1 for the Gaussian.
    pub const ALL: [Self; 5] = [
        Self::Cosine,
        Self::InnerProduct,
        Self::SquaredEuclidean,
        Self::Euclidean,
        Self::Rbf { bandwidth: 1.0 },
    ];
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner-product",
            Self::SquaredEuclidean => "squared-euclidean",
            Self::Euclidean => "euclidean",
            Self::Rbf { .. } => "rbf",
        })
    }
}

/// By name; bandwidth 1 for `rbf`.
impl FromStr for Relation {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("relation", &Self::ALL, name)
    }
}

/// Affinity matrix `M_ij = R(ψ_i, ψ_j)` of one batch. `[eq:affinity]`
///
/// # Shapes
/// `psi: [B, d]` → `[B, B]`, symmetric to the bit.
///
/// # Range
/// cosine in [−1, 1] with diagonal 1; the distances ≥ 0 with diagonal 0; rbf in [0, 1] with diagonal 1: these hold
/// exactly, not only up to rounding. Distances are formed from differences, never from ‖ψ_i‖² + ‖ψ_j‖² − 2ψ_i·ψ_j.
///
/// # Errors
/// [`RelationError`], naming row and column.
///
/// # Source
/// SADM (arXiv:2402.17563), Eq. 5.
pub fn affinity(relation: Relation, psi: &Array2<f64>) -> Result<Array2<f64>, RelationError> {
    check(relation, psi)?;
    let m = match relation {
        Relation::Cosine => cosine(&unit_rows(psi).0),
        Relation::InnerProduct => pairwise(psi, |a, b| a.dot(&b)),
        Relation::SquaredEuclidean => pairwise(psi, squared_distance),
        Relation::Euclidean => pairwise(psi, |a, b| squared_distance(a, b).sqrt()),
        Relation::Rbf { bandwidth } => {
            pairwise(psi, |a, b| gaussian(squared_distance(a, b), bandwidth))
        }
    };
    match first_non_finite(&m) {
        None => Ok(m),
        Some(at) => Err(RelationError::Overflow {
            row: at[0],
            column: at[1],
        }),
    }
}

/// Gradient of `⟨g, M(ψ)⟩` with respect to ψ: the affinity's vector–Jacobian product.
///
/// # Formula `[eq:affinity-vjp]`
/// With `H = g + gᵀ`:
/// ```text
/// inner product    H ψ
/// cosine           (v_i − (v_i·u_i) u_i)/‖ψ_i‖,  v = H u,  u_i = ψ_i/‖ψ_i‖
/// the others       Σ_j H_ij k_ij (ψ_i − ψ_j)
/// ```
/// with k = 2 (squared Euclidean), 1/M_ij (Euclidean, 0 at coincident points), −M_ij/b² (Gaussian). The cosine's is
/// derived step by step at `[eq:cosine-vjp]`.
///
/// # Shapes
/// `psi: [B, d]`, `g: [B, B]`, not necessarily symmetric → `[B, d]`.
///
/// # Errors
/// [`RelationError`].
pub fn affinity_vjp(
    relation: Relation,
    psi: &Array2<f64>,
    g: &Array2<f64>,
) -> Result<Array2<f64>, RelationError> {
    let m = affinity(relation, psi)?;
    if g.dim() != m.dim() {
        return Err(RelationError::GradShape {
            rows: psi.nrows(),
            got: g.shape().to_vec(),
        });
    }
    let h = g + &g.t();
    Ok(match relation {
        Relation::InnerProduct => h.dot(psi),
        Relation::Cosine => cosine_vjp(psi, &h),
        Relation::SquaredEuclidean => radial_vjp(psi, &(h * 2.0)),
        Relation::Euclidean => radial_vjp(
            psi,
            &Zip::from(&h)
                .and(&m)
                .map_collect(|&h, &m| over_distance(h, m)),
        ),
        Relation::Rbf { bandwidth } => radial_vjp(psi, &(h * &m / -bandwidth.powi(2))),
    })
}

/// Refuses empty features, features that are not finite, and what the relation itself cannot take.
fn check(relation: Relation, psi: &Array2<f64>) -> Result<(), RelationError> {
    let (rows, columns) = psi.dim();
    if rows == 0 || columns == 0 {
        return Err(RelationError::Empty { rows, columns });
    }
    if let Some(at) = first_non_finite(psi) {
        let (row, column) = (at[0], at[1]);
        return Err(RelationError::NotFinite {
            row,
            column,
            got: psi[[row, column]],
        });
    }
    match relation {
        Relation::Cosine => match psi
            .rows()
            .into_iter()
            .position(|r| r.iter().all(|&x| x == 0.0))
        {
            Some(row) => Err(RelationError::ZeroRow { row }),
            None => Ok(()),
        },
        Relation::Rbf { bandwidth } if !(bandwidth.is_finite() && bandwidth > 0.0) => {
            Err(RelationError::Bandwidth { got: bandwidth })
        }
        _ => Ok(()),
    }
}

fn pairwise(psi: &Array2<f64>, r: impl Fn(ArrayView1<f64>, ArrayView1<f64>) -> f64) -> Array2<f64> {
    let b = psi.nrows();
    Array2::from_shape_fn((b, b), |(i, j)| r(psi.row(i), psi.row(j)))
}

fn squared_distance(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    Zip::from(a)
        .and(b)
        .fold(0.0, |sum, &a, &b| sum + (a - b) * (a - b))
}

fn gaussian(squared_distance: f64, bandwidth: f64) -> f64 {
    (-0.5 * squared_distance / bandwidth.powi(2)).exp()
}

/// `h/m`, and the zero subgradient where two points coincide.
fn over_distance(h: f64, m: f64) -> f64 {
    if m == 0.0 { 0.0 } else { h / m }
}

/// Rows of length 1, and their lengths before. Each row is divided by its largest element first, so that no
/// square over- or underflows.
pub(crate) fn unit_rows(psi: &Array2<f64>) -> (Array2<f64>, Array1<f64>) {
    let mut u = psi.clone();
    let mut norms = Array1::zeros(psi.nrows());
    for (mut row, norm) in u.rows_mut().into_iter().zip(&mut norms) {
        let largest = row.fold(0.0_f64, |m, x| m.max(x.abs()));
        row /= largest;
        let length = row.dot(&row).sqrt();
        row /= length;
        *norm = largest * length;
    }
    (u, norms)
}

/// `u uᵀ` with what is known of it in exact arithmetic: unit diagonal, no element beyond ±1.
fn cosine(u: &Array2<f64>) -> Array2<f64> {
    let mut m = pairwise(u, |a, b| a.dot(&b).clamp(-1.0, 1.0));
    m.diag_mut().fill(1.0);
    m
}

fn cosine_vjp(psi: &Array2<f64>, h: &Array2<f64>) -> Array2<f64> {
    let (u, norms) = unit_rows(psi);
    let mut h = h.clone();
    // The diagonal of M is constant.
    h.diag_mut().fill(0.0);
    through_normalisation(&u, &norms, h.dot(&u))
}

/// From the gradient v with respect to unit rows to that with respect to ψ: `(I − u uᵀ) v/‖ψ‖` by rows.
pub(crate) fn through_normalisation(
    u: &Array2<f64>,
    norms: &Array1<f64>,
    mut v: Array2<f64>,
) -> Array2<f64> {
    for ((mut v, u), &norm) in v.rows_mut().into_iter().zip(u.rows()).zip(norms) {
        let along = v.dot(&u);
        v.zip_mut_with(&u, |v, &u| *v = (*v - along * u) / norm);
    }
    v
}

/// `Σ_j c_ij (ψ_i − ψ_j)` by rows.
fn radial_vjp(psi: &Array2<f64>, c: &Array2<f64>) -> Array2<f64> {
    let mut grad = Array2::zeros(psi.dim());
    for (i, mut row) in grad.axis_iter_mut(Axis(0)).enumerate() {
        for (j, other) in psi.rows().into_iter().enumerate() {
            Zip::from(&mut row)
                .and(psi.row(i))
                .and(other)
                .for_each(|g, &a, &b| *g += c[[i, j]] * (a - b));
        }
    }
    grad
}
