//! Affinity matrices and structural losses, every relation with every distance.

use ndarray::{Array2, ArrayD, Axis};
use proptest::prelude::*;
use sadm_gpu::{nn, structure as gpu};
use sadm_reference::{
    bound::{self, Precision, Tracked, structure::StructuralBound},
    distance::Distance,
    polarised::{self, Form},
    relation::{self, Relation, Rows},
    structure::{self, Diagonal, StructureOptions},
};

use super::differentiated;
use crate::{
    case::Case,
    check::{Check, Quantity, bounds, scalar, values},
    engine::Place,
    error::{Error, Result},
    generators::{nonzero_rows, positive, round_f32},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let relations = Relation::all();
    let pairs = relations
        .clone()
        .flat_map(|r| Distance::all().map(move |d| (r, d)));
    let forms = relations
        .clone()
        .filter(|r| r.rows().is_some())
        .flat_map(|r| [(r, Form::Batch), (r, Form::Feature)]);
    relations
        .map(affinity)
        .chain(pairs.map(|(relation, distance)| structural_loss(relation, distance)))
        .chain(
            forms
                .clone()
                .map(|(r, form)| polarised_loss(r, form, Path::Own, Diagonal::Include)),
        )
        .chain(
            forms
                .clone()
                .map(|(r, form)| polarised_loss(r, form, Path::Composed, Diagonal::Include)),
        )
        .chain(forms.flat_map(|(r, form)| {
            [Path::Own, Path::Composed].map(|path| polarised_loss(r, form, path, Diagonal::Exclude))
        }))
        .collect()
}

/// Which of the training system's two implementations of the squared loss of inner products is meant.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    /// What the device takes by itself.
    Own,
    /// The chain of candle operations.
    Composed,
}

/// The choices of a case, in the reference.
pub(crate) fn options(
    relation: Relation,
    distance: Distance,
    case: &Case,
) -> Result<StructureOptions> {
    let diagonal = case.get_text("diagonal")?;
    Ok(StructureOptions {
        relation: relation.with(case.get_number("bandwidth")?),
        distance: distance.with(case.get_number("delta")?),
        diagonal: diagonal.parse().map_err(Error::reference)?,
    })
}

/// The same choices in the training system.
pub(super) fn gpu_options(options: &StructureOptions) -> Result<gpu::StructureOptions> {
    Ok(gpu::StructureOptions {
        relation: options.relation.to_string().parse()?,
        distance: options.distance.to_string().parse()?,
        diagonal: options.diagonal.to_string().parse()?,
    })
}

/// Two batches `[B, d]`, 2 ≤ B ≤ 5, d ≤ 5, without zero rows; one η or one for each sample; the diagonal;
/// a bandwidth of the size of the distances; a δ of the size of their differences.
pub(crate) fn two_batches() -> BoxedStrategy<Case> {
    (2..=5_usize, 1..=5_usize, any::<bool>())
        .prop_flat_map(|(b, d, shared)| {
            let etas = prop::collection::vec(positive(), if shared { 1 } else { b });
            (
                nonzero_rows(b, d),
                nonzero_rows(b, d),
                etas,
                any::<bool>(),
                positive(),
                positive(),
            )
        })
        .prop_map(|(real, generated, eta, include, bandwidth, delta)| {
            let diagonal = if include {
                Diagonal::Include
            } else {
                Diagonal::Exclude
            };
            Case::new()
                .tensor("real", real)
                .tensor("generated", generated)
                .numbers("eta", eta)
                .text("diagonal", &diagonal.to_string())
                .number("bandwidth", 4.0 * bandwidth)
                .number("delta", delta)
        })
        .boxed()
}

