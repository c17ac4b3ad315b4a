//! Small dense matrices of [`Rounded`] numbers: products, Cholesky factor, and what follows from it.

use ndarray::{Array1, Array2};

use crate::rounding::Rounded;

/// A matrix whose entries carry their bounds.
pub type Matrix = Array2<Rounded>;
/// A vector whose entries carry their bounds.
pub type Vector = Array1<Rounded>;

/// Entries taken as they are.
pub fn exact(values: &Array2<f64>) -> Matrix {
    values.mapv(Rounded::exact)
}

/// c I, `[n, n]`.
pub fn multiple_of_identity(c: Rounded, n: usize) -> Matrix {
    Array2::from_shape_fn((n, n), |(i, j)| if i == j { c } else { 0.0.into() })
}

/// A B.
pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
        Rounded::sum((0..a.ncols()).map(|k| a[[i, k]] * b[[k, j]]))
    })
}

/// A x.
pub fn apply(a: &Matrix, x: &Vector) -> Vector {
    Array1::from_shape_fn(a.nrows(), |i| {
        Rounded::sum((0..a.ncols()).map(|k| a[[i, k]] * x[k]))
    })
}

/// A S Aᵀ.
pub fn congruence(a: &Matrix, s: &Matrix) -> Matrix {
    product(&product(a, s), &a.t().to_owned())
}

/// Σ_i x_i y_i.
pub fn inner(x: &Vector, y: &Vector) -> Rounded {
    Rounded::sum(x.iter().zip(y).map(|(&a, &b)| a * b))
}

/// Σ_i A_ii.
pub fn trace(a: &Matrix) -> Rounded {
    Rounded::sum((0..a.nrows()).map(|i| a[[i, i]]))
}

/// c A.
pub fn scaled(a: &Matrix, c: Rounded) -> Matrix {
    a.mapv(|v| v * c)
}

/// A + B.
pub fn plus(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_shape_fn(a.dim(), |index| a[index] + b[index])
}

/// x − y.
pub fn difference(a: &Vector, b: &Vector) -> Vector {
    Vector::from_shape_fn(a.len(), |i| a[i] - b[i])
}

/// A positive definite matrix by its factor, S = L Lᵀ.
#[derive(Debug, Clone)]
pub struct Cholesky {
    lower: Matrix,
}

impl Cholesky {
    /// The factor; `None` unless every pivot is positive by more than its error.
    pub fn new(s: &Matrix) -> Option<Self> {
        let n = s.nrows();
        let mut lower = multiple_of_identity(0.0.into(), n);
        for j in 0..n {
            for i in j..n {
                let known = Rounded::sum((0..j).map(|k| lower[[i, k]] * lower[[j, k]]));
                let rest = s[[i, j]] - known;
                if i > j {
                    lower[[i, j]] = rest / lower[[j, j]];
                } else if rest.value > rest.error {
                    lower[[i, j]] = rest.sqrt();
                } else {
                    return None;
                }
            }
        }
        Some(Self { lower })
    }

    /// log det S = 2 Σ log L_ii.
    pub fn log_det(&self) -> Rounded {
        Rounded::sum((0..self.lower.nrows()).map(|i| self.lower[[i, i]].ln())) * 2.0
    }

    /// L⁻¹ x.
    fn forward(&self, x: &Vector) -> Vector {
        let mut y = x.clone();
        for i in 0..x.len() {
            let known = Rounded::sum((0..i).map(|k| self.lower[[i, k]] * y[k]));
            y[i] = (x[i] - known) / self.lower[[i, i]];
        }
        y
    }

    /// xᵀ S⁻¹ x = ‖L⁻¹ x‖².
    pub fn quadratic(&self, x: &Vector) -> Rounded {
        let y = self.forward(x);
        inner(&y, &y)
    }

    /// B S⁻¹ Bᵀ for B of any number of rows, as (L⁻¹ Bᵀ)ᵀ (L⁻¹ Bᵀ).
    pub fn inverse_congruence(&self, b: &Matrix) -> Matrix {
        let columns: Vec<Vector> = b
            .rows()
            .into_iter()
            .map(|row| self.forward(&row.to_owned()))
            .collect();
        Array2::from_shape_fn((b.nrows(), b.nrows()), |(i, j)| {
            inner(&columns[i], &columns[j])
        })
    }

    /// S⁻¹.
    pub fn inverse(&self) -> Matrix {
        self.inverse_congruence(&multiple_of_identity(1.0.into(), self.lower.nrows()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn near(got: Rounded, want: f64) {
        assert!(
            (got.value - want).abs() <= got.error + 1e-15 * want.abs(),
            "{got:?} {want}"
        );
        assert!(got.error < 1e-12, "{got:?}");
    }

    /// S = [[4, 2], [2, 5]]: L = [[2, 0], [1, 2]], det 16, S⁻¹ = [[5, −2], [−2, 4]]/16.
    #[test]
    fn cholesky_is_as_by_hand() {
        let factor = Cholesky::new(&exact(&array![[4.0, 2.0], [2.0, 5.0]])).expect("definite");
        near(factor.log_det(), 16.0_f64.ln());
        near(
            factor.quadratic(&array![1.0.into(), 3.0.into()]),
            29.0 / 16.0,
        );
        let inverse = factor.inverse();
        near(inverse[[0, 0]], 5.0 / 16.0);
        near(inverse[[0, 1]], -0.125);
        near(inverse[[1, 1]], 0.25);
        let b = exact(&array![[1.0, 3.0]]);
        near(factor.inverse_congruence(&b)[[0, 0]], 29.0 / 16.0);
    }

    #[test]
    fn an_indefinite_matrix_has_no_factor() {
        assert!(Cholesky::new(&exact(&array![[1.0, 2.0], [2.0, 1.0]])).is_none());
        assert!(Cholesky::new(&exact(&array![[0.0]])).is_none());
    }

    #[test]
    fn products_are_as_by_hand() {
        let (a, s) = (
            exact(&array![[1.0, 2.0], [0.0, -1.0]]),
            exact(&array![[2.0, 1.0], [1.0, 3.0]]),
        );
        let want = [[18.0, -7.0], [-7.0, 3.0]];
        let got = congruence(&a, &s);
        for (index, value) in got.indexed_iter() {
            near(*value, want[index.0][index.1]);
        }
        near(product(&a, &s)[[0, 1]], 7.0);
        near(trace(&got), 21.0);
        let x = apply(&a, &array![3.0.into(), 5.0.into()]);
        near(x[0], 13.0);
        near(x[1], -5.0);
        near(inner(&x, &x), 194.0);
        near(multiple_of_identity(2.5.into(), 2)[[1, 1]], 2.5);
        near(multiple_of_identity(2.5.into(), 2)[[0, 1]], 0.0);
    }
}
