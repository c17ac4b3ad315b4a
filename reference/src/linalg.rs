//! The few decompositions that proofs by number need. The only file that sees LAPACK.

use ndarray::{Array1, Array2};
use ndarray_linalg::{Eigh, JobSvd, QR, SVDDC, UPLO};

/// LAPACK did not succeed, or was given a matrix it cannot take.
#[derive(Debug, thiserror::Error)]
#[error("linear algebra failed: {0}")]
pub struct LinalgError(#[from] ndarray_linalg::error::LinalgError);

/// Eigenvalues of a symmetric matrix, in ascending order; only the lower triangle is read.
///
/// # Errors
/// [`LinalgError`] if the matrix is not square or the iteration does not converge.
pub fn symmetric_eigenvalues(a: &Array2<f64>) -> Result<Array1<f64>, LinalgError> {
    Ok(a.eigh(UPLO::Lower)?.0)
}

/// The orthonormal factor Q of `a = Q R`: an orthogonal matrix if `a` is square.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix.
pub fn orthonormal_factor(a: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    Ok(a.qr()?.0)
}

/// Eigenvalues λ of a symmetric matrix in ascending order, and the orthogonal Q of `a = Q diag(λ) Qᵀ`, one eigenvector
/// per column; only the lower triangle is read.
///
/// # Errors
/// [`LinalgError`] if the matrix is not square or the iteration does not converge.
pub fn symmetric_eigen(a: &Array2<f64>) -> Result<(Array1<f64>, Array2<f64>), LinalgError> {
    Ok(a.eigh(UPLO::Lower)?)
}

/// The triangular factor R of `a = Q R` with as many rows as columns: RᵀR = aᵀa, without forming that product.
///
/// # Shapes
/// `a: [n, d]` with n ≥ d → `[d, d]`.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix.
pub fn triangular_factor(a: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    Ok(a.qr()?.1)
}

/// U, s and Vᵀ of a square `a = U diag(s) Vᵀ`, s in descending order, by divide and conquer.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix or the iteration does not converge.
pub fn singular_vectors(
    a: &Array2<f64>,
) -> Result<(Array2<f64>, Array1<f64>, Array2<f64>), LinalgError> {
    match a.svddc(JobSvd::All)? {
        (Some(u), s, Some(vt)) => Ok((u, s, vt)),
        _ => Err(LinalgError(
            ndarray_linalg::error::LinalgError::MemoryNotCont,
        )),
    }
}

/// The orthogonal factor U Vᵀ of a square `a = U diag(s) Vᵀ`: of all orthogonal W the one with the largest ⟨a, W⟩, which
/// is the sum of the singular values s.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix or the iteration does not converge.
pub fn polar_factor(a: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    let (u, _, vt) = singular_vectors(a)?;
    Ok(u.dot(&vt))
}
