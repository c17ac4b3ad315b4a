//! `sadm network forward`: one pass of a network, forward and back, by either engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor, Var};
use ndarray::ArrayD;
use sadm::crosscheck::Place;
use sadm::gpu::network::{self, Architecture, Compute, MixedPrecision, Mode, Network};
use sadm::gpu::params::Params;
use sadm::gpu::weights::Weights;
use sadm::reference::network as exact;
use toml::Table;

use super::{Known, autoencoder, resolved, shapes};
use crate::names::nearest;
use crate::{files, tensors};

/// The arguments of `sadm network forward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network, or a configuration with a name, as `sadm network list` has them
    #[arg(long, value_name = "NAME")]
    architecture: String,
    /// Its configuration, a JSON file with the keys of the published code
    #[arg(long, value_name = "FILE.json")]
    config: Option<PathBuf>,
    /// Every tensor of it, as `sadm network shapes` lists them: safetensors, or what PyTorch saved. An autoencoder's may be in any known layout, and in a
    /// file for each half (then given twice); one half answers alone
    #[arg(long, value_name = "FILE.safetensors", required = true)]
    pub(super) weights: Vec<PathBuf>,
    /// The inputs, named as `sadm network list` says; with --gradients also `probe`, shaped like the output. Other tensors are left alone. An
    /// autoencoder is asked for `x`, `z` or both; its probes are `probe.moments` and `probe.decoded`
    #[arg(long, value_name = "FILE.safetensors")]
    pub(super) input: PathBuf,
    /// Where `output` goes, and with --gradients `grad.input.x` and `grad.KEY` for every parameter, all f64; of an autoencoder `moments`, `mean` and
    /// `std` of `x`, `decoded` of `z`, with gradients `grad.moments.x`, `grad.decoded.z` and `grad.moments.KEY`, `grad.decoded.KEY`
    #[arg(long, value_name = "FILE.safetensors")]
    output: PathBuf,
    /// Also gradients of Σ output·probe, of an autoencoder of Σ moments·probe.moments and Σ decoded·probe.decoded
    #[arg(long)]
    pub(super) gradients: bool,
    /// Who computes: the training system, or the f64 reference
    #[arg(long, value_enum, default_value = "candle")]
    pub(super) engine: Engine,
    /// What the training system computes in; with bf16 its parameters are f32
    #[arg(long, value_enum, default_value = "f64")]
    pub(super) dtype: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engine {
    Candle,
    Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Precision {
    F64,
    F32,
    Bf16,
}

impl Precision {
    /// The type of the parameters, and that in which the network computes where they are f32.
    pub(super) fn parts(self) -> (DType, Compute) {
        match self {
            Self::F64 => (DType::F64, Compute::F32),
            Self::F32 => (DType::F32, Compute::F32),
            Self::Bf16 => (DType::F32, Compute::Bf16),
        }
    }
}

/// Named arrays.
pub(super) type Arrays = BTreeMap<String, ArrayD<f64>>;

/// What a network is asked.
struct Question {
    x: ArrayD<f64>,
    noise: Vec<f64>,
    labels: Option<Vec<u32>>,
    soft_labels: Option<ArrayD<f64>>,
    augment: Option<ArrayD<f64>>,
    probe: Option<ArrayD<f64>>,
}

/// Runs the pass and writes what it gave.
///
/// # Errors
/// Whatever does not fit, naming file and tensor; nothing is written then.
pub fn run(args: &Args) -> Result<()> {
    if args.engine == Engine::Reference && args.dtype != Precision::F64 {
        bail!("--dtype must be f64 with --engine reference, which computes in nothing else");
    }
    let (network, config) = resolved(&args.architecture, args.config.as_deref())?;
    files::refuse_unwritable(&args.output)?;
    let answer = match network {
        Known::Denoiser(network) => denoised(network, &config, args)?,
        Known::Autoencoder(family) => autoencoder::answer(family, &config, args)?,
    };
    for (name, value) in &answer {
        if let Some((index, value)) = tensors::first_non_finite(value) {
            bail!("the network's `{name}` is not finite: {value} at {index}");
        }
    }
    let named = answer.iter().map(|(name, value)| (name.as_str(), value));
    tensors::write(&args.output, named)
}

/// What a denoiser answers.
fn denoised(network: &Architecture, config: &Table, args: &Args) -> Result<Arrays> {
    let [file] = &args.weights[..] else {
        let (name, got) = (network.name, args.weights.len());
        bail!("--weights must be given once for {name}, whose tensors are in one file; got {got}");
    };
    let weights = weights(network, config, file)?;
    let question = question(network, &args.input, args.gradients)?;
    match args.engine {
        Engine::Reference => of_reference(network, config, &weights, &question),
        Engine::Candle => of_candle(network, config, &weights, &question, args.dtype),
    }
}

/// The tensors that the network asks for, all of which the file must have, and no other.
fn weights(network: &Architecture, config: &Table, path: &Path) -> Result<Arrays> {
    let shapes = shapes::of(network, config)?;
    let file = Weights::open(path)?;
    let other = file.names().find(|name| !shapes.contains_key(*name));
    let mut read = Arrays::new();
    for (name, outlined) in &shapes {
        // A name that nearly fits is the likelier mistake.
        if !file.has(name)
            && let Some(other) = other
        {
            let near = if nearest(name, [other]).is_some() {
                "; a tensor of a similar name is not asked for"
            } else {
                ""
            };
            bail!(
                "{}: there must be a tensor `{name}` of shape {:?}; the file has `{other}`, which {} of this configuration does not know{near}",
                path.display(),
                outlined.shape,
                network.name
            );
        }
        read.insert(
            name.clone(),
            Place::array(&file.get(name, &outlined.shape)?)?,
        );
    }
    if let Some(other) = other {
        let hint = nearest(other, shapes.keys().map(String::as_str));
        let hint = hint.map_or_else(String::new, |name| {
            format!("; the nearest name of it is `{name}`")
        });
        bail!(
            "{}: tensor `{other}` is no part of {} with this configuration{hint}",
            path.display(),
            network.name
        );
    }
    Ok(read)
}

/// The inputs of a file.
fn question(network: &Architecture, path: &Path, gradients: bool) -> Result<Question> {
    let file = Weights::open(path)?;
    let optional = |name: &str| -> Result<Option<ArrayD<f64>>> {
        let Some(shape) = file.shape(name).map(<[usize]>::to_vec) else {
            return Ok(None);
        };
        Ok(Some(Place::array(&file.get(name, &shape)?)?))
    };
    let inputs = network.inputs;
    let required = |name: &str, shape: &str| -> Result<ArrayD<f64>> {
        let missing = || {
            anyhow!(
                "{}: there must be a tensor `{name}` of shape {shape}",
                path.display()
            )
        };
        optional(name)?.ok_or_else(missing)
    };
    let x = required("x", "[B, C, H, W]")?;
    let noise = required(inputs.noise, "[B]")?;
    if x.ndim() != 4 || noise.ndim() != 1 {
        bail!(
            "{}: `x` must have shape [B, C, H, W] and `{}` shape [B], got {:?} and {:?}",
            path.display(),
            inputs.noise,
            x.shape(),
            noise.shape()
        );
    }
    let classes = optional(inputs.labels)?;
    let is_soft = classes.as_ref().is_some_and(|classes| classes.ndim() > 1);
    let (soft_labels, labels) = if is_soft {
        (classes, None)
    } else {
        (None, classes)
    };
    let labels = labels
        .map(|labels| whole(inputs.labels, &labels))
        .transpose();
    Ok(Question {
        noise: noise.into_iter().collect(),
        labels: labels.with_context(|| path.display().to_string())?,
        soft_labels,
        augment: inputs.augment.map(optional).transpose()?.flatten(),
        probe: if gradients {
            Some(required("probe", "of the output")?)
        } else {
            None
        },
        x,
    })
}

/// Classes as whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number within u32"
)]
fn whole(name: &str, labels: &ArrayD<f64>) -> Result<Vec<u32>> {
    let one = |&label: &f64| {
        let fits = label.fract().abs() <= 0.0 && (0.0..=f64::from(u32::MAX)).contains(&label);
        if fits {
            return Ok(label as u32);
        }
        Err(anyhow!(
            "tensor `{name}` must hold the numbers of classes, got {label}"
        ))
    };
    labels.iter().map(one).collect()
}

