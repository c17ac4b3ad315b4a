//! Softmax and scaled dot-product attention.

use super::{NnError, ranked, require_shape, reshaped, to_rows};
use ndarray::{Array2, Array3, ArrayD, ArrayView1, ArrayView3, Axis, Ix3};

const LAYER: &str = "attention";

/// Softmax of the last axis. `[eq:softmax]`
///
/// # Formula
/// ```text
/// p_i = e^{x_i − max x} / Σ_k e^{x_k − max x}
/// ```
/// # Shapes
/// `x: […, D]` → `[…, D]`. Rows are positive and sum to 1.
///
/// # Errors
/// [`NnError::Shape`] if the last axis is missing or empty.
pub fn softmax(x: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    let mut rows = to_rows("softmax", "x", x)?;
    for mut row in rows.rows_mut() {
        let p = softmax_row(row.view());
        row.assign(&p);
    }
    reshaped(&rows.into_dyn(), x.raw_dim())
}

/// Gradient of `⟨grad, softmax(x)⟩`: `p (g − ⟨g, p⟩)` in each row.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`, or as [`softmax`].
pub fn softmax_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("softmax", "grad", grad, x.shape())?;
    let (mut rows, g) = (
        to_rows("softmax", "x", x)?,
        to_rows("softmax", "grad", grad)?,
    );
    for (mut row, g) in rows.rows_mut().into_iter().zip(g.rows()) {
        let p = softmax_row(row.view());
        row.assign(&(&p * &(&g - g.dot(&p))));
    }
    reshaped(&rows.into_dyn(), x.raw_dim())
}

pub(super) fn softmax_row(x: ArrayView1<'_, f64>) -> ndarray::Array1<f64> {
    let largest = x.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let e = x.mapv(|x| (x - largest).exp());
    let sum = e.sum();
    e / sum
}

/// Gradients of [`attention`].
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionGrad {
    /// With respect to the queries, `[N, T, d]`.
    pub q: ArrayD<f64>,
    /// With respect to the keys, `[N, S, d]`.
    pub k: ArrayD<f64>,
    /// With respect to the values, `[N, S, e]`.
    pub v: ArrayD<f64>,
}

/// Scaled dot-product attention, one head per leading index. `[eq:attention]`
///
/// # Formula
/// ```text
/// A = softmax(Q Kᵀ / √d),   Y = A V
/// ```
/// # Shapes
/// `q: [N, T, d]`, `k: [N, S, d]`, `v: [N, S, e]` → `[N, T, e]`; N is batch times heads.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
///
/// # Source
/// Vaswani et al. 2017 (arXiv:1706.03762), Eq. 1.
pub fn attention(
    q: &ArrayD<f64>,
    k: &ArrayD<f64>,
    v: &ArrayD<f64>,
) -> Result<ArrayD<f64>, NnError> {
    let heads = Heads::new(q, k, v)?;
    let mut y = Array3::zeros(heads.output());
    for n in 0..heads.q.len_of(Axis(0)) {
        y.index_axis_mut(Axis(0), n)
            .assign(&heads.weights(n).dot(&heads.v.index_axis(Axis(0), n)));
    }
    Ok(y.into_dyn())
}

/// Gradients of `⟨grad, attention(q, k, v)⟩`.
///
/// # Formula
/// ```text
/// ∂V = Aᵀ G,   ∂A = G Vᵀ,   ∂Z = A ∘ (∂A − rowsum(A ∘ ∂A)),   ∂Q = ∂Z K/√d,   ∂K = ∂Zᵀ Q/√d
/// ```
/// # Shapes
/// As [`attention`]; `grad: [N, T, e]`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
pub fn attention_vjp(
    q: &ArrayD<f64>,
    k: &ArrayD<f64>,
    v: &ArrayD<f64>,
    grad: &ArrayD<f64>,
) -> Result<AttentionGrad, NnError> {
    let heads = Heads::new(q, k, v)?;
    let (n, t, e) = heads.output();
    require_shape(LAYER, "grad", grad, &[n, t, e])?;
    let g = ranked::<Ix3>(LAYER, "grad", "[N, T, e]", grad)?;
    let mut d_q = Array3::zeros(heads.q.raw_dim());
    let mut d_k = Array3::zeros(heads.k.raw_dim());
    let mut d_v = Array3::zeros(heads.v.raw_dim());
    for n in 0..n {
        let [q, k, v] = heads.head(n);
        let (a, g) = (heads.weights(n), g.index_axis(Axis(0), n));
        let d_a = g.dot(&v.t());
        let inner = (&a * &d_a).sum_axis(Axis(1)).insert_axis(Axis(1));
        let d_z = &a * &(&d_a - &inner) * heads.scale();
        d_q.index_axis_mut(Axis(0), n).assign(&d_z.dot(&k));
        d_k.index_axis_mut(Axis(0), n).assign(&d_z.t().dot(&q));
        d_v.index_axis_mut(Axis(0), n).assign(&a.t().dot(&g));
    }
    Ok(AttentionGrad {
        q: d_q.into_dyn(),
        k: d_k.into_dyn(),
        v: d_v.into_dyn(),
    })
}

/// Queries, keys and values whose shapes agree.
struct Heads<'a> {
    q: ArrayView3<'a, f64>,
    k: ArrayView3<'a, f64>,
    v: ArrayView3<'a, f64>,
}

impl<'a> Heads<'a> {
    fn new(q: &'a ArrayD<f64>, k: &'a ArrayD<f64>, v: &'a ArrayD<f64>) -> Result<Self, NnError> {
        let q = ranked::<Ix3>(LAYER, "q", "[N, T, d]", q)?;
        let v3 = ranked::<Ix3>(LAYER, "v", "[N, S, e]", v)?;
        let (n, _, d) = q.dim();
        let (_, s, e) = v3.dim();
        require_shape(LAYER, "k", k, &[n, s, d])?;
        require_shape(LAYER, "v", v, &[n, s, e])?;
        let k = ranked::<Ix3>(LAYER, "k", "[N, S, d]", k)?;
        Ok(Self { q, k, v: v3 })
    }

    fn output(&self) -> (usize, usize, usize) {
        (self.q.dim().0, self.q.dim().1, self.v.dim().2)
    }

    fn scale(&self) -> f64 {
        (self.q.dim().2 as f64).sqrt().recip()
    }

    fn head(&self, n: usize) -> [ndarray::ArrayView2<'_, f64>; 3] {
        [&self.q, &self.k, &self.v].map(|x| x.index_axis(Axis(0), n))
    }

    /// `A = softmax(Q Kᵀ/√d)` of head `n`, `[T, S]`.
    fn weights(&self, n: usize) -> Array2<f64> {
        let [q, k, _] = self.head(n);
        let mut a = q.dot(&k.t()) * self.scale();
        for mut row in a.rows_mut() {
            let p = softmax_row(row.view());
            row.assign(&p);
        }
        a
    }
}
