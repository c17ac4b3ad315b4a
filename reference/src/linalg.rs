//! The few decompositions that proofs by number need. The only file that sees LAPACK.
//!
//! OpenBLAS divides its sums among its threads, so the last bits of a decomposition depend on how many there are. Here
//! it has one, from the first call on and for the whole process: the same matrix gives the same bits on any number of
//! threads.

use std::ffi::c_int;
use std::sync::Once;

use ndarray::{Array1, Array2};
use ndarray_linalg::{AllocatedArray, EighInto, JobSvd, QR, SVDDC, UPLO};

/// LAPACK did not succeed, or was given a matrix it cannot take.
#[derive(Debug, thiserror::Error)]
#[error("linear algebra failed: {0}")]
pub struct LinalgError(#[from] ndarray_linalg::error::LinalgError);

/// Gives OpenBLAS one thread, at the first call.
fn on_one_thread() {
    #[expect(
        unsafe_code,
        reason = "declares what cblas.h of OpenBLAS declares: void openblas_set_num_threads(int)"
    )]
    unsafe extern "C" {
        fn openblas_set_num_threads(threads: c_int);
    }
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        #[expect(
            unsafe_code,
            reason = "it stores a number, before any call of ours could read it: all of them wait for this one"
        )]
        unsafe {
            openblas_set_num_threads(1);
        }
    });
}

/// The symmetric matrix that has the lower triangle of `a`, in row order.
///
/// ndarray-linalg 0.18 hands an array over as it lies in memory, and row order is to LAPACK the transpose: with
/// `UPLO::Lower`, `eigh` reads the *upper* triangle of an array in row order and the lower one of an array in column
/// order. (`invh` has the same trap, and worse: it returns the off-diagonal elements of its argument.) Of a whole
/// matrix either triangle is the same.
fn mirrored(a: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    a.ensure_square()?;
    Ok(Array2::from_shape_fn(a.dim(), |(i, j)| {
        a[[i.max(j), i.min(j)]]
    }))
}

/// Eigenvalues of a symmetric matrix, in ascending order; only the lower triangle is read.
///
/// # Errors
/// [`LinalgError`] if the matrix is not square or the iteration does not converge.
pub fn symmetric_eigenvalues(a: &Array2<f64>) -> Result<Array1<f64>, LinalgError> {
    Ok(symmetric_eigen(a)?.0)
}

/// The orthonormal factor Q of `a = Q R`: an orthogonal matrix if `a` is square.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix.
pub fn orthonormal_factor(a: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    on_one_thread();
    Ok(a.qr()?.0)
}

/// Eigenvalues λ of a symmetric matrix in ascending order, and the orthogonal Q of `a = Q diag(λ) Qᵀ`, one eigenvector
/// per column; only the lower triangle is read.
///
/// # Errors
/// [`LinalgError`] if the matrix is not square or the iteration does not converge.
pub fn symmetric_eigen(a: &Array2<f64>) -> Result<(Array1<f64>, Array2<f64>), LinalgError> {
    on_one_thread();
    Ok(mirrored(a)?.eigh_into(UPLO::Lower)?)
}

/// The triangular factor R of `a = Q R` with as many rows as columns: RᵀR = aᵀa, without forming that product.
///
/// # Shapes
/// `a: [n, d]` with n ≥ d → `[d, d]`.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix.
pub fn triangular_factor(a: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    on_one_thread();
    Ok(a.qr()?.1)
}

/// U, s and Vᵀ of a square `a = U diag(s) Vᵀ`, s in descending order, by divide and conquer.
///
/// # Errors
/// [`LinalgError`] if LAPACK refuses the matrix or the iteration does not converge.
pub fn singular_vectors(
    a: &Array2<f64>,
) -> Result<(Array2<f64>, Array1<f64>, Array2<f64>), LinalgError> {
    on_one_thread();
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
