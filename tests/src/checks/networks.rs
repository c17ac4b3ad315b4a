//! Whole networks: output and every gradient, against the spread that rounding makes.

use std::{cell::RefCell, collections::BTreeMap};

use candle_core::{Tensor, Var};
use ndarray::ArrayD;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sadm_gpu::{
    network as gpu,
    params::{Builder, Params},
};
use sadm_reference::{
    bound::Tracked,
    network::{Condition, Denoiser, Domain, Encoder, Head, Pass, build},
};

use crate::{
    case::Case,
    check::{Bounds, Check, Computed, Cost, Exact, Quantity},
    engine::Place,
    error::{Error, Result},
    generators::{round_f32, seeded_normal},
    ledger::Rule,
};

/// Rounded evaluations whose largest deviation is the spread.
const SAMPLES: u64 = 8;

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let denoisers = gpu::ARCHITECTURES.iter().map(|known| known.name);
    denoisers.chain([ENCODER]).map(network).collect()
}

/// The encoder's name among the networks.
const ENCODER: &str = "encoder";

/// A denoiser of both registries, with dimensions that its author calls small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Small {
    name: &'static str,
    dimensions: &'static str,
    classes: bool,
}

impl Small {
    /// The first small dimensions of a network with classes.
    pub(crate) fn of(name: &'static str) -> Result<Self> {
        let dimensions = gpu::architecture(name)?.small[0];
        Ok(Self {
            name,
            dimensions,
            classes: true,
        })
    }

    /// As a case says.
    fn of_case(name: &'static str, case: &Case) -> Result<Self> {
        Ok(Self {
            dimensions: gpu::architecture(name)?.small[case.get_count("dimensions")?],
            classes: case.get_flag("classes")?,
            ..Self::of(name)?
        })
    }

    fn dimensions(self) -> Result<toml::Table> {
        self.dimensions.parse().map_err(Error::reference)
    }

    /// In the reference.
    pub(crate) fn reference(self) -> Result<Box<dyn Denoiser>> {
        let domain = Domain {
            channels: 1,
            size: 4,
            classes: self.classes.then_some(3),
            augment: 0,
        };
        build(self.name, &self.dimensions()?, domain).map_err(Error::reference)
    }

    /// In the training system.
    pub(crate) fn gpu(self, at: Builder) -> Result<Box<dyn gpu::Network>> {
        let domain = gpu::Domain {
            channels: 1,
            size: 4,
            classes: self.classes.then_some(3),
            augment: 0,
        };
        Ok(gpu::build(self.name, &self.dimensions()?, domain, at)?)
    }

