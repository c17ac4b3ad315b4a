//! Bounds for affinities, the structural loss and its gradients, in every form in which they may be computed.

use ndarray::{Array1, Array2, ArrayD, IxDyn};

use super::{Precision, Tracked};
use crate::schedule::ScheduleKind;
use crate::structure::polarised::{self, Form};
use crate::structure::relation::{self, Relation, RelationError, Rows, UnitRows};
use crate::structure::{self, Diagonal, Eta, StructureError, StructureOptions};

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

/// Bound for [`fn@structure::eta`] at several times, `[N]`.
///
/// # Errors
/// [`StructureError::Time`].
pub fn eta(
    kind: Eta,
    schedule: ScheduleKind,
    t: &[f64],
    t_min: f64,
    p: Precision,
) -> Result<Tracked, StructureError> {
    let levels = super::schedule::levels(schedule, t, p)?;
    Ok((kind.bound)(t, t_min, &levels, p))
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
    let unit = [real, generated].map(|psi| {
        let unit = opts.relation.rows() == Some(Rows::Unit);
        unit.then(|| UnitRows::new(&exact(psi), p))
    });
    let [psi, psi_hat] = [(0, real), (1, generated)].map(|(side, psi)| match &unit[side] {
        Some(unit) => unit.rows.clone(),
        None => exact(psi),
    });
    let pair = Pair {
        difference: psi.sub(&psi_hat, p),
        sum: psi.add(&psi_hat, p),
        real: psi,
        generated: psi_hat,
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
    let [grad_real, grad_generated] = [(0, grad_real), (1, grad_generated)].map(|(side, g)| {
        let unit = unit[side].as_ref();
        unit.map_or(g.clone(), |unit| unit.unnormalise(&g, p))
    });
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
    let g = w.mul(&opts.distance.grad_bound(&e, p), p);
    StructuralBound {
        loss: w.mul(&opts.distance.value_bound(&e, p), p).sum_all(p),
        grad_real: real.vjp(&g, p),
        grad_generated: generated.vjp(&g.neg(), p),
        affinity_real: real.affinity,
        affinity_generated: generated.affinity,
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

/// Bounds for one batch of features and its affinities.
struct Batch {
    relation: Relation,
    psi: Tracked,
    affinity: Tracked,
}

impl Batch {
    fn new(relation: Relation, psi: &Array2<f64>, p: Precision) -> Self {
        let psi = exact(psi);
        let affinity = relation.affinity_bound(&psi, relation.number(), p);
        Self {
            relation,
            psi,
            affinity,
        }
    }

    /// Bound for the affinity's vector–Jacobian product with a tracked gradient `g: [B, B]`.
    fn vjp(&self, g: &Tracked, p: Precision) -> Tracked {
        let number = self.relation.number();
        (self.relation).vjp_bound(&self.psi, &self.affinity, g, number, p)
    }
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