/// Refuses a probe that is not shaped like the output.
fn check_probe(probe: &[usize], output: &[usize]) -> Result<()> {
    if probe == output {
        return Ok(());
    }
    bail!("tensor `probe` must be shaped like the output, {output:?}, got {probe:?}")
}

fn of_reference(
    network: &Architecture,
    config: &Table,
    weights: &Arrays,
    asked: &Question,
) -> Result<Arrays> {
    let built = exact::published(network.name, config)?;
    let condition = exact::Condition {
        noise: &asked.noise,
        labels: asked.labels.as_deref(),
        soft_labels: asked.soft_labels.as_ref(),
        augment: asked.augment.as_ref(),
    };
    let Some(probe) = &asked.probe else {
        let output = built.forward(weights, &asked.x, condition)?;
        return Ok(Arrays::from([("output".to_owned(), output)]));
    };
    let [batch, _, height, width] = *asked.x.shape() else {
        bail!(
            "`x` must have shape [B, C, H, W], got {:?}",
            asked.x.shape()
        );
    };
    check_probe(probe.shape(), &[batch, built.out_channels(), height, width])?;
    let pass = built.forward_backward(weights, &asked.x, condition, probe)?;
    let grads = pass.grad_parameters.into_iter();
    let grads = grads.map(|(name, grad)| (format!("grad.{name}"), grad));
    let others = [("output", pass.output), ("grad.input.x", pass.grad_input)];
    let others = others.map(|(name, value)| (name.to_owned(), value));
    Ok(grads.chain(others).collect())
}

