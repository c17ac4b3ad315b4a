//! Bounds for affinities, the structural loss and its gradients, in every form in which they may be computed.

use ndarray::{Array1, Array2, ArrayD, IxDyn};

use super::{Precision, Tracked};
use crate::distance::Distance;
use crate::polarised::{self, Form};
use crate::relation::{self, Relation, RelationError};
use crate::structure::{self, Diagonal, StructureError, StructureOptions};

/// Bounds for everything a structural loss returns.
#[derive(Debug, Clone, PartialEq)]
pub struct StructuralBound {
    /// S, shape `[]`.
    pub loss: Tracked,
    /// ∂S/∂Ψ.
    pub grad_real: Tracked,
    /// ∂S/∂Ψ̂.
    pub grad_generated: Tracked,
    /// M.
    pub affinity_real: Tracked,
    /// M̂.
    pub affinity_generated: Tracked,
}

/// Bounds for everything a polarised loss returns.
#[derive(Debug, Clone, PartialEq)]
pub struct PolarisedBound {
    /// S, shape `[]`.
    pub loss: Tracked,
    /// ∂S/∂Ψ.
    pub grad_real: Tracked,
    /// ∂S/∂Ψ̂.
    pub grad_generated: Tracked,
}

fn exact(x: &Array2<f64>) -> Tracked {
    Tracked::exact(x.clone().into_dyn())
}

fn scalar(x: f64) -> ArrayD<f64> {
    ArrayD::from_elem(IxDyn(&[]), x)
}

/// Bound for [`relation::affinity`] of features that are exact in every precision.
///
/// # Errors
/// As the quantity itself.
pub fn affinity(
    relation: Relation,
    psi: &Array2<f64>,
    p: Precision,
) -> Result<Tracked, RelationError> {
    let value = relation::affinity(relation, psi)?;
    Ok(Batch::new(relation, psi, p)
        .affinity
        .recentred(value.into_dyn()))
}

/// Bound for [`relation::affinity_vjp`] of exact features and an exact gradient `g`.
///
/// # Errors
/// As the quantity itself.
pub fn affinity_vjp(
    relation: Relation,
    psi: &Array2<f64>,
    g: &Array2<f64>,
    p: Precision,
) -> Result<Tracked, RelationError> {
    let value = relation::affinity_vjp(relation, psi, g)?;
    Ok(Batch::new(relation, psi, p)
        .vjp(&exact(g), p)
        .recentred(value.into_dyn()))
}

/// Bound for [`structure::structural_loss`] of features that are exact in every precision.
///
/// Covers the chain M, M̂ → M − M̂ → D → weighted sum with its backward pass and, where they exist, both polarised
/// forms, by hand or by automatic differentiation through P and S. Distances are expected to be formed from
/// differences; absolute's derivative at 0, and Euclidean's at coincident points, to be 0.
///
/// # Errors
/// As the quantity itself.
pub fn structural_loss(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
    p: Precision,
) -> Result<StructuralBound, StructureError> {
    let reference = structure::structural_loss(real, generated, eta, opts)?;
    let naive = naive_bound(real, generated, eta, opts, p);
    let mut bound = StructuralBound {
        loss: naive.loss.recentred(scalar(reference.loss)),
        grad_real: naive.grad_real.recentred(reference.grad_real.into_dyn()),
        grad_generated: naive
            .grad_generated
            .recentred(reference.grad_generated.into_dyn()),
        affinity_real: naive
            .affinity_real
            .recentred(reference.affinity_real.into_dyn()),
        affinity_generated: naive
            .affinity_generated
            .recentred(reference.affinity_generated.into_dyn()),
    };
    for form in [Form::Batch, Form::Feature] {
        // Not every loss has every form.
        if let Ok(other) = polarised_loss(real, generated, eta, opts, form, p) {
            bound.loss = bound.loss.either(&other.loss);
            bound.grad_real = bound.grad_real.either(&other.grad_real);
            bound.grad_generated = bound.grad_generated.either(&other.grad_generated);
        }
    }
    Ok(bound)
}

