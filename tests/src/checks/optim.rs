//! The optimiser, gradient clipping and the moving average.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use ndarray::ArrayD;
use proptest::prelude::*;
use sadm_gpu::{
    ema::Ema,
    optim as gpu,
    params::{Init, Params},
};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    ema,
    optim::{self, AdamW, Moments},
};

use super::exact;
use crate::{
    case::Case,
    check::{Bounds, Check, Computed, Exact, Quantity, bounds, scalar, values},
    engine::Place,
    error::{Error, Result},
    generators::{moderate, positive, tensor_of},
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![
        adamw(),
        adamw_with_average(),
        adamw_step(),
        clip(),
        moving_average(),
    ]
}

/// Parameters of the training system with the given values.
pub(super) fn gpu_parameters(
    place: &Place,
    given: &BTreeMap<String, ArrayD<f64>>,
) -> Result<Params> {
    let params = Params::new(&place.device, place.dtype, 0);
    let mut tensors = BTreeMap::new();
    for (name, value) in given {
        params.builder().get(value.shape(), name, Init::Zeros)?;
        tensors.insert(name.clone(), place.tensor(value)?);
    }
    params.load(&tensors)?;
    Ok(params)
}

/// Gradients of Σ g·θ: exactly g.
fn gradients(
    place: &Place,
    params: &Params,
    g: &BTreeMap<String, ArrayD<f64>>,
) -> Result<GradStore> {
    let mut total = None;
    for (name, var) in params.vars() {
        let g = g
            .get(&name)
            .ok_or_else(|| Error::Gpu(format!("no gradient for `{name}`")))?;
        let term = (var.as_tensor() * place.tensor(g)?)?.sum_all()?;
        total = Some(match total {
            None => term,
            Some(sum) => (sum + term)?,
        });
    }
    let total = total.ok_or_else(|| Error::Gpu("there are no parameters".to_owned()))?;
    Ok(total.backward()?)
}

const OPTIONS: AdamW = AdamW {
    lr: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.02,
};

/// The same options in the training system, before its first step.
pub(super) fn gpu_adamw(options: &AdamW) -> gpu::AdamW {
    gpu::AdamW {
        learning_rate: options.lr,
        beta1: options.beta1,
        beta2: options.beta2,
        eps: options.eps,
        weight_decay: options.weight_decay,
        ..gpu::AdamW::default()
    }
}

fn adamw() -> Box<dyn Check> {
    two_steps(
        "adamw",
        "two steps of AdamW: θ, m, v; decoupled decay, bias correction, eps outside the root",
        false,
    )
}

fn adamw_with_average() -> Box<dyn Check> {
    two_steps(
        "adamw.ema",
        "two steps of AdamW and of the average that follows θ, in one pass: θ, m, v, θ̄",
        true,
    )
}

/// Half-life of the average in the check of AdamW, and the images of a step.
const FOLLOWING: (f64, f64) = (64.0, 16.0);

