//! `cosine`: ψ_i·ψ_j/(‖ψ_i‖‖ψ_j‖).

use ndarray::{Array1, Array2, ArrayD, ArrayRef2};

use super::{
    Kind, Relation, Rows, UnitRows, both_sides, pairwise, through_normalisation, unit_rows,
};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

impl Relation {
    /// `cosine`: ψ_i·ψ_j/(‖ψ_i‖‖ψ_j‖).
    pub const COSINE: Self = Self::new(&Entry::new("cosine", Cosine));
}

struct Cosine;

impl Kind for Cosine {
    fn affinity(&self, psi: &ArrayRef2<f64>, _: f64) -> Array2<f64> {
        cosine(&unit_rows(psi).0)
    }

    fn vjp(&self, psi: &ArrayRef2<f64>, _: &Array2<f64>, h: &Array2<f64>, _: f64) -> Array2<f64> {
        cosine_vjp(psi, h)
    }

    fn affinity_bound(&self, psi: &Tracked, _: f64, p: Precision) -> Tracked {
        let u = UnitRows::new(psi, p).rows;
        u.matmul(&u.transpose(), p)
    }

    /// The diagonal of M is 1 whatever ψ is, so its gradient γ_i contributes nothing but rounding. As part of the
    /// general chain its uncertainty would count in full; it is a common factor of `2 γ_i (u_i − (u_i·u_i) u_i)`
    /// instead, whose bound is that of the chain for γ_i = 1, times |γ_i|.
    fn vjp_bound(&self, psi: &Tracked, _: &Tracked, g: &Tracked, _: f64, p: Precision) -> Tracked {
        let unit = UnitRows::new(psi, p);
        let u = &unit.rows;
        let samples = g.shape()[0];
        let own = ArrayD::from_shape_fn(g.value.raw_dim(), |at| at[0] == at[1]);
        let zero = Tracked::exact(ArrayD::zeros(g.value.raw_dim()));
        let others = unit.unnormalise(&both_sides(&Tracked::select(&own, &zero, g), u, p), p);

        // `2 u_i` as it comes out of two sums of B terms each and their sum.
        let twice = u.scale(2.0, p);
        let roundings = (samples + 1) as f64 * p.unit;
        let twice = twice.widened(&twice.value.mapv(|v| roundings * v.abs()));
        let itself = unit.unnormalise(&twice, p);
        let largest = Array1::from_shape_fn(samples, |i| g.value[[i, i]].abs() + g.error[[i, i]]);
        let largest = largest
            .into_shape_with_order((samples, 1))
            .map_or_else(|_| zero.value.clone(), Array2::into_dyn);
        let size = itself.value.mapv(f64::abs) + &itself.error;
        others.widened(&(size * largest))
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows::Unit)
    }
}

/// `u uᵀ` with what is known of it in exact arithmetic: unit diagonal, no element beyond ±1.
fn cosine(u: &Array2<f64>) -> Array2<f64> {
    let mut m = pairwise(u, |a, b| a.dot(&b).clamp(-1.0, 1.0));
    m.diag_mut().fill(1.0);
    m
}

fn cosine_vjp(psi: &ArrayRef2<f64>, h: &Array2<f64>) -> Array2<f64> {
    let (u, norms) = unit_rows(psi);
    let mut h = h.clone();
    // The diagonal of M is constant.
    h.diag_mut().fill(0.0);
    through_normalisation(&u, &norms, h.dot(&u))
}
