//! Self-test of the kernels: on the GPU against the operations on the CPU.
//!
//! A test of the GPU and its compiler, before anybody relies on them; how exact the operations are is what `sadm verify` asks.

use candle_core::{DType, Device, Error, Result, Tensor, Var};

use crate::nn::softmax::scaled_softmax;
use crate::nn::{
    gated_sum, gelu, group_norm, group_norm_silu, layer_norm, linear, silu, softmax_last,
};
use crate::optim;

/// An operation, its name and the shapes of what it takes.
type Case = (
    &'static str,
    fn(&[Var]) -> Result<Tensor>,
    &'static [&'static [usize]],
);

/// Rows longer than a warp and no multiple of it, parameters of each sample and of all.
const CASES: [Case; 15] = [
    (
        "layer norm",
        |x| layer_norm(&x[0], Some((&x[1], &x[2]))),
        &[&[3, 5, 41], &[41], &[41]],
    ),
    (
        "layer norm",
        |x| layer_norm(&x[0], Some((&x[1], &x[2]))),
        &[&[3, 5, 41], &[3, 41], &[3, 41]],
    ),
    // More rows than the sums over them have parts.
    (
        "layer norm",
        |x| layer_norm(&x[0], Some((&x[1], &x[2]))),
        &[&[151, 3], &[3], &[3]],
    ),
    (
        "layer norm without factors",
        |x| layer_norm(&x[0], None),
        &[&[3, 300]],
    ),
    (
        "group norm",
        |x| group_norm(&x[0], 3, &x[1], &x[2]),
        &[&[2, 6, 5, 7], &[6], &[6]],
    ),
    (
        "group norm with SiLU",
        |x| group_norm_silu(&x[0], 2, &x[1], &x[2]),
        &[&[2, 6, 5, 7], &[2, 6], &[2, 6]],
    ),
    ("softmax", |x| softmax_last(&x[0]), &[&[4, 3, 70]]),
    (
        "scaled softmax",
        |x| scaled_softmax(&x[0], 0.3),
        &[&[2, 40]],
    ),
    (
        "linear",
        |x| linear(&x[0], &x[1], Some(&x[2])),
        &[&[3, 2, 5], &[7, 5], &[7]],
    ),
    // More rows than the sums over them have parts.
    (
        "linear",
        |x| linear(&x[0], &x[1], Some(&x[2])),
        &[&[151, 2], &[3, 2], &[3]],
    ),
    ("bias", |x| with_bias(&x[0], &x[1]), &[&[3, 5, 4, 9], &[5]]),
    // Whose exponentials overflow unless the largest is taken off.
    (
        "softmax of large numbers",
        |x| softmax_last(&(x[0].as_tensor() + 200.0)?),
        &[&[2, 40]],
    ),
    ("SiLU", |x| silu(&x[0]), &[&[300]]),
    ("GELU", |x| gelu(&x[0]), &[&[300]]),
    (
        "gated sum",
        |x| gated_sum(&x[0], &x[1], &x[2]),
        &[&[3, 5, 41], &[3, 41], &[3, 5, 41]],
    ),
];