fn two_steps(name: &'static str, formula: &'static str, averages: bool) -> Box<dyn Check> {
    let (half_life, batch) = FOLLOWING;
    let decay = ema::ema_decay(half_life, None, 0.0, batch);
    Quantity::new(
        name,
        formula,
        "Loshchilov and Hutter (arXiv:1711.05101), Alg. 2",
    )
    .draws(|| {
        (1..=3_usize, 1..=4_usize)
            .prop_flat_map(|(a, b)| {
                let t = || tensor_of(&[a, b], moderate());
                (t(), t(), t())
            })
            .prop_map(|(theta, first, second)| {
                Case::new()
                    .tensor("theta", theta)
                    .tensor("first", first)
                    .tensor("second", second)
            })
            .boxed()
    })
    .reference(move |case| {
        let mut theta = case.get("theta")?.clone();
        let mut average = theta.clone();
        let mut state = Moments::zeros(theta.shape());
        for g in ["first", "second"] {
            (theta, state) = OPTIONS
                .step(&theta, case.get(g)?, &state)
                .map_err(Error::reference)?;
            average = ema::ema_update(&average, &theta, decay).map_err(Error::reference)?;
        }
        let mut all: Exact = values([("theta", theta), ("m", state.m), ("v", state.v)]);
        if averages {
            all.insert("average".to_owned(), average);
        }
        Ok(all)
    })
    .bound(move |case, rule| {
        let mut theta = exact(case, "theta")?;
        let mut average = theta.clone();
        let zero = Tracked::exact(ArrayD::zeros(theta.value.raw_dim()));
        let (mut m, mut v) = (zero.clone(), zero);
        for (steps, g) in ["first", "second"].into_iter().enumerate() {
            let steps = u32::try_from(steps).map_err(Error::reference)?;
            let g = exact(case, g)?;
            let after =
                bound::optim::adamw_step(&OPTIONS, &theta, &g, [&m, &v], steps, rule.compute);
            let after = after.map_err(Error::reference)?;
            (theta, m, v) = (after.theta, after.m, after.v);
            average = averaged(&average, &theta, decay, rule.compute)?;
        }
        let mut all = bounds([("theta", theta), ("m", m), ("v", v)]);
        if averages {
            all.extend(bounds([("average", average)]));
        }
        Ok(all)
    })
    .candle(move |case, place| {
        let named =
            |g: &str| Ok::<_, Error>(BTreeMap::from([("theta".to_owned(), case.get(g)?.clone())]));
        let params = gpu_parameters(place, &named("theta")?)?;
        let mut following = Ema::new(&params, half_life, f64::INFINITY)?;
        let mut optimiser = gpu_adamw(&OPTIONS);
        for g in ["first", "second"] {
            let grads = gradients(place, &params, &named(g)?)?;
            if averages {
                optimiser.step_and_average(&params, &grads, 1.0, &mut following, [0.0, batch])?;
            } else {
                optimiser.step(&params, &grads, 1.0)?;
            }
        }
        let state = optimiser.state();
        let moment = |name: &str| match state.get(name) {
            Some(tensor) => Place::array(tensor),
            None => Err(Error::Gpu(format!("the optimiser has no `{name}`"))),
        };
        let theta = |params: &Params| Place::array(&params.tensors()["theta"]);
        let mut all: Computed = values([
            ("theta", theta(&params)?),
            ("m", moment("m.theta")?),
            ("v", moment("v.theta")?),
        ]);
        if averages {
            all.insert("average".to_owned(), theta(following.params())?);
        }
        Ok(all)
    })
    .boxed()
}

