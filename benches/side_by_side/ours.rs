//! Our side of each measurement.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use sadm::gpu::config::Config;
use sadm::gpu::coupling::{Classes, Cost, Coupling, Optimal, Pool};
use sadm::gpu::data::ImageKind;
use sadm::gpu::ema::Ema;
use sadm::gpu::features::Inception;
use sadm::gpu::nn;
use sadm::gpu::optim::{AdamW, clip_grad_norm_later};
use sadm::gpu::params::{Init, Params};
use sadm::gpu::random::Streams;
use sadm::gpu::run::phases::Phase;
use sadm::gpu::structure::{StructureOptions, structural_loss};
use sadm::gpu::train::batch::Batch;
use sadm::gpu::train::draw_times;
use sadm::gpu::train::networks::Networks;
use sadm::gpu::train::pass::Pass;
use sadm::gpu::train::term::{Summand, Tape, losses};
use sadm::gpu::train::terms::{Denoising, Structure};
use sadm::gpu::weights::Weights;
use serde_json::Value;

use super::Outcome;

/// Something that can be called again and again.
pub struct Work {
    /// Trained scalars, for a network.
    pub parameters: Option<usize>,
    /// One call.
    pub call: Box<dyn FnMut() -> Outcome<()>>,
}

fn normal(name: &str, shape: &[usize], device: &Device) -> Outcome<Tensor> {
    Ok(Streams::new(1).normal_tensor(name, 0, shape, device, DType::F32)?)
}

/// A batch of the configured size, with the coins of dropout.
fn batch(config: &Config, image: ImageKind, device: &Device) -> Outcome<Batch> {
    let n = config.train.batch;
    let shape = [n, image.channels, image.size, image.size];
    Ok(Batch {
        x0: normal("x0", &shape, device)?.tanh()?,
        eps: normal("eps", &shape, device)?,
        t: draw_times(config, Streams::new(config.seed), "bench", 0, n),
        labels: Some(
            (0..n)
                .map(|i| u32::try_from(i % image.classes))
                .collect::<Result<_, _>>()?,
        ),
        augment: None,
        dropout: Some((Streams::new(config.seed), 0)),
    })
}

/// x̂ of the denoiser alone, without a graph.
pub fn forward(config: &Config, image: ImageKind, device: &Device) -> Outcome<Work> {
    let networks = Networks::new(config, image, device)?;
    let batch = Batch {
        dropout: None,
        ..batch(config, image, device)?
    };
    let objective = config.objective();
    Ok(Work {
        parameters: Some(networks.theta_params.len_elements()),
        call: Box::new(move || {
            Pass::new(networks.frozen(), &objective, &batch).prediction()?;
            Ok(())
        }),
    })
}

/// One update of θ: the denoising loss, if `guided` the structural one, backward pass, clipping, AdamW, EMA.
pub fn step(config: &Config, image: ImageKind, guided: bool, device: &Device) -> Outcome<Work> {
    let n = config.train.batch;
    let networks = Networks::new(config, image, device)?;
    let batch = batch(config, image, device)?;
    let train = &config.train;
    let mut optimizer = AdamW::default();
    let mut ema = Ema::new(&networks.theta_params, train.ema_half_life, train.ema_ramp)?;
    let objective = config.objective();
    let term = Structure::of(config, Phase::Guided);
    let weight = config.structure.weight;
    let clip = train.clip_norm;
    Ok(Work {
        parameters: Some(networks.theta_params.len_elements()),
        call: Box::new(move || {
            let pass = Pass::new(networks.theta(), &objective, &batch);
            let mut terms: Vec<Summand<'_>> = vec![(1.0, &Denoising)];
            if guided {
                terms.push((weight, &term));
            }
            let losses = losses(&terms, &pass, &mut Tape::off())?;
            let mut grads = losses.total.backward()?;
            clip_grad_norm_later(&networks.theta_params, &mut grads, clip)?;
            optimizer.step_and_average(
                &networks.theta_params,
                &grads,
                1.0,
                &mut ema,
                [n as f64; 2],
            )?;
            Ok(())
        }),
    })
}

/// y = f(inputs) and the gradients of ⟨g, y⟩ with respect to every input.
fn differentiated(
    inputs: Vec<Tensor>,
    f: impl Fn(&[Var]) -> candle_core::Result<Tensor> + 'static,
) -> Outcome<Work> {
    let inputs: Vec<Var> = inputs
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<_, _>>()?;
    let y = f(&inputs)?;
    let g = normal("g", y.dims(), y.device())?;
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            // Σ y·g with g constant; its gradient reaches the layer as g.
            Inner(g.clone()).of(&f(&inputs)?)?.backward()?;
            Ok(())
        }),
    })
}

/// ⟨g, y⟩ as one operation whose gradient is g, so that the layer alone is timed.
struct Inner(Tensor);

impl Inner {
    fn of(self, y: &Tensor) -> candle_core::Result<Tensor> {
        y.apply_op1(self)
    }
}