/// Bound for [`polarised::polarised_loss`] alone: far tighter at Ψ̂ ≈ Ψ than what the naive form can promise.
///
/// # Errors
/// As the quantity itself.
pub fn polarised_loss(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
    form: Form,
    p: Precision,
) -> Result<PolarisedBound, StructureError> {
    let reference = polarised::polarised_loss(real, generated, eta, opts, form)?;
    let batches = [real, generated].map(|psi| Batch::new(opts.relation, psi, p));
    let [psi, psi_hat] = batches
        .each_ref()
        .map(|batch| batch.unit.as_ref().unwrap_or(&batch.psi));
    let pair = Pair {
        difference: psi.sub(psi_hat, p),
        sum: psi.add(psi_hat, p),
        real: psi.clone(),
        generated: psi_hat.clone(),
    };
    let samples = real.nrows();
    let (loss, grad_real, grad_generated) = match form {
        Form::Batch => pair.batch_form(&pair_weights(samples, eta, opts.diagonal, p), p),
        Form::Feature => pair.feature_form(
            &sample_weights(samples, eta, opts.diagonal, p),
            opts.diagonal,
            p,
        ),
    };
    let [grad_real, grad_generated] =
        [(0, grad_real), (1, grad_generated)].map(|(i, g)| batches[i].unnormalise(&g, p));
    Ok(PolarisedBound {
        loss: loss.recentred(scalar(reference.loss)),
        grad_real: grad_real.recentred(reference.grad_real.into_dyn()),
        grad_generated: grad_generated.recentred(reference.grad_generated.into_dyn()),
    })
}

fn naive_bound(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
    p: Precision,
) -> StructuralBound {
    let [real, generated] = [real, generated].map(|psi| Batch::new(opts.relation, psi, p));
    let w = pair_weights(real.psi.shape()[0], eta, opts.diagonal, p);
    let e = real.affinity.sub(&generated.affinity, p);
    let g = w.mul(&distance_grad(opts.distance, &e, p), p);
    StructuralBound {
        loss: w.mul(&distance(opts.distance, &e, p), p).sum_all(p),
        grad_real: real.vjp(&g, p),
        grad_generated: generated.vjp(&g.neg(), p),
        affinity_real: real.affinity,
        affinity_generated: generated.affinity,
    }
}

/// D(e). For Huber: its slope is at most min(|e|, δ), and either branch has at most five roundings, δ's included.
fn distance(distance: Distance, e: &Tracked, p: Precision) -> Tracked {
    match distance {
        Distance::Squared => e.square(p),
        Distance::Absolute => e.abs(),
        Distance::Huber { delta } => {
            let spread = |e: f64, error: f64| (e.abs() + error).min(delta) * error;
            e.function(p, 5.0, |e| distance.value(e), spread)
        }
    }
}

fn distance_grad(distance: Distance, e: &Tracked, p: Precision) -> Tracked {
    match distance {
        Distance::Squared => e.scale(2.0, p),
        Distance::Absolute => e.sign(),
        // δ itself is rounded.
        Distance::Huber { delta } => e.clamp(-delta, delta).stored_as(p),
    }
}

/// `w_ij`: η rounded to `p`, roots and their product where it differs by sample, and the factor of the mean.
fn pair_weights(samples: usize, eta: &[f64], diagonal: Diagonal, p: Precision) -> Tracked {
    let b = samples as f64;
    let shape = [samples, samples];
    let eta = Tracked::rounded(Array1::from(eta.to_vec()).into_dyn(), p);
    let per_pair = if eta.shape() == [samples] {
        let root = eta.sqrt_of_nonnegative(p);
        root.reshape(&[samples, 1]).mul(&root, p)
    } else {
        eta.broadcast_to(&shape)
    };
    match diagonal {
        Diagonal::Include => per_pair.scale(1.0 / (b * b), p),
        Diagonal::Exclude => {
            let own = ArrayD::from_shape_fn(IxDyn(&shape), |at| at[0] == at[1]);
            let zero = Tracked::exact(ArrayD::zeros(IxDyn(&shape)));
            Tracked::select(&own, &zero, &per_pair.scale(1.0 / (b * (b - 1.0)), p))
        }
    }
}

/// `a_i` with `w_ij = a_i a_j`, shape `[B, 1]`.
fn sample_weights(samples: usize, eta: &[f64], diagonal: Diagonal, p: Precision) -> Tracked {
    let b = samples as f64;
    let pairs = match diagonal {
        Diagonal::Include => b * b,
        Diagonal::Exclude => b * (b - 1.0),
    };
    Tracked::rounded(Array1::from(eta.to_vec()).into_dyn(), p)
        .sqrt_of_nonnegative(p)
        .scale(pairs.sqrt().recip(), p)
        .broadcast_to(&[samples])
        .reshape(&[samples, 1])
}

/// One batch of features with what the relation makes of it.
struct Batch {
    relation: Relation,
    psi: Tracked,
    affinity: Tracked,
    /// Rows of length 1 and their lengths, `[B, d]` and `[B, 1]`, under cosine.
    unit: Option<Tracked>,
    norm: Option<Tracked>,
}