/// One step from where a run may be: its moments, its step and its options are inputs.
fn adamw_step() -> Box<dyn Check> {
    let options = |case: &Case| {
        let n = |name: &str| case.get_number(name);
        Ok::<_, Error>(AdamW {
            lr: n("learning_rate")?,
            beta1: n("beta1")?,
            beta2: n("beta2")?,
            eps: n("epsilon")?,
            weight_decay: n("weight_decay")?,
        })
    };
    let steps = |case: &Case| u32::try_from(case.get_count("steps")?).map_err(Error::reference);
    Quantity::new(
        "adamw.step",
        "one step of AdamW from any θ, m, v and step number, under any options",
        "Loshchilov and Hutter (arXiv:1711.05101), Alg. 2",
    )
    .draws(|| {
        let shape = (1..=3_usize, 1..=4_usize);
        (shape, 0..=5000_usize, 1..=64_i32, 0..=8_i32)
            .prop_flat_map(|((a, b), steps, rate, decay)| {
                let t = || tensor_of(&[a, b], moderate());
                (t(), t(), t(), t(), Just((steps, rate, decay)))
            })
            .prop_map(|(theta, gradient, m, v, (steps, rate, decay))| {
                Case::new()
                    .tensor("theta", theta)
                    .tensor("gradient", gradient)
                    .tensor("m", m)
                    .tensor("v", v.mapv(f64::abs))
                    .count("steps", steps)
                    .number("learning_rate", f64::from(rate) / 1024.0)
                    .number("beta1", OPTIONS.beta1)
                    .number("beta2", OPTIONS.beta2)
                    .number("epsilon", OPTIONS.eps)
                    .number("weight_decay", f64::from(decay) / 64.0)
            })
            .boxed()
    })
    .reference(move |case| {
        let state = Moments {
            steps: steps(case)?,
            m: case.get("m")?.clone(),
            v: case.get("v")?.clone(),
        };
        let after = options(case)?.step(case.get("theta")?, case.get("gradient")?, &state);
        let (theta, state) = after.map_err(Error::reference)?;
        Ok(values([("theta", theta), ("m", state.m), ("v", state.v)]))
    })
    .bound(move |case, rule| {
        let of = |name| exact(case, name);
        let (theta, gradient, m, v) = (of("theta")?, of("gradient")?, of("m")?, of("v")?);
        let (options, steps, p) = (options(case)?, steps(case)?, rule.compute);
        let after = bound::optim::adamw_step(&options, &theta, &gradient, [&m, &v], steps, p);
        let after = after.map_err(Error::reference)?;
        Ok(bounds([
            ("theta", after.theta),
            ("m", after.m),
            ("v", after.v),
        ]))
    })
    .candle(move |case, place| {
        let named =
            |g: &str| Ok::<_, Error>(BTreeMap::from([("theta".to_owned(), case.get(g)?.clone())]));
        let params = gpu_parameters(place, &named("theta")?)?;
        let grads = gradients(place, &params, &named("gradient")?)?;
        let mut optimiser = gpu_adamw(&options(case)?);
        let wide = |name: &str| wide_tensor(place, case.get(name)?);
        let state = BTreeMap::from([
            ("m.theta".to_owned(), wide("m")?),
            ("v.theta".to_owned(), wide("v")?),
        ]);
        optimiser.load_state(case.get_count("steps")?, state)?;
        optimiser.step(&params, &grads, 1.0)?;
        let state = optimiser.state();
        Ok(values([
            ("theta", Place::array(&params.tensors()["theta"])?),
            ("m", Place::array(&state["m.theta"])?),
            ("v", Place::array(&state["v.theta"])?),
        ]))
    })
    .boxed()
}

/// Numbers of a place in the type that moments are kept in: f32 where the place has a narrower one.
fn wide_tensor(place: &Place, value: &ArrayD<f64>) -> Result<candle_core::Tensor> {
    let tensor = place.tensor(value)?;
    Ok(match tensor.dtype() {
        candle_core::DType::F64 => tensor,
        _ => tensor.to_dtype(candle_core::DType::F32)?,
    })
}

fn named_gradients(case: &Case) -> BTreeMap<String, ArrayD<f64>> {
    case.tensors.clone()
}

fn clip() -> Box<dyn Check> {
    Quantity::new(
        "clip",
        "n = √Σ‖g_p‖², g_p ← g_p min(1, max/n)",
        "Pascanu et al. 2013 (arXiv:1211.5063), Alg. 1",
    )
    .draws(|| {
        (1..=3_usize, 1..=4_usize)
            .prop_flat_map(|(a, b)| {
                (
                    tensor_of(&[a, b], moderate()),
                    tensor_of(&[b], moderate()),
                    positive(),
                )
            })
            .prop_map(|(a, b, max)| Case::new().tensor("a", a).tensor("b", b).number("max", max))
            .boxed()
    })
    .reference(|case| {
        let clipped = optim::clip_by_global_norm(&named_gradients(case), case.get_number("max")?);
        let clipped = clipped.map_err(Error::reference)?;
        let mut all: Exact = clipped.grads.into_iter().collect();
        all.insert("norm".to_owned(), scalar(clipped.norm));
        Ok(all)
    })
    .bound(|case, rule| {
        let grads = named_gradients(case)
            .into_iter()
            .map(|(name, g)| (name, Tracked::exact(g)))
            .collect();
        let clipped = bound::optim::clip_by_norm(&grads, case.get_number("max")?, rule.compute);
        let clipped = clipped.map_err(Error::reference)?;
        let mut all: Bounds = clipped.grads.into_iter().collect();
        // On every device the squares are added in f64.
        let norm = bound::optim::clip_by_norm(&grads, case.get_number("max")?, Precision::F64);
        all.insert("norm".to_owned(), norm.map_err(Error::reference)?.norm);
        Ok(all)
    })
    .candle(|case, place| {
        let given = named_gradients(case);
        let params = gpu_parameters(place, &given)?;
        let mut grads = gradients(place, &params, &given)?;
        let most = case.get_number("max")?;
        let norm = gpu::clip_grad_norm_later(&params, &mut grads, most)?.wait()?[0];
        let clipped = |name: &str| {
            let grad = params.get(name).and_then(|var| grads.get(&var).cloned());
            Place::array(&grad.ok_or_else(|| Error::Gpu(format!("`{name}` lost its gradient")))?)
        };
        let each = given.keys().map(|name| Ok((name.clone(), clipped(name)?)));
        let mut all = each.collect::<Result<Computed>>()?;
        all.insert("norm".to_owned(), scalar(norm));
        Ok(all)
    })
    .boxed()
}

