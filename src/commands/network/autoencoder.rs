//! `sadm network forward` of an autoencoder: each half by itself.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor, Var};
use ndarray::ArrayD;
use sadm::crosscheck::Place;
use sadm::gpu::network::autoencoder::{self as gpu, Family};
use sadm::gpu::params::{Params, Tensors};
use sadm::gpu::weights::Weights;
use sadm::reference::network::autoencoder::{self as exact, Half};
use toml::Table;

use super::forward::{Args, Arrays, Engine, Precision};

/// A half by the names of its input and its output, and a second name for its probe in files of published numbers.
const HALVES: [(Half, &str, &str, [&str; 2]); 2] = [
    (
        Half::Encode,
        "x",
        "moments",
        ["probe.moments", "probe.latents"],
    ),
    (Half::Decode, "z", "decoded", ["probe.decoded", "probe"]),
];

/// The answers of each half that is asked.
pub(super) fn answer(family: &Family, config: &Table, args: &Args) -> Result<Arrays> {
    let files = args.weights.iter().map(|path| Weights::open(path));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let given = gpu::weights(family.name, config, &files)?;
    let input = Weights::open(&args.input)?;
    let optional = |name: &str| -> Result<Option<ArrayD<f64>>> {
        let Some(shape) = input.shape(name).map(<[usize]>::to_vec) else {
            return Ok(None);
        };
        Ok(Some(Place::array(&input.get(name, &shape)?)?))
    };
    let mut answer = Arrays::new();
    let mut unasked = Vec::new();
    for ((half, name, output, probes), is_here) in HALVES.into_iter().zip(given.halves) {
        let Some(x) = optional(name)?.filter(|_| is_here) else {
            unasked.push(format!("`{name}`"));
            continue;
        };
        let probe = probes
            .into_iter()
            .find_map(|name| optional(name).transpose());
        let probe = probe.transpose()?.filter(|_| args.gradients);
        let pass = match args.engine {
            Engine::Reference => {
                of_reference(family, config, &given.tensors, (half, &x, probe.as_ref()))
            }
            Engine::Candle => of_candle(
                family,
                config,
                &given.tensors,
                (half, &x, probe.as_ref()),
                args.dtype,
            ),
        }?;
        // The names by which a tiny autoencoder's numbers are published: it has no deviations.
        if half == Half::Encode && family.name == "autoencoder-tiny" {
            let latents = pass.outputs.iter().find(|(name, _)| name == "moments");
            answer.extend(latents.map(|(_, x)| ("latents".to_owned(), x.clone())));
        }
        answer.extend(pass.outputs);
        let of_input = [(name.to_owned(), pass.grad_input)];
        let grads = of_input.into_iter().chain(pass.grads);
        answer.extend(
            grads.filter_map(|(name, grad)| Some((format!("grad.{output}.{name}"), grad?))),
        );
    }
    if unasked.len() == HALVES.len() {
        bail!(
            "{}: there must be a tensor `x` of shape [B, C, H, W] for an encoder, or `z` of shape [B, L, h, w] for a decoder; the weights are those of {}",
            args.input.display(),
            match given.halves {
                [true, true] => "both",
                [true, false] => "an encoder",
                _ => "a decoder",
            }
        );
    }
    let probes: Vec<&str> = HALVES.iter().map(|(.., probes)| probes[0]).collect();
    if args.gradients && !answer.keys().any(|name| name.starts_with("grad.")) {
        bail!(
            "{}: there must be a tensor `{}` shaped like the output with --gradients",
            args.input.display(),
            probes.join("` or `")
        );
    }
    Ok(answer)
}

/// What one half gave: outputs by name, and gradients where there was a probe.
struct Answered {
    outputs: Vec<(String, ArrayD<f64>)>,
    grad_input: Option<ArrayD<f64>>,
    grads: Vec<(String, Option<ArrayD<f64>>)>,
}

/// A half, its input, and the probe of its output.
type Question<'a> = (Half, &'a ArrayD<f64>, Option<&'a ArrayD<f64>>);