/// The first operation whose result, or a gradient of it, is not the CPU's in elements of a type, and how far it is off.
pub(crate) fn failure(gpu: &Device, dtype: DType) -> Result<Option<String>> {
    let differ = |what: &str, of: &dyn Fn(&Device) -> Result<Vec<Tensor>>| {
        let got = of(gpu).map_err(|error| Error::Msg(format!("{what}: {error}")))?;
        for (number, (want, got)) in of(&Device::Cpu)?.iter().zip(&got).enumerate() {
            if let Some(how) = difference(want, got, dtype)? {
                return Ok(Some(format!("{what}, result {number}: {how}")));
            }
        }
        Ok(None)
    };
    for (name, run, shapes) in CASES {
        let what = format!("{name} of {:?}", shapes[0]);
        let found = differ(&what, &|device| results(run, shapes, dtype, device))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    for max in [0.5, 1e6] {
        let found = differ("clipping", &|device| clipped(max, dtype, device))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    match dtype {
        DType::F64 | DType::F32 => {
            differ("AdamW", &|device| Ok(optim::one_step(300, dtype, device)?))
        }
        _ => Ok(None),
    }
}

/// The result of an operation, and its gradient by every input.
fn results(
    run: fn(&[Var]) -> Result<Tensor>,
    shapes: &[&[usize]],
    dtype: DType,
    device: &Device,
) -> Result<Vec<Tensor>> {
    let inputs = shapes
        .iter()
        .enumerate()
        .map(|(i, &shape)| Var::from_tensor(&waves(i, shape)?.to_dtype(dtype)?.to_device(device)?));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let y = run(&inputs)?;
    let weight = waves(9, y.dims())?.to_dtype(dtype)?.to_device(device)?;
    let grads = (&y * weight)?.sum_all()?.backward()?;
    let mut all = vec![y];
    for input in &inputs {
        let grad = grads.get(input).cloned();
        all.push(grad.ok_or_else(missing)?);
    }
    Ok(all)
}

fn missing() -> Error {
    Error::Msg("a gradient is missing".into()).bt()
}

/// The norm of two gradients, one of them of several parts, and both as they are clipped.
fn clipped(max: f64, dtype: DType, device: &Device) -> Result<Vec<Tensor>> {
    let var =
        |which, len| Var::from_tensor(&waves(which, &[len])?.to_dtype(dtype)?.to_device(device)?);
    let vars = [var(0, 20_000)?, var(1, 7)?];
    let [a, b] = vars.each_ref().map(|var| (var.sqr()? * 0.5)?.sum_all());
    let mut grads = (a? + b?)?.backward()?;
    let mut all = vec![optim::clip_on_device(vars.iter(), &mut grads, max)?];
    for var in &vars {
        all.push(grads.remove(var).ok_or_else(missing)?);
    }
    Ok(all)
}

/// A bias of each channel, as the device has it.
fn with_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.device().is_cuda() {
        super::with_bias(x, bias)
    } else {
        x.broadcast_add(&bias.reshape((1, (), 1, 1))?)
    }
}

/// Quarters between −3 and 3 in no order: factors that TF32 and bf16 leave as they are.
fn waves(which: usize, shape: &[usize]) -> Result<Tensor> {
    let count = shape.iter().product();
    let values = (0..count).map(|i| (12.0 * ((i * (which + 2)) as f64 + 0.3).sin()).round() / 4.0);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)
}

/// How far two results differ, if by more than roundings of the largest element: three of the elements' own type, of the CPU's
/// result and of a GPU's product and its sum with a bias; and two of what sums of 300 elements are computed in for each of them.
fn difference(want: &Tensor, got: &Tensor, dtype: DType) -> Result<Option<String>> {
    let numbers = |t: &Tensor| {
        t.to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()
    };
    if want.dims() != got.dims() {
        return Ok(Some(format!(
            "shape {:?}, not {:?}",
            got.dims(),
            want.dims()
        )));
    }
    let (want, got) = (numbers(want)?, numbers(got)?);
    let largest = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let (own, computed) = match dtype {
        DType::F64 => (2f64.powi(-53), 2f64.powi(-53)),
        DType::F32 => (2f64.powi(-24), 2f64.powi(-24)),
        DType::BF16 => (2f64.powi(-8), 2f64.powi(-24)),
        _ => (2f64.powi(-11), 2f64.powi(-24)),
    };
    let allowed = largest * (3.0 * own + 600.0 * computed);
    let mut pairs = want.iter().zip(&got).map(|(want, got)| (want - got).abs());
    let off = pairs.find(|off| off.is_nan() || *off > allowed);
    Ok(off.map(|off| format!("{off:.1e} off, at most {allowed:.1e} allowed")))
}