    /// Parameters of ordinary size.
    pub(crate) fn parameters(self, seed: u64) -> Result<BTreeMap<String, ArrayD<f64>>> {
        let network = self.reference()?;
        let shapes = network.parameter_shapes().map_err(Error::reference)?;
        let mut parameters = parameters(seed, &shapes);
        parameters.extend(network.constants().map_err(Error::reference)?);
        Ok(parameters)
    }
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
pub(super) const RESOLVED: f64 = 1.0 / (1_u64 << 40) as f64;

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
    exact: Exact,
    rule: &Rule,
    rounded: impl Fn(&dyn Fn(f64) -> f64) -> Result<Exact>,
) -> Result<Bounds> {
    let size = rule.compute.unit.max(RESOLVED);
    let scale = rule.factor * rule.compute.unit / size;
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for sample in 1..=SAMPLES {
        let deviated = rounded(&random_rounding(sample, size))?;
        for (name, value) in exact.iter() {
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

/// Dimensions, parameters, input, output gradient, noise levels and labels from a seed.
fn draws(name: &'static str) -> BoxedStrategy<Case> {
    let ways = gpu::architecture(name).map_or(1_usize, |known| known.small.len());
    (any::<u32>(), 0..ways, any::<bool>(), 1..=2_usize)
        .prop_map(move |(seed, dimensions, classes, batch)| {
            let seed = u64::from(seed);
            let case = Case::new()
                .count("dimensions", dimensions)
                .flag("classes", classes)
                .count("batch", batch);
            let is_encoder = name == ENCODER;
            let parameters = if is_encoder {
                let shapes = encoder().parameter_shapes();
                shapes
                    .map(|shapes| parameters(seed, &shapes))
                    .map_err(Error::reference)
            } else {
                Small::of_case(name, &case).and_then(|small| small.parameters(seed))
            };
            let output = if is_encoder {
                vec![batch, 3]
            } else {
                let small = Small::of_case(name, &case).and_then(Small::reference);
                let channels = small.expect("small networks are possible").out_channels();
                vec![batch, channels, 4, 4]
            };
            let parameters = parameters.expect("small networks are possible").into_iter();
            let case = parameters.fold(case, |case, (name, value)| {
                case.tensor(&format!("parameter {name}"), value)
            });
            case.tensor("x", seeded_normal(seed ^ 0x5eed, &[batch, 1, 4, 4]))
                .tensor("g", seeded_normal(seed ^ 0x9ead, &output))
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

fn network(kind: &'static str) -> Box<dyn Check> {
    Quantity::new(
        format!("network.{kind}"),
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

fn quantities(pass: Pass) -> Exact {
    let mut values: Exact = pass
        .grad_parameters
        .into_iter()
        .map(|(name, grad)| (format!("grad of {name}"), grad))
        .collect();
    values.insert("output".to_owned(), pass.output);
    values.insert("grad of x".to_owned(), pass.grad_input);
    values
}

fn reference_pass(
    kind: &'static str,
    case: &Case,
    rounding: Option<&dyn Fn(f64) -> f64>,
) -> Result<Pass> {
    let (parameters, x, g) = (parameters_of(case), case.get("x")?, case.get("g")?);
    let labels = labels(case)?;
    let condition = Condition::new(case.get_numbers("c_noise")?, labels.as_deref());
    let pass = if kind == ENCODER {
        let (network, head) = (encoder(), Head::Logits);
        match rounding {
            None => network.forward_backward(&parameters, x, head, g),
            Some(f) => network.forward_backward_rounded(&parameters, x, head, g, f),
        }
    } else {
        let network = Small::of_case(kind, case)?.reference()?;
        match rounding {
            None => network.forward_backward(&parameters, x, condition, g),
            Some(f) => network.forward_backward_rounded(&parameters, x, condition, g, f),
        }
    };
    pass.map_err(Error::reference)
}

fn candle_pass(kind: &'static str, case: &Case, place: &Place) -> Result<Computed> {
    let params = Params::new(&place.device, place.dtype, 0);
    let x = Var::from_tensor(&place.tensor(case.get("x")?)?)?;
    let labels = labels(case)?;
    let condition = gpu::Condition::new(case.get_numbers("c_noise")?, labels.as_deref());
    let at = params.builder();
    let run: Box<dyn Fn(&Tensor) -> Result<Tensor>> = if kind == ENCODER {
        let network = gpu_encoder(&encoder(), at)?;
        Box::new(move |x| Ok(network.logits(x)?))
    } else {
        let network = Small::of_case(kind, case)?.gpu(at)?;
        Box::new(move |x| Ok(network.forward(x, &condition, gpu::Mode::Evaluate)?))
    };
    load(&params, &parameters_of(case), place)?;
    let output = run(x.as_tensor())?;
    let grads = (&output * place.tensor(case.get("g")?)?)?
        .sum_all()?
        .backward()?;
    let missing = |name: &str| Error::Gpu(format!("`{name}` receives no gradient"));
    let mut values = Computed::from([("output".to_owned(), Place::array(&output)?)]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_networks() {
        let here: Vec<&str> = gpu::ARCHITECTURES.iter().map(|known| known.name).collect();
        let there = sadm_reference::network::ARCHITECTURES.iter();
        let there: Vec<&str> = there.map(|known| known.name).collect();
        assert_eq!(
            here, there,
            "a network on one side only is checked against nothing"
        );
    }
}