/// Refuses a probe that is not shaped like the output.
fn check_probe(half: Half, probe: &[usize], output: &[usize]) -> Result<()> {
    let (_, _, name, probes) = HALVES[usize::from(half == Half::Decode)];
    if probe != output {
        bail!(
            "tensor `{}` must be shaped like `{name}`, {output:?}, got {probe:?}",
            probes[0]
        );
    }
    Ok(())
}

/// Names of what an encoder or a decoder gives.
fn outputs(output: ArrayD<f64>, latent: Option<[ArrayD<f64>; 2]>) -> Vec<(String, ArrayD<f64>)> {
    let Some([mean, std]) = latent else {
        return vec![("decoded".to_owned(), output)];
    };
    let named = [("moments", output), ("mean", mean), ("std", std)];
    named.map(|(name, value)| (name.to_owned(), value)).into()
}

fn of_reference(
    family: &Family,
    config: &Table,
    weights: &Tensors,
    (half, x, probe): Question<'_>,
) -> Result<Answered> {
    let built = exact::autoencoder(family.name, config)?;
    let weights = weights.iter();
    let weights = weights.map(|(name, value)| Ok((name.clone(), Place::array(value)?)));
    let weights = weights.collect::<Result<Arrays>>()?;
    let output = built.forward(&weights, half, x)?;
    let pass = match probe {
        None => None,
        Some(probe) => {
            check_probe(half, probe.shape(), output.shape())?;
            Some(built.forward_backward(&weights, half, x, probe, None)?)
        }
    };
    let latent = match half {
        Half::Decode => None,
        Half::Encode => {
            let latent = built.latent(&output)?;
            Some([latent.mean, latent.std])
        }
    };
    let (grad_input, grads) = pass.map_or((None, Vec::new()), |pass| {
        let grads = pass.grad_parameters.into_iter();
        let grads = grads.map(|(name, grad)| (name, Some(grad)));
        (Some(pass.grad_input), grads.collect())
    });
    Ok(Answered {
        outputs: outputs(output, latent),
        grad_input,
        grads,
    })
}

fn of_candle(
    family: &Family,
    config: &Table,
    weights: &Tensors,
    (half, x, probe): Question<'_>,
    precision: Precision,
) -> Result<Answered> {
    let (dtype, compute) = precision.parts();
    let tensor = |array: &ArrayD<f64>| -> Result<Tensor> {
        let numbers: Vec<f64> = array.iter().copied().collect();
        Ok(Tensor::from_vec(numbers, array.shape(), &Device::Cpu)?.to_dtype(dtype)?)
    };
    let built = gpu::autoencoder(family.name, config)?;
    let params = Params::new(&Device::Cpu, dtype, 0);
    let network = match half {
        Half::Encode => built.encoder(&params.builder()),
        Half::Decode => built.decoder(&params.builder()),
    }?;
    let own = params.names().into_iter();
    let own = own.filter_map(|name| Some((name.clone(), weights.get(&name)?.to_dtype(dtype))));
    let own = own.map(|(name, value)| Ok((name, value?)));
    params.load(&own.collect::<Result<Tensors>>()?)?;
    let x = Var::from_tensor(&tensor(x)?)?;
    let output = compute.within(x.as_tensor(), |x| network.forward(x))?;
    let latent = match half {
        Half::Decode => None,
        Half::Encode => {
            let latent = built.latent(&output)?;
            Some([Place::array(&latent.mean)?, Place::array(&latent.std)?])
        }
    };
    let mut answered = Answered {
        outputs: outputs(Place::array(&output)?, latent),
        grad_input: None,
        grads: Vec::new(),
    };
    if let Some(probe) = probe {
        check_probe(half, probe.shape(), output.dims())?;
        let grads = (output * tensor(probe)?)?.sum_all()?.backward()?;
        let grad = |var: &Var| match grads.get(var) {
            Some(grad) => Ok::<_, anyhow::Error>(Some(Place::array(grad)?)),
            None => Ok(Some(ArrayD::zeros(var.dims()))),
        };
        answered.grad_input = grad(&x)?;
        for (name, var) in params.vars() {
            answered.grads.push((name, grad(&var)?));
        }
    }
    Ok(answered)
}
