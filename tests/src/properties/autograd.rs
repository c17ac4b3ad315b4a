//! The reference's hand-derived gradients of the structural loss against candle's automatic differentiation
//! of the formula as printed, written naively here: independent of the training system's own code.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use ndarray::{Array2, ArrayD};
use proptest::prelude::*;
use sadm_reference::{
    bound::Precision,
    distance::Distance,
    relation::Relation,
    structure::{Diagonal, StructureOptions},
};

use crate::{
    Place,
    case::Case,
    checks::structure::{loss_bound, options, two_batches},
    compare::compare,
};

/// M_ij as printed. Coincident points are pushed apart before the root and masked after it, since candle's √
/// has an infinite slope at 0 where the loss takes the zero subgradient.
fn affinity(relation: Relation, psi: &Tensor) -> Result<Tensor> {
    let squared = || {
        let difference = psi.unsqueeze(1)?.broadcast_sub(&psi.unsqueeze(0)?)?;
        difference.sqr()?.sum(D::Minus1)
    };
    match relation.name() {
        "cosine" => {
            let norm = psi.sqr()?.sum_keepdim(1)?.sqrt()?;
            let unit = psi.broadcast_div(&norm)?;
            unit.matmul(&unit.t()?)
        }
        "inner-product" => psi.matmul(&psi.t()?),
        "squared-euclidean" => squared(),
        "euclidean" => {
            let squared = squared()?;
            let apart = squared.ne(0.0)?.to_dtype(psi.dtype())?;
            let together = squared.eq(0.0)?.to_dtype(psi.dtype())?;
            (squared + together)?.sqrt()? * apart
        }
        "rbf" => (squared()? * (-0.5 / relation.number().powi(2)))?.exp(),
        "laplacian" => {
            let difference = psi.unsqueeze(1)?.broadcast_sub(&psi.unsqueeze(0)?)?;
            let size = (&difference * difference.detach().sign()?)?.sum(D::Minus1)?;
            (size * (-1.0 / relation.number()))?.exp()
        }
        other => candle_core::bail!("{other} is not written down here"),
    }
}

/// D(e) as printed; |e| through a sign that is 0 at 0.
fn distance(distance: Distance, e: &Tensor) -> Result<Tensor> {
    let absolute = |e: &Tensor| e * e.detach().sign()?;
    match distance.name() {
        "squared" => e * e,
        "absolute" => absolute(e),
        "huber" => {
            let delta = distance.number();
            let inner = ((e * e)? * 0.5)?;
            let outer = ((absolute(e)? - 0.5 * delta)? * delta)?;
            e.detach().abs()?.le(delta)?.where_cond(&inner, &outer)
        }
        other => candle_core::bail!("{other} is not written down here"),
    }
}

fn loss(
    real: &Tensor,
    generated: &Tensor,
    eta: &[f64],
    options: &StructureOptions,
) -> Result<Tensor> {
    let b = real.dim(0)?;
    let e = (affinity(options.relation, real)? - affinity(options.relation, generated)?)?;
    let weight = |k: usize| {
        let (i, j) = (k / b, k % b);
        match options.diagonal {
            Diagonal::Exclude if i == j => 0.0,
            Diagonal::Exclude => {
                (eta[i % eta.len()] * eta[j % eta.len()]).sqrt() / (b * (b - 1)) as f64
            }
            Diagonal::Include => (eta[i % eta.len()] * eta[j % eta.len()]).sqrt() / (b * b) as f64,
        }
    };
    let weights: Vec<f64> = (0..b * b).map(weight).collect();
    let weights = Tensor::from_vec(weights, (b, b), &Device::Cpu)?.to_dtype(e.dtype())?;
    (distance(options.distance, &e)? * weights)?.sum_all()
}

/// Value and both gradients by candle.
fn differentiated(
    case: &Case,
    options: &StructureOptions,
    dtype: DType,
) -> crate::Result<[ArrayD<f64>; 3]> {
    let place = Place::cpu(dtype);
    let var =
        |name: &str| Ok::<_, crate::Error>(Var::from_tensor(&place.tensor(case.get(name)?)?)?);
    let (real, generated) = (var("real")?, var("generated")?);
    let loss = loss(
        real.as_tensor(),
        generated.as_tensor(),
        case.get_numbers("eta")?,
        options,
    )?;
    let grads = loss.backward()?;
    let grad = |var: &Var| match grads.get(var) {
        Some(grad) => Place::array(grad),
        None => Place::array(&var.zeros_like()?),
    };
    Ok([Place::array(&loss)?, grad(&real)?, grad(&generated)?])
}

fn agree(
    case: &Case,
    options: &StructureOptions,
    dtype: DType,
    p: Precision,
) -> std::result::Result<(), TestCaseError> {
    let read = |name| case.get2(name).expect("the generator makes matrices");
    let (real, generated): (Array2<f64>, Array2<f64>) = (read("real"), read("generated"));
    let eta = case
        .get_numbers("eta")
        .expect("the generator makes weights");
    let bound = |p| loss_bound(&real, &generated, eta, options, p).expect("the inputs are allowed");
    let (bound, own) = (bound(p), bound(Precision::F64));
    let got = differentiated(case, options, dtype).expect("candle differentiates it");
    let want = [&bound.loss, &bound.grad_real, &bound.grad_generated];
    let own = [&own.loss, &own.grad_real, &own.grad_generated];
    for (((name, got), want), own) in ["loss", "grad_real", "grad_generated"]
        .iter()
        .zip(&got)
        .zip(want)
        .zip(own)
    {
        let judged = compare(name, got, &want.value, &(&want.error + &own.error));
        prop_assert!(
            judged.holds(),
            "{options:?}: {} is {} times too far",
            judged.place,
            judged.worst
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn structural_gradients_are_those_of_automatic_differentiation(case in two_batches()) {
        for relation in Relation::all() {
            for distance in Distance::all() {
                let options = options(relation, distance, &case).expect("the generator makes the choices");
                agree(&case, &options, DType::F64, Precision::F64)?;
                agree(&case, &options, DType::F32, Precision::F32)?;
            }
        }
    }
}