impl candle_core::CustomOp1 for Inner {
    fn name(&self) -> &'static str {
        "inner"
    }

    fn cpu_fwd(
        &self,
        _: &candle_core::CpuStorage,
        _: &candle_core::Layout,
    ) -> candle_core::Result<(candle_core::CpuStorage, candle_core::Shape)> {
        // The value is not looked at.
        Ok((candle_core::CpuStorage::F32(vec![0.0]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        _: &candle_core::Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
        use candle_core::backend::{BackendDevice, BackendStorage};
        let zero = x.device().zeros_impl(&().into(), DType::F32)?;
        Ok((zero, ().into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// A layer as `items` describes it.
pub fn layer(what: &Value, device: &Device) -> Outcome<Work> {
    let shape: Vec<usize> = serde_json::from_value(what["shape"].clone())?;
    let number = |name: &str| {
        let value = what[name].as_u64().ok_or(format!("{name} is missing"))?;
        Outcome::Ok(usize::try_from(value)?)
    };
    let normal = |name: &str, shape: &[usize]| normal(name, shape, device);
    let x = normal("x", &shape)?;
    let (channels, width) = (shape[1], shape[shape.len() - 1]);
    match what["op"].as_str().unwrap_or_default() {
        "conv2d" => {
            let (o, k) = (number("outputs")?, number("kernel")?);
            let weight = normal("weight", &[o, channels, k, k])?;
            differentiated(vec![x, weight, normal("bias", &[o])?], move |t| {
                nn::conv2d(&t[0], &t[1], Some(&t[2]), k / 2)
            })
        }
        "linear" => {
            let o = number("outputs")?;
            let inputs = vec![x, normal("weight", &[o, width])?, normal("bias", &[o])?];
            differentiated(inputs, |t| nn::linear(&t[0], &t[1], Some(&t[2])))
        }
        "group_norm_silu" => {
            let groups = number("groups")?;
            let inputs = vec![
                x,
                normal("gamma", &[channels])?,
                normal("beta", &[channels])?,
            ];
            differentiated(inputs, move |t| {
                nn::group_norm_silu(&t[0], groups, &t[1], &t[2])
            })
        }
        "modulated_layer_norm" => {
            let affine = [shape[0], width];
            let inputs = vec![x, normal("gamma", &affine)?, normal("beta", &affine)?];
            differentiated(inputs, |t| nn::layer_norm(&t[0], Some((&t[1], &t[2]))))
        }
        "self_attention" => {
            let heads = number("heads")?;
            differentiated(vec![x], move |t| {
                nn::self_attention(&t[0], heads, nn::Packing::Tokens)
            })
        }
        "silu" => differentiated(vec![x], |t| nn::silu(&t[0])),
        "gelu" => differentiated(vec![x], |t| nn::gelu(&t[0])),
        "softmax" => differentiated(vec![x], |t| nn::softmax_last(&t[0])),
        "upsample" => differentiated(vec![x], |t| nn::upsample_nearest2x(&t[0])),
        "avg_pool" => differentiated(vec![x], |t| nn::avg_pool2x(&t[0])),
        other => Err(format!("no layer called {other}").into()),
    }
}

/// Name and shape of each convolution of the Inception network.
const INCEPTION: &str = include_str!("../../fixtures/inception-layout.txt");

/// Features of the Inception network, of random weights and images of its own size.
pub fn inception(batch: usize, device: &Device) -> Outcome<Work> {
    let (mut tensors, mut parameters) = (BTreeMap::new(), 0);
    for line in INCEPTION.lines() {
        let (name, shape) = line.split_once(' ').ok_or("a line has no shape")?;
        let shape: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let count: usize = shape.iter().product();
        parameters += count;
        let scale = (2.0 * shape[0] as f64 / count as f64).sqrt();
        let weight = (normal(name, &shape, &Device::Cpu)? * scale)?;
        tensors.insert(format!("{name}.conv.weight"), weight);
        for (part, value) in [
            ("weight", 1.0_f32),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ] {
            tensors.insert(
                format!("{name}.bn.{part}"),
                Tensor::full(value, shape[0], &Device::Cpu)?,
            );
        }
    }
    tensors.insert(
        "fc.weight".to_owned(),
        Tensor::zeros((1008, 2048), DType::F32, &Device::Cpu)?,
    );
    let net = Inception::load(&Weights::from_tensors("random", tensors), device)?;
    let x = normal("x", &[batch, 3, 299, 299], device)?.tanh()?;
    Ok(Work {
        parameters: Some(parameters),
        call: Box::new(move || {
            net.features_of_input(&x)?;
            Ok(())
        }),
    })
}

/// AdamW and EMA of parameters of given sizes.
pub fn optimizer(sizes: &[usize], device: &Device) -> Outcome<Work> {
    let params = Params::new(device, DType::F32, 0);
    let mut sum = Tensor::zeros((), DType::F32, device)?;
    for (i, &size) in sizes.iter().enumerate() {
        let p = params
            .builder()
            .get(size, &format!("p{i}"), Init::Normal { std: 1.0 })?;
        sum = (sum + p.sqr()?.sum_all()?)?;
    }
    let grads = sum.backward()?;
    let mut optimizer = AdamW::default();
    let mut ema = Ema::new(&params, 1000.0, f64::INFINITY)?;
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            optimizer.step_and_average(&params, &grads, 1.0, &mut ema, [64.0; 2])?;
            Ok(())
        }),
    })
}

/// The structural loss (cosine, squared, diagonal included) with its gradient with respect to the generated
/// features, as guidance needs it.
pub fn structure(batch: usize, dim: usize, device: &Device) -> Outcome<Work> {
    let real = normal("real", &[batch, dim], device)?;
    let generated = Var::from_tensor(&normal("generated", &[batch, dim], device)?)?;
    let options = StructureOptions::default();
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            structural_loss(&real, generated.as_tensor(), &[2.0], &options)?.backward()?;
            Ok(())
        }),
    })
}