fn affinity(relation: Relation) -> Box<dyn Check> {
    Quantity::new(
        format!("affinity.{relation}"),
        "M_ij = R(ψ_i, ψ_j) and ∂⟨g, M⟩/∂Ψ",
        "SADM Eq. 5; mathematics.md §3",
    )
    .draws(|| {
        (1..=5_usize, 1..=5_usize)
            .prop_flat_map(|(b, d)| (nonzero_rows(b, d), nonzero_rows(b, b), positive()))
            .prop_map(|(psi, g, bandwidth)| {
                Case::new()
                    .tensor("psi", psi)
                    .tensor("g", g)
                    .number("bandwidth", 4.0 * bandwidth)
            })
            .boxed()
    })
    .reference(move |case| {
        let psi = case.get2("psi")?;
        let relation = relation.with(case.get_number("bandwidth")?);
        let m = relation::affinity(relation, &psi).map_err(Error::reference)?;
        let grad =
            relation::affinity_vjp(relation, &psi, &case.get2("g")?).map_err(Error::reference)?;
        Ok(values([("y", m.into_dyn()), ("grad_psi", grad.into_dyn())]))
    })
    .bound(move |case, rule| {
        let (psi, g) = (case.get2("psi")?, case.get2("g")?);
        let relation = relation.with(case.get_number("bandwidth")?);
        let m =
            bound::structure::affinity(relation, &psi, rule.compute).map_err(Error::reference)?;
        let grad = bound::structure::affinity_vjp(relation, &psi, &g, rule.compute);
        Ok(bounds([
            ("y", m),
            ("grad_psi", grad.map_err(Error::reference)?),
        ]))
    })
    .candle(move |case, place| {
        let relation = relation.with(case.get_number("bandwidth")?);
        let relation = relation.to_string().parse()?;
        // From narrower features affinities come in f32; the ledger's `store` allows for this rounding.
        differentiated(case, place, &["psi"], |inputs| {
            Ok(gpu::affinity(&inputs[0], relation)?.to_dtype(place.dtype)?)
        })
    })
    .boxed()
}

/// Value and gradients of a structural loss as the reference has them.
fn reference_loss(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    options: &StructureOptions,
) -> Result<[ArrayD<f64>; 3]> {
    let s = structure::structural_loss(real, generated, eta, options).map_err(Error::reference)?;
    Ok([
        scalar(s.loss),
        s.grad_real.into_dyn(),
        s.grad_generated.into_dyn(),
    ])
}

fn structural_loss(relation: Relation, distance: Distance) -> Box<dyn Check> {
    Quantity::new(
        format!("structural-loss.{relation}.{distance}"),
        "S = Σ_ij √(η_i η_j) D(M_ij − M̂_ij)/pairs, with or without i = j; ∂S/∂Ψ, ∂S/∂Ψ̂",
        "SADM Eq. 5-8; mathematics.md §3",
    )
    .draws(two_batches)
    .reference(move |case| {
        let options = options(relation, distance, case)?;
        let [loss, real, generated] = reference_loss(
            &case.get2("real")?,
            &case.get2("generated")?,
            case.get_numbers("eta")?,
            &options,
        )?;
        Ok(values([
            ("y", loss),
            ("grad_real", real),
            ("grad_generated", generated),
        ]))
    })
    .bound(move |case, rule| {
        let options = options(relation, distance, case)?;
        let (real, generated) = (case.get2("real")?, case.get2("generated")?);
        let s = loss_bound(
            &real,
            &generated,
            case.get_numbers("eta")?,
            &options,
            rule.compute,
        )?;
        Ok(bounds([
            ("y", s.loss),
            ("grad_real", s.grad_real),
            ("grad_generated", s.grad_generated),
        ]))
    })
    .candle(move |case, place| candle_loss(&options(relation, distance, case)?, case, place))
    .boxed()
}

