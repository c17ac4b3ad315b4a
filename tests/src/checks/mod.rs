//! The quantities, one file for each part of the mathematics.

pub(crate) mod augmentation;
mod autoencoders;
pub(crate) mod coupling;
pub(crate) mod course;
pub(crate) mod denoise;
mod diffusion_gan;
mod family;
pub(crate) mod forward;
mod frozen;
pub(crate) mod gan_step;
mod layers;
mod likelihood;
pub(crate) mod networks;
pub(crate) mod optim;
mod statistics;
mod step;
pub(crate) mod structure;

use candle_core::{Tensor, Var};
use ndarray::{Array1, ArrayD};
use sadm_reference::bound::{Precision, Tracked};

use crate::{
    case::Case,
    check::{Check, Computed},
    engine::Place,
    error::{Error, Result},
};

/// Every check, in the registry's order.
pub(crate) fn all() -> Vec<Box<dyn Check>> {
    let parts = [
        forward::checks(),
        augmentation::checks(),
        coupling::checks(),
        course::checks(),
        denoise::checks(),
        family::checks(),
        structure::checks(),
        layers::checks(),
        optim::checks(),
        networks::checks(),
        autoencoders::checks(),
        step::checks(),
        statistics::checks(),
        diffusion_gan::checks(),
        gan_step::checks(),
        likelihood::checks(),
        frozen::checks(),
    ];
    parts.into_iter().flatten().collect()
}

/// Numbers as a tensor `[N]`.
fn list(values: impl IntoIterator<Item = f64>) -> ArrayD<f64> {
    values.into_iter().collect::<Array1<f64>>().into_dyn()
}

/// A tensor of the case, exact in every precision.
fn exact(case: &Case, name: &str) -> Result<Tracked> {
    Ok(Tracked::exact(case.get(name)?.clone()))
}

/// Numbers computed on the host in f64, one for each sample, rounded to `p` where they meet a tensor of
/// `rank` axes: shape `[N, 1, …, 1]`.
pub(crate) fn per_sample(values: Tracked, rank: usize, p: Precision) -> Tracked {
    let mut shape = vec![1; rank];
    shape[0] = values.value.len();
    values.stored_as(p).reshape(&shape)
}

/// y = f(inputs) and the gradients of Σ g·y with respect to every input, by candle.
///
/// The values are `y` and `grad_NAME`. An input that receives no gradient is an error: a silently frozen
/// argument must not pass for one with gradient zero.
pub(crate) fn differentiated(
    case: &Case,
    place: &Place,
    inputs: &[&str],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Computed> {
    let vars = inputs
        .iter()
        .map(|name| Ok(Var::from_tensor(&place.tensor(case.get(name)?)?)?))
        .collect::<Result<Vec<Var>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let grads = match case.tensors.get("g") {
        Some(g) => (&y * place.tensor(g)?)?.sum_all()?.backward()?,
        None => y.backward()?,
    };
    let mut values = Computed::from([("y".to_owned(), Place::array(&y)?)]);
    for (name, var) in inputs.iter().zip(&vars) {
        let grad = grads
            .get(var)
            .ok_or_else(|| Error::Gpu(format!("`{name}` receives no gradient")))?;
        values.insert(format!("grad_{name}"), Place::array(grad)?);
    }
    Ok(values)
}