fn of_candle(
    network: &Architecture,
    config: &Table,
    weights: &Arrays,
    asked: &Question,
    precision: Precision,
) -> Result<Arrays> {
    let (dtype, compute) = precision.parts();
    let tensor = |array: &ArrayD<f64>| -> Result<Tensor> {
        let numbers: Vec<f64> = array.iter().copied().collect();
        Ok(Tensor::from_vec(numbers, array.shape(), &Device::Cpu)?.to_dtype(dtype)?)
    };
    let params = Params::new(&Device::Cpu, dtype, 0);
    let inner = network::published(network.name, config, params.builder())?;
    let built = MixedPrecision { inner, compute };
    let named = weights.iter();
    let named = named.map(|(name, value)| Ok((name.clone(), tensor(value)?)));
    params.load(&named.collect::<Result<_>>()?)?;
    let [soft_labels, augment] = [&asked.soft_labels, &asked.augment];
    let soft_labels = soft_labels.as_ref().map(tensor).transpose()?;
    let augment = augment.as_ref().map(tensor).transpose()?;
    let condition = network::Condition {
        noise: &asked.noise,
        labels: asked.labels.as_deref(),
        soft_labels: soft_labels.as_ref(),
        augment: augment.as_ref(),
    };
    let x = Var::from_tensor(&tensor(&asked.x)?)?;
    let output = built.forward(x.as_tensor(), &condition, Mode::Evaluate)?;
    let mut answer = Arrays::from([("output".to_owned(), Place::array(&output)?)]);
    let Some(probe) = &asked.probe else {
        return Ok(answer);
    };
    check_probe(probe.shape(), output.dims())?;
    let grads = (output * tensor(probe)?)?.sum_all()?.backward()?;
    for (name, var) in params.vars().into_iter().chain([("input.x".to_owned(), x)]) {
        let grad = match grads.get(&var) {
            Some(grad) => Place::array(grad)?,
            None => ArrayD::zeros(var.dims()),
        };
        answer.insert(format!("grad.{name}"), grad);
    }
    Ok(answer)
}