/// The reference's bound, with room for one more way of computing the loss: M − M̂ in polarised form under a
/// distance that is not squared, differentiated automatically.
///
/// There ∂S/∂Ψ̂ = GP − GS with G = w∘D'(M − M̂): a difference of two terms as large as Ψ's own gradient, also
/// where Ψ̂ is small.
pub(crate) fn loss_bound(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    options: &StructureOptions,
    p: Precision,
) -> Result<StructuralBound> {
    let mut bound = bound::structure::structural_loss(real, generated, eta, options, p)
        .map_err(Error::reference)?;
    if let Some([loss, in_real, in_generated]) =
        polarised_difference(real, generated, eta, options, p)
    {
        bound.loss = bound.loss.either(&loss);
        bound.grad_real = bound.grad_real.either(&in_real);
        bound.grad_generated = bound.grad_generated.either(&in_generated);
    }
    Ok(bound)
}

/// S and its gradients through E = ½(PSᵀ + SPᵀ), P = Ψ − Ψ̂, S = Ψ + Ψ̂; for relations that are inner products.
fn polarised_difference(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    options: &StructureOptions,
    p: Precision,
) -> Option<[Tracked; 3]> {
    let rows = options.relation.rows()?;
    if options.distance == Distance::SQUARED {
        return None;
    }
    let unit = rows == Rows::Unit;
    let [real, generated] = [real, generated].map(|psi| Features::new(psi, unit, p));
    let (difference, sum) = (
        real.rows.sub(&generated.rows, p),
        real.rows.add(&generated.rows, p),
    );
    let half = difference.matmul(&sum.transpose(), p).scale(0.5, p);
    let e = half.add(&half.transpose(), p);
    let weights = Tracked::rounded(pair_weights(real.rows.shape()[0], eta, options.diagonal), p);
    let values = options.distance.value_bound(&e, p);
    let g = options.distance.grad_bound(&e, p).mul(&weights, p);
    let g = g.add(&g.transpose(), p).scale(0.5, p);
    let (in_difference, in_sum) = (g.matmul(&sum, p), g.matmul(&difference, p));
    Some([
        values.mul(&weights, p).sum_all(p),
        real.back(&in_sum.add(&in_difference, p), p),
        generated.back(&in_sum.sub(&in_difference, p), p),
    ])
}

/// √(η_i η_j) over the number of pairs, 0 on an excluded diagonal.
fn pair_weights(batch: usize, eta: &[f64], diagonal: Diagonal) -> ArrayD<f64> {
    let pairs = match diagonal {
        Diagonal::Include => batch * batch,
        Diagonal::Exclude => batch * (batch - 1),
    };
    Array2::from_shape_fn((batch, batch), |(i, j)| match diagonal {
        Diagonal::Exclude if i == j => 0.0,
        _ => (eta[i % eta.len()] * eta[j % eta.len()]).sqrt() / pairs as f64,
    })
    .into_dyn()
}

/// A batch of features and what the relation takes products of: the features or their unit rows.
struct Features {
    psi: Tracked,
    norm: Option<Tracked>,
    rows: Tracked,
}

impl Features {
    fn new(psi: &Array2<f64>, unit: bool, p: Precision) -> Self {
        let psi = Tracked::exact(psi.clone().into_dyn());
        let norm = unit.then(|| psi.square(p).sum_axis(1, true, p).sqrt(p));
        let rows = norm
            .as_ref()
            .map_or_else(|| psi.clone(), |norm| psi.div(norm, p));
        Self { psi, norm, rows }
    }

    /// From a gradient in the rows to one in the features: g/‖ψ‖ − (⟨g, ψ⟩/‖ψ‖²) ψ/‖ψ‖.
    fn back(&self, g: &Tracked, p: Precision) -> Tracked {
        let Some(norm) = &self.norm else {
            return g.clone();
        };
        let along = g
            .mul(&self.psi, p)
            .sum_axis(1, true, p)
            .div(&norm.square(p), p);
        g.div(norm, p).sub(&self.rows.mul(&along, p), p)
    }
}

/// Value and gradients of a structural loss as the training system has them.
pub(crate) fn candle_loss(
    options: &StructureOptions,
    case: &Case,
    place: &Place,
) -> Result<crate::Computed> {
    let options = gpu_options(options)?;
    differentiated(case, place, &["real", "generated"], |inputs| {
        Ok(gpu::structural_loss(
            &inputs[0],
            &inputs[1],
            case.get_numbers("eta")?,
            &options,
        )?)
    })
}