/// Bound of one update of the average; see [`host_decay`].
pub(crate) fn averaged(
    average: &Tracked,
    theta: &Tracked,
    decay: f64,
    p: Precision,
) -> Result<Tracked> {
    let updated = bound::optim::ema_update(average, theta, decay, p).map_err(Error::reference)?;
    Ok(updated.widened(&host_decay(average, theta)))
}

/// β = 2^(−batch/h) is formed on the host, as a power or by expm1: one quotient, one product, one function,
/// at most 8 roundings of f64 in β, each worth |θ − θ̄| in the result.
fn host_decay(average: &Tracked, theta: &Tracked) -> ArrayD<f64> {
    (&theta.value - &average.value).mapv(|d| 8.0 * Precision::F64.unit * d.abs())
}

fn moving_average() -> Box<dyn Check> {
    let decay = |case: &Case| {
        let n = |name: &str| case.get_number(name);
        Ok::<_, Error>(ema::ema_decay(
            n("half_life")?,
            Some(n("ramp")?),
            n("images")?,
            n("batch")?,
        ))
    };
    Quantity::new(
        "ema",
        "θ̄ ← β θ̄ + (1 − β) θ, β = 2^(−batch/h), h = min(half-life, ramp · images seen)",
        "Karras et al. 2022, App. F.1",
    )
    .draws(|| {
        (1..=3_usize, 1..=4_usize)
            .prop_flat_map(|(a, b)| {
                let t = || tensor_of(&[a, b], moderate());
                (t(), t(), 1..=64_i32, 1..=64_i32, 1..=16_i32)
            })
            .prop_map(|(average, theta, half_life, images, batch)| {
                Case::new()
                    .tensor("average", average)
                    .tensor("theta", theta)
                    .number("half_life", f64::from(half_life * 16))
                    .number("ramp", 0.5)
                    .number("images", f64::from(images * 16))
                    .number("batch", f64::from(batch))
            })
            .boxed()
    })
    .reference(move |case| {
        let average = ema::ema_update(case.get("average")?, case.get("theta")?, decay(case)?);
        Ok(values([("average", average.map_err(Error::reference)?)]))
    })
    .bound(move |case, rule| {
        let (average, theta) = (exact(case, "average")?, exact(case, "theta")?);
        Ok(bounds([(
            "average",
            averaged(&average, &theta, decay(case)?, rule.compute)?,
        )]))
    })
    .candle(|case, place| {
        let named = |name: &str| {
            Ok::<_, Error>(BTreeMap::from([("p".to_owned(), case.get(name)?.clone())]))
        };
        let params = gpu_parameters(place, &named("average")?)?;
        let mut ema = Ema::new(
            &params,
            case.get_number("half_life")?,
            case.get_number("ramp")?,
        )?;
        params.copy_from(&gpu_parameters(place, &named("theta")?)?)?;
        ema.update(
            &params,
            case.get_number("images")?,
            case.get_number("batch")?,
        )?;
        Ok(values([(
            "average",
            Place::array(&ema.params().tensors()["p"])?,
        )]))
    })
    .boxed()
}