/// An operation that has its gradient ready, and its walk backwards.
pub fn graph(batch: usize, dim: usize, device: &Device) -> Outcome<Work> {
    let generated = Var::from_tensor(&normal("generated", &[batch, dim], device)?)?;
    let gradient = normal("gradient", &[batch, dim], device)?;
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            Inner(gradient.clone()).of(&generated)?.backward()?;
            Ok(())
        }),
    })
}

/// (m, k, n) of the two products that the loss and its gradient need at least, in the smaller of its two forms.
///
/// For |B| ≤ d: P Sᵀ, and E Ψ̂ with E = M − M̂. For d < |B|: the Gram matrix of `[P S]`, and `[P S]` times a
/// 2d×d matrix.
pub fn products_of_loss(batch: usize, dim: usize) -> [(usize, usize, usize); 2] {
    if batch <= dim {
        [(batch, dim, batch), (batch, batch, dim)]
    } else {
        [(2 * dim, batch, 2 * dim), (batch, 2 * dim, dim)]
    }
}

/// Numbers of an image of CIFAR-10.
pub const PIXELS: usize = 3 * 32 * 32;

/// Pictures as smooth as photographs: a level, two slopes and a little noise, inside [−1, 1]; and unit noise.
fn pictures(count: usize, device: &Device) -> Outcome<[Tensor; 2]> {
    let plane = |name: &str, x: Tensor| {
        Ok::<_, Box<dyn std::error::Error>>(
            (normal(name, &[count, 3, 1, 1], device)? * 0.4)?.broadcast_mul(&x)?,
        )
    };
    let slope = ((Tensor::arange(0f32, 32f32, device)? / 15.5)? - 1.0)?;
    let level = plane("level", Tensor::ones((1, 1, 32, 32), DType::F32, device)?)?;
    let [across, down] = [(1, 1, 1, 32), (1, 1, 32, 1)].map(|shape| slope.reshape(shape));
    let shape = level.shape().clone();
    let slopes = (plane("across", across?)?.broadcast_as(&shape)?
        + plane("down", down?)?.broadcast_as(&shape)?)?;
    let fine = (normal("fine", shape.dims(), device)? * 0.1)?;
    let images = ((level + slopes)? + fine)?.clamp(-1f32, 1f32)?;
    Ok([images, normal("eps", shape.dims(), device)?])
}

/// The optimal assignment of images and noise, whose numbers are left in `file` for PyTorch.
pub fn assignment(count: usize, file: &Path, device: &Device) -> Outcome<Work> {
    let [images, noise] = pictures(count, device)?;
    let mut bytes = Vec::new();
    for x in [&images, &noise] {
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    }
    std::fs::write(file, bytes)?;
    let coupling = Optimal {
        cost: Cost::Euclidean,
        classes: Classes::Together,
    };
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            coupling.assign(&images, &noise, None)?;
            Ok(())
        }),
    })
}

/// A pool of 512 pairs, used up in batches of 8.
pub fn pool(device: &Device) -> Outcome<Work> {
    let [images, noise] = pictures(512, device)?;
    let coupling = Optimal {
        cost: Cost::Euclidean,
        classes: Classes::Together,
    };
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            let pool = Pool::new(&coupling, images.clone(), noise.clone(), vec![0; 512])?;
            for batch in 0..64 {
                pool.batch(batch, 8)?;
            }
            Ok(())
        }),
    })
}

/// Matrix products and nothing else.
pub fn products(shapes: &[(usize, usize, usize)], device: &Device) -> Outcome<Work> {
    let pairs = shapes
        .iter()
        .map(|&(m, k, n)| Ok((normal("a", &[m, k], device)?, normal("b", &[k, n], device)?)))
        .collect::<Outcome<Vec<_>>>()?;
    Ok(Work {
        parameters: None,
        call: Box::new(move || {
            for (a, b) in &pairs {
                a.matmul(b)?;
            }
            Ok(())
        }),
    })
}