/// Batches that differ by a millionth: the naive bound says nothing there, the polarised one holds the
/// training system to the accuracy it was polarised for.
fn polarised_loss(
    relation: Relation,
    form: Form,
    path: Path,
    diagonal: Diagonal,
) -> Box<dyn Check> {
    let options = StructureOptions {
        relation,
        distance: Distance::SQUARED,
        diagonal,
    };
    let name = match form {
        Form::Batch => "batch",
        Form::Feature => "feature",
    };
    let pairs = match diagonal {
        Diagonal::Include => "",
        Diagonal::Exclude => ".off-diagonal",
    };
    Quantity::new(
        match path {
            Path::Own => format!("structural-loss.polarised.{relation}.{name}{pairs}"),
            Path::Composed => format!("structural-loss.composed.{relation}.{name}{pairs}"),
        },
        "S at Ψ̂ ≈ Ψ: η/pairs ‖½(PSᵀ + SPᵀ)‖², or ½[⟨PᵀP, SᵀS⟩ + tr((PᵀS)²)], less Σ_i ⟨p_i, s_i⟩² without i = j",
        "mathematics.md §3, polarised form",
    )
    .on(Some(match path {
        Path::Own => nn::Path::Fused,
        Path::Composed => nn::Path::Composed,
    }))
    .draws(move || {
        let sizes = match form {
            Form::Batch => (2..=4_usize, 4..=5_usize),
            Form::Feature => (4..=5_usize, 1..=3_usize),
        };
        sizes
            .prop_flat_map(|(b, d)| {
                (
                    nonzero_rows(b, d),
                    nonzero_rows(b, d),
                    prop_oneof![prop::collection::vec(positive(), 1), prop::collection::vec(positive(), b)],
                    -20..=0_i32,
                )
            })
            .prop_map(|(real, direction, eta, exponent)| {
                // Rounded to f32 so that both sides are given the same Ψ̂.
                let step = direction * 2.0_f64.powi(exponent);
                let mut generated = (&real + &step).mapv(round_f32);
                // A sample that its step cancels has no direction; it takes the other way.
                for (i, mut row) in generated.outer_iter_mut().enumerate() {
                    if row.iter().all(|x| *x == 0.0) {
                        row.assign(&(&real.index_axis(Axis(0), i) - &step.index_axis(Axis(0), i)).mapv(round_f32));
                    }
                }
                Case::new()
                    .tensor("real", real)
                    .tensor("generated", generated)
                    .numbers("eta", eta)
            })
            .boxed()
    })
    .reference(move |case| {
        let (real, generated) = (case.get2("real")?, case.get2("generated")?);
        let s =
            polarised::polarised_loss(&real, &generated, case.get_numbers("eta")?, &options, form);
        let s = s.map_err(Error::reference)?;
        Ok(values([
            ("y", scalar(s.loss)),
            ("grad_real", s.grad_real.into_dyn()),
            ("grad_generated", s.grad_generated.into_dyn()),
        ]))
    })
    .bound(move |case, rule| {
        let (real, generated) = (case.get2("real")?, case.get2("generated")?);
        let eta = case.get_numbers("eta")?;
        let s =
            bound::structure::polarised_loss(&real, &generated, eta, &options, form, rule.compute);
        let s = s.map_err(Error::reference)?;
        Ok(bounds([
            ("y", s.loss),
            ("grad_real", s.grad_real),
            ("grad_generated", s.grad_generated),
        ]))
    })
    .candle(move |case, place| {
        let loss = match path {
            Path::Own => gpu::structural_loss,
            Path::Composed => gpu::structural_loss_composed,
        };
        let (eta, options) = (case.get_numbers("eta")?, gpu_options(&options)?);
        differentiated(case, place, &["real", "generated"], |inputs| {
            Ok(loss(&inputs[0], &inputs[1], eta, &options)?)
        })
    })
    .boxed()
}