impl Batch {
    fn new(relation: Relation, psi: &Array2<f64>, p: Precision) -> Self {
        let psi = exact(psi);
        let (mut unit, mut norm) = (None, None);
        let affinity = match relation {
            Relation::InnerProduct => psi.matmul(&psi.transpose(), p),
            Relation::Cosine => {
                let length = psi.square(p).sum_axis(1, true, p).sqrt(p);
                // A quotient, or a product with the reciprocal: one rounding more.
                let u = psi.mul(&length.recip(p), p);
                let m = u.matmul(&u.transpose(), p);
                (unit, norm) = (Some(u), Some(length));
                m
            }
            Relation::SquaredEuclidean => squared_distances(&psi, p),
            Relation::Euclidean => squared_distances(&psi, p).sqrt_of_nonnegative(p),
            Relation::Rbf { bandwidth } => {
                over_width(&squared_distances(&psi, p), -0.5, bandwidth, p).exp(p)
            }
        };
        Self {
            relation,
            psi,
            affinity,
            unit,
            norm,
        }
    }

    /// Bound for the affinity's vector–Jacobian product with a tracked gradient `g: [B, B]`.
    fn vjp(&self, g: &Tracked, p: Precision) -> Tracked {
        match self.relation {
            Relation::InnerProduct => both_sides(g, &self.psi, p),
            Relation::Cosine => self.cosine_vjp(g, p),
            Relation::SquaredEuclidean => self.radial_vjp(&g.scale(2.0, p), p),
            Relation::Euclidean => {
                let coincident = self.affinity.value.mapv(|m| m == 0.0);
                let zero = Tracked::exact(ArrayD::zeros(g.value.raw_dim()));
                let slope = g.mul(&self.affinity.recip(p), p);
                self.radial_vjp(&Tracked::select(&coincident, &zero, &slope), p)
            }
            Relation::Rbf { bandwidth } => {
                let slope = over_width(&g.mul(&self.affinity, p), -1.0, bandwidth, p);
                self.radial_vjp(&slope, p)
            }
        }
    }

    /// The diagonal of M is 1 whatever ψ is, so its gradient γ_i contributes nothing but rounding. As part of the
    /// general chain its uncertainty would count in full; it is a common factor of `2 γ_i (u_i − (u_i·u_i) u_i)`
    /// instead, whose bound is that of the chain for γ_i = 1, times |γ_i|.
    fn cosine_vjp(&self, g: &Tracked, p: Precision) -> Tracked {
        let Some(u) = &self.unit else {
            return g.clone();
        };
        let samples = g.shape()[0];
        let own = ArrayD::from_shape_fn(g.value.raw_dim(), |at| at[0] == at[1]);
        let zero = Tracked::exact(ArrayD::zeros(g.value.raw_dim()));
        let others = self.unnormalise(&both_sides(&Tracked::select(&own, &zero, g), u, p), p);

        // `2 u_i` as it comes out of two sums of B terms each and their sum.
        let twice = u.scale(2.0, p);
        let roundings = (samples + 1) as f64 * p.unit;
        let twice = twice.widened(&twice.value.mapv(|v| roundings * v.abs()));
        let itself = self.unnormalise(&twice, p);
        let largest = Array1::from_shape_fn(samples, |i| g.value[[i, i]].abs() + g.error[[i, i]]);
        let largest = largest
            .into_shape_with_order((samples, 1))
            .map_or_else(|_| zero.value.clone(), Array2::into_dyn);
        let size = itself.value.mapv(f64::abs) + &itself.error;
        others.widened(&(size * largest))
    }

    /// Through the normalisation of rows, by the projection or by the chain rule of ψ/‖ψ‖; the identity without one.
    fn unnormalise(&self, v: &Tracked, p: Precision) -> Tracked {
        let (Some(u), Some(norm)) = (&self.unit, &self.norm) else {
            return v.clone();
        };
        let along = v.mul(u, p).sum_axis(1, true, p);
        let projected = v.sub(&along.mul(u, p), p).mul(&norm.recip(p), p);

        let direct = v.mul(&norm.recip(p), p);
        let through_norm = v
            .mul(&self.psi, p)
            .sum_axis(1, true, p)
            .div(&norm.square(p), p)
            .div(norm, p);
        let chained = direct.sub(&self.psi.mul(&through_norm, p), p);
        projected.either(&chained)
    }

    /// `Σ_j c_ij (ψ_i − ψ_j) − Σ_j c_ji (ψ_j − ψ_i)`: the backward pass of the differences.
    fn radial_vjp(&self, c: &Tracked, p: Precision) -> Tracked {
        let pulls = c.insert_axis(2).mul(&differences(&self.psi, p), p);
        pulls
            .sum_axis(1, false, p)
            .sub(&pulls.sum_axis(0, false, p), p)
    }
}

