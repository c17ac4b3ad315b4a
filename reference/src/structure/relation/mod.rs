//! Relations R between the features of two samples, and the affinity matrix of a batch: one file each.

mod cosine;
mod euclidean;
mod inner_product;
mod laplacian;
mod radial;
mod rbf;
mod squared_euclidean;
mod unit;

use ndarray::{Array2, ArrayRef2, ArrayView1};

use crate::bound::{Precision, Tracked};
use crate::check::first_non_finite;
use crate::choice::{Choice, Slot};

pub(crate) use unit::{UnitRows, through_normalisation, unit_rows};

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
    /// A parameter of the relation outside its range.
    #[error("{name} must {must}, got {got:?}")]
    Parameter {
        /// What it is called.
        name: &'static str,
        /// Its range.
        must: &'static str,
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

/// Relation of two feature vectors, by name. `[eq:relation]`
///
/// # Source
/// SADM (arXiv:2402.17563), Sec. 4.1 (Euclidean), 4.2 (cosine), Eq. 8 (inner product).
pub type Relation = Choice<dyn Kind>;

/// A relation: its affinities, their gradient, and rounding bounds of both.
///
/// Features are finite, and at least one row and one column, wherever a method is given them; `number` is the value of
/// the parameter, within its range.
pub trait Kind: Sync {
    /// `M_ij = R(ψ_i, ψ_j)`, `[B, B]`; overflows may be infinite or NaN.
    fn affinity(&self, psi: &ArrayRef2<f64>, number: f64) -> Array2<f64>;

    /// Gradient of ⟨g, M⟩ with respect to ψ from M and `h = g + gᵀ`.
    fn vjp(
        &self,
        psi: &ArrayRef2<f64>,
        m: &Array2<f64>,
        h: &Array2<f64>,
        number: f64,
    ) -> Array2<f64>;

    /// Bound for M in any computation with precision `p`.
    fn affinity_bound(&self, psi: &Tracked, number: f64, p: Precision) -> Tracked;

    /// Bound for the gradient of ⟨g, M⟩, given that for M.
    fn vjp_bound(
        &self,
        psi: &Tracked,
        m: &Tracked,
        g: &Tracked,
        number: f64,
        p: Precision,
    ) -> Tracked;

    /// The rows whose inner products are the affinities; none for a relation that is no inner product.
    fn rows(&self) -> Option<Rows> {
        None
    }
}

/// Rows whose inner products are a relation's affinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The features' own.
    Plain,
    /// Those of the features divided by their lengths: no row may be zero.
    Unit,
}

impl Slot for dyn Kind {
    const NAME: &'static str = "relation";
    const ALL: &'static [Choice<Self>] = &[
        Relation::COSINE,
        Relation::INNER_PRODUCT,
        Relation::SQUARED_EUCLIDEAN,
        Relation::EUCLIDEAN,
        Relation::RBF,
        Relation::LAPLACIAN,
    ];
}

/// Affinity matrix `M_ij = R(ψ_i, ψ_j)` of one batch. `[eq:affinity]`
///
/// # Shapes
/// `psi: [B, d]` → `[B, B]`, symmetric to the bit.
///
/// # Range
/// cosine in [−1, 1] with diagonal 1; the distances ≥ 0 with diagonal 0; kernels of distances in [0, 1] with diagonal 1: these
/// hold exactly, not only up to rounding. Distances are formed from differences, never from ‖ψ_i‖² + ‖ψ_j‖² − 2ψ_i·ψ_j.
///
/// # Errors
/// [`RelationError`], naming row and column.
///
/// # Source
/// SADM (arXiv:2402.17563), Eq. 5.
pub fn affinity(relation: Relation, psi: &ArrayRef2<f64>) -> Result<Array2<f64>, RelationError> {
    check(relation, psi)?;
    let m = relation.affinity(psi, relation.number());
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
    psi: &ArrayRef2<f64>,
    g: &Array2<f64>,
) -> Result<Array2<f64>, RelationError> {
    let m = affinity(relation, psi)?;
    if g.dim() != m.dim() {
        return Err(RelationError::GradShape {
            rows: psi.nrows(),
            got: g.shape().to_vec(),
        });
    }
    Ok(relation.vjp(psi, &m, &(g + &g.t()), relation.number()))
}

/// Refuses empty features, features that are not finite, and what the relation itself cannot take.
fn check(relation: Relation, psi: &ArrayRef2<f64>) -> Result<(), RelationError> {
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
    if let Some((name, must, got)) = relation.refused() {
        return Err(RelationError::Parameter { name, must, got });
    }
    let mut rows = psi.rows().into_iter();
    match rows.position(|r| r.iter().all(|&x| x == 0.0)) {
        Some(row) if relation.rows() == Some(Rows::Unit) => Err(RelationError::ZeroRow { row }),
        _ => Ok(()),
    }
}

/// A function of two rows at all pairs of them.
fn pairwise(
    psi: &ArrayRef2<f64>,
    r: impl Fn(ArrayView1<f64>, ArrayView1<f64>) -> f64,
) -> Array2<f64> {
    let b = psi.nrows();
    Array2::from_shape_fn((b, b), |(i, j)| r(psi.row(i), psi.row(j)))
}

/// Bound for `g x + gᵀ x`.
fn both_sides(g: &Tracked, x: &Tracked, p: Precision) -> Tracked {
    g.matmul(x, p).add(&g.transpose().matmul(x, p), p)
}
