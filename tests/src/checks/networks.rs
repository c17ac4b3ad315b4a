//! Whole networks: output and every gradient, against the spread that rounding makes.

use std::{cell::RefCell, collections::BTreeMap};

use candle_core::{Tensor, Var};
use ndarray::ArrayD;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sadm_gpu::{
    network as gpu,
    network::Denoiser as _,
    params::{Builder, Params},
};
use sadm_reference::{
    bound::Tracked,
    network::{Condition, Denoiser, DitSmall, Encoder, Head, NetworkError, Pass, UNet},
};

use crate::{
    case::Case,
    check::{Bounds, Check, Cost, Quantity, Values},
    engine::Place,
    error::{Error, Result},
    generators::{round_f32, seeded_normal},
    ledger::Rule,
};

/// Rounded evaluations whose largest deviation is the spread.
const SAMPLES: u64 = 8;

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    [Kind::UNet, Kind::Dit, Kind::Encoder]
        .map(network)
        .into_iter()
        .collect()
}

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    UNet,
    Dit,
    Encoder,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::Dit => "dit",
            Self::Encoder => "encoder",
        }
    }
}

/// The U-Net of a case: two levels, attention on the coarser one if `attention`, classes if `classes`.
pub(crate) fn unet(attention: bool, classes: bool) -> UNet {
    UNet {
        in_channels: 1,
        channels: vec![4, 6],
        blocks: 1,
        attention: if attention { vec![1] } else { vec![] },
        heads: 2,
        groups: 2,
        emb_dim: 6,
        time_dim: 4,
        classes: classes.then_some(3),
    }
}

/// The same U-Net in the training system.
pub(crate) fn gpu_unet(network: &UNet, at: Builder) -> Result<gpu::UNet> {
    let config = gpu::UNetConfig {
        in_channels: network.in_channels,
        channels: network.channels.clone(),
        blocks: network.blocks,
        attention: network.attention.clone(),
        heads: network.heads,
        groups: network.groups,
        emb_dim: network.emb_dim,
        time_dim: network.time_dim,
        classes: network.classes,
    };
    Ok(gpu::UNet::new(&config, at)?)
}

fn dit(classes: bool) -> DitSmall {
    DitSmall {
        in_channels: 1,
        size: 4,
        patch: 2,
        dim: 8,
        depth: 2,
        heads: 2,
        mlp_ratio: 2,
        time_dim: 4,
        classes: classes.then_some(3),
    }
}

fn gpu_dit(network: &DitSmall, at: Builder) -> Result<gpu::Dit> {
    let config = gpu::DitConfig {
        in_channels: network.in_channels,
        size: network.size,
        patch: network.patch,
        dim: network.dim,
        depth: network.depth,
        heads: network.heads,
        mlp_ratio: network.mlp_ratio,
        time_dim: network.time_dim,
        classes: network.classes,
    };
    Ok(gpu::Dit::new(&config, at)?)
}

/// The encoder of the checks: two convolutions, five features, three classes.
pub(crate) fn encoder() -> Encoder {
    Encoder {
        in_channels: 1,
        widths: vec![4, 6],
        groups: 2,
        dim: 5,
        classes: 3,
    }
}

/// The same encoder in the training system.
pub(crate) fn gpu_encoder(network: &Encoder, at: Builder) -> Result<sadm_gpu::features::Encoder> {
    let config = sadm_gpu::features::EncoderConfig {
        in_channels: network.in_channels,
        widths: network.widths.clone(),
        groups: network.groups,
        dim: network.dim,
        classes: network.classes,
    };
    Ok(sadm_gpu::features::Encoder::new(&config, at)?)
}

