//! Zero mean and unit variance over one set of numbers: what group and layer norm share.

use ndarray::{Array1, ArrayView1};

/// One normalised set with the factor that its backward pass needs.
pub(super) struct Normalised {
    /// `x̂ = (x − μ) r`.
    pub value: Array1<f64>,
    /// `r = 1/√(var + ε)`, var with divisor n.
    pub inverse_std: f64,
}

/// `x̂ = (x − μ)/√(var + ε)`.
pub(super) fn normalise(x: ArrayView1<'_, f64>, eps: f64) -> Normalised {
    let n = x.len() as f64;
    let centred = &x - x.sum() / n;
    let variance = centred.dot(&centred) / n;
    let inverse_std = (variance + eps).sqrt().recip();
    Normalised {
        value: centred * inverse_std,
        inverse_std,
    }
}

/// `∂x = r (g − mean(g) − x̂ · mean(g x̂))`: what is left of `g` without its constant and its radial part.
///
/// Derivation: `∂x̂_i/∂x_j = r (δ_ij − 1/n − x̂_i x̂_j/n)`.
pub(super) fn normalise_vjp(normalised: &Normalised, g: ArrayView1<'_, f64>) -> Array1<f64> {
    let n = g.len() as f64;
    let constant = g.sum() / n;
    let radial = g.dot(&normalised.value) / n;
    (&g - constant - &normalised.value * radial) * normalised.inverse_std
}