/// `ψ_i − ψ_j`, shape `[B, B, d]`.
fn differences(psi: &Tracked, p: Precision) -> Tracked {
    psi.insert_axis(1).sub(&psi.insert_axis(0), p)
}

fn squared_distances(psi: &Tracked, p: Precision) -> Tracked {
    differences(psi, p).square(p).sum_axis(2, false, p)
}

/// `factor x/b²`: b rounded, squared, its reciprocal, the products.
fn over_width(x: &Tracked, factor: f64, bandwidth: f64, p: Precision) -> Tracked {
    let reciprocal = Tracked::scalar(bandwidth, p).square(p).recip(p);
    x.mul(&reciprocal, p).scale(factor, p)
}

/// `g x + gᵀ x`.
fn both_sides(g: &Tracked, x: &Tracked, p: Precision) -> Tracked {
    g.matmul(x, p).add(&g.transpose().matmul(x, p), p)
}

/// Two batches (unit rows under cosine), their difference and their sum.
struct Pair {
    real: Tracked,
    generated: Tracked,
    difference: Tracked,
    sum: Tracked,
}

/// Loss and gradients with respect to the two (normalised) batches.
type Three = (Tracked, Tracked, Tracked);

impl Pair {
    fn batch_form(&self, w: &Tracked, p: Precision) -> Three {
        let product = self.difference.matmul(&self.sum.transpose(), p);
        let e = product.add(&product.transpose(), p).scale(0.5, p);
        let loss = w.mul(&e.square(p), p).sum_all(p);
        let g = w.mul(&e, p).scale(4.0, p);
        let by_hand = [g.matmul(&self.real, p), g.matmul(&self.generated, p).neg()];
        // ∂S/∂(P Sᵀ) is symmetric, g/2.
        let half = g.scale(0.5, p);
        let automatic = from_parts(
            &half.matmul(&self.sum, p),
            &half.matmul(&self.difference, p),
            p,
        );
        let [real, generated] = either(&by_hand, &automatic);
        (loss, real, generated)
    }

    fn feature_form(&self, a: &Tracked, diagonal: Diagonal, p: Precision) -> Three {
        let (d, s) = (&self.difference, &self.sum);
        let (weighted_d, weighted_s) = (d.mul(a, p), s.mul(a, p));
        let dd = d.transpose().matmul(&weighted_d, p);
        let ss = s.transpose().matmul(&weighted_s, p);
        let ds = d.transpose().matmul(&weighted_s, p);
        let mut loss = dd
            .mul(&ss, p)
            .sum_all(p)
            .add(&ds.mul(&ds.transpose(), p).sum_all(p), p)
            .scale(0.5, p);
        let mut by_hand = [(&self.real, 2.0), (&self.generated, -2.0)].map(|(psi, factor)| {
            let first = weighted_d.matmul(&weighted_s.transpose().matmul(psi, p), p);
            let second = weighted_s.matmul(&weighted_d.transpose().matmul(psi, p), p);
            first.add(&second, p).scale(factor, p)
        });
        let mut in_difference = weighted_d.matmul(&ss, p).add(&weighted_s.matmul(&ds, p), p);
        let mut in_sum = weighted_s
            .matmul(&dd, p)
            .add(&weighted_d.matmul(&ds.transpose(), p), p);
        if diagonal == Diagonal::Exclude {
            // a_i E_ii, shape [B, 1], and what it adds to the gradients.
            let own = d.mul(s, p).sum_axis(1, true, p).mul(a, p);
            let factor = own.mul(a, p);
            loss = loss.sub(&own.square(p).sum_all(p), p);
            let less =
                |g: &Tracked, rows: &Tracked, by: f64| g.sub(&rows.mul(&factor, p).scale(by, p), p);
            by_hand = [
                less(&by_hand[0], &self.real, 4.0),
                less(&by_hand[1], &self.generated, -4.0),
            ];
            in_difference = less(&in_difference, s, 2.0);
            in_sum = less(&in_sum, d, 2.0);
        }
        let [real, generated] = either(&by_hand, &from_parts(&in_difference, &in_sum, p));
        (loss, real, generated)
    }
}

/// Gradients with respect to Ψ and Ψ̂ from those with respect to P = Ψ − Ψ̂ and S = Ψ + Ψ̂.
fn from_parts(grad_difference: &Tracked, grad_sum: &Tracked, p: Precision) -> [Tracked; 2] {
    [
        grad_sum.add(grad_difference, p),
        grad_sum.sub(grad_difference, p),
    ]
}

fn either(a: &[Tracked; 2], b: &[Tracked; 2]) -> [Tracked; 2] {
    [a[0].either(&b[0]), a[1].either(&b[1])]
}