/// Parameters of ordinary size, rounded to f32: matrices and kernels of deviation 1/√(inputs), gains of
/// normalisations near 1, offsets of deviation ½. None is zero, although training starts some at zero:
/// a gradient that is zero for that reason could not be told from one that is missing.
pub(crate) fn parameters(
    seed: u64,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> BTreeMap<String, ArrayD<f64>> {
    let draw = |(i, (name, shape)): (usize, (&String, &Vec<usize>))| {
        let z = seeded_normal(
            seed.wrapping_mul(1_000_003).wrapping_add(i as u64 + 1),
            shape,
        );
        let inputs = shape[1..].iter().product::<usize>() as f64;
        let gain = shape.len() == 1 && name.ends_with("weight");
        let value = match (shape.len(), gain) {
            (1, true) => z.mapv(|z| 1.0 + 0.2 * z),
            (1, false) => z * 0.5,
            _ => z / inputs.sqrt(),
        };
        (name.clone(), value.mapv(round_f32))
    };
    shapes.iter().enumerate().map(draw).collect()
}

/// Smallest relative perturbation that f64 resolves well: at f64's own unit roundoff x(1 + uξ) would round
/// back to x. Deviations are linear in so small a perturbation and are scaled back.
const RESOLVED: f64 = 1.0 / (1_u64 << 40) as f64;

/// A rounding that multiplies every intermediate result by 1 + size·ξ, ξ uniform on [−1, 1).
fn random_rounding(seed: u64, size: f64) -> impl Fn(f64) -> f64 {
    let rng = RefCell::new(ChaCha8Rng::seed_from_u64(seed));
    move |x| {
        let bits = rng.borrow_mut().next_u64() >> 11;
        let xi = bits as f64 * 2.0_f64.powi(-52) - 1.0;
        x * (1.0 + size * xi)
    }
}

/// The measured allowance: for each quantity, factor × the largest deviation of any of its elements in
/// [`SAMPLES`] evaluations of randomly moved inputs by randomly rounded operations. One number for a whole tensor, since the deviation of a
/// single element is itself random and may happen to be small.
pub(super) fn spread(
    exact: Values,
    rule: &Rule,
    rounded: impl Fn(&dyn Fn(f64) -> f64) -> Result<Values>,
) -> Result<Bounds> {
    let size = rule.compute.unit.max(RESOLVED);
    let scale = rule.factor * rule.compute.unit / size;
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for sample in 1..=SAMPLES {
        let deviated = rounded(&random_rounding(sample, size))?;
        for (name, value) in &exact {
            let entry = largest.entry(name.clone()).or_insert(0.0);
            *entry = value
                .iter()
                .zip(&deviated[name])
                .fold(*entry, |worst, (a, b)| {
                    let deviation = (a - b).abs();
                    // NaN must survive: an allowance of NaN fails.
                    if worst.is_nan() || deviation <= worst {
                        worst
                    } else {
                        deviation
                    }
                });
        }
    }
    let bounded = |(name, value): (String, ArrayD<f64>)| {
        let error = ArrayD::from_elem(value.raw_dim(), scale * largest[&name]);
        (name, Tracked { value, error })
    };
    Ok(exact.into_iter().map(bounded).collect())
}

/// Network, parameters, input, output gradient, noise levels and labels from a seed.
fn draws(kind: Kind) -> BoxedStrategy<Case> {
    (any::<u32>(), any::<bool>(), any::<bool>(), 1..=2_usize)
        .prop_map(move |(seed, attention, classes, batch)| {
            let seed = u64::from(seed);
            let case = Case::new()
                .flag("attention", attention)
                .flag("classes", classes)
                .count("batch", batch);
            let shapes = match kind {
                Kind::UNet => unet(attention, classes).parameter_shapes(),
                Kind::Dit => dit(classes).parameter_shapes(),
                Kind::Encoder => encoder().parameter_shapes(),
            };
            let parameters = parameters(
                seed,
                &shapes.expect("the configurations above are possible"),
            );
            let output: &[usize] = if kind == Kind::Encoder {
                &[batch, 3]
            } else {
                &[batch, 1, 4, 4]
            };
            let case = parameters.into_iter().fold(case, |case, (name, value)| {
                case.tensor(&format!("parameter {name}"), value)
            });
            case.tensor("x", seeded_normal(seed ^ 0x5eed, &[batch, 1, 4, 4]))
                .tensor("g", seeded_normal(seed ^ 0x9ead, output))
                .numbers(
                    "c_noise",
                    (0..batch).map(|i| 0.3 - 0.4 * i as f64).collect(),
                )
                .counts("labels", (0..batch as u64).map(|i| i % 4).collect())
        })
        .boxed()
}

/// The parameters of a case, by their names in the network.
pub(super) fn parameters_of(case: &Case) -> BTreeMap<String, ArrayD<f64>> {
    let named = |(key, value): (&String, &ArrayD<f64>)| {
        Some((key.strip_prefix("parameter ")?.to_owned(), value.clone()))
    };
    case.tensors.iter().filter_map(named).collect()
}

fn labels(case: &Case) -> Result<Option<Vec<u32>>> {
    if !case.get_flag("classes")? {
        return Ok(None);
    }
    let labels = case
        .get_counts("labels")?
        .iter()
        .map(|&l| u32::try_from(l))
        .collect::<std::result::Result<_, _>>();
    labels.map(Some).map_err(Error::reference)
}

fn network(kind: Kind) -> Box<dyn Check> {
    Quantity::new(
        format!("network.{}", kind.name()),
        "output of the whole network, and gradients of Σ g·output in its input and in every parameter",
        "sadm_reference::network, layer by layer with hand-derived backward",
    )
    .cost(Cost::Heavy)
    .draws(move || draws(kind))
    .reference(move |case| Ok(quantities(reference_pass(kind, case, None)?)))
    .bound(move |case, rule| {
        let exact = quantities(reference_pass(kind, case, None)?);
        spread(exact, rule, |rounding| {
            let moved = case.map_tensors(rounding);
            let pass = reference_pass(kind, &moved, Some(rounding))?;
            Ok(quantities(pass))
        })
    })
    .candle(move |case, place| candle_pass(kind, case, place))
    .boxed()
}

fn quantities(pass: Pass) -> Values {
    let mut values: Values = pass
        .grad_parameters
        .into_iter()
        .map(|(name, grad)| (format!("grad of {name}"), grad))
        .collect();
    values.insert("output".to_owned(), pass.output);
    values.insert("grad of x".to_owned(), pass.grad_input);
    values
}

fn reference_pass(kind: Kind, case: &Case, rounding: Option<&dyn Fn(f64) -> f64>) -> Result<Pass> {
    let (parameters, x, g) = (parameters_of(case), case.get("x")?, case.get("g")?);
    let labels = labels(case)?;
    let condition = Condition {
        noise: case.get_numbers("c_noise")?,
        labels: labels.as_deref(),
        augment: None,
    };
    let denoiser = |network: &dyn Denoiser| match rounding {
        None => network.forward_backward(&parameters, x, condition, g),
        Some(rounding) => network.forward_backward_rounded(&parameters, x, condition, g, rounding),
    };
    let pass: std::result::Result<Pass, NetworkError> = match kind {
        Kind::UNet => denoiser(&unet(
            case.get_flag("attention")?,
            case.get_flag("classes")?,
        )),
        Kind::Dit => denoiser(&dit(case.get_flag("classes")?)),
        Kind::Encoder => match rounding {
            None => encoder().forward_backward(&parameters, x, Head::Logits, g),
            Some(rounding) => {
                encoder().forward_backward_rounded(&parameters, x, Head::Logits, g, rounding)
            }
        },
    };
    pass.map_err(Error::reference)
}

fn candle_pass(kind: Kind, case: &Case, place: &Place) -> Result<Values> {
    let params = Params::new(&place.device, place.dtype, 0);
    let x = Var::from_tensor(&place.tensor(case.get("x")?)?)?;
    let labels = labels(case)?;
    let (noise, labels) = (case.get_numbers("c_noise")?, labels.as_deref());
    let at = params.builder();
    let run: Box<dyn Fn(&Tensor) -> Result<Tensor>> = match kind {
        Kind::UNet => {
            let network = gpu_unet(
                &unet(case.get_flag("attention")?, case.get_flag("classes")?),
                at,
            )?;
            Box::new(move |x| Ok(network.forward(x, noise, labels)?))
        }
        Kind::Dit => {
            let network = gpu_dit(&dit(case.get_flag("classes")?), at)?;
            Box::new(move |x| Ok(network.forward(x, noise, labels)?))
        }
        Kind::Encoder => {
            let network = gpu_encoder(&encoder(), at)?;
            Box::new(move |x| Ok(network.logits(x)?))
        }
    };
    load(&params, &parameters_of(case), place)?;
    let output = run(x.as_tensor())?;
    let grads = (&output * place.tensor(case.get("g")?)?)?
        .sum_all()?
        .backward()?;
    let missing = |name: &str| Error::Gpu(format!("`{name}` receives no gradient"));
    let mut values = Values::from([("output".to_owned(), Place::array(&output)?)]);
    let vars = params.vars().into_iter().chain([("x".to_owned(), x)]);
    for (name, var) in vars {
        let grad = grads.get(&var).ok_or_else(|| missing(&name))?;
        values.insert(format!("grad of {name}"), Place::array(grad)?);
    }
    Ok(values)
}

/// Gives the parameters of a network their values; names and shapes must be the reference's.
pub(crate) fn load(
    params: &Params,
    given: &BTreeMap<String, ArrayD<f64>>,
    place: &Place,
) -> Result<()> {
    let tensors = given
        .iter()
        .map(|(name, value)| Ok((name.clone(), place.tensor(value)?)));
    Ok(params.load(&tensors.collect::<Result<BTreeMap<_, _>>>()?)?)
}
